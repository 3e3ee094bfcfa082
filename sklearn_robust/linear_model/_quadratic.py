"""Quadratic programs with some variables bounded below by zero: the inner problem of Newton."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, lapack

# Rounds without progress after which block pivoting is taken to cycle.
_PATIENCE = 4


def minimise_quadratic(
    H: np.ndarray, r: np.ndarray, bounded: np.ndarray, free: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return x of ``min x'Hx/2 - r'x`` with ``x[bounded] >= 0`` for positive definite H.

    Block principal pivoting from the guess `free` (which variables are not held at zero) takes a
    few factorisations, but may cycle when features are correlated; then projected Newton steps
    from the feasible `start` go down monotonically. What is returned is never worse than `start`.
    """
    if not bounded.any():
        return _solve(H, r)
    x, solved = _pivot(H, r, bounded, free.copy())
    if solved and _value(H, r, x) <= _value(H, r, start):
        return x
    if not _value(H, r, x) < _value(H, r, start):
        x = start
    return _projected_newton(H, r, bounded, x)


def _pivot(
    H: np.ndarray, r: np.ndarray, bounded: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return a feasible x and whether it is optimal: swap all violators at once (Kim & Park)."""
    scale = abs(r).max() + np.finfo(float).tiny
    fewest, patience = len(r) + 1, _PATIENCE
    while True:
        x = _solve_on(H, r, free)
        pull = H @ x - r
        lowest = -1e-14 * abs(x).max()
        wrong = bounded & np.where(free, x < lowest, pull < -1e-11 * scale)
        n_wrong = int(wrong.sum())
        if n_wrong == 0 or patience == 0:
            return np.where(bounded, np.maximum(x, 0), x), n_wrong == 0
        if n_wrong < fewest:
            fewest, patience = n_wrong, _PATIENCE
        else:
            patience -= 1
        free ^= wrong


def _projected_newton(
    H: np.ndarray, r: np.ndarray, bounded: np.ndarray, x: np.ndarray, max_iter: int = 60
) -> np.ndarray:
    """Descend from a feasible x: Newton on the variables not held by their bound (Bertsekas)."""
    scale = abs(r).max() + np.finfo(float).tiny
    for _ in range(max_iter):
        gradient = H @ x - r
        held = bounded & (x <= 0) & (gradient > 0)
        if abs(np.where(held, 0, gradient)).max() <= 1e-10 * scale:
            break
        step, value = _solve_on(H, -gradient, ~held), _value(H, r, x)
        length = 1.0
        while length > 1e-8:
            moved = x + length * step
            moved[bounded] = np.maximum(moved[bounded], 0)
            if _value(H, r, moved) <= value + 1e-4 * float(gradient @ (moved - x)):
                break
            length /= 2
        else:
            break
        x = moved
    return x


def _solve_on(H: np.ndarray, r: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return x with H x = r on the free variables and 0 elsewhere."""
    if free.all():
        return _solve(H, r)
    x, index = np.zeros(len(r)), np.flatnonzero(free)
    if len(index):
        x[index] = _solve(H[np.ix_(index, index)], r[index])
    return x


def _solve(H: np.ndarray, r: np.ndarray) -> np.ndarray:
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


def _value(H: np.ndarray, r: np.ndarray, x: np.ndarray) -> float:
    return float(x @ (H @ x) / 2 - r @ x)
