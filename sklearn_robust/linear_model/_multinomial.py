r"""The exact solver of multinomial models: the standard upper bound on the worst case, certified.

The worst case of the multinomial loss maximises a convex function over the ball and has no closed
form. Bounding each pair of classes by its own worst case gives

.. math:: F(W, b) = \sum_i c_i \log \sum_k \exp(f_k(x_i) - f_{y_i}(x_i) + T_{k y_i})
          + \tfrac{\lambda}{2} \|W\|^2, \qquad T_{kl} = \|\epsilon \circ (w_k - w_l)\|_q,

convex, and the worst case itself for two classes. It is minimised by L-BFGS (by Newton's method
where the parameters are few) on a smooth function that touches it: with
``z_kl = epsilon * (w_k - w_l)`` and an estimate u0 of the point of the unit ball at which
``T = max u . z`` is attained,

.. math:: \tilde T(z) = \max_{\|u\|_p \le 1} u \cdot z - \tfrac{\mu}{2} \|u - u_0\|^2 \;\le\; T(z),

and u0 moves to the maximiser, as in the method of multipliers, so that mu need not vanish.

**Certificate.** For any distributions p_i with ``sum_i c_i (p_i - onehot(y_i)) = 0`` and any u_kl
in the unit ball, u_kl = -u_lk,

.. math:: \min F \ge \sum_i c_i H(p_i) - \frac{1}{2 \lambda} \Big\| X^T (c (p - Y))
          + \Big(\sum_l P_{kl} \, \epsilon \circ u_{kl}\Big)_k \Big\|^2,

with H the entropy and P_kl the weight that p gives to k on samples of l, and to l on those of k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import entr, logsumexp, softmax

from sklearn_robust.linear_model._multinomial_newton import newton_step
from sklearn_robust.linear_model._problem import dual_length, project

_CHECK_EVERY = 10
_MEMORY = 20
_ROUNDS = 100  # moves of u0
_SWEEPS = 20  # over the pairs, to fit u to the certificate
_NEWTON_STEPS = 20  # at one u0
# Parameters up to which Newton's method is used: its cost grows with their cube.
_NEWTON_CAP = 1000


@dataclass
class MultinomialSolution:
    """What the solver found, and how good it is."""

    coef: np.ndarray  # (n_classes, n_features)
    intercept: np.ndarray  # (n_classes,), sum 0
    objective: float  # F, with weights that sum to 1
    dual_gap: float  # relative; with C=inf the relative gradient of the smooth function
    n_iter: int  # L-BFGS iterations
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
    return MultinomialSolution(
        coef=run.W,
        intercept=run.b - run.b.mean(),
        objective=run.value,
        dual_gap=run.gap,
        n_iter=run.n_iter,
        converged=run.gap <= tol and not run.separable,
        separable=run.separable,
    )


class Multinomial:
    """Data, and the formulas of the module's docstring."""

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        c: np.ndarray,
        radius: np.ndarray,
        norm: str,
        lam: float,
        fit_intercept: bool,
        n_classes: int,
    ) -> None:
        self.X, self.XT, self.y, self.c, self.lam = X, X.T, y, c, lam
        self.radius, self.norm, self.fit_intercept = radius, norm, fit_intercept
        self.K = n_classes
        self.each = np.arange(len(y))
        self.share = np.bincount(y, c, minlength=n_classes)
        rows, columns = np.triu_indices(n_classes, 1)
        self.first, self.second = rows, columns
        # Rows are pairs, columns classes: w_k - w_l for all pairs is this matrix times W.
        self.pairs = np.zeros((len(rows), n_classes))
        self.pairs[np.arange(len(rows)), rows] = 1
        self.pairs[np.arange(len(rows)), columns] = -1
        self.attacked = bool(radius.any())

    def z(self, W: np.ndarray) -> np.ndarray:
        """Return ``epsilon * (w_k - w_l)`` for each pair."""
        return (self.pairs @ W) * self.radius

    def lengths(self, z: np.ndarray) -> np.ndarray:
        """Return T of each pair."""
        return np.array([dual_length(self.norm, row) for row in z])

    def table(self, per_pair: np.ndarray) -> np.ndarray:
        """Return values of pairs as a symmetric (K, K) matrix."""
        out = np.zeros((self.K, self.K))
        out[self.first, self.second] = out[self.second, self.first] = per_pair
        return out

    def exponents(self, scores: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Return ``f_k - f_y + T_ky`` of each sample and class."""
        return scores - scores[self.each, self.y][:, None] + self.table(T)[self.y]

    def value(self, exponents: np.ndarray, W: np.ndarray) -> float:
        """Return F."""
        loss = float(self.c @ logsumexp(exponents, axis=1))
        return loss + 0.5 * self.lam * float((W**2).sum())

    def residual(self, p: np.ndarray) -> np.ndarray:
        """Return ``c (p - Y)``."""
        out = p.copy()
        out[self.each, self.y] -= 1
        return out * self.c[:, None]

    def pair_weights(self, p: np.ndarray) -> np.ndarray:
        """Return P of each pair."""
        sums = np.zeros((self.K, self.K))
        for k in range(self.K):
            rows = self.y == k
            sums[k] = self.c[rows] @ p[rows]
        return sums[self.first, self.second] + sums[self.second, self.first]

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the projection of each pair's point onto the unit ball of the adversary."""
        if self.norm == "linf":
            return points.clip(-1, 1)
        one = np.ones(points.shape[1])
        return np.array([project(self.norm, row, one) for row in points])

    def balance(self, p: np.ndarray) -> np.ndarray:
        """Return distributions near p with ``sum c p`` the shares of the classes.

        p is mixed with one distribution common to all samples, with the least weight that serves.
        """
        if not self.fit_intercept:
            return p
        excess = self.c @ p - self.share
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(excess > 0, excess / (self.share + excess), 0.0)
        theta = min(1.0, float(needed.max()) * (1 + 1e-12) + 1e-15)
        if theta <= 1e-15:
            return p
        common = np.maximum(self.share - (1 - theta) / theta * excess, 0)
        return (1 - theta) * p + theta * common / common.sum()

    def lower_bound(self, p: np.ndarray, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the certificate's bound and the u it was found with, fitted from the given one."""
        p = self.balance(p)
        rest = np.asarray(self.XT @ self.residual(p)).T
        if self.attacked:
            reach = self.pair_weights(p)[:, None] * self.radius
            u, rest = self._fit(rest + self.pairs.T @ (reach * u), u, reach)
        entropy = float(self.c @ entr(p).sum(axis=1))
        return entropy - float((rest**2).sum()) / (2 * self.lam), u

    def _fit(
        self, rest: np.ndarray, u: np.ndarray, reach: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower ``|rest|`` by moving one pair's u after the other to its best value."""
        u, best = u.copy(), float((rest**2).sum())
        safe = np.where(reach > 0, reach, 1.0)
        for _ in range(_SWEEPS):
            for i, (k, other) in enumerate(zip(self.first, self.second, strict=True)):
                v = reach[i] * u[i]
                target = v - (rest[k] - rest[other]) / 2
                new = project(self.norm, target, reach[i])
                rest[k] += new - v
                rest[other] -= new - v
                u[i] = np.where(reach[i] > 0, new / safe[i], u[i])
            now = float((rest**2).sum())
            if now > 0.9 * best:
                break
            best = now
        return u, rest


class _Run:
    """One minimisation: the best point, its gap, and the multipliers u0."""

    def __init__(self, problem: Multinomial, tol: float, verbose: int) -> None:
        self.problem, self.tol, self.verbose = problem, tol, verbose
        self.shape = (problem.K, problem.X.shape[1])
        self.W, self.b = np.zeros(self.shape), np.zeros(problem.K)
        self.u0 = np.zeros((len(problem.pairs), self.shape[1]))
        self.mu = 1.0
        self.bound, self.gap, self.value = -np.inf, np.inf, np.inf
        self.n_iter, self.separable = 0, False
        self.scale = self._scale()
        self._gradient_at_zero: float | None = None

    @property
    def done(self) -> bool:
        return self.gap <= self.tol or self.separable

    def minimise(self, max_iter: int, start: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Alternate L-BFGS at fixed u0 with moves of u0."""
        problem = self.problem
        if problem.fit_intercept:
            self.b = np.log(problem.share)
        if start is not None:
            self.W, self.b = np.array(start[0], dtype=float), np.array(start[1], dtype=float)
        self._check(self.W, self.b)
        for _ in range(_ROUNDS):
            if self.done or self.n_iter >= max_iter:
                return
            few = problem.K * (self.shape[1] + 1) <= _NEWTON_CAP
            self._set_smoothing(0.2 if few else 0.5)
            before = self.gap
            (self._newton if few else self._lbfgs)(max_iter - self.n_iter)
            if not problem.attacked and not self.gap < before:
                return  # nothing is left but rounding

    def _set_smoothing(self, shrink: float) -> None:
        """Move u0 to the maximiser, and choose mu so that typical pairs are within its reach."""
        problem = self.problem
        if not problem.attacked:
            return
        z = problem.z(self.W)
        if z.any():
            size = float(np.sqrt((z**2).mean()))
            self.mu = size if self.mu == 1.0 else max(shrink * self.mu, 1e-3 * size)
        else:
            self.mu = float(problem.radius.max() * self.scale.max())
        self.u0 = problem.nearest(self.u0 + z / self.mu)

    def _evaluate(
        self, scores: np.ndarray, W: np.ndarray, b: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the smooth function, its gradient by W and b, and p and u there."""
        problem = self.problem
        u, T = self._smooth(problem.z(W))
        exponents = problem.exponents(scores + b, T)
        p = softmax(exponents, axis=1)
        residual = problem.residual(p)
        gW = problem.lam * W + np.asarray(problem.XT @ residual).T
        if problem.attacked:
            gW += problem.pairs.T @ (problem.pair_weights(p)[:, None] * problem.radius * u)
        gb = residual.sum(axis=0) if problem.fit_intercept else np.zeros(problem.K)
        return problem.value(exponents, W), gW, gb, p, u

    def _newton(self, max_iter: int) -> None:
        problem = self.problem
        for _ in range(min(max_iter, _NEWTON_STEPS)):
            W, b, scores = self.W, self.b, problem.X @ self.W.T
            value, gW, gb, p, u = self._evaluate(scores, W, b)
            shifted = self.u0 + problem.z(W) / self.mu
            dW, db, slope = newton_step(problem, p, u, shifted, self.mu, gW, gb)
            moved, length = problem.X @ dW.T, 1.0
            while length > 1e-10:
                T = self._smooth(problem.z(W + length * dW))[1]
                exponents = problem.exponents(scores + length * moved + b + length * db, T)
                new = problem.value(exponents, W + length * dW)
                if new <= value + 1e-4 * length * slope + 4 * np.finfo(float).eps * abs(value):
                    break
                length /= 2
            self.n_iter += 1
            self._check(W + length * dW, b + length * db)
            if self.done or -slope < 0.1 * max(self.value - new, 0.1 * self.tol * self.value):
                return

    def _lbfgs(self, max_iter: int) -> None:
        problem, n_weights, step = self.problem, self.W.size, self.scale
        count = [0]

        def function(x: np.ndarray) -> tuple[float, np.ndarray]:
            W, b = step * x[:n_weights].reshape(self.shape), x[n_weights:]
            value, gW, gb, _, _ = self._evaluate(problem.X @ W.T, W, b)
            return value, np.concatenate([(step * gW).ravel(), gb])

        def look(intermediate_result: Any) -> None:
            count[0] += 1
            self.n_iter += 1
            if count[0] % _CHECK_EVERY == 0:
                x = intermediate_result.x
                self._check(step * x[:n_weights].reshape(self.shape), x[n_weights:])
                if self.done or self._smooth_enough(intermediate_result.fun):
                    raise StopIteration

        result = minimize(
            function,
            np.concatenate([(self.W / step).ravel(), self.b]),
            jac=True,
            method="L-BFGS-B",
            callback=look,
            options={
                "maxiter": max_iter,
                "maxfun": 2 * max_iter + 20,
                "ftol": 0.0,
                "gtol": 1e-14,
                "maxcor": _MEMORY,
            },
        )
        if not self.done:
            x = result.x
            self._check(step * x[:n_weights].reshape(self.shape), x[n_weights:])

    def _smooth(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the maximiser u and the smooth T of each pair."""
        if not self.problem.attacked:
            return self.u0, np.zeros(len(z))
        u = self.problem.nearest(self.u0 + z / self.mu)
        return u, (u * z).sum(axis=1) - 0.5 * self.mu * ((u - self.u0) ** 2).sum(axis=1)

    def _smooth_enough(self, smooth_value: float) -> bool:
        """Whether most of the gap is due to u0, so that it should move."""
        if not self.problem.attacked or not np.isfinite(self.gap):
            return False
        return self.value - smooth_value > 0.3 * self.gap * self.value

    def _check(self, W: np.ndarray, b: np.ndarray) -> None:
        """Judge a point and keep it."""
        problem = self.problem
        z, scores = problem.z(W), problem.X @ W.T
        T = problem.lengths(z)
        b, exponents = self._centre(scores, b, T)
        self.W, self.b, self.value = W, b, problem.value(exponents, W)
        p = softmax(exponents, axis=1)
        u = self._smooth(z)[0]
        if problem.lam > 0:
            bound, _ = problem.lower_bound(p, u)
            self.bound = max(self.bound, bound)
            self.gap = (self.value - self.bound) / max(self.value, np.finfo(float).tiny)
        else:
            self.gap = self._stationarity(p, u)
            exponents[problem.each, problem.y] = -np.inf
            self.separable = bool((exponents.max(axis=1) < 0).all())
        if self.verbose:
            print(f"iteration {self.n_iter:5d}  objective {self.value:.9g}  gap {self.gap:.2e}")

    def _stationarity(self, p: np.ndarray, u: np.ndarray) -> float:
        """Return the largest entry of a subgradient relative to that of the clean loss at 0."""
        problem = self.problem
        gradient = np.asarray(problem.XT @ problem.residual(p)).T
        if problem.attacked:
            reach = problem.pair_weights(p)[:, None] * problem.radius
            gradient = problem._fit(gradient + problem.pairs.T @ (reach * u), u, reach)[1]
        if self._gradient_at_zero is None:
            prior = np.broadcast_to(problem.share, p.shape)
            at_zero = np.asarray(problem.XT @ problem.residual(np.array(prior)))
            self._gradient_at_zero = max(float(abs(at_zero).max()), np.finfo(float).tiny)
        return float(abs(gradient).max()) / self._gradient_at_zero

    def _centre(
        self, scores: np.ndarray, b: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Improve b for these weights by two Newton steps, so that the classes balance."""
        problem = self.problem
        exponents = problem.exponents(scores + b, T)
        for _ in range(2 if problem.fit_intercept else 0):
            p = softmax(exponents, axis=1)
            excess = problem.c @ p - problem.share
            H = np.diag(problem.c @ p) - p.T @ (p * problem.c[:, None])
            moved = b - np.linalg.lstsq(H, excess, rcond=1e-12)[0]
            new = problem.exponents(scores + moved, T)
            off = abs(problem.c @ softmax(new, axis=1) - problem.share).max()
            if not off < abs(excess).max():
                break
            b, exponents = moved, new
        return b, exponents

    def _scale(self) -> np.ndarray:
        """Return 1 / sqrt(curvature) of F along each feature at W = 0."""
        problem = self.problem
        K = problem.K
        if sparse.issparse(problem.X):
            squares = problem.X.multiply(problem.X).T @ problem.c
        else:
            squares = np.einsum("ij,ij,i->j", problem.X, problem.X, problem.c)
        curvature = squares * (K - 1) / K**2 + problem.lam
        top = curvature.max()
        if not top > 0:
            return np.ones(len(curvature))
        return 1 / np.sqrt(np.maximum(curvature, 1e-12 * top))
