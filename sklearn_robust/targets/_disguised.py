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

from sklearn_robust.bounds import Polynomials, SmoothSumModel
from sklearn_robust.preprocessing import Affine, CannotFollowError, Sizes
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._linear import LinearTarget, linear_target
from sklearn_robust.targets._members import classifier_input, member_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._scores import unmoved_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

_DIGITS = 1e-6  # to which a member's scores are those of a linear rule
_ROUNDINGS = 64  # of a difference of squares, a logistic function or an interpolation


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
    coef = 2 * means / scale
    size = abs(means).max(axis=0)
    return linear_target(subject, coef, intercept, size=size, squares=1 / scale)


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
        return _stacked(subject, [line.then(_moved(1, -sign * logit(threshold), threshold))])
    threshold = 0.0 if threshold == "auto" else float(threshold)
    return _stacked(subject, [line.then(_moved(1, -sign * threshold))])


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
        moved = _moved(-calibrator.a_, -calibrator.b_, 0.5)
        return _stacked(subject, [line.then(moved)])
    if calibrated.method == "isotonic":
        crossing = _crossing(calibrator)
        return None if crossing is None else _stacked(subject, [line.then(crossing)])
    return None


def _moved(slope: float, offset: float, probability: float | None = None) -> Affine:
    """Return ``slope * score + offset``, whose sign tells if a probability is above another."""
    matrix, constant = np.array([[float(slope)]]), np.array([float(offset)])
    # A probability p that is off by its rounding moves the odds by that over p (1 - p).
    odds = 0.0 if probability is None else 1 / (probability * (1 - probability))
    return Affine(matrix, constant, Sizes(abs(matrix), abs(constant) + odds, _ROUNDINGS))


def _crossing(isotonic: Any) -> Affine | None:
    """Return a score less the last whose calibrated probability is not above a half, if there is.

    None if there is not.
    """
    x, p = isotonic.X_thresholds_, isotonic.y_thresholds_
    if not p[0] <= 0.5 < p[-1]:
        return None
    k = int(np.flatnonzero(p <= 0.5)[-1])
    steepness = (p[k + 1] - p[k]) / (x[k + 1] - x[k])
    one, at = np.ones((1, 1)), np.array([x[k] + (0.5 - p[k]) / steepness])
    sizes = Sizes(one, abs(x[k : k + 2]).sum(keepdims=True) + 1 / steepness, _ROUNDINGS)
    return Affine(one, -at, sizes)


def _line(subject: Subject, member: Any) -> Affine | None:
    """Return the decision of a binary member as a linear function of the rows; None: it is not."""
    if not hasattr(member, "decision_function"):
        return None
    if type(member).__name__ == "_ConstantPredictor":
        n_values = subject.front.as_dense().samples.rows.shape[1]
        return Affine(np.zeros((n_values, 1)), np.array([float(member.y_[0])]))
    try:
        target = member_target(subject, member)
    except CannotFollowError:
        return None
    if not isinstance(target, LinearTarget) or len(member.classes_) != 2:
        return None
    if target.resolution != subject.table.resolution:  # a member with scores of single precision
        return None
    line = target.rule
    if line.n_out == 2:
        line = line.then(Affine(np.array([[-1.0], [1.0]]), np.zeros(1)))
    decision = np.ravel(member.decision_function(classifier_input(subject)))
    off = abs(np.ravel(line(target.rows)) - decision)
    return None if (off > _slack(target, decision)).any() else line


def _slack(target: LinearTarget, scores: np.ndarray) -> np.ndarray:
    """Return by how much scores may differ from those of a linear rule for each sample."""
    digits = _DIGITS * (1 + abs(scores).max(initial=0))
    return np.maximum(digits, target.rounding(target.rows, target.threat.scaled(0)))


def _is_logistic(subject: Subject, member: Any) -> bool:
    """Whether the odds that a binary member gives are its decisions."""
    Z = classifier_input(subject)
    share, decision = member.predict_proba(Z)[:, 1], member.decision_function(Z)
    return np.allclose(share, 1 / (1 + np.exp(-decision)), rtol=0, atol=_DIGITS)


def _stacked(subject: Subject, lines: list[Affine | None]) -> Target | None:
    """Return the target of a classifier that takes the highest of some linear scores."""
    known = [line for line in lines if line is not None]
    if len(known) < len(lines):
        return None
    samples = subject.front.as_dense().samples
    target = LinearTarget(subject, samples, _side_by_side(known))
    scores = target.model.logits(samples.rows)
    behind = scores.max(axis=1) - np.take_along_axis(scores, target.predicted[:, None], 1)[:, 0]
    return None if (behind > _slack(target, scores)).any() else target


def _side_by_side(lines: list[Affine]) -> Affine:
    """Return the map to the results of several, each a number."""
    sizes = [line.sizes for line in lines]
    return Affine(
        np.hstack([line.matrix for line in lines]),
        np.concatenate([line.offset for line in lines]),
        Sizes(
            np.hstack([size.matrix for size in sizes]),
            np.concatenate([size.offset for size in sizes]),
            max(size.n_roundings for size in sizes),
        ),
    )
