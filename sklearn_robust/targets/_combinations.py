"""Combinations of classifiers ask their members, and put together what these say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.semi_supervised import SelfTrainingClassifier

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds import (
    Elementwise,
    Linear,
    Logs,
    Response,
    Shares,
    Through,
    combined_model,
)
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets._answers import (
    binary_answer,
    decisions,
    probabilities,
    scores_on_input,
    votes,
)
from sklearn_robust.targets._bounded import combined_target
from sklearn_robust.targets._members import classifier_input, member_subject
from sklearn_robust.targets._registry import find_target, register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target


def _combined(subject: Subject, response: Response) -> Target:
    model = combined_model(response, len(subject.classifier.classes_))
    if model is None:
        raise CannotFollowError("some of its members have gradients alone, and some bounds.")
    return combined_target(subject, model)


def _mean(parts: Sequence[tuple[Response, np.ndarray]], weights: Any = None) -> Response:
    """Return the weighted mean of responses, each with the places of its values."""
    shares = np.ones(len(parts)) if weights is None else np.asarray(weights, dtype=np.float64)
    shares = shares / shares.sum()
    return Linear([(part, w * places) for (part, places), w in zip(parts, shares, strict=True)])


def _places(member: Any, classes: Any) -> np.ndarray:
    """Return the matrix that puts the values of a member's classes in those of the whole."""
    return (np.asarray(member.classes_)[:, None] == np.asarray(classes)).astype(np.float64)


@register_target(VotingClassifier)
def _(subject: Subject) -> Target:
    clf: Any = subject.classifier
    answer = probabilities if clf.voting == "soft" else votes
    weights = clf.weights
    if weights is not None:
        kept = [estimator != "drop" for _, estimator in clf.estimators]
        weights = [w for w, keep in zip(weights, kept, strict=True) if keep]
    codes = np.arange(len(clf.classes_))
    parts = [(answer(subject, m), _places(m, codes)) for m in clf.estimators_]
    mean = _mean(parts, weights)
    return _combined(subject, Logs(mean) if clf.voting == "soft" else mean)


@register_target(BaggingClassifier)
def _(subject: Subject) -> Target:
    clf: Any = subject.classifier
    codes, every, parts = np.arange(len(clf.classes_)), np.arange(clf.n_features_in_), []
    for member, taken in zip(clf.estimators_, clf.estimators_features_, strict=True):
        columns = None if np.array_equal(taken, every) else np.asarray(taken)
        answer = probabilities if hasattr(member, "predict_proba") else votes
        parts.append((answer(subject, member, columns), _places(member, codes)))
    return _combined(subject, Logs(_mean(parts)))


@register_target(AdaBoostClassifier)
def _(subject: Subject) -> Target:
    clf: Any = subject.classifier
    parts = [(votes(subject, m), _places(m, clf.classes_)) for m in clf.estimators_]
    return _combined(subject, _mean(parts, clf.estimator_weights_[: len(parts)]))


@register_target(CalibratedClassifierCV)
def _(subject: Subject) -> Target:
    clf: Any = subject.classifier
    parts = [
        (_calibrated(subject, part, len(clf.classes_)), np.eye(len(clf.classes_)))
        for part in clf.calibrated_classifiers_
    ]
    return _combined(subject, Logs(_mean(parts)))


def _calibrated(subject: Subject, part: Any, n_classes: int) -> Response:
    member = part.estimator
    if part.method not in ("sigmoid", "isotonic"):
        raise CannotFollowError(f"method={part.method!r} has no known bounds.")
    if n_classes == 2:
        scores = binary_answer(subject, member)[0]
    else:
        answer = decisions if hasattr(member, "decision_function") else probabilities
        scores = answer(subject, member)
    functions = [_Calibration(calibrator) for calibrator in part.calibrators]
    slopes = [function.slope for function in functions]
    shares = Elementwise(scores, functions, slopes, [function.rises for function in functions])
    if n_classes == 2:
        return Linear([(shares, np.array([[-1.0, 1.0]]))], np.array([1.0, 0.0]))
    places = _places(member, part.classes)
    return Shares(
        shares if np.array_equal(places, np.eye(n_classes)) else Linear([(shares, places)])
    )


class _Calibration:
    """From a score to a probability, as scikit-learn's calibrators have it."""

    def __init__(self, calibrator: Any) -> None:
        self.calibrator = calibrator
        self.rises = getattr(calibrator, "a_", -1.0) <= 0 and getattr(
            calibrator, "increasing_", True
        )

    def __call__(self, score: np.ndarray) -> np.ndarray:
        calibrator = self.calibrator
        if hasattr(calibrator, "a_"):
            return expit(-(calibrator.a_ * score + calibrator.b_))
        return np.interp(score, calibrator.X_thresholds_, calibrator.y_thresholds_)

    def slope(self, score: np.ndarray) -> np.ndarray:
        calibrator = self.calibrator
        if hasattr(calibrator, "a_"):
            z = -(calibrator.a_ * score + calibrator.b_)
            return -calibrator.a_ * expit(z) * expit(-z)
        x, p = calibrator.X_thresholds_, calibrator.y_thresholds_
        if len(x) < 2:
            return np.zeros(score.shape)
        # Steps are flat: the rise of a chord over a tenth of the range leads across them.
        reach = 0.05 * (x[-1] - x[0])
        return (np.interp(score + reach, x, p) - np.interp(score - reach, x, p)) / (2 * reach)


