"""Piecewise polynomials of one feature each: their values, slopes and minima over intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sklearn_robust.bounds._lattice import Lattice

# Roundings by which a point is moved past the end of a piece.
_STEPS = 8
Point = tuple[np.ndarray, np.ndarray]  # a value for each row, and where it is attained


@dataclass(frozen=True)
class Polynomials:
    r"""Functions of one feature: :math:`f_{kj}(t) = \sum_i c_{kjpi} (t - a_{jp})^i` on piece p.

    Parameters
    ----------
    knots : ndarray of shape (n_features, n_pieces + 1)
        Where pieces begin and end, from -inf to inf; pieces that begin at inf do not exist.
    centres : ndarray of shape (n_features, n_pieces)
        The a of each piece, finite.
    coef : ndarray of shape (n_classes, n_features, n_pieces, 4)
    right_closed : bool, default=False
        Whether a knot belongs to the piece on its left.
    """

    knots: np.ndarray
    centres: np.ndarray
    coef: np.ndarray
    right_closed: bool = False

    def values(self, X: np.ndarray) -> np.ndarray:
        """Return the value of each function, shape (n_samples, n_classes, n_features)."""
        u, coef = self._at(X)
        return _horner(coef, u)

    def slopes(self, X: np.ndarray) -> np.ndarray:
        """Return their derivatives, shape (n_samples, n_classes, n_features)."""
        u, coef = self._at(X)
        return (3 * coef[..., 3] * u + 2 * coef[..., 2]) * u + coef[..., 1]

    def _at(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances from the centres and the coefficients that count at each sample."""
        inner = self.knots[None, :, 1:-1]
        beyond = X[..., None] > inner if self.right_closed else X[..., None] >= inner
        piece = beyond.sum(axis=2)
        feature = np.arange(X.shape[1])
        u = X - self.centres[feature, piece]
        return u[:, None], self.coef[:, feature, piece].swapaxes(0, 1)

    def least(
        self, coef: np.ndarray, low: np.ndarray, high: np.ndarray, lattice: Lattice | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the minima of polynomials over intervals, and where they are attained.

        Parameters
        ----------
        coef : ndarray of shape (n_samples, n_features, n_pieces, 4)
        low, high : ndarray of shape (n_samples, n_features)
        lattice : Lattice, optional
            Of features that take some of the values in between only.

        Returns
        -------
        value, at : ndarray of shape (n_samples, n_features)
        """
        outside = self.outside(low, high)
        ends = (
            np.maximum(low[..., None], self.knots[:, :-1]),
            np.minimum(high[..., None], self.knots[:, 1:]),
        )
        start, end = (np.where(outside, 0.0, side - self.centres) for side in ends)
        sides = (end, start) if self.right_closed else (start, end)
        valley = np.clip(_valley(coef), start, end)
        u = np.stack([sides[0], valley, sides[1]])
        if lattice is not None:
            u, empty = self._on(lattice, u, ends, valley)
            outside = outside | empty
        value = np.where(outside, np.inf, _horner(coef, u))
        best = value.argmin(axis=0)[None]
        value, u = (np.take_along_axis(v, best, axis=0)[0] for v in (value, u))
        piece = value.argmin(axis=-1)[..., None]
        at = np.take_along_axis(u + self.centres, piece, axis=-1)[..., 0]
        return np.take_along_axis(value, piece, axis=-1)[..., 0], at

    def _on(
        self,
        lattice: Lattice,
        u: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
        valley: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where minima may lie if features go in steps, and pieces without any step."""
        start, end = ends
        open_ = (start <= self.knots[:, :-1], False) if self.right_closed else (
            False, end >= self.knots[:, 1:]
        )  # fmt: skip
        first, last = lattice.within((start, end), open_)
        near = lattice.near(valley + self.centres, first, last)
        low, high = (np.clip(z, start, end) - self.centres for z in near)
        whole = lattice.whole[:, None]
        steps = np.concatenate([low, np.clip(valley, low, high), high])
        return np.where(whole, steps, u[np.arange(len(steps)) % len(u)]), whole & (first > last)

    def nearest(
        self, x: np.ndarray, pieces: np.ndarray, blur: np.ndarray, resolution: float
    ) -> np.ndarray:
        """Return the point next to x on some pieces, inside by `blur` and some roundings.

        Points are numbers of some `resolution`, and are rounded on their way into a set.
        """
        feature = np.arange(len(x))
        lower, upper = (ends[feature, pieces] for ends in self._ends())
        size = (np.where(np.isfinite(end), abs(end), 0.0) for end in (lower, upper))
        up, down = (blur + _STEPS * resolution * (each + abs(x)) for each in size)
        inside = (x > lower) if self.right_closed else (x >= lower)
        outside = (x > upper) if self.right_closed else (x >= upper)
        return np.where(inside, np.where(outside, upper - down, x), lower + up)

    def are_constant(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return over which boxes no function changes, shape (n_boxes,)."""
        inside = ~self.outside(low, high)
        flat = ~self.coef[..., 1:].any(axis=(0, -1))
        return ((inside.sum(axis=2) == 1) & (flat | ~inside).all(axis=2)).all(axis=1)

    @cached_property
    def are_steps(self) -> bool:
        """Whether all functions are constant on each piece."""
        return not self.coef[..., 1:].any()

    def sizes(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return how large the terms of each sum get, shape (n_samples, n_classes)."""
        ends = (np.clip(knot, low[..., None], high[..., None]) for knot in self._ends())
        u = np.maximum(*(abs(end - self.centres) for end in ends))
        u = np.where(self.outside(low, high), 0.0, u)[:, None]
        return _horner(abs(self.coef), u).max(axis=-1).sum(axis=-1)

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return self.knots[:, :-1], self.knots[:, 1:]

    def outside(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return which pieces hold nothing of each interval."""
        low, high = low[..., None], high[..., None]
        if self.right_closed:
            return (high <= self.knots[:, :-1]) | (low > self.knots[:, 1:])
        return (high < self.knots[:, :-1]) | (low >= self.knots[:, 1:])


def _horner(coef: np.ndarray, u: np.ndarray) -> np.ndarray:
    return ((coef[..., 3] * u + coef[..., 2]) * u + coef[..., 1]) * u + coef[..., 0]


def _valley(coef: np.ndarray) -> np.ndarray:
    """Return where cubic polynomials have their local minimum, 0 where they have none."""
    c1, c2, c3 = coef[..., 1], coef[..., 2], coef[..., 3]
    root = np.sqrt(np.maximum(c2**2 - 3 * c3 * c1, 0))
    convex = c2 > 0
    upper = np.where(convex, -c1, root - c2)
    lower = np.where(convex, c2 + root, 3 * c3)
    exists = lower != 0
    with np.errstate(over="ignore"):
        at = np.divide(upper, lower, out=np.zeros_like(upper), where=exists)
    return np.where(np.isfinite(at), at, 0.0)
