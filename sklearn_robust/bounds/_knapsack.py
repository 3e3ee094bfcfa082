r"""One choice a feature within a budget: whether what the choices gain can reach a goal.

.. math:: \max \sum_j g_{j p_j} \quad\text{subject to}\quad \sum_j c_{j p_j} \le B,

the multiple-choice knapsack problem. Its linear relaxation takes the steps of the upper hulls of
all features in the order of gain per cost [1]_: a greedy choice ends within one step of that bound.
Where both leave the goal open, features are decided one by one.

References
----------
.. [1] P. Sinha, A. A. Zoltners, "The multiple-choice knapsack problem", Operations Research 1979.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

# Nodes of the search, and what a sum may be off by rounding.
MOST_NODES = 5_000
_ROUNDING = 1e-12


def reach(
    costs: np.ndarray, gains: np.ndarray, goal: float, most_nodes: int = MOST_NODES
) -> tuple[float, np.ndarray | None]:
    """Return a bound of what choices of cost <= 1 gain, and choices that gain the goal, if found.

    Parameters
    ----------
    costs, gains : ndarray of shape (n_features, n_options)
        Costs >= 0; inf where there is no such option. Each feature has an option that costs
        nothing and gains at least nothing.
    goal : float
    most_nodes : int

    Returns
    -------
    bound : float
        Rounding included. Below the goal: it is proven that nothing reaches it.
    choice : ndarray of int, shape (n_features,), or None
        The option of each feature; None: the bound is below the goal, or the search was given up.

    Examples
    --------
    Two of three unit gains can be had, and no more, though 2.5 could be had by halves:

    >>> import numpy as np
    >>> from sklearn_robust.bounds._knapsack import reach
    >>> costs, gains = np.array([[0, 0.4]] * 3), np.array([[0, 1.0]] * 3)
    >>> reach(costs, gains, 2.0)[1]
    array([1, 1, 0])
    >>> round(reach(costs, gains, 2.2)[0], 6), reach(costs, gains, 2.2)[1]
    (2.0, None)
    """
    worth = (gains.max(axis=1) > 0) & np.isfinite(costs).any(axis=1)
    order = np.flatnonzero(worth)
    ladders = [_ladder(costs[j], gains[j]) for j in order]
    best = [max((gain / max(cost, 1e-300) for cost, gain, _ in own), default=0) for own in ladders]
    by_ratio = np.argsort(-np.array(best), kind="stable")
    order, ladders = order[by_ratio], [ladders[k] for k in by_ratio]
    tails, size = _tails(ladders), _ROUNDING * (1 + sum(own[0][1] for own in ladders))
    choice = np.where(costs == 0, gains, -np.inf).argmax(axis=1)
    found, bound, n_nodes = None, 0.0, 0
    stack: list[tuple[int, float, float, tuple[int, ...]]] = [(0, 1.0 + _ROUNDING, 0.0, ())]
    while stack:
        i, left, gained, chosen = stack.pop()
        n_nodes += 1
        most = gained + float(np.interp(left, *tails[i])) + size
        if gained >= goal:
            found = chosen
            bound = most
            break
        if most < goal or i == len(ladders) or n_nodes > most_nodes:
            bound = max(bound, most)
            continue
        for cost, gain, option in reversed(ladders[i]):  # the last is looked at first
            if cost <= left:
                stack.append((i + 1, left - cost, gained + gain, (*chosen, option)))
    if found is None:
        return bound, None
    choice[order[: len(found)]] = found
    return bound, choice


def _ladder(costs: np.ndarray, gains: np.ndarray) -> list[tuple[float, float, int]]:
    """Return the options that are worth their cost, the largest gain first."""
    out: list[tuple[float, float, int]] = []
    for k in np.lexsort((-gains, costs)):
        if np.isfinite(costs[k]) and (not out or gains[k] > out[-1][1]):
            out.append((float(costs[k]) * (1 - _ROUNDING), float(gains[k]), int(k)))
    return out[::-1]


def _tails(ladders: list[list[tuple[float, float, int]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for all last features, from each on, what the relaxation gains by what it spends."""
    steps: list[tuple[float, float]] = []
    base, out = 0.0, [(np.zeros(1), np.zeros(1))]
    for own in reversed(ladders):
        hull: list[tuple[float, float]] = []
        for cost, gain, _ in reversed(own):
            while len(hull) > 1 and _bends_up(hull[-2], hull[-1], (cost, gain)):
                hull.pop()
            hull.append((cost, gain))
        base += hull[0][1]  # what costs nothing
        steps += [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(hull)]
        ranked = np.array(sorted(steps, key=lambda s: -s[1] / max(s[0], 1e-300)) or [(0.0, 0.0)])
        sums = np.vstack([np.zeros(2), ranked]).cumsum(axis=0)
        out.append((sums[:, 0], base + sums[:, 1]))
    return out[::-1]


def _bends_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) <= (c[1] - b[1]) * (b[0] - a[0])
