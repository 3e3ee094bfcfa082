"""Any classifier, trained again and again on its own worst cases: a meta-estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
    validate_data,
)

from sklearn_robust._arrays import on_host
from sklearn_robust._fit_tasks import CallbackSupportMixin, FitTask, with_callbacks
from sklearn_robust._threat import ThreatModel
from sklearn_robust._training_rows import TrainingRows
from sklearn_robust._validation import check_int, check_sample_weight, check_seed, draw_seed
from sklearn_robust.preprocessing import column_names, is_frame
from sklearn_robust.targets import RobustClassifierMixin, perturb


def _has(name: str) -> Any:
    """Return the condition that the classifier inside, fitted or not, has a method."""

    def check(self: AdversarialTrainingClassifier) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)  # an AttributeError that says it
        return True

    return available_if(check)


class AdversarialTrainingClassifier(
    CallbackSupportMixin, RobustClassifierMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator
):
    r"""A classifier that is fitted again and again to the data and its own mistakes around them.

    .. math:: F_0 = \mathrm{fit}(D), \quad
              F_{t+1} = \mathrm{fit}\big(D \cup \bigcup_{s \le t}
              \{(x', y) : (x, y) \in D, \; F_s(x) = y \ne F_s(x'), \; x' \in A(x)\}\big)

    This is iterative retraining [1]_, or hardening by adversarial examples [2]_, for any
    classifier of scikit-learn's world: ``perturb`` finds the points x' as it does for that
    classifier, exactly for tree ensembles, linear classifiers and one nearest neighbour, along
    gradients for networks and support vector machines. It stops when no round finds a mistake. It
    promises nothing: whether it helps depends on the family (see "Adversarial training of any
    classifier" in the documentation). Networks and linear models of this library are trained
    against their adversary in every step instead.

    Parameters
    ----------
    estimator : classifier
        Its clones are fitted; a Pipeline too, whose input is moved.
    epsilon : float, array of shape (n_features,) or TabularThreat, default=0.1
        Radius of the adversary, in the units of X as passed.
    n_rounds : int, default=5
        Fits after the first one at the most; 0: only that.
    norm : {"linf", "l2", "l1"}, default="linf"
    clip_values : (low, high) or None, default=None
        Valid range of the data, in which the adversary stays.
    attack : str or an attack, default="auto"
        As in `robust_score`.
    random_state : int, RandomState instance or None, default=0
        Seed of the attacks. The classifier has its own.
    n_jobs : int, optional
        As in `robust_score`.
    verbose : int, default=0
        1 or more: say how many mistakes each round finds.

    Attributes
    ----------
    estimator_ : classifier
        The last one fitted.
    classes_ : ndarray of shape (n_classes,)
    n_rounds_ : int
        Fits after the first one.
    n_mistakes_ : list of int
        How many samples each attack broke, those of weight 0 left out.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined where X has feature names that are all strings.

    Notes
    -----
    A sample and the points found around it share its weight equally, so that hard samples do not
    count more than others. A classifier without ``sample_weight`` is fitted to all of them alike.
    In a Pipeline the last step is asked.

    References
    ----------
    .. [1] Li, Vorobeychik, Chen, "A General Retraining Framework for Scalable Adversarial
       Classification", 2016, Algorithm 1.
    .. [2] Kantchelian, Tygar, Joseph, "Evasion and Hardening of Tree Ensemble Classifiers", 2016,
       section 5.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_robust import AdversarialTrainingClassifier, robust_score
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)[:, [0, 1, 4, 7]]
    >>> X, y, X_test, y_test = X[:300], y[:300], X[300:], y[300:]
    >>> tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    >>> clf = AdversarialTrainingClassifier(tree, 0.2, n_rounds=3).fit(X, y)
    >>> plain = robust_score(tree.fit(X, y), X_test, y_test, epsilon=0.2)
    >>> round(plain, 2), round(clf.robust_score(X_test, y_test), 2)
    (0.8, 0.87)
    """

    def __init__(
        self,
        estimator: Any,
        epsilon: Any = 0.1,
        *,
        n_rounds: int = 5,
        norm: str = "linf",
        clip_values: Any = None,
        attack: Any = "auto",
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.epsilon = epsilon
        self.n_rounds = n_rounds
        self.norm = norm
        self.clip_values = clip_values
        self.attack = attack
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.classifier_tags.multi_class = inner.classifier_tags.multi_class
        tags.classifier_tags.poor_score = inner.classifier_tags.poor_score
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AdversarialTrainingClassifier:
        """Fit to the data, then to the data and the mistakes found around them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            An array, a sparse matrix or a data frame, as the classifier takes it.
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : AdversarialTrainingClassifier

        Raises
        ------
        ValueError
            If a parameter breaks its rule, or there are weights and the classifier takes none.
        """
        task = FitTask(self, X, y, sample_weight)
        n_rounds = check_int(self.n_rounds, "n_rounds", low=0)
        check_seed(self.random_state)
        X, y = self._checked(X, y)
        threat = ThreatModel.for_columns(
            column_names(X), self.epsilon, self.norm, self.clip_values, self.n_features_in_
        )
        self.classes_ = np.unique(y)
        weight = check_sample_weight(sample_weight, X)
        if sample_weight is not None and self._weight_name is None:
            name = type(self.estimator).__name__
            raise ValueError(f"sample_weight must be None: {name} takes no weights.")
        data = TrainingRows(X, y, weight)
        task.begin(n_rounds)
        self.estimator_ = self._fitted(data)
        self.n_rounds_, self.n_mistakes_ = 0, []
        seeds = np.random.SeedSequence(draw_seed(self.random_state)).generate_state(n_rounds)
        for seed in seeds.tolist():
            part = task.part("round")
            part.begin(0)
            points, broken = self._mistakes(X, y, seed)
            broken = broken[weight[broken] > 0]
            self.n_mistakes_.append(len(broken))
            if self.verbose:
                print(f"round {self.n_rounds_ + 1}: {len(broken)} of {len(y)} samples broken")
            if len(broken):
                data.add(points, broken)
                self.estimator_ = self._fitted(data)
                self.n_rounds_ += 1
            if part.end(lambda: {"estimator_": self.estimator_}) or not len(broken):
                break
        self._remember_adversary(threat, f"{self.n_rounds_} rounds of retraining")
        task.end()
        return self

    def _checked(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Return samples as the classifier takes them, and labels; frames are left as they are."""
        if is_frame(X):
            validate_data(self, X, skip_check_array=True)
            y = column_or_1d(y, warn=True)
        else:
            tags = get_tags(self).input_tags
            X, y = validate_data(
                self,
                on_host(X),
                on_host(y),
                dtype=None,
                accept_sparse=("csr", "csc") if tags.sparse else False,
                ensure_all_finite="allow-nan" if tags.allow_nan else True,
            )
        check_classification_targets(y)
        return X, np.asarray(y)

    @property
    def _weight_name(self) -> str | None:
        """What the weights are called in the classifier's `fit`; None if it takes none."""
        last, name = self.estimator, "sample_weight"
        while isinstance(last, Pipeline):
            step, last = last.steps[-1]
            name = f"{step}__{name}"
        return name if has_fit_parameter(last, "sample_weight") else None

    def _fitted(self, data: TrainingRows) -> Any:
        name = self._weight_name
        options = {} if name is None else {name: data.weights()}
        routing = get_config()["enable_metadata_routing"] and not isinstance(
            self.estimator, Pipeline
        )  # under which a pipeline takes no weights for a step by its name
        with config_context(enable_metadata_routing=routing):
            return clone(self.estimator).fit(*data.samples(), **options)

    def _mistakes(self, X: Any, y: np.ndarray, seed: int) -> tuple[Any, np.ndarray]:
        """Return the worst points around all samples, and which of those that were right break."""
        right = self.estimator_.predict(X) == y
        points = perturb(
            self.estimator_,
            X,
            y,
            epsilon=self.epsilon,
            norm=self.norm,
            clip_values=self.clip_values,
            attack=self.attack,
            random_state=seed,
            n_jobs=self.n_jobs,
        )
        return points, np.flatnonzero(right & (self.estimator_.predict(points) != y))

    @property
    def _retrained(self) -> Any:
        """The classifier that targets look into."""
        return self.estimator_

    @_has("predict")
    def predict(self, X: Any) -> np.ndarray:
        """Return the labels that the classifier predicts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        return self._asked("predict", X)

    @_has("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classifier's probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
        """
        return self._asked("predict_proba", X)

    @_has("predict_log_proba")
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the classifier's probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
        """
        return self._asked("predict_log_proba", X)

    @_has("decision_function")
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the classifier's scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._asked("decision_function", X)

    def _asked(self, method: str, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return getattr(self.estimator_, method)(on_host(X))
