"""The exact solver: its optimum against conic and first-order solvers, and its certificate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import lsq_linear
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression

from sklearn_robust.linear_model import AdversarialLogisticRegression, epsilon_max
from sklearn_robust.linear_model._ellipsoids import project
from sklearn_robust.linear_model._exact import _Search, make_problem, solve, solve_path
from sklearn_robust.linear_model._lbfgs import lbfgs
from sklearn_robust.linear_model._margin_losses import LOSSES
from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._problem import State
from sklearn_robust.linear_model._quadratic import minimise_quadratic

NORMS = ("linf", "l2", "l1")


def _data(n=200, d=12, seed=0):
    X, y = make_classification(n, d, n_informative=3, flip_y=0.1, random_state=seed)
    return X, 2.0 * y - 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum_is_that_of_a_conic_solver(norm, loss, fit_intercept):
    cp = pytest.importorskip("cvxpy")
    X, y = _data(60, 6)
    rng = np.random.default_rng(0)
    weight, radius, C = rng.random(60) + 0.1, 0.3 * rng.random(6), 0.7
    radius[2] = 0
    w, b = cp.Variable(6), cp.Variable()
    m = cp.multiply(y, X @ w + (b if fit_intercept else 0))
    t = cp.norm(cp.multiply(radius, w), {"linf": 1, "l2": 2, "l1": "inf"}[norm])
    each = {
        "logistic": lambda: cp.logistic(t - m),
        "hinge": lambda: cp.pos(1 + t - m),
        "squared_hinge": lambda: cp.square(cp.pos(1 + t - m)),
        "squared": lambda: cp.square(cp.abs(1 - m) + t),
    }[loss]()
    total = weight.sum()
    objective = (weight @ each + cp.sum_squares(w) / (2 * C)) / total
    expected = cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL")
    found = solve(
        X,
        y,
        weight,
        epsilon=radius,
        norm=norm,
        C=C,
        fit_intercept=fit_intercept,
        loss=loss,
        tol=1e-6,
    )
    assert found.converged
    # Clarabel stops at 1e-8, the solver at 1e-6, both relative.
    np.testing.assert_allclose(found.objective, expected, rtol=2e-6)
    assert found.objective * (1 - found.dual_gap) <= expected * (1 + 1e-7)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_bound_from_any_point_is_below_f_at_any_other(norm, loss):
    X, y = _data()
    rng = np.random.default_rng(0)
    for seed in range(5):
        radius = np.random.default_rng(seed).random(12) * 0.3
        problem = make_problem(X, y, None, radius, norm, 3.0, bool(seed % 2), LOSSES[loss]())
        states = [State(problem, rng.normal(size=12) * s, 0.1) for s in (0.0, 0.1, 0.3, 1.0, 3.0)]
        bounds = [problem.lower_bound(state)[0] for state in states]
        assert max(bounds) <= min(state.value for state in states)


@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("norm", NORMS)
def test_epsilon_zero_is_logistic_regression(C, norm):
    X, y = _data()
    weight = np.random.default_rng(0).random(200)
    ours = solve(X, y, weight, epsilon=0.0, norm=norm, C=C, tol=1e-13)
    theirs = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12).fit(X, y, weight)
    # The curvature of F is at least lambda = 1 / (C sum(weight)).
    away = np.sqrt(2 * 1e-13 * ours.objective * C * weight.sum())
    np.testing.assert_allclose(ours.coef, theirs.coef_[0], atol=away)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_[0], atol=away)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
def test_weights_vanish_exactly_from_epsilon_max_on(norm, fit_intercept, scaled):
    X, y = _data()
    rng = np.random.default_rng(0)
    weight, scale = rng.random(200), rng.random(12) + 0.1 if scaled else np.ones(12)
    most = epsilon_max(
        X, y, norm=norm, sample_weight=weight, fit_intercept=fit_intercept, scale=scale
    )
    for C in (1e-2, 1e3):
        options = dict(norm=norm, C=C, fit_intercept=fit_intercept)
        above = solve(X, y, weight, epsilon=most * (1 + 1e-9) * scale, **options)
        assert above.converged
        assert not above.coef.any()
        below = solve(X, y, weight, epsilon=most * 0.99 * scale, **options)
        assert below.coef.any()


def test_epsilon_max_refuses_more_than_two_classes():
    with pytest.raises(ValueError, match="two classes"):
        epsilon_max(np.eye(3), [0, 1, 2])


@pytest.mark.parametrize("norm", NORMS)
def test_sparse_formats_weights_and_rows_given_twice_agree(norm):
    X, y = _data()
    X = np.where(abs(X) < 0.5, 0, X)
    count = np.random.default_rng(0).integers(0, 3, size=200)
    options = dict(epsilon=0.1, norm=norm, tol=1e-11)
    expected = solve(np.repeat(X, count, axis=0), np.repeat(y, count), **options)
    for container in (np.array, sparse.csr_matrix, sparse.csc_array):
        found = solve(container(X), y, count.astype(float), **options)
        # Two points within a gap of 1e-11 of one strongly convex function.
        np.testing.assert_allclose(found.coef, expected.coef, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", [0.02, 0.2])
def test_lbfgs_alone_reaches_the_minimum_of_newton(norm, epsilon):
    X, y = _data()
    newton = solve(X, y, epsilon=epsilon, norm=norm, tol=1e-9)
    problem = make_problem(X, y, None, epsilon, norm, 1.0, True, LOSSES["logistic"]())
    monitor = Monitor(problem, 1e-7)
    state = lbfgs(problem, State(problem, np.full(12, 0.01), 0.0), monitor, 2000)
    assert monitor.gap <= 1e-7
    np.testing.assert_allclose(state.value, newton.objective, rtol=2e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_many_samples_use_a_sampled_hessian_and_still_certify(norm):
    X, y = _data(20_000, 20)
    found = solve(X, y, epsilon=0.05, norm=norm, tol=1e-9)
    assert found.converged
    whole = LogisticRegression(tol=1e-10).fit(X, y)
    problem = make_problem(X, y, None, 0.05, norm, 1.0, True, LOSSES["logistic"]())
    assert found.objective < State(problem, whole.coef_[0], whole.intercept_[0]).value


def test_wide_data_against_l1_need_no_hessian():
    X, y = _data(60, 300)
    problem = make_problem(X, y, None, 0.3, "l1", 1.0, True, LOSSES["logistic"]())
    search, monitor = _Search(problem, 10_000), Monitor(problem, 1e-6)
    search.run(problem, monitor, None)
    assert monitor.done
    assert search.hessian is None


def test_infinite_c_meets_the_stationarity_conditions():
    X, y = _data()
    found = solve(X, y, epsilon=0.1, C=np.inf, tol=1e-8)
    assert found.converged
    weights = 1 / (1 + np.exp(y * (X @ found.coef + found.intercept) - 0.1 * abs(found.coef).sum()))
    pull, S = X.T @ (weights * y) / len(y), weights.mean()
    support = found.coef != 0
    np.testing.assert_allclose(pull[support], 0.1 * S * np.sign(found.coef[support]), atol=1e-7)
    assert (abs(pull[~support]) <= 0.1 * S + 1e-7).all()


def _feature_with_large_numbers(ratio):
    rng = np.random.default_rng(0)
    y = rng.choice([-1.0, 1.0], size=400)
    small = 0.5 + 0.25 * y + rng.normal(0, 0.2, 400)
    large = ratio * np.exp(rng.normal(size=400)) * (1.25 + 0.25 * y)
    return np.column_stack([small, large]), y


@pytest.mark.parametrize("ratio", [1e6, 1e10])
@pytest.mark.parametrize("norm", NORMS)
def test_infinite_c_is_not_declared_solved_by_the_feature_with_large_numbers(norm, ratio):
    X, y = _feature_with_large_numbers(ratio)
    free = solve(X, y, epsilon=[0.1, 0.0], norm=norm, C=np.inf)
    assert free.converged
    # The penalised minimum is certified to 1e-6, and never below the one without a penalty.
    held = solve(X, y, epsilon=[0.1, 0.0], norm=norm, C=1e6)
    assert free.objective <= held.objective * (1 + 1e-6)


def test_infinite_c_says_where_units_of_the_features_keep_it_from_the_minimum():
    X, y = _feature_with_large_numbers(1e10)
    free = solve(X, y, epsilon=0.1, norm="l1", C=np.inf)
    # 0.1 is nothing beside 1e10, and for one attacked feature the norms are the same.
    good = solve(X, y, epsilon=[0.1, 0.0], norm="linf", C=np.inf).objective
    assert free.converged == (free.objective <= good * (1 + 1e-6))


def test_separable_data_without_penalty_are_recognised():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    X[:, 0] += y
    found = solve(X, y, epsilon=0.1, C=np.inf)
    assert found.separable
    assert not found.converged
    wide = solve(X, y, epsilon=1.2, C=np.inf)  # beyond the margin of 1: a minimum exists
    assert wide.converged


def _stress_problem(seed):
    """Draw a problem of a hard kind: scales, duplicates, low rank, correlation, imbalance."""
    rng = np.random.default_rng(seed)
    n, d, kind = int(rng.integers(20, 300)), int(rng.integers(2, 120)), seed % 5
    X = rng.normal(size=(n, d))
    if kind == 1:
        X = rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + 0.01 * X
    elif kind == 2:
        X = np.sqrt(0.05) * X + np.sqrt(0.95) * rng.normal(size=(n, 1))
    elif kind == 3:
        X = np.sign(X)[:, rng.integers(d, size=d)]
    elif kind == 4:
        X = X[rng.integers(n, size=n)]
    if rng.random() < 0.5:
        X = X * 10 ** rng.uniform(-2, 2, size=d)
    scores = X @ (rng.normal(size=d) * (rng.random(d) < 0.3)) + 1e-9 * rng.normal(size=n)
    noise = scores.std() * rng.choice([0.1, 1, 3]) * rng.normal(size=n)
    y = np.where(scores + noise > np.quantile(scores + noise, rng.choice([0.1, 0.5])), 1.0, -1.0)
    norm = NORMS[seed % 3]
    scale = np.ones(d)
    if rng.random() < 0.3:
        scale = np.where(rng.random(d) < 0.1, 0, rng.random(d) * X.std(axis=0))
    weight = rng.random(n) * 10 if rng.random() < 0.3 else None
    most = epsilon_max(X, y, norm=norm, sample_weight=weight, scale=scale)
    most = most if np.isfinite(most) else 1.0
    radius = rng.choice([1e-3, 0.03, 0.2, 0.5, 0.9, 1.1]) * most * scale
    options = dict(norm=norm, C=10 ** rng.uniform(-3, 4), fit_intercept=bool(rng.random() < 0.8))
    return X, y, weight, dict(epsilon=radius, **options)


@pytest.mark.parametrize("seed", range(30))
def test_hard_problems_are_certified(seed):
    X, y, weight, options = _stress_problem(seed)
    found = solve(X, y, weight, tol=1e-8, **options)
    assert found.converged
    # The bound is a bound: rounding of sums of terms of the size of F is all that may exceed it.
    assert found.dual_gap >= -1e-10


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1300, 50))
def test_more_hard_problems_are_certified(start):
    for seed in range(start, start + 50):
        X, y, weight, options = _stress_problem(seed)
        found = solve(X, y, weight, tol=1e-8, **options)
        assert found.converged, f"seed {seed}: gap {found.dual_gap:.1e}"


def test_path_is_certified_at_every_radius_and_equals_single_fits():
    X, y = _data(300, 40)
    epsilons = np.linspace(0.5, 0.0, 12)
    for norm in NORMS:
        for epsilon, found in zip(
            epsilons, solve_path(X, y, epsilons=epsilons, norm=norm), strict=True
        ):
            assert found.converged
            alone = solve(X, y, epsilon=epsilon, norm=norm)
            np.testing.assert_allclose(found.objective, alone.objective, rtol=2e-6)


@pytest.mark.parametrize("seed", range(20))
def test_quadratic_program_with_bounds(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 40))
    # Nearly equal columns: what makes block pivoting cycle.
    A = 0.1 * rng.normal(size=(2 * m, m)) + (rng.normal(size=(2 * m, 1)) if seed % 2 else 0)
    target, start = rng.normal(size=2 * m), np.maximum(rng.normal(size=m), 0)
    bounded = rng.random(m) < 0.8
    start[~bounded] -= 0.3
    H, gradient = A.T @ A, A.T @ (A @ start - target)
    end = start + minimise_quadratic(H, gradient, bounded, start)
    low = np.where(bounded, 0.0, -np.inf)
    expected = lsq_linear(A, target, (low, np.inf), method="bvls", tol=1e-14).x
    assert (end >= low - 1e-12).all()
    # Both minimise |A x - target|^2; its value is compared, as x is ill-conditioned.
    best = np.sum((A @ expected - target) ** 2)
    np.testing.assert_allclose(np.sum((A @ end - target) ** 2), best, rtol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(5))
def test_projection_is_optimal(norm, seed):
    rng = np.random.default_rng(seed)
    axes = rng.random(8) * 10 ** rng.uniform(-3, 3)
    axes[1] = 0
    g = rng.normal(size=8) * 10 ** rng.uniform(-3, 3)
    v = project(norm, g, axes)
    on = axes > 0
    length = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    assert np.linalg.norm(v[on] / axes[on], length) <= 1 + 1e-12
    assert not v[~on].any()
    # The variational inequality at the points of the set that go furthest along g - v.
    rest = (g - v) * axes
    dual = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    reach = np.linalg.norm(rest, dual)
    np.testing.assert_allclose(v @ (g - v), reach, rtol=1e-9, atol=1e-9 * (g @ g))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("factor", [1.0, 1e6])
@pytest.mark.parametrize("epsilon", [1e-15, 1e-12, 1e-8])
def test_radii_that_are_nothing_beside_the_data(n_classes, factor, epsilon):
    X, y = load_iris(return_X_y=True)
    X, y = factor * X[y < n_classes], y[y < n_classes]
    for norm in ("linf", "l2", "l1"):
        clf = AdversarialLogisticRegression(epsilon, norm=norm, C=1e-3).fit(X, y)
        standard = AdversarialLogisticRegression(0, C=1e-3).fit(X, y)
        assert clf.objective_ == pytest.approx(standard.objective_, rel=1e-5)
