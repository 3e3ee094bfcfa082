"""Networks with branches: what is followed and what is refused, and bounds held against points."""

import copy
import itertools
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import nn
from torch.nn import functional

from sklearn_robust import RobustNeuralNetClassifier, certified_score, robust_score
from sklearn_robust.attacks import PGD, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import (
    UnsupportedLayerError,
    certifiable,
    certified_network,
    interval_bounds,
    margin_bounds,
)
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._margins import METHODS, difference_specs
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import make_region
from sklearn_robust.bounds._tightening import Tightening

DOUBLE = torch.float64
RADII = {"linf": 0.04, "l2": 0.2, "l1": 0.5}


class BasicBlock(nn.Module):
    """As in torchvision: sums and rectifiers in place, and a convolution beside some blocks."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = None
        if stride > 1:
            beside = nn.Conv2d(n_in, n_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(beside, nn.BatchNorm2d(n_out))

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width))
        self.blocks = nn.ModuleList([BasicBlock(width, width, 1), BasicBlock(width, 2 * width, 2)])
        self.fc = nn.Linear(2 * width, 3)

    def forward(self, x):
        x = functional.relu(self.stem(x.view(x.size(0), 1, 6, 6)))
        for block in self.blocks:
            x = block(x)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), 1))


class PreActivation(nn.Module):
    """The input is read by three layers, and one of them is the last sum."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(), nn.Linear(36, 20), nn.LeakyReLU(0.1))
        self.back, self.out = nn.Linear(20, 36), nn.Linear(36, 3)
        self.skip = nn.Linear(36, 3, bias=False)

    def forward(self, x):
        return self.out(x + 0.5 * self.back(self.inner(x))) - self.skip(x)


class Dense(nn.Module):
    """As in DenseNet: every stage reads what all before it have made."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList(nn.Linear(36 + 8 * i, 8) for i in range(3))
        self.out = nn.Linear(60, 3)
        self.shift = nn.Parameter(torch.linspace(-0.2, 0.2, 8))

    def forward(self, x):
        for stage in self.stages:
            x = torch.cat([x, (stage(x) - self.shift).relu()], dim=1)
        return self.out(x)


class Inception(nn.Module):
    """Branches of several kinds over one image, joined by channels."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(1, 2, 1)
        self.after = nn.Conv2d(6, 4, 3, stride=2)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        x = x.reshape(-1, 1, 6, 6)
        pooled = functional.max_pool2d(functional.relu(self.wide(x)), 3, 1, 1)
        joined = torch.cat([pooled, self.narrow(x).clamp(-0.5, 0.5), x], 1)
        return self.out(functional.leaky_relu(self.after(joined), 0.2).flatten(1))


