r"""The linear program of a contrast, and the bounds that its dual prices prove.

Leaf l has a weight :math:`w_l`, at most 1 in each tree; the rest falls to the worst leaves of the
tree, of gain :math:`g_t`. Threshold j has the share :math:`p_j` of points that lie up to it:

.. math::
   \max_{w, p} \sum_t \Big(g_t + \sum_{l \in t} (g_l - g_t) w_l\Big) \quad \text{with} \quad
   \sum_{l \in t,\, l \le j} w_l \le p_j, \quad \sum_{l \in t,\, l > j} w_l \le 1 - p_j, \quad
   p_j \le p_{j + 1}

for each tree t and each of its thresholds j: leaves to the left of it, and to its right. One row
for all leaves of a side is what makes the program almost integral; one for each leaf does not. A
budget is one more row, the prices of cells telescoped over p.

The solver is never believed: prices :math:`y \ge 0` of the rows prove by weak duality

.. math::
   \max \le b^T y + \sum_t \max\big(g_t, \max_{l \in t} (g_l - (A^T y)_l)\big)
   + \sum_j \max_{p_j} (-(A^T y)_j p_j),

which is summed here, with a bound of the rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from sklearn_robust.trees._contrast import Contrast
from sklearn_robust.trees._sums import starts, summing_error


class Solution(NamedTuple):
    """What is known of a part of the cells.

    Attributes
    ----------
    bound : float
        No point there has a larger margin: proven.
    price : float
        Where prices add up, no point there in which the rival may win costs less: proven.
    share : ndarray of shape (n_thresholds,)
        p of the program's solution: a hint.
    stake : ndarray of shape (n_thresholds,)
        How much the rows of each threshold matter: a hint.
    """

    bound: float
    price: float
    share: np.ndarray
    stake: np.ndarray


class _Rows:
    """Rows of a sparse matrix of inequalities, as they are made."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._limits: list[np.ndarray] = [np.zeros(0)]
        self.n = 0

    def put(self, row: np.ndarray, column: np.ndarray, value: float | np.ndarray) -> None:
        """Put values into rows that are numbered from the first not yet limited."""
        self._parts.append((self.n + row, column, np.broadcast_to(value, row.shape)))

    def limit(self, limits: np.ndarray) -> None:
        """Close so many rows with what each may sum to."""
        self._limits.append(limits)
        self.n += len(limits)

    def done(self, n_columns: int) -> tuple[sparse.csr_array, np.ndarray]:
        row, column, value = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        A = sparse.csr_array((value, (row, column)), shape=(self.n, n_columns))
        return A, np.concatenate(self._limits)


