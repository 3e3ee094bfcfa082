"""The modified Bernoulli model: its draws against its law, its theory against enumeration."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_robust.datasets import BernoulliGenerator, make_modified_bernoulli
from sklearn_robust.datasets._mean_field import solve_mean_field
from sklearn_robust.datasets._signed_sum import _invert, signed_sum_tail

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


def _enumerate(law):
    """Return all points of the law as (y, x) with their probabilities."""
    d = len(law.tau_)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=d)))
    p = np.prod(0.5 + signs * law.tau_, axis=1) / 2
    y = np.repeat([-1.0, 1.0], len(signs))
    return y, y[:, None] * law.theta_ * np.tile(signs, (2, 1)), np.tile(p, 2)


# ------------------------------------------------------------------------------------------ draws


def test_draws_have_the_means_and_the_independence_of_definition_1():
    law = BernoulliGenerator(8, tau=(0.0, 0.4), random_state=0)
    n = 200_000
    X, y = law.sample(n)
    A = y[:, None] * X * law.theta_
    # 5 standard errors of a mean of signs, for 8 means, one class balance and 28 covariances.
    slack = 5 / np.sqrt(n)
    assert abs(A.mean(axis=0) - 2 * law.tau_).max() < slack
    assert abs(y.mean()) < slack
    covariance = np.cov(A.T) - np.diag(1 - 4 * law.tau_**2)
    assert abs(covariance).max() < slack
    assert abs((A * y[:, None]).mean(axis=0)).max() < slack  # A is independent of y


def test_draws_are_signs_of_the_dtype_asked_for():
    X, y = BernoulliGenerator(5, random_state=0).sample(50, dtype=np.int8)
    assert X.dtype == np.int8
    assert set(X.ravel()) == {-1, 1}
    assert y.dtype == np.int64
    assert set(y) == {-1, 1}
    assert BernoulliGenerator(5, random_state=0).sample(1)[0].dtype == np.float64


def test_dtype_does_not_change_the_draw():
    a = BernoulliGenerator(5, random_state=0).sample(50, dtype=np.int8)
    b = BernoulliGenerator(5, random_state=0).sample(50, dtype=np.float32)
    assert np.array_equal(a[0], b[0])
    assert np.array_equal(a[1], b[1])


def test_bias_one_half_is_certain():
    law = BernoulliGenerator(3, tau=0.5, random_state=0)
    X, y = law.sample(1000)
    assert np.array_equal(X, y[:, None] * law.theta_)


def test_each_call_draws_anew_and_an_int_seed_repeats_the_sequence():
    law = BernoulliGenerator(20, random_state=3)
    first, second = law.sample(30)[0], law.sample(30)[0]
    again = clone(law)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again.sample(30)[0])
    assert np.array_equal(second, again.sample(30)[0])
    assert not np.array_equal(first, BernoulliGenerator(20, random_state=4).sample(30)[0])


def test_theta_does_not_depend_on_whether_samples_were_drawn_first():
    law, other = (BernoulliGenerator(20, random_state=3) for _ in range(2))
    other.sample(10)
    assert np.array_equal(law.theta_, other.theta_)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_generator_objects_serve_as_random_state(make):
    a = BernoulliGenerator(20, random_state=make(1)).sample(5)[0]
    b = BernoulliGenerator(20, random_state=make(1)).sample(5)[0]
    assert np.array_equal(a, b)


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a = BernoulliGenerator(20).sample(50)[0]
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert not np.array_equal(a, BernoulliGenerator(20).sample(50)[0])


def test_a_changed_parameter_changes_the_law():
    law = BernoulliGenerator(4, tau=0.1, random_state=0)
    assert law.tau_.tolist() == [0.1] * 4
    law.set_params(tau=0.2)
    assert law.tau_.tolist() == [0.2] * 4


def test_pickle_keeps_the_place_in_the_sequence_of_draws():
    law = BernoulliGenerator(20, random_state=3)
    law.sample(10)
    copy = pickle.loads(pickle.dumps(law))
    assert np.array_equal(copy.sample(10)[0], law.sample(10)[0])


def test_function_gives_what_the_generator_draws_first():
    X, y = make_modified_bernoulli(40, 6, tau=0.3, random_state=5)
    X2, y2 = BernoulliGenerator(6, tau=0.3, random_state=5).sample(40)
    assert np.array_equal(X, X2)
    assert np.array_equal(y, y2)


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0.1, [0.1, 0.1, 0.1]), ((0.0, 0.2), [0.0, 0.1, 0.2]), ([0.3, 0.0, 0.5], [0.3, 0.0, 0.5])],
)
def test_ways_to_give_tau(tau, expected):
    np.testing.assert_allclose(BernoulliGenerator(3, tau=tau).tau_, expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tau": 0.6}, r"tau must be .* in \[0, 0.5\], got values in \[0.6, 0.6\]"),
        ({"tau": (-0.1, 0.2)}, r"tau must be .* got values in \[-0.1, 0.2\]"),
        ({"tau": np.nan}, "tau must be"),
        ({"tau": "high"}, "tau must be .* got 'high'"),
        ({"tau": []}, "tau must be .* got none"),
        ({"tau": np.full(4, 0.1)}, r"tau has shape \(4,\) but n_features=3"),
        ({"theta": np.ones(4)}, r"theta has shape \(4,\) but n_features=3"),
        ({"theta": [1, 0, -1]}, r"theta must hold -1 and \+1 only"),
        ({"theta": [1, np.nan, -1]}, r"theta must hold -1 and \+1 only"),
        ({"theta": "ones"}, "theta must be one of 'random'"),
        ({"n_features": 0}, "n_features must be an integer >= 1, got 0"),
        ({"random_state": -1}, "random_state must be an integer >= 0, got -1"),
    ],
)
def test_bad_parameters_are_named_before_any_draw(parameters, message):
    law = BernoulliGenerator(**{"n_features": 3, **parameters})
    with pytest.raises(ValueError, match=message):
        law.sample(10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda law: law.sample(0), "n_samples must be an integer >= 1, got 0"),
        (lambda law: law.accuracy(np.ones(4)), r"coef must have shape \(3,\)"),
        (lambda law: law.accuracy([1, np.inf, 0]), "coef must hold finite numbers"),
        (lambda law: law.accuracy(np.ones(3), -0.1), "epsilon must be a finite number >= 0"),
        (lambda law: law.accuracy(np.ones(3), [0.1, 0.2]), "epsilon has 2 values"),
        (lambda law: law.accuracy(np.ones(3), 0.1, norm="l3"), "norm must be one of"),
        (lambda law: law.accuracy(np.ones(3), intercept=np.nan), "intercept must be"),
        (lambda law: law.error_bound(0), "n_samples must be"),
        (lambda law: law.error_bound(5, kind="best"), "kind must be one of"),
        (
            lambda law: law.error_bound(5, kind="confidence", confidence=1.0),
            "confidence must be .* < 1",
        ),
        (lambda law: law.threshold(-1), "epsilon must be"),
        (lambda law: law.threshold(0.1, clean_share=1.0), "clean_share must be .* < 1"),
        (lambda law: law.threshold(0.1, clean_share=0.5, penalty=-1), "penalty must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(BernoulliGenerator(3, random_state=0))


# ------------------------------------------------------------------------------- exact accuracies


@pytest.mark.parametrize("norm", DUAL)
@pytest.mark.parametrize("intercept", [0.0, 0.37])
def test_accuracy_is_the_sum_over_all_points(norm, intercept):
    law = BernoulliGenerator(12, tau=(0.0, 0.5), random_state=0)
    coef = np.random.default_rng(1).normal(size=12)
    y, X, p = _enumerate(law)
    score = X @ coef + intercept
    for epsilon in (0.0, 0.1, 0.5):
        radius = epsilon * np.linalg.norm(coef, DUAL[norm])
        right = np.where(y > 0, score > radius, score <= -radius)
        exact = law.accuracy(coef, epsilon, intercept=intercept, norm=norm)
        assert exact == pytest.approx(p @ right, abs=1e-14)  # sums of 8192 probabilities


def test_accuracy_takes_one_epsilon_per_feature():
    law = BernoulliGenerator(9, tau=(0.0, 0.4), random_state=0)
    coef, epsilon = np.random.default_rng(1).normal(size=9), np.linspace(0, 0.4, 9)
    y, X, p = _enumerate(law)
    right = y * (X @ coef) > epsilon @ abs(coef)
    assert law.accuracy(coef[None], epsilon) == pytest.approx(p @ right, abs=1e-14)


def test_a_tie_is_predicted_as_class_minus_one():
    # Four equal weights: w.x = 0 with probability C(4, 2) / 16, and rounding must not decide it.
    law = BernoulliGenerator(4, tau=0.0, random_state=0)
    assert law.accuracy(np.full(4, 0.1)) == pytest.approx(0.5, abs=1e-15)
    assert law.accuracy(np.zeros(4)) == 0.5
    # The all-zero classifier with an intercept is constant: it is right on half of the labels.
    assert law.accuracy(np.zeros(4), 0.3, intercept=1.0) == 0.5
    # At radius 0.4 epsilon = 2 x 0.1 the tie is at the attacked margin: y = -1 survives it.
    A = binom(4, 0.5)
    expected = (A.pmf(4) + A.pmf(4) + A.pmf(3)) / 2
    assert law.accuracy(np.full(4, 0.1), 0.5) == pytest.approx(expected, abs=1e-15)


def test_accuracy_of_equal_weights_is_binomial_for_many_features():
    d, tau = 1001, 0.03
    law = BernoulliGenerator(d, tau=tau, random_state=0)
    expected = binom(d, 0.5 + tau).sf(500)
    # 1e-12: a thousand additions of probabilities.
    assert law.accuracy(law.theta_ * 0.3) == pytest.approx(expected, abs=1e-12)


def test_accuracy_ignores_the_length_of_the_weights():
    law = BernoulliGenerator(60, random_state=0)
    coef = law.bayes_coef_
    # Two quadratures of the same smooth integral, each to 1e-9.
    assert law.accuracy(coef, 0.2) == pytest.approx(law.accuracy(1e-9 * coef, 0.2), abs=2e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 0.4])
def test_accuracy_agrees_with_a_large_sample(epsilon):
    law = BernoulliGenerator(100, random_state=0)
    coef = law.bayes_coef_ + np.random.default_rng(0).normal(scale=0.1, size=100)
    n = 300_000
    X, y = law.sample(n, dtype=np.float32)
    right = y * (X @ coef + 0.1) > epsilon * abs(coef).sum()
    exact = law.accuracy(coef, epsilon, intercept=0.1)
    # Four standard errors of a share.
    assert abs(right.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / n)


def test_quadrature_agrees_with_the_exact_sum_over_2_to_the_40_points():
    rng = np.random.default_rng(0)
    weights, means = rng.uniform(0.5, 1, size=40), rng.uniform(-0.2, 0.5, size=40)
    for threshold in (-1.0, 3.0, 9.0):
        exact, quadrature = (f(weights, means, threshold) for f in (signed_sum_tail, _invert))
        assert exact.error == 0
        # Smoothing moves mass 2^-40 at a time; 1e-8 is what its halving leaves undecided here.
        assert quadrature.above == pytest.approx(exact.above, abs=1e-8)


def test_quadrature_reports_the_atom_it_cannot_split():
    # tau near 1/2: one atom has most of the mass, and the threshold sits on its edge.
    weights = 1 + np.random.default_rng(0).uniform(size=60)
    with pytest.warns(RuntimeWarning, match="heavy atoms"):
        signed_sum_tail(weights, np.full(60, 0.999), weights.sum() * (1 - 3e-6))


def test_far_tails_are_zero_and_one():
    weights, means = np.linspace(0.5, 1, 300) ** 2, np.full(300, 0.9)
    assert signed_sum_tail(weights, means, 0.0)[:2] == (1.0, 1.0)
    assert signed_sum_tail(weights, -means, 0.0)[:2] == (0.0, 0.0)


# -------------------------------------------------------------------------------- Bayes classifier


def test_bayes_classifier_is_the_best_on_every_point():
    law = BernoulliGenerator(10, tau=(0.05, 0.4), random_state=1)
    _, X, p = _enumerate(law)
    order = np.lexsort(X.T)  # both labels of a point side by side
    best = p[order].reshape(-1, 2).max(axis=1).sum()
    assert law.bayes_accuracy_ == pytest.approx(best, abs=1e-14)


def test_bayes_weights_are_the_log_odds():
    law = BernoulliGenerator(6, tau=(0.05, 0.4), random_state=1)
    y, X, p = _enumerate(law)
    positive = {tuple(x): q for x, q, s in zip(X, p, y, strict=True) if s > 0}
    negative = {tuple(x): q for x, q, s in zip(X, p, y, strict=True) if s < 0}
    for x, q in positive.items():
        assert law.bayes_coef_ @ x == pytest.approx(np.log(q / negative[x]), abs=1e-12)


def test_bayes_weights_minimise_the_expected_logistic_loss():
    law = BernoulliGenerator(8, tau=(0.05, 0.4), random_state=1)
    y, X, p = _enumerate(law)
    pull = p * y / (1 + np.exp(y * (X @ law.bayes_coef_)))
    assert abs(pull @ X).max() < 1e-15  # the gradient; convex, so zero is enough
    model = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(X, y, sample_weight=p)
    # The penalty's share is 1e-8, but the curvature it is weighed against is down to 1e-2.
    np.testing.assert_allclose(model.coef_[0], law.bayes_coef_, atol=1e-5)


def test_certain_features_decide_alone():
    law = BernoulliGenerator(3, tau=[0.2, 0.5, 0.5], theta=[1, -1, 1])
    assert law.bayes_coef_.tolist() == [0, -1, 1]
    assert law.bayes_accuracy_ == 1


# ------------------------------------------------------------------------------ bounds, thresholds


def test_error_bounds_are_the_printed_formulas():
    law = BernoulliGenerator(50, tau=(0.05, 0.2))
    tau, n = law.tau_, 30
    report = law.error_bound(n, kind="report")
    assert report.error == pytest.approx(np.exp(-2 * 0.05**2 * tau.sum() ** 2 / 50))
    assert report.probability == pytest.approx(1 - np.exp(-(tau.sum() ** 2) * n / 100))
    sharp = law.error_bound(n)
    assert sharp.error == pytest.approx(np.exp(-2 * (tau @ tau) ** 2 / 50))
    assert sharp.probability == pytest.approx(1 - np.exp(-n * tau @ tau / 2))


@pytest.mark.parametrize("tau", [0.1, (0.0, 0.25), (0.2, 0.5)])
@pytest.mark.parametrize("n", [1, 10, 1000])
def test_sharp_bound_is_at_least_as_good_as_the_report_s(tau, n):
    law = BernoulliGenerator(70, tau=tau)
    report, sharp = law.error_bound(n, kind="report"), law.error_bound(n)
    # Equal for constant tau, where only rounding parts them.
    assert sharp.error <= report.error * (1 + 1e-12)
    assert sharp.probability >= report.probability * (1 - 1e-12)


def test_bound_at_a_confidence_tends_to_the_noiseless_one():
    law = BernoulliGenerator(100, tau=(0.0, 0.25))
    bounds = [
        law.error_bound(n, kind="confidence", confidence=0.99).error for n in (1, 10**3, 10**12)
    ]
    assert bounds[0] == 1  # one sample promises nothing
    assert bounds[0] > bounds[1] > bounds[2]
    # At n = 10^12 the noise is 1e-5 of the length, which doubles twice and meets 2 s = 4 above.
    assert bounds[2] == pytest.approx(np.exp(-2 * law.tau_ @ law.tau_), rel=1e-3)


def test_threshold_of_exact_training_is_half_epsilon():
    assert BernoulliGenerator(10, tau=0.3).threshold(0.4) == 0.2
    assert BernoulliGenerator(10, tau=0.5).threshold(0.4) == 0.2


def test_mixed_threshold_lies_between_a_quarter_and_half_of_epsilon():
    # The attacked margin is the smaller one, so E p_adv >= E p_clean.
    law = BernoulliGenerator(100)
    for epsilon in (0.1, 0.3, 0.5):
        assert epsilon / 4 < law.threshold(epsilon, clean_share=0.5) < epsilon / 2


def test_without_any_weight_left_clean_and_attacked_pull_are_equal():
    law = BernoulliGenerator(20, tau=(0.0, 0.05))
    assert law.threshold(1.0, clean_share=0.5) == pytest.approx(0.25, rel=1e-6)


def test_certain_features_need_a_penalty_in_the_mean_field():
    law = BernoulliGenerator(3, tau=[0.2, 0.1, 0.5])
    with pytest.raises(ValueError, match="Pass penalty > 0"):
        law.threshold(0.1, clean_share=0.5)
    assert 0.025 < law.threshold(0.1, clean_share=0.5, penalty=0.1) < 0.05


def test_mean_field_gradient_is_zero_at_its_solution():
    tau = np.linspace(0, 0.25, 100)
    nodes, mass = np.polynomial.hermite_e.hermegauss(160)
    mass /= mass.sum()

    def value(u):
        clean = 2 * tau @ u + np.sqrt((1 - 4 * tau**2) @ u**2) * nodes
        losses = np.logaddexp(0, -clean) + np.logaddexp(0, 0.3 * u.sum() - clean)
        return mass @ losses / 2 + 0.005 * u @ u

    u = solve_mean_field(tau, 0.3, 0.5, 0.01).weights
    active = np.flatnonzero(u > 0.01)
    assert 20 < len(active) < 60
    step = 1e-4
    for j in (active[0], active[-1]):
        up, down = u.copy(), u.copy()
        up[j] += step
        down[j] -= step
        # Central differences with twice the nodes: errors of step^2 and of 1e-16 / step.
        assert abs(value(up) - value(down)) / (2 * step) < 1e-8


def test_a_million_samples_need_little_more_than_their_own_memory():
    import tracemalloc

    law = BernoulliGenerator(100, random_state=0)
    tracemalloc.start()
    X, y = law.sample(200_000, dtype=np.int8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside X and y: one block of 2^20 uniform draws (8 MiB) and three masks of that size,
    # whatever the number of samples; and the sums and comparisons that make y.
    assert peak < X.nbytes + 3 * y.nbytes + 14 * 2**20


def test_no_warning_at_the_settings_of_the_report():
    law = BernoulliGenerator(100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = [law.accuracy(law.bayes_coef_, e) for e in (0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    assert values == sorted(values, reverse=True)
