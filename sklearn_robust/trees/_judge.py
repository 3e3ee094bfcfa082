"""The verdict on one sample: cheap bounds and moves, then linear programs, then a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_robust.trees._branch import Cheapest, branch, cheapest, cheapest_leaf
from sklearn_robust.trees._cells import Cells
from sklearn_robust.trees._contrast import Contrast
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._sums import starts, summing_error

Predict = Callable[[np.ndarray], np.ndarray]


class Outcome(NamedTuple):
    """What was found for one sample.

    Attributes
    ----------
    proven : bool
        Whether the true class wins everywhere.
    point : ndarray of shape (n_features,) or None
        Where another one does.
    """

    proven: bool
    point: np.ndarray | None


class Nearest(NamedTuple):
    """What was found of the cheapest mistake; as `Cheapest`, but for the point in its cells."""

    price: float
    point: np.ndarray | None
    open: bool = False
    again: bool = False

    @classmethod
    def of(cls, contrast: Contrast, end: Cheapest) -> Nearest:
        """Return the end of a search with the point instead of its cells."""
        point = None if end.cells is None else contrast.cells.point(end.cells)
        return cls(end.price, point, end.open, end.again)


@dataclass(frozen=True)
class Question:
    """What is open about a sample, once it is known which leaves it may reach.

    Attributes
    ----------
    label : int
    leaves : int ndarray
        In the order of their trees.
    start : int ndarray of shape (n_trees,)
        Where each tree begins.
    top, bottom : ndarrays of shape (n_trees, n_classes)
        How far each class can get ahead of the true one in each tree, and at least is.
    rivals : int ndarray
        Classes that may win, each tree taken at its best leaf; the most dangerous first.
    rounding : float
        How far a sum of margins over all trees may be off.
    """

    label: int
    leaves: np.ndarray
    start: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    rivals: np.ndarray
    rounding: float

    def where_varies(self, rival: int) -> tuple[np.ndarray, float]:
        """Return the leaves of trees where a rival's margin varies, and what others add to it."""
        varies = self.top[:, rival] > self.bottom[:, rival]
        size = np.diff(np.append(self.start, len(self.leaves)))
        return self.leaves[np.repeat(varies, size)], float(self.top[~varies, rival].sum())


@dataclass
class Holds:
    """Whether a rival wins in given cells: the model itself is asked where sums are too close.

    `denied` says that it was asked, and that the true class won.
    """

    predict: Predict
    contrast: Contrast
    label: int
    denied: bool = False

    def __call__(self, cells: np.ndarray, margin: float) -> bool:
        contrast = self.contrast
        if margin >= contrast.sure + contrast.rounding:
            return True
        wins = bool(self.predict(contrast.cells.point(cells)[None])[0] != self.label)
        self.denied |= not wins
        return wins


