"""Linear bounds: lines that enclose, between intervals and the true minimum, found by a MILP."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import PGD, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import Clamp, LeakyReLU, MaxPool, _tightening, margin_bounds
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._margins import METHODS, bound_batch, difference_specs
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import make_region
from sklearn_robust.bounds._tightening import Tightening
from tests.bounds.programs import programs, relu_network

RADII = {"linf": 0.05, "l2": 0.3, "l1": 0.8}
DOUBLE = torch.float64


def samples(n=5, seed=0):
    """Points of the unit cube with a third of the values at its faces, as in images."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 64, generator=generator, dtype=DOUBLE) * 1.5 - 0.25).clip(0, 1)


def tightened(network, region, boxes):
    """The boxes after one round, for the differences of the logits from the first."""
    y = torch.zeros(len(region.low), dtype=torch.long)
    work = Tightening(network, region, boxes)
    work.run(difference_specs(y, network.shapes[-1][0], region.low))
    return work.boxes


# Lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        LeakyReLU(),
        LeakyReLU(0.3),
        LeakyReLU(torch.tensor([0.3])),
        LeakyReLU(1.0),
        Clamp(0, 1),
        Clamp(-1, 0.5),
    ],
)
def test_lines_enclose_the_activation_on_its_interval(layer):
    generator = torch.Generator().manual_seed(0)
    ends = 3 * torch.rand(2, 4000, generator=generator, dtype=DOUBLE) - 1.5
    ends = torch.cat((ends, ends[:, :50].round(), ends[:1, :50].expand(2, -1)), dim=1)
    low, high = ends.amin(0), ends.amax(0)
    lines = layer.enclose(low, high, 0.0)
    z = low + (high - low) * torch.linspace(0, 1, 201, dtype=DOUBLE)[:, None]
    g = layer.forward(z)
    # Without the guard, lines may be off by the rounding of values up to 1.5.
    assert (lines.lower_slope * z + lines.lower <= g + 1e-14).all()
    assert (lines.upper_slope * z + lines.upper >= g - 1e-14).all()
    guarded = layer.enclose(low, high, torch.finfo(DOUBLE).eps)
    assert (guarded.lower_slope * z + guarded.lower <= g).all()
    assert (guarded.upper_slope * z + guarded.upper >= g).all()
    decided = ~layer.undecided(low, high)
    gap = ((lines.upper_slope - lines.lower_slope) * z + lines.upper - lines.lower)[:, decided]
    assert gap.abs().max() < 1e-14


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1))]
)
def test_lines_enclose_max_pooling_on_its_box(size, stride, padding):
    layer = MaxPool(size, stride, padding)
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(50, 2, 5, 6, generator=generator, dtype=DOUBLE)
    high = low + torch.rand(low.shape, generator=generator, dtype=DOUBLE)
    lines = layer.enclose(low, high, torch.finfo(DOUBLE).eps)
    for _ in range(200):
        z = low + (high - low) * torch.rand(low.shape, generator=generator, dtype=DOUBLE).round()
        out, flat = layer.forward(z), z.flatten(2)
        at = [flat.gather(2, i.flatten(2)).reshape(out.shape) for i in lines[4:]]
        assert (lines.lower_slope * at[0] + lines.lower <= out).all()
        assert (lines.upper_slope * at[1] + lines.upper >= out).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_slopes_of_each_channel_are_bounded(channels, method):
    """No draw from the set has a margin below the bound, and the tightest is near the least."""
    body = nn.Conv2d(1, 3, 2), nn.PReLU(channels), nn.Flatten(), nn.Linear(12, 3)
    module = seeded(nn.Sequential(*body)).to(DOUBLE).eval()
    module[1].weight.data = torch.linspace(0.1, 0.9, channels, dtype=DOUBLE)
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(5, 1, 3, 3, generator=generator, dtype=DOUBLE)
    y = module(X).argmax(1)
    bounds = margin_bounds(module, X, y, ThreatModel(0.3), method).detach()
    noise = torch.rand(4000, 1, 1, 3, 3, generator=generator, dtype=DOUBLE).sub(0.5).sign() * 0.3
    logits = module((X + noise).flatten(0, 1)).detach().reshape(4000, 5, 3)
    margins = (logits.gather(2, y.expand(4000, 5)[..., None]) - logits).amin(0)
    assert (bounds <= margins + 1e-12).all()
    if method == "alpha-crown":
        assert (margins - bounds).mean() < 0.2 * margins.abs().mean()


