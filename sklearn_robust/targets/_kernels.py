"""Classifiers that compare sums of kernels: attacked along gradients, and proven by bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sklearn.svm import SVC, NuSVC

from sklearn_robust.bounds import (
    Kernel,
    KernelModel,
    KernelScores,
    KernelShares,
    KernelVotes,
    PolynomialKernel,
    RBFKernel,
    SigmoidKernel,
)
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target


@register_target(NuSVC)
@register_target(SVC)
def svm_target(subject: Subject) -> Target | None:
    """Return the target of a support vector classifier, None if its kernel is not known."""
    classifier = subject.classifier
    kernel = _svm_kernel(classifier)
    return None if kernel is None else bounded_target(subject, _svm_model(classifier, kernel))


@register_target(LabelPropagation)
@register_target(LabelSpreading)
def propagation_target(subject: Subject) -> Target | None:
    """Return the target of label propagation under the rbf kernel, None under others."""
    classifier = subject.classifier
    if classifier.kernel != "rbf" or not classifier.gamma > 0:
        return None
    shares = np.asarray(classifier.label_distributions_, dtype=np.float64).T
    kernel, centres = RBFKernel(float(classifier.gamma)), _dense(classifier.X_).astype(np.float64)
    return bounded_target(subject, KernelShares(kernel, centres, shares, np.zeros(len(shares))))


def _svm_kernel(classifier: Any) -> Kernel | None:
    gamma, name = float(classifier._gamma), classifier.kernel
    if name == "linear":
        return PolynomialKernel(1.0, 0.0, 1)
    if name == "rbf":
        return RBFKernel(gamma) if gamma > 0 else None
    if gamma == 0:
        return None
    if name == "poly":
        return PolynomialKernel(gamma, classifier.coef0, int(classifier.degree))
    return SigmoidKernel(gamma, classifier.coef0) if name == "sigmoid" else None


def _svm_model(classifier: Any, kernel: Kernel) -> KernelModel:
    dual, centres = _dense(classifier._dual_coef_), _dense(classifier.support_vectors_)
    offsets, n_classes = np.asarray(classifier._intercept_), len(classifier.classes_)
    ends = np.cumsum(np.r_[0, classifier.n_support_])
    pairs = [(i, j) for i in range(n_classes) for j in range(i + 1, n_classes)]
    weights = np.zeros((len(pairs), len(centres)))
    for k, (i, j) in enumerate(pairs):  # as LIBSVM keeps them
        weights[k, ends[i] : ends[i + 1]] = dual[j - 1, ends[i] : ends[i + 1]]
        weights[k, ends[j] : ends[j + 1]] = dual[i, ends[j] : ends[j + 1]]
    if n_classes == 2:  # the score of class 0 is 0, as of linear classifiers
        both = np.zeros((2, len(centres)))
        both[1] = -weights[0]
        return KernelScores(kernel, centres, both, np.array([0.0, -offsets[0]]))
    breaks = classifier.break_ties and classifier.decision_function_shape == "ovr"
    return KernelVotes(kernel, centres, weights, offsets, n_classes, breaks)


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)
