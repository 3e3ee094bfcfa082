"""The cells into which thresholds cut the set around a sample, and which of them a leaf admits."""

from __future__ import annotations

import numpy as np

from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._grid import grid_of
from sklearn_robust.trees._regions import Regions


class Cells:
    """Cells of the box around one sample, and the leaves met by it.

    Only features that a threshold cuts within the box are kept: the axes. Cell j of an axis is what
    lies above its threshold j - 1 and up to its threshold j.

    Parameters
    ----------
    forest : Forest
    regions : Regions
    i : int
        The sample.
    inside : pair of int ndarrays of shape (n_features,)
        Which thresholds lie in the box, as `Grid.inside` returns them.
    leaves : int ndarray
        Of those that the box meets, as `Forest.met` returns them: whole trees.
    priced : bool, default=False
        Whether cells have prices in linf too, where the box does not need them.

    Attributes
    ----------
    leaves : int ndarray
        Without those that are dearer than the budget.
    feature : int ndarray of shape (n_axes,)
    threshold : ndarray
        Axis g has ``threshold[cut[g]:cut[g + 1]]``.
    n_cells, cell : int ndarrays
        Axis g has ``n_cells[g]`` cells, which are numbered from ``cell[g]`` on.
    cut_axis, cut_place : int ndarrays, like `threshold`
        The axis, and the place on it.
    cell_axis : int ndarray of shape (n_cells,)
    home : int ndarray of shape (n_axes,)
        The cells of the sample itself.
    row, axis, first, last : int ndarrays of shape (n_tests,)
        Leaf ``row`` admits the cells from first to last of an axis; axes it does not test are left
        out.
    nearest : ndarray of shape (n_cells,)
        Of each cell the value that is nearest to the sample.
    price : ndarray of shape (n_cells,), or None
        What that costs of the budget.
    adds_up : bool
        Whether prices of axes are added; else, in linf, the dearest counts.
    """

    def __init__(
        self,
        forest: Forest,
        regions: Regions,
        i: int,
        inside: tuple[np.ndarray, np.ndarray],
        leaves: np.ndarray,
        *,
        priced: bool = False,
    ) -> None:
        self.leaves, self.budget = leaves, regions.budget
        self._x = regions.X[i].astype(np.float64)
        self._cut(forest, inside)
        self._place(forest)
        self.price: np.ndarray | None = None
        self.adds_up = regions.has_budget
        if self.adds_up or priced:
            x, feature = self._x[self.feature][self.cell_axis], self.feature[self.cell_axis]
            self.price = regions.price(abs(self.nearest - x), x, feature)
            self._drop_dear_leaves(self.price)

    def _cut(self, forest: Forest, inside: tuple[np.ndarray, np.ndarray]) -> None:
        """Find the thresholds that ends of the leaves put inside the box, and what each admits."""
        grid, ptr, leaves = grid_of(forest), forest.ptr, self.leaves
        count = ptr[leaves + 1] - ptr[leaves]
        row = np.repeat(np.arange(len(leaves)), count)
        at = np.arange(len(row)) + np.repeat(ptr[leaves] - np.cumsum(count) + count, count)
        feature, low, high = forest.path_feature[at], grid.low[at], grid.high[at]
        above, below = low >= inside[0][feature], high < inside[1][feature]
        cuts = np.zeros(len(grid.value), dtype=bool)
        cuts[low[above]] = cuts[high[below]] = True
        rank = np.flatnonzero(cuts)
        number = np.empty(len(cuts), dtype=np.intp)
        number[rank] = np.arange(len(rank))
        self.threshold, of_cut = grid.value[rank], grid.feature[rank]
        new = np.ones(len(rank), dtype=bool)
        new[1:] = of_cut[1:] != of_cut[:-1]
        cut = np.flatnonzero(new)
        self.feature, self.cut = of_cut[cut], np.append(cut, len(rank))
        self.n_cells = np.diff(self.cut) + 1
        self.cell = self.cut + np.arange(len(self.cut))
        tested = above | below
        axis_of = np.empty(forest.n_features, dtype=np.intp)
        axis_of[self.feature] = np.arange(len(self.feature))
        self.row, self.axis = row[tested], axis_of[feature[tested]]
        above, below, offset = above[tested], below[tested], self.cut[self.axis]
        self.first = np.zeros(len(self.row), dtype=np.intp)
        self.last = self.n_cells[self.axis] - 1
        self.first[above] = number[low[tested][above]] - offset[above] + 1
        self.last[below] = number[high[tested][below]] - offset[below]

    def _place(self, forest: Forest) -> None:
        """Find the cells of the sample, and the nearest value of all others."""
        axes = np.arange(len(self.feature))
        self.cut_axis = np.repeat(axes, self.n_cells - 1)
        self.cut_place = np.arange(len(self.threshold)) - self.cut[self.cut_axis]
        self.cell_axis = np.repeat(axes, self.n_cells)
        x = self._x[self.feature]
        passed = self.threshold < x[self.cut_axis]
        self.home = np.bincount(self.cut_axis[passed], minlength=len(axes))
        place = np.arange(len(self.cell_axis)) - self.cell[self.cell_axis]
        home, at = self.home[self.cell_axis], self.cut[self.cell_axis] + place
        left, right = place < home, place > home
        self.nearest = x[self.cell_axis]
        self.nearest[left] = self.threshold[at[left]]
        beyond = self.feature[self.cell_axis[right]]
        self.nearest[right] = forest.after(self.threshold[at[right] - 1], beyond)

    def _drop_dear_leaves(self, price: np.ndarray) -> None:
        """Leave out leaves that no point within the budget reaches."""
        near = self.leaf_prices(price) <= self.budget
        keep = near[self.row]
        self.leaves = self.leaves[near]
        self.row = (np.cumsum(near) - 1)[self.row[keep]]
        self.axis, self.first, self.last = self.axis[keep], self.first[keep], self.last[keep]

    def leaf_prices(self, price: np.ndarray) -> np.ndarray:
        """Return what the nearest point of each leaf costs."""
        nearest = self.home[self.axis].clip(self.first, self.last)
        cost = price[self.cell[self.axis] + nearest]
        if self.adds_up:
            return np.bincount(self.row, cost, minlength=len(self.leaves))
        dearest = np.zeros(len(self.leaves))
        np.maximum.at(dearest, self.row, cost)
        return dearest

    def total(self, cells: np.ndarray) -> float:
        """Return what a point in the given cells costs, 0 where there is no budget."""
        if self.price is None:
            return 0.0
        own = self.price[self.cell[:-1] + cells]
        return float(own.sum() if self.adds_up else own.max(initial=0))

    def affordable(self, cells: np.ndarray) -> bool:
        """Whether a point in the given cells lies within the budget."""
        return self.price is None or self.total(cells) <= self.budget

    def totals(self, cells: np.ndarray, price: np.ndarray) -> np.ndarray:
        """Return the costs after moving one axis to each of its cells."""
        own = price[self.cell[:-1] + cells]
        if self.adds_up:
            return own.sum() - own[self.cell_axis] + price
        dearest, second = np.sort(np.append(own, [0, 0]))[[-1, -2]]
        others = np.full(len(own), dearest)
        others[own.argmax() if len(own) else []] = second
        return np.maximum(others[self.cell_axis], price)

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last cell of each axis that the budget alone can pay for."""
        if self.price is None:
            return np.zeros_like(self.home), self.n_cells - 1
        place, n = np.arange(len(self.price)) - self.cell[self.cell_axis], len(self.home)
        near, home = self.price <= self.budget, self.home[self.cell_axis]
        left, right = (self.cell_axis[near & side] for side in (place < home, place > home))
        return (
            self.home - np.bincount(left, minlength=n),
            self.home + np.bincount(right, minlength=n),
        )

    def point(self, cells: np.ndarray) -> np.ndarray:
        """Return the point nearest to the sample in the given cells, one for each axis."""
        x = self._x.copy()
        x[self.feature] = self.nearest[self.cell[:-1] + cells]
        return x
