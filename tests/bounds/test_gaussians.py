"""Quadratic forms over balls and boxes, and discriminant analysis, against independent searches."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import input_gradients, perturb, robust_score
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import GaussianScores
from sklearn_robust.bounds._forms import _proof, least_form
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.metrics import certified_score
from sklearn_robust.targets import make_target


def _searched(Q, c, norm, rng, low=-1.0, high=1.0):
    """The least value that a local search finds from many starts."""
    best = np.inf
    limits = [] if norm == "linf" else [{"type": "ineq", "fun": lambda u: 1 - u @ u}]
    if norm == "l1":
        limits = [{"type": "ineq", "fun": lambda u: 1 - abs(u).sum()}]
    for _ in range(8):
        start = rng.uniform(-1, 1, len(c)) / (1 if norm == "linf" else len(c))
        found = minimize(
            lambda u: u @ Q @ u + c @ u, start.clip(low, high), method="SLSQP",
            bounds=[(low, high)] * len(c), constraints=limits,
        )  # fmt: skip
        if all(limit["fun"](found.x) > -1e-7 for limit in limits):
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("clip", [None, (-0.5, 0.7)], ids=["free", "clipped"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_forms_are_bounded_from_below_and_exact_in_the_ball(norm, clip):
    rng = np.random.default_rng(0)
    for trial in range(6):
        Q, c = rng.standard_normal((4, 4)), rng.standard_normal(4) * (trial % 3)
        Q = (Q + Q.T) / 2 + (trial - 3) * np.eye(4)
        reach = Reach(np.zeros(4), ThreatModel(1.0, norm, clip))
        least, u = least_form(reach, Q, c)
        low, high = (-1.0, 1.0) if clip is None else clip
        seen = _searched(Q, c, norm, rng, low, high)
        assert least <= seen + 1e-6
        assert least <= u @ Q @ u + c @ u
        if norm == "l2" and clip is None:
            assert least == pytest.approx(seen, abs=1e-6)
            assert u @ Q @ u + c @ u == pytest.approx(least, abs=1e-9)


def test_the_hard_case_of_the_ball_is_solved_too():
    Q, c = np.diag([-2.0, 1.0, 3.0]), np.array([0.0, 0.5, 0.2])  # no pull along the lowest one
    least, u = least_form(Reach(np.zeros(3), ThreatModel(1.0, "l2")), Q, c)
    rng = np.random.default_rng(0)
    # The search leaves the ball by up to 1e-6.
    assert least == pytest.approx(_searched(Q, c, "l2", rng), abs=1e-5)
    assert np.linalg.norm(u) == pytest.approx(1)


def test_prices_and_points_from_anywhere_prove_nothing_false():
    rng = np.random.default_rng(1)
    for _ in range(30):
        Q, c = rng.standard_normal((3, 3)), rng.standard_normal(3)
        Q = Q + Q.T
        corners = np.stack(np.meshgrid(*[np.linspace(-1, 1, 15)] * 3), axis=-1).reshape(-1, 3)
        least = ((corners @ Q) * corners).sum(axis=1) + corners @ c
        prices = abs(rng.standard_normal(3)) * 10 ** rng.uniform(-3, 2)
        for point in (rng.standard_normal(3) * 10, np.zeros(3), np.full(3, np.nan)):
            assert _proof(Q, c, prices, point, float(prices.sum())) <= least.min()


X, Y = load_wine(return_X_y=True)
PIPE = make_pipeline(StandardScaler(), QuadraticDiscriminantAnalysis(reg_param=0.1)).fit(X, Y)
FEW, FEW_Y = X[::6], Y[::6]
SPREAD = X.std(axis=0)


def test_discriminant_analysis_is_exact_in_euclidean_balls():
    seen = []
    for factor in (0.3, 1.0, 2.0):
        options = {"epsilon": factor * SPREAD, "norm": "l2"}
        attacked = robust_score(PIPE, FEW, FEW_Y, **options)
        assert attacked == certified_score(PIPE, FEW, FEW_Y, **options)
        moved = perturb(PIPE, FEW, FEW_Y, **options)
        assert PIPE.score(moved, FEW_Y) == attacked
        seen.append(attacked)
    assert seen[0] > seen[1] > seen[2]
    assert make_target(PIPE, FEW, FEW_Y, epsilon=SPREAD, norm="l2").kind == "exact"


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_it_is_bounded_on_both_sides_in_others(norm):
    rng = np.random.default_rng(0)
    for factor in (0.1, 0.5):
        target = make_target(PIPE, FEW, FEW_Y, epsilon=factor * SPREAD, norm=norm)
        proven = target.certified(target.threat, "auto")
        assert (proven <= target.attacked(target.threat, seed=0).robust).all()
        around = target.threat.around(target.rows)
        for _ in range(50):
            assert (PIPE.predict(around.sample(rng)) == FEW_Y)[proven].all()
    assert proven.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_behind_a_rotation_in_a_box_and_in_single_precision(dtype):
    pipe = make_pipeline(PCA(3), QuadraticDiscriminantAnalysis())
    data = load_iris().data.astype(dtype)
    pipe.fit(data, load_iris().target)
    options = {"epsilon": 0.05, "clip_values": (0, 8)}
    certified = certified_score(pipe, data[::5], load_iris().target[::5], **options)
    attacked = robust_score(pipe, data[::5], load_iris().target[::5], random_state=0, **options)
    assert 0.5 < certified <= attacked


def test_scores_gradients_and_score_bounds_are_those_of_the_classifier():
    clf = QuadraticDiscriminantAnalysis().fit(X[:, :4], Y)
    target, step = make_target(clf, X[:, :4], Y, epsilon=0.1), 1e-5
    expected = clf.predict_log_proba(X[:, :4])
    scores = target.model.logits(X[:, :4])
    np.testing.assert_allclose(
        scores - scores[:, :1], expected - expected[:, :1], rtol=1e-9, atol=1e-8
    )
    gradient = input_gradients(clf, X[:, :4], Y)
    for k in range(4):
        move = step * np.eye(4)[k]
        up, down = (-clf.predict_log_proba(X[:, :4] + s * move) for s in (1, -1))
        numeric = (up - down)[np.arange(len(Y)), Y] / (2 * step)
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-4, atol=1e-6)
    rng, low, high = np.random.default_rng(0), X[:5, :4] - 0.3, X[:5, :4] + 0.3
    lower, upper = target.model.score_bounds(low, high)
    for _ in range(200):
        inside = target.model.logits(rng.uniform(low, high))
        assert (lower <= inside).all()
        assert (inside <= upper).all()


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_numbers_out_of_range_prove_nothing(scale):
    roots = [np.eye(2) / scale, np.eye(2)]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        model = GaussianScores(scale * np.eye(2), roots, np.zeros(2))
        margins = model.margins(scale * np.ones((1, 2)), np.array([1]), ThreatModel(scale))
    assert not (margins > 0).all()
