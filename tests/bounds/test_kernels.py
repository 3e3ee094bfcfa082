"""Sums of kernels are bounded: lines, quadratics and margins are held against brute force."""

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.svm import SVC

from sklearn_robust.attacks import Margin, ThreatModel
from sklearn_robust.bounds import (
    KernelScores,
    KernelSum,
    KernelVotes,
    MaternKernel,
    PolynomialKernel,
    RationalQuadraticKernel,
    RBFKernel,
    SigmoidKernel,
    Term,
)
from sklearn_robust.bounds._parabolas import apply, parabola_bound
from sklearn_robust.bounds._quadratics import least_quadratic
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.bounds._relaxations import Relaxation
from sklearn_robust.targets._kernels import _svm_kernel, _svm_model

KERNELS = [
    RBFKernel(0.7),
    PolynomialKernel(0.5, 1.0, 2),
    PolynomialKernel(0.5, 0.3, 3),
    PolynomialKernel(-0.5, 0.0, 4),
    PolynomialKernel(1.0, 0.0, 1),
    PolynomialKernel(1.0, 0.5, 0),
    SigmoidKernel(0.8, -0.3),
]
CONVEX = [
    RBFKernel(0.7),
    RBFKernel(1.0, np.array([0.3, 2.0])),
    MaternKernel(0.5),
    MaternKernel(1.5, np.array([0.3, 2.0])),
    MaternKernel(2.5),
    RationalQuadraticKernel(0.7, 1.3),
]
LEAVES = [*CONVEX[:4], PolynomialKernel(1.0, 0.5, 1), SigmoidKernel(0.8, -0.3)]
SUMS = {
    "added": KernelSum(LEAVES, [Term(0.7, (0,)), Term(0.4, (4,)), Term(0.3, ()), Term(2.0, (3,))]),
    "multiplied": KernelSum(LEAVES, [Term(1.3, (2, 4)), Term(-0.5, (5, 4, 1)), Term(0.3, (4, 4))]),
    "several": KernelSum(LEAVES, [Term(1.0, (1,)), Term(0.5, (2,), 1), Term(0.1, (4, 1), 1)], 2),
}
NORMS = ["linf", "l2", "l1"]
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
SHIFTS = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("kernel", [*KERNELS, *CONVEX], ids=lambda k: f"{type(k).__name__}")
def test_kernels_lie_between_their_lines(kernel):
    rng = np.random.default_rng(0)
    ends = np.sort(rng.uniform(0 if kernel.of_distance else -4, 4, (2, 200)), axis=0)
    slopes = kernel.slope(rng.uniform(*ends)), rng.standard_normal(200), np.zeros(200)
    q = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, 401)[:, None]
    for m in slopes:
        below, above = kernel.intercepts(m, *ends)
        rest = kernel(q) - m * q
        assert (rest >= below - 1e-9).all()
        assert (rest <= above + 1e-9).all()
        # They touch, as near as the grid comes to that.
        gap = np.maximum(rest.min(axis=0) - below, above - rest.max(axis=0))
        assert gap.max() <= 1e-2 * (1 + abs(rest).max())
    step = 1e-6
    numeric = (kernel(q + step) - kernel(q - step)) / (2 * step)
    np.testing.assert_allclose(kernel.slope(q), numeric, rtol=1e-4, atol=1e-6)
    assert (abs(kernel.slope(q)) <= kernel.steepest(*ends) + 1e-12).all()


