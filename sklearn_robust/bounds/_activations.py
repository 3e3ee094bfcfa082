r"""The activations that the bounds know, with the lines that enclose them on an interval.

The intercepts are moved outwards by what rounding may do to them.

References
----------
.. [1] H. Zhang et al., "Efficient neural network robustness certification with general activation
   functions", NeurIPS 2018 (CROWN), section 3.3: the adaptive lower slope.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._layers import Interval, Lines, Nonlinear


class LeakyReLU(Nonlinear):
    """``max(z, slope z)``.

    Parameters
    ----------
    slope : float in [0, 1], or Tensor of such numbers, default=0.0
        0: ReLU. A tensor has one number, or one of each channel.

    Examples
    --------
    The chord above ReLU on [-1, 3]:

    >>> import torch
    >>> from sklearn_robust.bounds import LeakyReLU
    >>> lines = LeakyReLU().enclose(torch.tensor([-1.0]), torch.tensor([3.0]), unit=0.0)
    >>> lines.upper_slope, lines.upper
    (tensor([0.7500]), tensor([0.7500]))
    """

    def __init__(self, slope: float | Tensor = 0.0) -> None:
        self.slope = slope

    @property
    def rectifies(self) -> bool:  # type: ignore[override]
        return not isinstance(self.slope, Tensor) and self.slope == 0

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.slope, Tensor):
            return torch.where(x > 0, x, self._slope(x) * x)
        return functional.leaky_relu(x, self.slope) if self.slope else functional.relu(x)

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return error

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return (low < 0) & (high > 0)

    def free_slopes(self, low: Tensor, high: Tensor) -> Interval:
        """Return the range of slopes through the origin that are valid as lower line."""
        ends = self._one_where(low >= 0, low), self._one_where(high > 0, low)
        return ends[0].detach(), ends[1].detach()  # between which gradient steps choose

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        open_ = self.undecided(low, high)
        stable = self._one_where(low >= 0, low)
        width = torch.where(open_, high - low, 1.0)
        slope = self._slope(low)
        chord = (high - slope * low) / width
        # Whichever of the two slopes cuts off the smaller triangle [1]_.
        adaptive = self._one_where(high > -low, low)
        upper_slope = torch.where(open_, chord, stable)
        upper = torch.where(open_, (slope - chord) * low, 0.0)
        guard = self.guard(low, high, unit)
        return Lines(torch.where(open_, adaptive, stable), -guard, upper_slope, upper + guard)

    def _one_where(self, mask: Tensor, like: Tensor) -> Tensor:
        """Return 1 where `mask`, else the slope, in the precision of `like` (not float32)."""
        return torch.where(mask, like.new_ones(()), self._slope(like))

    def _slope(self, like: Tensor) -> Tensor:
        """Return the slope in a form that broadcasts against samples such as `like`."""
        if not isinstance(self.slope, Tensor):
            return like.new_full((), self.slope)
        channels = self.slope.to(like).reshape(-1, *[1] * (like.dim() - 2))
        return channels if len(self.slope) > 1 else channels.reshape(())


class Clamp(Nonlinear):
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

    def __init__(self, floor: float, ceiling: float) -> None:
        self.floor, self.ceiling = floor, ceiling

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.floor, self.ceiling)

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return error

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
        guard = self.guard(low, high, unit)
        return Lines(lower_slope, lower - guard, upper_slope, upper + guard)
