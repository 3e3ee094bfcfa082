"""Linear problems of many shapes on which solvers are timed: samples and labels of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.preprocessing import scale

from sklearn_robust.datasets import BernoulliGenerator


def tall(seed: int) -> tuple[Any, np.ndarray]:
    """The modified Bernoulli model."""
    generator = BernoulliGenerator(n_features=100, random_state=seed)
    X, y = generator.sample(10_000)
    return np.asarray(X, dtype=float), np.asarray(y)


def small(seed: int) -> tuple[Any, np.ndarray]:
    """Breast cancer, standardised."""
    X, y = load_breast_cancer(return_X_y=True)
    return scale(X), y


def square(seed: int) -> tuple[Any, np.ndarray]:
    """Many redundant features."""
    X, y = make_classification(
        2000, 500, n_informative=30, n_redundant=30, flip_y=0.05, random_state=seed
    )
    return scale(X), y


def wide(seed: int) -> tuple[Any, np.ndarray]:
    """Ten times more features than samples."""
    X, y = text_like(500, 5000, 250, seed)
    return X.toarray(), y


def sparse_text(seed: int) -> tuple[Any, np.ndarray]:
    """CSR, 20 non-zeros a row."""
    return text_like(10_000, 20_000, 20, seed)


def ill_conditioned(seed: int) -> tuple[Any, np.ndarray]:
    """Correlated features of scales over three decades."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 200)) + 2 * rng.normal(size=(2000, 1))
    X *= 10 ** rng.uniform(-2, 1, size=200)
    scores = X @ (rng.normal(size=200) / X.std(axis=0))
    return X, (scores + scores.std() * rng.normal(size=2000) > 0).astype(int)


def separable(seed: int) -> tuple[Any, np.ndarray]:
    """Linearly separable."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 100))
    return X, (X @ rng.normal(size=100) > 0).astype(int)


def text_like(n: int, d: int, per_row: int, seed: int) -> tuple[Any, np.ndarray]:
    """Return a CSR matrix of positive entries, and labels by a fiftieth of the features."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(d, size=(n, per_row))
    values = rng.exponential(size=columns.size)
    pointers = np.arange(0, columns.size + 1, per_row)
    X = sparse.csr_array((values, columns.ravel(), pointers), shape=(n, d))
    X.sum_duplicates()
    weights = np.zeros(d)
    weights[rng.choice(d, d // 50, replace=False)] = 2 * rng.normal(size=d // 50)
    scores = X @ weights
    noisy = scores + 0.3 * scores.std() * rng.normal(size=n)
    return X, (noisy > np.median(noisy)).astype(int)


PROBLEMS: dict[str, Callable[[int], tuple[Any, np.ndarray]]] = {
    "tall": tall,
    "small": small,
    "square": square,
    "wide": wide,
    "sparse": sparse_text,
    "ill-conditioned": ill_conditioned,
    "separable": separable,
}
