"""For each feature, which leaves the ends of a box rule out: one row of words for each place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._grid import grid_of

# Codes are sorted where a table of them would be longer than this many times their number.
_LONG = 64

Edges = tuple[np.ndarray, np.ndarray, np.ndarray]


class Bits:
    """Where the bit of each leaf stands: by ascending value, from the lowest on.

    Parameters
    ----------
    forest : Forest
    trees : int ndarray
        Those that are taken together.
    value : ndarray of shape (n_leaves,)
    dtype : str
        Of the words, one for each tree.

    Attributes
    ----------
    column : int ndarray of shape (n_leaves,)
        Place of a leaf's tree among these, -1 for others.
    word : ndarray of shape (n_leaves,)
        The bit of a leaf.
    leaf : int ndarray of shape (n_trees, n_bits)
    full : ndarray of shape (n_trees,)
        The bits of all leaves.
    """

    def __init__(self, forest: Forest, trees: np.ndarray, value: np.ndarray, dtype: str) -> None:
        place = np.full(forest.n_trees, -1)
        place[trees] = np.arange(len(trees))
        self.column, self.dtype = place[forest.tree], np.dtype(dtype)
        mine = np.flatnonzero(self.column >= 0)
        order = mine[np.lexsort((value[mine], self.column[mine]))]
        tree = self.column[order]
        bit = np.arange(len(order)) - np.searchsorted(tree, tree)
        one = self.dtype.type(1)
        self.word = np.zeros(len(value), dtype=self.dtype)
        self.word[order] = one << bit.astype(self.dtype)
        self.leaf = np.zeros((len(trees), 8 * self.dtype.itemsize), dtype=np.intp)
        self.leaf[tree, bit] = order
        self.full = self.marked(np.zeros(len(order), dtype=np.intp), order, 1)[0]

    def marked(self, row: np.ndarray, leaf: np.ndarray, n_rows: int) -> np.ndarray:
        """Return words with the bits of some leaves set, each in a row, (n_rows, n_trees)."""
        out = np.zeros((n_rows, len(self.leaf)), dtype=self.dtype)
        np.bitwise_or.at(out, (row, self.column[leaf]), self.word[leaf])
        return out


class Ends(NamedTuple):
    """Where boxes end on a feature: each case once, as many boxes share one.

    Attributes
    ----------
    low : ndarray of shape (n_boxes,)
    first, last : int ndarrays of shape (n_cases,)
        How many thresholds lie below the lower and the upper end; both -1 where it is missing.
    case : int ndarray of shape (n_boxes,)
    """

    low: np.ndarray
    first: np.ndarray
    last: np.ndarray
    case: np.ndarray


def ends_of(forest: Forest, low: np.ndarray, high: np.ndarray) -> list[Ends]:
    """Return where boxes end on each feature, given by arrays of shape (n_boxes, n_features)."""
    grid, found = grid_of(forest), []
    inside = grid.inside(low, high)
    for f, n in enumerate(np.diff(grid.start) + 1):
        first, last = (rank[:, f] - grid.start[f] if n > 1 else rank[:, f] * 0 for rank in inside)
        code = first * n + last
        code[np.isnan(low[:, f])] = n * n
        distinct, case = _distinct(code, n * n + 1)
        first, last = np.where(distinct < n * n, np.divmod(distinct, n), -1)
        found.append(Ends(low[:, f], first, last, case))
    return found


class Table:
    """What one feature rules out."""

    def __init__(self, feature: int) -> None:
        self.feature = feature

    def __call__(self, ends: list[Ends]) -> np.ndarray:
        """Return which leaves boxes may meet for all that the feature tells, (n_boxes, n_trees)."""
        raise NotImplementedError


class _Numbers(Table):
    """A feature that is compared with thresholds."""

    def __init__(
        self, forest: Forest, bits: Bits, feature: int, tests: np.ndarray, leaf: np.ndarray
    ) -> None:
        super().__init__(feature)
        grid = grid_of(forest)
        begin, end = grid.start[feature : feature + 2]
        low, high = grid.low[tests], grid.high[tests]
        above, below = low >= begin, high < end
        used = np.zeros(end - begin + 1, dtype=bool)
        used[low[above] - begin] = True
        used[high[below] - begin] = True
        self._rank = np.cumsum(used) - used  # of a place: how many used thresholds come before
        n = int(used.sum())
        # A leaf that begins at threshold a is ruled out by boxes with no more than a below their
        # upper end; one that ends at b by those with more than b below their lower end. No number
        # lies above infinity, where scikit-learn asks whether a value is missing.
        above |= forest.path_low[tests] == np.inf
        begins = np.where(low[above] < begin, n, self._rank[(low[above] - begin).clip(0)])
        after = bits.marked(begins, leaf[above], n + 1)
        before = bits.marked(self._rank[high[below] - begin] + 1, leaf[below], n + 1)
        self._after = ~np.bitwise_or.accumulate(after[::-1], axis=0)[::-1]
        self._before = ~np.bitwise_or.accumulate(before, axis=0)
        self._missing = ~np.zeros(len(bits.leaf), dtype=bits.dtype)

    def rule_out_missing(self, words: np.ndarray) -> None:
        self._missing = ~words

    def __call__(self, ends: list[Ends]) -> np.ndarray:
        first, last = ends[self.feature].first, ends[self.feature].last
        words = self._before[self._rank[first]] & self._after[self._rank[last]]
        words[first < 0] = self._missing
        return words[ends[self.feature].case]


class _Categories(Table):
    """A feature that is split by its codes."""

    def __init__(self, forest: Forest, bits: Bits, feature: int, edges: Edges) -> None:
        super().__init__(feature)
        self._forest = forest
        leaf, node, is_left = edges
        goes_left = forest.category_table[forest.category_row[node]]
        out, code = np.nonzero(goes_left != is_left[:, None])
        self._words = ~bits.marked(code, leaf[out], forest.category_table.shape[1])

    def __call__(self, ends: list[Ends]) -> np.ndarray:
        return self._words[self._forest.codes(ends[self.feature].low)]


def tables_of(forest: Forest, bits: Bits, edges: Edges) -> list[Table]:
    """Return the tables of all features that are tested on the way to some leaves.

    Parameters
    ----------
    forest : Forest
    bits : Bits
    edges : tuple of ndarrays
        As `Forest.edges` returns them.
    """
    tables: list[Table] = []
    mine = bits.column[edges[0]] >= 0
    leaf, node, is_left = (part[mine] for part in edges)
    category, wrong_way = forest.category_row[node] >= 0, forest.missing_left[node] != is_left
    leaf_of = np.repeat(np.arange(len(forest.tree)), np.diff(forest.ptr))
    tests = np.flatnonzero(bits.column[leaf_of] >= 0)
    splits = _by_feature(forest.feature[node], forest.n_features)
    of_leaves = _by_feature(forest.path_feature[tests], forest.n_features)
    for f, (here, there) in enumerate(zip(splits, of_leaves, strict=True)):
        codes = here[category[here]]
        if len(codes):
            of_codes = leaf[codes], node[codes], is_left[codes]
            tables.append(_Categories(forest, bits, f, of_codes))
        if len(codes) < len(here):
            numbers = _Numbers(forest, bits, f, tests[there], leaf_of[tests[there]])
            lost = leaf[here[wrong_way[here] & ~category[here]]]
            numbers.rule_out_missing(bits.marked(np.zeros_like(lost), lost, 1)[0])
            tables.append(numbers)
    return tables


def _by_feature(feature: np.ndarray, n_features: int) -> list[np.ndarray]:
    """Return where each feature stands."""
    order = np.argsort(feature, kind="stable")
    return np.split(order, np.searchsorted(feature[order], np.arange(1, n_features)))


def _distinct(code: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ones of some codes below a size, and the number of each."""
    if size > _LONG * len(code):
        distinct, number = np.unique(code, return_inverse=True)
        return distinct, number
    seen = np.zeros(size, dtype=bool)
    seen[code] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[code]
