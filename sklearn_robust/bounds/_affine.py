"""The affine layers of a network, each with its transpose and its absolute value.

Reshaping is one of them: an affine layer that only moves numbers. The layers know formulas alone;
which torch modules they stand for is told in `_translation`, the nonlinear ones are in
`_activations`.

Products come back in the precision of what goes in: under torch's autocast, training computes them
in fewer bits, and all that is between two products, such as the ends of boxes, in full.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, ...]
Place = tuple[int, int]  # row and column of a window's upper left corner


class Affine(Protocol):
    """``z -> W z + b`` on batches of any sample shape."""

    affine: bool
    terms: int
    """Largest number of products in one output, for the rounding error; 0: nothing is computed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b``."""

    def absolute(self, x: Tensor) -> Tensor:
        """Return ``|W| x``."""

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        """Return ``W^T a`` for `a` in the output's shape; `shape` is a sample's, of the input."""

    def bias(self) -> Tensor | None:
        """Return b so that it broadcasts against an output."""

    def gain(self) -> Tensor:
        """Return ``sum_j |W_ij|``, or more, so that it broadcasts against an output."""


class Windowed(Affine, Protocol):
    """An affine layer on images, of which every output sees a window of the input."""

    def transpose_window(self, a: Tensor) -> Tensor:
        """Return ``W^T a`` for `a` that is zero outside a window, with the padding's part of it."""

    def place(self, at: Place) -> Place:
        """Return where in the input the window begins whose output begins at `at`.

        It may begin outside the image, on the padding.
        """


class Reshape:
    """Flatten, unflatten: the same numbers in another shape."""

    affine = True
    terms = 0

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return a.reshape(len(a), *shape)

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())


class Dense:
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

    affine = True

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


class Scale:
    """``scale * x + shift``, numbers or one value per channel: batch norm, changes of units.

    Parameters
    ----------
    scale, shift : float or Tensor
        A tensor must broadcast against a sample.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Scale
    >>> fahrenheit = Scale(1.8, 32.0)
    >>> fahrenheit.forward(torch.tensor([[20.0, -10.0]]))
    tensor([[68., 14.]])
    """

    affine = True
    terms = 2

    def __init__(self, scale: float | Tensor, shift: float | Tensor = 0.0) -> None:
        self.scale, self.shift = (
            v if torch.is_tensor(v) else torch.tensor(v, dtype=torch.float64)
            for v in (scale, shift)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.scale.to(x) * x + self.shift.to(x)

    def absolute(self, x: Tensor) -> Tensor:
        return self.scale.to(x).abs() * x

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return self.scale.to(a) * a

    def transpose_window(self, a: Tensor) -> Tensor:
        return self.scale.to(a) * a

    def place(self, at: Place) -> Place:
        return at

    def bias(self) -> Tensor:
        return self.shift

    def gain(self) -> Tensor:
        return self.scale.abs()


class Conv:
    """``nn.Conv2d``, padded with zeros, on samples of shape (n_in, height, width).

    Parameters
    ----------
    weight : Tensor of shape (n_out, n_in / groups, kernel height, kernel width)
    bias : Tensor of shape (n_out,) or None
    stride, padding, dilation : (int, int)
        Along height and width.
    groups : int

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Conv
    >>> blur = Conv(torch.full((1, 1, 1, 2), 0.5), None, (1, 1), (0, 0), (1, 1), 1)
    >>> blur.forward(torch.tensor([[[[1., 3., 5.]]]]))
    tensor([[[[2., 4.]]]])
    """

    affine = True

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        self.weight, self._bias = weight, bias
        self.options: dict[str, Any] = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        self.terms = weight[0].numel() + 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self._bias, **self.options).to(x.dtype)

    def absolute(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.abs(), **self.options).to(x.dtype)

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        # Rows and columns that the stride never reached at the far end come back as zeros.
        kept = [
            (a.shape[2 + i] - 1) * self.options["stride"][i]
            - 2 * self.options["padding"][i]
            + self.options["dilation"][i] * (self.weight.shape[2 + i] - 1)
            + 1
            for i in (0, 1)
        ]
        rest = (shape[1] - kept[0], shape[2] - kept[1])
        back = functional.conv_transpose2d(a, self.weight, output_padding=rest, **self.options)
        return back.to(a.dtype)

    def transpose_window(self, a: Tensor) -> Tensor:
        back = functional.conv_transpose2d(a, self.weight, **{**self.options, "padding": 0})
        return back.to(a.dtype)

    def place(self, at: Place) -> Place:
        (p, q), (height, width) = self.options["stride"], self.options["padding"]
        return at[0] * p - height, at[1] * q - width

    def bias(self) -> Tensor | None:
        return None if self._bias is None else self._bias[:, None, None]

    def gain(self) -> Tensor:
        return self.weight.abs().flatten(1).sum(1)[:, None, None]


class AveragePool:
    """Mean over windows, the zeros of the padding included: a convolution of each channel."""

    affine = True

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        self.size, self.stride, self.padding = size, stride, padding
        self.terms = size[0] * size[1] + 1

    def _convolution(self, like: Tensor) -> Conv:
        weight = like.new_full((1, 1, *self.size), 1 / (self.size[0] * self.size[1]))
        return Conv(weight, None, self.stride, self.padding, (1, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self._convolution(x).forward(x.flatten(0, 1)[:, None])
        return out.reshape(*x.shape[:2], *out.shape[2:])

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        flat = a.flatten(0, 1)[:, None]
        return self._convolution(a).transpose(flat, (1, *shape[1:])).reshape(len(a), *shape)

    def transpose_window(self, a: Tensor) -> Tensor:
        out = self._convolution(a).transpose_window(a.flatten(0, 1)[:, None])
        return out.reshape(*a.shape[:2], *out.shape[2:])

    def place(self, at: Place) -> Place:
        (p, q), (height, width) = self.stride, self.padding
        return at[0] * p - height, at[1] * q - width

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())


class ZeroPad:
    """A border of zeros around images; `widths` as torch has them: left, right, top, bottom."""

    affine = True
    terms = 0

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        self.widths = widths

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.widths)

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return functional.pad(a, tuple(-w for w in self.widths))

    def transpose_window(self, a: Tensor) -> Tensor:
        return a

    def place(self, at: Place) -> Place:
        return at[0] - self.widths[2], at[1] - self.widths[0]

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())
