r"""Truncated Newton for the exact problem: conjugate gradients, which see X in products alone.

Each round minimises the quadratic model of F at a point. An linf adversary bounds the model, as
weights keep their signs: those that conjugate gradients drive through zero are fixed there, those
fixed that would come back are let go, and the search goes on from where it was. Few products are
needed where the penalty, or data without strong correlations, bounds the condition number;
`newton_cg` gives up early where nothing does.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust.linear_model._columns import Columns, choose_columns
from sklearn_robust.linear_model._ellipsoids import dual_length
from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._problem import Problem, State

# Reduction of the residual, in the norm of the preconditioner, after which a step is good enough:
# far from the minimum, where the model does not hold for long, and near it (a gap below _NEAR).
_FORCING, _FORCING_NEAR, _NEAR = 0.2, 0.03, 0.1
# Products with the Hessian in one round beyond which other methods are faster.
_MAX_PRODUCTS = 100
# Share of features beyond the violators in a new working set, so that the next ones are in it.
_SLACK = 0.2
# Times that weights which cross zero are fixed there in one round.
_MAX_FIXES = 10
# Shorter steps show that the signs of the model do not hold: other methods are better then, too.
_SHORT = 0.3


def newton_cg(
    problem: Problem,
    state: State,
    monitor: Monitor,
    max_iter: int,
    columns: Columns | None = None,
) -> tuple[State, Columns | None]:
    """Minimise from `state` until `monitor` is satisfied, or rounds become expensive.

    The last working set is returned with the point, and may serve again as `columns`.
    """
    poor = 0
    for _ in range(max_iter):
        g, S = monitor.check(state)
        if monitor.stop or poor > 1:
            return state, columns
        columns = choose_columns(problem, state, g, S, len(g), columns, _SLACK)
        model = _Model(problem, state, columns, g, S)
        model.minimise(
            forcing=_FORCING_NEAR if monitor.gap < _NEAR else _FORCING,
            # The certificate falls short by |residual|^2 / (2 lambda).
            enough=problem.lam * monitor.target(state),
        )
        new, length = _line_search(problem, state, model)
        if new is None:
            return state, columns
        poor += length < _SHORT or model.n_products > _MAX_PRODUCTS
        state = new
    monitor.check(state)
    return state, columns


class _Model:
    """The quadratic model of F at a point, over the orthant of its signs, and a step in it.

    The intercept is eliminated: it follows each step at its best value.
    """

    def __init__(
        self, problem: Problem, state: State, columns: Columns, g: np.ndarray, S: float
    ) -> None:
        W = columns.index
        self.problem, self.columns, self.S = problem, columns, S
        self.w = w = state.w[W]
        self.e = e = problem.radius[W]
        g = g[W]
        self.mm, self.mt, tt = (problem.c * v for v in problem.loss.curvatures(state.m, state.t))
        self.tt = float(tt.sum())
        # Losses that are linear where all samples lie have no curvature along the intercept.
        self.bb = max(float(self.mm.sum()), 1e-10)
        self.t = state.t if problem.norm == "l2" else 0.0
        self.bounded = (e > 0) & (problem.norm == "linf")
        self.sign = np.where(w != 0, np.sign(w), np.sign(g))
        if problem.norm == "linf":
            self.slope = self.sign * e  # of t by w
        else:
            self.slope = e**2 * w / state.t if self.t > 0 else np.zeros_like(w)
        self.downhill = g - problem.lam * w - S * self.slope
        self.free = ~self.bounded | (w != 0) | (self.sign * self.downhill > 0)
        # What the preconditioner leaves out of the diagonal is of rank one.
        self.diagonal = self.bb * problem.column_squares()[W] + problem.lam
        if self.t > 0:
            self.diagonal = self.diagonal + S * e**2 / self.t
        self.step = np.zeros_like(w)
        self.rest = self.downhill.copy()  # minus the model's gradient at the step
        self.dm, self.dt, self.db = np.zeros_like(state.m), 0.0, 0.0
        self.n_products = 0

    def minimise(self, forcing: float, enough: float) -> None:
        """Find a step whose end has the signs of the point.

        Conjugate gradients stop when they have reduced the residual by `forcing`, or its square
        below `enough`.
        """
        for fixes_left in reversed(range(_MAX_FIXES + 1)):
            self._conjugate_gradients(forcing, enough)
            wrong = self.bounded & self.free & (self.sign * (self.w + self.step) < 0)
            back = ~self.free & (self.sign * self.rest > 0) & (self.w != 0)
            if not wrong.any() and not back.any():
                return
            self.free &= ~wrong
            self.free |= back
            self._move(np.where(wrong, -self.w - self.step, 0.0), 1.0)
            if fixes_left == 0:
                return

    def _conjugate_gradients(self, forcing: float, enough: float) -> None:
        residual = np.where(self.free, self.rest, 0.0)
        scaled = residual / self.diagonal
        direction, length = scaled, float(residual @ scaled)
        start = np.where(self.free, self.downhill, 0.0)
        target = forcing**2 * float(start @ (start / self.diagonal))
        while length > target and self.n_products <= _MAX_PRODUCTS:
            if residual @ residual <= enough:
                return
            residual = self._along(direction, length)
            scaled = residual / self.diagonal
            last, length = length, float(residual @ scaled)
            direction = scaled + (length / last) * direction

    def _along(self, direction: np.ndarray, length: float) -> np.ndarray:
        """Go to the minimum along a direction and return the new residual."""
        H, changes = self._product(direction)
        curvature = float(direction @ H)
        if curvature > 0:  # else flat in this direction, and nothing to be gained
            self._apply(direction, H, changes, length / curvature)
        return np.where(self.free, self.rest, 0.0)

    def _move(self, direction: np.ndarray, length: float) -> None:
        H, changes = self._product(direction)
        self._apply(direction, H, changes, length)

    def _apply(
        self,
        direction: np.ndarray,
        H: np.ndarray,
        changes: tuple[np.ndarray, float, float],
        length: float,
    ) -> None:
        self.step = self.step + length * direction
        self.rest = self.rest - length * H
        dm, dt, db = changes
        self.dm = self.dm + length * dm
        self.dt, self.db = self.dt + length * dt, self.db + length * db

    def _product(self, v: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, float, float]]:
        """Return the Hessian times v, and the changes of m, t and b along v."""
        problem = self.problem
        self.n_products += 1
        dm, dt, db = problem.y * (self.columns.X @ v), float(self.slope @ v), 0.0
        pull = self.mm * dm - dt * self.mt
        if problem.fit_intercept:
            db = -float(problem.y @ pull) / self.bb
            dm = dm + db * problem.y
            pull = pull + db * (problem.y * self.mm)
        by_t = self.tt * dt - float(self.mt @ dm)
        H = self.columns.XT @ (problem.y * pull) + problem.lam * v + by_t * self.slope
        if self.t > 0:
            H += (self.S / self.t) * (self.e**2 * v - dt * self.slope)
        return H, (dm, dt, db)


def _line_search(problem: Problem, state: State, model: _Model) -> tuple[State | None, float]:
    """Return the first point on shrinking steps at which F is low enough (Armijo), and how far."""
    slope = -float(model.downhill @ model.step)
    if not slope < 0:
        return None, 0.0
    end = model.w + model.step
    # Rounding must not leave a sign where a weight was fixed at zero.
    end[~model.free | (model.bounded & (model.sign * end <= 0))] = 0
    base = problem.smooth_value(state.m, state.t, model.w)
    allowed = base + 4 * np.finfo(float).eps * abs(base)
    length = 1.0
    while length > 1e-10:
        w = end if length == 1 else model.w + length * model.step
        m = state.m + length * model.dm
        value = problem.smooth_value(m, dual_length(problem.norm, model.e * w), w)
        if value <= allowed + 1e-4 * length * slope:
            whole = np.zeros_like(state.w)
            whole[model.columns.index] = w
            return State(problem, whole, state.b + length * model.db, m), length
        best = -slope * length / (2 * (value - base - length * slope))
        length *= min(max(best, 0.1), 0.5)
    return None, 0.0
