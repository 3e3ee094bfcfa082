"""The exact solver of binary models: which method on which problem, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_robust.linear_model._columns import Columns
from sklearn_robust.linear_model._lbfgs import lbfgs
from sklearn_robust.linear_model._margin_losses import LOSSES, MarginLoss
from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._newton import Hessian, newton
from sklearn_robust.linear_model._newton_cg import newton_cg
from sklearn_robust.linear_model._problem import Problem, State
from sklearn_robust.linear_model._solution import Solution, prepare

# Newton's quadratic programs cost the cube of the working set: beyond this, L-BFGS.
_NEWTON_CAP = 1500
_NEWTON_ROUNDS = 200
# Iterations of L-BFGS before Newton against an l1 adversary on data with more features than
# samples: 2 to 40 times as fast at 300 x 1000, but where features are nearly redundant.
_FIRST_ON_WIDE = 1000
# Losses with a kink are smoothed less and less, starting here, until the gap of the loss itself
# is within tol.
_SMOOTHING_FACTOR = 0.1
_MIN_SMOOTHING = 1e-9


def solve(
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    epsilon: Any,
    norm: str = "linf",
    C: float = 1.0,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int = 1000,
    loss: str = "logistic",
    start: tuple[np.ndarray, float] | None = None,
    verbose: int = 0,
) -> Solution:
    r"""Minimise ``sum_i s_i phi(m_i, ||eps * w||_q) + ||w||^2 / (2 C)`` to a certified gap.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        -1 and +1, both with positive weight.
    sample_weight : ndarray of shape (n_samples,) or None
    epsilon : float or ndarray of shape (n_features,)
    norm : {"linf", "l2", "l1"}
        The adversary's.
    C : float
        Inverse penalty; inf for none.
    tol : float
        Largest relative duality gap to stop at.
    max_iter : int
        Largest number of iterations of each method.
    loss : {"logistic", "squared_hinge", "hinge", "squared"}
    start : (coef, intercept) or None

    Returns
    -------
    Solution
    """
    return solve_path(
        X,
        y,
        sample_weight,
        epsilons=[epsilon],
        norm=norm,
        C=C,
        fit_intercept=fit_intercept,
        tol=tol,
        max_iter=max_iter,
        loss=loss,
        start=start,
        verbose=verbose,
    )[0]


def solve_path(
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    epsilons: Sequence[Any],
    norm: str = "linf",
    C: float = 1.0,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int = 1000,
    loss: str = "logistic",
    start: tuple[np.ndarray, float] | None = None,
    verbose: int = 0,
) -> list[Solution]:
    """Solve for each of the falling radii, beginning where the last two solutions point to.

    Arguments as in `solve`; the first begins at `start`. Each solution has its own certificate.
    """
    if start is not None:
        start = np.array(start[0], dtype=float), float(start[1])
    whole = make_problem(X, y, sample_weight, epsilons[0], norm, C, fit_intercept, LOSSES[loss]())
    search = _Search(whole, max_iter)
    solutions: list[Solution] = []
    for i, epsilon in enumerate(epsilons):
        radius = np.broadcast_to(np.asarray(epsilon, dtype=float), whole.radius.shape).copy()
        problem = replace(whole, norm=norm, loss=LOSSES[loss](), radius=radius)
        monitor = Monitor(problem, tol, verbose)
        if i > 0:
            start = _extrapolate(solutions, epsilons[: i + 1])
        solutions.append(_solution(search.run(problem, monitor, start), monitor))
    return solutions


def minimise(
    problem: Problem,
    tol: float,
    max_iter: int,
    start: tuple[np.ndarray, float] | None = None,
    verbose: int = 0,
) -> Solution:
    """Minimise one problem; arguments as in `solve`."""
    monitor = Monitor(problem, tol, verbose)
    return _solution(_Search(problem, max_iter).run(problem, monitor, start), monitor)


def _extrapolate(
    solutions: list[Solution], epsilons: Sequence[float]
) -> tuple[np.ndarray, float] | None:
    """Return where the line through the last two solutions leads; no weight changes its sign.

    Parabolas through three of them led further astray on half of the benchmark's problems.
    """
    if not solutions or not solutions[-1].coef.any():
        return None
    last = solutions[-1]
    if len(solutions) < 2 or not solutions[-2].coef.any() or epsilons[-2] == epsilons[-3]:
        return last.coef, last.intercept
    before = solutions[-2]
    factor = (epsilons[-1] - epsilons[-2]) / (epsilons[-2] - epsilons[-3])
    coef = last.coef + factor * (last.coef - before.coef)
    coef[coef * last.coef <= 0] = 0
    return coef, last.intercept + factor * (last.intercept - before.intercept)


def _solution(state: State, monitor: Monitor) -> Solution:
    return Solution(
        coef=state.w,
        intercept=float(state.b),
        objective=state.value,
        dual_gap=float(monitor.gap),
        n_iter=monitor.n_iter,
        converged=monitor.gap <= monitor.tol and not monitor.separable,
        separable=monitor.separable,
    )


def make_problem(
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    epsilon: Any,
    norm: str,
    C: float,
    fit_intercept: bool,
    loss: MarginLoss,
) -> Problem:
    """Return the problem; arguments as in `solve`."""
    data = prepare(X, np.asarray(y, dtype=float), sample_weight, epsilon, C)
    return Problem(**data._asdict(), norm=norm, fit_intercept=fit_intercept, loss=loss)


class _Search:
    """The order of methods, and what problems that differ in the radius alone have in common."""

    def __init__(self, problem: Problem, max_iter: int) -> None:
        self.max_iter = max_iter
        self.zero = State(problem, np.zeros(len(problem.radius)), 0.0, np.zeros(len(problem.y)))
        self.pull = problem.correlate(problem.cy * self.zero.a)
        self.hessian: Hessian | None = None
        self.columns: Columns | None = None

    def run(
        self, problem: Problem, monitor: Monitor, start: tuple[np.ndarray, float] | None
    ) -> State:
        """Minimise one problem."""
        S = problem.push(self.zero.s)
        if not problem.distance(self.pull, S).any():
            monitor.check(self.zero)
            if monitor.done:  # always, but for a loss that is smoothed still
                return self.zero
        n_first = int((abs(self.pull) > S * problem.radius).sum())
        state = self.zero if start is None else State(problem, *start)
        while True:
            if problem.norm in ("l2", "l1") and state.t == 0:
                state = _leave_kink(problem, state, monitor, self.max_iter)
            if not monitor.done:
                state = self._minimise(problem, state, monitor, n_first)
            smoothing = problem.loss.smoothing
            if monitor.done or smoothing <= _MIN_SMOOTHING:
                return state
            problem.loss.smoothing, monitor.stop = _SMOOTHING_FACTOR * smoothing, False
            state = State(problem, state.w, state.b)

    def _minimise(self, problem: Problem, state: State, monitor: Monitor, n_first: int) -> State:
        """Products alone where few are enough; else Hessians, and without one beyond their cap."""
        if not problem.has_hessian:
            return lbfgs(problem, state, monitor, self.max_iter)
        wide = len(state.w) > len(problem.y)
        if problem.norm != "l1":
            state, self.columns = newton_cg(problem, state, monitor, self.max_iter, self.columns)
        elif wide:  # l1 ties most weights, and the model would turn at every step
            state = lbfgs(problem, state, monitor, min(self.max_iter, _FIRST_ON_WIDE))
        size = np.count_nonzero(state.w) if problem.norm == "linf" else len(state.w)
        if not monitor.stop and size <= _NEWTON_CAP:
            state = self._newton(problem, state, monitor, max(64, n_first))
        if not monitor.stop:
            state = lbfgs(problem, state, monitor, self.max_iter)
        return state

    def _newton(self, problem: Problem, state: State, monitor: Monitor, cap: int) -> State:
        n_rounds = min(self.max_iter, _NEWTON_ROUNDS)
        state, self.hessian = newton(problem, state, monitor, n_rounds, cap, self.hessian)
        return state


def _leave_kink(problem: Problem, state: State, monitor: Monitor, max_iter: int) -> State:
    """Leave t = 0, where alone the length has a kink (l2, l1), unless the minimum is there."""
    if not problem.radius.all():
        state = _minimise_unattacked(problem, monitor, max_iter)
    g, S = monitor.check(state)
    ray = np.where(problem.radius > 0, problem.distance(g, S), 0)
    margins = problem.margins(ray, 0.0)
    top = float(abs(margins).max())
    if monitor.stop or top == 0:
        return state
    # The best of some points on a ray of descent.
    best = state
    for k in range(-12, 5):
        length = 4.0**k / top
        point = State(problem, state.w + length * ray, state.b, state.m + length * margins)
        best = point if point.value < best.value else best
    return best


def _minimise_unattacked(problem: Problem, monitor: Monitor, max_iter: int) -> State:
    """Return the best point whose attacked weights are zero."""
    free = np.flatnonzero(problem.radius == 0)
    inner = replace(problem, X=problem.X[:, free], radius=np.zeros(len(free)), known={})
    # Tight, as whether the attacked weights stay zero depends on the gradient here.
    state = _Search(inner, max_iter).run(inner, Monitor(inner, 1e-3 * monitor.tol), None)
    w = np.zeros(len(problem.radius))
    w[free] = state.w
    return State(problem, w, state.b, state.m)
