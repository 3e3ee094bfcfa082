"""Naive Bayes classifiers, whose scores are sums over features."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB

from sklearn_robust.bounds import Polynomials, SmoothSumModel, SumModel
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._linear import linear_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target


@register_target(MultinomialNB)
def _(subject: Subject) -> Target | None:
    return _linear(subject, subject.classifier.class_log_prior_)


@register_target(ComplementNB)
def _(subject: Subject) -> Target | None:
    return _linear(subject, np.zeros(len(subject.classifier.classes_)))


def _linear(subject: Subject, intercept: np.ndarray) -> Target | None:
    weights = subject.classifier.feature_log_prob_
    return linear_target(subject, weights, intercept) if _usable(weights, intercept) else None


def _usable(*values: np.ndarray) -> bool:
    """Whether there are several classes, and none that is impossible."""
    return len(values[0]) > 1 and all(np.isfinite(v).all() for v in values)


@register_target(GaussianNB)
def _(subject: Subject) -> Target | None:
    r"""``log prior - sum_j (log(2 pi var_j) + (x_j - mean_j)^2 / var_j) / 2``, a parabola each."""
    bayes: Any = subject.classifier
    means, variances = bayes.theta_, bayes.var_
    with np.errstate(divide="ignore"):
        prior = np.log(bayes.class_prior_)
        logs = 0.5 * np.log(2 * np.pi * variances)
    centres, half = means.mean(axis=0), 0.5 / variances
    coef = np.zeros((*means.shape, 1, 4))
    away = means - centres
    coef[..., 0, 0], coef[..., 0, 1], coef[..., 0, 2] = -half * away**2, 2 * half * away, -half
    intercept = prior - logs.sum(axis=1)
    if not _usable(coef, intercept):
        return None
    knots = np.tile([-np.inf, np.inf], (means.shape[1], 1))
    polynomials = Polynomials(knots, centres[:, None], coef)
    # Distances from a mean are rounded by the size of both.
    size = abs(prior) + abs(logs).sum(axis=1) + (half * np.maximum(means, centres) ** 2).sum(axis=1)
    return bounded_target(subject, SmoothSumModel(intercept, polynomials, size))


@register_target(BernoulliNB)
def _(subject: Subject) -> Target | None:
    """One value up to the threshold, another beyond it; without a threshold it is linear."""
    bayes: Any = subject.classifier
    with np.errstate(divide="ignore"):
        yes, no = bayes.feature_log_prob_, np.log(1 - np.exp(bayes.feature_log_prob_))
    if not _usable(yes, no, bayes.class_log_prior_):
        return None
    if bayes.binarize is None:
        return linear_target(subject, yes - no, bayes.class_log_prior_ + no.sum(axis=1))
    threshold = float(bayes.binarize)
    if subject.table.resolution > np.finfo(np.float64).eps:
        threshold = float(np.float32(threshold))  # as it is compared with such numbers
    knots = np.tile([-np.inf, threshold, np.inf], (yes.shape[1], 1))
    coef = np.zeros((*yes.shape, 2, 4))
    coef[..., 0, 0], coef[..., 1, 0] = no, yes
    polynomials = Polynomials(knots, np.zeros((len(knots), 2)), coef, right_closed=True)
    size = (abs(yes) + 2 * abs(no)).sum(axis=1)
    return bounded_target(subject, SumModel(bayes.class_log_prior_, polynomials, size))
