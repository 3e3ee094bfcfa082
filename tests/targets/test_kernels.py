"""Sums of kernels behind pipelines: certified <= attacked <= clean, for what predict computes."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sklearn.svm import SVC, NuSVC

from sklearn_robust import input_gradients, robust_score
from sklearn_robust.metrics import adversarial_distance, certified_score, evaluate_robustness
from sklearn_robust.targets import make_target

X, Y = load_iris(return_X_y=True)
FIT = np.arange(len(X)) % 3 != 0
HELD, HELD_Y = X[~FIT], Y[~FIT]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    "clf",
    [
        SVC(),
        SVC(kernel="poly"),
        SVC(kernel="sigmoid", gamma=0.05),
        SVC(kernel="linear", decision_function_shape="ovo"),
        SVC(break_ties=True),
        NuSVC(nu=0.3),
    ],
    ids=["rbf", "poly", "sigmoid", "linear", "ties", "nu"],
)
def test_support_vectors_are_bounded_on_both_sides(clf, norm):
    pipe = make_pipeline(StandardScaler(), clf).fit(X[FIT], Y[FIT])
    target = make_target(pipe, HELD, HELD_Y, epsilon=0.05, norm=norm)
    assert target.kind == "white box"
    rng, seen = np.random.default_rng(0), []
    for factor in (1, 5):
        threat = target.threat.scaled(factor)
        proven = target.certified(threat, "auto")
        robust = target.attacked(threat, seed=0).robust
        assert (proven <= robust).all()
        around = threat.around(target.rows)
        for _ in range(50):
            assert (pipe.predict(around.sample(rng)) == HELD_Y)[proven].all()
        seen.append((proven.mean(), robust.mean()))
    assert seen[0][0] > 0.5  # most are proven at the small radius
    assert seen[1] < seen[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_classes_columns_boxes_and_rotations(dtype):
    data, kinds = load_breast_cancer(return_X_y=True)
    data = data.astype(dtype)
    spread = data.std(axis=0).astype(float)
    for steps in ((StandardScaler(),), (StandardScaler(), PCA(5, random_state=0))):
        pipe = make_pipeline(*steps, SVC()).fit(data[:400], kinds[:400])
        some, labels = data[400:430], kinds[400:430]
        clip = data.min(axis=0), data.max(axis=0)
        options = {"epsilon": 0.05 * spread, "clip_values": clip}
        certified = certified_score(pipe, some, labels, **options)
        assert 0.5 < certified <= robust_score(pipe, some, labels, random_state=0, **options)


def test_large_radii_leave_nothing_as_black_boxes_did_not_see():
    data, kinds = load_breast_cancer(return_X_y=True)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    clf = SVC().fit(data[:400], kinds[:400])
    report = evaluate_robustness(clf, data[400:440], kinds[400:440], [1.0, 3.0], diagnostics=False)
    assert report.radii[0].attacked_is == "white box"
    assert report.radii[0].attacked <= 0.1
    assert report.radii[1].attacked == 0


def test_gradients_and_distances_agree_with_the_decision_function():
    clf = SVC(gamma=0.5).fit(X[FIT & (Y > 0)], Y[FIT & (Y > 0)])
    held, labels = X[~FIT & (Y > 0)], Y[~FIT & (Y > 0)]
    gradient, step = input_gradients(clf, held, labels), 1e-6
    sign = np.where(labels == 2, -1, 1)

    def loss(Z):  # of the cross-entropy, as for linear classifiers
        return np.logaddexp(0, sign * clf.decision_function(Z))

    for k in range(4):
        move = step * np.eye(4)[k]
        numeric = (loss(held + move) - loss(held - move)) / (2 * step)
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-4, atol=1e-8)
    distance = adversarial_distance(clf, held, labels, norm="l2")
    attacked = robust_score(clf, held, labels, epsilon=0.3, norm="l2", random_state=0)
    assert abs((distance > 0.3).mean() - attacked) <= 0.04


TWO = Y > 0
OTHERS = {
    "propagation": (LabelPropagation(gamma=2), slice(None)),
    "spreading": (LabelSpreading(gamma=2), slice(None)),
    "process": (GaussianProcessClassifier(2 * RBF(0.8), optimizer=None), TWO),
    "noisy": (GaussianProcessClassifier(RBF() + WhiteKernel(0.1), optimizer=None), TWO),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OTHERS)
def test_other_sums_of_kernels_are_bounded_on_both_sides(name, dtype):
    clf, some = OTHERS[name]
    mask = np.zeros(len(X), dtype=bool)
    mask[some] = True
    data = X.astype(dtype)
    pipe = make_pipeline(StandardScaler(), clf).fit(data[FIT & mask], Y[FIT & mask])
    held, labels = data[~FIT & mask], Y[~FIT & mask]
    target = make_target(pipe, held, labels, epsilon=0.05)
    assert target.kind == "white box"
    rng, seen = np.random.default_rng(0), []
    for factor in (1, 10):
        threat = target.threat.scaled(factor)
        proven = target.certified(threat, "auto")
        robust = target.attacked(threat, seed=0).robust
        assert (proven <= robust).all()
        around = threat.around(target.rows)
        for _ in range(30):
            moved = around.sample(rng).astype(dtype)
            assert (pipe.predict(moved) == labels)[proven].all()
        seen.append((proven.mean(), robust.mean()))
    assert seen[0][0] > 0.5
    assert seen[1] < seen[0]


def test_where_all_kernels_underflow_nothing_is_proven():
    for dtype in (np.float32, np.float64):
        clf = LabelPropagation(gamma=2).fit(X[FIT], Y[FIT])
        far = (X[:3] + 100).astype(dtype)
        with np.errstate(invalid="ignore"):
            target = make_target(clf, far, np.zeros(3, dtype=int), epsilon=0.1)
            assert not target.certified(target.threat, "auto").any()


def test_a_kernel_of_ones_own_stays_a_black_box():
    clf = SVC(kernel=lambda a, b: a @ b.T).fit(X[FIT], Y[FIT])
    assert make_target(clf, HELD, HELD_Y, epsilon=0.1).kind == "black box"
