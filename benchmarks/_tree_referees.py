"""Other ways to decide whether a sample of a tree ensemble is robust: Veritas, and a MILP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from sklearn_robust.trees import Forest


class Said(NamedTuple):
    """What a referee says of a sample.

    Attributes
    ----------
    robust : bool or None
        None: it came to no answer.
    milliseconds : float
        Of CPU time, for its search alone.
    """

    robust: bool | None
    milliseconds: float


Referee = Callable[[int, np.ndarray, np.ndarray], Said]


def _leaf_gains(
    forest: Forest, label: int, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the leaves that a box meets, where each tree begins, their gains, naive bounds."""
    leaves = forest.met(low[None], high[None])[0]
    start = np.flatnonzero(np.diff(forest.tree[leaves], prepend=-1))
    gain = forest.value[leaves] - forest.value[leaves][:, [label]]
    base = forest.base - forest.base[label]
    return leaves, start, gain, np.maximum.reduceat(gain, start).sum(axis=0) + base


def _least(forest: Forest, label: int, rival: int) -> float:
    """Return the margin from which on a rival wins, up to what sums of floats can tell apart."""
    if not forest.exact:
        return -forest.slack
    return -1e-9 if (rival > label) == forest.high_class_wins_ties else 1e-9


class Veritas:
    """Veritas [1]_, given the trees of a forest as doubles: one sum of gains per pair of classes.

    Its own converters know fewer models, and compare in other precision than scikit-learn.

    References
    ----------
    .. [1] L. Devos, W. Meert, J. Davis, "Versatile verification of tree ensembles", ICML 2021.
    """

    def __init__(self, forest: Forest, seconds: float = 1.0) -> None:
        self._forest, self._seconds = forest, seconds
        self._sums: dict[tuple[int, int], Any] = {}

    def __call__(self, label: int, low: np.ndarray, high: np.ndarray) -> Said:
        """Return what it finds in a box, a limit of seconds for each class."""
        from veritas import Interval

        naive = _leaf_gains(self._forest, label, low, high)[3]
        # In doubles: the next number of single precision would make the box a little larger.
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        ends = zip(low, np.nextafter(high, np.inf), strict=True)
        box = [Interval(float(a), float(b)) for a, b in ends]
        robust: bool | None = True
        spent = 0.0
        for rival in np.argsort(-naive):
            need = _least(self._forest, label, int(rival))
            if rival == label or naive[rival] < need:
                continue
            trees = self._sums_of(label, int(rival))
            clock = time.process_time()
            search = self._search(trees, need, box)
            reason = str(search.step_for(self._seconds, 100))
            spent += time.process_time() - clock
            if search.num_solutions() and search.get_solution(0).output >= need:
                return Said(False, 1e3 * spent)
            if "OUT_OF" in reason:
                robust = None
        return Said(robust, 1e3 * spent)

    def _sums_of(self, label: int, rival: int) -> Any:
        if (label, rival) not in self._sums:
            self._sums[label, rival] = self._sum(label, rival)
        return self._sums[label, rival]

    def _search(self, trees: Any, need: float, box: list[Any]) -> Any:
        from veritas import Config, HeuristicType

        config = Config(HeuristicType.MAX_OUTPUT)
        config.stop_when_optimal = True
        config.max_focal_size, config.focal_eps = 1000, 0.5
        config.ignore_state_when_worse_than = need
        config.stop_when_atleast_bound_better_than = need
        config.stop_when_num_solutions_exceeds = 1
        return config.get_search(trees, box)

    def _sum(self, label: int, rival: int) -> Any:
        from veritas import AddTree, AddTreeType

        forest = self._forest
        trees = AddTree(1, AddTreeType.REGR)
        trees.set_base_score(0, float(forest.base[rival] - forest.base[label]))
        gain = forest.value[:, rival] - forest.value[:, label]
        for root in forest.roots:
            tree = trees.add_tree()
            open_ = [(root, tree.root())]
            while open_:
                node, own = open_.pop()
                if forest.feature[node] < 0:
                    tree.set_leaf_value(own, float(gain[forest.leaf[node]]))
                    continue
                above = np.nextafter(forest.threshold[node], np.inf)  # it splits by x < threshold
                tree.split(own, int(forest.feature[node]), float(above))
                open_.append((forest.left[node], tree.left(own)))
                open_.append((forest.right[node], tree.right(own)))
        return trees


def by_milp(forest: Forest, label: int, low: np.ndarray, high: np.ndarray) -> bool:
    """Return whether no rival wins in a box, by a MILP with a binary variable per threshold.

    As in [1]_, a leaf has a row for each of its tests; solved by HiGHS, to its tolerances.

    References
    ----------
    .. [1] A. Kantchelian, J. D. Tygar, A. Joseph, "Evasion and hardening of tree ensemble
       classifiers", ICML 2016.
    """
    leaves, start, gain, naive = _leaf_gains(forest, label, low, high)
    rivals = [int(c) for c in np.argsort(-naive) if c != label]
    for rival in rivals:
        need = _least(forest, label, rival)
        if naive[rival] < need:
            continue
        base = forest.base[rival] - forest.base[label]
        if base + _largest(forest, leaves, start, gain[:, rival], low, high) >= need:
            return False
    return True


def _largest(
    forest: Forest,
    leaves: np.ndarray,
    start: np.ndarray,
    gain: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> float:
    """Return the largest sum of gains, one leaf per tree, that a point of the box reaches."""
    n, number, rows = len(leaves), {}, []
    for i, leaf in enumerate(leaves):
        for k in range(forest.ptr[leaf], forest.ptr[leaf + 1]):
            f = forest.path_feature[k]
            for right, end in ((True, forest.path_low[k]), (False, forest.path_high[k])):
                if low[f] <= end < high[f]:
                    j = number.setdefault((f, end), n + len(number))
                    # To the left of the threshold p is 1: w <= p, or w <= 1 - p to its right.
                    rows.append((((i, 1.0), (j, 1.0 if right else -1.0)), float(right)))
    for (f, a), (g, b) in zip(sorted(number), sorted(number)[1:], strict=False):
        if f == g:
            rows.append((((number[f, a], 1.0), (number[g, b], -1.0)), 0.0))
    width = n + len(number)
    tree = np.repeat(np.arange(len(start)), np.diff(np.append(start, n)))
    one = csr_array((np.ones(n), (tree, np.arange(n))), shape=(len(start), width))
    limits = [LinearConstraint(one, 1, 1)]
    if rows:
        entries = [(r, j, v) for r, (row, _) in enumerate(rows) for j, v in row]
        at, column, value = zip(*entries, strict=True)
        A = csr_array((value, (at, column)), shape=(len(rows), width))
        limits.append(LinearConstraint(A, -np.inf, [limit for _, limit in rows]))
    cost = np.concatenate([-gain, np.zeros(len(number))])
    whole = (np.arange(width) >= n).astype(int)
    return -float(milp(cost, constraints=limits, bounds=Bounds(0, 1), integrality=whole).fun)
