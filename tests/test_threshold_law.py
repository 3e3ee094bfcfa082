"""Each step of the proofs in docs/threshold_law.md, checked on all points of small populations.

The names S1 ... S15 are the numbers of the steps there and in threshold_measured.md. Expectations
are sums over all 2^d points, so tolerances are rounding (1e-12) or the certified accuracy of the
solver.
"""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.linear_model import SampleMeanClassifier
from sklearn_robust.linear_model._exact import solve

FALLING = {
    "logistic": lambda m: np.logaddexp(0, -m),
    "hinge": lambda m: np.maximum(0, 1 - m),
    "squared hinge": lambda m: np.maximum(0, 1 - m) ** 2,
    "exponential": lambda m: np.exp(-m),
}


class Population:
    """All values of (y, A): A_j = y x_j theta_j = +-1 with mean 2 tau_j, P(y = 1) = share."""

    def __init__(self, tau, share=0.5):
        self.tau = np.asarray(tau, dtype=float)
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(self.tau))))
        chance = np.prod(0.5 + signs * self.tau, axis=1)
        self.A = np.tile(signs, (2, 1))
        self.y = np.repeat([1.0, -1.0], len(signs))
        self.p = np.concatenate([share * chance, (1 - share) * chance])

    def mean(self, values):
        return self.p @ values

    def margin(self, u, b=0.0):
        return self.A @ u + self.y * b

    def train(self, epsilon, C=1e4, loss="logistic", tol=1e-10, **options):
        """Minimise E phi(M, epsilon |u|) + |u|^2 / (2 C), certified; return (u, b)."""
        X = self.y[:, None] * self.A
        solution = solve(
            X, self.y, self.p, epsilon=epsilon, C=C, loss=loss, tol=tol, max_iter=5000, **options
        )
        assert solution.converged
        return solution.coef, solution.intercept


def _pull(margin):
    """p = -loss' of the logistic loss."""
    return expit(-margin)


# ------------------------------------------------------------------------- exact training: S1 - S5


@pytest.mark.parametrize("loss", FALLING)
def test_S1_worst_case_shifts_the_margin_by_epsilon_times_the_l1_norm(loss):
    rng = np.random.default_rng(0)
    w, x, y, b, epsilon = rng.normal(size=6), rng.choice([-1, 1], 6), -1, 0.3, 0.4
    corners = epsilon * np.array(list(itertools.product((-1, 1), repeat=6)))
    inside = rng.uniform(-epsilon, epsilon, size=(1000, 6))
    worst = FALLING[loss](y * (w @ x + b) - epsilon * abs(w).sum())
    attained, tried = (FALLING[loss](y * ((x + d) @ w + b)) for d in (corners, inside))
    assert attained.max() == pytest.approx(worst, rel=1e-12)
    assert tried.max() <= worst


@pytest.mark.parametrize("loss", FALLING)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_S2_S3_dropping_a_weak_feature_never_raises_the_loss(loss, share):
    rng = np.random.default_rng(1)
    epsilon = 0.3
    population = Population([0.0, 0.05, 0.15, 0.2, 0.3, 0.45], share)
    for _ in range(50):
        u, b = rng.normal(size=6) * 10 ** rng.uniform(-2, 1), rng.normal()
        value = _robust_loss(population, FALLING[loss], u, b, epsilon)
        for j in (0, 1, 2):  # tau_j <= epsilon / 2
            without = np.where(np.arange(6) == j, 0, u)
            smaller = _robust_loss(population, FALLING[loss], without, b, epsilon)
            assert smaller <= value * (1 + 1e-12)


def _robust_loss(population, loss, u, b, epsilon):
    return population.mean(loss(population.margin(u, b) - epsilon * abs(u).sum()))


@pytest.mark.parametrize("loss", FALLING)
def test_S2_jensen_over_one_feature(loss):
    tau, rest, u = 0.2, np.linspace(-3, 3, 61), 0.7
    mixed = (0.5 + tau) * FALLING[loss](rest + u) + (0.5 - tau) * FALLING[loss](rest - u)
    assert (mixed >= FALLING[loss](rest + 2 * tau * u) - 1e-12).all()


@pytest.mark.parametrize("loss", FALLING)
def test_S4_dropping_a_weight_of_the_wrong_sign_never_raises_the_loss(loss):
    rng = np.random.default_rng(2)
    population = Population([0.05, 0.3, 0.45, 0.5])
    for _ in range(50):
        u, b = abs(rng.normal(size=4)), rng.normal()
        u[rng.integers(4)] *= -1
        value = _robust_loss(population, FALLING[loss], u, b, 0.1)
        kept = _robust_loss(population, FALLING[loss], np.maximum(u, 0), b, 0.1)
        assert kept <= value * (1 + 1e-12)


