"""Any classifier as attacks see it through its scores, and the choice of model for an estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_robust.attacks._model import Model, TorchModel

_TINY = np.finfo(np.float64).tiny
_SURE = -float(np.log(_TINY))  # the logit of a probability that is 1 but for that


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

    @classmethod
    def of(cls, estimator: Any) -> ScoreModel:
        """Return a fitted scikit-learn classifier as attacks see it.

        The scores are those of `decision_function` where there is one, else the logarithm of
        `predict_proba`, which goes on falling where a probability is 1 to the last digit. With a
        threshold of its own (scikit-learn's `FixedThresholdClassifier`) they are relative to it.
        """
        estimator = _scoring(estimator)
        if hasattr(estimator, "decision_function"):
            score: Callable = _Decision(estimator)
        elif hasattr(estimator, "predict_proba"):
            score = _LogProbability(estimator)
        else:
            raise ValueError(
                f"{type(estimator).__name__} has neither decision_function nor predict_proba, so "
                "there are no scores for an attack to climb. Use a classifier that gives scores."
            )
        return cls(score, len(estimator.classes_))

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


def _scoring(estimator: Any) -> Any:
    """Return a fitted classifier in a form whose highest score is that of the predicted class."""
    if isinstance(estimator, FrozenEstimator):
        return _scoring(estimator.estimator)
    if isinstance(estimator, Pipeline):
        last = estimator.steps[-1][1]
        found = _scoring(last)
        return estimator if found is last else _Last(estimator, found)
    if getattr(estimator, "decision_function_shape", None) == "ovo":  # scores of pairs of classes
        estimator = copy.copy(estimator)
        estimator.decision_function_shape = "ovr"
    if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return _AboveThreshold(estimator)
    return estimator


class _Last:
    """A fitted pipeline with another last step."""

    def __init__(self, pipeline: Pipeline, last: Any) -> None:
        self.front, self.last, self.classes_ = pipeline[:-1], last, pipeline.classes_

    def decision_function(self, X: Any) -> np.ndarray:
        return self.last.decision_function(self.front.transform(X))


class _AboveThreshold:
    """How far a fitted binary classifier's score is above the threshold from which it says yes."""

    def __init__(self, estimator: Any) -> None:
        self.estimator, self.classes_ = estimator, estimator.classes_

    def decision_function(self, X: Any) -> np.ndarray:
        outer = self.estimator
        inner = getattr(outer, "estimator_", outer.estimator)
        positive = getattr(outer, "pos_label", None) in (None, self.classes_[1])
        threshold = getattr(outer, "best_threshold_", getattr(outer, "threshold", "auto"))
        if outer.response_method != "decision_function" and hasattr(inner, "predict_proba"):
            share = inner.predict_proba(X)[:, 1 if positive else 0]
            above = logit(share) - logit(0.5 if threshold == "auto" else threshold)
            above = above.clip(-_SURE, _SURE)  # a NaN stays one
        else:
            score = inner.decision_function(X) * (1 if positive else -1)
            above = score - (0.0 if threshold == "auto" else threshold)
        return above if positive else -above


class _Decision:
    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __call__(self, X: np.ndarray) -> np.ndarray:
        scores = np.asarray(self.estimator.decision_function(X))
        return np.column_stack([-scores, scores]) / 2 if scores.ndim == 1 else scores


class _LogProbability:
    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __call__(self, X: np.ndarray) -> np.ndarray:
        probability = np.asarray(self.estimator.predict_proba(X))
        # NaN passes through `maximum`: a broken classifier must not look like a sure one.
        return np.log(np.maximum(probability, _TINY))


def as_model(estimator: Any) -> Model:
    """Return a fitted classifier as attacks see it.

    Networks of this library are seen with gradients, everything else through its scores.

    Parameters
    ----------
    estimator : classifier
        Fitted, with `decision_function` or `predict_proba`.

    Returns
    -------
    model : TorchModel or ScoreModel

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If it is no classifier, or gives no scores.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_robust import attacks
    >>> model = attacks.as_model(DecisionTreeClassifier().fit([[0.], [1.]], [0, 1]))
    >>> X, y, threat = np.array([[0.4]]), np.array([0]), attacks.ThreatModel(0.2)
    >>> attacks.Square(10).perturb(model, X, y, threat, np.random.default_rng(0)).round(1)
    array([[0.6]])
    """
    check_is_fitted(estimator)
    if all(hasattr(estimator, name) for name in ("module_", "classes_", "input_shape_")):
        return TorchModel(estimator.module_, len(estimator.classes_))
    if not hasattr(estimator, "classes_"):
        raise ValueError(f"{type(estimator).__name__} is no classifier: it has no classes_.")
    return ScoreModel.of(estimator)
