"""Truncated Newton: its Hessian, its steps in the orthant, and that it needs no other method."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_classification

from sklearn_robust.linear_model import epsilon_max
from sklearn_robust.linear_model._columns import choose_columns
from sklearn_robust.linear_model._exact import make_problem, solve
from sklearn_robust.linear_model._margin_losses import LOSSES
from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._newton_cg import _Model, newton_cg
from sklearn_robust.linear_model._problem import State


def _problem(n, d, norm, epsilon, loss="logistic", container=np.asarray, C=1.0):
    X, y = make_classification(n, d, n_informative=5, flip_y=0.1, random_state=0)
    radius = np.full(d, epsilon)
    radius[:2] = 0
    return make_problem(container(X), 2.0 * y - 1, None, radius, norm, C, True, LOSSES[loss]())


def _start(problem, seed=0):
    w = 0.1 * np.random.default_rng(seed).normal(size=len(problem.radius))
    return State(problem, w, 0.1)


def _model(problem, state):
    g, S = Monitor(problem, 1e-6).check(state)
    return _Model(problem, state, choose_columns(problem, state, g, S, len(g), None), g, S)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_product_is_the_derivative_of_the_gradient(norm, loss):
    problem = _problem(50, 8, norm, 0.1, loss)
    state = _start(problem)
    model, v, h = _model(problem, state), np.random.default_rng(1).normal(size=8), 1e-6
    # A State moves b to its best value: the derivative includes that, as the model does.
    ends = [_model(problem, State(problem, state.w + x * v, state.b)) for x in (h, -h)]
    numeric = (ends[1].downhill - ends[0].downhill) / (2 * h)
    # Central differences: h^2 and the rounding of the gradient over h.
    np.testing.assert_allclose(model._product(v)[0], numeric, atol=1e-8)


def test_step_minimises_the_model_over_the_orthant():
    problem = _problem(100, 20, "linf", 0.05)
    state = _start(problem)
    model = _model(problem, state)
    model.minimise(forcing=1e-10, enough=0.0)
    end = model.w + model.step
    assert (model.sign * end)[model.bounded].min() >= -1e-12
    crossing = model.bounded & ~model.free & (model.w != 0)
    assert crossing.any()  # or the bounds would not have been tested
    # Kuhn and Tucker: no slope where free, none into the orthant where fixed.
    np.testing.assert_allclose(model.rest[model.free], 0, atol=1e-9)
    assert (model.sign * model.rest)[crossing].max() <= 1e-12


@pytest.mark.parametrize(
    ("norm", "epsilon"), [("linf", 0.02), ("linf", 0.2), ("linf", 0.0), ("l2", 0.05)]
)
@pytest.mark.parametrize("shape", [(300, 40), (60, 300)])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_alone_reaches_a_certified_minimum(norm, epsilon, shape, container):
    problem = _problem(*shape, norm, epsilon, container=container)
    monitor = Monitor(problem, 1e-9)
    state, columns = newton_cg(problem, _start(problem), monitor, 100)
    assert monitor.gap <= 1e-9
    assert columns.X.shape[0] == shape[0]
    other = solve(problem.X, problem.y, epsilon=problem.radius, norm=norm, tol=1e-9, max_iter=1000)
    # Each is within 1e-9 of the minimum.
    np.testing.assert_allclose(state.value, other.objective, rtol=1e-9)


def test_gives_up_where_many_products_are_needed():
    X, y = make_classification(
        400, 100, n_informative=30, n_redundant=30, flip_y=0.05, random_state=0
    )
    y, options = 2.0 * y - 1, dict(epsilon=0.01 * epsilon_max(X, y), norm="linf", C=1e4)
    problem = make_problem(X, y, None, fit_intercept=True, loss=LOSSES["logistic"](), **options)
    monitor = Monitor(problem, 1e-9)
    newton_cg(problem, State(problem, np.zeros(100), 0.0), monitor, 1000)
    assert not monitor.stop
    assert monitor.n_iter < 20
    assert solve(X, y, tol=1e-9, **options).converged


def test_a_working_set_serves_until_a_feature_is_missing():
    problem = _problem(100, 50, "linf", 0.25)
    monitor = Monitor(problem, 1e-6)
    w = np.zeros(50)
    w[:5] = 0.1
    state = State(problem, w, 0.0)
    g, S = monitor.check(state)
    first = choose_columns(problem, state, g, S, 50, None, slack=0.2)
    needed = np.flatnonzero((w != 0) | (abs(g) > S * problem.radius))
    assert np.isin(needed, first.chosen).all()
    assert len(first.chosen) == int(1.2 * len(needed))
    np.testing.assert_array_equal(first.X, problem.X[:, first.chosen])
    assert choose_columns(problem, state, g, S, 50, first) is first
    outside = np.setdiff1d(np.arange(50), first.chosen)[:1]
    w[outside] = 0.1
    g, S = monitor.check(state := State(problem, w, 0.0))
    second = choose_columns(problem, state, g, S, 50, first)
    assert np.isin(outside, second.chosen).all()
