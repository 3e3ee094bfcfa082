"""Nonlinear layers of one's own: that of the documentation, and one that also falls."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import PGD, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import (
    Lines,
    Nonlinear,
    _translation,
    certified_network,
    interval_bounds,
    margin_bounds,
    register_layer,
)
from sklearn_robust.bounds._margins import METHODS
from sklearn_robust.neural_network import IntervalTraining, TrainingContext

DOUBLE = torch.float64
PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Squares(Nonlinear):
    """``z^2``: chord above, tangent in the middle below."""

    increasing = False
    inexact = 1

    def forward(self, x):
        return x * x

    def interval(self, low, high, unit):
        a, b = super().interval(low, high, unit)
        least = torch.where((low < 0) & (high > 0), 0.0, torch.minimum(a, b))
        off = 4 * self.inexact * unit * torch.maximum(low * low, high * high)
        return least - off, torch.maximum(a, b) + off

    def enclose(self, low, high, unit):
        middle = (low + high) / 2
        guard = self.guard(low * low, high * high, 4 * unit)
        return Lines(2 * middle, -middle * middle - guard, low + high, -low * high + guard)


@pytest.fixture(scope="module")
def registered():
    """The layer of the documentation, by its own code, and `Square`; known as long as needed."""
    before = dict(_translation._EQUIVALENTS)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [b for b in blocks if "(Nonlinear)" in b]
    names = {"torch": torch, "nn": nn}
    exec(block.partition("elu = ")[0], names)
    register_layer(Square, lambda layer: [Squares()])
    yield {"elu": names["ExponentialUnit"](), "square": Squares()}
    _translation._EQUIVALENTS.clear()
    _translation._EQUIVALENTS.update(before)


def network(kind, seed=0):
    activation = {"elu": nn.ELU, "square": Square}[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 3, 3, padding=1), activation(),
            nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), activation(), nn.Flatten(),
            nn.Linear(4, 6), activation(), nn.Linear(6, 3),
        )  # fmt: skip
    return module.to(DOUBLE).requires_grad_(False)


FORMULAS = {"elu": lambda z: np.where(z > 0, z, np.expm1(z.clip(None, 0))), "square": np.square}


@pytest.mark.parametrize("kind", FORMULAS)
def test_lines_and_boxes_enclose_the_function(kind, registered):
    rng = np.random.default_rng(0)
    ends = np.sort(rng.uniform(-3, 3, (5000, 2)), axis=1)
    narrow = ends[:, :1] + [0, 1e-13]
    low, high = np.concatenate([ends, narrow, ends[:, [0, 0]]]).T
    z = np.minimum(low + (high - low) * np.linspace(0, 1, 101)[:, None], high)
    unit = np.finfo(float).eps
    layer, box = registered[kind], (torch.as_tensor(low), torch.as_tensor(high))
    lower_slope, lower, upper_slope, upper = (t.numpy() for t in layer.enclose(*box, unit)[:4])
    least, most = (t.numpy() for t in layer.interval(*box, unit))
    g = FORMULAS[kind](z)
    assert (lower_slope * z + lower <= g).all()
    assert (upper_slope * z + upper >= g).all()
    assert ((least <= g) & (g <= most)).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("kind", ["elu", "square"])
def test_attacks_and_draws_stay_above_every_bound(kind, norm, registered, adversarial_points):
    module = network(kind)
    X = torch.rand(5, 16, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    y = module(X).argmax(1)
    threat = ThreatModel({"linf": 0.1, "l2": 0.25, "l1": 0.6}[norm], norm, (0, 1))
    bounds = [margin_bounds(module, X, y, threat, method) for method in METHODS]
    rivals = torch.arange(3) != y[:, None]
    # Each is tighter than the one before on some sample, where there is something to gain.
    assert (bounds[1] > bounds[0])[rivals].any()
    assert (bounds[2] > bounds[1])[rivals].any()
    attack = PGD(30, n_restarts=2, loss=Margin(), only_correct=False)
    generator = torch.Generator().manual_seed(0)
    points = [attack.perturb(TorchModel(module, 3), X, y, threat, generator)]
    for point in (*points, *adversarial_points(threat, X, 50)):
        logits = module(point)
        for bound in bounds:
            assert (bound <= logits.gather(1, y[:, None]) - logits).all()


def test_steep_lines_are_rounded_outwards(registered):
    """Squares of large numbers that cancel, held against rational arithmetic."""
    first, last = nn.Linear(6, 4).to(DOUBLE), nn.Linear(4, 2).to(DOUBLE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in (*first.parameters(), *last.parameters()):
            p.copy_(1e4 * torch.randn(p.shape, generator=generator, dtype=DOUBLE))
    module = nn.Sequential(first, Square(), last).requires_grad_(False)
    X = torch.rand(20, 6, generator=generator, dtype=DOUBLE)
    threat, y = ThreatModel(1e-9), torch.zeros(20, dtype=torch.long)
    low, high = interval_bounds(module, X, X)
    bounds = {method: margin_bounds(module, X, y, threat, method) for method in METHODS}
    for i, x in enumerate(X.tolist()):
        z = [dot(row, x) + Fraction(b) for row, b in zip(*tensors(first), strict=True)]
        out = [dot(row, [v * v for v in z]) + Fraction(b) for row, b in zip(*tensors(last),
               strict=True)]  # fmt: skip
        for j in range(2):
            assert Fraction(low[i, j].item()) <= out[j] <= Fraction(high[i, j].item())
        for method in METHODS:
            assert Fraction(bounds[method][i, 1].item()) <= out[0] - out[1]


def tensors(layer):
    return layer.weight.tolist(), layer.bias.tolist()


def dot(row, x):
    return sum((Fraction(w) * Fraction(v) for w, v in zip(row, x, strict=True)), Fraction(0))


def test_certificates_and_certified_training_know_the_layer(registered, digits):
    X, y = digits
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 32), nn.ELU(), nn.Linear(32, 10))
    generator = torch.Generator().manual_seed(0)
    objective, optimizer = IntervalTraining(kappa=0), torch.optim.Adam(module.parameters(), 5e-3)
    samples, labels = torch.as_tensor(X[:1200]).float(), torch.as_tensor(y[:1200])
    for epoch in range(15):
        context = TrainingContext(ThreatModel(0.05 * epoch / 14), generator)
        for batch in torch.randperm(1200, generator=generator).split(100):
            loss = objective.loss(module, samples[batch], labels[batch], context).losses.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    proven = certified_network(module, X[1200:1400], y[1200:1400], ThreatModel(0.05), "ibp")
    assert proven.mean() > 0.5
