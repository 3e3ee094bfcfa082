"""A preprocessor fitted inside a network: its formula as layers that no optimizer sees."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone
from torch import nn

from sklearn_robust.preprocessing import Affine, CannotFollowError, follow
from sklearn_robust.targets import as_layers


def check_preprocessor(transformer: Any, name: str) -> None:
    """Raise ValueError for what is no transformer."""
    if isinstance(transformer, type) or not hasattr(transformer, "transform"):
        raise ValueError(
            f"{name} must be None or a transformer, such as StandardScaler(), got {transformer!r}."
        )


def fit_preprocessor(
    preprocessor: Any, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
) -> tuple[Any, list[nn.Module], int]:
    """Return a fitted clone of a transformer, its layers on rows, and how many features they give.

    Samples of weight 0 are as if they were not there, also for a transformer that knows no weights.
    """
    transformer = clone(preprocessor)
    rows = X.reshape(len(X), -1).astype(np.float64)
    if sample_weight is None:
        transformer.fit(rows, y)
    elif "sample_weight" in inspect.signature(transformer.fit).parameters:
        transformer.fit(rows, y, sample_weight=sample_weight)
    else:
        transformer.fit(rows[sample_weight > 0], y[sample_weight > 0])
    try:
        block = follow(transformer, rows)
    except CannotFollowError as error:
        raise ValueError(
            f"preprocessor must be differentiable, to become a part of the network: {error} Or put "
            "it before the network in a Pipeline."
        ) from None
    n_out = block.n_out if isinstance(block, Affine) else block(rows[:1]).shape[1]
    return transformer, as_layers(block), n_out
