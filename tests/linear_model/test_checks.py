"""scikit-learn's own checks of estimators."""

from __future__ import annotations

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_robust.linear_model import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
)

FAST = [AdversarialLogisticRegression(), AdversarialLogisticRegression(solver="pgd")]
MORE = [
    AdversarialLogisticRegression(norm="l2"),
    AdversarialLogisticRegression(norm="l1"),
    AdversarialLogisticRegression(epsilon=0),
    AdversarialLogisticRegressionCV(epsilons=[0.0, 0.2], cv=3),
]


@parametrize_with_checks(FAST)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MORE)
def test_estimator_checks_of_variants(estimator, check):
    check(estimator)
