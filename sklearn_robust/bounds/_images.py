"""The layers that act on windows of images: convolution, pooling, a border of zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._layers import Affine, Layer, Lines, Nonlinear, Place, Shape, Size


class Conv(Affine):
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

    windowed = True

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
        return _place(at, self.options["stride"], self.options["padding"])

    def seen(self, size: Size) -> Size:
        kernel, dilation = self.weight.shape[2:], self.options["dilation"]
        spread = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        return _seen(size, spread, self.options["stride"])

    def bias(self) -> Tensor | None:
        return None if self._bias is None else self._bias[:, None, None]

    def gain(self) -> Tensor:
        return self.weight.abs().flatten(1).sum(1)[:, None, None]

    def products(self, shape: Shape) -> int:
        return self.window_products((shape[1], shape[2]))

    def window_products(self, size: Size) -> int:
        return self.weight.numel() * size[0] * size[1]

    def kernels(self) -> Tensor:
        return self.weight


class AveragePool(Affine):
    """Mean over windows, the zeros of the padding included: a convolution of each channel."""

    windowed = True

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
        return _place(at, self.stride, self.padding)

    def seen(self, size: Size) -> Size:
        return _seen(size, self.size, self.stride)


class ZeroPad(Affine):
    """A border of zeros around images; `widths` as torch has them: left, right, top, bottom."""

    windowed = True

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


class MaxPool(Nonlinear):
    """Maximum over windows of an image.

    Below, the window's entry with the largest lower bound [1]_. Above, with the entry i of the
    largest upper bound and t the second largest upper bound, ``max z <= max(z_i, t)``, and the
    chord of that: never above the usual constant u_i, and exact where entry i wins for certain.

    Parameters
    ----------
    size, stride, padding : (int, int)
        Along height and width.

    References
    ----------
    .. [1] G. Singh et al., "An abstract domain for certifying neural networks", POPL 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import MaxPool
    >>> low, high = torch.tensor([[[[0., 2.]]]]), torch.tensor([[[[1., 3.]]]])
    >>> lines = MaxPool((1, 2), (1, 2), (0, 0)).enclose(low, high, unit=0.0)
    >>> lines.upper_at.item(), lines.upper_slope.item(), lines.upper.item()  # the second wins
    (1, 1.0, 0.0)
    """

    pointwise = False
    increasing = False

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.size, self.stride, self.padding)

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self.forward(error)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        if self.stride != self.size or self.padding != (0, 0):
            return high > low
        # Windows that do not overlap: what another entry is sure to exceed cannot be the maximum.
        surpassed = functional.max_pool2d(low, self.size, self.size)
        for axis, n in zip((2, 3), self.size, strict=True):
            surpassed = surpassed.repeat_interleave(n, dim=axis)
        rest = [n - m for n, m in zip(low.shape[2:], surpassed.shape[2:], strict=True)]
        surpassed = functional.pad(surpassed, (0, rest[1], 0, rest[0]), value=torch.inf)
        return (high > low) & (high > surpassed)

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        options: Any = (self.size, self.stride, self.padding)
        best_low, lower_at = functional.max_pool2d(low, *options, return_indices=True)
        top, upper_at = functional.max_pool2d(high, *options, return_indices=True)
        second = self._second_largest(high)
        low_of_top = low.flatten(2).gather(2, upper_at.flatten(2)).reshape(top.shape)
        wins = low_of_top >= second
        open_ = ~wins & (top > second)
        width = torch.where(open_, top - low_of_top, 1.0)
        slope = torch.where(open_, (top - second) / width, wins.to(top))
        upper = torch.where(open_, second - slope * low_of_top, torch.where(wins, 0.0, top))
        guard = self.guard(best_low, top, unit) + self.guard(low_of_top, top, unit)
        return Lines(torch.ones_like(slope), -guard, slope, upper + guard, lower_at, upper_at)

    def seen(self, size: Size) -> Size:
        return _seen(size, self.size, self.stride)

    def may_precede(self, previous: Layer) -> bool:
        """Return whether `previous` commutes with a maximum: it then acts on fewer values."""
        return previous.increasing

    def lines_in_window(
        self, lines: Lines, at: Place, size: Size, plane: Size
    ) -> tuple[Lines, Place, Size]:
        lines, at, size = super().lines_in_window(lines, at, size, plane)
        first, spread = _place(at, self.stride, self.padding), self.seen(size)
        top, left = (max(0, f) for f in first)
        bottom, right = (min(n, f + k) for n, f, k in zip(plane, first, spread, strict=True))
        width = right - left

        def local(index: Any) -> Tensor:
            """Turn positions in the plane into positions in the window."""
            return (index // plane[1] - top) * width + index % plane[1] - left

        lines = lines._replace(lower_at=local(lines.lower_at), upper_at=local(lines.upper_at))
        return lines, (top, left), (bottom - top, width)

    def _second_largest(self, high: Tensor) -> Tensor:
        """Return the second largest entry of each window; -inf if the window has one only."""
        (rows, columns), (p, q) = self.size, self.padding
        padded = functional.pad(high, (q, q, p, p), value=-torch.inf)
        windows = padded.unfold(2, rows, self.stride[0]).unfold(3, columns, self.stride[1])
        windows = windows.flatten(4)
        if windows.shape[-1] == 1:
            return torch.full_like(windows[..., 0], -torch.inf)
        return windows.topk(2, dim=-1).values[..., 1]


def _place(at: Place, stride: tuple[int, int], padding: tuple[int, int]) -> Place:
    return at[0] * stride[0] - padding[0], at[1] * stride[1] - padding[1]


def _seen(size: Size, kernel: tuple[int, ...], stride: tuple[int, int]) -> Size:
    return (size[0] - 1) * stride[0] + kernel[0], (size[1] - 1) * stride[1] + kernel[1]
