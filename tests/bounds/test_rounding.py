"""Rounding: bounds hold for the exact network and for the evaluated one, also with huge weights.

Floating-point numbers are fractions, so the exact network is at hand in rational arithmetic.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import interval_bounds, margin_bounds
from sklearn_robust.bounds._margins import METHODS
from sklearn_robust.bounds._regions import make_region


def exact_forward(module, x):
    """Outputs of a dense ReLU network at `x` (a list of Fractions), without rounding."""
    for layer in module:
        if isinstance(layer, nn.ReLU):
            x = [max(v, Fraction(0)) for v in x]
            continue
        W = [[Fraction(w) for w in row] for row in layer.weight.tolist()]
        b = [Fraction(v) for v in layer.bias.tolist()]
        x = [
            sum((w * v for w, v in zip(row, x, strict=True)), c)
            for row, c in zip(W, b, strict=True)
        ]
    return x


def huge_network(dtype, scale=1e4):
    """Weights of +-`scale` whose sums cancel: what is left of a logit is mostly rounding."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(60, 30), nn.ReLU(), nn.Linear(30, 3)).to(dtype)
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(scale)
    return module.requires_grad_(False)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e15])
def test_bounds_hold_in_exact_arithmetic_and_as_evaluated(dtype, scale):
    module = huge_network(dtype, scale)
    generator = torch.Generator().manual_seed(1)
    X = torch.rand(8, 60, generator=generator, dtype=dtype)
    # Boxes of no width at all: the bounds have nothing but the rounding to hold the values with.
    low, high = interval_bounds(module, X, X)
    evaluated = module(X)
    assert ((low <= evaluated) & (evaluated <= high)).all()
    for i in range(len(X)):
        exact = exact_forward(module, [Fraction(v) for v in X[i].tolist()])
        for j in range(3):
            assert Fraction(low[i, j].item()) <= exact[j] <= Fraction(high[i, j].item())


def test_without_the_outward_move_bounds_are_wrong(dtype):
    """The check above can fail: plain interval arithmetic violates the exact values."""
    module = huge_network(dtype)
    X = torch.rand(8, 60, generator=torch.Generator().manual_seed(1), dtype=dtype)
    low, high = interval_bounds(module, X, X, rounding=False)
    violations = 0
    for i in range(len(X)):
        exact = exact_forward(module, [Fraction(v) for v in X[i].tolist()])
        violations += sum(
            not Fraction(low[i, j].item()) <= exact[j] <= Fraction(high[i, j].item())
            for j in range(3)
        )
    assert violations > 0


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("method", METHODS)
def test_margins_hold_in_exact_arithmetic_at_extreme_points(method, norm, dtype):
    module = huge_network(dtype)
    X = torch.rand(3, 60, generator=torch.Generator().manual_seed(1), dtype=dtype)
    y = module(X).argmax(1)
    threat = ThreatModel(1e-4, norm)
    bounds = margin_bounds(module, X, y, threat, method)
    for i in range(3):
        for j in {0, 1, 2} - {int(y[i])}:
            # The furthest point against the margin's gradient at x, in float64 and then exactly.
            x = X[i : i + 1].double().requires_grad_()
            logits = module.double()(x)[0]
            (gradient,) = torch.autograd.grad(logits[y[i]] - logits[j], x)
            point = threat.around(x.detach()).furthest(-gradient)[0]
            module.to(dtype)
            exact = exact_forward(module, [Fraction(v) for v in point.tolist()])
            assert Fraction(bounds[i, j].item()) <= exact[int(y[i])] - exact[j]


@pytest.mark.parametrize("clip_values", [None, (0, 1), (-0.7, 1.3)])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_sets_cover_every_point_that_the_threat_model_accepts(norm, clip_values):
    """Points rounded outwards in float32 pass `contains`; the sets of the bounds must hold them."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(50, 30, generator=generator, dtype=torch.float32)
    threat = ThreatModel(0.1, norm, clip_values)
    region = make_region(X.double(), threat)
    a = torch.randn(50, 1, 30, generator=generator, dtype=torch.float32)
    point = threat.around(X).furthest(a[:, 0])
    for _ in range(4):  # as far outwards as is accepted
        outwards = torch.nextafter(point, torch.where(a[:, 0] > 0, torch.inf, -torch.inf))
        outwards = torch.where(point == X, point, outwards)
        accepted = torch.as_tensor(threat.contains(outwards.numpy(), X.numpy()))
        point = torch.where(accepted[:, None], outwards, point)
    assert threat.contains(point.numpy(), X.numpy()).all()
    value = (a[:, 0].double() * point.double()).sum(1)
    assert (value <= -region.minimum(-a.double())[:, 0]).all()
    assert (region.low <= point).all()
    assert (point <= region.high).all()


def test_overflow_certifies_nothing():
    module = huge_network(torch.float32, 1e38)
    X = torch.ones(2, 60)
    for method in METHODS:
        margins = margin_bounds(module, X, torch.tensor([0, 1]), ThreatModel(0.1), method)
        assert not (margins[[0, 1], [1, 0]] > 0).any()


def test_exact_arithmetic_agrees_with_float64_on_plain_weights():
    """The oracle itself, on numbers where float64 loses next to nothing."""
    module = huge_network(torch.float64, 1.0)
    x = torch.rand(1, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = exact_forward(module, [Fraction(v) for v in x[0].tolist()])
    np.testing.assert_allclose([float(v) for v in exact], module(x)[0].numpy(), rtol=1e-13)
