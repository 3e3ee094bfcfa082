"""Votes of the nearest rows: exact for a single Euclidean neighbour, by counting for more."""

from __future__ import annotations

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS, BoundedModel, enclosing_box
from sklearn_robust.bounds._distances import Distance
from sklearn_robust.bounds._games import Game, play
from sklearn_robust.bounds._programs import solver_of
from sklearn_robust.bounds._reach import Reach

# Own rows that rivals are held against, beside those that have to be nearer.
_WITNESSES = 24
# Squares of distances below this share of the largest one count as 0.
_TINY = 1e-30


class NeighbourVotes(BoundedModel):
    r"""The class that most of the k nearest rows have; of equals, the first one.

    With two classes and an odd k, the class wins whose row number ``m = (k + 1) / 2`` is nearer:

    .. math:: F_c(x) = -d(x, t_{(m)}^c)^p

    decides exactly. In all other cases the scores are votes, and a share of one for how near the
    next row of a class is.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    classes : ndarray of int, shape (n_rows,)
    n_classes : int
    n_neighbors : int
    distance : Distance
    unanimous : bool, default=False
        Whether votes have weights, so that only those of one class are sure to win.
    unit : float, default=float64's
        The spacing at 1 of the numbers in which the classifier holds its rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import Distance, NeighbourVotes
    >>> rows, classes = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> model = NeighbourVotes(rows, classes, 2, 3, Distance(2))
    >>> x, y = np.array([[0.8]]), np.array([0])
    >>> [bool(model.margins(x, y, ThreatModel(e))[0, 1] > 0) for e in (0.6, 0.8)]
    [True, False]
    """

    def __init__(
        self,
        rows: np.ndarray,
        classes: np.ndarray,
        n_classes: int,
        n_neighbors: int,
        distance: Distance,
        *,
        unanimous: bool = False,
        unit: float = EPS,
    ) -> None:
        self.rows, self.classes, self.n_classes = rows, classes, n_classes
        self.n_neighbors, self.distance = n_neighbors, distance
        self.unanimous, self.unit = unanimous, unit
        odd = n_classes == 2 and n_neighbors % 2 == 1 and not unanimous
        self.decides = n_neighbors == 1 or odd
        self.members = [np.flatnonzero(classes == c) for c in range(n_classes)]
        self.lengths = np.linalg.norm(rows, axis=1)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self._nearest(X)[0]

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores, and the gradient of the mean over the rows up to number m.

        The row number m alone would send an attack to and fro between rows. Gradients are those of
        squared Euclidean distances: those of others may cancel, as sums of signs do.
        """
        logits, nearest = self._nearest(X)
        direction, gradient = loss.direction(logits, y), np.zeros(X.shape)
        for c, index in enumerate(nearest):
            for row in index.T:
                gradient -= direction[:, c, None] * 2 * (X - self.rows[row]) / index.shape[1]
        return logits, gradient

    def _nearest(self, X: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the scores, and for each class its nearest rows, up to number m."""
        m = self.n_neighbors // 2 + 1
        scores = np.empty((len(X), self.n_classes))
        nearest = [np.empty((len(X), min(m, len(own))), dtype=np.intp) for own in self.members]
        for part in pieces(len(X), 8 * len(self.rows)):
            away = self.distance.powers(X[part], self.rows)
            for c, own in enumerate(self.members):
                size = nearest[c].shape[1]
                some = np.argpartition(away[:, own], size - 1, axis=1)[:, :size]
                nearest[c][part] = own[some]
                scores[part, c] = -np.take_along_axis(away[:, own], some, axis=1).max(axis=1)
            if not self.decides:
                scores[part] = self._votes(away)
        return scores, nearest

    def _votes(self, away: np.ndarray) -> np.ndarray:
        """Return the votes of each class, and less than half of one for its next row being near."""
        k = min(self.n_neighbors, len(self.rows))
        order = np.argsort(away, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(away, order, axis=1)
        last = near[:, -1:]
        weight = np.ones(near.shape)
        if self.unanimous:  # the inverse of the distance; a row that is met has all the weight
            inverse = (near / np.where(last > 0, last, 1)).clip(_TINY, None) ** (-1 / self._root)
            weight = inverse / inverse.sum(axis=1, keepdims=True) * k
        votes = np.zeros((len(away), self.n_classes))
        for c in range(self.n_classes):
            votes[:, c] = (weight * (self.classes[order] == c)).sum(axis=1)
        first, rest = votes.argmax(axis=1)[:, None], away.copy()
        np.put_along_axis(rest, order, np.inf, axis=1)
        for c, own in enumerate(self.members):
            following = rest[:, own].min(axis=1)
            votes[:, c] += 0.4 * np.where(following > 0, last[:, 0] / following, 1.0)
        top = votes.max(axis=1, keepdims=True)
        np.put_along_axis(votes, first, top * (1 + 4 * EPS), axis=1)
        return votes

    @property
    def _root(self) -> float:
        return 1.0 if np.isinf(self.distance.p) else self.distance.p

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = np.full((2, len(low), self.n_classes), np.inf) * [[[-1]], [[1]]]
        for i in range(len(low) if self.decides else 0):
            least, most = self.distance.ranges(low[i], high[i], self.rows)
            slack = self._slack(low[i], high[i], most, self.lengths)
            for c, own in enumerate(self.members):
                m = min(self.n_neighbors // 2, len(own) - 1)
                lower[i, c] = -np.partition((most + slack)[own], m)[m]
                upper[i, c] = -np.partition((least - slack)[own], m)[m]
        return lower, upper

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return 1 where a class is proven to lose, else -1, inf for the class itself."""
        margins = np.empty((len(low), self.n_classes))
        for i, label in enumerate(labels):
            own, rivals = self._sides((low[i] + high[i]) / 2, label)
            gaps = self.distance.gaps(low[i], high[i], self.rows[own], self.rows[rivals])
            gaps -= self._pair_slack(low[i], high[i], own, rivals)[:, None]
            margins[i] = self._counted(gaps, rivals, label)
        return margins

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        low, high = enclosing_box(X, threat)
        if self.distance.p != 2 or threat.norm == "linf":
            return self.box_margins(low, high, labels)
        margins = np.empty((len(X), self.n_classes))
        for i, label in enumerate(labels):
            own, rivals = self._sides(X[i], label)
            heights = Heights(Reach(X[i], threat), self.rows)
            gaps = np.column_stack([heights.gaps(j, rivals) for j in own])
            gaps -= self._pair_slack(low[i], high[i], own, rivals)[:, None]
            margins[i] = self._counted(gaps, rivals, label)
        return margins

    def _sides(self, x: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the own rows that are nearest to a point, and the rows of all other classes."""
        own = self.members[label]
        order = np.argsort(self.distance.powers(x[None], self.rows[own])[0], kind="stable")
        return own[order[: _WITNESSES + 2 * self.n_neighbors]], np.flatnonzero(
            self.classes != label
        )

    def _slack(
        self, low: np.ndarray, high: np.ndarray, most: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """Return what rounding may do to differences of distances in a box."""
        furthest = np.linalg.norm(np.maximum(abs(low), abs(high)))
        unit = max(self.unit, self.resolution)
        return self.distance.slack(most, furthest + lengths, len(low), unit)

    def _pair_slack(
        self, low: np.ndarray, high: np.ndarray, own: np.ndarray, rivals: np.ndarray
    ) -> np.ndarray:
        """Return the same for each rival and whichever own row."""
        theirs, mine = (self.distance.ranges(low, high, self.rows[k])[1] for k in (rivals, own))
        most = np.maximum(theirs, mine.max(initial=0.0))
        longest = np.maximum(self.lengths[rivals], self.lengths[own].max(initial=0.0))
        return self._slack(low, high, most, longest)

    def _counted(self, gaps: np.ndarray, rivals: np.ndarray, label: int) -> np.ndarray:
        """Return which classes lose, by how many own rows are nearer than each rival for sure.

        A class wins with m votes only if m of its rows are among the k nearest, and with them all
        own rows that are nearer than one of these: they must be no more than the votes of the own
        class, of which k - m are left and fewer than m lose.
        """
        nearer, k = (gaps > 0).sum(axis=1), self.n_neighbors
        margins = np.ones(self.n_classes)
        for c in range(self.n_classes):
            each = nearer[self.classes[rivals] == c]
            for m in range(1, k + 1):
                most = k - m if self.unanimous else min(m - (label < c), k - m)
                if (each <= most).sum() >= m:
                    margins[c] = -1.0
        margins[label] = np.inf
        return margins


class Heights:
    r"""Squared distances from rows, as linear functions over the set around a sample.

    .. math:: |x + \epsilon \circ u - t_j|^2 = |\epsilon \circ u|^2 + d_j - \langle h_j, u\rangle
    """

    def __init__(self, reach: Reach, rows: np.ndarray) -> None:
        delta = rows - reach.x
        self.reach, self.d = reach, (delta**2).sum(axis=1)
        self.h = 2 * delta[:, reach.free] * reach.radii

    def gaps(self, own: int, rivals: np.ndarray) -> np.ndarray:
        """Return the least that each rival is further away than an own row, by squares."""
        return self.d[rivals] - self.d[own] + self.reach.lowest(self.h[own] - self.h[rivals])


class NearestNeighbour(NeighbourVotes):
    r"""The class of the single nearest row under Euclidean distance: exact in any norm and box.

    A rival t_j is nearest somewhere in A(x) unless own rows t_i leave

    .. math:: \min_{x' \in A(x)} \max_i |x' - t_j|^2 - |x' - t_i|^2 > 0,

    linear functions of x', so that weights of the own rows prove it.

    Parameters
    ----------
    rows, classes, n_classes, unit
        As of `NeighbourVotes`.

    Examples
    --------
    The boundary lies half way, at 1.5:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import NearestNeighbour
    >>> model = NearestNeighbour(np.array([[1.0], [2.0]]), np.array([0, 1]), 2)
    >>> x, y = np.array([[1.2]]), np.array([0])
    >>> [bool(model.margins(x, y, ThreatModel(e))[0, 1] > 0) for e in (0.29, 0.31)]
    [True, False]
    >>> model.worst_points(x, y, ThreatModel(0.31)).round(2)
    array([[1.51]])
    """

    def __init__(
        self, rows: np.ndarray, classes: np.ndarray, n_classes: int, *, unit: float = EPS
    ) -> None:
        super().__init__(rows, classes, n_classes, 1, Distance(2), unit=unit)

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return lower bounds of the differences of squared distances, inf for the class itself."""
        margins = np.full((len(X), self.n_classes), np.inf)
        for i, label in enumerate(labels):
            game, rivals, _ = self._play(X[i], label, threat)
            np.minimum.at(margins[i], self.classes[rivals], game.proven)
        return margins

    def is_exact(self, threat: ThreatModel) -> bool:
        return solver_of(threat.norm) is not None and not threat.has_steps

    def worst_points(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return points where a rival is nearest, else the samples themselves."""
        points = np.array(X, dtype=np.float64)
        for i, label in enumerate(labels):
            game, _, found = self._play(X[i], label, threat)
            if len(found):
                points[i] = threat.around(X[i : i + 1]).project(game.reach.point(found[:1]))[0]
        return points

    def _play(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[Game, np.ndarray, np.ndarray]:
        """Return the game around a sample, its rivals, and the points that it found."""
        own, rivals = self.members[label], np.flatnonzero(self.classes != label)
        reach = Reach(x, threat)
        low, high = (end[0] for end in enclosing_box(x[None], threat))
        slack = self._pair_slack(low, high, own, rivals)
        known = Heights(reach, self.rows)
        game = Game(
            reach, known.h[own], known.d[own], known.h[rivals], known.d[rivals], slack,
            solver_of(threat.norm),
        )  # fmt: skip
        return game, rivals, play(game)
