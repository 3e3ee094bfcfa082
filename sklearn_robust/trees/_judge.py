"""The verdict on one sample: cheap bounds and moves, then linear programs, then a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sklearn_robust.trees._branch import branch
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


@dataclass(frozen=True)
class Holds:
    """Whether a rival wins in given cells: the model itself is asked where sums are too close."""

    predict: Predict
    contrast: Contrast
    label: int

    def __call__(self, cells: np.ndarray, margin: float) -> bool:
        contrast = self.contrast
        if margin >= contrast.sure + contrast.rounding:
            return True
        return bool(self.predict(contrast.cells.point(cells)[None])[0] != self.label)


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

    def bounds(self, leaves: np.ndarray, label: int) -> np.ndarray:
        """Return for each class how far it can get ahead of the true one; -inf for that itself.

        Each tree is taken at the best of the leaves.
        """
        value, start = self.forest.value[leaves], starts(self.forest.tree[leaves])
        gain = np.maximum.reduceat(value - value[:, [label]], start)
        base = self.forest.base - self.forest.base[label]
        rounding = summing_error(len(start), 2 * (abs(gain).sum(axis=0) + abs(base)).max())
        best = gain.sum(axis=0) + base + rounding
        best[label] = -np.inf
        return best

    def rivals(self, leaves: np.ndarray, label: int) -> np.ndarray:
        """Return the classes that can win by `bounds`, the most dangerous first."""
        best = self.bounds(leaves, label)
        order = np.argsort(-best, kind="stable")
        return order[best[order] >= -self.forest.slack]

    def verdict(self, cells: Cells, label: int) -> Outcome:
        """Return what can be found out about a sample."""
        open_, proven = [], True
        for rival in self.rivals(cells.leaves, label):
            contrast = self._contrast(cells, label, int(rival))
            if contrast.naive() < contrast.need or contrast.added() < contrast.need:
                continue
            found = self._attacked(contrast, Holds(self.predict, contrast, label))
            if found is not None:
                return Outcome(False, cells.point(contrast.shortened(found)))
            if len(contrast.start) > 1:
                open_.append(contrast)
            elif not contrast.varies:
                proven &= self._is_constant(cells, label)
        for contrast in open_:
            end = branch(contrast, Holds(self.predict, contrast, label), self.max_nodes)
            if end.cells is not None:
                return Outcome(False, cells.point(contrast.shortened(end.cells)))
            proven &= end.proven
        return Outcome(proven, None)

    def _contrast(self, cells: Cells, label: int, rival: int) -> Contrast:
        forest, leaves = self.forest, cells.leaves
        return Contrast(
            cells,
            forest.tree[leaves],
            forest.value[leaves, rival] - forest.value[leaves, label],
            float(forest.base[rival] - forest.base[label]),
            slack=forest.slack,
            exact=forest.exact,
            wins_ties=(rival > label) == forest.high_class_wins_ties,
        )

    def _attacked(self, contrast: Contrast, holds: Holds) -> np.ndarray | None:
        """Return cells where the rival wins, if they are easily found.

        Where a single tree varies, the model is constant in each of its leaves: all are asked.
        """
        if len(contrast.start) == 1:
            tries = contrast.leaves_by_price()
        else:
            tries = [contrast.ascend(contrast.cells.home)]
        for cells, margin in tries:
            if margin >= contrast.need and holds(cells, margin):
                return cells
        return None

    def _is_constant(self, cells: Cells, label: int) -> bool:
        """Whether the true class has one score everywhere, as the rival then has.

        Otherwise the sums of both may round otherwise from cell to cell.
        """
        own = self.forest.value[cells.leaves, label]
        start = starts(self.forest.tree[cells.leaves])
        return bool((np.maximum.reduceat(own, start) == np.minimum.reduceat(own, start)).all())
