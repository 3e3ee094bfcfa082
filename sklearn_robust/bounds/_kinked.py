"""Activations with kinks beside bends, or which bend outwards: ELU, hardswish, and what shrinks.

Which slope is good depends on where the kinks are; of a few, that is taken whose line is closest to
the function in the middle of the interval.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._layers import Interval, Lines
from sklearn_robust.bounds._smooth import Smooth


class Kinked(Smooth):
    """An activation with a derivative everywhere but at some points.

    Attributes
    ----------
    kinks : tuple of float
    """

    kinks: tuple[float, ...]

    def slopes(self, low: Tensor, high: Tensor) -> Interval:
        middle = (low + high) / 2
        candidates = [self.chord(low, high), *map(self.derivative, (middle, low, high))]
        for kink in self.kinks:
            candidates.append(self.chord(low, high.clamp(max=kink).maximum(low)))
            candidates.append(self.chord(low.clamp(min=kink).minimum(high), high))
        return self._closest(low, high, candidates)

    def _closest(self, low: Tensor, high: Tensor, candidates: Sequence[Tensor]) -> Interval:
        """Return of some slopes those whose lines are closest in the middle, below and above.

        There the distance of a line is the mean of its distances at all points of the interval.
        """
        offsets = [self._offsets(low, high, slope) for slope in candidates]
        slope = torch.stack(list(candidates))
        at = slope * (low + high) / 2
        below = (at + torch.stack([offset.amin(0) for offset in offsets])).argmax(0, keepdim=True)
        above = (at + torch.stack([offset.amax(0) for offset in offsets])).argmin(0, keepdim=True)
        return slope.gather(0, below)[0], slope.gather(0, above)[0]

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        """Return where the derivative is the slope, and the kinks."""
        return [self.bent_at(slope), *(torch.full_like(slope, kink) for kink in self.kinks)]

    def bent_at(self, slope: Tensor) -> Tensor:
        """Return where the derivative is the slope, in the one part that is no line."""
        raise NotImplementedError

    def enclose(self, low: Tensor, high: Tensor, unit: float) -> Lines:
        lines, off = super().enclose(low, high, unit), 2 * self.inexact_at_zero * unit
        return lines._replace(lower=lines.lower - off, upper=lines.upper + off)

    def interval(self, low: Tensor, high: Tensor, unit: float) -> Interval:
        values = self._offsets(low, high, torch.zeros_like(low))
        off = self.guard(low, high, unit) + 2 * self.inexact_at_zero * unit
        return values.amin(0) - off, values.amax(0) + off


class ELU(Kinked):
    """``scale z`` where z > 0, and ``scale alpha (exp(z / width) - 1)`` else: ELU, CELU, SELU.

    Parameters
    ----------
    alpha, width, scale : float > 0, default=1.0

    Examples
    --------
    The chord above a convex function:

    >>> import torch
    >>> from sklearn_robust.bounds import ELU
    >>> lines = ELU().enclose(torch.tensor([-1.0]), torch.tensor([1.0]), unit=0.0)
    >>> lines.upper_slope.round(decimals=4), lines.upper.round(decimals=4)
    (tensor([0.8161]), tensor([0.1839]))
    """

    kinks = (0.0,)

    def __init__(self, alpha: float = 1.0, width: float = 1.0, scale: float = 1.0) -> None:
        self.depth, self.width, self.scale = scale * alpha, width, scale
        self.steepest = max(scale, self.depth / width)
        self.inexact_at_zero = 4 * self.depth  # where 1 is taken off an exponential

    def forward(self, x: Tensor) -> Tensor:
        below = self.depth * torch.expm1(x.clamp(max=0.0) / self.width)
        return torch.where(x > 0, self.scale * x, below)

    def derivative(self, z: Tensor) -> Tensor:
        below = self.depth / self.width * torch.exp(z.clamp(max=0.0) / self.width)
        return torch.where(z > 0, self.scale, below)

    def bent_at(self, slope: Tensor) -> Tensor:
        return (self.width * (slope * (self.width / self.depth)).log()).clamp(max=0.0)


class Hardswish(Kinked):
    """``z min(max(z + 3, 0), 6) / 6``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Hardswish
    >>> low, high = Hardswish().interval(torch.tensor([-5.0]), torch.tensor([0.0]), unit=0.0)
    >>> low, high
    (tensor([-0.3750]), tensor([0.]))
    """

    increasing = False
    kinks = (-3.0, 3.0)
    steepest = 1.5
    inexact_at_zero = 4.0  # of z + 3

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardswish(x)

    def derivative(self, z: Tensor) -> Tensor:
        bent = (2 * z + 3) / 6
        return torch.where(z <= -3, 0.0, torch.where(z >= 3, 1.0, bent))

    def bent_at(self, slope: Tensor) -> Tensor:
        return (3 * slope - 1.5).clamp(-3.0, 3.0)


class Softshrink(Kinked):
    """Moved by `threshold` towards 0, and 0 where it would pass it.

    Parameters
    ----------
    threshold : float >= 0, default=0.5

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Softshrink
    >>> Softshrink().interval(torch.tensor([-2.0]), torch.tensor([0.25]), unit=0.0)
    (tensor([-1.5000]), tensor([0.]))
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold, self.kinks = threshold, (-threshold, threshold)
        self.inexact_at_zero = 4 * threshold  # which is taken off

    def forward(self, x: Tensor) -> Tensor:
        return functional.softshrink(x, self.threshold)

    def derivative(self, z: Tensor) -> Tensor:
        return (z.abs() > self.threshold).to(z)

    def bent_at(self, slope: Tensor) -> Tensor:
        return torch.zeros_like(slope)  # nowhere


class Tanhshrink(Kinked):
    """``z - tanh(z)``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import Tanhshrink
    >>> Tanhshrink().interval(torch.tensor([-1.0]), torch.tensor([2.0]), unit=0.0)
    (tensor([-0.2384]), tensor([1.0360]))
    """

    kinks = ()
    inexact_at_zero = 4.0  # where two numbers of one size are subtracted

    def forward(self, x: Tensor) -> Tensor:
        return functional.tanhshrink(x)

    def derivative(self, z: Tensor) -> Tensor:
        return torch.tanh(z) ** 2

    def touching(self, slope: Tensor) -> Sequence[Tensor]:
        at = self.bent_at(slope)
        return [at, -at]

    def bent_at(self, slope: Tensor) -> Tensor:
        return torch.atanh(slope.clamp(min=0.0).sqrt())
