"""Classifiers whose scores can be bounded: proofs hold, whatever stands in front of them."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from sklearn_robust import certified_score, evaluate_robustness, perturb, robust_score
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import BoundedModel, enclosing_box
from sklearn_robust.targets import _registry, bounded_target, make_target, register_target
from sklearn_robust.targets._behind import inflated

WINE, KINDS = load_wine(return_X_y=True)


class Shell(ClassifierMixin, BaseEstimator):
    """Class 1 beyond a sphere around the mean."""

    def fit(self, X, y):
        self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
        self.centre_ = X.mean(axis=0)
        self.level_ = np.median(self._squares(X))
        return self

    def _squares(self, X):
        return ((X - self.centre_) ** 2).sum(axis=1)

    def decision_function(self, X):
        return self._squares(np.asarray(X)) - self.level_

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


class Squares(BoundedModel):
    """The scores of a `Shell`, exact in boxes."""

    n_classes = 2

    def __init__(self, shell):
        self.shell = shell

    def logits(self, X):
        return np.column_stack([np.zeros(len(X)), self.shell.decision_function(X)])

    def score_bounds(self, low, high):
        centre = self.shell.centre_
        a, b = abs(low - centre), abs(high - centre)
        near = np.where((low <= centre) & (centre <= high), 0, np.minimum(a, b))
        slack = 8 * self.resolution * (np.maximum(abs(low), abs(high)) + abs(centre))
        ends = [(np.clip(near - slack, 0, None) ** 2), ((np.maximum(a, b) + slack) ** 2)]
        zero, level = np.zeros(len(low)), self.shell.level_
        rounding = 40 * self.resolution
        lower = ends[0].sum(axis=1) * (1 - rounding) - level * (1 + rounding)
        upper = ends[1].sum(axis=1) * (1 + rounding) - level * (1 - rounding)
        return np.column_stack([zero, lower]), np.column_stack([zero, upper])

    def is_exact(self, threat):
        return threat.norm == "linf"

    def worst_points(self, X, labels, threat):
        low, high = enclosing_box(X, threat)
        centre = self.shell.centre_
        far = np.where(abs(low - centre) > abs(high - centre), low, high)
        return np.where(labels[:, None] == 1, np.clip(centre, low, high), far)


@pytest.fixture(autouse=True)
def _shells(monkeypatch):
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))

    @register_target(Shell)
    def _(subject):
        return bounded_target(subject, Squares(subject.classifier))


FRONTS = {
    "bare": [],
    "columns": [StandardScaler()],
    "clipped": [MinMaxScaler(clip=True)],
    "dense": [StandardScaler(), PCA(5, whiten=True)],
    "curved": [FunctionTransformer(np.log1p), StandardScaler()],
    "twice": [make_union(StandardScaler(), MinMaxScaler())],
}


def in_the_set(X, threat, rng, n=30):
    """Yield points of the sets: corners, steps towards the nearest of other samples, and others."""
    around = threat.around(X)
    yield X
    for k in range(n):
        if k % 3:
            yield around.sample(rng)
        else:
            yield around.furthest(rng.choice([-1.0, 1.0], size=X.shape))
            yield around.project(X[rng.permutation(len(X))])


CASES = [(front, norm, 1.0) for front in FRONTS for norm in ("linf", "l2", "l1")]
CASES += [("bare", "linf", 1e-9), ("columns", "l2", 1e7), ("dense", "linf", 1e7)]


@pytest.mark.parametrize(("front", "norm", "scale"), CASES)
def test_what_is_certified_no_point_of_the_set_misleads(front, norm, scale):
    rng, X = np.random.default_rng(0), WINE * scale
    clf = make_pipeline(*FRONTS[front], Shell()).fit(X, KINDS > 0)
    X = X[::4]
    y, clip = clf.predict(X), (0, X.max(axis=0))
    radius = {"linf": 0.1, "l2": 0.15, "l1": 0.15}[norm] * X.std(axis=0)
    for dtype in (np.float64, np.float32):
        Z = X.astype(dtype)
        ends = (0, Z.max(axis=0).astype(float))
        target = make_target(clf, Z, y, epsilon=radius, norm=norm, clip_values=ends)
        certified = target.certified(target.threat, "auto")
        assert certified.any()
        assert not certified.all()
        attacked = target.attacked(target.threat, seed=0).robust
        assert (certified <= attacked).all()
        threat = ThreatModel(radius, norm, clip)
        for points in in_the_set(X, threat, rng):
            assert (clf.predict(points.astype(dtype)) == y)[certified].all()


@pytest.mark.parametrize("front", ["bare", "columns"])
def test_an_exact_model_decides_every_sample(front):
    clf = make_pipeline(*FRONTS[front], Shell()).fit(WINE, KINDS > 0)
    y, epsilon = KINDS > 0, 0.2 * WINE.std(axis=0)
    report = evaluate_robustness(clf, WINE, y, [0.5, 1], unit=epsilon)
    assert [r.attacked_is for r in report.radii] == ["exact", "exact"]
    assert [r.gap for r in report.radii] == [0, 0]
    assert 0 < report.radii[1].attacked < report.radii[0].attacked < clf.score(WINE, y)
    worst = perturb(clf, WINE, y, epsilon=epsilon)
    assert clf.score(worst, y) == robust_score(clf, WINE, y, epsilon=epsilon)


def test_a_sample_at_rounding_distance_of_the_boundary_is_not_certified():
    X = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    clf = Shell().fit(X, [0, 1, 0, 1])
    clf.centre_, clf.level_ = np.zeros(2), 2.0
    at = np.array([[0.9, 0.9]])
    assert certified_score(clf, at, [0], epsilon=0.0999) == 1
    for epsilon in (0.1, np.nextafter(0.1, 0), np.nextafter(0.1, 1)):
        assert certified_score(clf, at, [0], epsilon=epsilon) == 0
    at32 = at.astype(np.float32)
    assert certified_score(clf, at32, [0], epsilon=0.1 - 1e-7) == 0
    assert certified_score(clf, at32, [0], epsilon=0.1 - 1e-4) == 1


class Contrary(Shell):
    """A subclass that predicts something else."""

    def predict(self, X):
        return self.classes_[::-1][(self.decision_function(X) > 0).astype(int)]


def test_a_subclass_that_predicts_otherwise_is_not_taken_for_its_parent():
    clf = Contrary().fit(WINE, KINDS > 0)
    target = make_target(clf, WINE, KINDS > 0, epsilon=1.0)
    assert target.kind == "black box"
    assert "another class than its scores favour" in target.certificate_obstacle


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_balls_hold_their_points_after_rounding(norm):
    rng = np.random.default_rng(0)
    slack, epsilon = 0.01 * rng.random(6), np.array([0.1, 0.5, 0.0, 1.0, 0.2, 0.0])
    threat = ThreatModel(epsilon, norm)
    wide = inflated(threat, slack)
    around, origin = threat.around(np.zeros((500, 6))), np.zeros((500, 6))
    for draw in (around.sample(rng), around.furthest(rng.standard_normal((500, 6)))):
        assert wide.contains(draw + slack * rng.choice([-1, 1], draw.shape), origin).all()
    assert (wide.epsilon[epsilon > 0] < 1.5 * (epsilon + slack)[epsilon > 0]).all()
