"""Affine layers of several inputs, where branches of a network meet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_robust.bounds._layers import Affine, Shape


class Sum(Affine):
    """``sum_i weights_i x_i`` of inputs of one shape.

    Parameters
    ----------
    weights : sequence of float
        One for each input.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds._joins import Sum
    >>> Sum([1.0, -1.0]).forward(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    tensor([[2.]])
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = tuple(weights)
        self.terms = len(self.weights)

    def forward(self, *x: Tensor) -> Tensor:
        return _weighted(self.weights, x)

    def absolute(self, *x: Tensor) -> Tensor:
        return _weighted([abs(w) for w in self.weights], x)

    def parts(self, a: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return [w * a for w in self.weights]

    def gain(self) -> Tensor:
        return torch.tensor(sum(map(abs, self.weights)), dtype=torch.float64)


class Concat(Affine):
    """The inputs one after the other along an axis of a sample.

    Parameters
    ----------
    axis : int
        0: the first axis of a sample.
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *x: Tensor) -> Tensor:
        return torch.cat(x, dim=self.axis + 1)

    def absolute(self, *x: Tensor) -> Tensor:
        return self.forward(*x)

    def parts(self, a: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        return list(a.split([shape[self.axis] for shape in shapes], dim=self.axis + 1))


def _weighted(weights: Sequence[float], x: Sequence[Tensor]) -> Tensor:
    return torch.stack([w * v for w, v in zip(weights, x, strict=True)]).sum(0)
