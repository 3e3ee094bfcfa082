"""Smooth activations: lines and boxes enclose them, certificates hold, and they are tight."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import erfc
from torch import nn

from sklearn_robust.attacks import PGD, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import (
    ELU,
    GELU,
    Hardswish,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    certified_network,
    interval_bounds,
    margin_bounds,
)
from sklearn_robust.bounds._margins import METHODS

DOUBLE = torch.float64


# scale and alpha of nn.SELU
SELU = 1.6732632423543772, 1.0507009873554805


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def gelu(z):
    """In terms of erfc, which is exact to the last bits on both sides."""
    return z * erfc(-np.asarray(z, dtype=float) / np.sqrt(2)) / 2


def softplus(z):
    """As torch computes it: the identity above 20."""
    return np.where(z > 20, z, np.log1p(np.exp(np.minimum(z, 20))))


def gelu_tanh(z):
    """With 1 + tanh(u) as it is without cancellation."""
    return z * sigmoid(
        2 * np.sqrt(2 / np.longdouble(np.pi)) * (z + np.longdouble("0.044715") * z**3)
    )


def elu(z, alpha=1.0, width=1.0, scale=1.0):
    return np.where(z > 0, scale * z, scale * alpha * np.expm1(np.minimum(z, 0) / width))


def shrink(z, by):
    return np.sign(z) * np.maximum(abs(z) - by, 0)


# In more bits than the layers have.
KINDS = {
    "tanh": (Tanh(), np.tanh, nn.Tanh),
    "sigmoid": (Sigmoid(), sigmoid, nn.Sigmoid),
    "silu": (SiLU(), lambda z: z * sigmoid(z), nn.SiLU),
    "gelu": (GELU(), gelu, nn.GELU),
    "softplus": (Softplus(), softplus, nn.Softplus),
    "mish": (Mish(), lambda z: z * np.tanh(np.logaddexp(z, 0)), nn.Mish),
    "gelu-tanh": (GELU("tanh"), gelu_tanh, partial(nn.GELU, "tanh")),
    "softsign": (Softsign(), lambda z: z / (1 + abs(z)), nn.Softsign),
    "elu": (ELU(), elu, nn.ELU),
    "elu-0.3": (ELU(0.3), partial(elu, alpha=0.3), partial(nn.ELU, 0.3)),
    "celu-2": (ELU(2, 2), partial(elu, alpha=2, width=2), partial(nn.CELU, 2.0)),
    "selu": (ELU(SELU[0], scale=SELU[1]), partial(elu, alpha=SELU[0], scale=SELU[1]), nn.SELU),
    "hardswish": (Hardswish(), lambda z: z * np.clip(z + 3, 0, 6) / 6, nn.Hardswish),
    "softshrink": (Softshrink(0.7), partial(shrink, by=0.7), partial(nn.Softshrink, 0.7)),
    "tanhshrink": (Tanhshrink(), lambda z: z - np.tanh(z), nn.Tanhshrink),
}
KINKS = {"elu-0.3": [0], "selu": [0], "hardswish": [-3, 3], "softshrink": [-0.7, 0.7]}
CURVATURE = {"selu": 2, "softsign": 2}


def intervals(n=400):
    """Pairs of ends of all sizes and places, and none at all between them."""
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.normal(0, size, (n, 2)), axis=1) for size in (0.1, 1, 3, 10, 100)]
    middle = rng.normal(0, 3, (n, 1))
    parts += [middle + width * np.array([0, 1]) for width in (0, 1e-13, 1e-7, 1e-4, 1e-2)]
    parts += [np.array([[-1e6, 1e6], [-1e6, -1e5], [-800, 0], [0, 800], [0, 0]])]
    return np.concatenate(parts)


@pytest.mark.parametrize("unit", [0.0, float(np.finfo(float).eps)])
@pytest.mark.parametrize("kind", KINDS)
def test_lines_and_boxes_enclose_the_function(kind, unit):
    layer, exact, _ = KINDS[kind]
    low, high = intervals().T
    box = torch.as_tensor(low), torch.as_tensor(high)
    lower_slope, lower, upper_slope, upper = (t.numpy() for t in layer.enclose(*box, unit)[:4])
    least, most = (t.numpy() for t in layer.interval(*box, unit))
    # Without rounding taken into account, what remains is that of these formulas.
    room = 0.0 if unit else 1e-14 * (1 + np.maximum(abs(low), abs(high)))
    with np.errstate(over="ignore"):
        for share in np.linspace(0, 1, 101):
            z = np.minimum(low + (high - low) * np.longdouble(share), high)
            g = exact(z)
            assert (lower_slope * z + lower <= g + room).all()
            assert (upper_slope * z + upper >= g - room).all()
            assert ((least <= g + room) & (g - room <= most)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_lines_touch_the_function(kind):
    layer, exact, _ = KINDS[kind]
    low, high = intervals().T
    box = torch.as_tensor(low), torch.as_tensor(high)
    lines = [t.numpy() for t in layer.enclose(*box, 0.0)[:4]]
    z = low + (high - low) * np.linspace(0, 1, 1001)[:, None]
    kinks = [np.clip(np.full_like(low, kink), low, high) for kink in KINKS.get(kind, ())]
    z = np.concatenate([z, *(kink[None] for kink in kinks)])
    with np.errstate(over="ignore"):
        above, below = lines[2] * z + lines[3] - exact(z), exact(z) - lines[0] * z - lines[1]
    step = (high - low) / 1000
    # Between two points of the grid, a function of curvature at most 1 falls by their distance
    # squared, one of curvature 2 by twice that; beyond |z| = 40 the functions are straight.
    near = np.maximum(abs(low), abs(high)) < (19 if kind == "softplus" else 40)
    room = CURVATURE.get(kind, 1) * step[near] ** 2 + 1e-12
    assert (above.min(0)[near] <= room).all()
    assert (below.min(0)[near] <= room).all()


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_close_where_the_interval_is_short_or_flat(kind):
    layer, _, _ = KINDS[kind]
    for centre in (-6.0, -1.0, 0.0, 0.5, 5.0):
        for width in (1e-1, 1e-2, 1e-3):
            low = torch.tensor([centre], dtype=DOUBLE)
            lines, middle = layer.enclose(low, low + width, 0.0), low + width / 2
            gap = (lines.upper_slope - lines.lower_slope) * middle + lines.upper - lines.lower
            # A second derivative of 1 at most, or of 2.
            assert gap <= CURVATURE.get(kind, 1) * width**2


def network(kind, seed=0):
    activation = KINDS[kind][2]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 3, padding=1), activation(),
            nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), activation(), nn.Flatten(),
            nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), activation(), nn.Linear(8, 3),
        )  # fmt: skip
        for p in module.parameters():
            p.data *= 2
    return module.to(DOUBLE).requires_grad_(False)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_and_draws_stay_above_every_bound(kind, norm, adversarial_points):
    module = network(kind)
    X = torch.rand(6, 16, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    y = module(X).argmax(1)
    threat = ThreatModel({"linf": 0.1, "l2": 0.25, "l1": 0.6}[norm], norm, (0, 1))
    bounds = [margin_bounds(module, X, y, threat, method) for method in METHODS]
    rivals = torch.arange(3) != y[:, None]
    assert (bounds[1] > bounds[0])[rivals].any()
    assert (bounds[2] > bounds[1])[rivals].any()
    assert (bounds[3] >= bounds[2] - 1e-12)[rivals].all()
    attack = PGD(30, n_restarts=2, loss=Margin(), only_correct=False)
    points = [attack.perturb(TorchModel(module, 3), X, y, threat, torch.Generator().manual_seed(0))]
    for point in (*points, *adversarial_points(threat, X, 50)):
        logits = module(point)
        for bound in bounds:
            assert (bound <= logits.gather(1, y[:, None]) - logits).all()


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_one_hidden_layer_meet_the_truth_in_one_dimension(kind):
    """The exact minimum over a fine grid, plus what a Lipschitz constant leaves between points."""
    activation = KINDS[kind][2]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = nn.Sequential(nn.Linear(1, 20), activation(), nn.Linear(20, 2)).to(DOUBLE)
    X = torch.linspace(-2, 2, 21, dtype=DOUBLE)[:, None]
    y = module(X).argmax(1)
    # Beside a kink the gap falls with the radius, else with its square.
    near = (0.2, 0.02) if kind in KINKS else (0.02, 0.0002)
    for epsilon, closeness in zip((0.3, 0.03), near, strict=True):
        bounds = margin_bounds(module, X, y, ThreatModel(epsilon), "crown")
        grid = X + epsilon * torch.linspace(-1, 1, 4001, dtype=DOUBLE)
        logits = module(grid.reshape(-1, 1)).reshape(21, 4001, 2)
        rival, own = 1 - y, torch.arange(21)
        truth = (logits[own, :, y] - logits[own, :, rival]).amin(1)
        lower = bounds[own, rival]
        assert (lower <= truth).all()
        assert (truth - lower < CURVATURE.get(kind, 1) * closeness).all()


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_have_gradients_for_certified_training(kind):
    module = network(kind).to(torch.float32).requires_grad_()
    X = torch.rand(6, 16, generator=torch.Generator().manual_seed(0))
    y = module(X).argmax(1)
    for method in ("ibp", "crown-ibp", "crown"):
        bounds = margin_bounds(module, X, y, ThreatModel(0.05), method, rounding=False)
        gradients = torch.autograd.grad(bounds.sum(), list(module.parameters()))
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize(
    "function",
    [
        torch.tanh,
        torch.sigmoid,
        nn.functional.tanh,
        nn.functional.gelu,
        nn.functional.silu,
        nn.functional.softplus,
        nn.functional.logsigmoid,
    ],
)
def test_functions_are_followed_as_the_modules_are(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.b(function(self.a(x)))

    net, X = Net(), torch.rand(10, 4).numpy()
    y = net(torch.as_tensor(X)).argmax(1).numpy()
    assert certified_network(net, X, y, ThreatModel(1e-3)).mean() > 0.5


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_softplus_has_a_step_where_torch_leaves_the_formula(beta):
    """Above the threshold it is the identity, 1e-2 less here than just below."""
    layer, module = Softplus(beta, 3.0), nn.Softplus(beta, 3.0)
    z = torch.linspace(-10, 10, 20001, dtype=DOUBLE)
    values = module(z)
    for width in (1, 10, 300, 5000, 20000):
        low, high = z[:-width], z[width:]
        least, most = layer.interval(low, high, 1e-16)
        lines = layer.enclose(low, high, 1e-16)
        for share in np.linspace(0, 1, 41):
            at = torch.arange(len(low)) + round(share * width)
            x, g = z[at], values[at]
            assert ((least <= g) & (g <= most)).all()
            assert (lines.lower_slope * x + lines.lower <= g).all()
            assert (lines.upper_slope * x + lines.upper >= g).all()


@pytest.mark.parametrize(
    "kind",
    ["elu", "elu-0.3", "celu-2", "selu", "hardswish", "softsign", "softshrink", "tanhshrink"],
)
def test_lines_are_as_close_as_any_in_a_fine_search(kind):
    """In the middle of the interval: of all slopes and the best intercept that a grid allows."""
    layer, exact, _ = KINDS[kind]
    rng = np.random.default_rng(0)
    low, high = np.sort(rng.normal(0, 2.5, (60, 2)), axis=1).T
    lines = layer.enclose(torch.as_tensor(low), torch.as_tensor(high), 0.0)
    middle = (low + high) / 2
    z = low + (high - low) * np.linspace(0, 1, 801)[:, None]
    g = exact(z)
    least = np.full(len(low), -np.inf)
    most = np.full(len(low), np.inf)
    for slope in np.linspace(-1, 2, 601):
        least = np.maximum(least, (g - slope * z).min(0) + slope * middle)
        most = np.minimum(most, (g - slope * z).max(0) + slope * middle)
    ours = [lines[k].numpy() * middle + lines[k + 1].numpy() for k in (0, 2)]
    # Mean distance to the best line, as a share of the mean distance of the best lines.
    width = (most - least).mean()
    assert (least - ours[0]).mean() <= 0.1 * width
    assert (ours[1] - most).mean() <= 0.1 * width


def test_torch_in_single_precision_stays_within_the_error_that_is_said():
    """Also where the output is much smaller than what is taken off each other on the way."""
    z = torch.cat([torch.logspace(-30, 1.5, 4000), torch.linspace(-8, 8, 4001)])
    z = torch.cat([z, -z])
    spacing = torch.finfo(torch.float32).eps
    for kind, (layer, exact, module) in KINDS.items():
        off = abs(module()(z).numpy() - exact(z.numpy().astype(np.longdouble)))
        size = abs(exact(z.numpy().astype(float)))
        said = spacing * ((layer.inexact + 1) * size + layer.inexact_at_zero)
        # Beside the rounding of a sum that the input comes from.
        said = said + 8 * spacing * abs(z.numpy())
        assert (off <= said).all(), kind


def test_layers_by_way_of_others_compute_what_torch_does():
    z = torch.linspace(-9, 9, 2001, dtype=DOUBLE)[:, None]
    for module in (nn.Hardsigmoid(), nn.RReLU().eval(), nn.LogSigmoid()):
        least, most = interval_bounds(module, z, z)
        value = module(z)
        assert ((least <= value) & (value <= most)).all()
        assert (most - least).max() < 1e-12
