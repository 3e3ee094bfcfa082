"""Means of networks: their bounds are means of bounds, and hold for the mean."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import (
    UnsupportedLayerError,
    certified_correct,
    interval_bounds,
    margin_bounds,
    register_average,
)
from sklearn_robust.bounds._averages import networks_of

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")


class Ensemble(nn.Module):
    def __init__(self, *networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, X):
        return torch.stack([network(X) for network in self.networks]).mean(0)


register_average(Ensemble, lambda ensemble: list(ensemble.networks))


@pytest.fixture
def ensemble(make_network):
    """Return two networks behind a layer of their own, as one module in float64."""
    parts = [make_network("dense", seed) for seed in (0, 1)]
    return nn.Sequential(nn.Hardtanh(0, 1), Ensemble(*parts)).double().eval()


@pytest.fixture
def batch(held_out):
    X, y = (torch.as_tensor(part) for part in held_out)
    return X[:12], y[:12]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("method", METHODS)
def test_margins_of_a_mean_are_means_of_margins(ensemble, batch, method, norm):
    X, y = batch
    threat = ThreatModel(0.02, norm, (0, 1))
    front, parts = ensemble[0], ensemble[1].networks
    each = [margin_bounds(nn.Sequential(front, part), X, y, threat, method) for part in parts]
    mean = margin_bounds(ensemble, X, y, threat, method)
    # Each bound is a computation of its own, but for the budget that the two share.
    torch.testing.assert_close(mean, (each[0] + each[1]) / 2, rtol=1e-9, atol=1e-9)
    without = ~nn.functional.one_hot(y, 10).bool()
    assert (mean < (each[0] + each[1]) / 2)[without].all()  # outwards by the mean's rounding


@pytest.mark.parametrize("method", METHODS)
def test_no_point_of_the_threat_set_is_below_the_bound(ensemble, batch, method, adversarial_points):
    X, y = batch
    threat = ThreatModel(0.05, clip_values=(0, 1))
    least = margin_bounds(ensemble, X, y, threat, method)
    for point in adversarial_points(threat, X, 20):
        logits = ensemble(point)
        assert (logits.gather(1, y[:, None]) - logits >= least).all()


def test_boxes_of_a_mean_hold_its_outputs(ensemble, batch, adversarial_points):
    X, _ = batch
    threat = ThreatModel(0.05, clip_values=(0, 1))
    low, high = interval_bounds(ensemble, (X - 0.05).clip(0, 1), (X + 0.05).clip(0, 1))
    for point in adversarial_points(threat, X, 20):
        logits = ensemble(point)
        assert ((low <= logits) & (logits <= high)).all()
    parts = [interval_bounds(p, (X - 0.05).clip(0, 1), (X + 0.05).clip(0, 1))
             for p in ensemble[1].networks]  # fmt: skip
    torch.testing.assert_close(low, (parts[0][0] + parts[1][0]) / 2)


@pytest.mark.parametrize("method", METHODS)
def test_certificates_are_the_signs_of_the_margins(fc, held_out, method):
    X, y = held_out
    other = copy.deepcopy(fc.module_)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1 + 0.1 * torch.sin(torch.arange(p.numel())).reshape(p.shape))
    mean = Ensemble(fc.module_, other)
    # Where intervals prove some, tighter bounds prove all.
    threat = ThreatModel(0.01 if method == "ibp" else 0.05, clip_values=(0, 1))
    certified = certified_correct(mean, X, y, threat, method)
    double = copy.deepcopy(mean).double()
    margins = margin_bounds(double, torch.as_tensor(X), torch.as_tensor(y), threat, method)
    margins = margins.detach().numpy()
    margins[np.arange(len(y)), y] = np.inf
    assert 0 < certified.sum() < len(y)
    assert np.array_equal(certified, (margins > 0).all(1))


def test_means_within_means_are_taken_apart(make_network):
    a, b, c = (make_network("dense", seed) for seed in range(3))
    nested = nn.Sequential(Ensemble(nn.Sequential(nn.Identity(), Ensemble(a, b)), c))
    assert [part[-1][-1] if len(part[-1]) == 2 else part[-1] for part in networks_of(nested)] == [
        a, b, c]  # fmt: skip


def test_a_mean_before_other_layers_has_no_bounds(make_network):
    middle = nn.Sequential(Ensemble(make_network("dense")), nn.ReLU())
    with pytest.raises(UnsupportedLayerError, match="no bounds for Ensemble"):
        margin_bounds(middle, torch.zeros(1, 64), torch.zeros(1).long(), ThreatModel(0.1))


def test_hooks_of_a_mean_are_refused(make_network):
    mean = Ensemble(make_network("dense"), make_network("dense", 1))
    for module in (mean, nn.Sequential(nn.Identity(), mean)):
        hook = module.register_forward_hook(lambda module, inputs, output: 2 * output)
        with pytest.raises(UnsupportedLayerError, match="has forward hooks"):
            margin_bounds(module, torch.zeros(1, 64), torch.zeros(1).long(), ThreatModel(0.1))
        hook.remove()


def test_a_subclass_with_a_forward_of_its_own_is_no_mean():
    class Sum(Ensemble):
        def forward(self, X):
            return 2 * super().forward(X)

    module = Sum(nn.Linear(2, 2))
    assert networks_of(module) == [module]
