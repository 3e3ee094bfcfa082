"""Gradients of the loss with respect to the raw input, for any classifier that can be followed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._arrays import to_numpy
from sklearn_robust._validation import encode_labels
from sklearn_robust.attacks._losses import ExactCrossEntropy
from sklearn_robust.metrics._view import look, unwrap

_CHUNK = 1024


def input_gradients(estimator: Any, X: Any, y: Any = None) -> np.ndarray:
    r"""Return :math:`\nabla_x L(F(x), y)` of the cross-entropy L for each sample.

    The gradient is that by the rows of X as passed, before any transformer of a pipeline.

    Parameters
    ----------
    estimator : classifier
        A fitted network of this library or any fitted linear classifier, alone or behind
        transformers that can be followed. The scores of a linear classifier are taken for logits,
        whatever it was trained with.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
    y : array-like of shape (n_samples,), optional
        Labels whose loss is meant. None: the predicted ones.

    Returns
    -------
    gradients : float64 ndarray in the shape of X
        0 in columns that hold no numbers or are encoded as categories.

    Raises
    ------
    TypeError
        If the library cannot differentiate the estimator.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust import input_gradients
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> input_gradients(clf, X, y).shape
    (150, 4)
    """
    steps, final = unwrap(estimator)
    if not steps and hasattr(final, "input_gradients"):
        return final.input_gradients(X, y)
    view = look(estimator, X)
    if not hasattr(view.model, "ascent"):
        raise TypeError(
            f"input_gradients cannot differentiate {type(estimator).__name__}: {view.obstacle}"
        )
    model, rows = view.model, view.samples.rows
    labels = view.predict(rows) if y is None else encode_labels(y, estimator.classes_, len(rows))
    # What serves an attack is not the derivative in all layers.
    derivative = getattr(model, "derivative", None) or model.ascent  # type: ignore[attr-defined]
    gradients = np.empty(rows.shape)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        x, indices = model.asarray(rows[part]), model.labels(labels[part])
        gradient = derivative(x, indices, ExactCrossEntropy())[1]
        gradients[part] = to_numpy(gradient)
    return view.samples.scatter(gradients)
