"""Recognising linear classifiers, the library's and scikit-learn's, by what they compute."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_array, check_is_fitted


class LinearView(NamedTuple):
    """A classifier whose scores are ``X @ coef.T + intercept``, and the samples it is seen on."""

    coef: np.ndarray
    intercept: np.ndarray
    X: Any


def as_linear(estimator: Any, X: Any) -> LinearView | None:
    """Return the linear form of a fitted classifier, or None if it has none.

    Having ``coef_`` is not enough: the scores that it gives on `X` must be those of
    ``decision_function``, and the highest one that of the predicted class. One-against-one SVMs
    have scores of pairs of classes, which for three classes are as many.
    """
    check_is_fitted(estimator)
    needed = ("coef_", "intercept_", "classes_", "decision_function")
    if not all(hasattr(estimator, name) for name in needed):
        return None
    coef = estimator.coef_
    coef = np.atleast_2d(coef.toarray() if sparse.issparse(coef) else np.asarray(coef, float))
    n_classes = len(estimator.classes_)
    if len(coef) != (1 if n_classes == 2 else n_classes):
        return None
    if n_classes > 2 and getattr(estimator, "decision_function_shape", None) == "ovo":
        return None
    intercept = np.broadcast_to(np.ravel(estimator.intercept_).astype(float), (len(coef),))
    scores, predicted = estimator.decision_function(X), estimator.predict(X)
    if not np.isfinite(scores).all():
        return None
    X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
    ours = safe_sparse_dot(X, coef.T) + intercept
    slack = 1e-4 * (1 + np.abs(ours).max())
    if not np.allclose(ours, np.reshape(scores, ours.shape), rtol=0, atol=slack):
        return None
    each = np.hstack([0 * ours, ours]) if n_classes == 2 else ours
    chosen = np.searchsorted(estimator.classes_, predicted)[:, None]
    if (each.max(axis=1) - np.take_along_axis(each, chosen, axis=1)[:, 0] > slack).any():
        return None
    return LinearView(coef, intercept, X)
