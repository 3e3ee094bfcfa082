r"""What a layer tells the bounds about itself: the base classes of affine and of nonlinear layers.

Everything that the bounds ask is a method or an attribute here, with an answer that holds for any
layer where there is one. A new layer is a subclass, made known with `register_layer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]
Size = tuple[int, int]  # rows and columns of a window
Place = tuple[int, int]  # row and column of its upper left corner
Interval = tuple[Tensor, Tensor]


class UnsupportedLayerError(NotImplementedError):
    """A module holds a layer for which there are no bounds.

    Parameters
    ----------
    reason : str
        A sentence that names the layer.
    remedy : str, default=""
        What to do about it.

    Attributes
    ----------
    reason, remedy : str
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}".rstrip()


class Lines(NamedTuple):
    r"""Two lines that enclose a nonlinear layer on a box, for each of its outputs.

    .. math:: s_{lo} z + t_{lo} \le g(z) \le s_{up} z + t_{up}

    Attributes
    ----------
    lower_slope, lower, upper_slope, upper : Tensor of shape (n_samples, ...)
        Slopes and intercepts, in the shape of the output.
    lower_at, upper_at : Tensor of int64, optional
        Which input (a flat index within the channel's plane) each output's line is a function of;
        None: the input in the same place.
    """

    lower_slope: Tensor
    lower: Tensor
    upper_slope: Tensor
    upper: Tensor
    lower_at: Tensor | None = None
    upper_at: Tensor | None = None


class Layer(ABC):
    """A step of a network from a batch to a batch; `Affine` or `Nonlinear`.

    Attributes
    ----------
    affine : bool
    pointwise : bool
        Whether every output depends on one input only, so that a box stays a box.
    windowed : bool
        Whether, on images, every output sees a window of the input.
    increasing : bool
        Whether it acts on each number alone by a function that does not decrease.
    rectifies : bool
        Whether it is ReLU, whose inputs are either passed on or set to 0.
    keeps_order : bool
        Whether it is a sigmoid, which outputs may end in and be as far as their order goes.
    views : bool
        Whether torch leaves the numbers where they are, so that one tensor is a view of the other.
    """

    affine: bool
    pointwise: bool = False
    windowed: bool = False
    increasing: bool = False
    rectifies: bool = False
    keeps_order: bool = False
    views: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the output for a batch of any sample shape; joins take several batches."""

    def check(self, shape: Shape) -> None:  # noqa: B027
        """Raise `UnsupportedLayerError` for samples of a shape that the layer has no bounds for."""

    def products(self, shape: Shape) -> int:
        """Return the multiplications of a step backwards from an output of that shape."""
        return 0

    def seen(self, size: Size) -> Size:
        """Return the size of the input's window that a window of the output sees."""
        return size

    def may_precede(self, previous: Layer) -> bool:
        """Return whether the layers may change places, and doing so saves work."""
        return False


class Affine(Layer):
    """``z -> W z + b``.

    Products come back in the precision of what goes in: under torch's autocast, training computes
    them in fewer bits, and all that is between two products, such as ends of boxes, in full.

    Attributes
    ----------
    terms : int
        Largest number of products in one output, for the rounding error; 0: nothing is computed.
    """

    affine = True
    terms: int = 0

    @abstractmethod
    def absolute(self, x: Tensor) -> Tensor:
        """Return ``|W| x``."""

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        """Return ``W^T a`` for `a` in the output's shape; `shape` is a sample's, of the input.

        Joins of several inputs have `parts` instead.
        """
        raise NotImplementedError

    def parts(self, a: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
        """Return ``W^T a`` for each input."""
        return [self.transpose(a, shapes[0])]

    def bias(self) -> Tensor | None:
        """Return b so that it broadcasts against an output."""
        return None

    def bias_size(self) -> Tensor | None:
        """Return ``|b|``, or as much more as the terms of a sum that makes b, for its rounding."""
        bias = self.bias()
        return None if bias is None else bias.abs()

    def gain(self) -> Tensor:
        """Return ``sum_j |W_ij|``, or more, so that it broadcasts against an output."""
        return torch.ones(())

    def transpose_window(self, a: Tensor) -> Tensor:
        """Return ``W^T a`` for `a` that is zero outside a window, with the padding's part of it.

        Asked of windowed layers only, as is `place`.
        """
        raise NotImplementedError

    def place(self, at: Place) -> Place:
        """Return where in the input the window begins whose output begins at `at`.

        It may begin outside the image, on the padding.
        """
        return at

    def window_products(self, size: Size) -> int:
        """Return the multiplications of `transpose_window` for a window of that size."""
        return 0

    def rows(self, index: Tensor) -> Tensor | None:
        """Return the rows of W that make the outputs `index`; None if W is not at hand."""
        return None

    def kernels(self) -> Tensor | None:
        """Return one row of W for each channel, if the other places have the same or a part of it.

        In the shape (n_channels, ...); None if there is no such thing.
        """
        return None

    def factor(self) -> Tensor | None:
        """Return f if ``|W| x`` has the entries of f x, in whatever order; else None."""
        return None

    def least_differences(self, low: Tensor, high: Tensor, y: Tensor) -> Tensor | None:
        """Return the least ``f_y - f_j`` of outputs f over boxes, (n, n_outputs), without rounding.

        None: ask for the differences one by one.
        """
        return None


class Nonlinear(Layer):
    """A nonlinear layer; as written here, one that acts on each number alone and never decreases.

    A subclass says what it computes, `forward`, and how lines enclose that, `enclose`. If it can
    decrease, it sets ``increasing = False`` and has an `interval` of its own.

    Attributes
    ----------
    inexact : int
        By how many units in the last place `forward` may be off. 0: every output is one of the
        inputs, a constant, or one correctly rounded product.
    inexact_at_zero : float
        By how many spacings at 1 it may be off however small the output is, beside that.
    """

    affine = False
    pointwise = True
    windowed = True
    increasing = True
    inexact: int = 0
    inexact_at_zero: float = 0.0

    @abstractmethod
    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        """Return the lines on the box; `unit` is the spacing of numbers at 1, 0 to ignore rounding.

        Where ``low == high`` too, and whatever the signs.
        """

    def interval(self, low: Tensor, high: Tensor, unit: float) -> Interval:
        """Return the box of the outputs; both ends are mapped, as the layer is monotone."""
        low, high = self.forward(low), self.forward(high)
        if not (self.inexact and unit):
            return low, high
        off = 2 * self.inexact * unit
        return low - off * low.abs(), high + off * high.abs()

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        """Return where tighter bounds of the input would give tighter lines."""
        return high > low

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Return how far outputs on the box may move if no input moves further than `error`."""
        least, most = self.interval(low - error, high + error, torch.finfo(low.dtype).eps)
        return most - least

    def free_slopes(self, low: Tensor, high: Tensor) -> Interval | None:
        """Return the range of slopes through the origin that are valid as lower line, or None."""
        return None

    def lines_in_window(
        self, lines: Lines, at: Place, size: Size, plane: Size
    ) -> tuple[Lines, Place, Size]:
        """Return the lines of a window of the output, and place and size of what they see.

        `at` and `size` are the window's, `plane` has the rows and columns of the input.
        """
        (row, column), (height, width) = at, size
        cut = (..., slice(row, row + height), slice(column, column + width))
        return Lines(*(None if t is None else t[cut] for t in lines)), at, size  # type: ignore[arg-type]

    @staticmethod
    def guard(low: Tensor, high: Tensor, unit: float) -> Tensor:
        """Return more than rounding does to a line whose formulas take a handful of operations."""
        return 16 * unit * torch.maximum(low.abs(), high.abs())
