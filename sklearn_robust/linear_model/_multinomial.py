r"""The exact solver of multinomial models: truncated Newton on a smooth function below the bound.

With ``z_kl = epsilon * (w_k - w_l)`` and an estimate u0 of the point of the unit ball at which
``T = max u . z`` is attained, the lengths T in the objective of `_multinomial_problem` become

.. math:: \tilde T(z) = \max_{\|u\|_p \le 1} u \cdot z - \tfrac{\mu}{2} \|u - u_0\|^2 \;\le\; T(z),

and u0 moves to the maximiser, as in the method of multipliers, so that mu need not vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust.linear_model._multinomial_newton import Model
from sklearn_robust.linear_model._multinomial_problem import Multinomial
from sklearn_robust.linear_model._problem import steepness

_ROUNDS = 300  # moves of u0
_STEPS = 4  # at one u0
# From one u0 to the next mu shrinks by the first factor, down to the last one times a typical z;
# where the steps did not suffice, as a small mu makes for many kinks, it grows by the second.
_SHRINK, _GROW, _LEAST = 0.7, 1.5, 1e-3
_FORCING = 0.1


@dataclass
class MultinomialSolution:
    """What the solver found, and how good it is."""

    coef: np.ndarray  # (n_classes, n_features)
    intercept: np.ndarray  # (n_classes,), sum 0
    objective: float  # F, with weights that sum to 1
    dual_gap: float  # relative; with C=inf what `_Run._stationarity` says
    n_iter: int  # Newton steps
    converged: bool
    separable: bool


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
    start: tuple[np.ndarray, np.ndarray] | None = None,
    verbose: int = 0,
) -> MultinomialSolution:
    """Minimise the upper bound; arguments as in `_exact.solve`, y the class of each sample."""
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    n_classes = int(y.max()) + 1
    if (weight == 0).any():
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    X = X.tocsr().astype(float, copy=False) if sparse.issparse(X) else np.asarray(X, dtype=float)
    total = float(weight.sum())
    radius = np.broadcast_to(np.asarray(epsilon, dtype=float), X.shape[1:])
    problem = Multinomial(
        X, y, weight / total, radius, norm, 1 / (C * total), fit_intercept, n_classes
    )
    run = _Run(problem, tol, verbose)
    run.minimise(max_iter, start)
    run.return_to_best()
    return MultinomialSolution(
        coef=run.W,
        intercept=run.b - run.b.mean(),
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
        self._feature_scale: np.ndarray | None = None
        self._at_zero = 1.0
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
            self.W, self.b = np.array(start[0], dtype=float), np.array(start[1], dtype=float)
            self.scores = np.asarray(problem.X @ self.W.T)
        self._check()
        for _ in range(_ROUNDS):
            if self.done or self.n_iter >= max_iter:
                return
            self._move_u0()
            before = self.gap
            solved = self._newton(min(_STEPS, max_iter - self.n_iter))
            self.factor = _SHRINK if solved else _GROW
            self._check()
            if not problem.attacked and not self.gap < before:
                return  # nothing is left but rounding

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
            squares = problem.column_squares()
            usual = np.sqrt(squares[squares > 0].mean()) if squares.any() else 1.0
            self.mu = float(problem.radius.max() / usual)
        else:
            self.mu = max(self.factor * self.mu, _LEAST * size) if self.mu else size
        self.u0 = problem.nearest(self.u0 + z / self.mu)

    def _newton(self, n_steps: int) -> bool:
        """Minimise the smooth function for this u0; return whether the rest of the gap is its."""
        problem = self.problem
        value, p, u = self._smooth(self.scores + self.b, self.W)
        for _ in range(n_steps):
            gW = self._gradient(p, u)
            model = Model(problem, p, u, self.u0 + self._scaled(self.W), self.mu)
            dW, db = model.minimise(gW, _FORCING, problem.lam * self.tol * value)
            gb = problem.residual(p).sum(axis=0) if problem.fit_intercept else np.zeros(problem.K)
            slope = float((gW * dW).sum() + gb @ db)
            if not slope < 0:
                return True
            moved, length = np.asarray(problem.X @ dW.T), 1.0
            while length > 1e-10:
                scores, W = self.scores + length * moved, self.W + length * dW
                b = self.b + length * db
                new, p, u = self._smooth(scores + b, W)
                if new <= value + 1e-4 * length * slope + 4 * np.finfo(float).eps * abs(value):
                    break
                length /= 2
            self.W, self.b, self.scores, value = W, b, scores, new
            self.n_iter += 1
            exact = problem.value(problem.exponents(scores + b, problem.lengths(problem.z(W))), W)[
                0
            ]
            if -slope < 0.1 * max(exact - new, 0.1 * self.tol * exact):
                return True
        return False

    def _gradient(self, p: np.ndarray, u: np.ndarray) -> np.ndarray:
        problem = self.problem
        gW = problem.lam * self.W + np.asarray(problem.XT @ problem.residual(p)).T
        if problem.attacked:
            gW += problem.spread(problem.pair_weights(p)[:, None] * problem.radius * u)
        return gW

    def _scaled(self, W: np.ndarray) -> np.ndarray:
        return self.problem.z(W) / self.mu if self.problem.attacked else np.zeros_like(self.u0)

    def _smooth(self, scores: np.ndarray, W: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the smooth function, p and the maximisers u at scores and weights."""
        problem = self.problem
        u, T = self.u0, np.zeros(len(self.u0))
        if problem.attacked:
            z = problem.z(W)
            u = problem.nearest(self.u0 + z / self.mu)
            T = (u * z).sum(axis=1) - 0.5 * self.mu * ((u - self.u0) ** 2).sum(axis=1)
        value, p = problem.value(problem.exponents(scores, T), W)
        return value, p, u

    def _check(self) -> None:
        """Judge the point."""
        problem = self.problem
        exponents = self._centre(problem.lengths(problem.z(self.W)))
        self.value, p = problem.value(exponents, self.W)
        u = self._smooth(self.scores + self.b, self.W)[2] if self.mu else self.u0
        if problem.lam > 0:
            self.bound = max(self.bound, problem.lower_bound(p, u)[0])
            self.gap = (self.value - self.bound) / max(self.value, np.finfo(float).tiny)
        else:
            self.gap = self._stationarity(p, u)
            exponents[problem.each, problem.y] = -np.inf
            self.separable = bool((exponents.max(axis=1) < 0).all())
        if self._best is None or self.value < self._best[0]:
            self._best = self.value, self.gap, self.W, self.b
        if self.verbose:
            print(f"iteration {self.n_iter:5d}  objective {self.value:.9g}  gap {self.gap:.2e}")

    def _stationarity(self, p: np.ndarray, u: np.ndarray) -> float:
        """Return how far the point is from a minimum where there is no certificate.

        The larger of two shares: of the largest entry of a gradient with some u in that of the
        clean loss at 0, both in units of the features, and of what these u fall short of the
        lengths T in F. A minimum has both 0.
        """
        problem = self.problem
        pull = np.asarray(problem.XT @ problem.residual(p)).T
        if self._feature_scale is None:
            prior = np.broadcast_to(problem.share, p.shape)
            at_zero = np.asarray(problem.XT @ problem.residual(prior)).T
            self._feature_scale = problem.feature_scale()
            steep = steepness(at_zero, self._feature_scale)
            self._at_zero = max(steep, np.finfo(float).tiny)
        if not problem.attacked:
            return steepness(pull, self._feature_scale) / self._at_zero
        weights, z = problem.pair_weights(p), problem.z(self.W)
        lengths = problem.lengths(z)
        own = pull + problem.spread(weights[:, None] * problem.radius * u)
        found = []
        for fitted, gradient in ((u, own), problem.fit(pull, weights, u)):
            short = float(weights @ (lengths - (fitted * z).sum(axis=1)))
            steep = steepness(gradient, self._feature_scale) / self._at_zero
            found.append(max(steep, short / max(self.value, np.finfo(float).tiny)))
        return min(found)

    def _centre(self, T: np.ndarray) -> np.ndarray:
        """Improve b by two Newton steps, so that the classes balance; return the exponents."""
        problem = self.problem
        exponents = problem.exponents(self.scores + self.b, T)
        for _ in range(2 if problem.fit_intercept else 0):
            p = problem.value(exponents, self.W)[1]
            excess = problem.c @ p - problem.share
            H = np.diag(problem.c @ p) - p.T @ (p * problem.c[:, None])
            moved = self.b - np.linalg.lstsq(H, excess, rcond=1e-12)[0]
            new = problem.exponents(self.scores + moved, T)
            off = abs(problem.c @ problem.value(new, self.W)[1] - problem.share).max()
            if not off < abs(excess).max():
                break
            self.b, exponents = moved, new
        return exponents