class Shared(nn.Module):
    """One layer used three times, and a branch that leads nowhere."""

    def __init__(self):
        super().__init__()
        self.first, self.step, self.out = nn.Linear(36, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        z = self.first(x)
        self.step(z).relu()
        for _ in range(3):
            z = z + torch.relu(self.step(z)) / 2
        return self.out(-z)


KINDS = {k.__name__: k for k in (ResNet, PreActivation, Dense, Inception, Shared)}


def network(kind, seed=0):
    """The network in float64 with statistics and weights drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = KINDS[kind]().to(DOUBLE)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.uniform_(-0.2, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.3, 1.0)
    return module.eval().requires_grad_(False)


def samples(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 36, generator=generator, dtype=DOUBLE) * 1.5 - 0.25).clip(0, 1)


def values(net, x):
    """All nodes of a `Network` at a batch."""
    nodes = [x]
    for layer, sources in zip(net.layers, net.sources, strict=True):
        nodes.append(layer.forward(*(nodes[i] for i in sources)))
    return nodes


def margins(module, x, y):
    logits = module(x)
    return logits.gather(1, y[:, None]) - logits


# What is followed ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_computes_what_the_module_does(kind):
    module = network(kind)
    X = torch.randn(7, 36, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    net = Network(module, samples(1))
    # The same operations, but for batch norm as one product.
    torch.testing.assert_close(values(net, X.clone())[-1], module(X.clone()))
    assert all(max(sources) <= k for k, sources in enumerate(net.sources))
    assert any(len(sources) > 1 for sources in net.sources)


def test_what_leads_nowhere_is_left_out_and_shared_layers_stand_where_they_are_used():
    net = Network(network("Shared"), samples(1))
    names = [type(layer).__name__ for layer in net.layers]
    assert names == ["Dense", *(["Dense", "LeakyReLU", "Scale", "Sum"] * 3), "Scale", "Dense"]


def test_pooling_before_a_rectifier_is_found_in_branches_too():
    net = Network(network("Inception"), samples(1))
    names = [type(layer).__name__ for layer in net.layers]
    assert names[1:4] == ["Conv", "MaxPool", "LeakyReLU"]

    class Both(nn.Module):
        """The rectifier is read twice: it must stay where it is."""

        def forward(self, x):
            z = (x - 0.5).unflatten(1, (1, 6, 6)).relu()
            return torch.cat([functional.max_pool2d(z, 3, 1, 1), z], 1).flatten(1)

    net = Network(Both(), samples(1))
    torch.testing.assert_close(values(net, samples())[-1], Both()(samples()))
    assert [type(layer).__name__ for layer in net.layers][2:4] == ["LeakyReLU", "MaxPool"]


class Arithmetic(nn.Module):
    """Every operation with constants that is known, by operators, functions and methods."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1, 36))
        self.matrix = nn.Parameter(torch.randn(36, 36, generator=torch.Generator().manual_seed(0)))

    def forward(self, x):
        x = 1 - 2 * x / self.scale.exp() + self.scale[None]
        x = (x @ self.matrix - 3.0).mul(0.5).add(x, alpha=2)
        x -= self.scale
        x *= -1
        x = functional.hardtanh(x.clip(min=-5), -4, 4).clamp_(-3, 3.5).reshape(len(x), -1, 6, 6)
        x = functional.pad(functional.avg_pool2d(x, 2), (1, 0, 0, 1)).contiguous()
        x = functional.conv2d(x, self.scale[:8].view(2, 1, 2, 2), padding=1, stride=2)
        x = functional.dropout(functional.relu6(x), 0.5, self.training)
        return torch.cat([x.mean((2, 3)), x.flatten(1).unsqueeze(1).squeeze(1).neg()], -1)


def test_every_operation_of_torch_computes_the_same_as_layers():
    module = Arithmetic().to(DOUBLE).eval().requires_grad_(False)
    net = Network(module, samples(1))
    X = torch.randn(7, 36, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(values(net, X.clone())[-1], module(X.clone()))
    low, high = interval_bounds(module, X - 0.1, X + 0.1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(50):
        out = module(X + 0.1 * (2 * torch.rand(X.shape, generator=generator, dtype=DOUBLE) - 1))
        assert ((low <= out) & (out <= high)).all()


def test_following_leaves_the_module_as_it_was_and_sees_it_in_eval_mode():
    module = network("ResNet").train()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    attributes = {m: dict(m.__dict__) for m in module.modules()}
    net = Network(module, samples(1))
    assert all(m.training for m in module.modules())
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert all(m.__dict__ == attributes[m] for m in module.modules())
    torch.testing.assert_close(values(net, samples())[-1], module.eval()(samples()))


def test_other_threads_may_use_the_module_while_it_is_followed():
    module, X = network("ResNet"), samples()
    expected, wrong, stop = module(X), [], threading.Event()

    def predict():
        while not stop.is_set():
            if not torch.equal(module(X), expected):
                wrong.append(True)

    thread = threading.Thread(target=predict)
    thread.start()
    nets = [Network(module, X) for _ in range(30)]
    stop.set()
    thread.join()
    assert not wrong
    assert all(net.sources == nets[0].sources for net in nets)


def test_gradients_reach_parameters_through_arithmetic():
    module = Dense().to(DOUBLE)
    X, y = samples(), torch.tensor([0, 1, 2, 0])

    def loss():
        return -margin_bounds(module, X, y, ThreatModel(0.02), "crown-ibp").sum()

    loss().backward()
    h = 1e-6
    with torch.no_grad():
        for i in range(8):
            values = []
            for sign in (1, -1):
                module.shift[i] += sign * h
                values.append(loss())
                module.shift[i] -= sign * h
            difference = (values[0] - values[1]) / (2 * h)
            # Central differences leave h^2 and rounding over h.
            assert difference.item() == pytest.approx(module.shift.grad[i].item(), abs=1e-6)


# What is refused -------------------------------------------------------------------------------


def module_of(function):
    class Net(nn.Module):
        def forward(self, x):
            return function(x)

    return Net()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.erf(x), "Net, which calls erf."),
        (lambda x: x * x, "which calls mul on two tensors that depend on the input."),
        (lambda x: 1 / x, "followed"),
        (lambda x: x if x.sum() > 0 else -x, "which calls sum."),
        (lambda x: -x if x == 0 else x, "which calls eq."),
        (lambda x: -x if x else x, "it branches on values."),
        (lambda x: (x, x), "which returns tuple."),
        (lambda x: x.mean(1), "calls mean over other axes than rows and columns of images."),
        (lambda x: x.T, "it asks a tensor for T."),
        (lambda x: x.detach(), "which calls detach."),
        (lambda x: x[:, :3], "followed"),
        (lambda x: x.reshape(-1, 3), "which calls reshape across samples."),
        (lambda x: torch.cat([x, x]), "which calls cat across samples."),
        (lambda x: torch.cat([x, torch.zeros(1, 2)], 1), "with a tensor that is constant."),
        (lambda x: functional.dropout(x, 0.1), "with training=True, which is random."),
        (lambda x: x + torch.zeros(3, 36), "which calls add on a tensor of another shape."),
        (lambda x: x + x.unflatten(1, (36, 1)), "on tensors of different shapes."),
        (lambda x: functional.leaky_relu(x, 2.0), "leaky_relu with negative_slope=2.0."),
        (lambda x: x.clamp(1, 0), "which calls clamp with other than two numbers"),
        (lambda x: x.add_(1).view(4, 9), "which calls view across samples."),
        (lambda x: float(x.norm()) * x, "which calls norm."),
        (lambda x: copy.deepcopy(x) + x, "it copies a tensor."),
        (lambda x: torch.randn_like(x) + x, "which calls randn_like."),
        (lambda x: torch.from_numpy(x.numpy()), "which calls numpy."),
    ],
)
def test_what_cannot_be_followed_is_named(function, message):
    module, x = module_of(function), torch.zeros(1, 36)
    assert message in certifiable(module, x)
    with pytest.raises(UnsupportedLayerError, match="There are no bounds for Net, "):
        margin_bounds(module, x, torch.tensor([0]), ThreatModel(0.1))


