r"""The exact solver of multinomial models: truncated Newton on a smooth function below the bound.

With ``z_kl = epsilon * (w_k - w_l)`` and an estimate u0 of the point of the unit ball at which
``T = max u . z`` is attained, the lengths T in the objective of `_multinomial_problem` become

.. math:: \tilde T(z) = \max_{\|u\|_p \le 1} u \cdot z - \tfrac{\mu}{2} \|u - u_0\|^2 \;\le\; T(z),

and u0 moves to the maximiser, as in the method of multipliers, so that mu need not vanish.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust.linear_model._multinomial_newton import Model, coupling, inverse_blocks
from sklearn_robust.linear_model._multinomial_problem import Multinomial
from sklearn_robust.linear_model._solution import Solution, prepare, steepness

_ROUNDS = 300  # moves of u0
_STEPS = 4  # at one u0
# From one u0 to the next mu shrinks by the first factor, down to the last one times a typical z;
# where the steps did not suffice, as a small mu makes for many kinks, it grows by the second.
_SHRINK, _GROW, _LEAST = 0.7, 1.5, 1e-3
_FORCING = 0.1
# Newton steps of the intercepts alone, at the most, and the imbalance that is taken for rounding.
_CENTRINGS, _BALANCED = 30, 1e-13
_PATIENCE = 3  # rounds without an adversary in which neither F nor the gap falls


def solve_multinomial(
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    epsilon: Any,
    norm: str = "linf",
    C: float = 1.0,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int = 10_000,
    n_classes: int | None = None,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    verbose: int = 0,
) -> Solution:
    """Minimise the upper bound; arguments as in `_exact.solve`, y the class of each sample.

    With an intercept each class must have a positive weight. `n_classes` None: as many as y has.
    """
    n_classes = int(y.max()) + 1 if n_classes is None else n_classes
    data = prepare(X, y, sample_weight, epsilon, C)
    problem = Multinomial(
        **data._asdict(), norm=norm, fit_intercept=fit_intercept, n_classes=n_classes
    )
    run = _Run(problem, tol, verbose)
    run.minimise(max_iter, start)
    run.return_to_best()
    intercept = run.b - run.W @ problem.mean
    return Solution(
        coef=run.W,
        intercept=intercept - intercept.mean() if fit_intercept else intercept,
        objective=run.value,
        dual_gap=run.gap,
        n_iter=run.n_iter,
        converged=run.gap <= tol and not run.separable,
        separable=run.separable,
    )


class _Run:
    """One minimisation: the best point, its gap, and the multipliers u0."""

    def __init__(self, problem: Multinomial, tol: float, verbose: int) -> None:
        self.problem, self.tol, self.verbose = problem, tol, verbose
        self.W, self.b = np.zeros((problem.K, problem.X.shape[1])), np.zeros(problem.K)
        self.scores = np.zeros((len(problem.y), problem.K))  # X W'
        self.u0 = np.zeros((len(problem.first), problem.X.shape[1]))
        self.mu, self.factor = 0.0, 1.0
        self.bound, self.gap, self.value = -np.inf, np.inf, np.inf
        self.n_iter, self.separable = 0, False
        self._at_zero = 0.0  # steepness at W = 0, once it is asked for
        self._best: tuple[float, float, np.ndarray, np.ndarray] | None = None

    @property
    def done(self) -> bool:
        """Whether the gap is within tol, or there is no minimiser."""
        return self.gap <= self.tol or self.separable

    def minimise(self, max_iter: int, start: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Alternate Newton at fixed u0 with moves of u0."""
        problem = self.problem
        if problem.fit_intercept:
            self.b = np.log(problem.share)
        if start is not None:
            self.W = np.array(start[0], dtype=float)
            self.b = start[1] + self.W @ problem.mean
            self.scores = problem.scores(self.W)
        self._check()
        stuck = 0
        for _ in range(_ROUNDS):
            if self.done or self.n_iter >= max_iter or stuck == _PATIENCE:
                return
            self._move_u0()
            gap, value = self.gap, self.value
            solved = self._newton(min(_STEPS, max_iter - self.n_iter))
            self.factor = _SHRINK if solved else _GROW
            self._check()
            # The relative gap may rise while F falls. Where neither falls, rounding is left.
            fell = self.gap < gap or self.value < value
            stuck = 0 if fell or problem.attacked else stuck + 1

    def return_to_best(self) -> None:
        """Take the best point seen if the last one is neither it nor good enough."""
        if self._best is not None and not self.done and self._best[0] < self.value:
            self.value, self.gap, self.W, self.b = self._best

    def _move_u0(self) -> None:
        """Move u0 to the maximiser, and choose mu so that typical pairs are within its reach."""
        problem = self.problem
        if not problem.attacked:
            return
        z = problem.z(self.W)
        size = float(np.sqrt((z**2).mean()))
        if size == 0:
            # As long as a step along the gradient at zero is expected to be.
            spreads = problem.spreads
            usual = np.sqrt(spreads[spreads > 0].mean()) if spreads.any() else 1.0
            self.mu = float(problem.radius.max() / usual)
        else:
            self.mu = max(self.factor * self.mu, _LEAST * size) if self.mu else size
        self.u0 = problem.nearest(self.u0 + z / self.mu)

    def _newton(self, n_steps: int) -> bool:
        """Minimise the smooth function for this u0; return whether the rest of the gap is its."""
        problem = self.problem
        value, D, u = self._smooth_centred()
        for _ in range(n_steps):
            gW = self._gradient(D, u)
            model = Model(problem, D, u, self.u0 + self._scaled(self.W), self.mu)
            dW, db = model.minimise(gW, _FORCING, problem.lam * self.tol * value)
            slope = float((gW * dW).sum())
            if not slope < 0 or not self._line_search(dW, db, value, slope):
                return True
            self.n_iter += 1
            value, D, u = self._smooth_centred()
            lengths = problem.lengths(problem.z(self.W))
            exact = problem.value(problem.exponents(self.scores + self.b, lengths), self.W)[0]
            if -slope < 0.1 * max(exact - value, 0.1 * self.tol * exact):
                return True
        return False

    def _line_search(self, dW: np.ndarray, db: np.ndarray, value: float, slope: float) -> bool:
        """Go to the first point on shrinking steps that is low enough (Armijo), if there is one."""
        moved, length = self.problem.scores(dW), 1.0
        while length > 1e-10:
            scores, W, b = self.scores + length * moved, self.W + length * dW, self.b + length * db
            new = self._smooth(scores + b, W)[0]
            if new <= value + 1e-4 * length * slope + 4 * np.finfo(float).eps * abs(value):
                self.W, self.b, self.scores = W, b, scores
                return True
            length /= 2
        return False

    def _smooth_centred(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Return `_smooth` at this W and the best b for it."""
        u, T = self._smooth_lengths(self.W)
        _, value, D = self._centre(T)
        return value, D, u

    def _gradient(self, D: np.ndarray, u: np.ndarray) -> np.ndarray:
        problem = self.problem
        gW = problem.lam * self.W + problem.pull(problem.residual(D))
        if problem.attacked:
            gW += problem.spread(problem.pair_weights(D)[:, None] * problem.radius * u)
        return gW

    def _scaled(self, W: np.ndarray) -> np.ndarray:
        return self.problem.z(W) / self.mu if self.problem.attacked else np.zeros_like(self.u0)

    def _smooth(self, scores: np.ndarray, W: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the smooth function, p - Y and the maximisers u at scores and weights."""
        u, T = self._smooth_lengths(W)
        value, D = self.problem.value(self.problem.exponents(scores, T), W)
        return value, D, u

    def _smooth_lengths(self, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the maximisers u and the smooth lengths at weights."""
        problem = self.problem
        if not problem.attacked or self.mu == 0:
            return self.u0, np.zeros(len(self.u0))
        z = problem.z(W)
        u = problem.nearest(self.u0 + z / self.mu)
        return u, (u * z).sum(axis=1) - 0.5 * self.mu * ((u - self.u0) ** 2).sum(axis=1)

    def _check(self) -> None:
        """Judge the point."""
        problem = self.problem
        lengths = problem.lengths(problem.z(self.W))
        exponents, self.value, D = self._centre(lengths)
        u = self._smooth_lengths(self.W)[0]
        if problem.lam > 0:
            self.bound = max(self.bound, problem.lower_bound(D, u)[0])
            self.gap = (self.value - self.bound) / max(self.value, np.finfo(float).tiny)
        else:
            self.gap = self._stationarity(D, u)
            exponents[problem.each, problem.y] = -np.inf
            self.separable = bool((exponents.max(axis=1) < 0).all())
        if self._best is None or self.value < self._best[0]:
            self._best = self.value, self.gap, self.W, self.b
        if self.verbose:
            print(f"iteration {self.n_iter:5d}  objective {self.value:.9g}  gap {self.gap:.2e}")

    def _stationarity(self, D: np.ndarray, u: np.ndarray) -> float:
        """Return how far the point is from a minimum where there is no certificate.

        The larger of two shares: of the largest entry of a gradient with some u in that of the
        clean loss at 0, both in units of the features, and of what these u fall short of the
        lengths T in F. A minimum has both 0.
        """
        problem = self.problem
        pull, scale = problem.pull(problem.residual(D)), problem.feature_scale
        if self._at_zero == 0:
            at_zero = problem.pull(problem.residual(problem.share - problem.label))
            self._at_zero = max(steepness(at_zero, scale), np.finfo(float).tiny)
        if not problem.attacked:
            return steepness(pull, scale) / self._at_zero
        weights, z = problem.pair_weights(D), problem.z(self.W)
        lengths = problem.lengths(z)
        own = pull + problem.spread(weights[:, None] * problem.radius * u)
        found = []
        for fitted, gradient in ((u, own), problem.fit(pull, weights, u)):
            short = float(weights @ (lengths - (fitted * z).sum(axis=1)))
            steep = steepness(gradient, scale) / self._at_zero
            found.append(max(steep, short / max(self.value, np.finfo(float).tiny)))
        return min(found)

    def _centre(self, T: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Move b to its best value by Newton's method; return exponents, F and p - Y there.

        Along a step that moves no intercept by more than 1, F falls.
        """
        problem = self.problem
        exponents = problem.exponents(self.scores + self.b, T)
        value, D = problem.value(exponents, self.W)
        off = _imbalance(problem.flows(D)) if problem.fit_intercept else 0.0
        for _ in range(_CENTRINGS):
            if off <= _BALANCED:
                break
            step = inverse_blocks(coupling(problem.c, D + problem.label)) @ (problem.c @ D)
            far = float(np.ptp(step))
            b = self.b - step / max(1.0, far)
            new = problem.exponents(self.scores + b, T)
            new_value, new_D = problem.value(new, self.W)
            before, off = off, _imbalance(problem.flows(new_D))
            if far <= 1 and not off < before:
                break
            self.b, exponents, value, D = b, new, new_value, new_D
        return exponents, value, D


def _imbalance(flows: np.ndarray) -> float:
    """Return the largest excess of a class, as a share of what p gives to it or takes from it."""
    given, taken = flows.sum(axis=0), flows.sum(axis=1)
    return float((abs(given - taken) / np.maximum(given + taken, np.finfo(float).tiny)).max())
