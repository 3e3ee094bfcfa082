"""Votes of neighbours are held against linear and conic programs, and against dense grids."""

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.neighbors import KNeighborsClassifier

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import Distance, NearestNeighbour, NeighbourVotes, _games
from sklearn_robust.bounds._games import Game, play
from sklearn_robust.bounds._programs import solver_of
from sklearn_robust.bounds._reach import Reach


def _data(n=40, d=4, n_classes=3, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    classes = (rows[:, 0] > 0).astype(int) + (n_classes > 2) * (rows[:, 1] > 0.7)
    return scale * rows, classes, scale * rng.standard_normal((12, d))


def _can_be_lost(x, label, rows, classes, threat):
    """Whether a rival is nearest somewhere: the programs as they are, one for each rival."""
    own = rows[classes == label]
    for rival in rows[classes != label]:
        A = 2 * (own - rival)
        b = (own**2).sum(axis=1) - (rival**2).sum()
        if _deepest(x, A, b, threat) < 0:
            return True
    return False


def _deepest(x, A, b, threat):
    """The least t with ``A x' <= b + t`` for some x' in the set."""
    d, eps = len(x), np.broadcast_to(threat.epsilon, len(x))
    low, high = (-np.inf, np.inf) if threat.clip_values is None else threat.clip_values
    if threat.norm == "linf":
        ends = np.c_[np.maximum(x - eps, low), np.minimum(x + eps, high)]
        cost = np.r_[np.zeros(d), 1]
        done = linprog(cost, np.c_[A, -np.ones(len(b))], b, bounds=[*ends.tolist(), (None, None)])
        return done.fun
    z, t = cp.Variable(d), cp.Variable()
    limits = [A @ z <= b + t, cp.norm((z - x) / eps, {"l2": 2, "l1": 1}[threat.norm]) <= 1]
    if threat.clip_values is not None:
        limits += [z >= low, z <= high]
    return cp.Problem(cp.Minimize(t), limits).solve(solver="CLARABEL")


@pytest.mark.parametrize("box", [None, (-1.0, 1.0)], ids=["free", "clipped"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_one_neighbour_is_decided_as_the_programs_of_all_rivals_do(norm, box):
    rows, classes, X = _data(n=25)
    X = X[:7] if box is None else X[:7].clip(*box)
    clf = KNeighborsClassifier(1).fit(rows, classes)
    labels, model = clf.predict(X), NearestNeighbour(rows, classes, 3)
    lost = []
    for epsilon in (0.1, 0.3):
        threat = ThreatModel(epsilon * np.array([1.0, 0.5, 2.0, 1.0]), norm, box)
        proven = (model.margins(X, labels, threat) > 0).all(axis=1)
        points = model.worst_points(X, labels, threat)
        broken = clf.predict(points) != labels
        expected = [
            _can_be_lost(x, y, rows, classes, threat) for x, y in zip(X, labels, strict=True)
        ]
        assert threat.contains(points, X).all()
        np.testing.assert_array_equal(broken, expected)
        np.testing.assert_array_equal(~proven, expected)
        lost.extend(broken)
    assert 0 < sum(lost) < len(lost)  # both answers occur


def test_margins_are_those_of_the_squared_distances_on_a_dense_grid():
    rows, classes, X = _data(d=2, n_classes=2, seed=3)
    labels = KNeighborsClassifier(1).fit(rows, classes).predict(X)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.3, 0.3, 61)] * 2), axis=-1).reshape(-1, 2)
    threat, model = ThreatModel(0.3), NearestNeighbour(rows, classes, 2)
    for x, y, bound in zip(X, labels, model.margins(X, labels, threat), strict=True):
        scores = model.logits(x + grid)
        least = (scores[:, y] - scores[:, 1 - y]).min()
        assert bound[1 - y] <= least + 1e-12


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    "lie",
    [
        lambda n, d: (np.full(n, 1e6), np.zeros(d)),
        lambda n, d: (np.full(n, np.nan), np.full(d, 0.0)),
        lambda n, d: (-np.ones(n), np.ones(d)),
        lambda n, d: (np.eye(n)[0], -np.ones(d)),
        lambda n, d: None,
    ],
    ids=["huge", "nan", "negative", "arbitrary", "nothing"],
)
def test_a_solver_that_lies_proves_nothing_that_is_not_so(monkeypatch, norm, lie):
    rows, classes, X = _data()
    clf = KNeighborsClassifier(1).fit(rows, classes)
    labels, threat = clf.predict(X), ThreatModel(0.4, norm)
    model = NearestNeighbour(rows, classes, 3)
    broken = clf.predict(model.worst_points(X, labels, threat)) != labels
    monkeypatch.setattr(_games, "_TEMPERATURES", ())  # or nothing would be left for the solver
    monkeypatch.setattr(
        "sklearn_robust.bounds._neighbours.solver_of",
        lambda norm: lambda reach, h, *rest: lie(*h.shape),
    )
    proven = (model.margins(X, labels, threat) > 0).all(axis=1)
    assert broken.any()
    assert not (proven & broken).any()


