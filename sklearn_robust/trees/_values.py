"""Numbers that the readers share: of samples, and of the scores that a boosted tree adds to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse


def class_column(score: np.ndarray, column: int, n_classes: int) -> np.ndarray:
    """Return scores of one class as rows over the classes; a margin is that of the second one."""
    out = np.zeros((len(score), n_classes))
    out[:, column if n_classes > 2 else 1] = score
    return out


def class_scores(start: Any, n_classes: int) -> np.ndarray:
    """Return one score per class from those of a model, which has one margin for two classes."""
    return np.concatenate([np.zeros(int(n_classes == 2)), np.ravel(start)])


def numbers(Z: Any) -> np.ndarray:
    """Return samples of any container as an array of doubles."""
    return np.asarray(Z.toarray() if sparse.issparse(Z) else Z, dtype=np.float64)


def coded(X: Any, categories: Sequence[Sequence[Any] | None]) -> np.ndarray:
    """Return a frame of pandas as doubles, categories by their place in a list for each column.

    What is in no list is missing, as it is for the models. Other containers hold codes themselves.
    """
    if not hasattr(X, "iloc") or all(known is None for known in categories):
        return numbers(X)
    columns = []
    for k, known in enumerate(categories):
        column = X.iloc[:, k]
        if known is not None:
            place = {value: float(j) for j, value in enumerate(known)}
            held = [place.get(value, np.nan) for value in column.cat.categories]
            column = np.array([*held, np.nan])[column.cat.codes]  # the last is missing
        columns.append(np.asarray(column, dtype=np.float64))
    return np.column_stack(columns)
