"""One kernel around all centres over the set around one sample: ranges, lines and roundings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import EPS, enclosing_box
from sklearn_robust.bounds._kernels import ConvexKernel, Kernel
from sklearn_robust.bounds._reach import Reach


@dataclass
class Leaf:
    """One kernel of all centres over the set around one sample.

    With d the move of the features that are free, ``q_s = q + <g, d> + <curve, d^2>``.

    Attributes
    ----------
    kernel : Kernel
    q : ndarray of shape (n_centres,)
        Of the sample itself.
    g : ndarray of shape (n_centres, n_free)
    curve : ndarray of shape (n_free,)
    low, high : ndarray of shape (n_centres,)
        The range of q, rounding included.
    size : ndarray of shape (n_centres,)
        What one rounding may do to q.
    shaken : ndarray of shape (n_centres,)
        What one rounding may do to f.
    """

    kernel: Kernel
    q: np.ndarray
    g: np.ndarray
    curve: np.ndarray
    low: np.ndarray
    high: np.ndarray
    size: np.ndarray
    shaken: np.ndarray

    def __post_init__(self) -> None:
        f = self.kernel
        self.ends = f(self.low), f(self.high)
        width = self.high - self.low
        safe = np.where(width > 0, width, 1)
        self.chord = np.where(width > 0, (self.ends[1] - self.ends[0]) / safe, f.slope(self.low))
        if isinstance(f, ConvexKernel):
            self.least, self.most = self.ends[1], self.ends[0]
        else:
            self.least, self.most = f.intercepts(np.zeros(len(self.q)), self.low, self.high)
        self._beside_chord = f.intercepts(self.chord, self.low, self.high)

    @classmethod
    def around(
        cls,
        kernel: Kernel,
        centres: np.ndarray,
        reach: Reach,
        threat: ThreatModel,
        unit: float,
        inner_unit: float,
    ) -> Leaf:
        """Return a kernel over the set; see `Kernel.shaken` for the units."""
        low, high = (end[0] for end in enclosing_box(reach.x[None], threat))
        metric = np.broadcast_to(1.0 if kernel.metric is None else kernel.metric, reach.x.shape)
        root = np.sqrt(metric)
        largest = float(np.linalg.norm(root * np.maximum(abs(low), abs(high))))
        delta, free = centres - reach.x, reach.free
        if kernel.of_distance:
            q, g = (metric * delta**2).sum(axis=1), -2 * metric[free] * delta[:, free]
            ends = _distances(centres, low, high, root, q, reach)
            size = (largest + np.linalg.norm(root * centres, axis=1)) ** 2  # of the expanded form
        else:
            q, g = centres @ reach.x, centres[:, free]
            pull = g * reach.radii
            ends = q + reach.lowest(pull), q - reach.lowest(-pull)
            size = largest * np.linalg.norm(centres, axis=1)
        rounding = (8 * centres.shape[1] + 64) * max(EPS, inner_unit) * size
        least, most = ends[0] - rounding, ends[1] + rounding
        if kernel.of_distance:
            least = least.clip(0, None)
        shaken = kernel.shaken(least, most, size, unit, inner_unit)
        curve = metric[free] * kernel.of_distance
        return cls(kernel, q, g, curve, least, most, EPS * size, shaken)

    @property
    def largest(self) -> np.ndarray:
        """Return the largest ``|f|`` of each centre."""
        return np.maximum(abs(self.least), abs(self.most))

    def at(self, q: np.ndarray) -> np.ndarray:
        """Return where tangents are laid, from numbers that may lie out of range."""
        return np.maximum(q.clip(self.low, self.high), self.kernel.least)

    def lines(self, a: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return slopes and intercepts of lines below ``a f``, over a.

        For each term the better of a chord and a tangent is taken, as it is at q.
        """
        m, below, above = self._tangents(q)
        chord, (first, second) = self.chord, self._beside_chord
        tangent, other = np.where(a > 0, below, above), np.where(a > 0, first, second)
        better = a * (m * q + tangent) > a * (chord * q + other)
        return np.where(better, m, chord), np.where(better, tangent, other)

    def _tangents(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return slopes at q, and intercepts of lines of that slope below and above."""
        m = self.kernel.slope(q)
        if not isinstance(self.kernel, ConvexKernel):
            return m, *self.kernel.intercepts(m, self.low, self.high)
        above = np.maximum(self.ends[0] - m * self.low, self.ends[1] - m * self.high)
        return m, self.kernel(q) - m * q, above

    def moved(self, d: np.ndarray) -> np.ndarray:
        """Return q of all centres after moves, shape (n_moves, n_centres)."""
        return self.q + d @ self.g.T + (d**2 @ self.curve)[:, None]


def _distances(
    centres: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    root: np.ndarray,
    q: np.ndarray,
    reach: Reach,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranges of the squared distances, over the box and over a ball around it."""
    near = root * np.maximum(np.maximum(low - centres, centres - high), 0)
    far = root * np.maximum(abs(low - centres), abs(high - centres))
    least, most = (near**2).sum(axis=1), (far**2).sum(axis=1)
    if reach.norm.name in ("l2", "l1") and len(reach.free):
        radius, here = (root[reach.free] * reach.radii).max(), np.sqrt(q)
        least = np.maximum(least, (here - radius).clip(0, None) ** 2)
        most = np.minimum(most, (here + radius) ** 2)
    return least, most
