r"""Scores that are sums over features, each of a piecewise polynomial of one feature.

.. math:: s_k(x) = b_k + \sum_j f_{kj}(x_j)

The margin of two classes is such a sum too, so that its minimum over a box is the sum of minima
over intervals: exact. Over any other ball weak duality bounds it: for every :math:`\lambda \ge 0`,

.. math:: \min_{\|u\|_p \le 1} g(x + \epsilon \circ u)
    \ge \sum_j \min_u [g_j(x_j + \epsilon_j u) + \lambda |u|^p] - \lambda.

Where all functions are steps the rest of the way is a knapsack problem.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS, BoundedModel, enclosing_box
from sklearn_robust.bounds._budgets import most_gained
from sklearn_robust.bounds._knapsack import reach
from sklearn_robust.bounds._lattice import Lattice
from sklearn_robust.bounds._polynomials import Point, Polynomials

# Roundings of one term: its coefficients, the distance from its centre, its powers.
_ROUNDINGS = 32
# Arrays in the size of all coefficients of a sample that are made of them.
_COPIES = 24
_GOLDEN = (5**0.5 - 1) / 2
_SECTIONS = 16  # which leave 3e-4 of the interval of lambda


class SumModel(BoundedModel):
    """A classifier whose scores are sums of piecewise polynomials of one feature each.

    Parameters
    ----------
    intercept : ndarray of shape (n_classes,)
    polynomials : Polynomials
    size : ndarray of shape (n_classes,), default=0.0
        What the classifier adds up to each score and takes off again, for bounds of its rounding.
    blur : ndarray of shape (n_features,), default=0.0
        How far from its knots a feature may change pieces, as where it is scaled before.

    Examples
    --------
    The squares of two features against their sum:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import Polynomials, SumModel
    >>> coef = np.zeros((2, 2, 1, 4))
    >>> coef[0, :, 0, 2] = coef[1, :, 0, 1] = 1
    >>> everywhere, centres = np.array([[-np.inf, np.inf]] * 2), np.zeros((2, 1))
    >>> model = SumModel(np.zeros(2), Polynomials(everywhere, centres, coef))
    >>> model.margins(np.array([[2.0, 2.0]]), np.array([0]), ThreatModel(0.5)).round(6)
    array([[inf, 1.5]])
    """

    knows_budgets = True

    def __init__(
        self, intercept: np.ndarray, polynomials: Polynomials, size: Any = 0.0, blur: Any = 0.0
    ) -> None:
        self.intercept, self.polynomials = np.asarray(intercept, float), polynomials
        self.size, self.n_classes = abs(self.intercept) + size, len(self.intercept)
        self.blur = blur

    def logits(self, X: np.ndarray) -> np.ndarray:
        parts = [
            self.polynomials.values(X[part]).sum(axis=2) + self.intercept
            for part in pieces(len(X), 8 * self.polynomials.coef.size)
        ]
        return np.concatenate([np.zeros((0, self.n_classes)), *parts])

    def _pieces(self, n_samples: int) -> Iterator[slice]:
        return pieces(n_samples, 8 * _COPIES * self.polynomials.coef[0].size)

    def _slack(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return what rounding may add to each score over boxes, shape (n_boxes, n_classes)."""
        n_terms = _ROUNDINGS + low.shape[1]
        size = self.polynomials.sizes(low, high) + self.size
        return n_terms * self.resolution * size

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = low - self.blur, high + self.blur
        lower, upper = np.empty((2, len(low), self.n_classes))
        slack, coef = self._slack(low, high), self.polynomials.coef
        for part in self._pieces(len(low)):
            for sign, out in ((1, lower), (-1, upper)):
                for k, own in enumerate(coef):
                    each = np.broadcast_to(sign * own, (len(low[part]), *own.shape))
                    least = self.polynomials.least(each, low[part], high[part])[0]
                    out[part, k] = sign * least.sum(axis=1) + self.intercept[k]
        return lower - slack, upper + slack

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self._over(labels, low, high)[0]

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        return self._over(labels, *enclosing_box(X, threat), X, threat)[0]

    def is_exact(self, threat: ThreatModel) -> bool:
        """Whether the set is a box, or all functions are steps and the search for them ends."""
        return threat.norm == "linf" or (self.polynomials.are_steps and threat.norm in ("l2", "l1"))

    def worst_points(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        around, (low, high) = threat.around(X), enclosing_box(X, threat)
        if threat.norm == "linf":  # not rounded outwards
            low, high = around.project(low), around.project(high)
        return around.project(self._over(labels, low, high, X, threat)[1])

    def _over(
        self, labels: np.ndarray, low: np.ndarray, high: np.ndarray, *ball: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of margins over boxes, or over balls in them, and a point of each."""
        low, high = low - self.blur, high + self.blur
        margins = np.full((len(low), self.n_classes), np.inf)
        points = np.array(ball[0] if ball else low, dtype=np.float64)
        open_ = np.flatnonzero(~self.polynomials.are_constant(low, high))
        least = np.full(len(low), np.inf)
        for rival in range(self.n_classes):
            mine = open_[labels[open_] != rival]
            for part in self._pieces(len(mine)):
                pick = mine[part]
                value, at = self._of_pairs(labels, rival, low, high, pick, *ball)
                margins[pick, rival] = value
                better = value < least[pick]
                least[pick[better]], points[pick[better]] = value[better], at[better]
        return margins, points

    def _of_pairs(
        self,
        labels: np.ndarray,
        rival: int,
        low: np.ndarray,
        high: np.ndarray,
        pick: np.ndarray,
        X: np.ndarray | None = None,
        threat: ThreatModel | None = None,
    ) -> Point:
        rivals = np.full(len(pick), rival)
        sums = _Margins(self, low[pick], high[pick], labels[pick], rivals)
        sums.lattice = Lattice.of(threat, self.blur)
        if X is not None and threat is not None and threat.has_budget:
            return sums.within_budget(X[pick], threat, self.blur)
        value, at = sums.in_box()
        # What holds in the box holds in the ball.
        lost = np.flatnonzero(value <= 0)
        if X is not None and threat is not None and threat.norm in ("l2", "l1") and len(lost):
            value[lost], at[lost] = sums.take(lost).in_ball(X[pick[lost]], threat)
        return value, at


class SmoothSumModel(SumModel):
    """The same where the polynomials have slopes, along which it is attacked."""

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores and the gradient of the loss."""
        logits = self.logits(X)
        direction, gradient = loss.direction(logits, y), np.empty(X.shape)
        for part in pieces(len(X), 8 * self.polynomials.coef.size):
            slopes = self.polynomials.slopes(X[part])
            gradient[part] = np.einsum("nk,nkd->nd", direction[part], slopes)
        return logits, gradient


class _Margins:
    """Margins of samples to classes, as sums over features: a row for each sample and rival.

    Parameters
    ----------
    model : SumModel
    low, high : ndarray of shape (n_pairs, n_features)
    labels, rivals : ndarray of int, shape (n_pairs,)
    """

    def __init__(
        self,
        model: SumModel,
        low: np.ndarray,
        high: np.ndarray,
        labels: np.ndarray,
        rivals: np.ndarray,
    ) -> None:
        self.polynomials, self.low, self.high = model.polynomials, low, high
        self.blur, self.resolution = model.blur, model.resolution
        self.coef = self.polynomials.coef[labels] - self.polynomials.coef[rivals]
        slack, rows = model._slack(low, high), np.arange(len(labels))
        self.constant = model.intercept[labels] - model.intercept[rivals]
        self.constant = self.constant - (slack[rows, labels] + slack[rows, rivals])

    def take(self, keep: np.ndarray) -> _Margins:
        """Return the same for some of the pairs."""
        some = copy.copy(self)
        some.low, some.high, some.coef = self.low[keep], self.high[keep], self.coef[keep]
        some.constant = self.constant[keep]
        return some

    # Of features that go in steps.
    lattice: Lattice | None = None

    def in_box(self) -> Point:
        return self._least(self.coef, self.low, self.high)

    def within_budget(self, X: np.ndarray, threat: ThreatModel, blur: Any) -> Point:
        """Return the minima where not all features can be paid for: those that gain most are."""
        moves = threat.moves
        assert moves is not None
        off = np.broadcast_to(moves.slack + blur, X.shape)
        stay = self.polynomials.least(self.coef, X - off, X + off)[0]
        least, at = self.polynomials.least(self.coef, self.low, self.high, self.lattice)
        gain = np.where(moves.moving, stay - least, 0.0).clip(0, None)
        take = most_gained(gain, np.where(moves.moving, moves.cost, 0.0), moves.budget)
        value = np.where(take, least, stay).sum(axis=1) + self.constant
        return value, np.where(take, at, X)

    def in_ball(self, X: np.ndarray, threat: ThreatModel) -> Point:
        """Return the largest of the bounds that weak duality gives, by golden sections.

        The points are the lowest that were met inside the ball.
        """
        best, at = self.in_box()
        here, low = self._least(self.coef, X, X)[0], np.full(len(best), np.inf)
        # Beyond the drop lambda costs too much.
        bottom, top = np.zeros_like(best), (here - best).clip(0)
        left, right = top - _GOLDEN * top, _GOLDEN * top
        at_left, at_right = self._dual(X, threat, left), self._dual(X, threat, right)
        for _ in range(_SECTIONS):
            for weight, (value, point) in ((left, at_left), (right, at_right)):
                best = np.maximum(best, value)
                length = self._length(X, point, threat)
                lower = (length <= 1) & (value + weight * (1 - length) < low)
                low, at = (
                    np.where(lower, value + weight * (1 - length), low),
                    _either(lower, point, at),
                )
            down = at_left[0] >= at_right[0]  # the maximum lies on the left
            bottom, top = np.where(down, bottom, left), np.where(down, right, top)
            fresh = np.where(down, top, bottom) + np.where(down, -1, 1) * _GOLDEN * (top - bottom)
            new, (kept, inner) = (
                self._dual(X, threat, fresh),
                (
                    _chosen(down, at_left, at_right),
                    np.where(down, left, right),
                ),
            )
            left, right = np.where(down, fresh, inner), np.where(down, inner, fresh)
            at_left, at_right = _chosen(down, new, kept), _chosen(down, kept, new)
        if self.polynomials.are_steps:
            for k in map(int, np.flatnonzero(best <= 0)):
                best[k], at[k] = self._by_choice(k, X[k], threat, best[k], at[k])
        return best, at

    def _by_choice(
        self, k: int, x: np.ndarray, threat: ThreatModel, known: float, at: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """Return a bound of one margin of step functions, and a point where it is not positive."""
        steps = self.polynomials
        lower, upper = steps.knots[:, :-1], steps.knots[:, 1:]
        blur = np.broadcast_to(self.blur, x.shape)[:, None]
        away = np.maximum(np.maximum(lower - x[:, None], x[:, None] - upper), 0)
        away[np.isnan(away)] = np.inf  # pieces that do not exist
        with np.errstate(invalid="ignore"):
            u = (away - blur).clip(0, None) * self._inverse(x[None], threat)[:, None]
        fixed = (np.broadcast_to(np.ravel(threat.epsilon), x.shape) == 0)[:, None]
        shut = steps.outside(self.low[k], self.high[k]) | (fixed & (away > blur))
        costs = np.where(shut, np.inf, u ** (2 if threat.norm == "l2" else 1))
        values = self.coef[k, :, :, 0]
        own = np.where(costs == 0, values, -np.inf).max(axis=1)
        gains = np.where(shut, -np.inf, own[:, None] - values)
        goal = float(own.sum() + self.constant[k])
        bound, choice = reach(costs, gains, goal)
        if choice is None:
            return max(known, goal - bound), at
        return min(known, 0.0), steps.nearest(x, choice, blur[:, 0], self.resolution)

    def _length(self, X: np.ndarray, points: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return the length of a move in units of epsilon, squared under l2."""
        u = abs(points - X) * self._inverse(X, threat)
        return (u**2 if threat.norm == "l2" else u).sum(axis=1)

    @staticmethod
    def _inverse(X: np.ndarray, threat: ThreatModel) -> np.ndarray:
        epsilon = np.broadcast_to(np.ravel(threat.epsilon), X.shape[1:])
        return np.divide(1.0, epsilon, out=np.zeros(epsilon.shape), where=epsilon > 0)

    def _dual(self, X: np.ndarray, threat: ThreatModel, weight: np.ndarray) -> Point:
        """Return the bound for a lambda for each pair, and the minimiser."""
        inverse = self._inverse(X, threat)
        s = X[..., None] - self.polynomials.centres
        if threat.norm == "l2":
            rate = weight[:, None, None] * (inverse**2)[:, None]
            terms = [rate * s**2, -2 * rate * s, rate]
            value, at = self._penalised(terms, self.low, self.high)
            length = self._lengths(X, inverse) ** 2
        else:
            rate = weight[:, None, None] * inverse[:, None]
            # Both sides of the sample, feature by feature: the least of the two counts.
            down = self._by_feature([rate * s, -rate], self.low, X)
            up = self._by_feature([-rate * s, rate], X, self.high)
            at = np.where(down[0] <= up[0], down[1], up[1])
            value = np.minimum(down[0], up[0]).sum(axis=1) + self.constant
            length = self._lengths(X, inverse)
        # The penalty is rounded too: it is a difference of terms of this size.
        return value - weight * (1 + _ROUNDINGS * EPS * (1 + length.sum(axis=1))), at

    def _lengths(self, X: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return what the centres of pieces are away at the most, in units of epsilon."""
        centres, outside = self.polynomials.centres, self.polynomials.outside(self.low, self.high)
        ends = abs(self.low[..., None] - centres), abs(self.high[..., None] - centres)
        away = np.where(outside, 0.0, abs(X[..., None] - centres) + np.maximum(*ends))
        return away.max(axis=2) * inverse

    def _penalised(self, terms: list[Any], low: np.ndarray, high: np.ndarray) -> Point:
        value, at = self._by_feature(terms, low, high)
        return value.sum(axis=1) + self.constant, at

    def _by_feature(self, terms: list[Any], low: np.ndarray, high: np.ndarray) -> Point:
        coef = self.coef.copy()
        for power, term in enumerate(terms):
            coef[..., power] += term
        return self.polynomials.least(coef, low, high)

    def _least(self, coef: np.ndarray, low: np.ndarray, high: np.ndarray) -> Point:
        value, at = self.polynomials.least(coef, low, high, self.lattice)
        return value.sum(axis=1) + self.constant, at


def _chosen(first: np.ndarray, a: Point, b: Point) -> Point:
    return _either(first, a[0], b[0]), _either(first, a[1], b[1])


def _either(first: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
