"""Combinations ask their members: proofs hold at every point, attacks go along gradients."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import certified_score, input_gradients, robust_score
from sklearn_robust.targets import make_target

IRIS, SPECIES = load_iris(return_X_y=True)
PETALS = IRIS[:, 2:]
CANCER, BENIGN = load_breast_cancer(return_X_y=True)
CANCER = CANCER[:, [0, 1]]

L, G = LogisticRegression(), GaussianNB()
PAIR = [("linear", L), ("bayes", make_pipeline(StandardScaler(), G))]
OF_THREE = {
    "soft": VotingClassifier(PAIR, voting="soft", weights=[2, 1]),
    "hard": VotingClassifier(
        [*PAIR, ("ridge", RidgeClassifier()), ("gone", "drop")], weights=[2, 1, 2, 5]
    ),
    "bagging": BaggingClassifier(G, 5, max_features=1, random_state=0),
    "bagged votes": BaggingClassifier(
        RidgeClassifier(), 5, bootstrap_features=True, random_state=0
    ),
    "boosting": AdaBoostClassifier(L, n_estimators=4, random_state=0),
    "sigmoid": CalibratedClassifierCV(LinearSVC(), cv=3),
    "isotonic": CalibratedClassifierCV(G, method="isotonic", cv=3),
    "rest": OneVsRestClassifier(G),
    "pairs": OneVsOneClassifier(L),
    "codes": OutputCodeClassifier(L, random_state=0, code_size=3),
    "stacking": StackingClassifier(PAIR, L, cv=3),
    "trained by itself": SelfTrainingClassifier(VotingClassifier(PAIR, voting="soft")),
    "frozen": FrozenEstimator(VotingClassifier(PAIR, voting="soft").fit(PETALS, SPECIES)),
    "search": GridSearchCV(VotingClassifier(PAIR, voting="soft"), {"weights": [[1, 2]]}, cv=3),
    "nested": VotingClassifier(
        [("b", BaggingClassifier(L, 3, random_state=0)), *PAIR], voting="soft"
    ),
}
OF_TWO = {
    "threshold": FixedThresholdClassifier(G, threshold=0.2),
    "other label": FixedThresholdClassifier(G, threshold=0.3, pos_label=0),
    "sigmoid": CalibratedClassifierCV(LinearSVC(), cv=3),
    "isotonic": CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=3),
    "stacking": StackingClassifier(PAIR, G, cv=3),
    "pairs": OneVsOneClassifier(G),
    "rest": OneVsRestClassifier(G),
}
CASES = [(name, clf, PETALS, SPECIES) for name, clf in OF_THREE.items()]
CASES += [(name, clf, CANCER, BENIGN) for name, clf in OF_TWO.items()]


def on_a_grid(clf, X, y, threat, n=25):
    """Return which samples are right at all points of a grid in their set."""
    ticks = np.linspace(-1, 1, n)
    u = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    u = u[threat.geometry.length(u) <= 1]
    points = X[:, None] + u * threat.epsilon
    predicted = clf.predict(points.reshape(-1, 2)).reshape(len(X), -1)
    return (predicted == y[:, None]).all(axis=1)


# Steps of an isotonic calibration are flat, and the attack goes on by queries.
@pytest.mark.filterwarnings("ignore:The gradient of the model is exactly zero")
@pytest.mark.parametrize(
    ("name", "classifier", "X", "y", "norm"),
    [(*case, "linf") for case in CASES] + [(*case, "l2") for case in CASES[::3]],
)
def test_proofs_and_attacks_enclose_what_a_grid_finds(name, classifier, X, y, norm):
    clf = make_pipeline(StandardScaler(), classifier) if name != "frozen" else classifier
    known = y.copy()
    if name == "trained by itself":
        known[::5] = -1
    clf = clf.fit(X, known)
    X, y = X[::3], y[::3]
    target = make_target(clf, X, y, epsilon=0.3 * X.std(axis=0), norm=norm)
    assert target.certificate_obstacle is None
    assert hasattr(target.model, "ascent")
    scores = target.model.logits(target.rows)
    assert (scores.argmax(axis=1) == target.predicted).mean() > 0.99  # ties aside
    certified = target.certified(target.threat, "auto")
    attacked = target.attacked(target.threat, seed=0).robust
    robust = on_a_grid(clf, X, y, target.threat) & target.clean
    assert (certified <= robust).all()
    assert (certified <= attacked).all()
    assert attacked.mean() <= robust.mean() + 0.02
    assert certified.mean() >= 0.5 * robust.mean()
    assert robust.mean() < target.clean.mean()


@pytest.mark.parametrize("scale", [1e-7, 1e6])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_units_and_precision_do_not_break_proofs(scale, dtype):
    X = PETALS * scale
    for name in ("soft", "hard", "pairs"):
        clf = make_pipeline(StandardScaler(), OF_THREE[name]).fit(X, SPECIES)
        Z = X.astype(dtype)
        target = make_target(clf, Z, SPECIES, epsilon=0.3 * X.std(axis=0))
        certified = target.certified(target.threat, "auto")
        robust = on_a_grid(clf, Z, SPECIES, target.threat, 9) & target.clean
        assert (certified <= robust).all()
        assert (certified <= target.attacked(target.threat, "pgd", seed=0).robust).all()
        assert certified.mean() > 0.5 * robust.mean()


@pytest.mark.parametrize("name", ["soft", "sigmoid", "nested"])
def test_gradients_are_those_of_the_log_loss(name):
    clf = make_pipeline(StandardScaler(), OF_THREE[name]).fit(PETALS, SPECIES)

    def loss(X):
        return -np.log(clf.predict_proba(X)[np.arange(len(X)), SPECIES])

    analytic, step = input_gradients(clf, PETALS, SPECIES), 1e-6
    for j in range(2):
        move = np.eye(2)[j] * step
        numeric = (loss(PETALS + move) - loss(PETALS - move)) / (2 * step)
        np.testing.assert_allclose(analytic[:, j], numeric, rtol=1e-4, atol=1e-6)


def test_a_combination_of_linear_classifiers_is_nearly_decided():
    clf = make_pipeline(
        StandardScaler(),
        VotingClassifier([("a", L), ("b", LogisticRegression(C=0.1))], voting="soft"),
    ).fit(IRIS, SPECIES)
    threat = {"epsilon": 0.2 * IRIS.std(axis=0)}
    attacked = robust_score(clf, IRIS, SPECIES, **threat)
    assert attacked - certified_score(clf, IRIS, SPECIES, **threat) <= 0.02


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_classifier_behind_a_logarithm_is_bounded(norm):
    clf = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), L).fit(PETALS, SPECIES)
    target = make_target(clf, PETALS, SPECIES, epsilon=0.3 * PETALS.std(axis=0), norm=norm)
    certified = target.certified(target.threat, "auto")
    robust = on_a_grid(clf, PETALS, SPECIES, target.threat)
    assert (certified <= robust).all()
    # A ball is bounded through the box around it.
    assert certified.mean() >= robust.mean() - {"linf": 0.05, "l2": 0.3}[norm]
    assert (certified <= target.attacked(target.threat, seed=0).robust).all()


def test_a_member_that_nobody_knows_leaves_the_whole_a_black_box():
    clf = VotingClassifier(
        [("a", L), ("b", KNeighborsClassifier(metric=lambda a, b: abs(a - b).sum()))], voting="soft"
    ).fit(PETALS[::5], SPECIES[::5])
    target = make_target(clf, PETALS[::5], SPECIES[::5], epsilon=0.1)
    assert target.kind == "black box"
    assert "KNeighborsClassifier" in target.obstacle


def test_a_single_tree_answers_with_its_shares():
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    clf = VotingClassifier([("tree", tree), ("linear", L)], voting="soft", weights=[1, 3])
    clf.fit(PETALS, SPECIES)
    target = make_target(clf, PETALS, SPECIES, epsilon=0.1)
    certified = target.certified(target.threat, "auto")
    robust = on_a_grid(clf, PETALS, SPECIES, target.threat)
    assert (certified <= robust).all()
    assert certified.mean() > 0.8 * robust.mean()


def test_calibration_of_several_classes_is_proven_in_balls_and_not_the_boxes_around_them():
    X, y = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    clf = CalibratedClassifierCV(LinearSVC(), cv=3).fit(X, y)
    ball = make_target(clf, X, y, epsilon=0.3, norm="l2")
    proven = ball.certified(ball.threat, "auto")
    robust = ball.attacked(ball.threat, seed=0).robust
    assert (proven <= robust).all()
    assert (proven == robust).mean() > 0.95
    box = make_target(clf, X, y, epsilon=0.3)
    assert proven.mean() > box.certified(box.threat, "auto").mean() + 0.2
