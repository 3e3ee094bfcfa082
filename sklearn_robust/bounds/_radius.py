"""Votes of all rows within a radius: which are inside for sure, and which may be."""

from __future__ import annotations

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS, BoundedModel
from sklearn_robust.bounds._distances import Distance

# The width of the border around the radius in which rows guide an attack, as a share of it.
_BORDER = 0.2


class RadiusVotes(BoundedModel):
    """The class that most rows within a radius have; of equals, the first one.

    Scores are votes, and less than half of one for how near rows are to the border.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    classes : ndarray of int, shape (n_rows,)
    n_classes : int
    radius : float
    distance : Distance
    unanimous : bool, default=False
        Whether votes have weights, so that only those of one class are sure to win.
    unit : float, default=float64's
        The spacing at 1 of the numbers in which the classifier holds its rows.
    outlier : int, optional
        The class of samples without a row in their radius; scores know it, proofs do not.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import Distance, RadiusVotes
    >>> rows, classes = np.array([[0.0], [0.1], [2.0]]), np.array([0, 0, 1])
    >>> model = RadiusVotes(rows, classes, 2, 1.0, Distance(2))
    >>> x, y = np.array([[0.5]]), np.array([0])
    >>> [bool(model.margins(x, y, ThreatModel(e))[0, 1] > 0) for e in (0.4, 0.7)]
    [True, False]
    """

    decides = False

    def __init__(
        self,
        rows: np.ndarray,
        classes: np.ndarray,
        n_classes: int,
        radius: float,
        distance: Distance,
        *,
        unanimous: bool = False,
        unit: float = EPS,
        outlier: int | None = None,
    ) -> None:
        self.rows, self.classes, self.n_classes = rows, classes, n_classes
        self.outlier = outlier
        self.distance, self.unanimous, self.unit = distance, unanimous, unit
        self.power = radius if np.isinf(distance.p) else radius**distance.p
        self.votes = np.eye(n_classes)[classes]
        self.lengths = np.linalg.norm(rows, axis=1)

    def logits(self, X: np.ndarray) -> np.ndarray:
        scores = np.empty((len(X), self.n_classes))
        for part in pieces(len(X), 24 * len(self.rows)):
            away = self.distance.powers(X[part], self.rows)
            weight = (away <= self.power).astype(np.float64)
            if self.unanimous:
                weight *= np.sqrt((self.power + EPS) / np.maximum(away, EPS * self.power + EPS))
            near = self._near(away) @ self.votes
            count = weight @ self.votes
            if self.outlier is not None:
                count[:, self.outlier] += ~weight.any(axis=1)
            scores[part] = count + 0.4 * near / (1 + near)
            # Of equals the first one wins.
            np.put_along_axis(
                scores[part],
                count.argmax(axis=1)[:, None],
                count.max(axis=1)[:, None] + 0.5,
                axis=1,
            )
        return scores

    def _near(self, away: np.ndarray) -> np.ndarray:
        """Return how far rows are inside the border, from 0 to 1."""
        return 1 / (1 + np.exp(((away / self.power - 1) / _BORDER).clip(-500, 500)))

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores, and the gradient of rows that enter and leave the border."""
        logits, gradient = self.logits(X), np.empty(X.shape)
        direction = loss.direction(logits, y)
        for part in pieces(len(X), 24 * len(self.rows)):
            near = self._near(self.distance.powers(X[part], self.rows))
            # Rows far outside still pull a little, or there would be nothing to follow.
            pull = (near * (1 - near) + 1e-6) * (direction[part] @ self.votes.T)
            gradient[part] = 2 * (pull @ self.rows - pull.sum(axis=1)[:, None] * X[part])
        return logits, gradient

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = self._counts(low, high)
        return lower, upper + 1  # what is less than a vote, included

    def _counts(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many rows of each class are inside for sure, and how many may be."""
        sure, maybe = np.empty((2, len(low), self.n_classes))
        unit = max(self.unit, self.resolution)
        for i in range(len(low)):
            least, most = self.distance.ranges(low[i], high[i], self.rows)
            furthest = np.linalg.norm(np.maximum(abs(low[i]), abs(high[i])))
            lengths = furthest + self.lengths
            slack = self.distance.slack(np.maximum(most, self.power), lengths, low.shape[1], unit)
            sure[i] = (most + slack <= self.power) @ self.votes
            maybe[i] = (least - slack <= self.power) @ self.votes
        return sure, maybe

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return 1 where a class is proven to lose, else -1, inf for the class itself."""
        sure, maybe = self._counts(low, high)
        own = np.take_along_axis(sure, labels[:, None], axis=1)
        if self.unanimous:
            won = (own > 0) & (maybe == 0)
        else:  # of as many votes, the first class wins; of none at all, none does
            first = labels[:, None] < np.arange(self.n_classes)
            won = (own > maybe) | ((own == maybe) & first & (own > 0))
        margins = np.where(won, 1.0, -1.0)
        np.put_along_axis(margins, labels[:, None], np.inf, axis=1)
        return margins
