"""Which leaves of small trees boxes meet, as bits: a first bound for thousands of rows a second."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np

from sklearn_robust.trees._bit_tables import Bits, Ends, Table, ends_of, tables_of
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._sums import starts, summing_error

# More leaves than these do not fit into a word.
_MOST_LEAVES = 64
# Trees whose tables are looked up together, so that they stay in the processor's caches, and of
# how many bytes all tables are.
_LEAST_TREES, _MOST_TREES, _MOST_BYTES = 8, 128, 2**27
# Boxes for which looking up the tables pays, and making them; and how many are looked up together.
_LEAST_ROWS, _LEAST_TO_MAKE, _MOST_ROWS = 32, 128, 2048


class LeafBits:
    r"""A forest of small trees, of which each moves the score of one class.

    For each feature the place of a box's end among the thresholds tells which leaves of a tree it
    rules out, one bit for each; what no feature rules out is met [1]_. As bits stand in the order
    of their leaves' values, the lowest and the highest are a tree's bounds. Of two classes it is
    the difference of the scores that moves.

    Parameters
    ----------
    forest : Forest
        One for which `speaks_of_columns` holds.

    References
    ----------
    .. [1] C. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive
       ensembles of regression trees", SIGIR 2015, for points.
    """

    def __init__(self, forest: Forest) -> None:
        column, value = _columns(forest)
        largest = int(np.bincount(forest.tree).max())
        self._dtype = next(t for t in ("<u1", "<u2", "<u4", "<u8") if largest <= 8 * int(t[2]))
        self._forest, edges = forest, forest.edges()
        self._blocks = [
            _Block(forest, column, trees, value, Bits(forest, trees, value, self._dtype), edges)
            for trees in _pieces(np.argsort(column, kind="stable"), self._together(largest))
        ]
        size = np.zeros(len(forest.base))
        np.add.at(size, column, np.maximum.reduceat(abs(value), starts(forest.tree)))
        size += abs(forest.base)
        terms = forest.n_trees + 2 * len(self._blocks) + 4
        # A margin is the difference of two sums.
        rounds = forest.slack > 0
        self._rounding = summing_error(terms, 2 * np.sort(size)[-2:].sum()) if rounds else 0.0

    def _together(self, n_leaves: int) -> int:
        """Return of how many trees at a time tables are made, so that all fit into memory."""
        entry = 2 * np.dtype(self._dtype).itemsize  # of a threshold, for each tree of its block
        n_entries = self._forest.n_trees * n_leaves
        return int(np.clip(_MOST_BYTES // (n_entries * entry), _LEAST_TREES, _MOST_TREES))

    def leads(
        self, low: np.ndarray, high: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower bounds of the lead of a class over each, and what the boxes meet.

        Parameters
        ----------
        low, high : ndarrays of shape (n_boxes, n_features)
        labels : int ndarray of shape (n_boxes,)

        Returns
        -------
        leads : ndarray of shape (n_boxes, n_classes)
            Rounded down.
        words : int ndarray of shape (n_boxes, n_trees)
            For `leaves`.
        """
        scores = np.tile(self._forest.base, (len(low), 1))
        words = np.empty((len(low), self._forest.n_trees), dtype=self._dtype)
        ends = ends_of(self._forest, low, high)
        own, at = labels[:, None] == np.arange(scores.shape[1]), 0
        for block in self._blocks:
            part = words[:, at : at + block.n_trees]
            block.look_up(ends, part)
            for column, trees in block.columns:
                for lowest in (False, True):
                    rows = np.flatnonzero(own[:, column] == lowest)
                    scores[rows, column] += block.sums(part[rows, trees], trees, lowest)
            at += block.n_trees
        lead = scores[np.arange(len(low)), labels][:, None] - scores
        return lead - self._rounding, words

    def leaves(self, words: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the leaves that each of some boxes meets, in their order."""
        leaf = np.concatenate([block.leaf.ravel() for block in self._blocks])
        for row in np.ascontiguousarray(words):
            yield np.sort(leaf[np.unpackbits(row.view(np.uint8), bitorder="little") > 0])


class _Block:
    """Trees whose words are looked up together.

    Attributes
    ----------
    n_trees : int
    columns : list of (int, slice)
        The classes to whose scores they add, and which of them do.
    leaf : int ndarray of shape (n_trees, n_bits)
        Which leaf each bit is.
    """

    def __init__(
        self,
        forest: Forest,
        column: np.ndarray,
        trees: np.ndarray,
        value: np.ndarray,
        bits: Bits,
        edges: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        self.n_trees, self.leaf, self._full = len(trees), bits.leaf, bits.full
        start = starts(column[trees])
        ends = [*start[1:], len(trees)]
        self.columns = [(column[trees[a]], slice(a, b)) for a, b in zip(start, ends, strict=True)]
        self._value = value[bits.leaf].ravel()
        self._offset = np.arange(len(trees)) * bits.leaf.shape[1]
        self._tables: list[Table] = tables_of(forest, bits, edges)

    def look_up(self, ends: list[Ends], out: np.ndarray) -> None:
        """Find the leaves that boxes meet."""
        words = np.tile(self._full, (len(out), 1))
        for table in self._tables:
            words &= table(ends)
        out[:] = words

    def sums(self, words: np.ndarray, trees: slice, lowest: bool) -> np.ndarray:
        """Return the sum over some trees of the lowest or the highest values of the leaves met."""
        # The one bit that is left has its place as the exponent; without the next lower bit,
        # nothing is rounded up to the next power.
        bit = words & -words if lowest else words & ~(words >> 1)
        place = (bit.astype(np.float64).view(np.int64) >> 52) - 1023
        return self._value[place + self._offset[trees]].sum(axis=1)


def _pieces(index: np.ndarray, most: int) -> list[np.ndarray]:
    return [index[start : start + most] for start in range(0, len(index), most)]


def _columns(forest: Forest) -> tuple[np.ndarray, np.ndarray]:
    """Return the class whose score each tree moves, and how far each leaf does."""
    value = forest.value
    if value.shape[1] == 2:
        return np.ones(forest.n_trees, dtype=np.intp), value[:, 1] - value[:, 0]
    moves = np.maximum.reduceat(abs(value), starts(forest.tree))
    return moves.argmax(axis=1), value[np.arange(len(value)), moves.argmax(axis=1)[forest.tree]]


def speaks_of_columns(forest: Forest) -> bool:
    """Whether trees are small, and each moves one score, or there are only two.

    Thresholds at minus infinity, which no finite number reaches, are not counted by ranks.
    """
    small = (
        np.bincount(forest.tree).max() <= _MOST_LEAVES and not np.isneginf(forest.path_high).any()
    )
    moves = np.maximum.reduceat(abs(forest.value), starts(forest.tree)) > 0
    return bool(small) and (len(forest.base) == 2 or bool((moves.sum(axis=1) <= 1).all()))


_BITS: WeakKeyDictionary[Forest, LeafBits | None] = WeakKeyDictionary()


def bits_of(forest: Forest) -> LeafBits | None:
    """Return the bits of a forest, which are made once; None if its trees have none."""
    if forest not in _BITS:
        _BITS[forest] = LeafBits(forest) if speaks_of_columns(forest) else None
    return _BITS[forest]


def first_bits(forest: Forest, n_boxes: int) -> LeafBits | None:
    """Return the bits of a forest if it has any, and there are enough boxes for them to pay."""
    return (
        bits_of(forest) if n_boxes >= (_LEAST_ROWS if forest in _BITS else _LEAST_TO_MAKE) else None
    )


def pieces_of(n_boxes: int) -> list[slice]:
    """Return which boxes to look up together."""
    return [slice(at, min(at + _MOST_ROWS, n_boxes)) for at in range(0, n_boxes, _MOST_ROWS)]
