"""All thresholds of a forest in order, so that cells are found by whole numbers alone."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from sklearn_robust.trees._forest import Forest

# Ranks of ends that lie at infinity: below all thresholds, and above them.
_BELOW, _ABOVE = -1, np.iinfo(np.intp).max


class Grid:
    """The thresholds of a forest by feature, ascending, and the ranks of all leaves' ends.

    Attributes
    ----------
    value : ndarray of shape (n_thresholds,)
    feature : int ndarray of shape (n_thresholds,)
    start : int ndarray of shape (n_features + 1,)
        Those of feature f are ``value[start[f]:start[f + 1]]``.
    low, high : int ndarrays, like ``forest.path_low`` and ``forest.path_high``
        Which threshold an end is: its place in `value`.
    """

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        finite = np.isfinite(forest.threshold) & (forest.feature >= 0) & (forest.category_row < 0)
        feature, value = forest.feature[finite], forest.threshold[finite]
        order = np.lexsort((value, feature))
        feature, value = feature[order], value[order]
        new = np.ones(len(value), dtype=bool)
        new[1:] = (np.diff(feature) != 0) | (np.diff(value) != 0)
        self.value, self.feature = value[new], feature[new]
        self.start = np.searchsorted(self.feature, np.arange(forest.n_features + 1))

    @cached_property
    def _by_feature(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the tests of all leaves sorted by feature, and where each feature starts."""
        order = np.argsort(self._forest.path_feature, kind="stable")
        features = np.arange(self._forest.n_features + 1)
        return order, np.searchsorted(self._forest.path_feature[order], features)

    @cached_property
    def low(self) -> np.ndarray:
        return self._ranks(self._forest.path_low, _BELOW)

    @cached_property
    def high(self) -> np.ndarray:
        return self._ranks(self._forest.path_high, _ABOVE)

    def _ranks(self, ends: np.ndarray, infinite: int) -> np.ndarray:
        order, start = self._by_feature
        ranks = np.full(len(ends), infinite, dtype=np.intp)
        for f in np.flatnonzero(np.diff(start)):
            mine = order[start[f] : start[f + 1]]
            mine = mine[np.isfinite(ends[mine])]
            ranks[mine] = self._place(f, ends[mine])
        return ranks

    def _place(self, f: Any, x: np.ndarray) -> np.ndarray:
        """Return the rank of the first threshold of a feature that is no less than x."""
        a, b = self.start[f], self.start[f + 1]
        return a + np.searchsorted(self.value[a:b], x)

    def inside(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for boxes, the ranks from where to where thresholds T have low <= T < high.

        Both have shape (n_boxes, n_features). Where an end is missing there are none.
        """
        first = np.full(low.shape[::-1], _ABOVE, dtype=np.intp)
        last = np.full(low.shape[::-1], _BELOW, dtype=np.intp)
        there = ~np.isnan(low.T)
        for f in np.flatnonzero(np.diff(self.start)):
            at = slice(None) if there[f].all() else there[f]
            first[f, at] = self._place(f, low[at, f])
            last[f, at] = self._place(f, high[at, f])
        return first.T, last.T


_GRIDS: WeakKeyDictionary[Forest, Grid] = WeakKeyDictionary()


def grid_of(forest: Forest) -> Grid:
    """Return the grid of a forest, which is made once."""
    if forest not in _GRIDS:
        _GRIDS[forest] = Grid(forest)
    return _GRIDS[forest]
