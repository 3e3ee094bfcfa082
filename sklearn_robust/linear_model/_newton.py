"""Newton's method for the exact problem: active features, and Hessians as cheap as will do.

Each round corrects the weights by a quadratic program in the chart of the current point. Its
Hessian need not be the true one, only its gradient: on tall data it is summed over a sample of the
rows and improved by BFGS updates, and summed anew over more rows when progress is poor, up to all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._arrays import make_generator
from sklearn_robust.linear_model._charts import make_chart
from sklearn_robust.linear_model._columns import Columns, choose_columns
from sklearn_robust.linear_model._ellipsoids import dual_length
from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._problem import Problem, State, weighted_gram
from sklearn_robust.linear_model._quadratic import minimise_quadratic

# Steps on one working set before all features are looked at again, where that is cheaper.
_INNER_STEPS = 4
# Rows per coefficient in the first Hessian; fewer give poor directions (measured on tall data).
_ROWS_PER_COEF = 10
# Times that the signs of a chart are corrected for one step.
_MAX_FLIPS = 6
# A step that leaves more than this share of the Newton decrement calls for a better Hessian.
_GOOD_CONTRACTION = 0.05
# Where the decrement is a larger share of F than this, the Hessian changes with the point, and more
# rows at one point are of no use.
_NEAR = 0.03


class Hessian:
    """The Hessian by (w, t, b) of the features of one working set, exact or approximate."""

    def __init__(self, problem: Problem, columns: Columns, n_rows: int | None) -> None:
        self.problem, self.columns = problem, columns
        n_samples, n_columns = columns.X.shape
        self.n_rows = min(n_rows or _ROWS_PER_COEF * (n_columns + 10), n_samples)
        self.matrix: np.ndarray | None = None
        # The last point, its gradient and the decrement there.
        self.last: tuple[np.ndarray, np.ndarray, float] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all rows are summed."""
        return 2 * self.n_rows > len(self.problem.y)

    def refresh(self, state: State) -> np.ndarray:
        """Sum the Hessian at `state` over the current number of rows, and return it."""
        problem, X = self.problem, self.columns.X
        y = problem.y
        mm, mt, tt = (problem.c * v for v in problem.loss.curvatures(state.m, state.t))
        if not self.is_exact and np.count_nonzero(mm) > self.n_rows:
            rows, scale = _sample_rows(mm, self.n_rows)
            X, y = X[rows], y[rows]
            mm, mt, tt = scale * mm[rows], scale * mt[rows], scale * tt[rows]
        m = X.shape[1]
        H = np.empty((m + 2, m + 2))
        H[:m, :m] = weighted_gram(X, mm)
        H[range(m), range(m)] += problem.lam
        H[:m, m] = H[m, :m] = -(X.T @ (mt * y))
        H[:m, m + 1] = H[m + 1, :m] = X.T @ mm
        # Losses that are linear where all samples lie have no curvature along b.
        H[m, m], H[m + 1, m + 1] = tt.sum(), max(mm.sum(), 1e-10)
        H[m, m + 1] = H[m + 1, m] = -(mt @ y)
        self.matrix = H
        return H

    def improve(self, step: np.ndarray, change: np.ndarray) -> None:
        """Make the Hessian map this step to this change of the gradient (BFGS)."""
        H = self.matrix
        assert H is not None
        seen = H @ step
        old, new = float(step @ seen), float(step @ change)
        if new > 1e-10 * old > 0:
            H -= np.outer(seen, seen / old)
            H += np.outer(change, change / new)


