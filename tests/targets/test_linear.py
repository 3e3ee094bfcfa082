"""What is certified of a linear classifier holds for every number of the set, rounding included."""

from itertools import product

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sklearn_robust.metrics import adversarial_distance
from sklearn_robust.targets import make_target

CLASSIFIERS = {
    "logistic regression": LogisticRegression(max_iter=10_000),
    "ridge behind a scaler": make_pipeline(StandardScaler(), RidgeClassifier()),
    "behind PCA": make_pipeline(PCA(whiten=True), LogisticRegression(max_iter=10_000)),
    "nearest mean": NearestCentroid(),
    "a threshold": FixedThresholdClassifier(
        LogisticRegression(max_iter=10_000), threshold=0.3, response_method="predict_proba"
    ),
    "calibrated": CalibratedClassifierCV(LinearSVC(), ensemble=False),
    "calibrated by steps": CalibratedClassifierCV(LinearSVC(), method="isotonic", ensemble=False),
}


def problem(seed, n_classes, dtype=np.float64):
    """Return samples around a point far from 0, where differences of scores are rounded most."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 3)) + rng.choice([0, 1e2, 1e4])
    y = np.argsort(np.argsort(X @ [1.0, 2.0, -1.0])) * n_classes // 60
    return X.astype(dtype), y


def numbers_at_the_worst_point(x, worst, n_steps=2):
    """Yield the worst point and its neighbours, each coordinate a few numbers nearer to `x`."""
    ladders = []
    for near, far in zip(x, worst, strict=True):
        ladder = [far]
        for _ in range(n_steps):
            ladder.append(np.nextafter(ladder[-1], near))
        ladders.append(ladder)
    return np.array(list(product(*ladders)), dtype=x.dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_no_number_near_the_worst_point_breaks_what_is_certified(name, dtype):
    n_open = 0
    for seed in range(6):
        n_classes = 2 if name.startswith(("a ", "cal")) else 2 + seed % 2
        X, y = problem(seed, n_classes, dtype)
        clf = CLASSIFIERS[name].fit(X, y)
        distance = adversarial_distance(clf, X, y)
        for i in np.flatnonzero((distance > 0) & np.isfinite(distance))[:8]:
            for share in (1 - 1e-6, 1 - 1e-12, 1 - 4e-16, 1.0):
                target = make_target(clf, X[[i]], y[[i]], epsilon=share * distance[i])
                assert target.kind == "exact"
                worst = np.asarray(target.perturbed(target.threat))[0]
                right = clf.predict(numbers_at_the_worst_point(X[i], worst)) == y[i]
                certified = bool(target.certified(target.threat, "auto")[0])
                assert right.all() or not certified
                n_open += not right.all()
            # And what is not at the boundary is certified.
            target = make_target(clf, X[[i]], y[[i]], epsilon=0.99 * distance[i])
            assert dtype == np.float32 or target.certified(target.threat, "auto")[0]
    assert n_open  # points that are wrong were among them


@pytest.mark.parametrize("members", [1, 2])
def test_squares_of_a_feature_that_decides_nothing_are_rounded_too(members):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    same_mean = np.arange(40) // 2 % 2
    X = np.column_stack([y + 0.2 * rng.uniform(-1, 1, 40), same_mean])
    clf = NearestCentroid().fit(X, y)
    assert clf.centroids_[0, 1] == clf.centroids_[1, 1]
    if members == 2:
        clf = VotingClassifier([("a", clf), ("b", NearestCentroid())]).fit(X, y)
    far = np.array([0.05, 3e8])
    target = make_target(clf, X, y, epsilon=far)
    certified = target.certified(target.threat, "auto")
    right = np.ones(len(X), dtype=bool)
    for shift in far[1] * rng.uniform(-1, 1, size=50):
        for side in (-1, 1):
            right &= clf.predict(X + np.array([side * far[0], shift])) == y
    assert not right.all()
    assert (certified <= right).all()
    near = make_target(clf, X, y, epsilon=[0.05, 1.0])
    assert near.certified(near.threat, "auto").all()
