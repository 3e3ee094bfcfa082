"""The traversal: what is recognised, what is refused, and the formulas of each affine layer."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sklearn_robust.bounds import (
    Scale,
    UnsupportedLayerError,
    interval_bounds,
    margin_bounds,
    register_layer,
)
from sklearn_robust.bounds._graph import Graph

AFFINE = {
    "linear": (nn.Linear(6, 4), (6,)),
    "linear without bias": (nn.Linear(6, 4, bias=False), (6,)),
    "linear on rows": (nn.Linear(3, 4), (2, 3)),
    "conv": (nn.Conv2d(2, 3, 3), (2, 6, 5)),
    "conv stride leaves a rest": (nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 6, 7)),
    "conv dilation": (nn.Conv2d(1, 2, 3, dilation=2, padding=(2, 1)), (1, 7, 6)),
    "conv groups": (nn.Conv2d(4, 6, (3, 1), groups=2, stride=(1, 3)), (4, 5, 8)),
    "conv same": (nn.Conv2d(1, 2, (3, 5), padding="same"), (1, 5, 6)),
    "conv valid": (nn.Conv2d(1, 2, 2, padding="valid", bias=False), (1, 5, 6)),
    "avgpool": (nn.AvgPool2d(2), (2, 5, 4)),
    "avgpool overlapping": (nn.AvgPool2d(3, 2, padding=1), (2, 6, 6)),
    "zeropad": (nn.ZeroPad2d((1, 2, 0, 3)), (2, 3, 3)),
    "flatten": (nn.Flatten(), (2, 3, 1)),
    "unflatten": (nn.Unflatten(1, (1, 2, 3)), (6,)),
    "batchnorm1d": (nn.BatchNorm1d(5), (5,)),
    "batchnorm2d": (nn.BatchNorm2d(3), (3, 4, 2)),
    "batchnorm plain": (nn.BatchNorm2d(3, affine=False), (3, 4, 2)),
}


@pytest.fixture(params=AFFINE, ids=lambda name: name.replace(" ", "-"))
def affine(request):
    """A torch layer in float64 with numbers in all its tensors, the sample shape, our layer."""
    module, shape = AFFINE[request.param]
    module = module.to(torch.float64).eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 0.3)
    for name, buffer in module.named_buffers():
        if name == "running_var":
            buffer.abs_()
    (layer,) = Graph(module, torch.zeros(1, *shape, dtype=torch.float64)).layers
    return module, shape, layer


def matrix(function, shape):
    """The matrix of a linear map on samples of `shape`, from its values at the unit vectors."""
    n = torch.Size(shape).numel()
    unit = torch.eye(n, dtype=torch.float64).reshape(n, *shape)
    return function(unit).detach().flatten(1).T


def test_affine_layers_match_torch_and_their_matrix(affine):
    module, shape, layer = affine
    x = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = module(x)
    # The same operations on the same numbers: only the order of summation may differ.
    torch.testing.assert_close(layer.forward(x), out)
    zero = module(torch.zeros(1, *shape, dtype=torch.float64))
    W = matrix(lambda z: module(z) - zero, shape)
    absolute = layer.absolute(x.abs())
    torch.testing.assert_close(absolute.flatten(1), x.abs().flatten(1) @ W.abs().T)
    a = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(layer.transpose(a, shape).flatten(1), a.flatten(1) @ W)
    gain = layer.gain().to(out).expand(out.shape[1:]).flatten()
    assert (gain >= W.abs().sum(1) * (1 - 1e-12)).all()
    bias = layer.bias()
    expected = torch.zeros_like(zero[0]) if bias is None else bias.expand(out.shape[1:])
    torch.testing.assert_close(expected, zero[0])


def test_terms_count_the_largest_sum_of_products(affine):
    module, shape, layer = affine
    zero = module(torch.zeros(1, *shape, dtype=torch.float64))
    W = matrix(lambda z: module(z) - zero, shape)
    products = int((W != 0).sum(1).max())
    if layer.terms == 0:
        assert (W.abs().sum(1) <= 1).all()  # it only moves numbers, or pads with zeros
    else:
        assert layer.terms >= products


def test_nested_sequentials_are_flattened_and_identities_dropped():
    module = nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 3), nn.Identity())),
        nn.Dropout(0.5),
        nn.ReLU6(),
    )
    layers = Graph(module, torch.zeros(1, 2, 2)).layers
    assert [type(layer).__name__ for layer in layers] == ["Reshape", "Dense", "Clamp"]


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (
            nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Hardshrink())),
            r"Hardshrink \(at '1.0'\)",
        ),
        (nn.Sequential(nn.Conv2d(1, 1, 3, padding_mode="circular")), r"Conv2d \(at '0'\)"),
        (nn.Conv2d(1, 1, 2, padding="same"), "even kernel"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), "ceil_mode"),
        (nn.AvgPool2d(3, padding=1, count_include_pad=False), "count_include_pad"),
        (nn.LeakyReLU(-0.5), r"slope in \[0, 1\]"),
        (nn.PReLU(4, init=1.5), r"slopes in \[0, 1\]"),
        (nn.BatchNorm1d(4, track_running_stats=False), "other samples"),
        (nn.Flatten(0), "first axis"),
    ],
)
def test_unsupported_layers_are_named_with_position_and_remedy(module, named):
    with pytest.raises(UnsupportedLayerError, match=named):
        interval_bounds(module, torch.zeros(1, 4), torch.ones(1, 4))


def test_a_subclass_with_its_own_forward_is_what_that_does():
    class Doubling(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    class Squashing(nn.Linear):
        def forward(self, x):
            return super().forward(x).erf()

    class Renamed(nn.Linear):
        pass

    x = torch.zeros(1, 2)
    with pytest.raises(UnsupportedLayerError, match="Squashing, which calls erf"):
        interval_bounds(Squashing(2, 2), x, x)
    doubling = Doubling(2, 2)
    for end in interval_bounds(doubling, x, x):
        torch.testing.assert_close(end, 2 * doubling.bias[None], atol=1e-4, rtol=0)
    low, high = interval_bounds(Renamed(2, 2), x, x)
    assert (low <= high).all()


def test_hooks_are_refused_as_they_may_change_the_output():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    module[1].register_forward_hook(lambda layer, args, out: out + 1)
    with pytest.raises(UnsupportedLayerError, match=r"ReLU \(at '1'\) has forward hooks"):
        interval_bounds(module, torch.zeros(1, 2), torch.ones(1, 2))


def test_batch_norm_over_sequences_is_refused():
    with pytest.raises(UnsupportedLayerError, match="scales 1 axes"):
        interval_bounds(nn.BatchNorm1d(3).eval(), torch.zeros(2, 3, 3), torch.ones(2, 3, 3))


def test_a_registered_layer_gets_gradients_to_its_parameters():
    class Ramp(nn.Module):
        def __init__(self):
            super().__init__()
            self.low = nn.Parameter(torch.tensor(0.2))

        def forward(self, x):
            return ((x - self.low) / 0.5).clip(0, 1)

    register_layer(Ramp, lambda layer: [Scale(2.0, -layer.low / 0.5), nn.Hardtanh(0, 1)])
    ramp = Ramp()
    x = torch.tensor([[0.05, 0.4, 0.9]])
    low, high = interval_bounds(ramp, x - 0.1, x + 0.1)
    # Interval bounds of a monotone function are its values at the ends, up to float32 rounding.
    torch.testing.assert_close(low, ramp(x - 0.1), atol=1e-5, rtol=0)
    torch.testing.assert_close(high, ramp(x + 0.1), atol=1e-5, rtol=0)
    (low.sum() + high.sum()).backward()
    # Two of the six ends, 0.3 and 0.5, lie on the slope: at each, d ramp / d low = -2.
    assert ramp.low.grad.item() == pytest.approx(-4.0, rel=1e-5)


def test_bounds_import_without_torch():
    code = "import sys, sklearn_robust.bounds; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_margins_of_no_samples_have_a_column_per_class():
    from sklearn_robust.attacks import ThreatModel

    empty = margin_bounds(
        nn.Linear(3, 4), torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), ThreatModel(0.1)
    )
    assert empty.shape == (0, 4)
