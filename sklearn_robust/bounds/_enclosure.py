"""The boxes through a network over one region per sample, as certified training asks for them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from sklearn_robust.bounds._backward import minimum
from sklearn_robust.bounds._graph import Known
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._margins import difference_specs
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region


class Enclosure:
    """Boxes and margins over a region around each sample, with gradients, without rounding.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor of shape (n_samples, ...)
    y : Tensor of int64, shape (n_samples,)
    region : Region
    known : mapping of modules to layers, optional
        What to take modules within `module` for, instead of what they compute in eval mode.
    """

    def __init__(
        self, module: nn.Module, X: Tensor, y: Tensor, region: Region, known: Known | None = None
    ) -> None:
        self.network = Network(module, X, rounding=False, known=known)
        self.boxes = intervals(self.network, region)
        self.region, self.y = region, y

    @property
    def is_linear(self) -> bool:
        """Whether the network has no nonlinear layer, so that intervals are exact already."""
        return not self.network.last

    def margins(self, *, linear: bool = False) -> Tensor:
        """Return lower bounds of ``f_y - f_j``: by intervals, or by lines around activations.

        By intervals, the layers after the last activation act on the differences of logits.
        """
        network, layers, last = self.network, self.network.layers, self.network.last
        if not linear and network.sources[last:] == [(last,)]:
            margins = layers[last].least_differences(*self.boxes[last], self.y)
            if margins is not None:
                return margins
        specs = difference_specs(self.y, network.shapes[-1][0], self.region.low)
        stop = 0 if linear else last
        return minimum(network, self.region, self.boxes, specs, len(layers), stop)

    def rectified(self) -> Iterator[Interval]:
        """Yield the box at the input of each ReLU layer."""
        for layer, nodes in zip(self.network.layers, self.network.sources, strict=True):
            if layer.rectifies:
                yield self.boxes[nodes[0]]
