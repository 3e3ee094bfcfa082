"""A classifier whose scores can be bounded: what a family of classifiers says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from sklearn_robust._norms import BUILT_IN
from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel

EPS = float(np.finfo(np.float64).eps)


class BoundedModel(ABC):
    r"""A classifier in numpy whose scores can be bounded over boxes, and perhaps over balls.

    A subclass says two things: `logits`, and `score_bounds` over a box. What it knows better it
    overrides: `box_margins` where differences of scores have tighter bounds than scores, `margins`
    and `set_bounds` where balls have tighter bounds than the boxes around them, `is_exact` and
    `worst_points` where the bound is attained. With a method `ascent`, as of a
    `DifferentiableModel`, it is attacked along its gradients too.

    All bounds are sound for what ``predict`` computes: rounding is included.

    Attributes
    ----------
    n_classes : int
    resolution : float
        The spacing at 1 of the numbers in which the classifier is given its input and computes,
        float64's unless it is set. Arrays are float64 in any case.
    decides : bool
        Whether the highest score is that of the predicted class; if not, scores guide attacks, and
        margins are those of whatever decides.
    knows_budgets : bool
        Whether `margins` and `worst_points` are of what a table's adversary can pay for.

    Examples
    --------
    Two classes, inside and outside of a disc:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import BoundedModel
    >>> class Disc(BoundedModel):
    ...     n_classes = 2
    ...     def logits(self, X):
    ...         return np.column_stack([np.ones(len(X)), (X**2).sum(axis=1)])
    ...     def score_bounds(self, low, high):
    ...         nearest, furthest = np.clip(0, low, high), np.maximum(abs(low), abs(high))
    ...         slack = 4 * self.resolution * (furthest**2).sum(axis=1)
    ...         lower, upper = self.logits(nearest), self.logits(furthest)
    ...         lower[:, 1] -= slack
    ...         upper[:, 1] += slack
    ...         return lower, upper
    >>> Disc().margins(np.array([[0.3, 0.4]]), np.array([0]), ThreatModel(0.2)).round(2)
    array([[ inf, 0.39]])
    """

    n_classes: int
    resolution: float = EPS
    decides: bool = True
    knows_budgets: bool = False

    def asarray(self, X: Any) -> np.ndarray:
        """Return samples as this model takes them."""
        return np.asarray(X, dtype=np.float64)

    def labels(self, y: Any) -> np.ndarray:
        """Return class indices as this model takes them."""
        return np.asarray(y)

    @abstractmethod
    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of all classes, the largest that of the predicted one."""

    @abstractmethod
    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of each score over boxes.

        Parameters
        ----------
        low, high : ndarray of shape (n_boxes, n_features)
            Both finite, ``low <= high``.

        Returns
        -------
        lower, upper : ndarray of shape (n_boxes, n_classes)
        """

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return lower bounds of ``score_y - score_c`` over boxes, inf for c = y.

        Parameters
        ----------
        low, high : ndarray of shape (n_boxes, n_features)
        labels : ndarray of int, shape (n_boxes,)
            The class y of each box.

        Returns
        -------
        margins : ndarray of shape (n_boxes, n_classes)
            inf as well where it is known that no score changes, ties or not.
        """
        return margins_of_scores(*self.score_bounds(low, high), labels)

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return lower bounds of ``score_y - score_c`` over the sets around samples, inf for c = y.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        labels : ndarray of int, shape (n_samples,)
        threat : ThreatModel
            Wider already by what rounding may add to a point of the set.

        Returns
        -------
        margins : ndarray of shape (n_samples, n_classes)
        """
        return self.box_margins(*enclosing_box(X, threat), labels)

    def set_bounds(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper bounds of each score over the sets around samples.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        threat : ThreatModel
            As of `margins`.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples, n_classes)
        """
        return self.score_bounds(*enclosing_box(X, threat))

    def is_exact(self, threat: ThreatModel) -> bool:
        """Whether a margin <= 0 means that `worst_points` finds a mistake, but for rounding."""
        return False

    def worst_points(
        self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel
    ) -> np.ndarray | None:
        """Return the points of the sets, in the shape of X, where the least margin is attained.

        Where not `is_exact`, points that come near to it, from which attacks profit; None: none.
        """
        return None


def margins_of_scores(lower: np.ndarray, upper: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return lower bounds of ``score_y - score_c`` from bounds of the scores, inf for c = y."""
    own = np.take_along_axis(lower, labels[:, None], axis=1)
    with np.errstate(invalid="ignore"):  # inf - inf proves nothing
        margins = np.nextafter(own - upper, -np.inf)
    margins[np.isnan(margins)] = -np.inf
    np.put_along_axis(margins, labels[:, None], np.inf, axis=1)
    return margins


def enclosing_box(X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the smallest box around each set A(x_i), rounded outwards.

    Features with radius 0 stay at their value.
    """
    X = np.asarray(X, dtype=np.float64)
    reach = _reach(threat, X.shape[1])
    down, up = (
        np.where(side > 0, np.nextafter(side * reach, np.inf), 0.0) for side in threat.sides(X)
    )
    low = np.where(down > 0, np.nextafter(X - down, -np.inf), X)
    high = np.where(up > 0, np.nextafter(X + up, np.inf), X)
    if threat.clip_values is not None:
        floor, ceiling = (np.ravel(bound) for bound in threat.clip_values)
        # A sample may lie outside by rounding, and belongs to its own set.
        low = np.minimum(np.maximum(low, floor), X)
        high = np.maximum(np.minimum(high, ceiling), X)
    return low, high


def _reach(threat: ThreatModel, n_features: int) -> Any:
    """Return how far the unit ball reaches along each axis: 1 for all norms of the library."""
    if threat.norm in BUILT_IN:
        return 1.0
    axes = (np.eye(n_features)[part] for part in pieces(n_features, 8 * n_features))
    return np.concatenate([threat.geometry.dual_length(part) for part in axes])
