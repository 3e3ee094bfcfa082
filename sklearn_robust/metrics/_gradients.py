"""Gradients of the loss with respect to the input, for any classifier the library can follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.utils.extmath import safe_sparse_dot

from sklearn_robust._validation import encode_labels
from sklearn_robust.metrics._linear import as_linear


def input_gradients(estimator: Any, X: Any, y: Any = None) -> np.ndarray:
    r"""Return :math:`\nabla_x L(F(x), y)` of the cross-entropy L for each sample.

    Parameters
    ----------
    estimator : classifier
        A fitted network of this library, or any fitted linear classifier. The scores of a linear
        one are taken for logits, whatever it was trained with.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
    y : array-like of shape (n_samples,), optional
        Labels whose loss is meant. None: the predicted ones.

    Returns
    -------
    gradients : float64 ndarray in the shape of X

    Raises
    ------
    TypeError
        If the library cannot differentiate the estimator.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust import input_gradients
    >>> X, y = load_iris(return_X_y=True)
    >>> input_gradients(LogisticRegression(max_iter=1000).fit(X, y), X, y).shape
    (150, 4)
    """
    if hasattr(estimator, "input_gradients"):
        return estimator.input_gradients(X, y)
    linear = as_linear(estimator, X)
    if linear is None:
        raise TypeError(
            f"input_gradients cannot follow {type(estimator).__name__}: it is neither a network of "
            "this library nor a linear classifier."
        )
    labels = encode_labels(estimator.predict(X) if y is None else y, estimator.classes_)
    logits = safe_sparse_dot(linear.X, linear.coef.T) + linear.intercept
    coef = linear.coef
    if len(coef) == 1:  # one row scores the second of two classes against a constant 0
        logits, coef = np.hstack([np.zeros_like(logits), logits]), np.vstack([0 * coef, coef])
    residual = softmax(logits, axis=1)
    residual[np.arange(len(labels)), labels] -= 1
    return residual @ coef
