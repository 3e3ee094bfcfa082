"""Interval bounds: sound, exact where they should be, differentiable, without side effects."""

import itertools

import numpy as np
import pytest
import torch
from sklearn import config_context
from torch import nn

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import interval_bounds, margin_bounds
from sklearn_robust.bounds._intervals import _ball_reach, _kernel_reach, intervals
from sklearn_robust.bounds._margins import passes
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import make_region

RADII = {"linf": 0.05, "l2": 0.3, "l1": 0.8}
DOUBLE = torch.float64


def samples(n=5, seed=0):
    """Points of the unit cube with a third of the values at its faces, as in images."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 64, generator=generator, dtype=DOUBLE) * 1.5 - 0.25).clip(0, 1)


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_no_point_of_the_threat_model_leaves_the_box_of_any_layer(
    kind, norm, clip_values, make_network, adversarial_points
):
    module, X = make_network(kind).to(DOUBLE).eval(), samples()
    threat = ThreatModel(RADII[norm], norm, clip_values)
    network = Network(module, X)
    boxes = intervals(network, make_region(X, threat))
    for point in adversarial_points(threat, X, 20):
        z = point
        for layer, (low, high) in zip([*network.layers, None], boxes, strict=True):
            assert ((low <= z) & (z <= high)).all()
            z = layer.forward(z) if layer is not None else z


def test_an_affine_layer_is_bounded_by_its_best_vertices():
    layer = nn.Linear(4, 3).to(DOUBLE)
    low = torch.tensor([[0.0, -1.0, 0.3, 2.0]], dtype=DOUBLE)
    high = low + torch.tensor([[0.5, 1.0, 0.0, 0.25]], dtype=DOUBLE)
    ends = zip(low[0].tolist(), high[0].tolist(), strict=True)
    vertices = layer(torch.tensor(list(itertools.product(*ends)), dtype=DOUBLE))
    bounds = interval_bounds(layer, low, high)
    # Attained at a vertex; what remains is the outward move, a few hundred units in the last place.
    torch.testing.assert_close(bounds[0][0], vertices.amin(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(bounds[1][0], vertices.amax(0), atol=1e-12, rtol=0)
    assert (bounds[0] <= vertices.amin(0)).all()
    assert (bounds[1] >= vertices.amax(0)).all()


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("norm", RADII)
def test_margins_of_a_linear_network_are_exact(norm, clip_values):
    """The kernel's closed form for linear classifiers is the independent source."""
    from sklearn_robust.bounds import worst_case_margins

    X = samples()
    y = torch.arange(5) % 3
    module = nn.Sequential(nn.Linear(64, 10), nn.Linear(10, 3)).to(DOUBLE)
    with torch.no_grad():
        coef = (module[1].weight @ module[0].weight).numpy()
        intercept = module(torch.zeros(1, 64, dtype=DOUBLE))[0].numpy()
    threat = ThreatModel(RADII[norm], norm, clip_values)
    margins = margin_bounds(module, X, y, threat, "ibp").detach().numpy()
    assert (margins[np.arange(5), y] == 0).all()
    margins[np.arange(5), y] = np.inf
    exact = worst_case_margins(coef, intercept, X.numpy(), y.numpy(), threat)
    # The sets are wider by the float32 rounding of stored points, 5e-7 of the values of X.
    np.testing.assert_allclose(margins.min(1), exact, atol=1e-5)
    assert (margins.min(1) <= exact).all()


def test_the_first_layer_uses_the_dual_norm():
    """For one l2 ball and one row w: centre - eps ||w||_2, where the enclosing box has ||w||_1."""
    module = nn.Sequential(nn.Linear(64, 5), nn.ReLU()).to(DOUBLE)
    X = samples(1)
    network = Network(module, X)
    low, high = intervals(network, make_region(X, ThreatModel(0.3, "l2")))[1]
    radius = 0.3 * module[0].weight.norm(dim=1)
    # Wider by float32 storage only, 5e-7 times ||w||_1 of about 4.
    torch.testing.assert_close((high - low)[0] / 2, radius.detach(), atol=1e-5, rtol=0)


