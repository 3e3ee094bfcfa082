"""Training against changes of a table: the minimum is that of a general solver, over all rows."""

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.model_selection import GridSearchCV

from sklearn_robust import (
    AdversarialLogisticRegression,
    Change,
    Flip,
    TabularThreat,
    make_robust_scorer,
    perturb,
    robust_score,
)

X, Y = load_breast_cancer(return_X_y=True)
X = (10 * X[::4, [0, 1, 4, 24]] / X[:, [0, 1, 4, 24]].max(axis=0)).round(2)
X[:, 1] = X[:, 1].round()
Y = Y[::4]
SIDES = {0: (-1, 0), 1: Change(0, 2.9, whole=True), 2: (-0.5, 1.5)}
SHARES = {0: Change(-0.1, 0.3, relative=True), 1: Change(-1, 0, whole=True), 3: (0, 1)}


def ranges(changes, X, clip=None):
    """Return the ends of what each value may be, by the definition."""
    low, high = X.copy(), X.copy()
    for column, change in changes.items():
        change = change if isinstance(change, Change) else Change(*change)
        size = abs(X[:, column]) if change.relative else np.ones(len(X))
        down, up = change.low * size, change.high * size
        if change.whole:
            down, up = np.ceil(down), np.floor(up)
        low[:, column], high[:, column] = X[:, column] + down, X[:, column] + up
    return (low, high) if clip is None else (low.clip(*clip), high.clip(*clip))


def least(low, high, y, C, weight=None, fit_intercept=True, loss="logistic"):
    """Return the minimum by a conic solver, divided by the sum of the weights."""
    w, b, sign = cp.Variable(low.shape[1]), cp.Variable(), 2 * y - 1
    weight = np.ones(len(y)) if weight is None else weight
    middle, reach = (low + high) / 2, (high - low) / 2
    margin = cp.multiply(sign, middle @ w + (b if fit_intercept else 0)) - reach @ cp.abs(w)
    losses = {
        "logistic": cp.logistic(-margin),
        "hinge": cp.pos(1 - margin),
        "squared_hinge": cp.square(cp.pos(1 - margin)),
    }
    value = weight @ losses[loss] + cp.sum_squares(w) / (2 * C)
    return cp.Problem(cp.Minimize(value)).solve(solver="CLARABEL") / weight.sum()