def test_S5_slope_at_zero_weight():
    population, epsilon = Population([0.1, 0.2, 0.3, 0.4, 0.05]), 0.3
    u = np.array([0.4, 0.8, 0.0, 1.3, 0.0])
    p = _pull(population.margin(u) - epsilon * u.sum())
    for j in (2, 4):
        h = 1e-6 * (np.arange(5) == j)
        step = [
            _robust_loss(population, FALLING["logistic"], u + k * h, 0.0, epsilon) for k in (0, 1)
        ]
        slope = (step[1] - step[0]) / 1e-6
        expected = -(2 * population.tau[j] - epsilon) * population.mean(p)
        # A one-sided difference errs by h times half the curvature, at most 1/8 (1 + epsilon)^2.
        assert slope == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("d", [3, 10])
def test_law_exact_training_keeps_the_features_above_half_epsilon(loss, C, share, d):
    population = Population(np.linspace(0.0, 0.29, d), share)
    for epsilon in (0.1, 0.25, 0.4):
        u, _ = population.train(epsilon, C, loss)
        np.testing.assert_array_equal(u > 0, population.tau > epsilon / 2)
        assert (u >= 0).all()


def test_law_holds_with_a_radius_of_its_own_for_each_feature():
    epsilon = np.array([0.1, 0.5, 0.0, 0.3, 0.9, 0.2])
    population = Population([0.1, 0.1, 0.02, 0.2, 0.4, 0.05])
    u, _ = population.train(epsilon)
    np.testing.assert_array_equal(u != 0, population.tau > epsilon / 2)


def test_hinge_may_drop_more_where_points_sit_on_its_kink():
    # One feature carries everything; its margin 1 has probability 1/2 + tau = 0.75.
    population = Population(np.linspace(0, 0.25, 12))
    u, b = population.train(0.3, loss="hinge", tol=1e-6)
    active = abs(u) > 1e-4 * abs(u).max()
    assert np.flatnonzero(active).tolist() == [11]
    attacked = population.margin(u, b) - 0.3 * abs(u).sum()
    on_kink = population.mean((abs(attacked - 1) < 1e-3).astype(float))
    assert on_kink == pytest.approx(0.75, abs=1e-12)
    # S5 with one-sided slopes: adding feature 10 does not pay, although tau_10 > epsilon / 2.
    tau, left = population.tau[10], population.mean((attacked < 1 + 1e-3).astype(float))
    right = left - on_kink
    slope = (0.5 - tau) * (1 + 0.3) * left - (0.5 + tau) * (1 - 0.3) * right
    assert tau > 0.15
    assert slope > 0


def test_l2_adversary_has_no_threshold():
    population = Population([0.0, 0.01, 0.05, 0.1, 0.2, 0.3])
    u, _ = population.train(0.3, norm="l2")
    # Without any bias the weight is zero by symmetry, to the accuracy of the solver.
    assert abs(u[0]) < 1e-4 * u[1]
    assert (u[1:] > 0).all()


# ------------------------------------------------- mixed training and other losses: S6 - S8


def _mixture(clean_share):
    """phi, -phi_m and phi_t of the mixture of clean and attacked logistic loss."""
    a = clean_share

    def phi(m, t):
        value = a * np.logaddexp(0, -m) + (1 - a) * np.logaddexp(0, t - m)
        s = (1 - a) * _pull(m - t)
        return value, a * _pull(m) + s, s

    return phi


def _rounded_square(m, t):
    """The same of the attacked squared loss ``(|1 - m| + t)^2``, its kink at m = 1 rounded."""
    distance = np.sqrt((1 - m) ** 2 + 0.01)
    s = 2 * (distance + t)
    return (distance + t) ** 2, s * (1 - m) / distance, s


def _train(phi, A, p, epsilon, penalty=1e-4):
    """Minimise ``E phi(A u, epsilon |u|_1) + penalty |u|^2 / 2`` over u >= 0; return u, q, s."""

    def objective(u):
        value, q, s = phi(A @ u, epsilon * u.sum())
        gradient = -A.T @ (p * q) + epsilon * p @ s + penalty * u
        return p @ value + penalty / 2 * u @ u, gradient

    d = A.shape[1]
    options = {"ftol": 0, "gtol": 1e-10, "maxiter": 5000, "maxfun": 20_000}
    bounds = [(0, None)] * d
    u = minimize(
        objective, np.full(d, 0.1), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).x
    return u, *phi(A @ u, epsilon * u.sum())[1:]


