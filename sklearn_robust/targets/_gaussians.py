"""Quadratic discriminant analysis: quadratic scores, exact in Euclidean balls."""

from __future__ import annotations

import numpy as np
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

from sklearn_robust.bounds import GaussianScores
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target


@register_target(QuadraticDiscriminantAnalysis)
def quadratic_target(subject: Subject) -> Target | None:
    """Return the target of quadratic discriminant analysis."""
    classifier = subject.classifier
    pairs = list(zip(classifier.rotations_, classifier.scalings_, strict=True))
    roots = [np.asarray(rotation) / np.sqrt(scaling) for rotation, scaling in pairs]
    volumes = np.array([np.log(scaling).sum() for _, scaling in pairs])
    offsets = np.log(classifier.priors_) - volumes / 2
    return bounded_target(subject, GaussianScores(np.asarray(classifier.means_), roots, offsets))