def test_max_pooling_is_exact_where_one_entry_wins():
    low = torch.tensor([[[[2.0, 0.0], [0.5, -1.0]]]], dtype=DOUBLE)
    high = torch.tensor([[[[3.0, 1.5], [2.0, 0.0]]]], dtype=DOUBLE)
    lines = MaxPool((2, 2), (2, 2), (0, 0)).enclose(low, high, 0.0)
    assert [float(t) for t in lines] == [1.0, 0.0, 1.0, 0.0, 0, 0]


# Soundness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_attacks_and_draws_stay_above_every_bound(
    kind, norm, clip_values, make_network, adversarial_points
):
    module, X = make_network(kind).to(DOUBLE).eval(), samples()
    y = module(X).argmax(1)
    threat = ThreatModel(RADII[norm], norm, clip_values)
    with torch.no_grad():
        bounds = {method: margin_bounds(module, X, y, threat, method) for method in METHODS}
        for weaker, stronger in itertools.pairwise(METHODS):
            assert (bounds[weaker] <= bounds[stronger]).all()
        door = TorchModel(module, 10)
        generator = torch.Generator().manual_seed(0)
        attack = PGD(30, n_restarts=2, loss=Margin(), only_correct=False)
        points = [attack.perturb(door, X, y, threat, generator)]
        points += adversarial_points(threat, X, 30)
        for point in points:
            logits = module(point)
            margins = logits.gather(1, y[:, None]) - logits
            assert (bounds["alpha-crown"] <= margins).all()


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_no_point_leaves_the_tightened_box_of_any_layer(
    kind, norm, make_network, adversarial_points
):
    module, X = make_network(kind).to(DOUBLE).eval(), samples()
    threat = ThreatModel(RADII[norm], norm, (0, 1))
    network, region = Network(module, X), make_region(X, threat)
    with torch.no_grad():
        loose = intervals(network, region)
        boxes = tightened(network, region, loose)
        widths = [[float((high - low).sum()) for low, high in b] for b in (loose, boxes)]
        assert widths[1][-1] < 0.9 * widths[0][-1]
        for point in adversarial_points(threat, X, 20):
            z = point
            for layer, (low, high) in zip([*network.layers, None], boxes, strict=True):
                assert ((low <= z) & (z <= high)).all()
                z = layer.forward(z) if layer is not None else z


