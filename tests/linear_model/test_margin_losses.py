"""Losses: derivatives against finite differences, conjugates against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sklearn_robust import AdversarialLogisticRegression
from sklearn_robust.linear_model._margin_losses import LOSSES, Hinge, Squared

MARGINS = np.linspace(-3, 3, 41) + 0.013  # no margin at a kink
LENGTHS = (0.0, 0.7)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("t", LENGTHS)
def test_slopes_and_curvatures_are_the_derivatives(name, t):
    loss, h = LOSSES[name](), 1e-5
    a, s = loss.slopes(MARGINS, t)

    def by_m(f):
        return (f(MARGINS + h, t) - f(MARGINS - h, t)) / (2 * h)

    def by_t(f):
        return (f(MARGINS, t + h) - f(MARGINS, t - h)) / (2 * h)

    # Central differences: h^2 times a third derivative of at most some tens, and rounding / h.
    tolerance = 1e-7
    np.testing.assert_allclose(-a, by_m(loss.smooth_value), atol=tolerance)
    np.testing.assert_allclose(s, by_t(loss.smooth_value), atol=tolerance)
    mm, mt, tt = loss.curvatures(MARGINS, t)
    np.testing.assert_allclose(mm, -by_m(lambda m, t: loss.slopes(m, t)[0]), atol=tolerance)
    np.testing.assert_allclose(mt, by_t(lambda m, t: loss.slopes(m, t)[0]), atol=tolerance)
    np.testing.assert_allclose(tt, by_t(lambda m, t: loss.slopes(m, t)[1]), atol=tolerance)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("t", LENGTHS)
def test_every_dual_pair_is_a_lower_bound_and_the_slopes_attain_the_smooth_loss(name, t):
    loss = LOSSES[name]()
    rng = np.random.default_rng(0)
    value = loss.value(MARGINS, t)
    for _ in range(300):
        s = np.full_like(MARGINS, 4 * rng.random())
        a = s if name != "squared" else s * rng.uniform(-1, 1)
        with np.errstate(invalid="ignore"):  # the entropy of a > 1
            bound = loss.entropy(a, s) - a * MARGINS + s * t
        assert not (bound > value + 1e-12).any()
    a, s = loss.slopes(MARGINS, t)
    attained = loss.smooth_entropy(a, s) - a * MARGINS + s * t
    np.testing.assert_allclose(attained, loss.smooth_value(MARGINS, t), atol=1e-12)


@pytest.mark.parametrize("t", LENGTHS)
def test_smoothing_is_from_below_and_vanishes(t):
    for kind, most in ((Hinge, 0.5), (Squared, 10.0)):
        for smoothing in (1.0, 1e-2, 1e-4):
            loss = kind(smoothing)
            missing = loss.value(MARGINS, t) - loss.smooth_value(MARGINS, t)
            assert (missing >= -1e-14).all()
            # Hinge: mu / 2. Squared: mu times the derivative 2 (|1 - m| + t) <= 10 here.
            assert missing.max() <= most * smoothing + 1e-14


def test_squared_loss_is_its_worst_case_over_the_reachable_margins():
    reachable = MARGINS[:, None] + np.linspace(-0.7, 0.7, 101)
    worst = ((1 - reachable) ** 2).max(axis=1)
    np.testing.assert_allclose(Squared().value(MARGINS, 0.7), worst, rtol=1e-13)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_a_penalty_the_minimum_is_that_of_the_loss_itself(norm):
    """It was that of the smooth form which minimising begins with."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X[::4])
    settings = {"norm": norm, "loss": "squared"}
    clf = AdversarialLogisticRegression(0.2, C=np.inf, **settings).fit(X, y[::4])
    limit = AdversarialLogisticRegression(0.2, C=1e6, **settings).fit(X, y[::4])
    assert clf.dual_gap_ <= 1e-6
    assert clf.objective_ == pytest.approx(limit.objective_, rel=1e-5)
    with pytest.raises(ValueError, match="C must be finite for loss='hinge'"):
        AdversarialLogisticRegression(loss="hinge", C=np.inf).fit(X, y[::4])
