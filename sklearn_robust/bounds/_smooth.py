r"""Smooth activations, enclosed by lines that touch them.

Of a line below g on [l, u] only the slope m is chosen; as high as it can be, it has the intercept

.. math:: t = \min_{l \le z \le u} g(z) - m z

and the minimum is at an end, or where g has the slope m. So every slope gives a sound line, and how
it is found need not be exact: near the minimum g(z) - m z is flat, and an error of z counts for its
square. The same for lines above.

References
----------
.. [1] H. Zhang et al., "Efficient neural network robustness certification with general activation
   functions", NeurIPS 2018 (CROWN), section 3.2: tangents and chords of S-shaped functions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_robust.bounds._layers import Interval, Lines, Nonlinear

# Halvings in the search for a tangent point, on which only the choice of a slope depends.
_HALVINGS = 25
# A chord over less than this, in units of 1 + |z|, is the tangent.
_NARROW = 1e-5


class Smooth(Nonlinear):
    """An activation whose derivative is known, and where it has a given value.

    Attributes
    ----------
    steepest : float
        The largest absolute value of the derivative.
    """

    inexact = 4
    steepest = 1.0

    @abstractmethod
    def derivative(self, z: Tensor) -> Tensor:
        """Return the derivative at z."""

    @abstractmethod
    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        """Return all points with that derivative; what is none, NaN too, does no harm."""

    @abstractmethod
    def slopes(self, low: Tensor, high: Tensor) -> Interval:
        """Return good slopes of a line below and of one above."""

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return self.steepest * error

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        with torch.no_grad():
            below, above = self.slopes(low, high)
        lower = self._offsets(low, high, below).amin(0)
        upper = self._offsets(low, high, above).amax(0)
        guard = self.guard(low, high, unit) + 16 * unit
        return Lines(below, lower - guard, above, upper + guard)

    def _offsets(self, low: Tensor, high: Tensor, slope: Tensor) -> Tensor:
        """Return g(z) - slope z at the ends, and wherever else it may be extreme in between."""
        with torch.no_grad():
            inner = [self._within(z, low, high) for z in self.touching(slope)]
        return torch.stack([self.forward(z) - slope * z for z in (low, high, *inner)])

    @staticmethod
    def _within(z: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.where(z.isnan(), low, torch.minimum(torch.maximum(z, low), high))

    def chord(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the slope of the chord, that of the tangent where its ends are too close."""
        width = high - low
        wide = width > _NARROW * (1 + torch.maximum(low.abs(), high.abs()))
        rise = self.forward(high) - self.forward(low)
        return torch.where(
            wide, rise / torch.where(wide, width, 1.0), self.derivative((low + high) / 2)
        )


class SShaped(Smooth):
    """An activation that is convex below 0 and concave above, with a symmetry about 0."""

    def slopes(self, low: Tensor, high: Tensor) -> Interval:
        return self._slope_above(-high, -low), self._slope_above(low, high)

    def _slope_above(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the slope of a line above [1]_.

        A tangent on the concave side at or right of the one that passes through the function at
        `low`; the chord if there is none.
        """
        at_low = self.forward(low)
        left, right = low.clamp(min=0.0), torch.maximum(high, low.clamp(min=0.0))
        middle = (low + high) / 2

        def covers(z: Tensor) -> Tensor:  # whether the tangent at z is above the function at low
            return self.forward(z) - self.derivative(z) * (z - low) >= at_low

        some = covers(right) & (high > 0)
        for _ in range(_HALVINGS):
            half = (left + right) / 2
            good = covers(half)
            left, right = torch.where(good, left, half), torch.where(good, half, right)
        tangent = self.derivative(torch.maximum(right, middle))
        return torch.where(some, tangent, self.chord(low, high))


class Sigmoid(SShaped):
    """``1 / (1 + exp(-z))``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Sigmoid
    >>> lines = Sigmoid().enclose(torch.tensor([-4.0]), torch.tensor([-2.0]), unit=0.0)
    >>> lines.lower_slope.item() < lines.upper_slope.item()  # tangent and chord of a convex part
    True
    """

    keeps_order = True
    steepest = 0.25

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z) * torch.sigmoid(-z)

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        """Return where s (1 - s) is the slope; the smaller s without cancellation."""
        small = 2 * slope / (1 + (1 - 4 * slope).clamp(min=0.0).sqrt())
        z = torch.log1p(-small) - small.log()
        return z, -z


class Tanh(SShaped):
    """The hyperbolic tangent.

    Examples
    --------
    Between -1 and 1.2 the line above is a tangent that passes through the left end:

    >>> import torch
    >>> from sklearn_robust.bounds import Tanh
    >>> low = torch.tensor([-1.0], dtype=torch.float64)
    >>> lines = Tanh().enclose(low, low + 2.2, unit=0.0)
    >>> bool((lines.upper_slope * low + lines.upper - low.tanh()).abs() < 1e-6)
    True
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def derivative(self, z: Tensor) -> Tensor:
        return 4 * torch.sigmoid(2 * z) * torch.sigmoid(-2 * z)

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        return [z / 2 for z in Sigmoid().touching(slope / 4)]


class Softsign(SShaped):
    """``z / (1 + |z|)``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Softsign
    >>> lines = Softsign().enclose(torch.tensor([0.0]), torch.tensor([3.0]), unit=0.0)
    >>> lines.lower_slope, lines.lower  # the chord of a concave part
    (tensor([0.2500]), tensor([0.]))
    """

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + x.abs())

    def derivative(self, z: Tensor) -> Tensor:
        return (1 + z.abs()) ** -2

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        z = slope.rsqrt() - 1
        return z, -z
