"""Verdicts on ensembles too large for brute force, against Veritas and against a MILP."""

import numpy as np
import pytest
from sklearn import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from benchmarks._tree_referees import Veritas, by_milp
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import decide, read_forest

MODELS = {
    "forest": RandomForestClassifier(30, random_state=0),
    "random trees": ExtraTreesClassifier(30, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=30, random_state=0),
    "bins": HistGradientBoostingClassifier(max_iter=30),
    "votes": AdaBoostClassifier(DecisionTreeClassifier(max_depth=3), random_state=0),
}
LOADERS = {"breast cancer": load_breast_cancer, "wine": load_wine}


def boxes(load, model, n, radius):
    """Return a forest, samples that it gets right, their boxes, and what is decided of them."""
    X, y = load(return_X_y=True)
    X = X / X.std(axis=0)
    model = clone(model).fit(X[::2], y[::2])
    X, y = X[1::2], y[1::2]
    right = np.flatnonzero(model.predict(X) == y)
    pick = right[np.linspace(0, len(right) - 1, n).astype(int)]
    X, y, forest = X[pick], y[pick], read_forest(model)
    found = decide(forest, model.predict, X, y, ThreatModel(radius))
    assert (found.proven | found.broken).all()
    assert 0 < found.proven.sum() < n
    return forest, y, X - radius, X + radius, found.proven


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_veritas_says_the_same(load, model):
    pytest.importorskip("veritas")
    forest, labels, low, high, proven = boxes(load, model, 20, 0.4)
    referee = Veritas(forest)
    said = [referee(*args).robust for args in zip(labels, low, high, strict=True)]
    decided = np.array([answer is not None for answer in said])
    assert decided.mean() > 0.8
    np.testing.assert_array_equal(np.array(said)[decided].astype(bool), proven[decided])


@pytest.mark.parametrize("load", LOADERS.values(), ids=LOADERS)
def test_a_milp_says_the_same(load):
    forest, labels, low, high, proven = boxes(load, MODELS["forest"], 8, 0.4)
    said = [by_milp(forest, *args) for args in zip(labels, low, high, strict=True)]
    np.testing.assert_array_equal(said, proven)
