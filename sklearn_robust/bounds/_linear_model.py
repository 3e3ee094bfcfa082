"""A linear classifier as a member of others: its scores over boxes, its margins over balls."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import LinearModel
from sklearn_robust.bounds._bounded import BoundedModel
from sklearn_robust.bounds._linear import worst_case_drops

_ROUNDINGS = 32  # of a term, beside adding up


class BoundedLinearModel(LinearModel, BoundedModel):
    """Scores ``X W^T + b``, with bounds that include what rounding may do to them.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)
    size : ndarray of shape (n_features,), default=0.0
        What the features were before something was taken off them, for bounds of rounding.
    squares : float or ndarray of shape (n_features,), default=0.0
        Weights of the squares of features that are added up on the way, as in distances from
        centroids: they cancel in the scores, and are rounded all the same.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.bounds import BoundedLinearModel
    >>> model = BoundedLinearModel(np.array([[1.0, 0.0], [0.0, -1.0]]), np.zeros(2))
    >>> lower, upper = model.score_bounds(np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]]))
    >>> lower.round(6), upper.round(6)
    (array([[-0., -2.]]), array([[1., 0.]]))
    """

    def __init__(
        self, coef: np.ndarray, intercept: np.ndarray, size: Any = 0.0, squares: Any = 0.0
    ) -> None:
        super().__init__(coef, intercept)
        self.size, self.squares = size, squares

    def _slack(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        size = np.maximum(abs(low), abs(high)) + self.size
        terms = size @ abs(self.coef).T + abs(self.intercept)
        terms += (size**2 * self.squares).sum(axis=1, keepdims=True)
        return (_ROUNDINGS + low.shape[1]) * self.resolution * terms

    def _ball_slack(self, X: np.ndarray, threat: ThreatModel) -> np.ndarray:
        reach = np.broadcast_to(threat.radii(X), X.shape)
        return self._slack(X - reach, X + reach)

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        up, down = np.maximum(self.coef, 0).T, np.minimum(self.coef, 0).T
        slack = self._slack(low, high)
        lower = low @ up + high @ down + self.intercept - slack
        return lower, high @ up + low @ down + self.intercept + slack

    def set_bounds(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
        slack, scores = self._ball_slack(X, threat), self.logits(X)
        lower, upper = scores - slack, scores + slack
        # Against a score that is 0 everywhere, from both sides.
        ends = np.concatenate([self.coef, -self.coef, np.zeros((1, X.shape[1]))])
        zero = len(ends) - 1
        for k in range(self.n_classes):
            for row, end, sign in ((k, lower, -1), (self.n_classes + k, upper, 1)):
                mine = np.full(len(X), row)
                end[:, k] += sign * worst_case_drops(ends, zero, X, mine, threat)
        return lower, upper

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        slack = self._slack(low, high)
        slack = slack + np.take_along_axis(slack, labels[:, None], axis=1)
        margins = np.empty((len(low), self.n_classes))
        for rival in range(self.n_classes):
            pull = self.coef[labels] - self.coef[rival]
            least = (np.where(pull > 0, low, high) * pull).sum(axis=1)
            margins[:, rival] = least + (self.intercept[labels] - self.intercept[rival])
        margins -= slack
        np.put_along_axis(margins, labels[:, None], np.inf, axis=1)
        return margins

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        slack = self._ball_slack(X, threat)
        slack = slack + np.take_along_axis(slack, labels[:, None], axis=1)
        scores = self.logits(X)
        margins = np.take_along_axis(scores, labels[:, None], axis=1) - scores - slack
        for rival in range(self.n_classes):
            margins[:, rival] -= worst_case_drops(self.coef, rival, X, labels, threat)
        np.put_along_axis(margins, labels[:, None], np.inf, axis=1)
        return margins
