"""BatchedSearch: what smaller radii find is found, whatever the shape of the set, in few calls."""

import time

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.ensemble import AdaBoostClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust.attacks import BatchedSearch, ScoreModel, Square, ThreatModel
from sklearn_robust.targets import BlackBoxWarning
from sklearn_robust.targets._scores import score_target
from sklearn_robust.targets._subject import Subject

IRIS, SPECIES = load_iris(return_X_y=True)


def black_box(clf, **threat):
    return score_target(Subject.of(clf, IRIS, SPECIES, **threat), "As asked.")


class Counting:
    def __init__(self, score):
        self.score, self.calls, self.rows = score, 0, 0

    def __call__(self, X):
        self.calls += 1
        self.rows += len(X)
        return self.score(X)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("epsilon", [0.5, 5.0, 50.0])
def test_a_strip_inside_the_set_is_found_at_every_radius(norm, epsilon):
    def near(X):  # another class in a strip that no corner of a large set lies in
        inside = abs(X[:, 0] - 0.4) < 0.08
        return np.column_stack([inside, ~inside]).astype(float)

    X = np.tile([0.0, 1.0, 2.0], (5, 1))
    X[4, 0] = 0.41
    y = np.array([1, 1, 1, 1, 0])
    found = BatchedSearch().perturb(
        ScoreModel(near, 2), X, y, ThreatModel(epsilon, norm), np.random.default_rng(0)
    )
    assert (near(found)[:, 0] == (y == 1)).all()
    assert ThreatModel(epsilon, norm).contains(found, X).all()


def test_it_asks_in_few_calls():
    counting = Counting(lambda X: np.tile([0.0, 1.0], (len(X), 1)))
    X = np.zeros((30, 4))
    BatchedSearch().perturb(
        ScoreModel(counting, 2), X, np.ones(30, int), ThreatModel(1.0), np.random.default_rng(0)
    )
    assert counting.calls <= 25
    assert counting.rows > 500 * 30


@pytest.mark.filterwarnings("ignore::sklearn_robust.targets.BlackBoxWarning")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_finds_as_much_as_a_thousand_single_queries(norm):
    clf = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(IRIS, SPECIES)
    target = black_box(clf, epsilon=0.4 * IRIS.std(axis=0), norm=norm)
    batched = target.attacked(target.threat, "auto", seed=0).robust
    one_by_one = target.attacked(target.threat, Square(1000), seed=0).robust
    assert batched.mean() <= one_by_one.mean() + 0.01
    # Between calls accuracy does not rise with the radius by more than a point.
    wider = target.attacked(target.threat.scaled(3), "auto", seed=0).robust
    assert wider.mean() <= batched.mean() + 0.01


def test_labels_alone_are_enough():
    class Mute(ClassifierMixin, BaseEstimator):
        def __init__(self, inner):
            self.inner, self.classes_ = inner, inner.classes_

        def fit(self, X, y):
            return self

        def predict(self, X):
            return self.inner.predict(X)

    inner = AdaBoostClassifier(n_estimators=10, random_state=0).fit(IRIS, SPECIES)
    target = black_box(Mute(inner), epsilon=0.3)
    with pytest.warns(BlackBoxWarning, match="As asked"):
        target.check()
    robust = target.attacked(target.threat, "auto", seed=0).robust.mean()
    full = black_box(inner, epsilon=0.3)
    assert robust <= full.attacked(full.threat, "auto", seed=0).robust.mean() + 0.05
    assert robust < target.clean.mean() - 0.1


def test_a_slow_classifier_takes_seconds_and_not_minutes():
    clf = AdaBoostClassifier(random_state=0).fit(IRIS, SPECIES)
    target = black_box(clf, epsilon=0.2)
    start = time.process_time()
    target.attacked(target.threat, "auto", seed=0)
    assert time.process_time() - start < 10  # about 1 on an idle core; 28 by single queries
