"""Naive Bayes: exact in boxes, between proof and attack in balls; held against enumeration."""

from itertools import product

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import certified_score, evaluate_robustness, input_gradients, robust_score
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import Polynomials, SmoothSumModel
from sklearn_robust.targets import make_target

IRIS, SPECIES = load_iris(return_X_y=True)
WINE, KINDS = load_wine(return_X_y=True)
SPREAD = IRIS.std(axis=0)
NORMS = ("linf", "l2", "l1")


def both_sides(clf, X, y, **threat):
    target = make_target(clf, X, y, **threat)
    certified = target.certified(target.threat, "auto")
    attacked = target.attacked(target.threat, seed=0).robust
    assert (certified <= attacked).all()
    assert (attacked <= target.clean).all()
    return certified, attacked, target


@pytest.mark.parametrize("norm", NORMS)
def test_minima_of_random_cubics_are_those_on_a_fine_grid(norm):
    rng = np.random.default_rng(0)
    knots = np.array([[-np.inf, -0.3, 0.4, np.inf]] * 2)
    coef = rng.normal(size=(3, 2, 3, 4))
    for p in (0, 1):  # continuous, so that minima are attained
        powers = knots[0, p + 1] ** np.arange(4)
        coef[:, :, p + 1, 0] += (coef[:, :, p] - coef[:, :, p + 1]) @ powers
    model = SmoothSumModel(rng.normal(size=3), Polynomials(knots, np.zeros((2, 3)), coef))
    X, labels = rng.uniform(-0.7, 0.7, size=(8, 2)), rng.integers(3, size=8)
    threat = ThreatModel([0.4, 0.2], norm, (-0.8, 0.8))
    margins = model.margins(X, labels, threat)
    ticks = np.linspace(-1, 1, 201)
    u = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    u = u[threat.geometry.length(u) <= 1]
    worst = model.worst_points(X, labels, threat)
    for k, x in enumerate(X):
        points = (x + u * threat.epsilon).clip(-0.8, 0.8)
        scores = model.logits(points)
        least = (scores[:, labels[k]][:, None] - scores).min(axis=0)
        least[labels[k]] = np.inf
        assert (margins[k] <= least).all()
        if norm == "linf":  # a step of the grid, times the steepest slope
            assert (margins[k] >= least - 0.2).all()
            at = model.logits(worst[k : k + 1])[0]
            rival = margins[k].argmin()
            assert at[labels[k]] - at[rival] == pytest.approx(margins[k, rival], abs=1e-9)
    assert threat.contains(worst, X).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e6])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gaussian_naive_bayes_is_between_proof_and_every_point_of_a_grid(norm, scale, dtype):
    X = (IRIS[::3, 2:] * scale).astype(dtype)
    y = SPECIES[::3]
    clf = make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0)).fit(X, y)
    epsilon = 0.4 * X.std(axis=0).astype(float)
    certified, attacked, target = both_sides(clf, X, y, epsilon=epsilon, norm=norm)
    ticks = np.linspace(-1, 1, 41)
    u = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    u = u[target.threat.geometry.length(u) <= 1]
    robust = np.array(
        [
            (clf.predict((x + u * epsilon).astype(dtype)) == t).all()
            for x, t in zip(X, y, strict=True)
        ]
    )
    assert (certified <= robust).all()
    assert (attacked <= robust).all()  # the attack finds what a grid does, and more
    assert 0 < certified.mean() == attacked.mean() < target.clean.mean()
    assert target.kind == ("exact" if norm == "linf" else "white box")


