"""What the exact solvers of two and of more classes share: their data and what they return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse


@dataclass
class Solution:
    """What a solver found, and how good it is."""

    coef: np.ndarray  # (n_features,), or (n_classes, n_features)
    intercept: Any  # float, or (n_classes,) with sum 0
    objective: float  # F, with weights that sum to 1
    dual_gap: float  # relative; with C=inf the relative stationarity residual
    n_iter: int  # points at which the gap was computed (two classes), or Newton steps
    converged: bool
    separable: bool = False  # C=inf and a robust margin at every sample: there is no minimiser


class Data(NamedTuple):
    """Data of a problem, in float64 and without samples of weight 0."""

    X: Any  # dense or CSR
    y: np.ndarray
    c: np.ndarray  # weights with sum 1
    radius: np.ndarray  # epsilon of each feature
    lam: float  # 1 / (C times the sum of the weights)


def prepare(X: Any, y: np.ndarray, sample_weight: Any, epsilon: Any, C: float) -> Data:
    """Return the data of a problem; weights None: all 1."""
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if (weight == 0).any():
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    X = X.tocsr().astype(float, copy=False) if sparse.issparse(X) else np.asarray(X, dtype=float)
    total = float(weight.sum())
    radius = np.broadcast_to(np.asarray(epsilon, dtype=float), X.shape[1:]).copy()
    return Data(X, y, weight / total, radius, 1 / (C * total))


def feature_scale(squares: np.ndarray, mean: Any, radius: np.ndarray) -> np.ndarray:
    """Return how far a weight of 1 moves margins: the spread of each feature and its adversary.

    Gradients are measured in it, so that the units of a feature do not matter. An intercept takes
    the mean out of the mean squares; pass 0 where there is none.
    """
    rounded = 1e-14 * squares  # a variance below this is the rounding of its terms
    return np.sqrt(np.maximum(squares - mean**2, rounded) + radius**2)


def steepness(gradient: np.ndarray, scale: np.ndarray) -> float:
    """Return the largest entry of a gradient, each in units of its feature's scale."""
    relative = np.divide(gradient, scale, out=np.zeros_like(gradient), where=scale > 0)
    return float(abs(relative).max(initial=0))
