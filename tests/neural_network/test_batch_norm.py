"""Batch norm: by the statistics of the batch in training, bounds included; else by averages."""

import copy
import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel
from sklearn_robust.metrics import certified_score
from sklearn_robust.neural_network import (
    CrownIntervalTraining,
    IntervalTraining,
    MixedIntervalTraining,
    SmallBoxTraining,
    TrainingContext,
)
from sklearn_robust.neural_network._batches import Batches, TrainingData

EPSILON = 0.1
# Sums of a few hundred products in float64, in another order.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture
def net():
    """Return a ReLU network with batch norm, in float64 and in train mode."""
    module = nn.Sequential(
        nn.Linear(8, 12, bias=False), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4)
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0.2, 0.5, generator=generator)
    return module.train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    X = torch.rand(16, 8, generator=generator, dtype=torch.float64)
    return X, torch.randint(4, (16,), generator=generator)


def context(share=1.0):
    threat = ThreatModel(EPSILON, "linf", (0, 1))
    return TrainingContext(threat, torch.Generator().manual_seed(2), share, None)


def worst_logits(net, X, y, low, high):
    """Return upper bounds of ``f_j - f_y``, batch norm by the statistics of X, in plain torch."""
    first, norm, _, last = net
    z = X @ first.weight.T
    scale = norm.weight / (z.var(0, correction=0) + norm.eps).sqrt()
    weight, bias = first.weight * scale[:, None], norm.bias - z.mean(0) * scale
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    low, high = (
        (low @ up.T + high @ down.T + bias).relu(),
        (high @ up.T + low @ down.T + bias).relu(),
    )
    rows = last.weight[None] - last.weight[y][:, None]
    up, down = rows.clamp(min=0), rows.clamp(max=0)
    return (
        (up @ high[..., None] + down @ low[..., None])[..., 0] + last.bias - last.bias[y][:, None]
    )


def ball(X, epsilon=EPSILON):
    return (X - epsilon).clip(0, 1), (X + epsilon).clip(0, 1)


