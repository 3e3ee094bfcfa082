r"""The nonlinear layers: their interval rule, and the lines that enclose them on an interval.

Over the box [l, u] a function g is enclosed by two lines,

.. math:: s_{lo} z + t_{lo} \le g(z) \le s_{up} z + t_{up},

elementwise for activations, and for max-pooling with one z per window for each line. The intercepts
are moved outwards by what rounding may do to them.

References
----------
.. [1] H. Zhang et al., "Efficient neural network robustness certification with general activation
   functions", NeurIPS 2018 (CROWN), section 3.3: the adaptive lower slope.
.. [2] G. Singh et al., "An abstract domain for certifying neural networks", POPL 2019: max-pooling.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Lines(NamedTuple):
    """Slopes and intercepts of the two lines, for each output of the layer.

    `lower_at`, `upper_at` say which input (a flat index within the channel's plane) each output's
    line is a function of; None: the input in the same place.
    """

    lower_slope: Tensor
    lower: Tensor
    upper_slope: Tensor
    upper: Tensor
    lower_at: Tensor | None = None
    upper_at: Tensor | None = None


class Activation(Protocol):
    """A nonlinear layer that does not decrease in any of its inputs."""

    affine: bool
    elementwise: bool

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output; as it is monotone, this is the interval rule too."""

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        """Return where tighter bounds of the input would give tighter lines."""

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        """Return the lines on the box; `unit` is the spacing of numbers at 1, 0 to ignore it."""


class LeakyReLU:
    """``max(z, slope z)``.

    Parameters
    ----------
    slope : float in [0, 1], default=0.0
        0: ReLU.

    Examples
    --------
    The chord above ReLU on [-1, 3]:

    >>> import torch
    >>> from sklearn_robust.bounds import LeakyReLU
    >>> lines = LeakyReLU().enclose(torch.tensor([-1.0]), torch.tensor([3.0]), unit=0.0)
    >>> lines.upper_slope, lines.upper
    (tensor([0.7500]), tensor([0.7500]))
    """

    affine = False
    elementwise = True

    def __init__(self, slope: float = 0.0) -> None:
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x, self.slope) if self.slope else functional.relu(x)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return (low < 0) & (high > 0)

    def free_slopes(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return the range of slopes through the origin that are valid as lower line."""
        return self._one_where(low >= 0, low), self._one_where(high > 0, low)

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        open_ = self.undecided(low, high)
        stable = self._one_where(low >= 0, low)
        width = torch.where(open_, high - low, 1.0)
        chord = (high - self.slope * low) / width
        # Whichever of the two slopes cuts off the smaller triangle [1]_.
        adaptive = self._one_where(high > -low, low)
        upper_slope = torch.where(open_, chord, stable)
        upper = torch.where(open_, (self.slope - chord) * low, 0.0)
        guard = _guard(low, high, unit)
        return Lines(torch.where(open_, adaptive, stable), -guard, upper_slope, upper + guard)

    def _one_where(self, mask: Tensor, like: Tensor) -> Tensor:
        """Return 1 where `mask`, else the slope, in the precision of `like` (not float32)."""
        return torch.where(mask, like.new_ones(()), like.new_full((), self.slope))


class Clamp:
    """``min(max(z, floor), ceiling)``: hardtanh, ReLU6, ramps.

    Parameters
    ----------
    floor, ceiling : float
        With floor < ceiling.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Clamp, interval_bounds, register_layer
    >>> class Percent(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.clip(0, 100)
    >>> register_layer(Percent, lambda module: [Clamp(0.0, 100.0)])
    >>> interval_bounds(Percent(), torch.tensor([[-5.0]]), torch.tensor([[50.0]]))
    (tensor([[0.]]), tensor([[50.]]))
    """

    affine = False
    elementwise = True

    def __init__(self, floor: float, ceiling: float) -> None:
        self.floor, self.ceiling = floor, ceiling

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.floor, self.ceiling)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return ((low < self.floor) & (high > self.floor)) | (
            (low < self.ceiling) & (high > self.ceiling)
        )

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        """Return two lines; each is a chord to a kink or a constant, the one closer to g.

        Above: through (l, g(l)) and (c, c) with c = min(u, ceiling). Where u is beyond the
        ceiling, this lies above g on all of [l, u] and is better than the constant ceiling if
        the part beyond is the shorter one. Below, the same upside down.
        """
        at_low, at_high = self.forward(low), self.forward(high)
        kink = high.clamp(max=self.ceiling)
        rising = (kink > low) & ((high - self.ceiling) < (self.ceiling - low))
        run = torch.where(rising, kink - low, 1.0)
        upper_slope = torch.where(rising, (self.forward(kink) - at_low) / run, 0.0)
        upper = torch.where(rising, at_low - upper_slope * low, at_high)
        kink = low.clamp(min=self.floor)
        falling = (kink < high) & ((self.floor - low) < (high - self.floor))
        run = torch.where(falling, high - kink, 1.0)
        lower_slope = torch.where(falling, (at_high - self.forward(kink)) / run, 0.0)
        lower = torch.where(falling, at_high - lower_slope * high, at_low)
        guard = _guard(low, high, unit)
        return Lines(lower_slope, lower - guard, upper_slope, upper + guard)


class MaxPool:
    """Maximum over windows of an image.

    Below, the window's entry with the largest lower bound. Above, with the entry i of the largest
    upper bound and t the second largest upper bound, ``max z <= max(z_i, t)``, and the chord of
    that: never above the usual constant u_i, and exact where entry i wins for certain.

    Parameters
    ----------
    size, stride, padding : (int, int)
        Along height and width.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import MaxPool
    >>> low, high = torch.tensor([[[[0., 2.]]]]), torch.tensor([[[[1., 3.]]]])
    >>> lines = MaxPool((1, 2), (1, 2), (0, 0)).enclose(low, high, unit=0.0)
    >>> lines.upper_at.item(), lines.upper_slope.item(), lines.upper.item()  # the second wins
    (1, 1.0, 0.0)
    """

    affine = False
    elementwise = False

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.size, self.stride, self.padding)

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
        guard = _guard(best_low, top, unit) + _guard(low_of_top, top, unit)
        return Lines(torch.ones_like(slope), -guard, slope, upper + guard, lower_at, upper_at)

    def window(self, size: tuple[int, int], at: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return rows and columns, from and to, of the inputs of a window of the output."""
        spans = []
        for n, start, k, stride, padding in zip(
            size, at, self.size, self.stride, self.padding, strict=True
        ):
            first = start * stride - padding
            spans += [first, first + (n - 1) * stride + k]
        return spans[0], spans[1], spans[2], spans[3]

    def _second_largest(self, high: Tensor) -> Tensor:
        """Return the second largest entry of each window; -inf if the window has one only."""
        (rows, columns), (p, q) = self.size, self.padding
        padded = functional.pad(high, (q, q, p, p), value=-torch.inf)
        windows = padded.unfold(2, rows, self.stride[0]).unfold(3, columns, self.stride[1])
        windows = windows.flatten(4)
        if windows.shape[-1] == 1:
            return torch.full_like(windows[..., 0], -torch.inf)
        return windows.topk(2, dim=-1).values[..., 1]


def _guard(low: Tensor, high: Tensor, unit: float) -> Tensor:
    """Return more than rounding can do to a line: its formulas take a handful of operations."""
    return 16 * unit * torch.maximum(low.abs(), high.abs())
