"""The geometry of the norms, held against scipy's solutions of the defining problems."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from sklearn.linear_model import LogisticRegression

from sklearn_robust import (
    AdversarialLogisticRegression,
    adversarial_logistic_path,
    get_norm,
    register_norm,
    robust_score,
)
from sklearn_robust._norms import NORMS

ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


def _cases(seed, n=25, d=6):
    """Return points of all sizes and capacities with zeros, full and infinite ones."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d)) * 10 ** rng.uniform(-2, 1, size=(n, 1))
    z[0] = 0
    z[1, 2:] = 0
    capacity = rng.exponential(size=(n, d)) * 10 ** rng.uniform(-1.5, 0.5, size=(n, 1))
    capacity[rng.random((n, d)) < 0.1] = 0
    capacity[rng.random((n, d)) < 0.2] = np.inf
    return z, capacity


def _constraints(name, d):
    """The unit ball as smooth constraints of ``|u|``; signs are those of the argument."""
    if name == "linf":
        return [{"type": "ineq", "fun": lambda v: 1 - v}]
    if name == "l2":
        return [{"type": "ineq", "fun": lambda v: 1 - v @ v, "jac": lambda v: -2 * v}]
    return [{"type": "ineq", "fun": lambda v: 1 - v.sum(), "jac": lambda v: -np.ones(d)}]