@pytest.mark.parametrize("norm", NORMS)
def test_bernoulli_naive_bayes_is_between_proof_and_enumeration(norm):
    X = WINE[:, :7]
    clf = make_pipeline(StandardScaler(), BernoulliNB(binarize=0.1)).fit(X, KINDS)
    epsilon = {"linf": 0.3, "l2": 0.5, "l1": 0.6}[norm] * X.std(axis=0)
    certified, attacked, target = both_sides(clf, X, KINDS, epsilon=epsilon, norm=norm)
    threshold = X.mean(axis=0) + 0.1 * X.std(axis=0)
    # A flipped feature costs the distance to the threshold, and a little more.
    cost = abs(threshold - X) / epsilon * (1 + 1e-9)
    beyond = threshold + np.where(threshold > X, 1, -1) * 1e-12 * X.std(axis=0)
    robust = np.ones(len(X), dtype=bool)
    for flips in product([False, True], repeat=7):
        flips = np.array(flips)
        allowed = target.threat.geometry.length(cost * flips) <= 1
        robust &= ~allowed | (clf.predict(np.where(flips, beyond, X)) == KINDS)
    assert (certified <= robust).all()
    assert (robust <= attacked).all() if norm != "linf" else (robust == attacked).all()
    # Whole flips fill a ball as items a knapsack, of which the bound may take fractions.
    assert attacked.mean() <= robust.mean() + 0.05
    assert certified.mean() >= robust.mean() - 0.1


@pytest.mark.parametrize("clf", [MultinomialNB(), ComplementNB(), BernoulliNB(binarize=None)])
@pytest.mark.parametrize("norm", NORMS)
def test_counts_and_bits_are_linear(clf, norm):
    X = WINE if not isinstance(clf, BernoulliNB) else (WINE.mean(axis=0) < WINE).astype(float)
    clf.fit(X, KINDS)
    certified, attacked, target = both_sides(
        clf, X, KINDS, epsilon=0.3 * X.std(axis=0), norm=norm, clip_values=(0, 2000)
    )
    assert target.kind == "exact"
    assert (certified == attacked).all()
    assert clf.score(X, KINDS) > attacked.mean() > 0


def test_ties_are_certified_where_nothing_can_change():
    clf = BernoulliNB(binarize=100.0).fit(IRIS, SPECIES)  # no feature is ever beyond
    assert len(np.unique(clf.predict(IRIS))) == 1
    report = evaluate_robustness(clf, IRIS, SPECIES, [1.0], diagnostics=False)
    assert report.radii[0].certified == report.radii[0].attacked == clf.score(IRIS, SPECIES)


def test_categories_are_not_moved_and_a_classifier_of_nothing_else_is_exact():
    codes = np.digitize(IRIS, np.quantile(IRIS, [0.3, 0.6]))
    clf = CategoricalNB().fit(codes, SPECIES)
    target = make_target(clf, codes, SPECIES, epsilon=1.0)
    assert target.kind == "exact"
    score = clf.score(codes, SPECIES)
    assert robust_score(clf, codes, SPECIES, epsilon=1.0) == score
    assert certified_score(clf, codes, SPECIES, epsilon=1.0) == score
    assert set(target.distances(target.threat)) == {0.0, np.inf}
    assert not input_gradients(clf, codes, SPECIES).any()


def test_a_sample_at_rounding_distance_of_the_boundary_is_not_certified():
    clf = GaussianNB(var_smoothing=0).fit([[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 1, 1])
    X, y = np.array([[1.0]]), [1]  # the boundary lies at 0
    assert certified_score(clf, X, y, epsilon=1 - 1e-9) == 1
    assert robust_score(clf, X, y, epsilon=1 + 1e-9) == 0
    for epsilon in (1.0, 1 - 1e-16, 1 + 1e-15):
        assert certified_score(clf, X, y, epsilon=epsilon) == 0


def test_gradients_are_those_of_finite_differences():
    clf = make_pipeline(StandardScaler(), GaussianNB()).fit(IRIS, SPECIES)

    def loss(X):
        return -np.log(clf.predict_proba(X)[np.arange(len(X)), SPECIES])

    analytic, step = input_gradients(clf, IRIS, SPECIES), 1e-6
    for j in range(4):
        up, down = IRIS.copy(), IRIS.copy()
        up[:, j] += step
        down[:, j] -= step
        numeric = (loss(up) - loss(down)) / (2 * step)
        np.testing.assert_allclose(analytic[:, j], numeric, rtol=1e-5, atol=1e-7)
