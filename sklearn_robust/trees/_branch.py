"""Branch and bound over thresholds: for what the bounds of the whole set do not decide."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sklearn_robust.trees._contrast import Contrast
from sklearn_robust.trees._program import Program, Solution

# Cells are made of shares by cutting at these levels.
_LEVELS = (0.5, 0.1, 0.9)
# Keeps thresholds apart whose share is whole, or whose rows have no price.
_TINY = 1e-9
# A search begins anew where a budget has fallen to less than this share.
_MUCH_LESS = 0.5

Holds = Callable[[np.ndarray, float], bool]


class Branched(NamedTuple):
    """The end of a search.

    Attributes
    ----------
    proven : bool
        Whether the rival wins nowhere.
    cells : int ndarray or None
        Where it wins.
    """

    proven: bool
    cells: np.ndarray | None


class _Part(NamedTuple):
    """Cells from low to high on each axis, ordered by the bound of the part they come from."""

    key: float
    number: int
    low: np.ndarray
    high: np.ndarray


def branch(contrast: Contrast, holds: Holds, max_nodes: int) -> Branched:
    """Search for cells in which the rival wins, best bound first.

    Parameters
    ----------
    contrast : Contrast
    holds : callable
        Whether the rival wins in the given cells, where it has the given margin.
    max_nodes : int
        How many parts are looked at; beyond, the question stays open.
    """
    base, program, nodes = contrast.cells, Program(contrast), 0
    parts = [_all(contrast)]
    while parts and nodes < max_nodes:
        part = heapq.heappop(parts)
        nodes += 1
        if not base.affordable(base.home.clip(part.low, part.high)):
            continue
        solution = program.solve(part.low, part.high)
        if solution.bound < contrast.need:
            continue
        if not _inner(contrast, part).any():
            # The model is constant in a single cell: asking it there settles the question.
            if _wins(contrast, part.low, holds):
                return Branched(False, part.low)
            continue
        cells = _rounded(contrast, part, solution.share, holds)
        if cells is not None:
            return Branched(False, cells)
        for piece in _halves(contrast, part, solution, 2 * nodes):
            heapq.heappush(parts, piece)
    return Branched(not parts, None)


class Cheapest(NamedTuple):
    """The end of a search for the cheapest cells in which the rival wins.

    Attributes
    ----------
    price : float
        It wins in none that cost less: proven.
    cells : int ndarray or None
        The cheapest that were found within the budget in which it wins.
    open : bool
        Whether the search has ended at its limit of nodes.
    again : bool
        Whether it was broken off, since what it found calls for cells of a much smaller set.
    """

    price: float
    cells: np.ndarray | None
    open: bool = False
    again: bool = False


def cheapest(contrast: Contrast, holds: Holds, max_nodes: int, keep: float) -> Cheapest:
    """Search for the cheapest cells in which the rival wins, those first that may be cheaper.

    Parameters
    ----------
    contrast : Contrast
        Of cells with prices. Their budget shrinks with each find.
    holds : callable
        As in `branch`.
    max_nodes : int
        How many parts are looked at.
    keep : float
        Cells that cost more than this share of the cheapest found are not sought.
    """
    base, parts, nodes = contrast.cells, [_all(contrast)], 0
    few = base.budget * _MUCH_LESS
    found: np.ndarray | None = None
    for climbed, value in contrast.climbs():
        if value >= contrast.need and holds(climbed, value):
            found = _taken(contrast, climbed, keep)
    if base.budget < few:
        return Cheapest(0.0, found, again=True)
    program = Program(contrast)
    while parts and nodes < max_nodes:
        part = _within_reach(contrast, heapq.heappop(parts))
        nodes += 1
        if part is None:
            continue
        solution = program.solve(part.low, part.high)
        price = max(part.key, solution.price)
        if solution.bound < contrast.need or price > base.budget:
            continue
        if not _inner(contrast, part).any():
            cells, pieces = part.low if _wins(contrast, part.low, holds) else None, []
        else:
            cells = _rounded(contrast, part, solution.share, holds)
            pieces = [part] if cells is not None else _halves(contrast, part, solution, 2 * nodes)
        for piece in pieces:
            heapq.heappush(parts, piece._replace(key=price))
        if cells is not None:
            found = _taken(contrast, cells, keep)
            if base.budget < few:
                break
    left = min((part.key for part in parts), default=np.inf)
    again = bool(parts) and base.budget < few
    return Cheapest(min(left, base.budget), found, bool(parts) and not again, again)


def _all(contrast: Contrast) -> _Part:
    base = contrast.cells
    return _Part(0.0, 0, np.zeros(len(base.feature), np.intp), base.n_cells - 1)


def _within_reach(contrast: Contrast, part: _Part) -> _Part | None:
    """Return a part without cells that the budget does not pay for, None if it pays for none."""
    base = contrast.cells
    if part.key > base.budget or not base.affordable(base.home.clip(part.low, part.high)):
        return None
    first, last = base.reach()
    return part._replace(low=np.maximum(part.low, first), high=np.minimum(part.high, last))


def _taken(contrast: Contrast, cells: np.ndarray, keep: float) -> np.ndarray:
    """Bring cells nearer, and leave a budget for what is cheaper."""
    cells = contrast.shortened(cells)
    contrast.cells.budget = keep * contrast.cells.total(cells)
    return cells


def cheapest_leaf(contrast: Contrast, holds: Holds) -> Cheapest:
    """Ask the leaves of the only tree that varies, or the only cells that there are."""
    base = contrast.cells
    lots = [(base.home, contrast.moves(base.home)[0])]
    if len(contrast.start):
        lots = contrast.leaves_by_price()
    for cells, margin in sorted(lots, key=lambda lot: base.total(lot[0])):
        if base.affordable(cells) and margin >= contrast.need and holds(cells, margin):
            return Cheapest(base.total(cells), cells)
    return Cheapest(base.budget, None)


def _inner(contrast: Contrast, part: _Part) -> np.ndarray:
    """Return which thresholds lie between cells of a part."""
    base = contrast.cells
    left = part.low[base.cut_axis] <= base.cut_place
    return left & (base.cut_place < part.high[base.cut_axis])


def _wins(contrast: Contrast, cells: np.ndarray, holds: Holds) -> bool:
    value = contrast.moves(cells)[0]
    return value + contrast.rounding >= contrast.need and holds(cells, value)


def _rounded(contrast: Contrast, part: _Part, share: np.ndarray, holds: Holds) -> np.ndarray | None:
    """Return cells where the rival wins, near those of the program's solution, or None."""
    base = contrast.cells
    for level in _LEVELS:
        below = np.bincount(base.cut_axis[share < level], minlength=len(part.low))
        cells = below.clip(part.low, part.high)
        if not base.affordable(cells):
            continue
        cells, value = contrast.ascend(cells)
        if value >= contrast.need and holds(cells, value):
            return cells
    return None


def _halves(contrast: Contrast, part: _Part, solution: Solution, number: int) -> list[_Part]:
    """Split a part at the threshold whose share is fractional and whose rows are dear."""
    base, share = contrast.cells, solution.share
    worth = (solution.stake + _TINY) * (np.minimum(share, 1 - share) + _TINY)
    k = int(np.where(_inner(contrast, part), worth, -1).argmax())
    axis, place = base.cut_axis[k], base.cut_place[k]
    left, right = part.high.copy(), part.low.copy()
    left[axis], right[axis] = place, place + 1
    return [
        _Part(-solution.bound, number, part.low, left),
        _Part(-solution.bound, number + 1, right, part.high),
    ]
