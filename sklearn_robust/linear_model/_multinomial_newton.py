r"""Newton's method for the multinomial problem at fixed u0, where K (d + 1) parameters are few.

With ``J_i`` the derivative of the exponents of sample i by all parameters, ``p_i`` its softmax and
``M_i = diag(p_i) - p_i p_i'``, the (generalised) Hessian is

.. math:: \sum_i c_i J_i^T M_i J_i + \sum_{k < l} P_{kl} \nabla^2 \tilde T_{kl} + \lambda I ,

and the derivative of the k-th exponent is x_i in the block of w_k plus that of T for the pair of k
and the label, which is the same for all samples of a class. Parameters are ordered as (K, d + 1),
the intercept last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sklearn_robust.linear_model._problem import weighted_gram
from sklearn_robust.linear_model._quadratic import solve_positive

if TYPE_CHECKING:
    from sklearn_robust.linear_model._multinomial import Multinomial


def newton_step(
    problem: Multinomial,
    p: np.ndarray,
    u: np.ndarray,
    shifted: np.ndarray,
    mu: float,
    gW: np.ndarray,
    gb: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the step of W and b and the slope along it.

    `u` is the projection of `shifted` onto the unit ball, and `gW`, `gb` are the gradient.
    """
    K, d = gW.shape
    H = _softmax_part(problem, p)
    if problem.attacked:
        _add_pairs(problem, H, p, u, shifted, mu)
    H = H.reshape(K * (d + 1), K * (d + 1))
    gradient = np.column_stack([gW, gb]).ravel()
    is_weight = np.tile(np.arange(d + 1) < d, K)
    diagonal = np.diag(H).copy()
    H[np.diag_indices_from(H)] += np.where(is_weight, problem.lam, 0) + 1e-13 * diagonal.mean()
    # A common shift of all intercepts changes nothing: any curvature will do there.
    biases = np.flatnonzero(~is_weight)
    H[np.ix_(biases, biases)] += max(float(diagonal[biases].mean()), 1e-12)
    used = np.arange(len(gradient)) if problem.fit_intercept else np.flatnonzero(is_weight)
    step = np.zeros(len(gradient))
    step[used] = solve_positive(H[np.ix_(used, used)], -gradient[used])
    table = step.reshape(K, d + 1)
    return table[:, :-1], table[:, -1], float(gradient @ step)


def _softmax_part(problem: Multinomial, p: np.ndarray) -> np.ndarray:
    """Return ``sum c M_i (x) (x_i, 1)(x_i, 1)'``, shape (K, d + 1, K, d + 1)."""
    K, d = problem.K, problem.X.shape[1]
    H = np.empty((K, d + 1, K, d + 1))
    for k in range(K):
        for other in range(k, K):
            weight = problem.c * p[:, k] * ((k == other) - p[:, other])
            block = np.empty((d + 1, d + 1))
            # The Gram matrix takes square roots: off the diagonal the weights are all negative.
            block[:-1, :-1] = weighted_gram(problem.X, abs(weight)) * (1 if k == other else -1)
            block[:-1, -1] = block[-1, :-1] = problem.XT @ weight
            block[-1, -1] = weight.sum()
            H[k, :, other] = H[other, :, k] = block
    return H


def _add_pairs(
    problem: Multinomial,
    H: np.ndarray,
    p: np.ndarray,
    u: np.ndarray,
    shifted: np.ndarray,
    mu: float,
) -> None:
    """Add to H what the lengths T of the pairs contribute."""
    K, d = problem.K, problem.X.shape[1]
    slopes = np.zeros((len(u), K, d + 1))
    pairs = np.arange(len(u))
    slopes[pairs, problem.first, :d] = problem.radius * u
    slopes[pairs, problem.second, :d] = -problem.radius * u
    flat = H.reshape(K * (d + 1), K * (d + 1))
    for label in range(K):
        rows = np.flatnonzero(problem.y == label)
        M = -p[rows, :, None] * p[rows, None, :]
        M[:, range(K), range(K)] += p[rows]
        M *= problem.c[rows, None, None]
        by_slope = np.zeros((K, K, d + 1))  # [k]: the derivative of T for k and the label
        mine = (problem.first == label) | (problem.second == label)
        rivals = problem.first[mine] + problem.second[mine] - label
        by_slope[rivals] = slopes[mine]
        by_slope = by_slope.reshape(K, -1)
        cross = np.empty((K, d + 1, K))
        X = problem.X[rows]
        sums = X.T @ M.reshape(len(rows), -1)
        sums = np.asarray(sums.toarray() if sparse.issparse(sums) else sums)
        cross[:, :d] = sums.reshape(d, K, K).transpose(1, 0, 2)
        cross[:, d] = total = M.sum(axis=0)
        half = cross.reshape(-1, K) @ by_slope
        flat += half + half.T + by_slope.T @ total @ by_slope
    for i, weight in enumerate(problem.pair_weights(p)):
        curve = weight / mu * _projection_slope(problem.norm, u[i], shifted[i])
        curve = curve * np.outer(problem.radius, problem.radius)
        k, other = problem.first[i], problem.second[i]
        H[k, :d, k, :d] += curve
        H[other, :d, other, :d] += curve
        H[k, :d, other, :d] -= curve
        H[other, :d, k, :d] -= curve


def _projection_slope(norm: str, u: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return a derivative at `point` of the projection u onto the unit ball."""
    if norm == "linf":
        return np.diag((abs(point) < 1).astype(float))
    if norm == "l2":
        length = max(1.0, float(np.sqrt(point @ point)))
        inside = np.eye(len(u))
        return inside if length == 1 else (inside - np.outer(u, u) / (u @ u)) / length
    if abs(point).sum() <= 1:
        return np.eye(len(u))
    sign = np.sign(u)
    return np.diag(abs(sign)) - np.outer(sign, sign) / max(1.0, abs(sign).sum())
