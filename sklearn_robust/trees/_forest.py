"""One form for all tree ensembles: sums of boxes, whose splits are exact statements on doubles."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_robust.trees._float32 import floor32
from sklearn_robust.trees._tree import Tree

# Sums of multiples of this do not round, unless they are huge.
_STEP = 2.0**-10
# Rows and trees looked at together, at the most.
_MOST_VISITS = 2**21


class Forest:
    """Additive trees in flat arrays: the score of a class is a sum over trees.

    Every split is ``x <= T`` with ``T`` a double, so that a box of doubles reaches a child or does
    not. The sums of the model itself round otherwise than those made here: scores decide outside of
    `slack`, and within it the model's own ``predict`` does.

    Parameters
    ----------
    trees : sequence of Tree
    base : array-like of shape (n_classes,)
        Added to the scores.
    classes : ndarray of shape (n_classes,)
    n_features : int
    high_class_wins_ties : bool, default=False
        Which of several classes of the same score is predicted: the last instead of the first.
    unit : float, default=2**-53
        The unit roundoff of the arithmetic in which the model adds up.
    rounds : bool, default=False
        Whether the model's sums round even where those of `value` do not.
    link : float, default=0
        By how much of a score the model's link function may be off.

    Attributes
    ----------
    feature, threshold, left, right, missing_left : ndarrays of shape (n_nodes,)
        As in `Tree`, with the numbers of nodes in all trees.
    leaf : int ndarray of shape (n_nodes,)
        Number of the leaf, -1 for other nodes.
    roots : int ndarray of shape (n_trees,)
    value : float ndarray of shape (n_leaves, n_classes)
    tree : int ndarray of shape (n_leaves,)
        Non-decreasing.
    ptr, path_feature, path_low, path_high : ndarrays
        Leaf ``i`` tests, in ``ptr[i]:ptr[i + 1]``, these features for lying in ``(low, high]``.
        Categories are left out, as nobody moves them.
    exact : bool
        Whether the sums round nowhere.
    slack : float
        Differences of scores up to this may have the other sign in the model; 0 if `exact`.
    dtype : dtype
        Of the points that the data may hold.
    whole : bool ndarray of shape (n_features,)
        Which features hold whole numbers only.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        base: Any,
        classes: np.ndarray,
        n_features: int,
        *,
        high_class_wins_ties: bool = False,
        unit: float = 2.0**-53,
        rounds: bool = False,
        link: float = 0.0,
    ) -> None:
        self.base, self.classes = np.asarray(base, dtype=np.float64), classes
        self.n_features, self.n_trees = n_features, len(trees)
        self.high_class_wins_ties, self.dtype = high_class_wins_ties, np.dtype(np.float64)
        self.whole = np.zeros(n_features, dtype=bool)
        sizes = [len(tree.feature) for tree in trees]
        self.roots = np.cumsum([0, *sizes])[:-1].astype(np.intp)
        self.feature = _joined([tree.feature for tree in trees], np.intp)
        self.threshold = _joined([tree.threshold for tree in trees], np.float64)
        shift = np.repeat(self.roots, sizes)
        self.left = _joined([tree.left for tree in trees], np.intp) + shift
        self.right = _joined([tree.right for tree in trees], np.intp) + shift
        self.missing_left = _joined([tree.missing_left for tree in trees], bool)
        is_leaf = self.feature < 0
        self.leaf = np.where(is_leaf, np.cumsum(is_leaf) - 1, -1)
        self.value = np.concatenate([np.asarray(t.value)[np.asarray(t.feature) < 0] for t in trees])
        self.tree = np.repeat(np.arange(len(trees)), sizes)[is_leaf]
        self._read_categories(trees)
        self._read_paths()
        self._read_rounding(unit, rounds, link)

    def _read_categories(self, trees: Sequence[Tree]) -> None:
        """Make a table of what each split on categories sends left: missing, unknown, codes."""
        found = [
            (root + split.node, split)
            for root, tree in zip(self.roots, trees, strict=True)
            for split in tree.categories
        ]
        width = max((split.size for _, split in found), default=0)
        self.category_row = np.full(len(self.feature), -1, dtype=np.intp)
        self.category_table = np.zeros((len(found), 2 + width), dtype=bool)
        for row, (node, split) in enumerate(found):
            self.category_row[node] = row
            line = self.category_table[row]
            line[:2] = split.missing_left, split.unknown_left
            line[2 + np.asarray(split.left, dtype=np.intp)] = True
            line[2 + split.size :] = split.unknown_left

    def _read_paths(self) -> None:
        """Walk from all leaves to their roots at once, and note the interval of each feature."""
        row, feature, low, high = self._tests()
        order = np.lexsort((feature, row))
        row, feature, low, high = row[order], feature[order], low[order], high[order]
        differs = (np.diff(row) != 0) | (np.diff(feature) != 0)
        start = np.flatnonzero(np.concatenate([[True], differs])[: len(row)])
        self.path_feature = feature[start]
        self.path_low, self.path_high = low[start], high[start]
        if len(start):
            self.path_low = np.maximum.reduceat(low, start)
            self.path_high = np.minimum.reduceat(high, start)
        self.ptr = np.searchsorted(row[start], np.arange(len(self.tree) + 1))
        empty = np.flatnonzero(self.path_low >= self.path_high)
        self._empty = row[start][empty], self.path_feature[empty]

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return leaf, node and whether it is to the left, of every split on the way to a leaf."""
        inner = np.flatnonzero(self.feature >= 0)
        parent = np.full(len(self.feature), -1, dtype=np.intp)
        parent[self.left[inner]] = parent[self.right[inner]] = inner
        node = np.flatnonzero(self.feature < 0)
        leaf = np.arange(len(node))
        found = [(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, bool))]
        while len(node):
            leaf, node = leaf[parent[node] >= 0], node[parent[node] >= 0]
            above = parent[node]
            found.append((leaf, above, self.left[above] == node))
            node = above
        leaf, above, is_left = map(np.concatenate, zip(*found, strict=True))
        return leaf, above, is_left

    def _tests(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return leaf, feature, low and high of every test on the way to a leaf."""
        leaf, node, is_left = self.edges()
        number = self.category_row[node] < 0
        leaf, node, is_left = leaf[number], node[number], is_left[number]
        t = self.threshold[node]
        return leaf, self.feature[node], np.where(is_left, -np.inf, t), np.where(is_left, t, np.inf)

    def _read_rounding(self, unit: float, rounds: bool, link: float) -> None:
        start = np.searchsorted(self.tree, np.arange(self.n_trees))
        largest = np.maximum.reduceat(abs(self.value), start)
        size = largest.sum(axis=0) + abs(self.base)
        steps = self.value / _STEP
        whole = not self.base.any() and bool((steps == np.round(steps)).all())
        self.exact = whole and not rounds and bool(size.max() < 2.0**40)
        # Two sums of the model's and two of ours, each of n terms that err by at most n - 1 units.
        terms = (largest > 0).sum(axis=0) + 4
        self.slack = 0.0 if self.exact else float((4 * unit * terms * size).max()) + link

    def met(self, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        """Return the numbers of the leaves that each box [low, high] meets, in their order.

        Missing values and categories are points: low is high. Only nodes met are visited.
        """
        most = max(1, _MOST_VISITS // self.n_trees)
        return [
            leaves
            for start in range(0, len(low), most)
            for leaves in self._met(low[start : start + most], high[start : start + most])
        ]

    def _met(self, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
        n = len(low)
        box, node = np.repeat(np.arange(n), self.n_trees), np.tile(self.roots, n)
        boxes, leaves = [], []
        while len(node):
            end = self.feature[node] < 0
            boxes.append(box[end])
            leaves.append(self.leaf[node[end]])
            box, node = box[~end], node[~end]
            f, t, go = self.feature[node], self.threshold[node], self.missing_left[node]
            a, b = low[box, f], high[box, f]
            missing = np.isnan(a)
            to_left, to_right = (a <= t) | (missing & go), (b > t) | (missing & ~go)
            self._send_categories(node, a, to_left, to_right)
            node = np.concatenate([self.left[node[to_left]], self.right[node[to_right]]])
            box = np.concatenate([box[to_left], box[to_right]])
        box, leaf = np.concatenate(boxes), np.concatenate(leaves)
        ends = np.cumsum(np.bincount(box, minlength=n))[:-1]
        return np.split(leaf[np.lexsort((leaf, box))], ends)

    def _send_categories(
        self, node: np.ndarray, x: np.ndarray, to_left: np.ndarray, to_right: np.ndarray
    ) -> None:
        """Correct the ways at those nodes that split on categories."""
        if not len(self.category_table):
            return
        at = np.flatnonzero(self.category_row[node] >= 0)
        to_left[at] = self.category_table[self.category_row[node[at]], self.codes(x[at])]
        to_right[at] = ~to_left[at]

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return the column of `category_table` of each value: missing, unknown, the codes."""
        known = (x > -1) & (x < self.category_table.shape[1] - 2)  # NaN is not
        code = np.where(np.isnan(x), 0, 1)
        code[known] = x[known].astype(np.intp) + 2
        return code

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Return the leaf that each sample reaches in each tree, shape (n_samples, n_trees)."""
        rows = np.repeat(np.arange(len(X)), self.n_trees)
        node, open_ = np.tile(self.roots, len(X)), np.arange(len(X) * self.n_trees)
        while True:
            open_ = open_[self.feature[node[open_]] >= 0]
            if not len(open_):
                return self.leaf[node].reshape(len(X), self.n_trees)
            at = node[open_]
            x = X[rows[open_], self.feature[at]]
            to_left = (x <= self.threshold[at]) | (np.isnan(x) & self.missing_left[at])
            self._send_categories(at, x, to_left, np.empty_like(to_left))
            node[open_] = np.where(to_left, self.left[at], self.right[at])

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of the classes, shape (n_samples, n_classes)."""
        most = max(1, _MOST_VISITS // self.n_trees)
        parts = [
            self.value[self.apply(X[start : start + most])].sum(axis=1)
            for start in range(0, len(X), most)
        ]
        return np.concatenate([np.zeros((0, len(self.base))), *parts]) + self.base

    def winners(self, scores: np.ndarray) -> np.ndarray:
        """Return the index of the class that wins in each row of scores."""
        if self.high_class_wins_ties:
            return scores.shape[1] - 1 - scores[:, ::-1].argmax(axis=1)
        return scores.argmax(axis=1)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the classes of samples, as the model does outside of the slack."""
        return self.classes[self.winners(self.scores(X))]

    def after(self, threshold: np.ndarray, feature: Any) -> np.ndarray:
        """Return the next number after a threshold that a feature may have."""
        near = np.asarray(threshold).astype(self.dtype)
        after = np.nextafter(near, self.dtype.type(np.inf)).astype(np.float64)
        return np.where(self.whole[feature], np.floor(threshold) + 1, after)

    def reached(self, leaves: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return those of some leaves that hold whole numbers where they are to; NaN goes its way.

        Others lie between two whole numbers.
        """
        leaf, feature = self._empty
        hollow = np.zeros(len(self.tree), dtype=bool)
        hollow[leaf[self.whole[feature] & ~np.isnan(x[feature])]] = True
        return leaves[~hollow[leaves]]

    def numbers(self, feature: Any) -> np.ndarray:
        """Return the nodes that compare a feature with a finite threshold."""
        mine = (self.feature == feature) & (self.category_row < 0)
        return np.flatnonzero(mine & np.isfinite(self.threshold))

    def restated(
        self,
        source: np.ndarray,
        n_features: int,
        threshold: np.ndarray | None = None,
        missing_left: np.ndarray | None = None,
    ) -> Forest:
        """Return the same trees on other columns: feature ``f`` is read from ``source[f]``.

        `threshold` and `missing_left` have one value per node; None: as they are.
        """
        other = copy.copy(self)
        other.feature = np.where(self.feature < 0, -1, source[self.feature]).astype(np.intp)
        other.n_features, other.whole = n_features, np.zeros(n_features, dtype=bool)
        if threshold is not None:
            other.threshold = threshold
        if missing_left is not None:
            other.missing_left = missing_left
        other._read_paths()
        return other

    def with_thresholds(self, threshold: np.ndarray) -> Forest:
        """Return the same trees with other thresholds, one value per node."""
        return self.restated(np.arange(self.n_features), self.n_features, threshold)

    def on(self, dtype: Any) -> Forest:
        """Return the same trees for data of a precision, whose numbers lie on either side of T."""
        dtype = np.dtype(dtype)
        if dtype != np.float32 or self.dtype == np.float32:
            return self
        other = self.with_thresholds(floor32(self.threshold))
        other.dtype, other.whole = dtype, self.whole
        return other

    def on_whole(self, whole: np.ndarray) -> Forest:
        """Return the same trees for features of which some, by a mask, hold whole numbers only."""
        if not whole.any():
            return self
        steps = (self.feature >= 0) & whole[self.feature]
        other = self.with_thresholds(np.where(steps, np.floor(self.threshold), self.threshold))
        other.dtype, other.whole = self.dtype, whole
        return other


def _joined(parts: list[Any], dtype: Any) -> np.ndarray:
    return np.concatenate([np.asarray(part) for part in parts]).astype(dtype)
