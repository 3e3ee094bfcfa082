"""The scores of any classifier, in the form that an attack without gradients climbs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import logit
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.pipeline import Pipeline

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import ScoreModel
from sklearn_robust.preprocessing import (
    Affine,
    CannotFollowError,
    Samples,
    all_columns,
    dense,
    movable_columns,
    some_columns,
)
from sklearn_robust.targets._categories import declared_categories
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Attacked, Target

_TINY = np.finfo(np.float64).tiny
_SURE = -float(np.log(_TINY))  # the logit of a probability that is 1 but for that


def score_target(subject: Subject, obstacle: str) -> Target:
    """Return the target of a classifier that answers and says no more.

    Where it has no scores either, its labels stand for them.
    """
    scores = scores_of(subject.estimator)
    movable = movable_columns(subject.steps, subject.table) & ~_declared(subject)
    samples = (
        all_columns(subject.table, movable)
        if movable.all()
        else some_columns(subject.table, np.flatnonzero(movable), movable)
    )
    samples = dense(samples)
    model = ScoreModel(RawScores(scores, samples), len(subject.classes_))
    cls = Target if movable.any() else UnmovedTarget
    return cls(subject, samples, model, obstacle)


def unmoved_target(subject: Subject, obstacle: str) -> Target:
    """Return the target of a classifier that answers alike whatever an adversary does."""
    samples, scores = dense(subject.front.samples), scores_of(subject.estimator)
    model = ScoreModel(RawScores(scores, samples), len(subject.estimator.classes_))
    return UnmovedTarget(subject, samples, model, obstacle)


def still_target(subject: Subject) -> Target:
    """Return the target of a classifier of which an adversary moves no column at all."""
    none = np.zeros(0, dtype=np.intp)
    samples = some_columns(subject.table, none, np.zeros(len(subject.table.numeric), dtype=bool))
    model = ScoreModel(RawScores(scores_of(subject.estimator), samples), len(subject.classes_))
    return UnmovedTarget(subject, samples, model, "No column moves.")


class UnmovedTarget(Target):
    """A classifier of what no adversary moves, or of nothing: it is right where it is right."""

    kind = "exact"

    def check(self, attack: Any = "auto") -> None:
        super().check("square")

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        return Attacked(self.certified(threat, "auto", among=among), {"exact": 0}, "exact")

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        return self.samples.restore(self.rows, all_rows=True)

    @property
    def certificate_obstacle(self) -> str | None:
        return None

    def certificate(self, method: str) -> str:
        return "exact"

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        return self.clean if among is None else self.clean & among

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        return np.where(self.clean, np.inf, 0.0)

    def distance_bounds(
        self, unit: ThreatModel, attack: Any = None, **run: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        distance = self.distances(unit, attack, **run)
        return distance, distance

    def gradients(self) -> np.ndarray:
        return self.samples.scatter(np.zeros(self.rows.shape))


def _declared(subject: Subject) -> np.ndarray:
    """Return for each raw column whether the classifier was told that it holds categories."""
    classifier, n_raw = subject.classifier, len(subject.table.numeric)
    if not subject.steps:
        return declared_categories(classifier, n_raw)
    found = np.zeros(n_raw, dtype=bool)
    n_columns = getattr(classifier, "n_features_in_", 0)
    declared = declared_categories(classifier, n_columns) if n_columns else found
    if not declared.any():
        return found
    try:
        front = subject.front
    except CannotFollowError:  # and nobody can say where they come from
        return found
    if isinstance(front.block, Affine):
        read = abs(sparse.csr_array(front.block.matrix)[:, np.flatnonzero(declared)]).sum(axis=1)
        columns = front.samples.columns
        columns = np.arange(n_raw) if columns is None else columns
        found[columns] = read[: len(columns)] > 0
    return found


class RawScores:
    """Scores of rows; an object and not a closure, so that it travels to other processes."""

    def __init__(self, scores: Callable, samples: Samples) -> None:
        self.scores, self.samples = scores, samples

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        try:
            return self.scores(self.samples.restore(rows))
        except ValueError as error:
            error.add_note(
                "The classifier was asked for samples that an attack had moved. If it cannot take "
                "such values, pass clip_values, a range for each feature."
            )
            raise


def scores_of(estimator: Any) -> Callable[[Any], np.ndarray]:
    """Return the function from samples to scores, shape (n_samples, n_classes).

    The scores are those of `decision_function` where there is one, else the logarithm of
    `predict_proba`, which goes on falling where a probability is 1 to the last digit, else 1 for
    the predicted class and 0 for the others. With a threshold of its own (scikit-learn's
    `FixedThresholdClassifier`) they are relative to it.
    """
    estimator = _scoring(estimator)
    if hasattr(estimator, "decision_function"):
        return _Decision(estimator)
    if hasattr(estimator, "predict_proba"):
        return _LogProbability(estimator)
    return _Labels(estimator)


def _scoring(estimator: Any) -> Any:
    """Return a fitted classifier in a form whose highest score is that of the predicted class."""
    if isinstance(estimator, FrozenEstimator):
        return _scoring(estimator.estimator)
    if isinstance(estimator, Pipeline):
        last = estimator.steps[-1][1]
        found = _scoring(last)
        if len(estimator.steps) == 1:
            return found
        return estimator if found is last else _Last(estimator, found)
    if getattr(estimator, "decision_function_shape", None) == "ovo":  # scores of pairs of classes
        estimator = copy.copy(estimator)
        estimator.decision_function_shape = "ovr"
    pairs = getattr(estimator, "base_estimator_", None)
    if isinstance(pairs, OneVsOneClassifier):  # of a Gaussian process, which has no probabilities
        return pairs
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


class _Labels:
    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __call__(self, X: np.ndarray) -> np.ndarray:
        classes = self.estimator.classes_
        found = np.searchsorted(classes, np.ravel(np.asarray(self.estimator.predict(X))))
        return np.eye(len(classes))[found]


class _LogProbability:
    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __call__(self, X: np.ndarray) -> np.ndarray:
        probability = np.asarray(self.estimator.predict_proba(X))
        # NaN passes through `maximum`: a broken classifier must not look like a sure one.
        return np.log(np.maximum(probability, _TINY))