@pytest.mark.parametrize("clip", [None, (-0.6, 0.8)], ids=["free", "clipped"])
@pytest.mark.parametrize("norm", NORMS)
def test_quadratics_have_their_least_values(norm, clip):
    rng, radii = np.random.default_rng(0), np.array([0.5, 1.0, 0.2])
    x = np.array([0.1, 0.0, 0.3])
    reach = Reach(x, ThreatModel(radii, norm, clip))
    for curvature in (-2.0, 0.0, 1.5):
        slope = rng.standard_normal(3)
        value, u = least_quadratic(reach, np.full((1, 3), curvature), slope[None])
        d = radii * u[0]
        attained = curvature * (d @ d) + slope @ d
        assert value[0] <= attained + 1e-9
        points = reach.project(rng.uniform(-1, 1, (4000, 3)) * [1.0, 1.0, 1.0]) * radii
        seen = (curvature * (points**2).sum(axis=1) + points @ slope).min()
        assert value[0] <= seen + 1e-9
        if curvature >= 0:  # exact: a conic program agrees
            z = cp.Variable(3)
            limits = [cp.norm(z, {"linf": "inf", "l2": 2, "l1": 1}[norm]) <= 1]
            if clip is not None:
                move = cp.multiply(radii, z)
                limits += [x + move >= clip[0], x + move <= clip[1]]
            move = cp.multiply(radii, z)
            goal = curvature * cp.sum_squares(move) + slope @ move
            exact = cp.Problem(cp.Minimize(goal), limits).solve(solver="CLARABEL")
            assert value[0] == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "kernel",
    [*KERNELS, *CONVEX, *SUMS.values()],
    ids=[*(f"{type(k).__name__}" for k in KERNELS + CONVEX), *SUMS],
)
def test_margins_lie_below_those_on_a_dense_grid(kernel, norm):
    rng = np.random.default_rng(1)
    n_kernels = 12 * KernelSum.of(kernel).n_outputs
    centres, weights = rng.standard_normal((12, 2)), rng.standard_normal((3, n_kernels))
    model = KernelScores(kernel, centres, weights, rng.standard_normal(3))
    X = rng.standard_normal((8, 2))
    labels = model.logits(X).argmax(axis=1)
    inside = SHIFTS[np.linalg.norm(SHIFTS, ORDERS[norm], axis=1) <= 1]
    proven = 0
    for epsilon in (0.02, 0.2, 1.0):
        margins = model.margins(X, labels, ThreatModel([epsilon, epsilon / 2], norm))
        for x, y, bound in zip(X, labels, margins, strict=True):
            scores = model.logits(x + inside * [epsilon, epsilon / 2])
            least = (scores[:, [y]] - scores).min(axis=0)
            others = np.arange(3) != y
            assert (bound[others] <= least[others]).all()
            proven += (bound > 0).all()
    assert proven > 0


@pytest.mark.parametrize("kernel", CONVEX, ids=lambda k: type(k).__name__)
def test_parabolas_lie_above_convex_kernels(kernel):
    rng = np.random.default_rng(0)
    low = np.r_[np.zeros(100), rng.uniform(0, 20, 200)]
    at = low + np.r_[np.geomspace(1e-9, 20, 100), np.geomspace(1e-14, 20, 199), 0]
    at = np.maximum(at, kernel.least)
    c = kernel.parabolas(at, low)
    r = (low - at) + np.linspace(0, 1, 200)[:, None] * (40 - low)
    above = kernel(at) + kernel.slope(at) * r + c * r**2
    assert (kernel(at + r) <= above + 1e-15).all()
    # The parabola meets the kernel at the end, where it is not as steep as at the end itself.
    far = at > low + 1e-3
    np.testing.assert_allclose(above[0, far], kernel(low)[far], rtol=1e-6)
    step = 1e-5
    q = rng.uniform(0.1, 5, 50)
    numeric = (kernel.slope(q + step) - kernel.slope(q - step)) / (2 * step)
    np.testing.assert_allclose(kernel.bend(q), numeric, rtol=1e-6, atol=1e-9)


def test_parabolas_leave_less_than_half_of_what_chords_leave():
    rng = np.random.default_rng(6)
    centres, weights = rng.standard_normal((60, 12)), rng.standard_normal((2, 60))
    model = KernelScores(RBFKernel(0.05), centres, weights, np.zeros(2))
    gains = []
    for x in rng.standard_normal((5, 12)):
        threat = ThreatModel(0.8, "l2")
        relaxation = Relaxation(model.kernel, centres, Reach(x, threat), threat)
        assert apply(relaxation)
        a = weights[0] - weights[1]
        chords, _ = relaxation.bound(a[None], np.zeros(1))
        value, met = parabola_bound(relaxation, a, 0.0)
        inside = threat.around(np.tile(x, (3000, 1))).sample(rng)
        points = np.vstack([inside, relaxation.reach.point(met)])
        seen = (model.values(points, a[None], np.zeros(1))).min()
        assert value <= seen
        gains.append((seen - chords[0]) / (seen - value))
    assert min(gains) > 2  # less than half the gap


