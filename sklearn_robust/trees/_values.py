"""Numbers that the readers share: of samples, and of the scores that a boosted tree adds to."""

from __future__ import annotations

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
