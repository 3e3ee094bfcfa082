"""When to stop: the duality gap (finite C) or the stationarity residual (C = inf) of each point."""

from __future__ import annotations

import numpy as np

from sklearn_robust.linear_model._problem import Problem, State
from sklearn_robust.linear_model._solution import steepness


class Monitor:
    """Keeps the best lower bound seen and judges points by it.

    Attributes
    ----------
    gap : float
        (F - bound) / F at the last point checked. With C = inf, where nothing bounds F from below,
        the least subgradient relative to that at zero weights, both in units of the features; of a
        loss with a kink no less than the share of F that its smooth form leaves out.
    done : bool
        Whether gap <= tol, or no minimiser exists (`separable`).
    stop : bool
        Whether `done`, or the loss has a kink and its smooth form is minimised so well that the
        rest of the gap is due to the smoothing.
    separable : bool
        C = inf, and every sample has a positive robust margin: scaling w up lowers F for ever, if
        the loss goes on falling.
    """

    def __init__(self, problem: Problem, tol: float, verbose: int = 0) -> None:
        self.problem, self.tol, self.verbose = problem, tol, verbose
        self.bound, self.gap = -np.inf, np.inf
        self.done = self.stop = self.separable = False
        self.n_iter = 0
        self._scale: np.ndarray | None = None
        self._at_zero, self._steepness = 1.0, np.inf

    def check(self, state: State) -> tuple[np.ndarray, float]:
        """Judge `state`; return ``X^T (c a y)`` and ``sum c s`` there."""
        problem = self.problem
        bound, smooth_bound, g, S = problem.lower_bound(state)
        smooth = state.value
        if problem.loss.smoothing > 0:
            smooth = problem.smooth_value(state.m, state.t, state.w)
        if problem.lam > 0:
            self.bound = max(self.bound, bound)
            self.gap = (state.value - self.bound) / max(state.value, np.finfo(float).tiny)
        else:
            if self._scale is None:
                zero = State(problem, np.zeros_like(state.w), 0.0, np.zeros_like(state.m))
                pull = problem.correlate(problem.cy * zero.a)
                self._scale = problem.feature_scale()
                self._at_zero = max(steepness(pull, self._scale), np.finfo(float).tiny)
            self._steepness = steepness(problem.subgradient(state, g, S), self._scale)
            self._steepness /= self._at_zero
            # Of a smooth form that is flat here, the loss itself is no further above its minimum.
            above = (state.value - smooth) / max(state.value, np.finfo(float).tiny)
            self.gap = max(self._steepness, above)
            self.separable = problem.loss.falls_for_ever and bool((state.m > state.t).all())
        self.done = self.gap <= self.tol or self.separable
        self.stop = self.done or self._smooth_is_solved(state, smooth, smooth_bound)
        self.n_iter += 1
        if self.verbose:
            print(
                f"check {self.n_iter:3d}  objective {state.value:.9g}  gap {self.gap:.2e}  "
                f"non-zero {np.count_nonzero(state.w)}"
            )
        return g, S

    def _smooth_is_solved(self, state: State, smooth: float, smooth_bound: float) -> bool:
        if self.problem.loss.smoothing == 0:
            return False
        if self.problem.lam == 0:
            return self._steepness <= self.tol
        return smooth - smooth_bound <= 0.1 * max(state.value - smooth, self.target(state))

    def target(self, state: State) -> float:
        """Return how far above the minimum F may stay, in its own units."""
        return self.tol * state.value