def test_one_network_serves_several_threat_models():
    """What is remembered of the ball is that of the radius at hand."""
    module = nn.Sequential(nn.Linear(64, 5), nn.ReLU()).to(DOUBLE)
    X = samples(1)
    network, threats = Network(module, X), [ThreatModel(r, "l2") for r in (0.1, 0.3)]
    for threat in threats:
        used = intervals(network, make_region(X, threat))
        fresh = intervals(Network(module, X), make_region(X, threat))
        assert all(torch.equal(a, b) for u, f in zip(used, fresh, strict=True)
                   for a, b in zip(u, f, strict=True))  # fmt: skip


def test_kernel_reach_agrees_with_the_rows_of_the_convolution():
    """Inside the image a kernel is the row; at the border it may only be larger."""
    module = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    module = module.to(DOUBLE).eval()
    X = torch.rand(1, 1, 6, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    for norm in ("l2", "l1"):
        network, region = Network(module, X), make_region(X, ThreatModel(0.3, norm))
        quick, rows = _kernel_reach(network, region), _ball_reach(network, region)
        torch.testing.assert_close(quick[:, 1:-1, 1:-1], rows[:, 1:-1, 1:-1])
        assert (quick >= rows * (1 - 1e-12)).all()


def test_differences_of_logits_are_bounded_more_tightly_than_logits(make_network):
    module, X = make_network("dense").to(DOUBLE).eval(), samples()
    threat = ThreatModel(0.03)
    y = module(X).argmax(1)
    low, high = interval_bounds(module, X - 0.03, X + 0.03)
    separate = low.gather(1, y[:, None]) - high
    together = margin_bounds(module, X, y, threat, "ibp")
    rivals = torch.arange(10) != y[:, None]
    assert (together[rivals] > separate[rivals]).all()


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_margin_bounds_are_differentiable(kind, method, make_network):
    """Against a finite difference along a random direction of all parameters."""
    module, X = make_network(kind).to(DOUBLE).eval(), samples(3)
    y, threat = torch.tensor([0, 4, 2]), ThreatModel(0.02, clip_values=(0, 1))
    parameters = list(module.parameters())
    generator = torch.Generator().manual_seed(3)
    direction = [torch.randn(p.shape, generator=generator, dtype=DOUBLE) for p in parameters]
    total = margin_bounds(module, X, y, threat, method).sum()
    gradients = torch.autograd.grad(total, parameters)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True)).item()
    h = 1e-7  # below the distance to the next kink; above what rounding does to the difference
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * h * d)
            values.append(margin_bounds(module, X, y, threat, method).sum().item())
            for p, d in zip(parameters, direction, strict=True):
                p.add_(-sign * h * d)
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4)


def test_bounds_leave_the_module_and_the_input_as_they_were(make_network):
    module = make_network("conv").train()
    module[1][1].eval()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    X = samples(2).float()
    kept = X.clone()
    state = torch.random.get_rng_state()
    margin_bounds(module, X, torch.tensor([0, 1]), ThreatModel(0.1), "alpha-crown")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert [m.training for m in module.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(X, kept)
    assert torch.equal(state, torch.random.get_rng_state())


def test_training_mode_does_not_change_the_bounds(make_network):
    module = make_network("conv")
    X, y, threat = samples(2).float(), torch.tensor([0, 1]), ThreatModel(0.1)
    evaluated = margin_bounds(module.eval(), X, y, threat, "ibp")
    assert torch.equal(margin_bounds(module.train(), X, y, threat, "ibp"), evaluated)


def test_pieces_give_the_bounds_of_the_whole(make_network):
    module, X = make_network("conv").to(DOUBLE).eval(), samples(7)
    y, threat = module(X).argmax(1), ThreatModel(0.3, "l2", (0, 1))
    with torch.no_grad():
        whole = margin_bounds(module, X, y, threat, "crown")
        with config_context(working_memory=1):  # MiB
            n_passes = len(list(passes(7, [Network(module, X)], "crown")))
            parts = margin_bounds(module, X, y, threat, "crown")
    assert n_passes > 1
    # The order of summation differs with the size of the batch.
    torch.testing.assert_close(parts, whole, atol=1e-10, rtol=0)
