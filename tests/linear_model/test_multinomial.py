"""The multinomial solver: against a conic solver, its certificate, and its Hessian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.special import logsumexp, softmax
from sklearn.datasets import load_digits, load_iris, load_wine, make_classification
from sklearn.preprocessing import scale

from sklearn_robust.linear_model import _multinomial
from sklearn_robust.linear_model._exact import solve
from sklearn_robust.linear_model._multinomial import solve_multinomial
from sklearn_robust.linear_model._multinomial_newton import Model
from sklearn_robust.linear_model._multinomial_problem import Multinomial, _matchings

NORMS = ("linf", "l2", "l1")


def _data():
    return make_classification(
        80, 5, n_informative=4, n_redundant=0, n_classes=3, flip_y=0.1, random_state=0
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimum_is_that_of_a_conic_solver(norm, fit_intercept):
    cp = pytest.importorskip("cvxpy")
    X, y = _data()
    rng = np.random.default_rng(0)
    weight, radius = rng.random(80) + 0.1, np.array([0.0, 0.1, 0.3, 0.2, 0.05])
    W, b = cp.Variable((3, 5)), cp.Variable(3)
    dual = {"linf": 1, "l2": 2, "l1": "inf"}[norm]
    terms = []
    for i in range(80):
        scores = [
            (W[k] - W[y[i]]) @ X[i]
            + ((b[k] - b[y[i]]) if fit_intercept else 0)
            + (cp.norm(cp.multiply(radius, W[k] - W[y[i]]), dual) if k != y[i] else 0)
            for k in range(3)
        ]
        terms.append(weight[i] * cp.log_sum_exp(cp.hstack(scores)))
    objective = (sum(terms) + cp.sum_squares(W) / 2) / weight.sum()
    expected = cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL")
    found = solve_multinomial(
        X, y, weight, epsilon=radius, norm=norm, fit_intercept=fit_intercept, tol=1e-7
    )
    assert found.converged
    # 1e-8 of Clarabel and 1e-7 of the solver, relative.
    np.testing.assert_allclose(found.objective, expected, rtol=2e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_sparse_and_dense_agree(norm):
    X, y = load_iris(return_X_y=True)
    X = scale(X)
    dense = solve_multinomial(X, y, epsilon=0.2, norm=norm)
    other = solve_multinomial(sparse.csr_array(X), y, epsilon=0.2, norm=norm)
    assert dense.converged
    assert other.converged
    np.testing.assert_allclose(dense.objective, other.objective, rtol=2e-6)


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 0.2])
def test_ten_classes_take_few_steps(epsilon):
    X, y = load_digits(return_X_y=True)
    found = solve_multinomial(X / 16, y, epsilon=epsilon)
    assert found.converged
    # 29, 37 and 77 steps were measured; hundreds are what a smoothing that shrinks too fast costs.
    assert found.n_iter <= 150


@pytest.mark.parametrize("n_classes", [2, 3, 6, 7])
def test_matchings_hold_every_pair_once_and_no_class_twice(n_classes):
    first, second = np.triu_indices(n_classes, 1)
    rounds = _matchings(n_classes, first, second)
    np.testing.assert_array_equal(np.sort(np.concatenate(rounds)), np.arange(len(first)))
    for games in rounds:
        players = np.concatenate([first[games], second[games]])
        assert len(set(players)) == len(players)


@pytest.mark.parametrize("norm", NORMS)
def test_two_classes_are_the_binary_problem(norm):
    X, y = _data()
    X, y = X[y < 2], y[y < 2]
    # Rows v and -v have the scores' difference 2v, and the penalty 2 |v|^2 = |2v|^2 / 2: twice C.
    pair = solve_multinomial(X, y, epsilon=0.2, norm=norm, C=1.0, tol=1e-8)
    single = solve(X, 2.0 * y - 1, epsilon=0.2, norm=norm, C=2.0, tol=1e-8)
    np.testing.assert_allclose(pair.objective, single.objective, rtol=2e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_the_certificate_holds_for_any_distributions(norm):
    X, y = _data()
    rng = np.random.default_rng(0)
    problem = Multinomial(X, y, np.full(80, 1 / 80), np.full(5, 0.2), norm, 0.05, True, 3)
    lowest = solve_multinomial(X, y, epsilon=0.2, norm=norm, C=1 / (80 * 0.05)).objective
    for _ in range(20):
        p = softmax(rng.normal(size=(80, 3)) + 2 * np.eye(3)[y], axis=1)
        u = problem.nearest(rng.normal(size=(3, 5)))
        assert problem.lower_bound(p, u)[0] <= lowest


def test_the_bound_is_above_the_worst_case_of_the_softmax_loss():
    X, y = _data()
    found = solve_multinomial(X, y, epsilon=0.2, C=1.0)
    W, b = found.coef, found.intercept
    worst = np.full(80, -np.inf)
    for signs in itertools.product((-0.2, 0.2), repeat=5):
        scores = (X + np.array(signs)) @ W.T + b
        worst = np.maximum(worst, logsumexp(scores, axis=1) - scores[np.arange(80), y])
    exact = worst.mean() + (W**2).sum() / (2 * 80)
    assert exact <= found.objective
    # It is a tight bound: 1.3 to 4.1 % was measured on three classes.
    assert found.objective <= 1.06 * exact


@pytest.mark.parametrize("norm", NORMS)
def test_newton_step_solves_for_the_gradient(norm):
    X, y = _data()
    rng = np.random.default_rng(0)
    problem = Multinomial(X, y, np.full(80, 1 / 80), np.full(5, 0.2), norm, 0.1, True, 3)
    run = _multinomial._Run(problem, 1e-6, 0)
    run.mu, run.W, run.b = 0.4, 0.3 * rng.normal(size=(3, 5)), rng.normal(size=3)
    run.scores = X @ run.W.T
    run._check()  # which also moves b to its best value
    W, b = run.W, run.b

    def gradient(W, b):
        run.W = W
        _, p, u = run._smooth(X @ W.T + b, W)
        return run._gradient(p, u), p, u

    gW, p, u = gradient(W, b)
    model = Model(problem, p, u, run.u0 + problem.z(W) / run.mu, run.mu)
    dW, db = model.minimise(gW, forcing=1e-12, enough=0.0)
    h = 1e-6
    up, down = gradient(W + h * dW, b + h * db)[0], gradient(W - h * dW, b - h * db)[0]
    # H d = -g by central differences; the kinks of the projection are not within h.
    np.testing.assert_allclose((up - down) / (2 * h), -gW, atol=1e-7)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("epsilon", [0.1, 0.3, 1.0, 2.0])
def test_without_a_penalty_the_minimum_is_the_limit_of_small_ones(norm, epsilon):
    X, y = load_iris(return_X_y=True)
    free = solve_multinomial(X, y, epsilon=epsilon, norm=norm, C=np.inf)
    assert free.converged
    # With a penalty the value is certified, and no less than the minimum without one.
    for C in (1e4, 1e6):
        held = solve_multinomial(X, y, epsilon=epsilon, norm=norm, C=C, tol=1e-8)
        penalty = (held.coef**2).sum() / (2 * C * len(y))
        loss = held.objective - penalty
        assert free.objective <= held.objective * (1 + 1e-6)
    assert free.objective == pytest.approx(loss, rel=2e-4)


def test_without_a_penalty_the_units_of_a_feature_do_not_matter():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=400)
    X = np.column_stack([0.3 * y + rng.normal(0, 0.2, 400), np.exp(rng.normal(size=400))])
    unit = np.array([1.0, 1e8])
    for epsilon in (0.0, 0.1):
        plain = solve_multinomial(X, y, epsilon=epsilon, C=np.inf)
        other = solve_multinomial(X * unit, y, epsilon=epsilon * unit, C=np.inf)
        assert plain.converged
        assert other.converged
        np.testing.assert_allclose(other.objective, plain.objective, rtol=1e-6)


def test_where_it_does_not_converge_it_returns_the_best_point():
    X, y = load_wine(return_X_y=True)
    found = solve_multinomial(scale(X), y, epsilon=1.0, norm="l1", C=np.inf)
    assert found.converged or found.objective < np.log(3)
