"""Tiny problems of trees, and the truth about them: the model asked in every cell."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from sklearn import clone
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust.trees import Forest, _program, read_forest

N = 5
MODELS = {
    "tree": DecisionTreeClassifier(random_state=0),
    "shallow tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "forest": RandomForestClassifier(N + 1, max_depth=4, random_state=0),
    "forest of votes": RandomForestClassifier(4, random_state=0),
    "forest of shares": RandomForestClassifier(N, min_samples_leaf=3, max_depth=4, random_state=0),
    "random trees": ExtraTreesClassifier(N, max_depth=4, random_state=0),
    "bagging": BaggingClassifier(
        DecisionTreeClassifier(max_depth=4, random_state=0), N, max_features=0.7, max_samples=0.2,
        random_state=0,
    ),
    "votes with weights": AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=3, random_state=0), n_estimators=N, random_state=0
    ),
    "boosting": GradientBoostingClassifier(n_estimators=N, random_state=0),
    "stumps": GradientBoostingClassifier(n_estimators=30, max_depth=1, random_state=0),
    "ties": GradientBoostingClassifier(
        init="zero", n_estimators=1, max_depth=2, random_state=0
    ),
    "bins": HistGradientBoostingClassifier(max_iter=N, max_leaf_nodes=6),
}  # fmt: skip


class Problem(NamedTuple):
    """A fitted model, its forest, samples and their class indices."""

    model: object
    forest: Forest
    X: np.ndarray
    labels: np.ndarray

    def predict(self, P):
        return np.searchsorted(self.model.classes_, self.model.predict(P))

    def cells(self, i, low, high):
        """Return the point nearest to sample i in each cell of a box."""
        axes, x = [], self.X[i]
        forest = self.forest.on(x.dtype)
        for f in range(len(x)):
            t = np.unique(forest.threshold[forest.numbers(f)])
            t = t[(t >= low[f]) & (t < high[f])]
            values = np.concatenate([t[t < x[f]], [x[f]], forest.after(t[t >= x[f]], f)])
            axes.append(values)
        return np.array(list(itertools.product(*axes))).astype(x.dtype)

    def inside(self, i, threat):
        """Return the points nearest to sample i in all cells that the adversary can reach."""
        x = self.X[i : i + 1]
        epsilon = np.broadcast_to(np.ravel(threat.epsilon), x.shape).astype(x.dtype)
        low, high = x - epsilon, x + epsilon
        if threat.clip_values is not None:
            low, high = (end.clip(*threat.clip_values) for end in (low, high))
        low, high = (np.where(epsilon == 0, x, end)[0].astype(float) for end in (low, high))
        P = self.cells(i, low, high)
        there, own = np.nan_to_num(P), np.nan_to_num(np.repeat(x, len(P), axis=0))
        return P[threat.contains(there, own)]

    def truth(self, threat):
        """Return which samples are right wherever the adversary can move them."""
        right = [
            (self.predict(self.inside(i, threat)) == label).all()
            for i, label in enumerate(self.labels)
        ]
        return np.array(right)


def problem_of(model, n_classes=2, seed=0, n=20, change=None, dtype=np.float64):
    """Return a model fitted to few features with many equal values, and samples of its training."""
    X, y = make_classification(
        150, 3, n_informative=3, n_redundant=0, n_classes=n_classes, n_clusters_per_class=2,
        flip_y=0.2, random_state=seed,
    )  # fmt: skip
    X = np.round(X, 1)
    if change is not None:
        X = change(X)
    X = X.astype(dtype)
    model.fit(X, y)
    return Problem(model, read_forest(model), X[:n], y[:n])


@pytest.fixture
def make_problem():
    return problem_of


@pytest.fixture(params=MODELS)
def small_model(request):
    """Return a new small model, of each kind in turn."""
    return clone(MODELS[request.param])


@pytest.fixture
def lies(monkeypatch):
    """Let the solver's prices and shares be noise, huge, infinite or missing; return its calls."""
    rng, honest, asked = np.random.default_rng(0), _program.linprog, []

    def lying(*args, **kwargs):
        found = honest(*args, **kwargs)
        asked.append(len(asked))
        noise = rng.normal(size=found.ineqlin.marginals.shape)
        wrong = (noise, 1e200 * noise, noise * np.nan, -np.inf * abs(noise), 3 - abs(noise))
        found.ineqlin.marginals = wrong[len(asked) % 5]
        found.x = rng.normal(size=found.x.shape) * (np.nan if len(asked) % 3 else 1)
        found.fun, found.status = -1e9, 0
        return found

    monkeypatch.setattr(_program, "linprog", lying)
    return asked
