r"""Lines around the kernels of all centres over the set around one sample, and what they add up to.

A margin is ``sum_s a_s f(q_s(x)) + b``. For a term with a_s > 0 a line below f is taken, for one
with a_s < 0 a line above it; the lines add up to a single quadratic in x,

.. math:: \sum_s a_s m_s q_s(x) + \text{const}, \quad q_s(x) = |x - s|^2 \text{ or } x \cdot s

whose least value over the set is known. Where it lies, the lines are laid anew as tangents.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import EPS, enclosing_box
from sklearn_robust.bounds._kernels import Kernel
from sklearn_robust.bounds._quadratics import least_quadratic
from sklearn_robust.bounds._reach import Reach

# Times that lines are laid.
_ROUNDS = 6


class Relaxation:
    """The kernels of all centres over the set around one sample."""

    def __init__(
        self,
        kernel: Kernel,
        centres: np.ndarray,
        reach: Reach,
        threat: ThreatModel,
        unit: float = EPS,
    ) -> None:
        self.kernel, self.reach, n = kernel, reach, centres.shape[1]
        delta, free = centres - reach.x, reach.free
        low, high = (end[0] for end in enclosing_box(reach.x[None], threat))
        largest = float(np.linalg.norm(np.maximum(abs(low), abs(high))))
        if kernel.of_distance:
            self.q, self.g = (delta**2).sum(axis=1), -2 * delta[:, free]
            self.low, self.high = self._distances(centres, low, high)
            size = (largest + np.linalg.norm(centres, axis=1)) ** 2  # of the expanded form
        else:
            self.q, self.g = centres @ reach.x, centres[:, free]
            pull = self.g * reach.radii
            self.low, self.high = self.q + reach.lowest(pull), self.q - reach.lowest(-pull)
            size = largest * np.linalg.norm(centres, axis=1)
        rounding = (8 * n + 64) * EPS * size
        self.low, self.high = self.low - rounding, self.high + rounding
        if kernel.of_distance:
            self.low = self.low.clip(0, None)
        f = np.maximum(abs(kernel(self.low)), abs(kernel(self.high)))
        steep = kernel.steepest(self.low, self.high)
        # What rounding may do to a term, and to lines per slope; sums add up as many roundings.
        self.size = EPS * size
        self.terms = unit * (f + steep * self.high * kernel.of_distance) + EPS * steep * size
        self.terms += np.finfo(np.float32 if unit > EPS else np.float64).tiny
        self.n_roundings = 4 * (len(centres) + n + 64)

    def _distances(
        self, centres: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges of the squared distances, over the box and over a ball around it."""
        near = np.maximum(np.maximum(low - centres, centres - high), 0)
        far = np.maximum(abs(low - centres), abs(high - centres))
        least, most = (near**2).sum(axis=1), (far**2).sum(axis=1)
        if self.reach.norm.name in ("l2", "l1") and len(self.reach.free):
            radius, root = self.reach.radii.max(), np.sqrt(self.q)
            least = np.maximum(least, (root - radius).clip(0, None) ** 2)
            most = np.minimum(most, (root + radius) ** 2)
        return least, most

    def bound(self, a: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower bounds of ``sum_s a_ks f(q_s) + offset_k`` for each k, and points met, in u.

        Parameters
        ----------
        a : ndarray of shape (n_sums, n_centres)
        offsets : ndarray of shape (n_sums,)

        Returns
        -------
        bound : ndarray of shape (n_sums,)
        points : ndarray of shape (n_rounds, n_sums, n_free)
        """
        best, points = np.full(len(a), -np.inf), [np.zeros((len(a), len(self.reach.free)))]
        q = np.broadcast_to(self.q.clip(self.low, self.high), a.shape)
        for number in range(_ROUNDS):
            m, intercept = self._lines(a, q)
            value, u = self._least(a * m)
            value = value + offsets + (a * (m * self.q + intercept)).sum(axis=1)
            value = value - self._slack(a, m, offsets)
            best = np.fmax(best, value)  # NaN, of numbers out of range, proves nothing
            points.append(u)
            q = (q * (number + 1) + self._inner(u)) / (number + 2)
            q = q.clip(self.low, self.high)
        return best, np.array(points)

    @cached_property
    def _chord(self) -> np.ndarray:
        """The slopes of the chords."""
        width = self.high - self.low
        rise = self.kernel(self.high) - self.kernel(self.low)
        return np.where(
            width > 0, rise / np.where(width > 0, width, 1), self.kernel.slope(self.low)
        )

    def _lines(self, a: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes and intercepts, for each term the better of a chord and a tangent."""
        lines = []
        for m in (np.broadcast_to(self._chord, a.shape), self.kernel.slope(q)):
            below, above = self.kernel.intercepts(m, self.low, self.high)
            lines.append((m, np.where(a > 0, below, above)))
        first, second = (a * (m * q + intercept) for m, intercept in lines)
        better = second > first
        (m, intercept), (tangent, other) = lines
        return np.where(better, tangent, m), np.where(better, other, intercept)

    def _least(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least change of ``sum weights q`` over the set, and where it is."""
        slope = weights @ self.g
        if not len(self.reach.free):
            return np.zeros(len(weights)), slope
        if self.kernel.of_distance:
            return least_quadratic(self.reach, weights.sum(axis=1), slope)
        pull = slope * self.reach.radii
        return self.reach.lowest(pull), self.reach.steepest(-pull)

    def _inner(self, u: np.ndarray) -> np.ndarray:
        """Return q of all centres at some points."""
        d = self.reach.radii * u
        moved = self.q + d @ self.g.T
        return moved + ((d**2).sum(axis=1)[:, None] if self.kernel.of_distance else 0.0)

    def _slack(self, a: np.ndarray, m: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return what rounding may do to the sums, here and where the classifier adds them up."""
        size = (abs(a) * (self.terms + abs(m) * self.size)).sum(axis=1)
        return self.n_roundings * (size + EPS * abs(offsets))
