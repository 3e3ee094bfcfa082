"""Classifiers that are linear without saying so, and those that never look at their input."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neighbors import NearestCentroid

from sklearn_robust._linear_scores import two_rows
from sklearn_robust.bounds import Polynomials, SmoothSumModel
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._linear import LinearTarget, linear_target
from sklearn_robust.targets._members import classifier_input, member_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._scores import unmoved_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

_DIGITS = 1e-6  # to which a member's scores are those of a linear rule

Line = tuple[np.ndarray, float]  # weights and intercept on the rows of the samples


@register_target(DummyClassifier)
def _(subject: Subject) -> Target | None:
    """The same answer to everything, unless it is drawn."""
    if subject.classifier.strategy in ("stratified", "uniform"):
        return None
    return unmoved_target(subject, "DummyClassifier does not look at its input.")


@register_target(NearestCentroid)
def _(subject: Subject) -> Target | None:
    """The squared distances of two classes differ by a linear function, those by feature too."""
    clf: Any = subject.classifier
    means, prior, spread = clf.centroids_, np.log(clf.class_prior_), clf.within_class_std_dev_
    uniform = bool(np.isclose(clf.class_prior_, 1 / len(clf.classes_)).all())
    if clf.metric == "manhattan" and uniform:
        return bounded_target(subject, _absolute_distances(means))
    if clf.metric != "euclidean":
        return None
    scale = np.ones_like(spread) if uniform else np.where(spread != 0, spread, 1.0) ** 2
    intercept = -(means**2 / scale).sum(axis=1) + (0 if uniform else 2 * prior)
    return linear_target(subject, 2 * means / scale, intercept)


def _absolute_distances(means: np.ndarray) -> SmoothSumModel:
    """Return ``-sum_j abs(x_j - mean_kj)``, linear between the means."""
    knots = np.sort(means, axis=0).T
    ends = np.full((len(knots), 1), np.inf)
    knots = np.hstack([-ends, knots, ends])
    centres = np.where(np.isfinite(knots[:, :-1]), knots[:, :-1], knots[:, 1:])
    coef = np.zeros((*means.shape, len(means) + 1, 4))
    side = np.where(knots[:, 1:] <= means[..., None], 1.0, -1.0)  # rising up to the mean
    coef[..., 0], coef[..., 1] = side * (centres - means[..., None]), side
    size = (abs(means).max(axis=0) + abs(means)).sum(axis=1)
    return SmoothSumModel(np.zeros(len(means)), Polynomials(knots, centres, coef), size)


@register_target(OneVsRestClassifier)
def _(subject: Subject) -> Target | None:
    clf: Any = subject.classifier
    if clf.label_binarizer_.y_type_ not in ("binary", "multiclass"):
        return None
    return _stacked(subject, [_line(subject, member) for member in clf.estimators_])


@register_target(OneVsOneClassifier)
def _(subject: Subject) -> Target | None:
    """Of two classes there is one pair; more vote, and votes are not linear."""
    clf: Any = subject.classifier
    if len(clf.classes_) != 2 or clf.pairwise_indices_ is not None:
        return None
    return _stacked(subject, [_line(subject, clf.estimators_[0])])


@register_target(FixedThresholdClassifier)
@register_target(TunedThresholdClassifierCV)
def _(subject: Subject) -> Target | None:
    clf: Any = subject.classifier
    member = getattr(clf, "estimator_", clf.estimator)
    line = _line(subject, member)
    if line is None:
        return None
    positive = getattr(clf, "pos_label", None) in (None, clf.classes_[1])
    threshold: Any = getattr(clf, "best_threshold_", getattr(clf, "threshold", "auto"))
    sign = 1 if positive else -1
    by_share = clf.response_method == "predict_proba" or (
        clf.response_method == "auto" and hasattr(member, "predict_proba")
    )
    if by_share and threshold != "auto":
        if not 0 < threshold < 1 or not _is_logistic(subject, member):
            return None
        threshold = logit(threshold)
    threshold = 0.0 if threshold == "auto" else float(threshold)
    return _stacked(subject, [(line[0], line[1] - sign * threshold)])


@register_target(CalibratedClassifierCV)
def _(subject: Subject) -> Target | None:
    """A single calibration of two classes moves the threshold of a linear rule, and no more."""
    clf: Any = subject.classifier
    if len(clf.classes_) != 2 or len(clf.calibrated_classifiers_) != 1:
        return None
    calibrated = clf.calibrated_classifiers_[0]
    line, calibrator = _line(subject, calibrated.estimator), calibrated.calibrators[0]
    if line is None:
        return None
    if calibrated.method == "sigmoid":
        slope, offset = -calibrator.a_, -calibrator.b_
        return _stacked(subject, [(slope * line[0], slope * line[1] + offset)])
    if calibrated.method == "isotonic":
        crossing = _crossing(calibrator)
        return None if crossing is None else _stacked(subject, [(line[0], line[1] - crossing)])
    return None


def _crossing(isotonic: Any) -> float | None:
    """Return the last score whose calibrated probability is not above a half, None if none is."""
    x, p = isotonic.X_thresholds_, isotonic.y_thresholds_
    if not p[0] <= 0.5 < p[-1]:
        return None
    k = int(np.flatnonzero(p <= 0.5)[-1])
    return float(x[k] + (0.5 - p[k]) / (p[k + 1] - p[k]) * (x[k + 1] - x[k]))


def _line(subject: Subject, member: Any) -> Line | None:
    """Return the decision of a binary member as a linear function of the rows; None: it is not."""
    if not hasattr(member, "decision_function"):
        return None
    if type(member).__name__ == "_ConstantPredictor":
        n_values = subject.front.as_dense().samples.rows.shape[1]
        return np.zeros(n_values), float(member.y_[0])
    try:
        target = member_target(subject, member)
    except CannotFollowError:
        return None
    if not isinstance(target, LinearTarget) or len(member.classes_) != 2:
        return None
    coef, intercept = two_rows(target.coef, target.intercept)
    weights, offset = coef[1] - coef[0], float(intercept[1] - intercept[0])
    decision = np.ravel(member.decision_function(classifier_input(subject)))
    ours = target.rows @ weights + offset
    same = np.allclose(ours, decision, rtol=0, atol=_DIGITS * (1 + abs(decision).max(initial=0)))
    return (weights, offset) if same else None


def _is_logistic(subject: Subject, member: Any) -> bool:
    """Whether the odds that a binary member gives are its decisions."""
    Z = classifier_input(subject)
    share, decision = member.predict_proba(Z)[:, 1], member.decision_function(Z)
    return np.allclose(share, 1 / (1 + np.exp(-decision)), rtol=0, atol=_DIGITS)


def _stacked(subject: Subject, lines: list[Line | None]) -> Target | None:
    """Return the target of a classifier that takes the highest of some linear scores."""
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        return None
    samples = subject.front.as_dense().samples
    coef = np.array([weights for weights, _ in known])
    target = LinearTarget(subject, samples, coef, np.array([offset for _, offset in known]))
    scores = target.model.logits(samples.rows)
    slack = _DIGITS * (1 + abs(scores).max(initial=0))
    behind = scores.max(axis=1) - np.take_along_axis(scores, target.predicted[:, None], 1)[:, 0]
    return None if (behind > slack).any() else target
