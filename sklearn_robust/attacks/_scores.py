"""A classifier that is known by its scores only, as attacks see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class ScoreModel:
    """A classifier that is known by its scores only: for attacks without gradients.

    Parameters
    ----------
    score : callable
        Maps samples to scores of shape (n_samples, n_classes); the largest is the prediction.
    n_classes : int

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_robust.attacks import ScoreModel
    >>> tree = DecisionTreeClassifier().fit([[0.], [1.]], [0, 1])
    >>> ScoreModel(tree.predict_proba, n_classes=2).logits(np.array([[0.2]]))
    array([[1., 0.]])
    """

    def __init__(self, score: Callable[[np.ndarray], np.ndarray], n_classes: int) -> None:
        self.score, self.n_classes = score, n_classes

    def asarray(self, X: Any) -> np.ndarray:
        X = np.asarray(X)
        return X if X.dtype.kind == "f" else X.astype(np.float64)

    def labels(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def logits(self, X: np.ndarray) -> np.ndarray:
        if not len(X):
            return np.empty((0, self.n_classes))
        scores = np.asarray(self.score(X.copy()))  # a function that may write into its input
        if scores.shape != (len(X), self.n_classes):
            raise ValueError(
                "score must return an array of shape (n_samples, n_classes), here "
                f"{len(X), self.n_classes}, got {scores.shape}."
            )
        return scores