def test_a_tensor_overwritten_through_a_view_is_not_read_again():
    def through_a_view(x):
        z = 2 * x
        z.view(-1, 6, 6).relu_()
        return z

    def by_itself(x):
        z = 2 * x
        other = z
        kept = z.clone()
        z.relu_()
        return z + other - kept

    x = samples() - 0.5
    assert "overwritten through a view" in certifiable(module_of(through_a_view), x[:1])
    net = Network(module_of(by_itself), x)
    torch.testing.assert_close(values(net, x)[-1], by_itself(x))


def test_a_rectifier_in_place_changes_what_the_skip_connection_reads():
    """torch's ``x + block(x)`` adds relu(x), not x, where the block begins with one in place."""
    block = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(36, 36)).to(DOUBLE)
    module, x = module_of(lambda x: (lambda z: block(z) + z)(1.0 * x)), samples() - 0.5
    module.block = block
    net = Network(module, x)
    torch.testing.assert_close(values(net, x)[-1], module(x))


def test_a_tensor_that_the_module_kept_is_not_read_in_another_pass():
    kept = []

    def remembering(x):
        kept.append(x)
        return kept[0] + x

    module, x = module_of(remembering), torch.zeros(1, 36)
    assert certifiable(module, x) is None
    assert "a tensor of an earlier pass" in certifiable(module, x)


