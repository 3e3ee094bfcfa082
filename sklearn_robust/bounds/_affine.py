"""Affine layers for samples of any shape: changes of shape, products, changes of units."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._layers import Affine, Shape, UnsupportedLayerError


class Reshape(Affine):
    """Flatten, unflatten: the same numbers in another shape."""

    pointwise = True
    views = True

    def __init__(self, module: Callable[[Tensor], Tensor]) -> None:
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return a.reshape(len(a), *shape)

    def factor(self) -> Tensor:
        return torch.ones(())


class Dense(Affine):
    """``nn.Linear`` on samples that are vectors: ``x -> W x + b``.

    Parameters
    ----------
    weight : Tensor of shape (n_out, n_in)
    bias : Tensor of shape (n_out,) or None

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Dense
    >>> dense, x = Dense(torch.tensor([[1., -2.]]), torch.tensor([1.])), torch.ones(1, 2)
    >>> dense.forward(x), dense.absolute(x)
    (tensor([[0.]]), tensor([[3.]]))
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self._bias = weight, bias
        self.terms = weight.shape[1] + 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self._bias).to(x.dtype)

    def absolute(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.abs()).to(x.dtype)

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return (a @ self.weight).to(a.dtype)

    def bias(self) -> Tensor | None:
        return self._bias

    def gain(self) -> Tensor:
        return self.weight.abs().sum(1)

    def products(self, shape: Shape) -> int:
        return self.weight.numel() * math.prod(shape[:-1])

    def rows(self, index: Tensor) -> Tensor:
        return self.weight[index]

    def least_differences(self, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
        r"""Return the least ``f_y - f_j`` of the outputs over boxes, (n, n_outputs).

        .. math:: (w_y - w_j)^T c + b_y - b_j - |w_y - w_j|^T r

        The absolute differences of all pairs of rows times all radii are one product of matrices,
        several times faster than a product of its own for each sample.
        """
        rows = self.weight
        apart = (rows[:, None] - rows).abs().flatten(0, 1)
        # All bits, under autocast too: these decide, and cost little.
        with torch.autocast(low.device.type, enabled=False):
            logits = self.forward((low + high) / 2)
            reach = functional.linear((high - low) / 2, apart).unflatten(1, (len(rows), len(rows)))
        picked = y[:, None, None].expand(-1, 1, len(rows))
        return logits.gather(1, y[:, None]) - logits - reach.gather(1, picked)[:, 0]


class Scale(Affine):
    """``scale * x + shift``, numbers or one value per channel: batch norm, changes of units.

    Parameters
    ----------
    scale, shift : float or Tensor
        A tensor must broadcast against a sample.
    shift_size : Tensor, optional
        Where `shift` is a sum, that of the absolute values of its terms, for its rounding.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Scale
    >>> fahrenheit = Scale(1.8, 32.0)
    >>> fahrenheit.forward(torch.tensor([[20.0, -10.0]]))
    tensor([[68., 14.]])
    """

    pointwise = True
    terms = 2

    def __init__(
        self,
        scale: float | Tensor,
        shift: float | Tensor = 0.0,
        shift_size: Tensor | None = None,
    ) -> None:
        self.scale, self.shift = (
            v if torch.is_tensor(v) else torch.tensor(v, dtype=torch.float64)
            for v in (scale, shift)
        )
        self._shift_size = self.shift.abs() if shift_size is None else shift_size

    @property
    def windowed(self) -> bool:  # type: ignore[override]
        """Whether all places of a channel are treated alike."""
        return all(t.ndim == 0 or t[0].numel() == 1 for t in (self.scale, self.shift))

    def check(self, shape: Shape) -> None:
        if self.scale.ndim not in (0, len(shape)):
            raise UnsupportedLayerError(
                f"A layer scales {self.scale.ndim} axes of samples of shape {shape}.",
                "Batch norm over vectors takes samples of shape (n_features,), over images "
                "(channels, height, width).",
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.scale.to(x) * x + self.shift.to(x)

    def absolute(self, x: Tensor) -> Tensor:
        return self.scale.to(x).abs() * x

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return self.scale.to(a) * a

    def transpose_window(self, a: Tensor) -> Tensor:
        return self.scale.to(a) * a

    def bias(self) -> Tensor:
        return self.shift

    def bias_size(self) -> Tensor:
        return self._shift_size

    def gain(self) -> Tensor:
        return self.scale.abs()

    def factor(self) -> Tensor | None:
        return None if self.scale.ndim else self.scale.abs()
