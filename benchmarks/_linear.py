"""What the benchmarks on the modified Bernoulli model share: the report's setting and training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from sklearn_robust._threat import ThreatModel
from sklearn_robust.linear_model._adam import fit_pgd
from sklearn_robust.linear_model._exact import solve

EPSILONS = (0.1, 0.2, 0.3, 0.4, 0.5)
N_SAMPLES = 10_000
# Okabe and Ito's palette, told apart without colour vision.
COLOURS = ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")


def train_report(
    X: np.ndarray, y: np.ndarray, epsilon: float, **options: object
) -> tuple[np.ndarray, float]:
    """Train as the report did: 100 iterations of Adam, FGSM on every second; epsilon=0: none."""
    settings = dict(max_iter=100, lr=0.01, pgd_steps=1, step_size=1.0, attack_every=2) | options
    coef, intercept, _ = fit_pgd(X, y, threat=ThreatModel(epsilon), **settings)
    return coef[0], float(intercept[0])


def train_exact(
    X: np.ndarray, y: np.ndarray, epsilon: float, loss: str = "logistic", C: float = 1.0
) -> tuple[np.ndarray, float]:
    """Minimise the adversarial loss itself, to a certified relative gap of 1e-7 (hinge: 1e-4)."""
    tol = 1e-4 if loss == "hinge" else 1e-7
    solution = solve(X, y, epsilon=epsilon, C=C, loss=loss, tol=tol, max_iter=3000)
    if not solution.converged:
        raise RuntimeError(f"gap {solution.dual_gap:.1e} at epsilon={epsilon}, loss={loss}")
    return solution.coef, solution.intercept


def train_mixed(
    X: np.ndarray, y: np.ndarray, epsilon: float, clean_share: float = 0.5, C: float = 1.0
) -> tuple[np.ndarray, float]:
    """Minimise ``a * clean loss + (1 - a) * adversarial loss`` over w = u - v, u, v >= 0."""
    (n, d), penalty = X.shape, 1 / (C * len(X))

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        w, length, b = x[:d] - x[d:-1], x[:-1].sum(), x[-1]
        clean = y * (X @ w + b)
        attacked = clean - epsilon * length
        loss = clean_share * np.logaddexp(0, -clean).mean()
        loss += (1 - clean_share) * np.logaddexp(0, -attacked).mean()
        shrink = (1 - clean_share) * expit(-attacked)
        pull = y * (clean_share * expit(-clean) + shrink)
        down = penalty * w - X.T @ pull / n
        push = epsilon * shrink.mean()
        gradient = np.concatenate([down + push, push - down, [-pull.mean()]])
        return loss + penalty / 2 * w @ w, gradient

    bounds = [(0, None)] * (2 * d) + [(None, None)]
    options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 0, "gtol": 1e-8, "maxcor": 20}
    x = minimize(
        objective, np.zeros(2 * d + 1), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).x
    return x[:d] - x[d:-1], float(x[-1])


def unit(w: np.ndarray) -> np.ndarray:
    """Return w at Euclidean length 1; zero stays zero."""
    length = np.linalg.norm(w)
    return w / length if length > 0 else w


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values over seeds and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
