"""The choice of a radius by cross-validation over the path of exact solutions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sklearn_robust._arrays import on_host
from sklearn_robust._fit_tasks import CallbackSupportMixin, FitTask, with_callbacks
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_epsilon, check_int, check_sample_weight
from sklearn_robust.linear_model._classifier import FLOATS, SPARSE, RobustLinearClassifier
from sklearn_robust.linear_model._epsilon_max import epsilon_max
from sklearn_robust.linear_model._logistic import AdversarialLogisticRegression
from sklearn_robust.linear_model._path import AdversarialPath, path_of_classes
from sklearn_robust.linear_model._solve import check_built_in, check_present, check_problem


class AdversarialLogisticRegressionCV(CallbackSupportMixin, RobustLinearClassifier):
    """Adversarial logistic regression with the training radius chosen by cross-validation.

    On each fold the whole path of radii is solved at once; the radius with the best mean score is
    then fitted to all data.

    The default score is exact robust accuracy at one *fixed* radius, `scoring_epsilon`: the one
    the model will be attacked with. Scoring each model at its own training radius would choose 0
    by construction, as an adversary without reach does no harm.

    Parameters
    ----------
    epsilons : int or array-like, default=10
        Training radii to choose from; an int stands for so many equally spaced ones from 0 up to,
        but without, the one at which all weights are zero.
    scoring_epsilon : float or array of shape (n_features,), default=0.1
        Radius of the adversary that a model is scored against, in the units of X.
    norm, C, fit_intercept, tol, max_iter, class_weight, clip_values, verbose
        As in `AdversarialLogisticRegression`.
    cv : int, splitter, iterable of splits or None, default=None
        As in scikit-learn; None: 5 stratified folds.
    scoring : str, callable or None, default=None
        None: exact robust accuracy at `scoring_epsilon`. Else a scorer of scikit-learn's form,
        ``scorer(estimator, X, y)``; X comes as it was passed, with the names of its columns. A
        class that a fold's training part lacks is a mistake wherever it is tested.

    Attributes
    ----------
    epsilon_ : float
        The radius chosen; the smallest of several with the best score.
    epsilons_ : ndarray of shape (n_epsilons,)
    scores_ : ndarray of shape (n_folds, n_epsilons)
    coef_, intercept_, classes_, dual_gap_, n_iter_, n_features_in_, feature_names_in_
        As in `AdversarialLogisticRegression`, of the model fitted to all data.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_robust.linear_model import AdversarialLogisticRegressionCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = AdversarialLogisticRegressionCV([0, 0.1, 0.2, 0.3], scoring_epsilon=0.2)
    >>> clf.fit(scale(X), y).epsilon_
    0.3
    """

    def __init__(
        self,
        epsilons: Any = 10,
        *,
        scoring_epsilon: Any = 0.1,
        norm: str = "linf",
        C: float = 1.0,
        fit_intercept: bool = True,
        tol: float = 1e-6,
        max_iter: int | None = None,
        class_weight: Any = None,
        clip_values: Any = None,
        cv: Any = None,
        scoring: Any = None,
        verbose: int = 0,
    ) -> None:
        self.epsilons = epsilons
        self.scoring_epsilon = scoring_epsilon
        self.norm = norm
        self.C = C
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.clip_values = clip_values
        self.cv = cv
        self.scoring = scoring
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AdversarialLogisticRegressionCV:
        """Choose the radius by cross-validation, and fit with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights in training and in the default score.

        Returns
        -------
        self : AdversarialLogisticRegressionCV
        """
        task = FitTask(self, X, y, sample_weight)
        check_built_in(self.norm)
        options = check_problem(
            self.norm, self.C, self.fit_intercept, self.tol, self.max_iter, self.verbose
        )
        given = indexable(on_host(X))[0]
        X, y = validate_data(self, given, on_host(y), dtype=FLOATS, accept_sparse=SPARSE)
        check_classification_targets(y)
        threat = self._threat(X)
        if threat.clip_values is not None:
            threat.check_data(X)
        self.classes_, index = np.unique(y, return_inverse=True)
        weight = self._weights(X, index, sample_weight)
        check_present(weight, len(self.classes_))
        plain = check_sample_weight(sample_weight, X)
        self.epsilons_ = self._grid(X, index, weight)
        scores, splits = [], list(check_cv(self.cv, y, classifier=True).split(X, y))
        task.begin(len(splits) + 1)
        for train, test in splits:
            fold = task.part("fold")
            fold.begin(0)
            check_present(weight[train], len(self.classes_))
            path = path_of_classes(
                X[train], index[train], weight[train], len(self.classes_), self.epsilons_, options
            )
            rows = _safe_indexing(given, test), y[test], plain[test]
            scores.append([self._score(model, *rows, threat) for model in self._models(path)])
            fold.end(None)
        self.scores_ = np.array(scores)
        means = self.scores_.mean(axis=0)
        self.epsilon_ = float(self.epsilons_[means >= means.max() - 1e-12].min())
        best, refit = self._model(self.epsilon_), task.part("refit")
        with refit.handed_to(best):
            refit.begin(0)
            best.fit(X, y, sample_weight=weight)
            refit.end(None)
        self.coef_, self.intercept_ = best.coef_, best.intercept_
        self.dual_gap_, self.n_iter_ = best.dual_gap_, best.n_iter_
        self._adversary = best._adversary
        task.end()
        return self

    @property
    def _own_epsilon(self) -> Any:
        return self.scoring_epsilon

    def _grid(self, X: Any, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the radii to choose from."""
        if np.ndim(self.epsilons) > 0:
            if not len(self.epsilons):
                raise ValueError("epsilons must hold at least one radius, got none.")
            return np.atleast_1d(check_epsilon(self.epsilons, name="epsilons"))
        n = check_int(self.epsilons, "epsilons", low=1)
        largest = 0.0
        for i, j in itertools.combinations(np.unique(y[weight > 0]), 2):
            mine = np.flatnonzero((y == i) | (y == j))
            options: dict[str, Any] = {"norm": self.norm, "fit_intercept": self.fit_intercept}
            pair = epsilon_max(X[mine], y[mine], sample_weight=weight[mine], **options)
            largest = max(largest, pair)
        return np.linspace(0, largest, n, endpoint=False)

    def _models(self, path: AdversarialPath) -> Iterator[AdversarialLogisticRegression]:
        """Yield the solutions of a path as fitted estimators."""
        for epsilon, coef, intercept in zip(
            path.epsilons, path.coefs, path.intercepts, strict=True
        ):
            model = self._model(float(epsilon))
            model.classes_, model.n_features_in_ = self.classes_, self.n_features_in_
            if hasattr(self, "feature_names_in_"):
                model.feature_names_in_ = self.feature_names_in_
            model.coef_, model.intercept_ = coef, intercept
            yield model

    def _score(
        self,
        model: AdversarialLogisticRegression,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray,
        threat: ThreatModel,
    ) -> float:
        """Return the score of a model on samples as passed to `fit`, with the columns' names."""
        if self.scoring is None:
            return model.robust_score(X, y, sample_weight, epsilon=threat.epsilon)
        return float(check_scoring(model, scoring=self.scoring)(model, X, y))

    def _model(self, epsilon: float) -> AdversarialLogisticRegression:
        return AdversarialLogisticRegression(
            epsilon,
            norm=self.norm,
            C=self.C,
            fit_intercept=self.fit_intercept,
            tol=self.tol,
            max_iter=self.max_iter,
            clip_values=self.clip_values,
            verbose=self.verbose,
        )