@dataclass(frozen=True)
class Judge:
    """Verdicts on single samples that a model gets right.

    Parameters
    ----------
    forest : Forest
    predict : callable
        The model's own, from samples to class indices.
    max_nodes : int
        Linear programs for each rival class at the most.
    """

    forest: Forest
    predict: Predict
    max_nodes: int

    def question(self, leaves: np.ndarray, label: int) -> Question:
        """Return what is open about a sample that may reach these leaves."""
        forest = self.forest
        value, start = forest.value[leaves], starts(forest.tree[leaves])
        gain = value - value[:, [label]]
        top, bottom = np.maximum.reduceat(gain, start), np.minimum.reduceat(gain, start)
        base = forest.base - forest.base[label]
        size = np.maximum(abs(top), abs(bottom)).sum(axis=0) + abs(base)
        rounding = summing_error(len(start), 2 * size.max()) if forest.slack else 0.0
        best = top.sum(axis=0) + base + rounding
        best[label] = -np.inf
        order = np.argsort(-best, kind="stable")
        rivals = order[best[order] >= -forest.slack]
        return Question(label, leaves, start, top, bottom, rivals, rounding)

    def verdict(self, question: Question, cut: Callable[[np.ndarray], Cells]) -> Outcome:
        """Return what can be found out about a sample; `cut` makes cells of leaves."""
        open_, close, proven = [], [], True
        for rival in map(int, question.rivals):
            contrast = self._contrast(question, rival, cut)
            if contrast.naive() < contrast.need or contrast.added() < contrast.need:
                continue
            holds = Holds(self.predict, contrast, question.label)
            found = self._attacked(contrast, holds)
            if found is not None:
                return Outcome(False, contrast.cells.point(contrast.shortened(found)))
            if len(contrast.start) > 1:
                open_.append((rival, contrast, holds))
            elif self._is_close(question, rival, holds):
                close.append(rival)
        for rival, contrast, holds in open_:
            end = branch(contrast, holds, self.max_nodes)
            if end.cells is not None:
                return Outcome(False, contrast.cells.point(contrast.shortened(end.cells)))
            proven &= end.proven
            if end.proven and self._is_close(question, rival, holds):
                close.append(rival)
        for rival in close:
            contrast = self._contrast(question, rival, cut, whole=True)
            if not len(contrast.start):
                return Outcome(False, None)
            end = branch(contrast, Holds(self.predict, contrast, question.label), self.max_nodes)
            if end.cells is not None:
                return Outcome(False, contrast.cells.point(contrast.shortened(end.cells)))
            proven &= end.proven
        return Outcome(proven, None)

    def nearest(
        self,
        question: Question,
        rival: int,
        cut: Callable[[np.ndarray], Cells],
        *,
        budget: float,
        keep: float,
    ) -> Nearest:
        """Return the cheapest mistake within a budget that gives a rival; see `cheapest`.

        `cut` makes cells with prices of leaves.
        """
        contrast = self._contrast(question, rival, cut)
        contrast.cells.budget = budget
        if contrast.naive() < contrast.need or contrast.added() < contrast.need:
            return Nearest(budget, None)
        holds = Holds(self.predict, contrast, question.label)
        if len(contrast.start) < 2:
            end = cheapest_leaf(contrast, holds)
        else:
            end = cheapest(contrast, holds, self.max_nodes, keep)
        found = Nearest.of(contrast, end)
        if end.again or end.open or not self._is_close(question, rival, holds):
            return found
        contrast = self._contrast(question, rival, cut, whole=True)
        if not len(contrast.start):
            return found._replace(price=0.0, open=True)
        contrast.cells.budget = end.price
        holds = Holds(self.predict, contrast, question.label)
        nearer = Nearest.of(contrast, cheapest(contrast, holds, self.max_nodes, keep))
        return nearer if nearer.point is not None else nearer._replace(point=found.point)

    def _is_close(self, question: Question, rival: int, holds: Holds) -> bool:
        """Whether other cells than those that were asked might round another way.

        A rival that is as good as the true class is so in all cells where the same leaves of the
        trees count in which the margin varies. Where both scores move together in other trees,
        their sums may round differently from cell to cell of these.
        """
        lots = question.leaves, holds.contrast.cells.leaves  # all, and those within the budget
        return holds.denied and any(self._moves_along(lot, question.label, rival) for lot in lots)

    def _moves_along(self, leaves: np.ndarray, label: int, rival: int) -> bool:
        """Whether there is a tree in which the scores of two classes move, and their margin not."""
        if not len(leaves):
            return False
        start, own = starts(self.forest.tree[leaves]), self.forest.value[leaves, label]
        gain = self.forest.value[leaves, rival] - own
        varies, moves = (
            np.maximum.reduceat(v, start) > np.minimum.reduceat(v, start) for v in (gain, own)
        )
        return bool((moves & ~varies).any())

    def _contrast(
        self,
        question: Question,
        rival: int,
        cut: Callable[[np.ndarray], Cells],
        *,
        whole: bool = False,
    ) -> Contrast:
        """Return the contrast of a rival; with `whole` on cells that no tree has thresholds in."""
        forest, label = self.forest, question.label
        leaves, constant = (question.leaves, 0.0) if whole else question.where_varies(rival)
        cells = cut(leaves)
        leaves = cells.leaves
        return Contrast(
            cells,
            forest.tree[leaves],
            forest.value[leaves, rival] - forest.value[leaves, label],
            constant + float(forest.base[rival] - forest.base[label]),
            rounding=question.rounding,
            slack=forest.slack,
            exact=forest.exact,
            wins_ties=(rival > label) == forest.high_class_wins_ties,
        )

    def _attacked(self, contrast: Contrast, holds: Holds) -> np.ndarray | None:
        """Return cells where the rival wins, if they are easily found.

        Where a single tree varies, the model is constant in each of its leaves: all are asked.
        """
        single = len(contrast.start) == 1
        for cells, margin in contrast.leaves_by_price() if single else contrast.climbs():
            if margin >= contrast.need and holds(cells, margin):
                return cells
        return None
