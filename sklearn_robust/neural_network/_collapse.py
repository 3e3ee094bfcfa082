"""Trainings that end in a constant output: how they are noticed, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_robust._warnings import warn_user

# As many samples tell whether all have one class.
_SEEN = 1000


def has_collapsed(classifier: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> bool:
    """Return whether a training, not interrupted, ended with one of several classes for all."""
    if weight is not None:
        X, y = X[weight > 0], y[weight > 0]
    _, counts = np.unique(y, return_counts=True)
    if classifier.net_.interrupted or counts.max() >= 0.99 * len(y):
        return False
    found = classifier._predict_index(X[:: -(-len(X) // _SEEN)])
    return bool((found == found[0]).all())


def warn_of_collapse(remedy: str) -> None:
    """Say that training has collapsed, and what is done or may be done about it."""
    warn_user(
        "The network predicts one class for every training sample: training has collapsed to a "
        f"constant output. {remedy}",
        ConvergenceWarning,
    )