def test_small_sets_are_bounded_to_second_order():
    rng = np.random.default_rng(2)
    model = KernelScores(
        RBFKernel(0.5), rng.standard_normal((20, 5)), rng.standard_normal((2, 20)), np.zeros(2)
    )
    X = rng.standard_normal((4, 5))
    labels, gaps = model.logits(X).argmax(axis=1), []
    for epsilon in (0.02, 0.01):
        threat = ThreatModel(epsilon)
        bound = model.margins(X, labels, threat).min(axis=1)
        scores = model.logits(model.worst_points(X, labels, threat))
        seen = scores[np.arange(4), labels] - scores[np.arange(4), 1 - labels]
        gaps.append((seen - bound).max())
        assert (seen >= bound).all()
    assert gaps[1] <= 0.3 * gaps[0]  # a quarter, and what rounding adds


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_products_have_the_gradients_of_finite_differences(name):
    rng, step = np.random.default_rng(2), 1e-6
    kernel, centres = SUMS[name], rng.standard_normal((9, 2))
    X, weights = rng.standard_normal((15, 2)), rng.standard_normal((15, 9 * SUMS[name].n_outputs))
    gradient, own = kernel.pulled(X, centres, weights), kernel.own(X)
    same = np.stack([kernel(x[None], x[None])[0] for x in X])
    np.testing.assert_allclose(own[0], same, rtol=1e-12)
    for k in range(2):
        up, down = X + step * np.eye(2)[k], X - step * np.eye(2)[k]
        numeric = (weights * (kernel(up, centres) - kernel(down, centres))).sum(axis=1)
        np.testing.assert_allclose(gradient[:, k], numeric / (2 * step), rtol=1e-5, atol=1e-7)
        numeric = kernel.own(up)[0] - kernel.own(down)[0]
        np.testing.assert_allclose(own[1][:, :, k], numeric / (2 * step), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", ["votes", "scores"])
def test_gradients_are_those_of_finite_differences(shape):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 3 if shape == "votes" else 2, 60)
    clf = SVC(gamma=0.5, break_ties=True).fit(X, y)
    model = _svm_model(clf, _svm_kernel(clf))
    slopes = getattr(model, "derivative", model.ascent)
    gradient = slopes(X[:20], y[:20], Margin())[1]

    def loss(Z):
        return Margin().value(model.logits(Z), y[:20])

    step = 1e-6
    for k in range(3):
        move = step * np.eye(3)[k]
        numeric = (loss(X[:20] + move) - loss(X[:20] - move)) / (2 * step)
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid", "linear"])
def test_the_sums_are_those_of_libsvm(kernel, n_classes):
    rng = np.random.default_rng(n_classes)
    X, y = rng.standard_normal((120, 3)), rng.integers(0, n_classes, 120)
    for breaks in (False, True):
        clf = SVC(kernel=kernel, coef0=0.3, break_ties=breaks).fit(X, y)
        model = _svm_model(clf, _svm_kernel(clf))
        Z = rng.standard_normal((300, 3))
        logits = model.logits(Z)
        np.testing.assert_array_equal(logits.argmax(axis=1), clf.predict(Z))
        if n_classes > 2 and breaks:
            np.testing.assert_allclose(logits, clf.decision_function(Z), atol=1e-9)
        if n_classes > 2:
            clf.decision_function_shape, clf.break_ties = "ovo", False
            sums = model.values(Z, model.weights, model.offsets)
            np.testing.assert_allclose(sums, clf.decision_function(Z), atol=1e-9)


def test_votes_are_proven_only_for_a_class_that_wins_all_its_pairs():
    centres = np.array([[0.0], [1.0], [2.0]])
    cycle = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])  # 0 beats 1, 2 beats 0, 1 beats 2
    model = KernelVotes(RBFKernel(0.1), centres, cycle, np.zeros(3), 3, break_ties=False)
    x = np.array([[0.5]])
    assert model.logits(x).argmax() == 0
    assert not (model.margins(x, np.array([0]), ThreatModel(0.01)) > 0).all()


@pytest.mark.parametrize("scale", [1e-160, 1e-20, 1e20, 1e160])
def test_numbers_out_of_range_prove_nothing_false(scale):
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((40, 2)), rng.integers(0, 2, 40)
    for kernel in (RBFKernel(1.0), PolynomialKernel(1.0, 1.0, 3), SigmoidKernel(1.0, 0.0),
                   *CONVEX[2:], SUMS["added"], SUMS["multiplied"]):  # fmt: skip
        weights = np.vstack([np.zeros(40), 2.0 * y - 1])
        model = KernelScores(kernel, scale * X, weights, np.zeros(2))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            labels = model.logits(scale * X[:5]).argmax(axis=1)
            margins = model.margins(scale * X[:5], labels, ThreatModel(0.3 * scale))
            for x, label, bound in zip(scale * X[:5], labels, margins, strict=True):
                scores = model.logits(x + 0.3 * scale * SHIFTS)
                if (bound > 0).all():
                    assert (scores.argmax(axis=1) == label).all()


def test_margins_hold_against_a_local_search():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((150, 6)), rng.integers(0, 2, 150)
    clf = SVC(gamma=0.2).fit(X, y)
    model = _svm_model(clf, _svm_kernel(clf))
    few, epsilon = X[:6], 0.3
    labels = clf.predict(few)
    bounds = model.margins(few, labels, ThreatModel(epsilon)).min(axis=1)
    for x, label, bound in zip(few, labels, bounds, strict=True):
        sign = 2 * label - 1
        found = minimize(
            lambda z, sign=sign: sign * clf.decision_function(z[None])[0], x,
            bounds=[(v - epsilon, v + epsilon) for v in x],
        )  # fmt: skip
        assert bound <= found.fun