@pytest.mark.parametrize("changes", [SIDES, SHARES], ids=["columns", "rows"])
@pytest.mark.parametrize("clip", [None, (0, 10)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_minimum_is_that_of_a_conic_solver(changes, clip, fit_intercept):
    threat = TabularThreat(changes)
    clf = AdversarialLogisticRegression(threat, clip_values=clip, fit_intercept=fit_intercept)
    weight = 0.5 + np.arange(len(Y)) % 3
    clf.fit(X, Y, weight)
    expected = least(*ranges(changes, X, clip), Y, 1.0, weight, fit_intercept)
    assert clf.dual_gap_ <= 1e-6
    assert clf.objective_ == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge"])
def test_so_are_those_of_other_losses(loss):
    clf = AdversarialLogisticRegression(TabularThreat(SHARES), loss=loss, C=0.1).fit(X, Y)
    expected = least(*ranges(SHARES, X), Y, 0.1, loss=loss)
    assert clf.objective_ == pytest.approx(expected, rel=3e-6)


def test_the_loss_is_that_at_the_points_which_perturb_finds():
    for changes in (SIDES, SHARES):
        clf = AdversarialLogisticRegression(TabularThreat(changes)).fit(X, Y)
        sign, (low, high) = 2 * Y - 1, ranges(changes, X)
        worst = np.where(sign[:, None] * clf.coef_ > 0, low, high)
        margins = sign * clf.decision_function(worst)
        right = clf.predict(X) == Y  # the others are wrong already, and stay
        found = sign * clf.decision_function(perturb(clf, X, Y))
        np.testing.assert_allclose(found[right], margins[right], rtol=1e-9, atol=1e-12)
        penalty = (clf.coef_**2).sum() / (2 * len(Y))
        expected = np.log1p(np.exp(-margins)).mean() + penalty
        assert clf.objective_ == pytest.approx(expected, rel=1e-9)


def test_no_other_rows_of_weight_or_without_count():
    changes, weight = TabularThreat(SHARES), (np.arange(len(Y)) % 4 > 0).astype(float)
    some = AdversarialLogisticRegression(changes).fit(X, Y, weight)
    alone = AdversarialLogisticRegression(changes).fit(X[weight > 0], Y[weight > 0])
    np.testing.assert_allclose(some.coef_, alone.coef_, rtol=1e-9)


def test_several_classes_minimise_the_bound_of_each_rival():
    X, y = load_wine(return_X_y=True)
    X = X[:, [0, 6, 9]]
    changes = {0: (-0.3, 0), 1: (-0.2, 0.5), 2: (0, 1)}
    clf = AdversarialLogisticRegression(TabularThreat(changes)).fit(X, y)
    low, high = ranges(changes, X)
    W, b, total = cp.Variable((3, 3)), cp.Variable(3), 0
    for label in range(3):
        mine = y == label
        middle, reach = ((low + high) / 2)[mine], ((high - low) / 2)[mine]
        lead = [
            middle @ (W[k] - W[label]) + b[k] - b[label] + reach @ cp.abs(W[k] - W[label])
            for k in range(3)
        ]
        total += cp.sum(cp.log_sum_exp(cp.vstack(lead), axis=0))
    problem = cp.Problem(cp.Minimize(total + cp.sum_squares(W) / 2))
    assert clf.objective_ == pytest.approx(problem.solve(solver="CLARABEL") / len(y), rel=3e-6)


def test_sparse_samples_are_those_made_dense():
    threat = TabularThreat(SIDES)
    dense = AdversarialLogisticRegression(threat).fit(X, Y)
    other = AdversarialLogisticRegression(threat).fit(sparse.csr_array(X), Y)
    np.testing.assert_allclose(other.coef_, dense.coef_, rtol=1e-6)
    np.testing.assert_allclose(other.intercept_, dense.intercept_, rtol=1e-6)


def test_it_withstands_more_than_without_and_begins_where_it_was():
    frame = pd.DataFrame(X, columns=list("abcd"))
    threat = TabularThreat({"a": Change(-0.2, 0.1, relative=True), "b": (-2, 0)})
    clf = AdversarialLogisticRegression(threat, warm_start=True).fit(frame, Y)
    plain = AdversarialLogisticRegression(0).fit(frame, Y)
    assert clf.robust_score(frame, Y) > robust_score(plain, frame, Y, epsilon=threat)
    first = clf.n_iter_
    assert clf.fit(frame, Y).n_iter_ <= first and clf.dual_gap_ <= 1e-6
    search = GridSearchCV(
        AdversarialLogisticRegression(),
        {"epsilon": [0, threat]},
        scoring=make_robust_scorer(threat),
        error_score="raise",
    )
    assert search.fit(frame, Y).best_params_["epsilon"] is threat


@pytest.mark.parametrize(
    ("settings", "changes", "budget", "message"),
    [
        ({}, {0: Flip()}, None, "no Flip"),
        ({}, {0: (-1, 0), 1: (0, 1)}, 1, "no budget"),
        ({"norm": "l2"}, {0: (-1, 0)}, None, "norm must be left out"),
        ({"solver": "pgd"}, {0: (-1, 0)}, None, "radius"),
        ({}, {9: (-1, 0)}, None, "positions from 0 to 3"),
        ({}, {3: Change(-1, 0, whole=True)}, None, "whole numbers in columns"),
        ({"clip_values": (0, 1)}, {0: (-1, 0)}, None, "clip_values"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(settings, changes, budget, message):
    clf = AdversarialLogisticRegression(TabularThreat(changes, budget), **settings)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, Y)
    assert not hasattr(clf, "coef_")


def test_ranges_of_each_row_are_for_two_classes_and_dense_samples():
    clf = AdversarialLogisticRegression(TabularThreat(SHARES))
    with pytest.raises(ValueError, match="3 classes"):
        clf.fit(X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match="sparse X"):
        clf.fit(sparse.csr_array(X), Y)
    clf = AdversarialLogisticRegression(TabularThreat(SIDES), fit_intercept=False)
    with pytest.raises(ValueError, match="must be dense where fit_intercept=False"):
        clf.fit(sparse.csr_array(X), Y)