class Program:
    """The linear program of a contrast over ranges of cells; columns: leaves, then thresholds.

    Parameters
    ----------
    contrast : Contrast
    """

    def __init__(self, contrast: Contrast) -> None:
        self._contrast, self._n_cuts = contrast, len(contrast.cells.threshold)
        self._worst = np.minimum.reduceat(contrast.gain, contrast.start)
        keep = contrast.gain > self._worst[contrast.tree]
        self._gain, self._tree = contrast.gain[keep], contrast.tree[keep]
        self._start, self._n = starts(self._tree), len(self._gain)
        tests = keep[contrast.row]
        self._row = (np.cumsum(keep) - 1)[contrast.row[tests]]
        self._axis = contrast.axis[tests]
        self._first, self._last = contrast.first[tests], contrast.last[tests]
        rows = _Rows()
        rows.put(self._tree, np.arange(self._n), 1.0)
        rows.limit(np.ones(len(self._start)))
        for right in (False, True):
            self._put_sides(rows, right)
        self._put_order(rows)
        self._pays = contrast.cells.price is not None and contrast.cells.adds_up
        if contrast.cells.price is not None and self._pays:
            self._put_budget(rows, contrast.cells.price)
        self._A, self._b = rows.done(self._n + self._n_cuts)
        self._AT, self._size = self._A.T.tocsr(), abs(self._A.T).tocsr()
        self._cost = np.zeros(self._n + self._n_cuts)
        self._cost[: self._n] = self._worst[self._tree] - self._gain

    def _put_sides(self, rows: _Rows, right: bool) -> None:
        """Put one row for each tree and threshold: the leaves to its left, or to its right.

        A leaf counts in the row of the threshold at its end and in those further in.
        """
        base, n_cuts, first, last = self._contrast.cells, self._n_cuts, self._first, self._last
        ends = first > 0 if right else last < base.n_cells[self._axis] - 1
        row, axis = self._row[ends], self._axis[ends]
        cut = base.cut[axis] + (first[ends] - 1 if right else last[ends])
        order = n_cuts - cut if right else cut
        key = (self._tree[row] * len(base.feature) + axis) * (n_cuts + 1) + order
        key, number = np.unique(key, return_inverse=True)
        group, own = np.divmod(key, n_cuts + 1)
        stop = np.append(starts(group)[1:], len(group))
        times = np.repeat(stop, np.diff(stop, prepend=0))[number] - number
        before = np.repeat(number - np.cumsum(times) + times, times)
        rows.put(before + np.arange(len(before)), np.repeat(row, times), 1.0)
        own = n_cuts - own if right else own
        rows.put(np.arange(len(key)), self._n + own, 1.0 if right else -1.0)
        rows.limit(np.full(len(key), float(right)))

    def _put_order(self, rows: _Rows) -> None:
        axis = self._contrast.cells.cut_axis
        rising = np.flatnonzero(axis[1:] == axis[:-1])
        at = np.arange(len(rising))
        rows.put(at, self._n + rising, 1.0)
        rows.put(at, self._n + rising + 1, -1.0)
        rows.limit(np.zeros(len(rising)))

    def _put_budget(self, rows: _Rows, price: np.ndarray) -> None:
        base = self._contrast.cells
        left = np.arange(self._n_cuts) + base.cut_axis
        rows.put(
            np.zeros(len(left), int), self._n + np.arange(len(left)), price[left] - price[left + 1]
        )
        self._outermost = price[base.cell[1:] - 1]
        rows.limit(np.zeros(1))  # as the budget is when it is asked

    def solve(self, low: np.ndarray, high: np.ndarray) -> Solution:
        """Return what is known of the cells from low to high, given for each axis."""
        base = self._contrast.cells
        if self._pays:
            rounding = summing_error(len(self._outermost), self._outermost.sum() + base.budget)
            self._b[-1] = base.budget - self._outermost.sum() + rounding
        misses = (self._first > high[self._axis]) | (self._last < low[self._axis])
        alive = np.ones(self._n)
        alive[self._row[misses]] = 0.0
        p_low = (base.cut_place >= high[base.cut_axis]).astype(float)
        p_high = (base.cut_place >= low[base.cut_axis]).astype(float)
        prices, share = self._asked(alive, p_low, p_high)
        bound = self._proven(prices, alive > 0, p_low, p_high)
        price = self._price(bound, float(prices[-1])) if self._pays else 0.0
        return Solution(bound, price, share, np.sqrt(self._size[self._n :] @ prices))

    def _price(self, bound: float, per_price: float) -> float:
        """Return for which budget the same prices of rows would prove that the rival loses.

        The bound of the margin falls by so much with each unit of the budget.
        """
        budget = self._contrast.cells.budget
        if per_price <= 0:
            return 0.0
        less = (bound - self._contrast.need) / per_price
        price = budget - less - summing_error(4, budget + abs(less))
        return max(price, 0.0) if np.isfinite(price) else 0.0

    def _asked(
        self, alive: np.ndarray, p_low: np.ndarray, p_high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the solver's dual prices and shares, made into numbers that are allowed."""
        low = np.concatenate([np.zeros(self._n), p_low])
        high = np.concatenate([alive, p_high])
        found = linprog(
            self._cost, self._A, self._b, bounds=np.column_stack([low, high]), method="highs-ds",
            options={"presolve": False},  # it takes longer than it saves
        )  # fmt: skip
        if found.x is None or found.ineqlin.marginals is None:
            return np.zeros(len(self._b)), (p_low + p_high) / 2
        prices = np.nan_to_num(-found.ineqlin.marginals, nan=0, posinf=0).clip(0)
        share = np.nan_to_num(found.x[self._n :], nan=0.5)
        return prices, share.clip(p_low, p_high)

    def _proven(
        self, prices: np.ndarray, alive: np.ndarray, p_low: np.ndarray, p_high: np.ndarray
    ) -> float:
        """Return the bound that prices >= 0 prove; infinity where they overflow."""
        constant, pull, size = self._contrast.constant, self._AT @ prices, self._size @ prices
        left = np.where(alive, self._gain - pull[: self._n], -np.inf)
        best = np.maximum(np.maximum.reduceat(left, self._start), self._worst)
        p = np.maximum(-pull[self._n :] * p_low, -pull[self._n :] * p_high)
        gains = abs(self._gain).sum() + abs(self._worst).sum()
        magnitude = abs(constant) + abs(self._b) @ prices + gains + size.sum()
        rounding = summing_error(len(prices) + len(pull), 2 * magnitude)
        bound = constant + self._b @ prices + best.sum() + p.sum()
        bound += rounding + self._contrast.rounding
        return float(bound) if not np.isnan(bound) else np.inf
