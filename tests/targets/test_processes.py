"""Gaussian processes of any number of classes: gradients and bounds for what predict computes."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    ExpSineSquared,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from sklearn_robust import input_gradients, robust_score
from sklearn_robust.attacks import Square, ThreatModel
from sklearn_robust.bounds import KernelSum, PolynomialKernel, RBFKernel, Term
from sklearn_robust.bounds._feature_maps import drifts
from sklearn_robust.bounds._processes import _BENDS, _COEFS, _LAMBDAS, share
from sklearn_robust.metrics import certified_score
from sklearn_robust.targets import make_target
from sklearn_robust.targets._processes import _kernel_sum

X, Y = load_iris(return_X_y=True)
FIT = np.arange(len(X)) % 3 != 0
HELD, HELD_Y = X[~FIT][::2], Y[~FIT][::2]
KERNELS = {
    "rbf": 1.5 * RBF(0.7),
    "lengths": RBF([1.0, 2.0, 0.5, 1.0]),
    "rough": Matern(nu=0.5) + WhiteKernel(0.1),
    "smooth": 2.0 * Matern([1.0, 2.0, 1.0, 0.7], nu=1.5),
    "smoother": Matern(nu=2.5),
    "smoothest": Matern([1.0, 2.0, 1.0, 0.7], nu=np.inf),
    "quadratic": RationalQuadratic(0.8, 1.3),
    "linear": DotProduct(0.5),
    "square": 0.1 * (DotProduct(0.5) ** 2) + WhiteKernel(0.5),
    "added": ConstantKernel(0.5) + RBF() * RationalQuadratic(),
    "product": Matern() * DotProduct() + WhiteKernel(0.1),
    "product of sums": (RBF() + ConstantKernel(0.3)) * (Matern(nu=0.5) + WhiteKernel(0.2)),
}


def fitted(name, X, y, **options):
    return GaussianProcessClassifier(KERNELS[name], optimizer=None, **options).fit(X, y)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_those_of_scikit_learn(name):
    found = _kernel_sum(KERNELS[name])
    np.testing.assert_allclose(found(X[:9], X[5:30]), KERNELS[name](X[:9], X[5:30]), rtol=1e-12)


@pytest.mark.parametrize("kind", ["two", "one_vs_rest", "one_vs_one"])
@pytest.mark.parametrize("name", KERNELS)
def test_proofs_stand_against_points_of_the_set(name, kind):
    """On the corners and faces too, where most of a set is worst."""
    few, multi_class = (Y > 0, "one_vs_rest") if kind == "two" else (Y >= 0, kind)
    clf = fitted(name, X[FIT & few], Y[FIT & few], multi_class=multi_class)
    held, labels = X[~FIT & few][::3], Y[~FIT & few][::3]
    norm = {"two": "l1", "one_vs_rest": "linf", "one_vs_one": "l2"}[kind]
    target = make_target(clf, held, labels, epsilon=0.05, norm=norm)
    assert target.kind == "white box"
    rng, seen = np.random.default_rng(0), []
    for factor in (1, 6):
        threat = target.threat.scaled(factor)
        proven = target.certified(threat, "auto")
        around = threat.around(target.rows)
        for number in range(30):
            drawn = rng.normal(size=held.shape)
            points = around.sample(rng) if number % 2 else around.furthest(drawn)
            assert (clf.predict(points) == labels)[proven].all()
        seen.append(proven.mean())
    assert (proven <= target.attacked(threat, "pgd", seed=0).robust).all()
    assert seen[0] > 0.6
    assert seen[1] < seen[0]


@pytest.mark.parametrize("kind", ["one_vs_rest", "one_vs_one"])
@pytest.mark.parametrize("name", ["rbf", "rough", "linear", "product"])
def test_proofs_stand_against_a_fine_grid_of_two_features(name, kind):
    clf = fitted(name, X[FIT][:, 2:], Y[FIT], multi_class=kind)
    held, labels = X[~FIT][::3, 2:], Y[~FIT][::3]
    shifts = np.stack(np.meshgrid(*[np.linspace(-1, 1, 31)] * 2), axis=-1).reshape(-1, 2)
    target, decided = make_target(clf, held, labels, epsilon=[0.1, 0.2]), []
    for factor in (1, 2):
        threat = target.threat.scaled(factor)
        proven = target.certified(threat, "auto")
        grid = held[:, None] + factor * shifts * [0.1, 0.2]
        right = (clf.predict(grid.reshape(-1, 2)).reshape(len(held), -1) == labels[:, None]).all(1)
        assert (proven <= right).all()
        decided.append((proven == right).mean())
    assert decided[0] >= 0.85


@pytest.mark.parametrize("name", ["smooth", "added"])
def test_single_precision_is_proven_for_what_it_computes(name):
    data = X.astype(np.float32)
    pipe = make_pipeline(StandardScaler(), GaussianProcessClassifier(KERNELS[name], optimizer=None))
    pipe.fit(data[FIT], Y[FIT])
    held, labels = data[~FIT][::2], Y[~FIT][::2]
    target, rng = make_target(pipe, held, labels, epsilon=0.1), np.random.default_rng(0)
    proven = target.certified(target.threat, "auto")
    for _ in range(20):
        points = target.threat.around(target.rows).sample(rng).astype(np.float32)
        assert (pipe.predict(points) == labels)[proven].all()
    robust = robust_score(pipe, held, labels, epsilon=0.1, attack="pgd", random_state=0)
    assert 0.6 < proven.mean() <= robust
    assert proven.mean() == certified_score(pipe, held, labels, epsilon=0.1)


@pytest.mark.parametrize("name", KERNELS)
def test_shares_and_their_gradients_are_those_of_scikit_learn(name):
    clf, step = fitted(name, X[FIT], Y[FIT]), 1e-5
    target = make_target(clf, HELD, HELD_Y, epsilon=0.3)
    shares, expected = np.exp(target.model.logits(HELD)), clf.predict_proba(HELD)
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), expected, rtol=1e-6)
    gradient = input_gradients(clf, HELD, HELD_Y)
    for k in range(4):
        move = step * np.eye(4)[k]
        up, down = (-np.log(clf.predict_proba(HELD + s * move)) for s in (1, -1))
        numeric = (up - down)[np.arange(len(HELD)), HELD_Y] / (2 * step)
        np.testing.assert_allclose(gradient[:, k], numeric, rtol=1e-3, atol=1e-5)


def test_votes_of_processes_are_those_of_scikit_learn():
    clf = fitted("lengths", X[FIT], Y[FIT], multi_class="one_vs_one")
    target = make_target(clf, HELD, HELD_Y, epsilon=0.3)
    model = target.model.inner
    sums = model.values(HELD, model.weights, model.offsets)
    for member, found in zip(clf.base_estimator_.estimators_, sums.T, strict=True):
        np.testing.assert_array_equal(found > 0, member.predict(HELD) == 0)
    robust = target.attacked(target.threat, "pgd", seed=0).robust
    assert robust.mean() < target.clean.mean()


@pytest.mark.parametrize("bins", [False, True])
def test_pairs_that_nobody_can_follow_are_searched_through_their_votes(bins):
    """`predict_proba` is there and raises."""
    front = (KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf"),)
    kernel = RBF() + ExpSineSquared(periodicity=1e3)
    last = GaussianProcessClassifier(kernel, optimizer=None, multi_class="one_vs_one")
    clf = make_pipeline(*front * bins, last).fit(X[FIT], Y[FIT])
    robust = robust_score(clf, HELD, HELD_Y, epsilon=0.5, attack=Square(100), random_state=0)
    assert robust < (clf.predict(HELD) == HELD_Y).mean()


def test_the_function_of_a_share_rises_and_bends_as_is_said():
    """As expectations over a normal distribution keep signs and bounds, one variable will do."""
    x = np.linspace(1e-9, 60, 1_200_001)
    z = _LAMBDAS * x[:, None]
    peak = _COEFS * np.exp(-(z**2)) / np.sqrt(np.pi)
    slope, second = (peak * _LAMBDAS).sum(axis=1), -2 * (peak * z * _LAMBDAS**2).sum(axis=1)
    third = (peak * (4 * z**2 - 2) * _LAMBDAS**3).sum(axis=1)
    fourth = (peak * (12 * z - 8 * z**3) * _LAMBDAS**4).sum(axis=1)
    near = x < 60 - 20  # beyond, the widest of the Gaussians alone is left
    assert (slope[near] > 0).all()
    assert (second[near] < 0).all()
    # Between two numbers a derivative changes by its own slope, below 1, times 5e-5.
    for bound, values, share_ in zip(_BENDS, (second, third, fourth), (1, 2, 4), strict=True):
        assert bound * share_ * 0.98 < abs(values).max() + 5e-5 < bound * share_
    f, v = np.random.default_rng(0).uniform([-4, 0.1], [4, 3], (50, 2)).T
    for k, move in enumerate(1e-6 * np.eye(2)):
        numeric = (share(f + move[0], v + move[1])[0] - share(f - move[0], v - move[1])[0]) / 2e-6
        np.testing.assert_allclose(share(f, v)[1 + k], numeric, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_feature_maps_move_no_further_than_is_said(norm):
    leaves = [RBFKernel(0.5), PolynomialKernel(1.0, 0.3, 1), PolynomialKernel(1.0, 0.3, 3)]
    terms = [Term(0.5, (0,)), Term(0.7, (1,)), Term(0.2, (2,), 1), Term(1.0, (0, 1), 2)]
    terms += [Term(1.0, (), 2)]
    kernel, rng = KernelSum(leaves, terms, 3), np.random.default_rng(0)
    radii = np.array([0.4, 0.2, 0.3])
    for x in rng.normal(size=(5, 3)):
        threat = ThreatModel(radii, norm)
        around = threat.around(np.tile(x, (4000, 1)))
        far = x + (np.ones((1, 3)) if norm == "linf" else np.eye(3)) * radii * (1 - 1e-12)
        points = np.vstack([far, around.sample(rng), around.furthest(rng.normal(size=(4000, 3)))])
        own = kernel.own(points)[0] + kernel.own(x[None])[0]
        moved = own - 2 * kernel(points, x[None])
        bound = drifts(kernel, x, threat)
        assert (moved <= bound).all()
        assert moved[:, 0].max() >= bound[0] * (1 - 1e-9)  # attained, but for powers and products


class Bumps(RBF):
    """Another function under a known name."""

    def __call__(self, X, Y=None, eval_gradient=False):
        return super().__call__(X, Y, eval_gradient)


@pytest.mark.parametrize(
    "kernel",
    [
        RBF() + ExpSineSquared(periodicity=1e3),
        Bumps(),
        Matern(nu=1.2),
        WhiteKernel(0.1) * DotProduct() + RBF(),
        DotProduct() ** 0.5,
    ],
    ids=["periodic", "own", "matern", "noise", "root"],
)
def test_processes_with_other_kernels_stay_black_boxes(kernel):
    clf = GaussianProcessClassifier(kernel, optimizer=None).fit(X, Y)
    assert make_target(clf, X, Y, epsilon=0.1).kind == "black box"
