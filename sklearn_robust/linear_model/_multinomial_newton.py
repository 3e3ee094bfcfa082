r"""Truncated Newton for the multinomial problem at fixed u0: a step by conjugate gradients.

With ``J_i`` the derivative of the exponents of sample i by all parameters, ``p_i`` its softmax and
``M_i = diag(p_i) - p_i p_i'``, the (generalised) Hessian is

.. math:: \sum_i c_i J_i^T M_i J_i + \sum_{k < l} P_{kl} \nabla^2 \tilde T_{kl} + \lambda I ,

and the derivative of the k-th exponent is x_i in the block of w_k plus that of T for the pair of k
and the label. (That of the label's own score cancels, as M_i has constants in its kernel.) The
pairs couple the classes of one feature, the more the smaller mu is, and the preconditioner is one
block of K x K for each feature.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust.linear_model._multinomial_problem import UNDERFLOW, Multinomial
from sklearn_robust.linear_model._quadratic import solve_positive

# Products in one step of conjugate gradients; where they do not suffice, and there are no more
# coefficients than the second number, the Hessian is built from one product for each of them.
_MAX_PRODUCTS, _MAX_DIRECT = 200, 1000
_ROUNDED = 1e-14


class Model:
    """The quadratic model at a point with softmax p, whose pairs have projected `shifted` to u."""

    def __init__(
        self, problem: Multinomial, D: np.ndarray, u: np.ndarray, shifted: np.ndarray, mu: float
    ) -> None:
        self.problem, self.u, self.n_products = problem, u, 0
        self.p = D + problem.label
        self.cp = problem.c[:, None] * self.p
        self.mean = coupling(problem.c, self.p)
        # A common shift of all intercepts changes nothing.
        self.bb = inverse_blocks(self.mean)
        self.bend: np.ndarray | None = None
        if problem.attacked:
            self.bend = problem.pair_weights(D)[:, None] / mu
            self.slopes = _Projection(problem.norm, u, shifted)
        self.inverse = self._preconditioner()

    def minimise(
        self, gW: np.ndarray, forcing: float, enough: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a step of W and b that reduces the residual by `forcing`, or below `enough`."""
        step, b, rest = np.zeros_like(gW), np.zeros(len(gW)), -gW
        scaled = self._scale(rest)
        direction, length = scaled, float((rest * scaled).sum())
        target = forcing**2 * length
        while length > target and (rest**2).sum() > enough:
            H, db = self.product(direction)
            curvature = float((direction * H).sum())
            if self.n_products > _MAX_PRODUCTS or not curvature > 0:
                return self._directly(gW) if gW.size <= _MAX_DIRECT else (step, b)
            along = length / curvature
            step += along * direction
            b += along * db
            rest = rest - along * H
            scaled = self._scale(rest)
            last, length = length, float((rest * scaled).sum())
            direction = scaled + (length / last) * direction
        return step, b

    def _directly(self, gW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the step with no residual, from the whole Hessian."""
        columns, changes = zip(
            *(self.product(unit.reshape(gW.shape)) for unit in np.eye(gW.size)), strict=True
        )
        H = np.array([column.ravel() for column in columns])
        unit = 1 / np.sqrt(np.maximum(np.diag(H), max(self.problem.lam, _ROUNDED * H.max())))
        step = unit * solve_positive((H + H.T) / 2 * unit[:, None] * unit, -unit * gW.ravel())
        return step.reshape(gW.shape), step @ np.array(changes)

    def product(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the Hessian times V, and the change of b that is best along V."""
        problem = self.problem
        self.n_products += 1
        change = problem.scores(V)
        if problem.attacked:
            dz = problem.z(V)
            change += problem.table((self.u * dz).sum(axis=1))[problem.y]
        pull = self._softmax_slope(change)
        db = np.zeros(problem.K)
        if problem.fit_intercept:
            db = -self.bb @ pull.sum(axis=0)
            pull += self._softmax_slope(np.broadcast_to(db, pull.shape))
        H = problem.pull(pull) + problem.lam * V
        if self.bend is not None:
            by_z = problem.pair_sums(pull)[:, None] * self.u + self.bend * self.slopes(dz)
            H += problem.spread(problem.radius * by_z)
        return H, db

    def _softmax_slope(self, change: np.ndarray) -> np.ndarray:
        """Return ``c M`` times the change of the exponents."""
        # Beside that of the label, so that what p leaves to the others is not lost in rounding.
        change = change - change[self.problem.each, self.problem.y][:, None]
        mean = np.einsum("ik,ik->i", self.p, change)
        return self.cp * (change - mean[:, None])

    def _scale(self, rest: np.ndarray) -> np.ndarray:
        """Apply the preconditioner."""
        return np.matmul(self.inverse, rest.T[:, :, None])[:, :, 0].T

    def _preconditioner(self) -> np.ndarray:
        """Return the inverse blocks of the features, (d, K, K), as if x and p did not correlate."""
        problem = self.problem
        blocks = problem.spreads[:, None, None] * self.mean + problem.lam * np.eye(problem.K)
        if self.bend is not None:
            stiff = self.bend * self.slopes.diagonal() * problem.radius**2
            k, other = problem.first, problem.second
            # These pairs are symmetric in k and l: a graph's Laplacian for each feature.
            laplacian = np.zeros_like(blocks)
            laplacian[:, k, other] = laplacian[:, other, k] = -stiff.T
            sums = laplacian.sum(axis=2)
            laplacian[:, range(problem.K), range(problem.K)] -= sums
            blocks += laplacian
        # Without a penalty the same added to all classes changes nothing: singular along it.
        return inverse_blocks(blocks)


def coupling(c: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the sum of c M; its rows sum to 0, whence its diagonal without cancellation."""
    M = -(p * c[:, None]).T @ p
    np.fill_diagonal(M, 0)
    np.fill_diagonal(M, -M.sum(axis=1))
    return M


def inverse_blocks(blocks: np.ndarray) -> np.ndarray:
    """Return generalised inverses of positive semidefinite matrices (..., K, K).

    Classes may differ in weight by many decades: each is scaled to a diagonal of 1 first.
    """
    diagonal = np.diagonal(blocks, axis1=-2, axis2=-1)
    there = diagonal > UNDERFLOW
    scale = np.divide(1, np.sqrt(diagonal), out=np.zeros_like(diagonal), where=there)
    left, right = scale[..., :, None], scale[..., None, :]
    return left * np.linalg.pinv(left * blocks * right, rcond=1e-13, hermitian=True) * right


class _Projection:
    """A derivative of the projection of each row of `shifted` onto the unit ball."""

    def __init__(self, norm: str, u: np.ndarray, shifted: np.ndarray) -> None:
        self.normal = np.zeros_like(u)  # a unit vector that the derivative removes, or zero
        if norm == "linf":
            self.factor = (abs(shifted) < 1).astype(float)
        elif norm == "l2":
            length = np.maximum(1, np.sqrt((shifted**2).sum(axis=1)))[:, None]
            self.factor = np.broadcast_to(1 / length, u.shape)
            self.normal = np.where(length > 1, u, 0.0)
        else:
            outside = abs(shifted).sum(axis=1)[:, None] > 1
            self.factor = np.where(outside, u != 0, 1.0)
            count = np.maximum(self.factor.sum(axis=1), 1)[:, None]
            self.normal = np.where(outside, np.sign(u) / np.sqrt(count), 0.0)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        along = (self.normal * v).sum(axis=1)[:, None]
        return self.factor * (v - along * self.normal)

    def diagonal(self) -> np.ndarray:
        """Return the diagonal of each row's derivative."""
        return self.factor * (1 - self.normal**2)
