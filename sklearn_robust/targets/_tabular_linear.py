r"""Linear classifiers of tables: numbers that move, categories that flip, and a budget for both.

The score of a class is a sum over columns, so that each gains what it can for a rival by itself,

.. math:: \min f_y - f_j = f_y(x) - f_j(x) - \max_{S : c(S) \le b} \sum_{k \in S} g_k,

with :math:`g_k` the largest gain of column k in its range or among its categories: exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._linear_scores import class_scores, two_rows
from sklearn_robust._tabular import Flip
from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds import most_gained
from sklearn_robust.targets._attacked import only_auto
from sklearn_robust.targets._categories import flip_values
from sklearn_robust.targets._linear import LinearTarget
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import (
    Attacked,
    dense_rows,
    leaves_choice,
)


@dataclass(frozen=True)
class _Flips:
    """A column of categories.

    Attributes
    ----------
    column : int
        Of the raw table.
    cost : float
    values : ndarray of shape (n_values,)
        Categories that it may flip to, then those that samples have besides.
    n_allowed : int
        How many of the first.
    current : int ndarray of shape (n_samples,)
        Which value each sample has.
    score : ndarray of shape (n_classes, n_values)
        What each adds to the scores, but for a constant.
    size : ndarray of shape (n_values, n_frozen)
        What the encoder makes of each, in absolute value.
    """

    column: int
    cost: float
    values: np.ndarray
    n_allowed: int
    current: np.ndarray
    score: np.ndarray
    size: np.ndarray

    def gains(
        self, pick: np.ndarray, labels: np.ndarray, rival: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what some samples gain at most for a rival, and by which value."""
        lead = self.score[rival] - self.score
        best = lead[:, : self.n_allowed].argmax(axis=1)[labels]
        gain = lead[labels, best] - lead[labels, self.current[pick]]
        return gain.clip(0, None), best


