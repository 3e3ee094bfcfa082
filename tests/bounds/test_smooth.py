"""Smooth activations: lines and boxes enclose them, certificates hold, and they are tight."""

import numpy as np
import pytest
import torch
from scipy.special import erfc
from torch import nn

from sklearn_robust.attacks import PGD, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import (
    GELU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
    certifiable,
    certified_network,
    margin_bounds,
)
from sklearn_robust.bounds._margins import METHODS

DOUBLE = torch.float64


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def gelu(z):
    """In terms of erfc, which is exact to the last bits on both sides."""
    return z * erfc(-np.asarray(z, dtype=float) / np.sqrt(2)) / 2


def softplus(z):
    """As torch computes it: the identity above 20."""
    return np.where(z > 20, z, np.log1p(np.exp(np.minimum(z, 20))))


# In more bits than the layers have.
KINDS = {
    "tanh": (Tanh(), np.tanh, nn.Tanh),
    "sigmoid": (Sigmoid(), sigmoid, nn.Sigmoid),
    "silu": (SiLU(), lambda z: z * sigmoid(z), nn.SiLU),
    "gelu": (GELU(), gelu, nn.GELU),
    "softplus": (Softplus(), softplus, nn.Softplus),
}


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
    with np.errstate(over="ignore"):
        above, below = lines[2] * z + lines[3] - exact(z), exact(z) - lines[0] * z - lines[1]
    step = (high - low) / 1000
    # Between two points of the grid, a function of curvature at most 1 falls by their distance
    # squared; beyond |z| = 40 the functions are straight.
    near = np.maximum(abs(low), abs(high)) < (19 if kind == "softplus" else 40)
    assert (above.min(0)[near] <= step[near] ** 2 + 1e-12).all()
    assert (below.min(0)[near] <= step[near] ** 2 + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_close_where_the_interval_is_short_or_flat(kind):
    layer, _, _ = KINDS[kind]
    for centre in (-6.0, -1.0, 0.0, 0.5, 5.0):
        for width in (1e-1, 1e-2, 1e-3):
            low = torch.tensor([centre], dtype=DOUBLE)
            lines, middle = layer.enclose(low, low + width, 0.0), low + width / 2
            gap = (lines.upper_slope - lines.lower_slope) * middle + lines.upper - lines.lower
            assert gap <= width**2  # a second derivative of 1 at most


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
    for epsilon, closeness in ((0.3, 0.02), (0.03, 0.0002)):
        bounds = margin_bounds(module, X, y, ThreatModel(epsilon), "crown")
        grid = X + epsilon * torch.linspace(-1, 1, 4001, dtype=DOUBLE)
        logits = module(grid.reshape(-1, 1)).reshape(21, 4001, 2)
        rival, own = 1 - y, torch.arange(21)
        truth = (logits[own, :, y] - logits[own, :, rival]).amin(1)
        lower = bounds[own, rival]
        assert (lower <= truth).all()
        assert (truth - lower < closeness).all()


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


def test_the_other_gelu_is_refused():
    module = nn.Sequential(nn.Linear(2, 2), nn.GELU(approximate="tanh"))
    assert "approximate='tanh'" in certifiable(module, torch.zeros(1, 2))
