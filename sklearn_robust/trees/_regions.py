r"""The sets in which samples may be moved, as boxes with a budget for the price of all moves.

.. math:: \{x' \in [\mathrm{low}, \mathrm{high}] : \sum_f (|x'_f - x_f| / r_f)^p \le 1\}
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_robust._arrays import spacing
from sklearn_robust._norms import power
from sklearn_robust._threat import ThreatModel
from sklearn_robust.trees._float32 import floor32
from sklearn_robust.trees._sums import summing_error

# To which costs of several columns add up.
_DIGITS = 1e-9


class Regions:
    """The sets A(x_i) of a threat model around rows.

    The box is that of floats ``x - epsilon`` to ``x + epsilon`` inside of the threat's own, which
    is where attacks of the library project to. Missing entries do not move.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    threat : ThreatModel
    dtype : dtype, optional
        Of the points in the sets; None: that of `X`.

    Attributes
    ----------
    low, high : float64 ndarrays of shape (n_samples, n_features)
    power : float
        The p of the norm; infinity: there is no budget.
    budget : float
        What all moves may cost together, as `ThreatModel.contains` sees it, or as a table's
        adversary is told.

    Raises
    ------
    ValueError
        If the norm is no p-norm: then the price of a move depends on the others.
    """

    def __init__(self, X: np.ndarray, threat: ThreatModel, dtype: Any = None) -> None:
        self.X, self.threat, self.n_features = X, threat, X.shape[1]
        p = power(threat.norm, self.n_features)
        if p is None:
            raise ValueError(
                "norm must be linf, l2, l1 or one of these with weights for trees, got "
                f"{threat.norm!r}: prices of single features do not add up in it."
            )
        self.power, self.resolution = p, 4 * spacing(X)
        self._ball = replace(threat, clip_values=None)
        self._weights = threat.geometry.length(np.eye(self.n_features))
        self.radius = np.broadcast_to(np.ravel(threat.epsilon), self.n_features) / self._weights
        self.budget = 1.0
        if p < np.inf:  # sums over features in another order than that of `contains`
            self.budget = (1 + self.resolution) ** p + summing_error(self.n_features, 2)
        # Of a table: what it costs to change a column at all.
        self._cost: np.ndarray | None = None
        if threat.moves is not None and not threat.moves.is_box:
            self._cost = np.broadcast_to(threat.moves.cost, self.n_features)
            self.budget = threat.moves.budget * (1 + _DIGITS)
        self.low, self.high = self._ends()
        if dtype == np.float32:
            self.low, self.high = -floor32(-self.low), floor32(self.high)

    @property
    def has_budget(self) -> bool:
        """Whether prices of features are added, and limited."""
        return self.power < np.inf or self._cost is not None

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        X, box = self.X, self.threat
        fixed = (self.radius == 0) | ~box.touched(self.n_features)
        if self.power < np.inf:
            rounded = 0.0 if (self._weights == 1).all() else self.resolution
            box = replace(box, norm="linf", epsilon=self.radius * (1 + rounded))
        around = box.around(X)
        low, high = (around.project(np.full_like(X, end)) for end in (-np.inf, np.inf))
        # A sample that rounding has put outside of clip_values stays in its own set.
        low, high = np.minimum(low, X), np.maximum(high, X)
        low[:, fixed], high[:, fixed] = X[:, fixed], X[:, fixed]
        return low.astype(np.float64), high.astype(np.float64)

    def price(self, moved: np.ndarray, x: np.ndarray, feature: np.ndarray) -> np.ndarray:
        """Return what moves of single features cost, free of what rounding may have added.

        A little less than `ThreatModel.contains` reckons, which rounds once more on its way. In
        linf, where the dearest move counts alone, it is the share of the radius.
        """
        if self._cost is not None:
            return np.where(moved > 0, self._cost[feature], 0.0)
        if self.power == np.inf:
            return moved / self.radius[feature]
        ulp = 1.25 * self.resolution * (abs(x) + moved)
        return ((moved - ulp).clip(0) / self.radius[feature]) ** self.power

    def contains(self, points: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return which points lie in the sets of those rows."""
        X = self.X[index]
        missing = np.isnan(X)
        same = (missing == np.isnan(points)).all(axis=1)
        inside = ((points >= self.low[index]) & (points <= self.high[index])) | missing
        points, X = np.where(missing, 0, points), np.where(missing, 0, X)
        points = points.astype(X.dtype)
        inside = same & inside.all(axis=1) & self._ball.contains(points, X)
        return (
            inside if self._cost is None else inside & ((points != X) @ self._cost <= self.budget)
        )
