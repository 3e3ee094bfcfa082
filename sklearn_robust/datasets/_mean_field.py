r"""The trained linear model in the limit of endless data, from tau alone: a mean-field solve.

With w = theta u, u >= 0, the margin y w.x = sum_j u_j A_j is a sum of many independent terms. It
is taken as Gaussian here, with its exact mean 2 tau.u and variance (1 - 4 tau^2).u^2: the only
approximation, after which the objective of u is an integral over the line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import minimize
from scipy.special import expit

_NODES = 80  # Gauss-Hermite nodes; doubling them changes no threshold by 1e-8


class MeanField(NamedTuple):
    """The minimiser and the mean slope of its losses."""

    weights: np.ndarray  # u_j = theta_j w_j
    clean_pull: float  # E p(M), with p = -loss', M the clean margin
    attacked_pull: float  # E p(M - epsilon |w|_1)


def solve_mean_field(
    tau: np.ndarray, epsilon: float, clean_share: float, penalty: float
) -> MeanField:
    r"""Minimise the expected logistic loss of mixed training over u >= 0.

    .. math:: a \, E \ell(M) + (1 - a) \, E \ell(M - \epsilon \|u\|_1)
              + \tfrac{\lambda}{2} \|u\|_2^2, \qquad
              M \sim N\big(2 \tau \cdot u, \textstyle\sum_j (1 - 4 \tau_j^2) u_j^2\big)

    Parameters
    ----------
    tau : ndarray of shape (n_features,)
    epsilon : float
        linf radius.
    clean_share : float
        a, the weight of the clean loss.
    penalty : float
        lambda = 1 / (C n_samples).
    """
    nodes, mass = hermegauss(_NODES)
    mass = mass / mass.sum()
    mean, variance = 2 * tau, 1 - 4 * tau**2

    def margins(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        deviation = np.sqrt(variance @ u**2 + np.finfo(float).tiny)
        clean = mean @ u + deviation * nodes
        return clean, clean - epsilon * u.sum(), deviation

    def objective(u: np.ndarray) -> tuple[float, np.ndarray]:
        clean, attacked, deviation = margins(u)
        loss = clean_share * np.logaddexp(0, -clean) + (1 - clean_share) * np.logaddexp(
            0, -attacked
        )
        shrink = (1 - clean_share) * expit(-attacked)
        pull = clean_share * expit(-clean) + shrink
        gradient = (
            -mean * (mass @ pull)
            - variance * u / deviation * (mass @ (pull * nodes))
            + epsilon * (mass @ shrink)
            + penalty * u
        )
        return float(mass @ loss + 0.5 * penalty * u @ u), gradient

    start = 1e-4 + 0.01 * np.maximum(tau - epsilon / 4, 0)
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(tau),
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 0, "gtol": 1e-11},
    )
    clean, attacked, _ = margins(result.x)
    return MeanField(result.x, float(mass @ expit(-clean)), float(mass @ expit(-attacked)))