class TabularLinearTarget(LinearTarget):
    """A linear classifier whose adversary flips categories or has a budget.

    Parameters
    ----------
    subject : Subject
    plain : LinearTarget
        The same classifier without.
    """

    def __init__(self, subject: Subject, plain: LinearTarget) -> None:
        super().__init__(subject, plain.samples, plain.rule, plain.resolution)
        self.on_input, self.front_sizes = plain.on_input, plain.front_sizes
        self._weights = two_rows(self.coef, self.intercept)[0]
        self._frozen, moves = subject.front.frozen, subject.raw_threat.moves
        assert moves is not None
        self._flips = [self._column(subject, column, flip) for column, flip in moves.flips.items()]

    def _column(self, subject: Subject, column: int, flip: Flip) -> _Flips:
        """Return what a column of categories may become, and what that does to the scores."""
        values, n_allowed, current = flip_values(subject, column, flip)
        assert self._frozen is not None
        table, start = self.samples.table, self._frozen.start
        first = np.zeros(len(values), dtype=np.intp)  # other columns add the same to all
        some = table.replaced(first, first[:0], np.zeros((len(values), 0)))
        made = self._frozen.values(
            table.with_labels(some, {column: (values, np.arange(len(values)))})
        )
        weights = self._weights[:, start : start + made.shape[1]]
        return _Flips(column, flip.cost, values, n_allowed, current, weights @ made.T, abs(made))

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples are robust, exactly."""
        if not leaves_choice(attack):
            raise only_auto(attack)
        open_, robust = self._open(among), np.zeros(len(self.clean), dtype=bool)
        for pick in self._pieces(open_):
            robust[pick] = self._worst_of_table(pick, threat)[2]
        return Attacked(robust, {"exact": len(open_) - int(robust.sum())}, "exact")

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        if not leaves_choice(attack):
            raise only_auto(attack)
        rows = dense_rows(self.rows).copy()
        flipped = self._current(np.arange(len(rows)))
        for pick in self._pieces(self._open(None)):
            rows[pick], flipped[pick] = self._worst_of_table(pick, threat)[:2]
        return self._raw(rows, flipped)

    def _worst_of_table(
        self, pick: np.ndarray, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rows and values that mislead most, and which samples stay right at all of them."""
        assert self.labels is not None
        labels, robust = self.labels[pick], np.ones(len(pick), dtype=bool)
        rows = dense_rows(self.rows[pick]).copy()
        values = self._current(pick)
        least = np.full(len(pick), np.inf)
        for rival in range(len(self._weights)):
            margin, at, to = self._against(pick, rival, threat)
            mine = labels != rival
            wrong = mine.copy()
            wrong[mine] = self._predicted(at[mine], to[mine]) != labels[mine]
            better = mine & robust & (wrong | (margin < least))
            rows[better], values[better], least[better] = at[better], to[better], margin[better]
            robust &= ~wrong
        return rows, values, robust

    def _against(
        self, pick: np.ndarray, rival: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the least margins over a rival, and the rows and values that attain them."""
        assert self.labels is not None and threat.moves is not None
        x, labels = dense_rows(self.rows[pick]), self.labels[pick]
        scores = class_scores(self.coef, self.intercept, self.rows[pick])
        clean = scores[np.arange(len(pick)), labels] - scores[:, rival]
        pull = self._weights[rival] - self._weights[labels]
        furthest, moving = threat.around(x).furthest(pull), np.flatnonzero(threat.moves.moving)
        flips = [flip.gains(pick, labels, rival) for flip in self._flips]
        gain = np.column_stack(
            [((furthest - x) * pull)[:, moving].clip(0, None), *(own for own, _ in flips)]
        )
        cost = np.broadcast_to(threat.moves.cost, x.shape[1])[moving]
        cost = np.append(cost, [flip.cost for flip in self._flips])
        take = most_gained(gain, cost, threat.moves.budget) & bool(threat.epsilon)
        rows, values = x.copy(), self._current(pick)
        rows[:, moving] = np.where(take[:, : len(moving)], furthest[:, moving], x[:, moving])
        for k, (_, best) in enumerate(flips):
            values[:, k] = np.where(take[:, len(moving) + k], best, values[:, k])
        return clean - (gain * take).sum(axis=1), rows, values

    def _current(self, pick: np.ndarray) -> np.ndarray:
        """Return which values some samples have in the columns that flip."""
        values = np.zeros((len(pick), len(self._flips)), dtype=np.intp)
        for k, flip in enumerate(self._flips):
            values[:, k] = flip.current[pick]
        return values

    def _predicted(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros(0, dtype=np.intp)
        predicted = np.ravel(np.asarray(self.estimator.predict(self._raw(rows, values))))
        return np.searchsorted(self.classes_, predicted)

    def _raw(self, rows: np.ndarray, values: np.ndarray) -> Any:
        """Return raw samples with the numbers of `rows`, and categories."""
        raw = self.samples.restore(rows, all_rows=len(rows) == len(self.clean))
        new = {flip.column: (flip.values, values[:, k]) for k, flip in enumerate(self._flips)}
        return self.samples.table.with_labels(raw, new) if new else raw

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are right by a margin that no rounding can turn."""
        assert self.labels is not None
        proven = np.zeros(len(self.clean), dtype=bool)
        for pick in self._pieces(self._open(among)):
            least = np.full(len(pick), np.inf)
            for rival in range(len(self._weights)):
                margin = self._against(pick, rival, threat)[0]
                least = np.where(self.labels[pick] != rival, np.minimum(least, margin), least)
            # Gains are differences of terms of scores, as these are.
            proven[pick] = least > 2 * self.rounding(self._largest_rows(pick), threat)
        return proven

    def _largest_rows(self, pick: np.ndarray) -> np.ndarray:
        """Return rows with the largest values that encoders make of any category."""
        rows = abs(dense_rows(self.rows[pick]))
        for flip in self._flips:
            assert self._frozen is not None
            at = slice(self._frozen.start, self._frozen.start + flip.size.shape[1])
            rows[:, at] = np.maximum(rows[:, at], flip.size.max(axis=0))
        return rows

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        raise ValueError("unit must be a radius, as distances are those of a norm.")

    def _evaluated(self, *known: Any, **run: Any) -> Any:
        raise ValueError(
            "target_classes and attacks of one's own know no flips and no budget. Leave them out."
        )
