"""The mean over small shifts of an image, as a layer around a network: votes at prediction time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklearn_robust._validation import check_int
from sklearn_robust.bounds import UnsupportedLayerError, register_average, register_layer


class ShiftAverage(nn.Module):
    r"""The mean of a network's logits over an image and its shifts along either axis.

    .. math:: F(x) = \frac{1}{4 p + 1} \sum_s f(T_s x), \qquad
              s \in \{(0, 0), (\pm 1, 0), (0, \pm 1), \dots, (0, \pm p)\}

    A network seldom errs in the same way at all of them, so the mean is right more often, attacked
    and proven too: its least margin is at least the mean of the networks' least margins. Costs
    4 p + 1 passes where one was. What comes in at the border is 0.

    While an estimator of this library trains, it is the network alone.

    Parameters
    ----------
    network : torch.nn.Module
        From a batch of images to logits.
    pixels : int, default=1
        The farthest shift p.
    image_shape : (h, w) or (c, h, w)
        Shape of one image, whatever the shape of a sample.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import ShiftAverage
    >>> average = ShiftAverage(torch.nn.Flatten(), image_shape=(3, 3))
    >>> 5 * average(torch.arange(1., 10.).reshape(1, 3, 3)).reshape(3, 3)
    tensor([[ 7., 11., 11.],
            [17., 25., 23.],
            [19., 29., 23.]])
    """

    averaging = True  # lowered by estimators while they train

    def __init__(
        self, network: nn.Module, pixels: int = 1, *, image_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.network = network
        self.pixels = check_int(pixels, "pixels", low=0)
        self.image_shape = tuple(image_shape)

    @property
    def widths(self) -> list[tuple[int, int, int, int]]:
        """What to pad with for each shift: left, right, top, bottom; negative crops."""
        steps = [s for p in range(1, self.pixels + 1) for s in (p, -p)]
        along = [(s, -s, 0, 0) for s in steps] + [(0, 0, s, -s) for s in steps]
        return [(0, 0, 0, 0), *along]

    def forward(self, X: Tensor) -> Tensor:
        images = X.reshape(len(X), *self.image_shape)
        if not self.averaging:
            return self.network(images)
        shifted = torch.cat([functional.pad(images, width) for width in self.widths])
        return self.network(shifted).unflatten(0, (-1, len(X))).mean(0)

    def networks(self) -> list[nn.Module]:
        """Return the networks whose mean this is, one for each shift."""
        return [
            nn.Sequential(*self._images(), nn.ZeroPad2d(width), self.network)
            for width in self.widths
        ]

    def _images(self) -> list[nn.Module]:
        return [nn.Flatten(), nn.Unflatten(1, self.image_shape)]

    def extra_repr(self) -> str:
        return f"pixels={self.pixels}, image_shape={self.image_shape}"


register_average(ShiftAverage, lambda module: module.networks() if module.averaging else [module])


def _alone(module: ShiftAverage) -> list[nn.Module]:
    if module.averaging:
        raise UnsupportedLayerError(
            "unless it is the last layer, and in training only with averaging=False. Put what "
            "follows into it."
        )
    return [*module._images(), module.network]


register_layer(ShiftAverage, _alone)


@contextmanager
def network_alone(module: nn.Module) -> Iterator[None]:
    """Let every `ShiftAverage` within `module` be its network alone for a while."""
    averages = [m for m in module.modules() if isinstance(m, ShiftAverage)]
    for average in averages:
        average.averaging = False
    try:
        yield
    finally:
        for average in averages:
            average.averaging = True
