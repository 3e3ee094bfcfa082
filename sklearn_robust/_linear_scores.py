"""Linear classifiers with a row of weights for each class; scikit-learn keeps one row for two."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.extmath import safe_sparse_dot


def two_rows(coef: np.ndarray, intercept: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and intercepts with a row for each class.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        A single row belongs to class 1, and the scores of class 0 are 0.
    intercept : ndarray of shape (n_classes,), (1,) or scalar

    Returns
    -------
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust._linear_scores import two_rows
    >>> two_rows(np.array([[1.0, -2.0]]), np.array([0.5]))
    (array([[ 0.,  0.],
           [ 1., -2.]]), array([0. , 0.5]))
    """
    if len(coef) > 1:
        return coef, np.broadcast_to(intercept, len(coef))
    return np.concatenate([np.zeros_like(coef), coef]), np.append(0.0, intercept)


def class_scores(coef: np.ndarray, intercept: Any, X: Any) -> np.ndarray:
    """Return the score of every class, (n_samples, n_classes), to the bit of scikit-learn's.

    Parameters
    ----------
    coef, intercept
        As in `two_rows`.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        A sparse X stays sparse.
    """
    scores = safe_sparse_dot(X, coef.T, dense_output=True) + intercept
    return np.column_stack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores
