"""Thresholds of linear models on the modified Bernoulli model: predicted, and measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._validation import check_real
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.linear_model import AdversarialLogisticRegression


def law_for(
    model: Any, generator: BernoulliGenerator, n_samples: int | None = None
) -> float | None:
    """Return the class bias below which `model` has no weight, None where no law is known.

    Attacks on every k-th iteration settle at a mixture with a share of 1 - 1/k of the clean loss,
    whose threshold depends on the penalty, 1 / (C n_samples); None for a size that is not known
    leaves it out.
    """
    if not isinstance(model, AdversarialLogisticRegression) or model.norm != "linf":
        return None
    if np.ndim(model.epsilon) or model.epsilon == 0:
        return None
    share = 1 - 1 / model.attack_every if model.solver == "pgd" else 0.0
    penalty = 0.0
    if n_samples is not None:
        penalty = 1 / (check_real(model.C, "C", low=0, open_low=True, infinite=True) * n_samples)
    if share and penalty == 0 and (generator.tau_ == 0.5).any():
        return None  # separable: without a penalty the mixture has no minimiser
    return generator.threshold(model.epsilon, clean_share=share, penalty=penalty)


def measured_threshold(weights: np.ndarray, tau: np.ndarray) -> float:
    """Return where signed weights leave zero: by count if some are exactly 0, else by a fit."""
    if (weights == 0).any():
        return count_threshold(int(np.count_nonzero(weights)), tau)
    return kink(weights, tau)


def count_threshold(n_active: float, tau: np.ndarray) -> float:
    """Return the class bias above which as many features lie as are active.

    For tau linearly spaced from 0 this estimate is unbiased however blurred the threshold is by a
    finite sample, as long as the blur ends below its maximum: see the page on the threshold law.
    """
    # Half a feature below the last active one; where all or none are, the spacing goes on.
    ordered = np.sort(tau)
    middles = (ordered[1:] + ordered[:-1]) / 2
    first, last = 2 * ordered[0] - middles[0], 2 * ordered[-1] - middles[-1]
    places = np.concatenate([[first], middles, [last]])
    return float(np.interp(len(tau) - n_active, np.arange(len(places)), places))


def kink(weights: np.ndarray, tau: np.ndarray) -> float:
    """Return t of the best fit ``s max(tau - t, 0)``: the threshold where no weight is exactly 0.

    It supposes that the weights rise linearly (S9 of the page on the threshold law), as they do
    once training has converged.
    """
    grid = np.linspace(-0.05, tau.max() * 0.98, 400)
    hinges = np.maximum(tau - grid[:, None], 0)
    explained = np.maximum(hinges @ weights, 0) ** 2 / (hinges**2).sum(axis=1)
    return float(grid[np.argmax(explained)])
