"""Classifiers that are linear without saying so, held against all corners of a box."""

from itertools import product

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from sklearn_robust import evaluate_robustness, make_robust_scorer, perturb, robust_score
from sklearn_robust.targets import make_target

IRIS, SPECIES = load_iris(return_X_y=True)
CANCER, BENIGN = load_breast_cancer(return_X_y=True)
CANCER = CANCER[:, :4]

LOGISTIC = LogisticRegression()
OF_TWO = [
    OneVsRestClassifier(make_pipeline(StandardScaler(), LOGISTIC)),
    OneVsOneClassifier(LOGISTIC),
    NearestCentroid(priors="empirical"),
    CalibratedClassifierCV(LinearSVC(), ensemble=False),
    CalibratedClassifierCV(LinearSVC(), ensemble=False, method="isotonic"),
    FixedThresholdClassifier(LOGISTIC, threshold=0.3),
    FixedThresholdClassifier(LOGISTIC, threshold=0.3, pos_label=0),
    FixedThresholdClassifier(LinearSVC(), threshold=0.3),
    FixedThresholdClassifier(LOGISTIC, response_method="decision_function", threshold=-0.5),
    TunedThresholdClassifierCV(LOGISTIC),
]
OF_THREE = [
    OneVsRestClassifier(LOGISTIC),
    NearestCentroid(),
    NearestCentroid(shrink_threshold=0.3),
    NearestCentroid(metric="manhattan"),
]
CASES = [(clf, CANCER, BENIGN) for clf in OF_TWO] + [(clf, IRIS, SPECIES) for clf in OF_THREE]


@pytest.mark.parametrize(("classifier", "X", "y"), CASES)
def test_the_exact_score_is_that_of_all_corners(classifier, X, y):
    clf = make_pipeline(StandardScaler(), classifier).fit(X, y)
    dtype = np.float32 if X is CANCER else np.float64
    X = X.astype(dtype)
    epsilon = 0.3 * X.std(axis=0).astype(float)
    target = make_target(clf, X, y, epsilon=epsilon)
    assert target.kind == "exact"
    robust = target.attacked(target.threat, seed=0).robust
    certified = target.certified(target.threat, "auto")
    ticks = [-1, 1]
    if getattr(classifier, "metric", None) == "manhattan":  # bent inside the box
        ticks = np.linspace(-1, 1, 5)
    at_corners = clf.predict(X) == y
    for signs in product(ticks, repeat=4):
        at_corners &= clf.predict((X + np.array(signs) * epsilon).astype(dtype)) == y
    assert (certified <= at_corners).all()
    assert (certified == robust).all()
    # What a coarse grid misses, or rounding to float32, is the witness's to show.
    assert (clf.predict(perturb(clf, X, y, epsilon=epsilon)) == y)[
        target.clean
    ].sum() == robust.sum()
    assert abs(robust.mean() - at_corners.mean()) <= 0.01
    assert 0 < robust.mean() < target.clean.mean()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize(("classifier", "X", "y"), CASES[::3])
def test_other_norms_are_exact_too(classifier, X, y, norm):
    clf = make_pipeline(StandardScaler(), classifier).fit(X, y)
    result = evaluate_robustness(
        clf, X, y, [0.3], unit=X.std(axis=0), norm=norm, diagnostics=False
    ).radii[0]
    assert result.gap == 0
    assert 0 < result.attacked < result.clean


def test_a_dummy_is_as_robust_as_it_is_right():
    clf = DummyClassifier(strategy="prior").fit(IRIS, SPECIES)
    result = evaluate_robustness(clf, IRIS, SPECIES, [10.0]).radii[0]
    assert (result.attacked_is, result.certified) == ("exact", clf.score(IRIS, SPECIES))
    drawn = DummyClassifier(strategy="uniform", random_state=0).fit(IRIS, SPECIES)
    assert make_target(drawn, IRIS, SPECIES, epsilon=1.0).kind == "black box"


@pytest.mark.parametrize(
    "clf",
    [
        OneVsRestClassifier(SVC()),  # members that are not linear
        FixedThresholdClassifier(LOGISTIC, threshold=0.0),  # which says yes to everything
    ],
)
def test_what_only_looks_linear_is_not_taken_for_it(clf):
    y = SPECIES > 0
    target = make_target(clf.fit(IRIS, y), IRIS, y, epsilon=0.1)
    assert target.kind != "exact"


def test_a_regressor_is_refused_in_a_sentence_that_says_what_there_is():
    clf = make_pipeline(StandardScaler(), LinearRegression()).fit(IRIS, SPECIES)
    for score in (
        lambda: robust_score(clf, IRIS, SPECIES, epsilon=0.1),
        lambda: make_robust_scorer(0.1)(clf, IRIS, SPECIES),
    ):
        with pytest.raises(TypeError, match=r"Pipeline is a regressor.*for classifiers.*classes"):
            score()