def test_weights_of_any_kind_prove_no_more_than_the_game_is_worth():
    rows, classes, X = _data(seed=5)
    rng, x = np.random.default_rng(0), X[0]
    reach = Reach(x, ThreatModel(0.5, "l2"))
    delta = rows - x
    h, d, own = delta * 2 * reach.radii, (delta**2).sum(axis=1), classes == 0
    game = Game(reach, h[own], d[own], h[~own], d[~own], np.zeros((~own).sum()), solver_of("l2"))
    for _ in range(50):
        weights = rng.standard_normal((len(game.rival_d), own.sum())) ** 3
        game.prove(np.arange(len(game.rival_d)), np.arange(own.sum()), weights)
    for k, bound in enumerate(game.proven):
        A = h[own] - h[~own][k]
        u, t = cp.Variable(4), cp.Variable()
        limits = [A @ u - d[own] + d[~own][k] <= t, cp.norm(u) <= 1]
        value = cp.Problem(cp.Minimize(t), limits).solve(solver="CLARABEL")
        assert bound <= value + 1e-6  # the precision of the conic solver


def test_the_descent_and_the_programs_agree():
    rows, classes, X = _data(seed=7)
    labels = KNeighborsClassifier(1).fit(rows, classes).predict(X)
    for norm in ("linf", "l2", "l1"):
        for x, y in zip(X, labels, strict=True):
            games = []
            for solve in (None, solver_of(norm)):
                reach, delta, own = Reach(x, ThreatModel(0.4, norm)), rows - x, classes == y
                h, d = delta * 2 * reach.radii, (delta**2).sum(axis=1)
                slack = np.zeros((~own).sum())
                games.append(Game(reach, h[own], d[own], h[~own], d[~own], slack, solve))
            found = [play(game) for game in games]
            if (games[0].proven > 0).all():
                assert (games[1].proven > 0).all()
            elif len(found[0]):
                assert len(found[1])


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
def test_gaps_of_pairs_are_least_values_over_the_box(p):
    rng = np.random.default_rng(0)
    own, rivals, x = (rng.standard_normal((5, 2)) for _ in range(3))
    distance, x = Distance(p), x[0]
    gaps = distance.gaps(x - 0.4, x + 0.4, own, rivals)
    grid = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 41)] * 2), axis=-1).reshape(-1, 2)
    values = distance.powers(x + grid, rivals)[:, :, None] - distance.powers(x + grid, own)[:, None]
    least = values.min(axis=0)
    assert (gaps <= least + 1e-12).all()
    if np.isfinite(p):  # the corners are points of the grid
        np.testing.assert_allclose(gaps, least, atol=1e-12)


SHIFTS = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_what_counts_prove_holds_on_a_dense_grid(k, p, norm):
    rows, classes, X = _data(n=60, d=2, seed=k)
    rows[:6], classes[:6] = rows[6:12], (classes[6:12] + 1) % 3  # duplicates of other classes
    name = {np.inf: "chebyshev"}.get(p, "minkowski")
    for weights in ("uniform", "distance"):
        clf = KNeighborsClassifier(k, metric=name, p=p if np.isfinite(p) else 2, weights=weights)
        clf.fit(rows, classes)
        labels = clf.predict(X)
        model = NeighbourVotes(
            rows, classes, 3, k, Distance(p), unanimous=weights == "distance" and k > 1
        )
        proven = 0
        for epsilon in (0.05, 0.2, 0.5):
            threat = ThreatModel(epsilon, norm)
            order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
            inside = SHIFTS[np.linalg.norm(SHIFTS, order, axis=1) <= 1]
            safe = (model.margins(X, labels, threat) > 0).all(axis=1)
            for x, y in zip(X[safe], labels[safe], strict=True):
                assert (clf.predict(x + epsilon * inside) == y).all()
            proven += safe.sum()
        assert proven > 0


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e-30, 1e30, 1e160, 1e200])
def test_nothing_false_is_proven_where_squares_leave_the_range_of_numbers(scale):
    rows, classes, X = _data(d=2, n_classes=2, scale=scale)
    clf = KNeighborsClassifier(1, algorithm="kd_tree").fit(rows, classes)
    labels, threat = clf.predict(X), ThreatModel(0.2 * scale)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        safe = (NearestNeighbour(rows, classes, 2).margins(X, labels, threat) > 0).all(axis=1)
        for x, y in zip(X[safe], labels[safe], strict=True):
            assert (clf.predict(x + 0.2 * scale * SHIFTS) == y).all()
    if scale in (1e-30, 1e30):
        assert safe.any()


def test_scores_of_two_classes_are_bounded_and_decide():
    rows, classes, X = _data(d=2, n_classes=2)
    for k in (1, 3):
        model = NeighbourVotes(rows, classes, 2, k, Distance(2))
        clf = KNeighborsClassifier(k).fit(rows, classes)
        np.testing.assert_array_equal(model.logits(X).argmax(axis=1), clf.predict(X))
        lower, upper = model.score_bounds(X - 0.1, X + 0.1)
        for i, x in enumerate(X):
            scores = model.logits(x + 0.1 * SHIFTS)
            assert (lower[i] <= scores).all()
            assert (scores <= upper[i]).all()
    even = NeighbourVotes(rows, classes, 2, 2, Distance(2))
    assert np.isinf(even.score_bounds(X, X)).all()  # what does not decide is not bounded
