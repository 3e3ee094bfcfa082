"""The classifier of Theorem 1: its weights are the mean of the samples, signed by their class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_robust._arrays import on_host
from sklearn_robust._notebook import NotebookMixin
from sklearn_robust._validation import check_sample_weight

_FORMATS = dict(accept_sparse=["csr", "csc"], dtype=[np.float64, np.float32])


class SampleMeanClassifier(NotebookMixin, ClassifierMixin, BaseEstimator):
    r"""Linear classifier through the origin along the class-signed sample mean.

    .. math:: z = \frac{\sum_i s_i y_i x_i}{\sum_i s_i}, \qquad
              \hat w = z / \|z\|_2, \qquad f(x) = \mathrm{sign}(\hat w \cdot x)

    For data from the modified Bernoulli model its error is bounded by Theorem 1 [1]_; see
    `BernoulliGenerator.error_bound`. There is no intercept: the classes are expected on opposite
    sides of the origin. Two classes only.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
        w-hat, of Euclidean length 1; zero if z is.
    intercept_ : ndarray of shape (1,)
        Zero.
    classes_ : ndarray of shape (2,)
        The second one is y = +1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        If X was given with feature names.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Theorem 1.

    Examples
    --------
    >>> from sklearn_robust.datasets import BernoulliGenerator
    >>> from sklearn_robust.linear_model import SampleMeanClassifier
    >>> law = BernoulliGenerator(n_features=100, random_state=0)
    >>> model = SampleMeanClassifier().fit(*law.sample(1000))
    >>> round(law.accuracy(model.coef_), 2)
    1.0
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SampleMeanClassifier:
        """Compute the mean.

        Parameters
        ----------
        X : {array, sparse matrix} of shape (n_samples, n_features)
        y : array of shape (n_samples,)
            Two different labels of any kind.
        sample_weight : array of shape (n_samples,) or None, default=None
            s >= 0; None: all 1.

        Returns
        -------
        self : SampleMeanClassifier

        Raises
        ------
        ValueError
            If y has not exactly two classes, or a weight is negative.
        """
        X, y = validate_data(self, on_host(X), on_host(y), **_FORMATS)
        check_classification_targets(y)
        target = type_of_target(y, input_name="y", raise_unknown=True)
        if target != "binary":
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {target}."
            )
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y must have two classes, got one class: {self.classes_[0]!r}. "
                "Pass samples of both."
            )
        weights = check_sample_weight(sample_weight, X).astype(X.dtype, copy=False)
        # z up to a positive factor, which the unit length takes out.
        z = np.ravel(X.T @ (weights * (2 * index - 1).astype(X.dtype)))
        length = np.linalg.norm(z)
        self.coef_ = (z / length if length > 0 else z)[None]
        self.intercept_ = np.zeros(1, dtype=X.dtype)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return ``coef_ @ x`` for each row: positive for ``classes_[1]``.

        Parameters
        ----------
        X : {array, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        X = validate_data(self, on_host(X), reset=False, **_FORMATS)
        return np.ravel(X @ self.coef_[0])

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row; a tie goes to ``classes_[0]``.

        Parameters
        ----------
        X : {array, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        positive = self.decision_function(X) > 0
        return self.classes_[positive.astype(np.intp)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags
