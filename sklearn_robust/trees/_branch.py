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
    parts = [_Part(-np.inf, 0, np.zeros(len(base.feature), np.intp), base.n_cells - 1)]
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
