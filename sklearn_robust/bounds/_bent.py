"""Smooth activations that are straight far out and bent between: softplus, SiLU, GELU, Mish."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._smooth import Smooth

# Beyond this SiLU and GELU are straight to more than float64 resolves, and halvings from there to
# where a derivative is found; an error of 1e-9 counts for its square.
_STRAIGHT, _HALVINGS = 50.0, 36
# Of the approximation of GELU by tanh.
_ROOT, _CUBE = math.sqrt(2 / math.pi), 0.044715


class Softplus(Smooth):
    """``log(1 + exp(beta z)) / beta``, and z itself where ``beta z`` is above a threshold.

    Parameters
    ----------
    beta : float > 0, default=1.0
    threshold : float, default=20.0

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Softplus
    >>> lines = Softplus().enclose(torch.tensor([-1.0]), torch.tensor([1.0]), unit=0.0)
    >>> lines.lower_slope, lines.upper_slope  # tangent and chord of a convex function
    (tensor([0.5000]), tensor([0.5000]))
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x, self.beta, self.threshold)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.beta * z)

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        return [(slope.log() - torch.log1p(-slope)) / self.beta]

    def slopes(self, low: Tensor, high: Tensor) -> Interval:
        return self.derivative((low + high) / 2), self.chord(low, high)

    def spread(self, error: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return error + self._fall(high + error)

    def interval(self, low: Tensor, high: Tensor, unit: float) -> Interval:
        least, most = super().interval(low, high, unit)
        fall = self._fall(high)
        return least - fall, most + fall

    def _offsets(self, low: Tensor, high: Tensor, slope: Tensor) -> Tensor:
        offsets, fall = super()._offsets(low, high, slope), self._fall(high)
        return torch.cat([offsets - fall, offsets + fall])

    def _fall(self, high: Tensor) -> Tensor:
        """Return by how much the function may fall at the threshold, where inputs go so far."""
        fall = math.log1p(math.exp(-self.threshold)) / self.beta
        return torch.where(self.beta * high > 0.999 * self.threshold, fall, 0.0).to(high)


class Gated(Smooth):
    """``z`` times what rises from 0 to 1: falls, and rises; convex in the middle only.

    Attributes
    ----------
    bends : (float, float)
        Between these it is convex.
    """

    increasing = False
    bends: tuple[float, float]

    def slopes(self, low: Tensor, high: Tensor) -> Interval:
        chord, tangent = self.chord(low, high), self.derivative((low + high) / 2)
        left, right = self.bends
        convex = (low >= left) & (high <= right)
        concave = (high <= left) | (low >= right)
        return torch.where(convex, tangent, chord), torch.where(concave, tangent, chord)

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        """Return where the derivative is the slope: it falls, rises between the bends, falls."""
        left, right = self.bends
        pieces = ((-_STRAIGHT, left), (right, left), (right, _STRAIGHT))
        return [self._falling_to(slope, *piece) for piece in pieces]

    def _falling_to(self, slope: Tensor, start: float, end: float) -> Tensor:
        """Return where the derivative is the slope, on the way from the higher end of a piece."""
        above, below = torch.full_like(slope, start), torch.full_like(slope, end)
        for _ in range(_HALVINGS):
            half = (above + below) / 2
            higher = self.derivative(half) >= slope
            above, below = torch.where(higher, half, above), torch.where(higher, below, half)
        return above

    def interval(self, low: Tensor, high: Tensor, unit: float) -> Interval:
        values = self._offsets(low, high, torch.zeros_like(low))
        guard = self.guard(low, high, unit)
        return values.amin(0) - guard, values.amax(0) + guard


class SiLU(Gated):
    """``z / (1 + exp(-z))``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import SiLU
    >>> low, high = SiLU().interval(torch.tensor([-5.0]), torch.tensor([0.0]), unit=0.0)
    >>> low.round(decimals=4), high
    (tensor([-0.2785]), tensor([0.]))
    """

    bends = (-2.3993572805154, 2.3993572805154)
    steepest = 1.1

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def derivative(self, z: Tensor) -> Tensor:
        share = torch.sigmoid(z)
        return share * (1 + z * torch.sigmoid(-z))


class Mish(Gated):
    """``z tanh(log(1 + exp(z)))``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Mish
    >>> low, high = Mish().interval(torch.tensor([-5.0]), torch.tensor([0.0]), unit=0.0)
    >>> low.round(decimals=4), high
    (tensor([-0.3088]), tensor([0.]))
    """

    inexact = 8
    bends = (-2.2563763963607931, 1.4905711794854284)
    steepest = 1.09

    def forward(self, x: Tensor) -> Tensor:
        return functional.mish(x)

    def derivative(self, z: Tensor) -> Tensor:
        gate = torch.tanh(functional.softplus(z))
        return gate + z * torch.sigmoid(z) * (1 - gate) * (1 + gate)


class GELU(Gated):
    """``z Phi(z)`` with the normal distribution function, or its approximation by tanh.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default="none"

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import GELU
    >>> low, high = GELU().interval(torch.tensor([-5.0]), torch.tensor([0.0]), unit=0.0)
    >>> low.round(decimals=4), high
    (tensor([-0.1700]), tensor([0.]))
    """

    steepest = 1.13

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate
        bend = math.sqrt(2) if approximate == "none" else 1.4185040087908283
        self.bends = -bend, bend

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate=self.approximate)

    def derivative(self, z: Tensor) -> Tensor:
        if self.approximate == "none":
            density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            return torch.special.ndtr(z) + z * density
        # With u = _ROOT (z + _CUBE z^3), half of 1 + tanh(u) is the sigmoid of 2 u.
        u, rise = _ROOT * (z + _CUBE * z**3), 2 * _ROOT * (1 + 3 * _CUBE * z**2)
        share = torch.sigmoid(2 * u)
        return share + z * rise * share * torch.sigmoid(-2 * u)