def test_other_kinds_of_forward_are_refused():
    x = torch.zeros(1, 36)
    replaced = nn.Linear(36, 3)
    replaced.forward = lambda x: x
    hooked = nn.Sequential(nn.ReLU(), nn.Linear(36, 3))
    hooked[1].register_forward_hook(lambda *args: None)
    assert "whose forward is not its class's" in certifiable(replaced, x)
    assert certifiable(hooked, x).startswith("Linear (at '1') has forward hooks")
    assert "Hardshrink (at '0.1'), which calls hardshrink." in certifiable(
        nn.Sequential(nn.Sequential(nn.Linear(36, 3), nn.Hardshrink())), x
    )


# Bounds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", KINDS)
def test_attacks_and_draws_stay_above_every_bound(kind, norm, clip_values, adversarial_points):
    module, X = network(kind), samples()
    y = module(X.clone()).argmax(1)
    threat = ThreatModel(RADII[norm], norm, clip_values)
    bounds = {method: margin_bounds(module, X, y, threat, method) for method in METHODS}
    for weaker, stronger in itertools.pairwise(METHODS):
        assert (bounds[weaker] <= bounds[stronger]).all()
    attack = PGD(30, n_restarts=2, loss=Margin(), only_correct=False)
    generator = torch.Generator().manual_seed(0)
    points = [attack.perturb(TorchModel(module, 3), X, y, threat, generator)]
    for point in (*points, *adversarial_points(threat, X, 30)):
        assert (bounds["alpha-crown"] <= margins(module, point, y)).all()


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("kind", KINDS)
def test_no_point_leaves_the_box_of_any_node(kind, norm, adversarial_points):
    module, X = network(kind), samples()
    threat = ThreatModel(RADII[norm], norm, (0, 1))
    net, region = Network(module, X), make_region(X, threat)
    loose = intervals(net, region)
    work = Tightening(net, region, loose)
    work.run(difference_specs(torch.zeros(4, dtype=torch.long), 3, X))
    widths = [float((boxes[-1][1] - boxes[-1][0]).sum()) for boxes in (loose, work.boxes)]
    if (kind, norm) == ("PreActivation", "linf"):
        # Its one undecided layer reads what boxes describe exactly.
        assert widths[1] == widths[0]
    else:
        assert widths[1] < widths[0]
    for point in adversarial_points(threat, X, 20):
        for value, (low, high) in zip(values(net, point), work.boxes, strict=True):
            assert ((low <= value) & (value <= high)).all()


def test_branches_that_cancel_do_so_in_linear_bounds():
    """``W x - (W x - b)`` is b whatever x is: backwards exactly, by intervals not at all."""
    module = nn.Module()
    step = nn.Linear(36, 3).to(DOUBLE).requires_grad_(False)

    class Cancelling(nn.Module):
        def __init__(self):
            super().__init__()
            self.step = step

        def forward(self, x):
            z = self.step(x)
            return functional.relu(z + 100) - (z + 100) + self.step.bias

    module, X = Cancelling(), samples()
    y = torch.tensor([0, 1, 2, 0])
    exact = step.bias[y][:, None] - step.bias
    lines = margin_bounds(module, X, y, ThreatModel(0.1), "crown-ibp")
    torch.testing.assert_close(lines, exact, atol=1e-8, rtol=0)
    low, high = interval_bounds(module, X - 0.1, X + 0.1)
    assert ((high - low) > 0.1).all()


class Small(nn.Module):
    """Two inputs, six rectifiers in two residual blocks."""

    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)])
        self.outer = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])

    def forward(self, x):
        for inner, outer in zip(self.inner, self.outer, strict=True):
            x = x + outer(torch.relu(inner(x)))
        return x