def seeded(module):
    """Return `module` with weights drawn from seed 0, whatever was drawn before."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    return module


IMAGES = {
    "pooling": nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Conv2d(5, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3, 3),
    ),
    "strides and groups": nn.Sequential(
        nn.ZeroPad2d((1, 0, 2, 1)),
        nn.Conv2d(2, 4, 3, stride=2, groups=2),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.1),
        nn.ZeroPad2d((0, 1, 1, 0)),
        nn.Conv2d(4, 4, 2, dilation=2),
        nn.AvgPool2d(2, 1, padding=1),
        nn.Hardtanh(-0.2, 0.3),
        nn.Flatten(),
        nn.Linear(80, 3),
    ),
    "behind a ramp": nn.Sequential(
        nn.Hardtanh(0.1, 0.8),
        nn.Conv2d(2, 4, 3, padding=(2, 1)),
        nn.ReLU(),
        nn.Conv2d(4, 4, (3, 2), stride=(1, 3)),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 3),
    ),
}


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("name", IMAGES)
def test_windows_give_the_bounds_of_whole_images(name, norm, monkeypatch):
    module = seeded(IMAGES[name]).to(DOUBLE).eval().requires_grad_(False)
    # One sample: windows take the undecided channels of all samples of a batch at once, and
    # tighten a few decided ones on the way.
    X = torch.rand(1, 2, 8, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    network = Network(module, X)
    region = make_region(X, ThreatModel(RADII[norm], norm, (0, 1)))
    boxes = intervals(network, region)
    by_window = tightened(network, region, boxes)
    calls = []
    monkeypatch.setattr(_tightening, "windows_start", lambda *args: calls.append(args))
    whole = tightened(network, region, boxes)
    assert calls
    for window, image, interval in zip(by_window, whole, boxes, strict=True):
        # The same sums in another order, and a rounding error for fewer terms.
        torch.testing.assert_close(window[0], image[0], atol=1e-10, rtol=0)
        torch.testing.assert_close(window[1], image[1], atol=1e-10, rtol=0)
        assert (window[0] >= interval[0]).all()
    assert (by_window[-1][0] > boxes[-1][0]).all()


# Against optimisation ------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [(4, 10, 3), (4, 8, 6, 3)], ids=str)
def test_bounds_stay_below_the_exact_minimum_of_a_relu_network(widths):
    for seed in range(3):
        module = relu_network(widths, seed)
        X = torch.randn(2, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
        y = module(X).argmax(1)
        exact, _ = programs(module, X, y, 0.5)
        for method in METHODS:
            bounds = margin_bounds(module, X, y, ThreatModel(0.5), method).numpy()
            # HiGHS is feasible to 1e-6 and optimal to a gap of 1e-4 relative.
            assert (bounds <= exact + 1e-4 * (1 + abs(exact))).all()


def test_best_slopes_approach_the_linear_relaxation():
    """With one hidden layer the best lower slopes attain the relaxed program, its dual."""
    gaps = {"crown": [], "alpha-crown": []}
    for seed in range(5):
        module = relu_network((4, 12, 3), seed)
        X = torch.randn(2, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
        y = module(X).argmax(1)
        _, relaxed = programs(module, X, y, 0.5)
        for method, gap in gaps.items():
            bounds = margin_bounds(module, X, y, ThreatModel(0.5), method).numpy()
            assert (bounds <= relaxed + 1e-6).all()  # HiGHS' feasibility tolerance
            gap.append(relaxed - bounds)
    # A fixed number of ascent steps leaves some of the gap; nine tenths of it must be gone.
    assert np.sum(gaps["alpha-crown"]) < 0.1 * np.sum(gaps["crown"])


def test_a_shared_ramp_in_front_costs_nothing_under_linf():
    """A box stays a box through the ramp: bounds are those of the network on the ramp's output."""
    inner = relu_network((6, 9, 3), 0)
    ramped = nn.Sequential(nn.Hardtanh(0.25, 0.75), inner)
    X = torch.rand(4, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    y = ramped(X).argmax(1)
    whole = margin_bounds(ramped, X, y, ThreatModel(0.25), "crown")
    low, high = (X - 0.25).clip(0.25, 0.75), (X + 0.25).clip(0.25, 0.75)
    for i in range(4):
        centre, radius = (low[i] + high[i]) / 2, (high[i] - low[i]) / 2
        after = margin_bounds(
            inner, centre[None], y[i : i + 1], ThreatModel(radius.numpy()), "crown"
        )
        # The two sets differ by the float32 rounding of stored points, 5e-7 of the inputs.
        torch.testing.assert_close(after[0], whole[i], atol=1e-5, rtol=0)


def test_a_small_budget_goes_to_the_units_that_cost_the_margins_most(make_network, monkeypatch):
    """Worth: the area of the triangle around a unit, times the weights that read the unit."""
    module, X = make_network("dense").to(DOUBLE).eval().requires_grad_(False), samples()
    network, region = Network(module, X), make_region(X, ThreatModel(0.05))
    boxes = intervals(network, region)
    low, high = boxes[4]
    monkeypatch.setattr(_tightening, "AFFORDABLE", 2 * 5 * network.products(4))
    tight = tightened(network, region, boxes)[4]
    changed = (tight[0] > low) | (tight[1] < high)
    assert (changed.sum(1) == 5).all()
    slope, weight = module[4].negative_slope, module[5].weight
    chord = (high - slope * low) / (high - low)
    lower = torch.where(high > -low, 1.0, slope)
    middle = (low + high) / 2
    gap = slope * low + chord * (middle - low) - lower * middle
    worth = gap * (weight[:1] - weight).abs().sum(0)
    worth = torch.where((low < 0) & (high > 0), worth, 0.0)
    assert (worth[changed].reshape(5, 5).amin(1) >= worth.masked_fill(changed, 0).amax(1)).all()


@pytest.mark.parametrize("method", ["crown", "alpha-crown"])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_stopping_at_what_is_certified_certifies_the_same(kind, method, make_network):
    module, X = make_network(kind).to(DOUBLE).eval().requires_grad_(False), samples(12)
    y, threat = module(X).argmax(1), ThreatModel(0.03 if kind == "dense" else 0.1)
    network = Network(module, X)
    thorough = bound_batch([network], X, y, threat, method)
    quick = bound_batch([network], X, y, threat, method, settle=True)
    certified = [(m > 0).sum(1) == 9 for m in (thorough, quick)]
    assert torch.equal(*certified)
    assert 0 < certified[0].sum() < 12
    logits = module(X)
    assert (quick <= logits.gather(1, y[:, None]) - logits).all()


def test_pooling_before_a_rectifier_is_the_same_network():
    module = seeded(IMAGES["pooling"]).to(DOUBLE).eval().requires_grad_(False)
    X = torch.rand(3, 2, 8, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    network, out = Network(module, X), X
    assert [type(layer).__name__ for layer in network.layers[:6]] == [
        *("Conv", "MaxPool", "LeakyReLU"),
        *("Conv", "MaxPool", "LeakyReLU"),
    ]
    for layer in network.layers:
        out = layer.forward(out)
    torch.testing.assert_close(out, module(X))


def test_the_clip_box_makes_l2_bounds_tighter(make_network):
    module, X = make_network("dense").to(DOUBLE).eval(), samples()
    y = module(X).argmax(1)
    rivals = torch.arange(10) != y[:, None]
    free = margin_bounds(module, X, y, ThreatModel(0.5, "l2"), "crown")[rivals]
    boxed = margin_bounds(module, X, y, ThreatModel(0.5, "l2", (0, 1)), "crown")[rivals]
    assert (boxed > free).float().mean() > 0.9


def test_epsilon_per_feature_freezes_features(make_network):
    """Bounds for epsilon 0 outside the first half are those of the network on that half."""
    module, X = make_network("dense").to(DOUBLE).eval(), samples(2)
    first, y = module[1], module(X).argmax(1)
    half = nn.Linear(32, 40).to(DOUBLE)
    for i in range(2):
        with torch.no_grad():
            half.weight.copy_(first.weight[:, :32])
            half.bias.copy_(first.bias + X[i, 32:] @ first.weight[:, 32:].T)
        part = nn.Sequential(half, *module[2:])
        epsilon = np.r_[np.full(32, 0.1), np.zeros(32)]
        for norm in RADII:
            whole = margin_bounds(
                module, X[i : i + 1], y[i : i + 1], ThreatModel(epsilon, norm), "crown"
            )
            alone = margin_bounds(
                part, X[i : i + 1, :32], y[i : i + 1], ThreatModel(0.1, norm), "crown"
            )
            # The frozen half is stored in float32 too, 5e-7 of its values.
            torch.testing.assert_close(whole, alone, atol=1e-4, rtol=0)
