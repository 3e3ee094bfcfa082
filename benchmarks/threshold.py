"""The threshold law: below which class bias robust training gives a feature no weight.

Predicted against measured, for exact and for mixed training, over epsilon and d; how the finite
sample blurs the threshold; the law itself on the whole population; Adam before and after it has
converged; and the hinge and the squared loss.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from benchmarks._linear import (
    EPSILONS,
    N_SAMPLES,
    mean_and_error,
    train_exact,
    train_mixed,
    train_report,
    unit,
)
from benchmarks._results import provenance, write_json
from benchmarks._threshold_report import draw_law, draw_losses, render
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection._law import count_threshold, kink
from sklearn_robust.linear_model._exact import solve

TAU_MAX = 0.25
# Data sets for each number of features: fewer features need more to fix a threshold to 5 %.
N_SEEDS = {50: 20, 100: 20, 400: 8, 1000: 3}
SAMPLE_SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
LOSS_NAMES = ("logistic", "hinge", "squared_hinge", "squared")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=N_SAMPLES)
    parser.add_argument("--quick", action="store_true", help="two data sets and d <= 100 only")


def run(args: argparse.Namespace) -> None:
    n_seeds = {50: 2, 100: 2} if args.quick else N_SEEDS
    sizes = SAMPLE_SIZES[:3] if args.quick else SAMPLE_SIZES
    few = 2 if args.quick else 5
    content = {
        "provenance": provenance(
            first_seed=args.seed, n_seeds=n_seeds, n_samples=args.samples, tau_max=TAU_MAX
        ),
        "grid": [
            grid_cell(d, epsilon, range(args.seed, args.seed + k), args.samples)
            for d, k in n_seeds.items()
            for epsilon in EPSILONS
        ],
        "population": [population(loss, e) for loss in LOSS_NAMES[:3] for e in EPSILONS],
        "sample_size": [
            sample_size(n, epsilon, range(args.seed, args.seed + (2 * few if n < 1e5 else few)))
            for epsilon in (0.1, 0.3)
            for n in sizes
        ],
        "adam": [
            adam(epsilon, k, range(args.seed, args.seed + (2 if args.quick else 3)), args.samples)
            for epsilon in EPSILONS
            for k in ((100, 200) if args.quick else (100, 1000))
        ],
        "losses": [
            loss_cell(loss, epsilon, range(args.seed, args.seed + few), args.samples)
            for loss in LOSS_NAMES
            for epsilon in (0.0, *EPSILONS[:4])  # at 0.5 nothing is left to draw
        ],
    }
    write_json(args.output / "threshold.json", content)
    draw_law(content, args.output / "threshold.png")
    draw_losses(content, args.output / "threshold_losses.png")
    print(render(content))


def grid_cell(d: int, epsilon: float, seeds: range, n: int) -> dict[str, Any]:
    """Return predicted and measured thresholds of exact and mixed training."""
    exact, mixed = [], []
    for seed in seeds:
        law = BernoulliGenerator(d, tau=(0.0, TAU_MAX), random_state=seed)
        X, y = law.sample(n)
        for found, train in ((exact, train_exact), (mixed, train_mixed)):
            n_active = np.count_nonzero(train(X, y, epsilon)[0])
            found.append(count_threshold(n_active, law.tau_))
    return {
        "n_features": d,
        "epsilon": epsilon,
        "exact": _compare(law.threshold(epsilon), exact),
        # The training has C = 1, which is a penalty of 1 / n.
        "mixed": _compare(law.threshold(epsilon, clean_share=0.5, penalty=1 / n), mixed),
    }


def _compare(predicted: float, measured: list[float]) -> dict[str, float]:
    mean, error = mean_and_error(measured)
    return {"predicted": predicted, "measured": mean, "standard_error": error}


def population(loss: str, epsilon: float, d: int = 12) -> dict[str, Any]:
    """Train on the law itself, every one of its points weighted by its probability."""
    law = BernoulliGenerator(d, tau=(0.0, TAU_MAX), theta=np.ones(d))
    A = np.array(list(itertools.product((-1.0, 1.0), repeat=d)))
    p = np.prod(0.5 + A * law.tau_, axis=1)
    X, y = np.concatenate([A, -A]), np.repeat([1.0, -1.0], len(A))
    weight = np.tile(p / 2, 2)
    # C = 1e4 with weights that sum to 1: a penalty of 1e-4, as with 10 000 samples and C = 1.
    solution = solve(
        X,
        y,
        weight,
        epsilon=epsilon,
        C=1e4,
        loss=loss,
        tol=1e-6 if loss == "hinge" else 1e-9,
        max_iter=3000,
    )
    active = abs(solution.coef) > 1e-4 * abs(solution.coef).max()
    return {
        "loss": loss,
        "epsilon": epsilon,
        "predicted": epsilon / 2,
        "largest_inactive": law.tau_[~active].max(),
        "smallest_active": law.tau_[active].min() if active.any() else None,
    }


def sample_size(n: int, epsilon: float, seeds: range, d: int = 100) -> dict[str, Any]:
    """Return how sharp and how true the threshold of exact training is at n samples."""
    thresholds, share, expected = [], np.zeros(d), np.zeros(d)
    for seed in seeds:
        law = BernoulliGenerator(d, tau=(0.0, TAU_MAX), random_state=seed)
        X, y = law.sample(n)
        coef, intercept = train_exact(X, y, epsilon)
        thresholds.append(count_threshold(np.count_nonzero(coef), law.tau_))
        share += (coef != 0) / len(seeds)
        expected += chance_of_weight(X, y, coef, intercept, epsilon, law.tau_) / len(seeds)
    below = law.tau_ < epsilon / 2
    return {
        "n_samples": n,
        "n_seeds": len(seeds),
        "epsilon": epsilon,
        "exact": _compare(epsilon / 2, thresholds),
        "misplaced": float(np.where(below, share, 1 - share).mean()),
        "misplaced_expected": float(np.where(below, expected, 1 - expected).mean()),
        "tau": law.tau_,
        "share_active": share,
        "share_expected": expected,
    }


def chance_of_weight(
    X: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: float,
    epsilon: float,
    tau: np.ndarray,
) -> np.ndarray:
    """Return for each feature the probability of a non-zero weight at this sample size."""
    margin = y * (X @ coef + intercept) - epsilon * abs(coef).sum()
    p = expit(-margin)
    blur = np.sqrt((1 - 4 * tau**2) * (p**2).sum()) / p.sum()
    return norm.cdf((2 * tau - epsilon) / blur) + norm.cdf((-2 * tau - epsilon) / blur)


def adam(epsilon: float, iterations: int, seeds: range, n: int) -> dict[str, Any]:
    """Return how near the report's protocol comes to the mixture's minimiser, and its kink."""
    measured, distances = [], []
    for seed in seeds:
        law = BernoulliGenerator(tau=(0.0, TAU_MAX), random_state=seed)
        X, y = law.sample(n)
        coef, _ = train_report(X, y, epsilon, max_iter=iterations)
        measured.append(kink(coef * law.theta_, law.tau_))
        distances.append(np.linalg.norm(unit(coef) - unit(train_mixed(X, y, epsilon)[0])))
    return {
        "epsilon": epsilon,
        "iterations": iterations,
        "distance": float(np.mean(distances)),
        **_compare(law.threshold(epsilon, clean_share=0.5), measured),
    }


def loss_cell(loss: str, epsilon: float, seeds: range, n: int) -> dict[str, Any]:
    """Return threshold and weights of exact training with another loss."""
    measured, predicted = [], []
    for seed in seeds:
        law = BernoulliGenerator(tau=(0.0, TAU_MAX), random_state=seed)
        X, y = law.sample(n)
        coef, intercept = train_exact(X, y, epsilon, loss)
        measured.append(count_threshold(np.count_nonzero(coef), law.tau_))
        predicted.append(law_of(loss, epsilon, y * (X @ coef + intercept), coef))
    return {
        "loss": loss,
        "epsilon": epsilon,
        **_compare(float(np.mean(predicted)), measured),
        "tau": law.tau_,
        "weights": unit(coef) * law.theta_,  # of the last data set
    }


def law_of(loss: str, epsilon: float, margin: np.ndarray, coef: np.ndarray) -> float:
    """Return the threshold that the law gives for these margins of a trained model."""
    if loss != "squared":
        return epsilon / 2
    push = abs(1 - margin) + epsilon * abs(coef).sum()
    return epsilon / 2 * float(push.mean() / (push * np.sign(1 - margin)).mean())
