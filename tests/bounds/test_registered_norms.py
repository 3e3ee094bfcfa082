"""Certificates for norms of one's own: twins of the library's norms get the twins' numbers."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sklearn_robust import RobustFCClassifier, get_norm, register_norm
from sklearn_robust._norms import NORMS
from sklearn_robust.attacks import LinearModel, ThreatModel
from sklearn_robust.bounds import certified_correct, margin_bounds
from sklearn_robust.bounds._margins import METHODS
from sklearn_robust.bounds._regions import make_region

DOUBLE = torch.float64
L2 = get_norm("l2")


class Scaled:
    """``||factor * delta||_2``, with one factor for each feature, or a number for all."""

    def __init__(self, name, factor):
        self.name, self.factor = name, factor

    def _factor(self, x):
        if isinstance(self.factor, float):
            return self.factor
        return torch.as_tensor(self.factor).to(x) if torch.is_tensor(x) else self.factor

    def length(self, delta):
        return L2.length(delta * self._factor(delta))

    def dual_length(self, weights):
        return L2.dual_length(weights / self._factor(weights))

    def project(self, z, capacity=None):
        raise NotImplementedError  # certificates have no use for it

    sample = project

    def steepest(self, gradient, capacity=None):
        f = self._factor(gradient)
        return L2.steepest(gradient / f, None if capacity is None else capacity * f) / f

    def shortest(self, pull, gain, capacity=None):
        f = self._factor(pull)
        return L2.shortest(pull / f, gain, None if capacity is None else capacity * f)


@pytest.fixture
def twin():
    """Register norms for the length of a test; return the names."""
    before = dict(NORMS)
    factor = np.random.default_rng(0).uniform(0.5, 2, 64)
    for norm in (Scaled("twin", 1.0), Scaled("rms", 1 / 8.0), Scaled("weighted", factor)):
        register_norm(norm)
    yield {"twin": 1.0, "rms": 8.0, "weighted": 1 / factor}
    NORMS.clear()
    NORMS.update(before)


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(6, 64, generator=generator, dtype=DOUBLE) * 1.5 - 0.25).clip(0, 1)


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["twin", "rms", "weighted"])
def test_margins_are_those_of_the_same_l2_ball(
    name, method, clip_values, twin, samples, make_network
):
    module = make_network("dense").to(DOUBLE).eval().requires_grad_(False)
    y = module(samples).argmax(1)
    own = margin_bounds(module, samples, y, ThreatModel(0.2, name, clip_values), method)
    threat = ThreatModel(0.2 * twin[name], "l2", clip_values)
    same = margin_bounds(module, samples, y, threat, method)
    if name == "twin":
        assert torch.equal(own, same)
    else:
        # The same ball in other numbers: gradient steps of alpha-CROWN amplify their rounding.
        atol = 1e-4 if method == "alpha-crown" else 1e-10
        torch.testing.assert_close(own, same, atol=atol, rtol=0)


@pytest.mark.parametrize("name", ["twin", "rms", "weighted"])
def test_no_point_of_the_ball_is_below_the_bounds_of_a_convolutional_network(
    name, twin, samples, make_network
):
    """Its kernels are shorter than a sample, and features differ: no kernel stands for all rows."""
    module = make_network("conv").to(DOUBLE).eval().requires_grad_(False)
    y = module(samples).argmax(1)
    threat, same = ThreatModel(0.1, name), ThreatModel(0.1 * twin[name], "l2")
    bounds = {m: margin_bounds(module, samples, y, threat, m) for m in METHODS}
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        point = same.around(samples).furthest(torch.randn(6, 64, generator=generator, dtype=DOUBLE))
        logits = module(point)
        for method in METHODS:
            assert (bounds[method] <= logits.gather(1, y[:, None]) - logits).all()
    # Rows that a border cuts off are shorter than the kernel, by which l2's bound goes there.
    for method in ("ibp", "crown-ibp"):
        assert (bounds[method] >= margin_bounds(module, samples, y, same, method) - 1e-10).all()


def test_the_box_around_the_ball_touches_it(twin, samples):
    region = make_region(samples, ThreatModel(0.1, "weighted"), rounding=False)
    torch.testing.assert_close(
        region.high - samples, (0.1 * torch.tensor(twin["weighted"])).expand(6, -1)
    )


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_certificates_of_a_twin_are_those_of_l2(method, twin, fc, held_out):
    X, y = held_out
    own, same = (
        certified_correct(fc, X, y, ThreatModel(0.25, norm, (0, 1)), method)
        for norm in ("twin", "l2")
    )
    assert (own == same).all()
    assert method == "ibp" or 0 < own.sum() < len(own)


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_linear_certificates_of_a_twin_are_those_of_l2(clip_values, twin, digits):
    X, y = digits
    clf = LogisticRegression(max_iter=500).fit(X, y)
    model = LinearModel(clf.coef_, clf.intercept_)
    own, same = (
        certified_correct(model, X, y, ThreatModel(0.3, norm, clip_values))
        for norm in ("twin", "l2")
    )
    assert (own == same).all()
    assert 0 < own.sum() < len(own)


def test_networks_are_trained_on_bounds_for_a_twin_as_for_l2(twin, digits):
    X, y = digits
    own, same = (
        RobustFCClassifier(
            (16,), norm=norm, epsilon=0.2, training="ibp", max_epochs=2, random_state=0
        ).fit(X[:300], y[:300])
        for norm in ("twin", "l2")
    )
    np.testing.assert_array_equal(own.predict_proba(X), same.predict_proba(X))