def exact_minimum(module, x, epsilon, spec):
    """The least ``<spec, f>`` over a box, one linear program for each pattern of the rectifiers."""
    inner = [(m.weight.numpy(), m.bias.numpy()) for m in module.inner]
    outer = [(m.weight.numpy(), m.bias.numpy()) for m in module.outer]
    best = np.inf
    for pattern in itertools.product((0, 1), repeat=6):
        A, b, rows, limits = np.eye(2), np.zeros(2), [], []
        for k in range(2):
            active = np.array(pattern[3 * k : 3 * k + 3])
            W, c = inner[k][0] @ A, inner[k][0] @ b + inner[k][1]
            sign = np.where(active, -1.0, 1.0)  # active: W x + c >= 0
            rows.append(sign[:, None] * W)
            limits.append(-sign * c)
            A = A + outer[k][0] @ (active[:, None] * W)
            b = b + outer[k][0] @ (active * c) + outer[k][1]
        box = [(v - epsilon, v + epsilon) for v in x]
        found = linprog(spec @ A, np.concatenate(rows), np.concatenate(limits), bounds=box)
        if found.status == 0:
            best = min(best, found.fun + spec @ b)
    return best


def test_bounds_stay_below_the_exact_minimum_of_a_residual_network():
    spec, gaps = np.array([1.0, -1.0]), []
    for seed in range(12):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Small().to(DOUBLE).requires_grad_(False)
        x = torch.randn(1, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
        exact = exact_minimum(module, x[0].numpy(), 0.4, spec)
        bounds = [
            margin_bounds(module, x, torch.tensor([0]), ThreatModel(0.4), method)[0, 1].item()
            for method in METHODS
        ]
        # HiGHS is feasible to 1e-7; the sets are wider by float32's rounding of stored points.
        assert max(bounds) <= exact + 1e-6
        clean = float(module(x)[0] @ torch.tensor(spec))
        gaps.append([(exact - bound) / (clean - exact) for bound in bounds])
    ibp, _, _, alpha = np.mean(gaps, axis=0)
    assert alpha < 0.2 * ibp
    # Six rectifiers over a small box: most of the fall from the clean margin is real.
    assert alpha < 0.2


def test_rounding_is_covered_where_branches_meet():
    """Large weights whose sums cancel, held against rational arithmetic."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Small().to(DOUBLE).requires_grad_(False)
        for p in module.parameters():
            p.mul_(1e6)
    X = torch.rand(10, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    low, high = interval_bounds(module, X, X)
    plain = interval_bounds(module, X, X, rounding=False)
    y, violations = torch.zeros(10, dtype=torch.long), 0
    bounds = [margin_bounds(module, X, y, ThreatModel(1e-12), method) for method in METHODS]
    for i in range(10):
        x = [Fraction(v) for v in X[i].tolist()]
        for inner, outer in zip(module.inner, module.outer, strict=True):
            z = [max(v, Fraction(0)) for v in exactly(inner, x)]
            x = [a + b for a, b in zip(x, exactly(outer, z), strict=True)]
        for j in range(2):
            assert Fraction(low[i, j].item()) <= x[j] <= Fraction(high[i, j].item())
            violations += not Fraction(plain[0][i, j].item()) <= x[j] <= plain[1][i, j].item()
        for bound in bounds:
            assert Fraction(bound[i, 1].item()) <= x[0] - x[1]
    assert violations  # without the outward move: the check can fail


def exactly(layer, x):
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b))
            for row, b in rows]  # fmt: skip


def test_residual_networks_are_certified_and_trained_on_bounds(digits):
    X, y = digits

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.out = nn.Linear(64, 32), nn.Linear(32, 10)
            self.inner = nn.Sequential(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU())

        def forward(self, x):
            x = self.first(x).relu()
            return self.out(x + self.inner(x))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Residual()
    clf = RobustNeuralNetClassifier(
        module, training="ibp", epsilon=0.05, clip_values=(0, 1), max_epochs=15, lr=5e-3,
        random_state=0,
    ).fit(X[:1200], y[:1200])  # fmt: skip
    X, y = X[1200:1500], y[1200:1500]
    proven = certified_score(clf, X, y, epsilon=0.05)
    assert 0.6 < proven <= robust_score(clf, X, y, epsilon=0.05) <= clf.score(X, y)
    by_method = {
        method: certified_network(clf.module_, X, y, ThreatModel(0.05), method)
        for method in ("ibp", "crown-ibp", "auto")
    }
    assert not (by_method["ibp"] & ~by_method["crown-ibp"]).any()
    assert not (by_method["crown-ibp"] & ~by_method["auto"]).any()
