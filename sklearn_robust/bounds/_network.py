r"""A module as the bounds see it: layers, which nodes they read, and rounding.

Rounding. A sum of n products is off by at most gamma_n times the sum of their absolute values, in
any order of summation [1]_. Every bound is moved outwards by several times that, so that it covers
its own rounding *and* that of evaluating the network in the same precision. It does not cover
convolutions by Winograd's method or TF32, so certificates are computed in float64.

References
----------
.. [1] N. Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._graph import Graph, Known
from sklearn_robust.bounds._layers import Interval


class Network:
    """The layers of a module in an order in which each comes after those that it reads.

    Node 0 is the input, node k + 1 the output of layer k; where one layer follows the other, node k
    is what layer k reads. Boxes are lists with an entry for each node.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor of shape (n_samples, ...)
        Only the shape of a sample matters.
    rounding : bool
        Move every bound outwards by the rounding error.
    known : mapping of modules to layers, optional
        What to take modules within `module` for, instead of what they compute in eval mode.

    Attributes
    ----------
    layers : list
    sources : list of tuple
        ``sources[k]`` are the nodes that layer k reads.
    shapes : list of tuple
        ``shapes[i]`` is that of a sample at node i; the last one is the output's.
    exact : int
        Up to this node every number depends on one input only: a box stays a box.
    first, last : int
        The first nonlinear layer, and the first layer after the last one (0 and 0 if none).
    unit : float
        The spacing of numbers at 1; 0 without rounding.
    reach : tuple of ThreatModel and Tensor, or None
        Kept by `_intervals`: how far the ball of a threat model reaches behind the first layers.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        X: Tensor,
        *,
        rounding: bool = True,
        known: Known | None = None,
    ) -> None:
        graph = Graph(module, X, known)
        self.layers, self.sources, self.shapes = graph.layers, graph.sources, graph.shapes
        self.unit = torch.finfo(X.dtype).eps if rounding else 0.0
        nonlinear = [k for k, layer in enumerate(self.layers) if not layer.affine]
        self.first, self.last = (nonlinear[0], nonlinear[-1] + 1) if nonlinear else (0, 0)
        self.exact = 0
        while self.is_chain(self.exact, self.exact + 1) and self.layers[self.exact].pointwise:
            self.exact += 1
        self.reach: tuple[ThreatModel, Tensor] | None = None

    def is_chain(self, start: int, stop: int) -> bool:
        """Return whether all that layers from `stop` on know of node `start` goes through `stop`.

        And from one layer to the next; False beyond the last layer.
        """
        one_by_one = all(self.sources[k] == (k,) for k in range(start, min(stop, len(self.layers))))
        return (
            stop <= len(self.layers)
            and one_by_one
            and all(min(nodes) >= stop for nodes in self.sources[stop:])
        )

    def source(self, k: int) -> int:
        """Return the node that layer k reads, the first if there are several."""
        return self.sources[k][0]

    def back(self, k: int, a: Tensor) -> list[tuple[int, Tensor]]:
        """Return ``W^T a`` for affine layer k and `a` of shape (n, ...): each source, its part."""
        shapes = [self.shapes[node] for node in self.sources[k]]
        return list(zip(self.sources[k], self.layers[k].parts(a, shapes), strict=True))

    @property
    def widest(self) -> int:
        """The largest number of values between two layers."""
        return max(map(math.prod, self.shapes))

    def products(self, node: int) -> int:
        """Return the multiplications of one backward pass from a node."""
        below = zip(self.layers[:node], self.shapes[1 : node + 1], strict=True)
        return sum(layer.products(shape) for layer, shape in below)

    def interval(self, k: int, boxes: Sequence[Interval]) -> Interval:
        """Return the box that layer k makes of the boxes that it reads."""
        layer, read = self.layers[k], [boxes[node] for node in self.sources[k]]
        lows, highs = [low for low, _ in read], [high for _, high in read]
        if not layer.affine:
            return layer.interval(lows[0], highs[0], self.unit)
        if not layer.terms:
            return layer.forward(*lows), layer.forward(*highs)
        centre = layer.forward(*((low + high) / 2 for low, high in read))
        radius = layer.absolute(*((high - low) / 2 for low, high in read))
        if self.unit:
            size = _spread(_largest_of(read), centre)
            radius = radius + 2 * (layer.terms + 8) * self.unit * self._magnitude(k, size, centre)
        return centre - radius, centre + radius

    def step_error(self, k: int, boxes: Sequence[Interval]) -> Tensor | None:
        """Return what, times the sum of ``|a|``, bounds the rounding of a step back past layer k.

        Shape (n, 1): one value for each sample; None if nothing is rounded.
        """
        layer = self.layers[k]
        if not self.unit or not layer.terms:
            return None
        read = [boxes[node] for node in self.sources[k]]
        size = self._magnitude(k, _largest_of(read)[:, None], read[0][0])
        n = layer.terms + math.prod(self.shapes[k + 1]) + 8
        return 4 * n * self.unit * size.flatten(1).amax(1, keepdim=True)

    def _magnitude(self, k: int, size: Tensor, like: Tensor) -> Tensor:
        """Return at least ``|W| |z| + |b|`` for every z whose values are no larger than `size`."""
        gain, bias = self.layers[k].gain().to(like), self.layers[k].bias_size()
        if size.ndim == 2:  # a value per sample, all outputs in a row
            gain, bias = gain.reshape(-1), None if bias is None else bias.reshape(-1)
        magnitude = gain * size
        if bias is not None:
            magnitude = magnitude + bias.to(like)
        return magnitude + torch.finfo(like.dtype).tiny  # products below the normal range


def largest(low: Tensor, high: Tensor) -> Tensor:
    """Return the largest absolute value in the box of each sample."""
    return torch.maximum(low.abs(), high.abs()).flatten(1).amax(1)


def _largest_of(boxes: Sequence[Interval]) -> Tensor:
    return torch.stack([largest(*box) for box in boxes]).amax(0)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))
