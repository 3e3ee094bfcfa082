r"""Losses of a margin m = y (w . x + b) under attack, and what a dual certificate needs of them.

An adversary with dual length t = ||epsilon * w|| can move the margin to anywhere in [m - t, m + t].
Each loss is therefore a function phi(m, t), convex, and given by

- its value and ``-phi_m`` and ``phi_t`` (`slopes`), which are the dual variables (a, s);
- its second derivatives (`curvatures`), for Newton's method;
- ``entropy(a, s)`` with ``phi(m, t) = max_(a, s) entropy(a, s) - a m + s t``, the negative of the
  convex conjugate: any admissible (a, s) then gives a lower bound on the objective.

A loss that falls with the margin is a function of ``m - t`` alone, and a = s. The squared loss is
not: its adversary pushes outward, ``phi = (|1 - m| + t)^2``.

Two losses have a kink. They are minimised through a smooth one that is nowhere above them, and the
certificate holds for the loss itself: `value` is exact, `smooth_value` is what is minimised.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr

Pair = tuple[np.ndarray, np.ndarray]
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


class MarginLoss:
    """Base of the losses ``phi(m, t) = loss(m - t)`` with a falling, convex `loss`."""

    falls_for_ever = False  # as the margin grows, so that it may have no minimum
    smoothing = 0.0  # how far smooth_value may be below value is proportional to it

    def value(self, m: np.ndarray, t: float) -> np.ndarray:
        """Return phi for each sample."""
        return self._loss(m - t)

    def smooth_value(self, m: np.ndarray, t: float) -> np.ndarray:
        """Return what is minimised in the place of phi."""
        return self.value(m, t)

    def slopes(self, m: np.ndarray, t: float) -> Pair:
        """Return ``-phi_m`` and ``phi_t``."""
        p = self._slope(m - t)
        return p, p

    def curvatures(self, m: np.ndarray, t: float) -> Triple:
        """Return ``phi_mm``, ``-phi_mt`` and ``phi_tt``."""
        h = self._curvature(m - t)
        return h, h, h

    def entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return the negative conjugate; -inf where (a, s) is not admissible."""
        raise NotImplementedError

    def smooth_entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return the negative conjugate of the smooth loss, for its own slopes."""
        return self.entropy(a, s)

    def _loss(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _slope(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _curvature(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Logistic(MarginLoss):
    """log(1 + exp(-z))."""

    falls_for_ever = True

    def _loss(self, z: np.ndarray) -> np.ndarray:
        # The same as logaddexp(0, -z), in a third of the time.
        return np.log1p(np.exp(-abs(z))) - np.minimum(z, 0)

    def _slope(self, z: np.ndarray) -> np.ndarray:
        # The same as expit(-z), in a fifth of the time; the reciprocal of an overflow is right.
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(z))

    def _curvature(self, z: np.ndarray) -> np.ndarray:
        p = self._slope(abs(z))
        return p * (1 - p)

    def entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        return entr(a) + entr(1 - a)


class SquaredHinge(MarginLoss):
    """max(0, 1 - z)^2."""

    def _loss(self, z: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - z) ** 2

    def _slope(self, z: np.ndarray) -> np.ndarray:
        return 2 * np.maximum(0, 1 - z)

    def _curvature(self, z: np.ndarray) -> np.ndarray:
        return np.where(z < 1, 2.0, 0.0)

    def entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.where(a >= 0, a - a**2 / 4, -np.inf)


class Hinge(MarginLoss):
    """max(0, 1 - z); minimised with a parabola, as wide as `smoothing`, for the kink."""

    def __init__(self, smoothing: float = 2.0) -> None:
        self.smoothing = smoothing

    def smooth_value(self, m: np.ndarray, t: float) -> np.ndarray:
        short = np.maximum(0, 1 - (m - t))
        p = np.minimum(short / self.smoothing, 1)
        return p * short - self.smoothing * p**2 / 2

    def smooth_entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        return a - self.smoothing * a**2 / 2

    def _loss(self, z: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - z)

    def _slope(self, z: np.ndarray) -> np.ndarray:
        return ((1 - z) / self.smoothing).clip(0, 1)

    def _curvature(self, z: np.ndarray) -> np.ndarray:
        return np.where((z < 1) & (z > 1 - self.smoothing), 1 / self.smoothing, 0.0)

    def entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.where((a >= 0) & (a <= 1), a, -np.inf)


class Squared(MarginLoss):
    r"""(|1 - m| + t)^2; minimised with ``|r|`` replaced by ``sqrt(r^2 + mu^2) - mu`` <= |r|.

    mu is `smoothing`. With labels of -1 and +1 this is (y - f(x))^2 at its worst over the ball.
    """

    def __init__(self, smoothing: float = 2.0) -> None:
        self.smoothing = smoothing

    def value(self, m: np.ndarray, t: float) -> np.ndarray:
        return (abs(1 - m) + t) ** 2

    def smooth_value(self, m: np.ndarray, t: float) -> np.ndarray:
        return (self._soft(1 - m)[0] + t) ** 2

    def slopes(self, m: np.ndarray, t: float) -> Pair:
        soft, first, _ = self._soft(1 - m)
        s = 2 * (soft + t)
        return s * first, s

    def curvatures(self, m: np.ndarray, t: float) -> Triple:
        soft, first, second = self._soft(1 - m)
        return 2 * (first**2 + (soft + t) * second), 2 * first, np.full_like(m, 2.0)

    def entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.where(abs(a) <= s * (1 + 1e-12), a - s**2 / 4, -np.inf)

    def smooth_entropy(self, a: np.ndarray, s: np.ndarray) -> np.ndarray:
        ratio = np.divide(a, s, out=np.zeros_like(a), where=s > 0).clip(-1, 1)
        return a - s**2 / 4 + self.smoothing * s * (np.sqrt(1 - ratio**2) - 1)

    def _soft(self, r: np.ndarray) -> Triple:
        """Return the smooth absolute value with its first two derivatives."""
        root = np.hypot(r, self.smoothing)
        return root - self.smoothing, r / root, self.smoothing**2 / root**3


LOSSES: dict[str, type[MarginLoss]] = {
    "logistic": Logistic,
    "squared_hinge": SquaredHinge,
    "hinge": Hinge,
    "squared": Squared,
}