@pytest.mark.parametrize("kappa", [0.0, 0.4])
def test_bounds_normalise_by_the_statistics_of_the_clean_batch(net, batch, kappa):
    X, y = batch
    twin = copy.deepcopy(net)
    result = IntervalTraining(kappa=kappa, regularization=0).loss(net, X, y, context())
    expected = worst_logits(twin, X, y, *ball(X))
    torch.testing.assert_close(result.logits, expected, **CLOSE)
    losses = (1 - kappa) * functional.cross_entropy(expected, y, reduction="none")
    losses = losses + kappa * functional.cross_entropy(twin(X), y, reduction="none")
    torch.testing.assert_close(result.losses, losses, **CLOSE)
    # Through the statistics as well, without which such training goes astray.
    got = torch.autograd.grad(result.losses.sum(), list(net.parameters()))
    for a, b in zip(got, torch.autograd.grad(losses.sum(), list(twin.parameters())), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_lines_normalise_by_them_too(net, batch):
    X, y = batch
    halves = [copy.deepcopy(net) for _ in range(2)]
    folded = _folded(net, X)
    lines = CrownIntervalTraining(kappa=0, regularization=0, beta=1.0)
    ours = lines.loss(halves[0], X, y, context()).logits
    torch.testing.assert_close(ours, lines.loss(folded, X, y, context()).logits, **CLOSE)


def _folded(net, X):
    """Return the network with batch norm as its running averages, set to the statistics of X."""
    folded = copy.deepcopy(net).eval()
    with torch.no_grad():
        z = X @ folded[0].weight.T
        folded[1].running_mean.copy_(z.mean(0))
        folded[1].running_var.copy_(z.var(0, correction=0))
    return folded


def test_small_boxes_normalise_by_the_clean_batch_and_mixtures_by_the_attacked_one(net, batch):
    X, y = batch
    attack = PGD(3, random_start=False)
    twin = copy.deepcopy(net)
    result = SmallBoxTraining(box=0.4, attack=attack).loss(net, X, y, context())
    threat = ThreatModel(0.6 * EPSILON, "linf", (0, 1))
    generator = torch.Generator().manual_seed(2)
    centre = attack.perturb(TorchModel(twin, 4), X, y, threat, generator)
    low, high = (
        ball(X)[0].clip(min=centre - 0.4 * EPSILON),
        ball(X)[1].clip(max=centre + 0.4 * EPSILON),
    )
    torch.testing.assert_close(result.logits, worst_logits(twin, X, y, low, high), **CLOSE)

    mixed, twin = copy.deepcopy(twin), copy.deepcopy(twin)
    result = MixedIntervalTraining(alpha=0.3, attack=attack).loss(mixed, X, y, context())
    whole = ThreatModel(EPSILON, "linf", (0, 1))
    X_adv = attack.perturb(TorchModel(twin, 4), X, y, whole, generator)
    expected = worst_logits(twin, X_adv, y, *ball(X))
    torch.testing.assert_close(result.logits, expected, **CLOSE)


@pytest.mark.parametrize(
    "objective",
    [IntervalTraining(kappa=0), IntervalTraining(), SmallBoxTraining(), MixedIntervalTraining()],
    ids=["ibp", "ibp-mixed", "sabr", "mtl-ibp"],
)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_averages_move_once_per_batch(net, batch, objective, share):
    X, y = batch
    objective = type(objective)(**vars(objective))
    if hasattr(objective, "attack"):
        objective.attack = PGD(2)
    objective.loss(net, X, y, context(share))
    assert int(net[1].num_batches_tracked) == 1


def test_evaluation_goes_by_the_averages(net, batch):
    X, y = batch
    with torch.no_grad():
        net[1].running_mean.fill_(0.3)
        net[1].running_var.fill_(1.7)
    before = copy.deepcopy(net.state_dict())
    net.eval()
    worst = IntervalTraining().validation_loss(net, X, y, context()).logits
    folded = copy.deepcopy(net)
    scale = folded[1].weight / np.sqrt(1.7 + folded[1].eps)
    plain = nn.Sequential(nn.Linear(8, 12).double(), nn.ReLU(), folded[3])
    with torch.no_grad():
        plain[0].weight.copy_(folded[0].weight * scale[:, None])
        plain[0].bias.copy_(folded[1].bias - 0.3 * scale)
    expected = IntervalTraining().validation_loss(plain, X, y, context()).logits
    torch.testing.assert_close(worst, expected, **CLOSE)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# In the classifiers ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


SETTINGS = {"epsilon": 0.05, "clip_values": (0, 1), "max_epochs": 3, "lr": 3e-3, "random_state": 0}


def test_every_relu_has_its_norm(digits):
    X, y = digits
    X, y = X[:600], y[:600]
    for clf in (
        RobustFCClassifier((8, 6), batch_norm=True, **SETTINGS),
        RobustCNNClassifier(
            filters=(4, 6), hidden_layer_sizes=(12, 10), batch_norm=True, **SETTINGS
        ),
    ):
        layers = [m for m in clf.fit(X, y).module_.modules() if not list(m.children())]
        for before, layer in itertools.pairwise(layers):
            if isinstance(layer, nn.ReLU):
                assert isinstance(before, nn.BatchNorm1d | nn.BatchNorm2d)
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                assert before.bias is None  # the norm has one
    plain = RobustFCClassifier((8,), **SETTINGS).fit(X, y)
    assert not any(isinstance(m, nn.BatchNorm1d) for m in plain.module_.modules())


@pytest.mark.parametrize("training", ["pgd", "trades", "ibp", "crown-ibp", "sabr", "mtl-ibp"])
def test_certificates_attacks_and_predictions_are_in_order(digits, training):
    X, y = digits
    clf = RobustFCClassifier(
        (32,), batch_norm=True, training=training, pgd_steps=2, **{**SETTINGS, "max_epochs": 8}
    ).fit(X[:1000], y[:1000])
    proven = certified_score(clf, X[1000:1200], y[1000:1200], epsilon=0.01, method="crown-ibp")
    attacked = clf.robust_score(X[1000:1200], y[1000:1200], epsilon=0.01)
    clean = clf.score(X[1000:1200], y[1000:1200])
    assert 0 < proven <= attacked <= clean and clean > 0.7


def test_a_single_sample_left_over_joins_the_batch_before():
    X = torch.arange(9.0)[:, None]
    data = TrainingData(X, torch.zeros(9, dtype=torch.long), torch.ones(9), X.dtype)
    sizes = [len(b.X) for b in Batches(data, 4, join_one=True)]
    assert sizes == [4, 5] and len(Batches(data, 4, join_one=True)) == 2
    assert [len(b.X) for b in Batches(data, 4)] == [4, 4, 1]
    assert [len(b.X) for b in Batches(data, 3, join_one=True)] == [3, 3, 3]
    seen = torch.cat([b.X for b in Batches(data, 2, join_one=True)])
    assert torch.equal(seen, X)


def test_any_number_of_samples_trains(digits):
    X, y = digits
    clf = RobustFCClassifier((8,), batch_norm=True, batch_size=32, training="ibp", **SETTINGS)
    assert clf.fit(X[:97], y[:97]).module_(torch.tensor(X[:1]).float()).isfinite().all()


def test_batches_of_one_are_an_error(digits):
    X, y = digits
    clf = RobustFCClassifier((8,), batch_norm=True, batch_size=1, **SETTINGS)
    with pytest.raises(ValueError, match="Batch norm cannot be trained on batches of 1 sample"):
        clf.fit(X[:20], y[:20])
    module = nn.Sequential(nn.Linear(64, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 10))
    clf = RobustNeuralNetClassifier(module, batch_size=1, **SETTINGS)
    with pytest.raises(ValueError, match="Pass more, or a network without batch norm"):
        clf.fit(X[:20], y[:20])


@pytest.mark.parametrize("value", ["yes", 2, None])
def test_batch_norm_is_true_or_false(digits, value):
    X, y = digits
    with pytest.raises(ValueError, match="batch_norm must be True or False"):
        RobustFCClassifier((8,), batch_norm=value, **SETTINGS).fit(X, y)