@register_target(OneVsRestClassifier)
def _(subject: Subject) -> Target | None:
    clf: Any = subject.classifier
    if clf.label_binarizer_.y_type_ not in ("binary", "multiclass"):
        return None
    answers = [binary_answer(subject, member) for member in clf.estimators_]
    if len(answers) == 1:
        (answer, threshold), *_ = answers
        return _combined(subject, _above(answer, threshold))
    places = np.eye(len(answers))
    return _combined(subject, Linear([(a, places[[k]]) for k, (a, _) in enumerate(answers)]))


def _above(answer: Response, threshold: float, positive: bool = True) -> Response:
    """Return scores that favour one class where the answer is above the threshold."""
    place = np.array([[0.0, 1.0]]) if positive else np.array([[1.0, 0.0]])
    return Linear([(answer, place)], -threshold * place[0])


@register_target(OneVsOneClassifier)
def _(subject: Subject) -> Target | None:
    clf: Any = subject.classifier
    n_classes = len(clf.classes_)
    if clf.pairwise_indices_ is not None:
        return None
    if n_classes == 2:
        return _combined(subject, _above(*binary_answer(subject, clf.estimators_[0])))
    pairs = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]
    places = np.eye(n_classes)
    counted, sure = [], []
    for (i, j), member in zip(pairs, clf.estimators_, strict=True):
        counted.append((votes(subject, member), places[[i, j]]))
        sure.append((binary_answer(subject, member)[0], (places[j] - places[i])[None]))
    confidence = Elementwise(
        Linear(sure), [_squashed] * n_classes, [_squashing] * n_classes, [True] * n_classes
    )
    return _combined(subject, Linear([(Linear(counted), places), (confidence, places)]))


def _squashed(x: np.ndarray) -> np.ndarray:
    return x / (3 * (abs(x) + 1))


def _squashing(x: np.ndarray) -> np.ndarray:
    return 1 / (3 * (abs(x) + 1) ** 2)


@register_target(OutputCodeClassifier)
def _(subject: Subject) -> Target:
    """The nearest code: squared distances differ by a linear function of the answers."""
    clf: Any = subject.classifier
    code = np.asarray(clf.code_book_, dtype=np.float64)
    parts = [
        (binary_answer(subject, member)[0], 2 * code[:, [k]].T)
        for k, member in enumerate(clf.estimators_)
    ]
    return _combined(subject, Linear(parts, -(code**2).sum(axis=1)))


@register_target(FixedThresholdClassifier)
@register_target(TunedThresholdClassifierCV)
def _(subject: Subject) -> Target:
    clf: Any = subject.classifier
    member = getattr(clf, "estimator_", clf.estimator)
    positive = getattr(clf, "pos_label", None) in (None, clf.classes_[1])
    by_share = clf.response_method != "decision_function" and hasattr(member, "predict_proba")
    threshold: Any = getattr(clf, "best_threshold_", getattr(clf, "threshold", "auto"))
    if by_share:
        place = np.array([[0.0], [1.0]]) if positive else np.array([[1.0], [0.0]])
        answer: Response = Linear([(probabilities(subject, member), place)])
    else:
        answer = decisions(subject, member)
        answer = answer if positive else Linear([(answer, np.array([[-1.0]]))])
    threshold = (0.5 if by_share else 0.0) if threshold == "auto" else float(threshold)
    return _combined(subject, _above(answer, threshold, positive))


@register_target(StackingClassifier)
def _(subject: Subject) -> Target | None:
    clf: Any = subject.classifier
    if clf.passthrough or isinstance(clf._label_encoder, list):
        return None
    one = np.asarray(subject.front.as_dense().samples.rows[:1], dtype=np.float64)
    Z = np.asarray(clf.transform(classifier_input(subject)))
    places, joined, start = np.eye(Z.shape[1]), [], 0
    for member, method in zip(clf.estimators_, clf.stack_method_, strict=True):
        part = _stacked_answer(subject, member, method, len(clf.classes_))
        stop = start + part.values(one).shape[1]
        joined.append((part, places[start:stop]))
        start = stop
    final = replace(
        subject, estimator=clf.final_estimator_, classifier=clf.final_estimator_, X=Z, y=None,
        steps=[], raw_threat=ThreatModel(1.0),
    )  # fmt: skip
    return _combined(subject, Through(scores_on_input(final), Linear(joined)))


def _stacked_answer(subject: Subject, member: Any, method: str, n_classes: int) -> Response:
    if method == "predict_proba":
        answer = probabilities(subject, member)
        return Linear([(answer, np.array([[0.0], [1.0]]))]) if n_classes == 2 else answer
    if method == "decision_function":
        return decisions(subject, member)
    raise CannotFollowError(f"stack_method={method!r} is a label, which is no number.")


@register_target(SelfTrainingClassifier)
def _(subject: Subject) -> Target | None:
    """Predicts as the classifier it has trained."""
    inner = member_subject(subject, subject.classifier.estimator_)
    whole = replace(inner, estimator=subject.estimator, y=subject.y)
    return find_target(whole)


@register_target(VotingClassifier)
@register_target(BaggingClassifier)
@register_target(AdaBoostClassifier)
def _(subject: Subject) -> Target | None:
    """A sum of trees is searched as a whole, before its members are asked."""
    from sklearn_robust.targets._trees import tree_target  # others do not pay for the search

    try:
        return tree_target(subject)
    except CannotFollowError:
        return None