def _sample_rows(weight: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows by their weight, evenly spaced; return them and what to multiply theirs by."""
    edges = np.cumsum(weight)
    offset = make_generator(n_rows, weight).random()
    drawn = np.searchsorted(edges, (np.arange(n_rows) + offset) / n_rows * edges[-1])
    rows, counts = np.unique(drawn.clip(0, len(weight) - 1), return_counts=True)
    return rows, counts * edges[-1] / (n_rows * weight[rows])


def newton(
    problem: Problem,
    state: State,
    monitor: Monitor,
    max_iter: int,
    cap: int,
    hessian: Hessian | None = None,
) -> tuple[State, Hessian | None]:
    """Minimise from `state` until `monitor` is satisfied, progress ends or `max_iter` rounds.

    `cap` is the size of the first working set (linf adversary; the others move all features).
    By (w, t, b) the Hessian does not depend on the radius, so that one of the same data and another
    radius serves as `hessian`; the last one is returned with the point.
    """
    stuck = 0
    for _ in range(max_iter):
        g, S = monitor.check(state)
        if monitor.stop or stuck > 2:
            break
        last = None if hessian is None else hessian.columns
        columns = choose_columns(problem, state, g, S, cap, last)
        if hessian is None or columns is not last:
            n_rows = None if hessian is None else hessian.n_rows
            hessian = Hessian(problem, columns, n_rows)
        before = state.value
        state = _descend(problem, state, hessian, g, S, monitor.target(state))
        stuck = stuck + 1 if not state.value < before else 0
        if stuck:
            hessian.n_rows, hessian.matrix = len(problem.y), None
    else:
        monitor.check(state)
    return state, hessian


def _descend(
    problem: Problem, state: State, hessian: Hessian, g: np.ndarray, S: float, target: float
) -> State:
    """Take a few steps on one working set, starting with the gradient already known."""
    columns = hessian.columns
    W = columns.index
    n_steps = 1 if columns.chosen is None else _INNER_STEPS
    g_W, first = g[W], None
    for step_number in range(n_steps):
        if step_number:
            g_W, S = columns.XT @ (problem.cy * state.a), float(problem.c @ state.s)
        local = _Local(problem, state, W, g_W, S)
        step, decrement = _propose(problem, state, hessian, local)
        new = _line_search(problem, state, hessian, local, step, -decrement)
        if new is None:
            hessian.n_rows, hessian.matrix = len(problem.y), None
            break
        state = new
        first = decrement if first is None else first
        if decrement < max(0.01 * first, 0.01 * target):
            break
    return state


class _Local:
    """A point in its chart, with its gradient by (w, t, b), and by the coordinates (x, b)."""

    def __init__(self, problem: Problem, state: State, W: Any, g: np.ndarray, S: float) -> None:
        w, gb = state.w[W], -float(problem.cy @ state.a)
        self.problem, self.radius, self.S = problem, problem.radius[W], S
        self.point = np.concatenate([w, [state.t, state.b]])
        self.slopes = np.concatenate([problem.lam * w - g, [S, gb]])
        sign = np.where(w != 0, np.sign(w), np.sign(g))
        self._set_chart(np.where(sign == 0, 1.0, sign))

    def _set_chart(self, sign: np.ndarray) -> None:
        self.sign = sign
        chart = make_chart(
            self.problem.norm, self.point[:-2], self.radius, sign, float(self.point[-2])
        )
        # Without an intercept, b is no coordinate.
        self.chart, self.n = chart, len(chart.start) + self.problem.fit_intercept
        self.start = np.append(chart.start, self.point[-1])[: self.n]
        self.bounded = np.append(chart.bounded, False)[: self.n]
        by_x = chart.gradient(self.slopes[:-2], self.S)
        self.gradient = np.append(by_x, self.slopes[-1])[: self.n]

    def minimise(self, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the step to the minimum of the model with this Hessian, and the decrement."""
        for flips_left in reversed(range(_MAX_FLIPS + 1)):
            H = self.chart.hessian(matrix, self.S)[: self.n, : self.n]
            H[np.diag_indices_from(H)] *= 1 + 1e-12
            step = minimise_quadratic(H, self.gradient, self.bounded, self.start)
            wrong = self.chart.crossed(step[: len(self.chart.start)])
            if flips_left == 0 or not wrong.any():
                break
            self._set_chart(np.where(wrong, -self.sign, self.sign))
        return step, -float(self.gradient @ step)


def _propose(
    problem: Problem, state: State, hessian: Hessian, local: _Local
) -> tuple[np.ndarray, float]:
    """Return a step and its decrement, from a Hessian that is good enough."""
    last = hessian.last
    hessian.last = (local.point, local.slopes, np.inf)
    if hessian.matrix is not None and last is not None:
        hessian.improve(local.point - last[0], local.slopes - last[1])
        step, decrement = local.minimise(hessian.matrix)
        if 0 < decrement <= _GOOD_CONTRACTION * last[2]:
            hessian.last = (local.point, local.slopes, decrement)
            return step, decrement
        if decrement < _NEAR * state.value:
            hessian.n_rows = min(2 * hessian.n_rows, len(problem.y))
    step, decrement = local.minimise(hessian.refresh(state))
    hessian.last = (local.point, local.slopes, decrement)
    return step, decrement


def _line_search(
    problem: Problem,
    state: State,
    hessian: Hessian,
    local: _Local,
    step: np.ndarray,
    slope: float,
) -> State | None:
    """Return the first point on shrinking steps at which F is low enough (Armijo); else None."""
    if not slope < 0:
        return None
    n_x, W = len(local.chart.start), hessian.columns.index
    w_start, w_end = local.point[:-2], local.chart.weights((local.start + step)[:n_x])
    dw, db = local.chart.change(step[:n_x]), float(step[-1]) if problem.fit_intercept else 0.0
    dm = problem.y * (hessian.columns.X @ dw + db)
    base = problem.smooth_value(state.m, state.t, w_start)
    # Near the minimum F falls by less than it is rounded.
    allowed = base + 4 * np.finfo(float).eps * abs(base)
    length = 1.0
    while length > 1e-12:
        w_W = w_end if length == 1 else w_start + length * dw
        # The working set holds all non-zero weights, so its length is the length.
        m, t = state.m + length * dm, dual_length(problem.norm, problem.radius[W] * w_W)
        value = problem.smooth_value(m, t, w_W)
        if value <= allowed + 1e-4 * length * slope:
            w = np.zeros_like(state.w)
            w[W] = w_W
            return State(problem, w, state.b + length * db, m)
        # The minimum of the parabola through what is known, kept within a tenth and a half.
        best = -slope * length / (2 * (value - base - length * slope))
        length *= min(max(best, 0.1), 0.5)
    return None
