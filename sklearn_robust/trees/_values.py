"""What a boosted tree adds to the scores: of one class, or a margin between two."""

from __future__ import annotations

from typing import Any

import numpy as np


def class_column(score: np.ndarray, column: int, n_classes: int) -> np.ndarray:
    """Return scores of one class as rows over the classes; a margin is that of the second one."""
    out = np.zeros((len(score), n_classes))
    out[:, column if n_classes > 2 else 1] = score
    return out


def class_scores(start: Any, n_classes: int) -> np.ndarray:
    """Return one score per class from those of a model, which has one margin for two classes."""
    return np.concatenate([np.zeros(int(n_classes == 2)), np.ravel(start)])
