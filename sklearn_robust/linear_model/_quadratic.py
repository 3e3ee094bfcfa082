"""Quadratic programs with some variables bounded below by zero: the inner problem of Newton."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, lapack

# Rounds without progress after which block pivoting is taken to cycle.
_PATIENCE = 4


def minimise_quadratic(
    H: np.ndarray, gradient: np.ndarray, bounded: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return the step s of ``min s'Hs/2 + gradient's`` with ``(start + s)[bounded] >= 0``.

    H is positive definite and `start` feasible. Block principal pivoting takes a few
    factorisations, but may cycle when features are correlated; then an active-set method goes down
    monotonically from `start`. The step is never worse than none.
    """
    # In units in which the diagonal is 1, "small" means the same for every variable.
    unit = 1 / np.sqrt(np.maximum(np.diag(H), np.finfo(float).tiny))
    H, gradient, start = H * unit[:, None] * unit, gradient * unit, start / unit
    if not bounded.any():
        return unit * solve_positive(H, -gradient)
    step, solved = _pivot(H, gradient, bounded, start)
    if solved and _value(H, gradient, step) <= 0:
        return unit * step
    if not _value(H, gradient, step) < 0:
        step = np.zeros_like(start)
    return unit * _descend(H, gradient, bounded, start, step)


def _pivot(
    H: np.ndarray, gradient: np.ndarray, bounded: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return a feasible step and whether it is optimal: swap all violators at once (Kim & Park)."""
    free = ~bounded | (start > 0) | (gradient < 0)
    floor = np.where(bounded, -start, -np.inf)
    scale = abs(gradient).max() + np.finfo(float).tiny
    fewest, patience = len(start) + 1, _PATIENCE
    while True:
        step = np.where(free, 0.0, floor)
        step += _solve_on(H, -(gradient + H @ step), free)
        pull = H @ step + gradient
        slack = -1e-14 * max(abs(step).max(), abs(start).max())
        wrong = bounded & np.where(free, step - floor < slack, pull < -1e-11 * scale)
        n_wrong = int(wrong.sum())
        if n_wrong == 0 or patience == 0:
            return np.maximum(step, floor), n_wrong == 0
        if n_wrong < fewest:
            fewest, patience = n_wrong, _PATIENCE
        else:
            patience -= 1
        free ^= wrong


def _descend(
    H: np.ndarray,
    gradient: np.ndarray,
    bounded: np.ndarray,
    start: np.ndarray,
    step: np.ndarray,
    max_iter: int = 200,
) -> np.ndarray:
    """Go down from a feasible step: Newton on the variables not held by their bound.

    Each round takes the best of some projections of the Newton step, which meet many bounds at once
    but may all lead up, and of the last feasible point on it, which never does.
    """
    floor = np.where(bounded, -start, -np.inf)
    scale = abs(gradient).max() + np.finfo(float).tiny
    value, pull = _value(H, gradient, step), H @ step + gradient
    held = bounded & (step <= floor) & (pull > 0)
    for _ in range(max_iter):
        move = _solve_on(H, -pull, ~held)
        room = np.where(move < 0, (floor - step) / np.where(move < 0, move, 1), np.inf)
        reach = min(1.0, float(room.min()))
        points = [
            np.maximum(step + length * move, floor) for length in (reach, 1.0, 0.5, 0.2, 0.05)
        ]
        values = [_value(H, gradient, x) for x in points]
        best = int(np.argmin(values))
        progress = value - values[best]
        if progress > 0:
            step, value = points[best], values[best]
            pull = H @ step + gradient
        at_floor = bounded & (step <= floor)
        wrong = at_floor & (pull < -1e-11 * scale)
        if best == 0 and reach < 1:
            held |= room <= reach  # and none is let go before the Newton step is feasible
        elif best > 0 and progress > 0:
            held = at_floor & ~wrong
        elif not (wrong & held).any():
            break
        elif progress > 1e-12 * abs(value):
            held &= ~wrong
        else:
            held[np.argmin(np.where(wrong & held, pull, 0))] = False
    return step


def _solve_on(H: np.ndarray, r: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return x with H x = r on the free variables and 0 elsewhere."""
    if free.all():
        return solve_positive(H, r)
    x, index = np.zeros(len(r)), np.flatnonzero(free)
    if len(index):
        x[index] = solve_positive(H[np.ix_(index, index)], r[index])
    return x


def solve_positive(H: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Solve by Cholesky, with a growing ridge where rounding has made H indefinite."""
    ridge = 0.0
    for _ in range(20):
        shifted = H if ridge == 0 else H + ridge * np.eye(len(H))
        # H is symmetric: its transpose is the column order that LAPACK wants, without a copy.
        _, x, info = lapack.dposv(shifted.T, r, lower=True)
        if info == 0 and np.isfinite(x).all():
            return x
        ridge = max(10 * ridge, 1e-14 * float(np.trace(H)) / len(H), np.finfo(float).tiny)
    raise LinAlgError("The Hessian is not positive definite. Are there huge values in X?")


def _value(H: np.ndarray, gradient: np.ndarray, step: np.ndarray) -> float:
    return float(step @ (H @ step) / 2 + gradient @ step)