def _solve(name, objective, jac, capacity):
    bounds = [(0, c if np.isfinite(c) else None) for c in capacity]
    result = minimize(
        objective,
        np.zeros(len(capacity)),
        jac=jac,
        bounds=bounds,
        method="SLSQP",
        constraints=_constraints(name, len(capacity)),
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return result.x


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("boxed", [False, True])
def test_projection_solves_the_projection_problem(name, boxed):
    z, capacity = _cases(0)
    ours = NORMS[name].project(z, capacity if boxed else None)
    for i, row in enumerate(z):
        limit = capacity[i] if boxed else np.full(len(row), np.inf)
        target = abs(row)
        expected = _solve(
            name, lambda v, t=target: ((v - t) ** 2).sum() / 2, lambda v, t=target: v - t, limit
        )
        # SLSQP stops at 1e-14 in the objective, so at about 1e-7 in the point.
        np.testing.assert_allclose(ours[i], np.sign(row) * expected, atol=2e-6)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("boxed", [False, True])
def test_steepest_attains_the_maximum_of_a_linear_function(name, boxed):
    g, capacity = _cases(1)
    norm = NORMS[name]
    u = norm.steepest(g, capacity if boxed else None)
    assert (np.linalg.norm(u, ord=ORDER[name], axis=1) <= 1 + 1e-12).all()
    for i, row in enumerate(g):
        limit = capacity[i] if boxed else np.full(len(row), np.inf)
        if name == "l2":
            direction = abs(row) / (abs(row).max() or 1)
            best = direction @ _solve(
                name, lambda v, a=direction: -a @ v, lambda v, a=direction: -a, limit
            )
            best *= abs(row).max()
        else:
            A = np.eye(len(row)) if name == "linf" else np.ones((1, len(row)))
            bounds = [(0, c if np.isfinite(c) else None) for c in limit]
            best = -linprog(-abs(row), A_ub=A, b_ub=np.ones(len(A)), bounds=bounds).fun
        np.testing.assert_allclose(row @ u[i], best, rtol=1e-6, atol=1e-12)
        assert (abs(u[i]) <= limit + 1e-15).all()


@pytest.mark.parametrize("name", NORMS)
def test_dual_length_is_the_maximum_over_the_ball(name):
    w = _cases(2)[0]
    norm = NORMS[name]
    attained = (w * norm.steepest(w)).sum(1)
    np.testing.assert_allclose(norm.dual_length(w), attained, rtol=1e-12)
    np.testing.assert_allclose(
        norm.dual_length(w), np.linalg.norm(w, ord=ORDER[DUAL[name]], axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("boxed", [False, True])
def test_torch_and_numpy_share_the_formulas(name, boxed):
    z, capacity = _cases(3)
    limit = capacity if boxed else None
    t_limit = torch.from_numpy(capacity) if boxed else None
    for method in ("project", "steepest"):
        ours = getattr(NORMS[name], method)(z, limit)
        theirs = getattr(NORMS[name], method)(torch.from_numpy(z), t_limit)
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NORMS)
def test_samples_are_uniform_in_the_ball(name):
    d, n = 5, 20_000
    u = NORMS[name].sample(np.empty((n, d)), np.random.default_rng(0))
    length = np.linalg.norm(u, ord=ORDER[name], axis=1)
    # P(length <= r) = r^d exactly; 0.0136 is the 0.1 % point of Kolmogorov's statistic at n.
    r = np.sort(length)
    assert abs(r**d - np.arange(1, n + 1) / n).max() < 0.0136
    # Each coordinate is symmetric: its mean lies within 4.5 standard errors of 0.
    assert (abs(u.mean(0)) < 4.5 * u.std(0) / np.sqrt(n)).all()


@pytest.mark.parametrize("name", NORMS)
def test_tiny_float32_gradients_still_give_a_full_step(name):
    g = np.full((1, 4), 1e-30, dtype=np.float32)
    u = NORMS[name].steepest(g)
    np.testing.assert_allclose(np.linalg.norm(u, ord=ORDER[name], axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("boxed", [False, True])
def test_shortest_move_is_where_the_maximum_reaches_the_gain(name, boxed):
    pull, capacity = _cases(4, n=60)
    norm, rng = NORMS[name], np.random.default_rng(0)
    limit = capacity if boxed else None
    length = rng.exponential(size=60) * 3
    scaled = None if limit is None else limit / length[:, None]
    best = (pull * length[:, None] * norm.steepest(pull, scaled)).sum(1)
    best *= 1 - 1e-9  # at the very corner of a box, rounding decides whether it can be reached
    found = norm.shortest(pull, best, limit)
    movable = best > 0
    # The ball of the found radius reaches the gain, and the one given was large enough for it.
    assert (found <= length * (1 + 1e-9)).all()
    assert (found[~movable] == 0).all()
    pull, found, best = pull[movable], found[movable], best[movable]
    limit = None if limit is None else limit[movable]
    for factor in (1.0, 1 - 1e-6):
        radius = factor * found
        scaled = None if limit is None else limit / radius[:, None]
        reached = (pull * radius[:, None] * norm.steepest(pull, scaled)).sum(1)
        if factor == 1:
            np.testing.assert_allclose(reached, best, rtol=1e-9)
        else:
            assert (reached < best).all()


@pytest.mark.parametrize("name", NORMS)
def test_shortest_move_is_infinite_where_the_box_gives_too_little(name):
    pull = np.array([[1.0, 0.0, 2.0]])
    capacity = np.array([[1.0, np.inf, 0.5]])
    found = [NORMS[name].shortest(pull, np.array([g]), capacity)[0] for g in (0.0, 2.0, 2.1)]
    corner = np.linalg.norm([1.0, 0.5], ord=ORDER[name])
    np.testing.assert_allclose(found, [0, corner, np.inf])
    assert NORMS[name].shortest(0 * pull, np.array([1.0]))[0] == np.inf


# Norms of one's own -----------------------------------------------------------------------------


@pytest.fixture
def registry():
    """Give the registry back as it was."""
    before = dict(NORMS)
    yield NORMS
    NORMS.clear()
    NORMS.update(before)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("like", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("weak", [1e-3, 1e-6, 1e-10, 1e-30])
def test_a_weak_pull_beside_a_full_feature_is_followed(dtype, like, weak):
    # A small feature that ends at its box, and another that may move as far as the ball.
    pull, capacity = (like(np.array([row], dtype)) for row in ([1, weak], [0.25, np.inf]))
    u = np.asarray(NORMS["l2"].steepest(pull, capacity))[0]
    rest = 0.9375**0.5 if weak**2 > np.finfo(dtype).tiny else 0  # else too little to count
    np.testing.assert_allclose(u, [0.25, rest], rtol=1e-6, atol=1e-29)
    if weak**2 > np.finfo(dtype).tiny:
        gain = like(np.array([1], dtype))
        shortest = np.asarray(NORMS["l2"].shortest(pull, gain, capacity))
        np.testing.assert_allclose(shortest, np.hypot(0.25, 0.75 / weak), rtol=1e-6)


class Doubled:
    """Twice linf, of which the unit ball is half as large."""

    name = "doubled"
    half = get_norm("linf")

    def length(self, delta):
        return 2 * self.half.length(delta)

    def dual_length(self, weights):
        return self.half.dual_length(weights) / 2

    def project(self, z, capacity=None):
        return self.half.project(2 * z, None if capacity is None else 2 * capacity) / 2

    def steepest(self, gradient, capacity=None):
        return self.half.steepest(gradient, None if capacity is None else 2 * capacity) / 2

    def shortest(self, pull, gain, capacity=None):
        return 2 * self.half.shortest(pull, gain, capacity)

    def sample(self, like, generator):
        return self.half.sample(like, generator) / 2


def test_a_registered_norm_is_known_by_name_and_can_be_replaced(registry):
    clf = LogisticRegression().fit([[0.0, 1.0], [3.0, 1.0]], [0, 1])
    X, y = [[1.0, 1.0], [2.0, 1.0]], [0, 1]
    with pytest.raises(ValueError, match=r"norm must be one of 'linf', 'l2', 'l1', got 'doubled'"):
        robust_score(clf, X, y, epsilon=0.9, norm="doubled")
    for _ in range(2):  # as when a cell of a notebook is run again
        register_norm(Doubled())
    assert isinstance(get_norm("doubled"), Doubled)
    # The boundary is at 1.5, half a unit away from each sample.
    assert robust_score(clf, X, y, epsilon=0.9, norm="doubled") == 1
    assert robust_score(clf, X, y, epsilon=1.1, norm="doubled") == 0


@pytest.mark.parametrize("y", [[0, 1, 1, 1], [0, 1, 2, 2]], ids=["two classes", "three"])
def test_what_has_formulas_for_each_norm_refuses_a_registered_one(registry, y):
    register_norm(Doubled())
    X = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0], [2.0, 3.0]])
    refused = {"norm": "doubled", "epsilon": 0.1}
    clf = AdversarialLogisticRegression(**refused)
    with pytest.raises(ValueError, match="one of 'linf', 'l2', 'l1' here, got 'doubled'"):
        clf.fit(X, y)
    assert not hasattr(clf, "classes_")
    with pytest.raises(ValueError, match="one of 'linf', 'l2', 'l1' here, got 'doubled'"):
        adversarial_logistic_path(X, y, [0.1], norm="doubled")
    AdversarialLogisticRegression(**refused, solver="pgd", max_iter=5).fit(X, y)


def test_what_cannot_be_registered_is_left_out(registry):
    before = dict(registry)
    with pytest.raises(ValueError, match="name must be one of 'linf', 'l2', 'l1', got 'l3'"):
        get_norm("l3")
    with pytest.raises(TypeError, match=r"must have the methods length, .*; object lacks length"):
        register_norm(object())
    with pytest.raises(ValueError, match="name of its own, got 'linf'"):
        register_norm(type(NORMS["linf"])())
    assert registry == before
