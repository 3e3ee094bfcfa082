"""What an adversary of a table can choose: other categories, and columns of numbers to move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sklearn_robust._tabular import Moves
from sklearn_robust.bounds import in_units

# Rows with other categories, times choices of columns, that are made of a sample.
MOST_VARIANTS = 10_000
KEEP = -1  # a column of categories is left as it is


@dataclass(frozen=True)
class Variants:
    """What flips make of any row, and what is left to the numbers beside them.

    Attributes
    ----------
    codes : int ndarray of shape (n_variants, n_flips)
        Which value each column of categories is given; -1: the one that it has.
    whole : Moves
        What numbers may do without a budget.
    moves : list of Moves
        Different ways in which numbers may move within it.
    parts : list of int ndarray
        For each of them the variants that leave the budget for it.
    """

    codes: np.ndarray
    whole: Moves
    moves: list[Moves]
    parts: list[np.ndarray]

    @classmethod
    def of(cls, moves: Moves, n_values: list[int], takes_budgets: bool) -> Variants:
        """Return the variants of a threat in which columns may become so many values."""
        costs, room = _in_units(moves)
        flips, numbers = costs[len(moves.down) :], costs[: len(moves.down)]
        found: dict[float, list[np.ndarray]] = {}
        count = 0
        for some in _subsets(len(n_values)):
            left = room - float(flips[list(some)].sum())
            if left < 0:
                continue
            count = _checked(count + int(np.prod([float(n_values[k]) for k in some])))
            found.setdefault(left, []).append(_codes(some, n_values))
        codes = np.concatenate([part for parts in found.values() for part in parts])
        ends = np.cumsum([0, *(sum(map(len, parts)) for parts in found.values())])
        ways: dict[tuple, tuple[Moves, list[np.ndarray]]] = {}
        for left, first, last in zip(found, ends[:-1], ends[1:], strict=True):
            for way in _ways(moves, numbers, left, takes_budgets):
                count = _checked(count + last - first)
                key = (way.moving.tobytes(), way.budget)
                ways.setdefault(key, (way, []))[1].append(np.arange(first, last))
        whole = replace(moves, flips={}, budget=np.inf)
        parts = [np.hstack(rows) for _, rows in ways.values()]
        return cls(codes, whole, [way for way, _ in ways.values()], parts)


def _in_units(moves: Moves) -> tuple[np.ndarray, float]:
    """Return costs of columns, then of flips, and the budget, in whole numbers if there is one."""
    costs = np.where(moves.moving, np.broadcast_to(moves.cost, moves.down.shape), 0.0)
    costs = np.append(costs, [flip.cost for flip in moves.flips.values()])
    if moves.budget >= costs.sum():
        return np.zeros(len(costs)), 0.0
    units, room = in_units(costs, moves.budget)
    return units.astype(np.float64), float(room)


def _subsets(n: int) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(itertools.combinations(range(n), k) for k in range(n + 1))


def _checked(count: int) -> int:
    if count > MOST_VARIANTS:
        raise ValueError(
            f"epsilon has flips, or a budget beside {MOST_VARIANTS} and more choices of what to "
            "change in a row, which are tried one by one for this classifier. Set a smaller "
            "budget, name fewer categories, as in Flip(to=[...]), or flip fewer columns."
        )
    return count


def _codes(some: tuple[int, ...], n_values: list[int]) -> np.ndarray:
    values = list(itertools.product(*(range(n_values[k]) for k in some)))
    codes = np.full((len(values), len(n_values)), KEEP, dtype=np.intp)
    codes[:, list(some)] = np.array(values, dtype=np.intp).reshape(len(values), len(some))
    return codes


def _ways(moves: Moves, cost: np.ndarray, left: float, takes_budgets: bool) -> Iterator[Moves]:
    """Yield what numbers may do for what is left, none of them if they may do nothing."""
    moving = np.flatnonzero(moves.moving)
    plain = replace(moves, flips={}, cost=cost, budget=np.inf)
    if not len(moving) or left < cost[moving].min():
        return
    if left >= cost[moving].sum():
        yield plain
    elif takes_budgets:
        yield replace(plain, budget=left)
    else:
        for some in largest_choices(moving[np.argsort(-cost[moving])].tolist(), cost, left):
            chosen = np.isin(np.arange(len(cost)), some)
            down, up = np.where(chosen, moves.down, 0.0), np.where(chosen, moves.up, 0.0)
            yield replace(plain, down=down, up=up)


def largest_choices(
    columns: list[int], cost: np.ndarray, left: float, refused: float = np.inf
) -> Iterator[list[int]]:
    """Yield the choices of columns to which no other could be added; dear columns come first."""
    if not columns:
        if left < refused:
            yield []
        return
    first, rest = columns[0], columns[1:]
    if cost[first] <= left:
        for others in largest_choices(rest, cost, left - cost[first], refused):
            yield [first, *others]
    if left - cost[rest].sum() < min(refused, cost[first]):
        yield from largest_choices(rest, cost, left, min(refused, cost[first]))
