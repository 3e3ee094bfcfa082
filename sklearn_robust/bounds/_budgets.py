r"""What changes of columns gain together within a budget: the largest of them, or a knapsack.

.. math:: \max_S \sum_{j \in S} g_j \quad\text{with}\quad \sum_{j \in S} c_j \le b

With equal costs these are the largest gains: exchanging one of them for another gains nothing. With
others it is a knapsack, solved exactly by dynamic programming over the budget in its common unit.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

# Units of the costs into which a budget may be cut, and up to which denominator costs are read.
_MOST_UNITS, _DENOMINATOR = 1000, 1000


def in_units(cost: np.ndarray, budget: float) -> tuple[np.ndarray, int]:
    """Return costs and a budget as whole multiples of their largest common unit.

    Raises
    ------
    ValueError
        If there is none that is not too small.
    """
    parts = [Fraction(float(c)).limit_denominator(_DENOMINATOR) for c in cost]
    scale = math.lcm(*(part.denominator for part in parts))
    whole = np.array([int(part * scale) for part in parts], dtype=np.intp)
    unit = math.gcd(*whole.tolist()) or 1
    exact = all(abs(float(part) - c) <= 1e-12 * c for part, c in zip(parts, cost, strict=True))
    units = math.floor(Fraction(float(budget)).limit_denominator(10**6) * scale / unit)
    units = min(units, int((whole // unit).sum()))
    if not exact or units > _MOST_UNITS:
        raise ValueError(
            f"cost and budget must be multiples of a common unit, of which the budget has at most "
            f"{_MOST_UNITS}, got costs {sorted(set(cost.tolist()))[:10]} and budget={budget:g}. "
            "Round them."
        )
    return whole // unit, units


def most_gained(gain: np.ndarray, cost: np.ndarray, budget: float) -> np.ndarray:
    """Return which changes gain most together, shape (n_samples, n_changes).

    Parameters
    ----------
    gain : ndarray of shape (n_samples, n_changes)
        >= 0.
    cost : ndarray of shape (n_changes,)
        >= 0.
    budget : float
        Infinity: there is none.
    """
    if budget >= cost.sum():
        return gain > 0
    units, room = in_units(cost, budget)
    take, paid = gain > 0, np.flatnonzero(units)  # what costs nothing is taken
    if len(set(units[paid].tolist())) == 1:
        take[:, paid] = _largest(gain[:, paid], room // int(units[paid[0]]))
    else:
        take[:, paid] = _knapsack(gain[:, paid], units[paid], room)
    return take


def _largest(gain: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(-gain, axis=1, kind="stable")[:, :k]
    take = np.zeros(gain.shape, dtype=bool)
    np.put_along_axis(take, order, True, axis=1)
    return take & (gain > 0)


def _knapsack(gain: np.ndarray, units: np.ndarray, room: int) -> np.ndarray:
    best = np.zeros((room + 1, len(gain)))
    takes = np.zeros((len(units), room + 1, len(gain)), dtype=bool)
    for j, c in enumerate(units.tolist()):
        if c > room:
            continue
        better = best[: room + 1 - c] + gain[:, j] > best[c:]
        takes[j, c:] = better
        best[c:] = np.where(better, best[: room + 1 - c] + gain[:, j], best[c:])
    take, left, each = (
        np.zeros(gain.shape, dtype=bool),
        np.full(len(gain), room),
        np.arange(len(gain)),
    )
    for j in reversed(range(len(units))):
        take[:, j] = takes[j, left, each]
        left = left - np.where(take[:, j], units[j], 0)
    return take
