r"""One game of `_games` as a linear or quadratic program, for hints: weights and a point.

.. math:: \min_{u \in U, t} t \quad\text{s.t.}\quad \phi_i(u) - \phi_r(u) \le t \quad\forall i

is linear under linf and l1. Under l2 the shortest u with ``phi_i(u) <= phi_r(u)`` is a least
distance problem, which non-negative least squares solves [1]_.

References
----------
.. [1] C. L. Lawson, R. J. Hanson, "Solving least squares problems", 1974, chapter 23.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import linprog, nnls

from sklearn_robust.bounds._reach import Reach

Answer = tuple[np.ndarray, np.ndarray] | None
# From the set, the own points h and d, those of the rival, and the depth below which a point
# refutes, to weights and a point.
Solver = Callable[[Reach, np.ndarray, np.ndarray, np.ndarray, float, float], Answer]

# The precision of non-negative least squares, generously.
_PRECISION = 1e-11


def solver_of(norm: str) -> Solver | None:
    """Return what solves a game under a norm; None if nothing here does."""
    return {"linf": _over_box, "l1": _over_simplex, "l2": _over_ball}.get(norm)


def _over_box(
    reach: Reach, h: np.ndarray, d: np.ndarray, rival_h: np.ndarray, rival_d: float, depth: float
) -> Answer:
    low, high = _ends(reach)
    A = np.column_stack([h - rival_h, -np.ones(len(d))])
    bounds = np.column_stack([np.r_[low, -np.inf], np.r_[high, np.inf]])
    cost = np.r_[np.zeros(len(low)), 1.0]
    done = linprog(cost, A, d - rival_d, bounds=bounds, method="highs-ds")
    if done.status != 0:
        return None
    return -done.ineqlin.marginals, reach.project(done.x[None, :-1])[0]


def _over_simplex(
    reach: Reach, h: np.ndarray, d: np.ndarray, rival_h: np.ndarray, rival_d: float, depth: float
) -> Answer:
    (low, high), n = _ends(reach), h.shape[1]
    moves = h - rival_h
    A = np.vstack([np.column_stack([moves, -moves, -np.ones(len(d))]), np.r_[np.ones(2 * n), 0.0]])
    bounds = np.column_stack([np.r_[np.zeros(2 * n), -np.inf], np.r_[high, -low, np.inf]])
    cost = np.r_[np.zeros(2 * n), 1.0]
    done = linprog(cost, A, np.r_[d - rival_d, 1.0], bounds=bounds, method="highs-ds")
    if done.status != 0:
        return None
    u = done.x[:n] - done.x[n:-1]
    return -done.ineqlin.marginals[:-1], reach.project(u[None])[0]


def _over_ball(
    reach: Reach, h: np.ndarray, d: np.ndarray, rival_h: np.ndarray, rival_d: float, depth: float
) -> Answer:
    # On the boundary of where the rival is nearest, rounding would decide.
    G, need = rival_h - h, rival_d - d + max(depth, _PRECISION * abs(rival_d))
    if reach.floor is not None:
        low, high = (np.nan_to_num(end, posinf=1e6, neginf=-1e6) for end in _ends(reach))
        eye = np.eye(h.shape[1])
        G, need = np.vstack([G, eye, -eye]), np.r_[need, low, -high]
    scale = np.abs(G).max() + np.finfo(float).tiny
    E = np.vstack([G.T, need]) / scale
    try:
        weights, _ = nnls(E, np.r_[np.zeros(h.shape[1]), 1.0])
    except (RuntimeError, ValueError):  # no convergence, numbers out of range
        return None
    rest = E @ weights - np.r_[np.zeros(h.shape[1]), 1.0]
    u = -rest[:-1] / rest[-1] if rest[-1] else np.zeros(h.shape[1])
    return weights[: len(d)], reach.project(np.nan_to_num(u)[None])[0]


def _ends(reach: Reach) -> tuple[np.ndarray, np.ndarray]:
    """Return between what each coordinate of u may be."""
    ones = np.ones(len(reach.free))
    if reach.floor is None or reach.ceiling is None:
        return -ones, ones
    return np.maximum(reach.floor, -1), np.minimum(reach.ceiling, 1)
