"""What rounding may do to a network in fewer bits, held against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import certified_network, spacing_of
from sklearn_robust.bounds._evaluation import evaluation_error
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import make_region

DOUBLE = torch.float64


def exact_forward(module, x):
    for layer in module:
        if isinstance(layer, nn.ReLU):
            x = [max(v, Fraction(0)) for v in x]
            continue
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        x = [
            sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b))
            for row, b in rows
        ]
    return x


def network(dtype, scale):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)
        )
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(scale)
    return module.to(dtype).requires_grad_(False)


def errors(module, X, threat, spacing):
    precise = nn.Sequential(*module).to(DOUBLE)
    x = X.to(DOUBLE)
    return evaluation_error([Network(precise, x)], make_region(x, threat), spacing)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_no_evaluation_is_further_from_the_exact_network(dtype, scale):
    module = network(dtype, scale)
    X = torch.rand(20, 40, generator=torch.Generator().manual_seed(1), dtype=DOUBLE).to(dtype)
    moved = (X + torch.rand(X.shape, generator=torch.Generator().manual_seed(2)) / 5).to(dtype)
    evaluated = module(moved)
    error = errors(network(dtype, scale), X, ThreatModel(0.21), spacing_of(module))
    off = torch.tensor(
        [
            [
                float(abs(Fraction(v) - e))
                for v, e in zip(out, exact_forward(module, x), strict=True)
            ]
            for out, x in zip(
                evaluated.tolist(), [[Fraction(v) for v in x] for x in moved.tolist()], strict=True
            )
        ],
        dtype=DOUBLE,
    )
    assert (off <= error).all()
    assert off.max() > 0
    # Worst cases of every sum, against errors that mostly cancel.
    if dtype == torch.float32:
        assert (error < 1e4 * off.max()).all()


def test_convolutions_batch_norm_and_pooling_stay_within_the_error():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3), nn.Hardtanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 4),
        ).eval().requires_grad_(False)  # fmt: skip
        # Statistics and shift that cancel: what is left is small, what rounds is large.
        module[1].running_mean.fill_(1e3)
        module[1].bias.fill_(1e3)
        module[1].running_var.fill_(1.0)
        module[1].weight.fill_(1.0)
    X = torch.rand(10, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    evaluated = module(X).double()
    precise = module.to(DOUBLE)
    x = X.double()
    error = evaluation_error(
        [Network(precise, x)], make_region(x, ThreatModel(0.0)), np.finfo(np.float32).eps
    )
    off = (evaluated - precise(x)).abs()
    assert (off <= error).all()
    assert off.max() > 1e-6  # more than what the small sums alone would round to


def test_a_margin_below_the_error_is_not_certified():
    module = network(torch.float32, 1.0)
    X = torch.rand(50, 40, generator=torch.Generator().manual_seed(1)).numpy()
    y = module(torch.as_tensor(X)).argmax(1).numpy()
    for spacing in (None, float(np.finfo(np.float32).eps)):
        assert certified_network(module, X, y, ThreatModel(0.001), spacing=spacing).mean() > 0.9
    assert not certified_network(module, X, y, ThreatModel(0.001), spacing=0.1).any()
    assert not certified_network(module, X, y, ThreatModel(0.001), least=10.0).any()


def test_the_spacing_is_that_of_the_coarsest_products():
    single, double = np.finfo(np.float32).eps, np.finfo(np.float64).eps
    assert spacing_of(nn.ReLU()) == single
    assert spacing_of(nn.Linear(2, 2)) == single
    assert spacing_of(nn.Linear(2, 2).double()) == double
    assert spacing_of(nn.Sequential(nn.Linear(2, 2).double(), nn.Linear(2, 2))) == single
    assert spacing_of(nn.Linear(2, 2).bfloat16()) == 2**-7
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert spacing_of(nn.Linear(2, 2)) == 2**-7
        assert spacing_of(nn.Linear(2, 2).double()) == double
    finally:
        torch.set_float32_matmul_precision(before)
