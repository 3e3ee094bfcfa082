r"""A module as the bounds see it: a flat list of layers, the shapes between them, and rounding.

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
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._translation import Known, flatten


class Network:
    """The flat list of layers of a module, with the shapes between them.

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
    shapes : list of tuple
        ``shapes[k]`` is that of a sample where it enters layer k; the last one is the output's.
    exact : int
        Up to the input of this layer every number depends on one input only: a box stays a box.
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
        self.layers = _pooling_first(flatten(module, known))
        self.unit = torch.finfo(X.dtype).eps if rounding else 0.0
        self.shapes = [tuple(X.shape[1:])]
        with torch.no_grad():
            x = X[:1]
            for layer in self.layers:
                layer.check(self.shapes[-1])
                x = layer.forward(x)
                self.shapes.append(tuple(x.shape[1:]))
        nonlinear = [k for k, layer in enumerate(self.layers) if not layer.affine]
        self.first, self.last = (nonlinear[0], nonlinear[-1] + 1) if nonlinear else (0, 0)
        mixing = [k for k, layer in enumerate(self.layers) if not layer.pointwise]
        self.exact = mixing[0] if mixing else len(self.layers)
        self.reach: tuple[ThreatModel, Tensor] | None = None

    @property
    def widest(self) -> int:
        """The largest number of values between two layers."""
        return max(map(math.prod, self.shapes))

    def products(self, k: int) -> int:
        """Return the multiplications of one backward pass from the input of layer k."""
        below = zip(self.layers[:k], self.shapes[1 : k + 1], strict=True)
        return sum(layer.products(shape) for layer, shape in below)

    def interval(self, k: int, low: Tensor, high: Tensor) -> Interval:
        """Return the box that layer k makes of a box."""
        layer = self.layers[k]
        if not layer.affine:
            return layer.interval(low, high, self.unit)
        if not layer.terms:
            return layer.forward(low), layer.forward(high)
        centre, radius = layer.forward((low + high) / 2), layer.absolute((high - low) / 2)
        if self.unit:
            size = _spread(largest(low, high), centre)
            radius = radius + 2 * (layer.terms + 8) * self.unit * self._magnitude(k, size, centre)
        return centre - radius, centre + radius

    def step_error(self, k: int, box: Interval) -> Tensor | None:
        """Return what, times the sum of |a|, bounds the rounding of a step of a back past layer k.

        Shape (n, 1): one value for each sample; None if nothing is rounded.
        """
        layer = self.layers[k]
        if not self.unit or not layer.terms:
            return None
        size = self._magnitude(k, largest(*box)[:, None], box[0])
        n = layer.terms + math.prod(self.shapes[k + 1]) + 8
        return 4 * n * self.unit * size.flatten(1).amax(1, keepdim=True)

    def _magnitude(self, k: int, size: Tensor, like: Tensor) -> Tensor:
        """Return at least ``|W| |z| + |b|`` for every z whose values are no larger than `size`."""
        gain, bias = self.layers[k].gain().to(like), self.layers[k].bias()
        if size.ndim == 2:  # a value per sample, all outputs in a row
            gain, bias = gain.reshape(-1), None if bias is None else bias.reshape(-1)
        magnitude = gain * size
        if bias is not None:
            magnitude = magnitude + bias.to(like).abs()
        return magnitude + torch.finfo(like.dtype).tiny  # products below the normal range


def largest(low: Tensor, high: Tensor) -> Tensor:
    """Return the largest absolute value in the box of each sample."""
    return torch.maximum(low.abs(), high.abs()).flatten(1).amax(1)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _pooling_first(layers: Iterable[Any]) -> list[Any]:
    """Return the layers with max-pooling moved before a ReLU that it follows: the same function.

    The ReLU then acts on a quarter of the values where windows are 2 x 2.
    """
    out: list[Any] = []
    for layer in layers:
        out.insert(len(out) - bool(out and layer.may_precede(out[-1])), layer)
    return out
