"""Choices within a budget, and the step functions they decide, against all that there are."""

from itertools import pairwise, product

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from sklearn_robust.bounds._knapsack import reach
from sklearn_robust.targets import make_target


def test_goals_are_reached_exactly_where_some_choice_reaches_them():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, m = rng.integers(1, 6), rng.integers(2, 4)
        costs, gains = rng.uniform(0, 0.7, (n, m)), rng.normal(size=(n, m))
        costs[rng.random((n, m)) < 0.2], costs[:, 0], gains[:, 0] = np.inf, 0, 0
        best = -np.inf
        for choice in product(range(m), repeat=n):
            picked = np.arange(n), np.array(choice)
            if costs[picked].sum() <= 1:
                best = max(best, gains[picked].sum())
        bound, choice = reach(costs, gains, best + 1e-6)
        assert choice is None
        assert best <= bound <= best + 1e-6
        bound, choice = reach(costs, gains, best - 1e-6)
        picked = np.arange(n), choice
        assert costs[picked].sum() <= 1 + 1e-9
        assert gains[picked].sum() >= best - 1e-6
        # One node is the relaxation alone, which is no less.
        assert reach(costs, gains, np.inf, most_nodes=1)[0] >= best


def survives(clf, x, label, knots, epsilon, norm):
    """Whether no cell that the ball meets has another label, by all cells there are."""
    power, ends = {"l2": 2, "l1": 1}[norm], []
    for value, own, radius in zip(x, knots, epsilon, strict=True):
        edges = np.r_[-np.inf, own, np.inf]
        at = [(max(a - value, value - b, 0.0), np.clip(value, a + 1e-9, b - 1e-9))
              for a, b in pairwise(edges)]  # fmt: skip
        ends.append([((away / radius) ** power, point) for away, point in at])
    cells = [[p for _, p in cell] for cell in product(*ends) if sum(c for c, _ in cell) < 1]
    return bool((clf.predict(np.array(cells)) == label).all())


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("name", ["bernoulli", "bins", "scaled bins"])
def test_steps_are_decided_as_all_cells_say(name, norm):
    X, y = load_iris(return_X_y=True)
    X = X + np.random.default_rng(0).normal(scale=1e-3, size=X.shape)  # no ties at the radius
    X = X - X.mean(axis=0)
    bins = KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf")
    first = (StandardScaler(),) if name == "scaled bins" else ()
    if name == "bernoulli":
        clf, knots = BernoulliNB().fit(X, y), [[0.0]] * 4
    else:
        clf = make_pipeline(*first, bins, LogisticRegression(C=10.0)).fit(X, y)
        knots = [edges[1:-1] for edges in clf[-2].bin_edges_]
        if first:
            knots = [k * s + m for k, s, m in zip(knots, clf[0].scale_, clf[0].mean_, strict=True)]
    epsilon = np.array([0.4, 0.3, 0.5, 0.2])
    few = slice(None, None, 3)
    target = make_target(clf, X[few], y[few], epsilon=epsilon, norm=norm)
    assert target.kind == "exact"
    proven = target.certified(target.threat, "auto")
    found = target.attacked(target.threat, seed=0)
    truth = [
        survives(clf, x, label, knots, epsilon, norm) and clean
        for x, label, clean in zip(X[few], y[few], target.clean, strict=True)
    ]
    np.testing.assert_array_equal(proven, truth)
    np.testing.assert_array_equal(found.robust, truth)
    assert found.kind == "exact"
    assert 0.05 < np.mean(truth) < target.clean.mean()


def test_clipping_and_single_precision_leave_proofs_true():
    X, y = load_wine(return_X_y=True)
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    clf, rng = BernoulliNB(binarize=0.1).fit(X, y), np.random.default_rng(0)
    clip = X.min(axis=0), X.max(axis=0)
    target = make_target(clf, X, y, epsilon=0.8, norm="l2", clip_values=clip)
    proven = target.certified(target.threat, "auto")
    robust = target.attacked(target.threat, seed=0).robust
    assert (proven <= robust).all()
    assert proven.mean() > 0.2
    assert robust.mean() - proven.mean() < 0.01
    around = target.threat.around(target.rows)
    for _ in range(50):
        points = around.furthest(rng.normal(size=X.shape) ** 3).astype(np.float32)
        assert (clf.predict(points) == y)[proven].all()