CASES = {
    "clean share 0.25": _mixture(0.25),
    "clean share 0.5": _mixture(0.5),
    "clean share 0.9": _mixture(0.9),
    "squared loss": _rounded_square,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("epsilon", [0.1, 0.3, 0.5])
def test_S6_S7_S8_general_law(case, epsilon):
    population = Population(np.linspace(0.0, 0.4, 10))
    u, q, s = _train(CASES[case], population.A, population.p, epsilon)
    correlation = population.A.T @ (population.p * q)
    plain = 2 * population.tau * population.mean(q)
    active = u > 0
    assert 2 <= active.sum() <= 9
    # S6: independence, exact whatever u is.
    np.testing.assert_allclose(correlation[~active], plain[~active], atol=1e-12)
    # S7: association, with room since the loss is strictly convex.
    assert (correlation[active] < plain[active]).all()
    # Stationarity of the active ones, to the solver's accuracy.
    penalty = 1e-4 * u[active]
    np.testing.assert_allclose(
        correlation[active], epsilon * population.mean(s) + penalty, atol=1e-5
    )
    # S8: the law.
    threshold = epsilon / 2 * population.mean(s) / population.mean(q)
    np.testing.assert_array_equal(active, population.tau > threshold)


def test_mixed_thresholds_are_below_and_squared_ones_above_half_epsilon():
    population = Population(np.linspace(0.0, 0.4, 10))
    ratios = {}
    for case, phi in CASES.items():
        _, q, s = _train(phi, population.A, population.p, 0.1)
        ratios[case] = population.mean(s) / population.mean(q)
    assert ratios["clean share 0.9"] < ratios["clean share 0.5"] < ratios["clean share 0.25"] < 1
    assert ratios["squared loss"] > 1


def test_mean_field_threshold_is_that_of_a_large_sample():
    law = BernoulliGenerator(100, tau=(0.0, 0.25), random_state=0)
    X, y = law.sample(20_000)
    A = y[:, None] * X * law.theta_
    for epsilon in (0.2, 0.5):
        _, q, s = _train(_mixture(0.5), A, np.full(len(A), 1 / len(A)), epsilon)
        measured = epsilon / 2 * s.mean() / q.mean()
        # The fitted model sees its own sample: E p is off by about d / n = 0.5 % of a few.
        assert law.threshold(epsilon, clean_share=0.5) == pytest.approx(measured, rel=0.02)


def test_S9_weights_grow_linearly_from_the_threshold():
    epsilon, above = 0.3, 2e-3
    population = Population([0.2, 0.25, 0.3, 0.35, epsilon / 2 + above, epsilon / 2 + 2 * above])
    u, b = population.train(epsilon, C=1e8)
    p = _pull(population.margin(u, b) - epsilon * u.sum())
    slope = population.mean(p) / population.mean(p * (1 - p)) / (1 - epsilon**2)
    # The next order is a share (2 tau_j - epsilon) epsilon, below 0.3 %, and that of u_j^2.
    np.testing.assert_allclose(u[4:], slope * np.array([2, 4]) * above, rtol=0.01)


# ------------------------------------------------------------------------ finite samples: S10 - S12


def _sample(seed, n, d=8, tau=(0.0, 0.3)):
    law = BernoulliGenerator(d, tau=tau, theta=np.ones(d), random_state=seed)
    X, y = law.sample(n)
    return law, X, y.astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_S10_a_feature_has_weight_iff_training_without_it_says_so(seed):
    epsilon, (_, X, y) = 0.25, _sample(seed, 400)
    full = solve(X, y, epsilon=epsilon, tol=1e-10).coef
    for j in range(8):
        others = np.delete(X, j, axis=1)
        model = solve(others, y, epsilon=epsilon, tol=1e-10)
        margin = y * (others @ model.coef + model.intercept) - epsilon * abs(model.coef).sum()
        p = _pull(margin)
        assert (full[j] != 0) == (abs(p @ (y * X[:, j])) > epsilon * p.sum())


def test_S11_share_of_samples_in_which_a_feature_has_weight():
    epsilon, n_repeats = 0.25, 400
    share, expected = np.zeros(8), np.zeros(8)
    for seed in range(n_repeats):
        law, X, y = _sample(seed, 400)
        model = solve(X, y, epsilon=epsilon, tol=1e-8)
        share += (model.coef != 0) / n_repeats
        p = _pull(y * (X @ model.coef + model.intercept) - epsilon * abs(model.coef).sum())
        blur = np.sqrt((1 - 4 * law.tau_**2) * (p @ p)) / p.sum()
        above, below = ((sign * 2 * law.tau_ - epsilon) / blur for sign in (1, -1))
        expected += (norm.cdf(above) + norm.cdf(below)) / n_repeats
        # S11's inequality is one-sided and weaker than its normal approximation.
        assert (norm.sf(abs(above)) <= np.exp(-(above**2) / 2)).all()
    # Four standard errors of a share of 1/2, and 0.03 for the normal approximation and for
    # estimating the blur with the feature in the model.
    assert abs(share - expected).max() < 4 * 0.5 / np.sqrt(n_repeats) + 0.03
    assert share[0] < 0.1
    assert share[-1] > 0.9


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
@pytest.mark.parametrize("blur", [0.01, 0.05])
def test_S12_the_number_of_features_with_weight_is_unbiased_however_wide_the_blur(epsilon, blur):
    tau = (np.arange(100_000) + 0.5) / 100_000 * 0.4
    chance = norm.cdf((2 * tau - epsilon) / blur) + norm.cdf((-2 * tau - epsilon) / blur)
    # 1e-9: the midpoint rule; the blur leaves [0, 0.4] by 10 standard deviations at the least.
    assert 0.4 * (1 - chance.mean()) == pytest.approx(epsilon / 2, abs=1e-9)


# ------------------------------------------------------------------------ Theorem 1: S13 - S15


def _means(law, n, n_repeats, seed):
    """Return z of many samples: n z_j is a binomial count, moved and signed."""
    rng = np.random.default_rng(seed)
    return law.theta_ * (2 * rng.binomial(n, 0.5 + law.tau_, (n_repeats, len(law.tau_))) / n - 1)


def test_S13_error_of_a_given_mean_is_bounded_by_its_signal():
    law = BernoulliGenerator(30, tau=(0.0, 0.3), random_state=0)
    for z in _means(law, 20, 50, 0):
        signal = law.tau_ @ (law.theta_ * z)
        bound = np.exp(-2 * max(signal, 0) ** 2 / (z @ z))
        # A vanishing epsilon counts ties as errors, as the bound does.
        assert 1 - law.accuracy(z, epsilon=1e-9) <= bound


@pytest.mark.parametrize("n", [1, 5, 30])
def test_S14_signal_exceeds_half_its_mean_as_often_as_promised(n):
    law = BernoulliGenerator(30, tau=(0.0, 0.3), random_state=0)
    z = _means(law, n, 20_000, n)
    s = law.tau_ @ law.tau_
    signal = z @ (law.tau_ * law.theta_)
    # Five standard errors of a mean whose terms lie within +- sum tau.
    assert signal.mean() == pytest.approx(2 * s, abs=5 * law.tau_.sum() / np.sqrt(20_000))
    assert (signal < s).mean() <= np.exp(-n * s / 2)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_S15_length_of_the_mean_concentrates(n):
    law = BernoulliGenerator(30, tau=(0.0, 0.3), random_state=0)
    length = np.linalg.norm(_means(law, n, 20_000, n), axis=1)
    s, d = law.tau_ @ law.tau_, 30
    centre = np.sqrt(4 * s + (d - 4 * s) / n)
    assert length.mean() <= centre
    assert (length**2).mean() == pytest.approx(centre**2, rel=0.01)  # 20 000 draws: 0.3 % at most
    for excess in (0.1, 0.5, 1.0):
        assert (length > centre + excess).mean() <= np.exp(-(excess**2) * n / (2 * d))


@pytest.mark.parametrize("kind", ["report", "sharp", "confidence"])
@pytest.mark.parametrize("n", [2, 20, 200])
def test_bounds_hold_as_often_as_promised_for_the_estimator(kind, n):
    law = BernoulliGenerator(40, tau=(0.05, 0.3), random_state=n)
    bound = law.error_bound(n, kind=kind, confidence=0.9)
    errors = []
    for _ in range(40):
        X, y = law.sample(n)
        signed = y[:, None] * X
        X, y = np.concatenate([signed, -signed]), np.repeat([1, -1], n)
        errors.append(1 - law.accuracy(SampleMeanClassifier().fit(X, y).coef_, epsilon=1e-9))
    held = (np.array(errors) <= bound.error).mean()
    # Three standard errors below the promise would be chance; the bounds are far looser.
    assert held >= bound.probability - 3 * np.sqrt(0.25 / 40)
    assert held == 1
