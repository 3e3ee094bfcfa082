r"""Lines around the kernels of all centres over the set around one sample, and what they add up to.

A margin is ``sum_s a_s K(x, s) + b``, and K a sum of products of ``f(q_s(x))``. A product lies
between planes (McCormick), so that terms of single f remain. For one with a coefficient > 0 a line
below f is taken, for one < 0 a line above it; the lines add up to a single quadratic in x,

.. math:: \sum_s a_s m_s q_s(x) + \text{const},
          \quad q_s(x) = \sum_k w_k (x_k - s_k)^2 \text{ or } x \cdot s

whose least value over the set is known. Where it lies, the lines are laid anew as tangents.
"""

from __future__ import annotations

from math import prod

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import EPS
from sklearn_robust.bounds._kernel_leaves import Leaf
from sklearn_robust.bounds._kernel_sums import KernelSum, Term
from sklearn_robust.bounds._kernels import Kernel
from sklearn_robust.bounds._quadratics import least_quadratic
from sklearn_robust.bounds._reach import Reach

# Times that lines are laid.
_ROUNDS = 6


class Relaxation:
    """The kernels of all centres over the set around one sample.

    Parameters
    ----------
    kernel : Kernel or KernelSum
    centres : ndarray of shape (n_centres, n_features)
    reach : Reach
    threat : ThreatModel
    unit, inner_unit : float
        The spacing at 1 of the numbers in which the classifier computes kernels, and distances.
    """

    def __init__(
        self,
        kernel: Kernel | KernelSum,
        centres: np.ndarray,
        reach: Reach,
        threat: ThreatModel,
        unit: float = EPS,
        inner_unit: float = EPS,
    ) -> None:
        known = KernelSum.of(kernel)
        self.reach, self.centres = reach, centres
        self.terms, self.n_outputs = known.terms, known.n_outputs
        self.leaves = [
            Leaf.around(leaf, centres, reach, threat, unit, inner_unit) for leaf in known.leaves
        ]
        self.shaken = self._shaken(unit, len(centres))
        self.n_roundings = 4 * (len(centres) + centres.shape[1] + 64)

    def _shaken(self, unit: float, n_centres: int) -> np.ndarray:
        """Return what one rounding may do to each kernel, shape (n_outputs * n_centres,)."""
        out = np.full((self.n_outputs, n_centres), np.finfo(np.float64).tiny)
        if unit > EPS:
            out += np.finfo(np.float32).tiny
        for term in self.terms:
            own = [self.leaves[i] for i in term.leaves]
            size = np.zeros(n_centres)
            if len(own) != 1:
                size += unit * prod((leaf.largest for leaf in own), start=np.ones(n_centres))
            for k, leaf in enumerate(own):
                others = prod(o.largest for n, o in enumerate(own) if n != k)
                size += leaf.shaken * others
            out[term.output] += abs(term.factor) * size
        return out.ravel()

    def bound(
        self, a: np.ndarray, offsets: np.ndarray, rounds: int = _ROUNDS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower bounds of ``sum_s a_ks K_s + offset_k`` for each k, and points met, in u.

        Parameters
        ----------
        a : ndarray of shape (n_sums, n_outputs * n_centres)
        offsets : ndarray of shape (n_sums,)
        rounds : int
            Times that lines are laid.

        Returns
        -------
        bound : ndarray of shape (n_sums,)
        points : ndarray of shape (n_rounds, n_sums, n_free)
        """
        best, points = np.full(len(a), -np.inf), [np.zeros((len(a), len(self.reach.free)))]
        at = [np.broadcast_to(leaf.at(leaf.q), (len(a), len(leaf.q))) for leaf in self.leaves]
        for number in range(rounds):
            value, u = self._with_lines(a, at)
            value = value + offsets - self.n_roundings * EPS * abs(offsets)
            best = np.fmax(best, value)  # NaN, of numbers out of range, proves nothing
            points.append(u)
            d = self.reach.radii * u
            at = [
                leaf.at((q * (number + 1) + leaf.moved(d)) / (number + 2))
                for leaf, q in zip(self.leaves, at, strict=True)
            ]
        return best, np.array(points)

    def _with_lines(self, a: np.ndarray, at: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds by the lines at some numbers, and where they are attained."""
        each, value = self.split(a, at)
        n_free = len(self.reach.free)
        curvature, slope, rounding = np.zeros((len(a), n_free)), np.zeros((len(a), n_free)), 0.0
        for leaf, coefficients, q in zip(self.leaves, each, at, strict=True):
            m, intercept = leaf.lines(coefficients, q)
            weights = coefficients * m
            value = value + (weights * leaf.q + coefficients * intercept).sum(axis=1)
            curvature = curvature + weights.sum(axis=1)[:, None] * leaf.curve
            slope = slope + weights @ leaf.g
            rounding = rounding + abs(weights) @ leaf.size
        least, u = self._least(curvature, slope)
        rounding = rounding + abs(a) @ self.shaken
        return value + least - self.n_roundings * rounding, u

    def split(self, a: np.ndarray, at: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Return coefficients of single f, and constants, that bound the sums from below.

        Parameters
        ----------
        a : ndarray of shape (n_sums, n_outputs * n_centres)
        at : list of ndarray
            For each f numbers q at which planes around products are compared.
        """
        a = a.reshape(len(a), self.n_outputs, -1)
        each, constant = [np.zeros(q.shape) for q in at], np.zeros(len(a))
        for term in self.terms:
            pull = term.factor * a[:, term.output]
            for k in reversed(range(1, len(term.leaves))):
                pull = self._plane(pull, term.leaves[:k], term.leaves[k], at, each, constant)
            if term.leaves:
                each[term.leaves[0]] += pull
            else:
                constant += pull.sum(axis=1)
        return each, constant

    def _plane(
        self,
        pull: np.ndarray,
        front: tuple[int, ...],
        last: int,
        at: list[np.ndarray],
        each: list[np.ndarray],
        constant: np.ndarray,
    ) -> np.ndarray:
        """Split the last g off a product ``f g``; return the coefficients of f.

        A plane below is ``f_0 g + g_0 f - f_0 g_0`` at both least values or both largest, one above
        at one of each.
        """
        low, high = self._range(front)
        leaf = self.leaves[last]
        f = prod(self.leaves[i].kernel(at[i]) for i in front)
        g = leaf.kernel(at[last])
        near, far = np.where(pull > 0, low, high), np.where(pull > 0, high, low)
        first = pull * (near * g + leaf.least * f - near * leaf.least)
        second = pull * (far * g + leaf.most * f - far * leaf.most)
        f0 = np.where(second > first, far, near)
        g0 = np.where(second > first, leaf.most, leaf.least)
        each[last] += pull * f0
        constant -= (pull * f0 * g0).sum(axis=1)
        return pull * g0

    def _range(self, front: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges of the product of some f."""
        low, high = self.leaves[front[0]].least, self.leaves[front[0]].most
        for i in front[1:]:
            ends = [a * b for a in (low, high) for b in (self.leaves[i].least, self.leaves[i].most)]
            low, high = np.min(ends, axis=0), np.max(ends, axis=0)
        return low, high

    def _least(self, curvature: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least of ``<curvature, d^2> + <slope, d>`` over the set, and where it is."""
        if not len(self.reach.free):
            return np.zeros(len(slope)), slope
        if any(leaf.kernel.of_distance for leaf in self.leaves):
            return least_quadratic(self.reach, curvature, slope)
        pull = slope * self.reach.radii
        return self.reach.lowest(pull), self.reach.steepest(-pull)

    def part(self, output: int) -> Relaxation:
        """Return the relaxation of one of the sums alone."""
        part = object.__new__(Relaxation)
        terms = [term for term in self.terms if term.output == output]
        used = sorted({i for term in terms for i in term.leaves})
        part.reach, part.centres, part.n_outputs = self.reach, self.centres, 1
        part.n_roundings = self.n_roundings
        part.leaves = [self.leaves[i] for i in used]
        part.terms = [Term(t.factor, tuple(used.index(i) for i in t.leaves)) for t in terms]
        part.shaken = self.shaken.reshape(self.n_outputs, -1)[output]
        return part
