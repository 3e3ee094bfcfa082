"""What every robust linear classifier does once it has its coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_robust._arrays import on_host
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import (
    check_epsilon,
    check_real,
    check_sample_weight,
)
from sklearn_robust.targets import RobustClassifierMixin

SPARSE = ("csr", "csc")
FLOATS = (np.float64, np.float32)


def _has_probabilities(classifier: RobustLinearClassifier) -> bool:
    if classifier.loss != "logistic":
        raise AttributeError(f"Probabilities need loss='logistic', got {classifier.loss!r}.")
    return True


class RobustLinearClassifier(RobustClassifierMixin, ClassifierMixin, BaseEstimator):
    """Base: predictions; what the strongest adversary does to them is known in closed form.

    Subclasses have the parameters `norm`, `clip_values`, `class_weight` and set `classes_`,
    `coef_`, `intercept_`.
    """

    norm: str
    loss: str = "logistic"
    clip_values: Any
    class_weight: Any
    coef_: np.ndarray
    intercept_: np.ndarray
    classes_: np.ndarray

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores, of which the largest is predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, else (n_samples, n_classes)
            For two classes positive for ``classes_[1]``.
        """
        check_is_fitted(self)
        X = validate_data(self, on_host(X), dtype=FLOATS, accept_sparse=SPARSE, reset=False)
        scores = safe_sparse_dot(X, self.coef_.T, dense_output=True) + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the label with the highest score; the first one of several.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        scores = self.decision_function(X)
        index = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[index]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the model's probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        return softmax(scores, axis=1)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of `predict_proba`, without its underflow.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.column_stack([log_expit(-scores), log_expit(scores)])
        return log_softmax(scores, axis=1)

    @property
    def _n_rows(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _threat(
        self,
        X: Any,
        epsilon: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
        n_columns: int | None = None,
    ) -> ThreatModel:
        """Return the threat model for data such as X; None and "own" mean the estimator's.

        With `n_columns`, epsilon may be a `TabularThreat`.
        """
        if isinstance(clip_values, str) and clip_values == "own":
            clip_values = self.clip_values
        epsilon = self._own_epsilon if epsilon is None else epsilon
        norm = self.norm if norm is None else norm
        columns = getattr(self, "feature_names_in_", None)
        threat = ThreatModel.for_columns(columns, epsilon, norm, clip_values, n_columns)
        check_epsilon(threat.epsilon, X.shape[1])
        return threat

    def _weights(self, X: Any, y: np.ndarray, sample_weight: Any) -> np.ndarray:
        """Return the weight of each sample; y holds indices of classes."""
        weight = check_sample_weight(sample_weight, X)
        if self.class_weight is None:
            return weight
        if isinstance(self.class_weight, Mapping):
            for label, value in self.class_weight.items():
                check_real(value, f"class_weight[{label!r}]", low=0)
            seen = np.arange(len(self.classes_))
        else:
            seen = np.unique(y[weight > 0])  # among which "balanced" balances
        by_class = np.zeros(len(self.classes_))
        by_class[seen] = compute_class_weight(
            self.class_weight,
            classes=self.classes_[seen],
            y=self.classes_[y[weight > 0]],
            sample_weight=weight[weight > 0],
        )
        return weight * by_class[y]
