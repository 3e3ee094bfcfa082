"""How far a rival class can get ahead of the true one, as a sum of one gain for each tree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_robust.trees._cells import Cells
from sklearn_robust.trees._sums import starts, summing_error

# Moves that save less than this share of the price are rounding.
_LEAST_SAVING = 1e-9
# Moves are taken to cost this share of the budget at least, where their gains are weighed.
_LEAST_PRICE = 1e-3
# Leaves of exact forests hold whole multiples of 1 / this.
_PER_UNIT = 1024


class Contrast:
    """The margin of a rival class over the true one: a constant, and the trees where it varies.

    Parameters
    ----------
    cells : Cells
    tree : int ndarray of shape (n_leaves,)
        The tree of each leaf, non-decreasing.
    gain : ndarray of shape (n_leaves,)
        Score of the rival less that of the true class.
    constant : float
        The same of the base scores, and of trees that are left out.
    rounding : float
        How far a sum of one gain per tree may be off.
    slack : float
        Margins down to minus this may mean that the rival wins.
    exact, wins_ties : bool
        Whether sums round nowhere; and whether the rival then wins with a margin of 0.

    Attributes
    ----------
    gain, tree : ndarrays
        Of the leaves of trees that vary, which are numbered anew.
    start : int ndarray
        Where each tree begins.
    top : ndarray
        The largest gain of each tree.
    row, axis, first, last : int ndarrays
        As in `Cells`.
    need, sure : float
        The margin from which on the rival may win, and from which it does.
    rounding : float
    """

    def __init__(
        self,
        cells: Cells,
        tree: np.ndarray,
        gain: np.ndarray,
        constant: float,
        *,
        rounding: float,
        slack: float,
        exact: bool,
        wins_ties: bool,
    ) -> None:
        self.cells, start = cells, starts(tree)
        number = np.repeat(np.arange(len(start)), np.diff(np.append(start, len(tree))))
        top, bottom = np.maximum.reduceat(gain, start), np.minimum.reduceat(gain, start)
        varies = top > bottom
        keep, tests = varies[number], varies[number[cells.row]]
        self.gain, self.top, self._kept = gain[keep], top[varies], keep
        self.constant = float(constant + top[~varies].sum())
        self.tree = (np.cumsum(varies) - 1)[number[keep]]
        self.start = starts(self.tree)
        self.row, self.axis = (np.cumsum(keep) - 1)[cells.row[tests]], cells.axis[tests]
        self.first, self.last = cells.first[tests], cells.last[tests]
        # How far sums over tests may be off: moves that gain less might go round in circles.
        size = 2 * abs(self.gain).sum() + 2 * abs(self.gain[self.row]).sum()
        self._noise = 0.0 if exact else summing_error(len(self.gain) + 2 * len(self.row), size)
        if exact:
            self._exact_limits(bottom[varies], wins_ties)
        else:
            self.rounding = rounding
            least = 0.0 if wins_ties else np.nextafter(0, 1)
            self.need, self.sure = (-slack, slack) if slack else (least, least)

    def _exact_limits(self, bottom: np.ndarray, wins_ties: bool) -> None:
        """Find the least margin that wins: margins are multiples of a step, from an origin on.

        Votes of two classes are of one parity, for instance.
        """
        spread = ((self.gain - bottom[self.tree]) * _PER_UNIT).astype(np.int64)
        origin = int((self.constant + bottom.sum()) * _PER_UNIT)
        step = int(np.gcd.reduce(spread, initial=0)) or 1
        least = origin % step
        if least == 0 and not wins_ties:
            least = step
        self.need = self.sure = least / _PER_UNIT
        self.rounding = 0.0

    def naive(self) -> float:
        """Return a bound of the margin: each tree at its best leaf."""
        return self.constant + float(self.top.sum()) + self.rounding

    def added(self) -> float:
        """Return a bound that is exact for stumps without a budget.

        Trees that test one and the same axis are added up before the best cell is sought.
        """
        if not len(self.row):
            return self.naive()
        tree, n = self.tree[self.row], len(self.start)
        low, high = np.full(n, len(self.cells.feature)), np.full(n, -1)
        np.minimum.at(low, tree, self.axis)
        np.maximum.at(high, tree, self.axis)
        single = np.flatnonzero((low == high)[tree])
        best = np.maximum.reduceat(self._swept(single), self.cells.cell[:-1])
        rounding = self.rounding
        if rounding:
            size = abs(self.gain[self.row[single]]).sum()
            rounding += summing_error(2 * len(single) + n + len(best), 2 * size)
        return self.constant + float(self.top[low != high].sum() + best.sum()) + rounding

    def _swept(self, tests: np.ndarray) -> np.ndarray:
        """Return for each cell the sum of the gains of those leaves whose tests admit it."""
        at, size = self.cells.cell[self.axis[tests]], self.cells.cell[-1] + 1
        gain = self.gain[self.row[tests]]
        steps = np.bincount(at + self.first[tests], gain, size)
        steps -= np.bincount(at + self.last[tests] + 1, gain, size)
        return np.cumsum(steps)[:-1]

    def moves(self, cells: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the margin in the given cells, and how moving one axis to each cell changes it."""
        at = cells[self.axis]
        miss = (at < self.first) | (at > self.last)
        misses = np.bincount(self.row[miss], minlength=len(self.gain))
        near = misses[self.row] == miss  # no other axis misses the leaf
        met = near & ~miss
        loss = np.bincount(self.axis[met], self.gain[self.row[met]], len(cells))
        value = self.constant + float(self.gain[misses == 0].sum())
        return value, self._swept(np.flatnonzero(near)) - loss[self.cells.cell_axis]

    def ascend(self, cells: np.ndarray, *, thrifty: bool = False) -> tuple[np.ndarray, float]:
        """Return cells after the best moves of single axes, and their margin.

        It stops where the rival surely wins. With `thrifty` the best move is the one that gains
        most for its price, which prices need that add up.
        """
        base, cells = self.cells, cells.copy()
        while True:
            value, change = self.moves(cells)
            if value >= self.sure + self.rounding or not len(change):
                return cells, value
            if base.price is not None:
                total = base.totals(cells, base.price)
                change[(total > base.budget) | (change <= self._noise)] = -np.inf
                if thrifty:
                    change /= np.maximum(total - base.total(cells), _LEAST_PRICE * base.budget)
            best = int(change.argmax())
            if not change[best] > (0 if thrifty else self._noise):
                return cells, value
            self._move(cells, best)

    def climbs(self) -> Iterator[tuple[np.ndarray, float]]:
        """Yield cells and margins after moves from the sample, in one way and another."""
        yield self.ascend(self.cells.home)
        if self.cells.price is not None and self.cells.adds_up:
            yield self.ascend(self.cells.home, thrifty=True)

    def shortened(self, cells: np.ndarray) -> np.ndarray:
        """Return cells nearer to the sample in which the rival still surely wins."""
        if self.cells.price is None:
            return cells
        if not self.cells.adds_up:
            return self._drawn_in(cells, self.cells.price)
        return self._saved(cells, self.cells.price)

    def _saved(self, cells: np.ndarray, price: np.ndarray) -> np.ndarray:
        """Return cells after moves of single axes that save most."""
        base, cells = self.cells, cells.copy()
        while True:
            value, change = self.moves(cells)
            stays = value + change >= self.sure + 2 * self.rounding
            total = np.where(stays, base.totals(cells, price), np.inf)
            best = int(total.argmin()) if len(total) else 0
            if not (len(total) and total[best] < base.total(cells) * (1 - _LEAST_SAVING)):
                return cells
            self._move(cells, best)

    def _drawn_in(self, cells: np.ndarray, price: np.ndarray) -> np.ndarray:
        """Return cells after drawing all axes in at once, as far as halving finds others."""
        base, budget = self.cells, self.cells.budget
        levels = np.unique(price[price < base.total(cells)])
        low, high = 0, len(levels)
        while low < high:
            middle = (low + high) // 2
            base.budget = levels[middle]
            nearer, value = self.ascend(cells.clip(*base.reach()))
            if value >= self.sure + self.rounding:
                cells, high = nearer, int(np.searchsorted(levels, base.total(nearer)))
            else:
                low = middle + 1
        base.budget = budget
        return cells

    def _move(self, cells: np.ndarray, to: int) -> None:
        axis = self.cells.cell_axis[to]
        cells[axis] = to - self.cells.cell[axis]

    def leaves_by_price(self) -> list[tuple[np.ndarray, float]]:
        """Return cells and margins of the leaves that may win, where one tree varies.

        Those that surely win come first, and of those the cheapest.
        """
        value, price = self.constant + self.gain, np.zeros(len(self.gain))
        if self.cells.price is not None:
            price = self.cells.leaf_prices(self.cells.price)[self._kept]
        rows = np.flatnonzero(value >= self.need)
        order = np.lexsort((price[rows], value[rows] < self.sure + self.rounding))
        return [(self._cells_of(row), float(value[row])) for row in rows[order]]

    def _cells_of(self, row: int) -> np.ndarray:
        cells, mine = self.cells.home.copy(), self.row == row
        cells[self.axis[mine]] = cells[self.axis[mine]].clip(self.first[mine], self.last[mine])
        return cells
