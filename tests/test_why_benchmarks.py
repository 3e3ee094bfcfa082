"""The benchmarks of the report's open questions: their networks, measures and objective."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import attack_every, why_cnn
from benchmarks._why_cnn_networks import (
    NETWORKS,
    RampEach,
    Unshared,
    convolutional,
    dense,
    first_stage,
    silence,
)
from sklearn_robust import RobustFCClassifier
from sklearn_robust.neural_network import AdversarialCrossEntropy, InputRamp


@pytest.fixture
def images():
    return torch.rand(6, 784, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("size", "stride", "padding"), [(1, 1, 0), (4, 2, 1)])
def test_an_unshared_layer_with_equal_kernels_is_a_convolution(images, size, stride, padding):
    conv = nn.Conv2d(1, 5, size, stride=stride, padding=padding)
    layer = Unshared(1, 5, size, stride, padding, side=28)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.reshape(5, -1).T.expand_as(layer.weight))
        layer.bias.copy_(conv.bias.expand_as(layer.bias))
        X = images.reshape(-1, 1, 28, 28)
        # Two orders of summation of 16 float32 numbers below 1.
        torch.testing.assert_close(layer(X), conv(X), rtol=0, atol=1e-6)


def test_a_ramp_for_each_pixel_begins_as_the_shared_one(images):
    each, shared = RampEach(0.2, 0.7, 784), InputRamp(0.2, 0.7, learnable=True)
    torch.testing.assert_close(each(images), shared(images), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in each.parameters()) == 2 * 784


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_map_flat_images_to_logits(images, name):
    make, params = NETWORKS[name]
    assert make(n_classes=10, **params)(images).shape == (6, 10)


@pytest.mark.parametrize(
    ("make", "patch"),
    [
        (lambda: dense(10, (40,)), (slice(None), slice(None))),
        (lambda: dense(10, (7,), first="shared", filters=40), (5, 5)),
        (lambda: convolutional(10, (40, 4)), (slice(9, 13), slice(9, 13))),
        (lambda: convolutional(10, (40, 4), unshared=1), (slice(9, 13), slice(9, 13))),
    ],
    ids=["dense", "pixels", "convolution", "unshared convolution"],
)
def test_a_unit_is_off_up_to_its_threshold_and_on_beyond_it(make, patch):
    network = make().double()
    radius, weights = silence(network)
    if len(radius) > 40:  # units of an unshared layer: those of the place (5, 5) of 14 x 14
        here = slice(40 * (5 * 14 + 5), 40 * (5 * 14 + 6))
        radius, weights = radius[here], weights[here]
    tested = 0
    for unit in range(40):
        if not 0 < radius[unit] < 1e6:  # on without any change, or only negative weights
            continue
        tested += 1
        for factor, on in ((0.999, False), (1.001, True)):
            image = torch.zeros(28, 28, dtype=torch.float64)
            hurts = (weights[unit] > 0).double() * radius[unit] * factor
            image[patch] = hurts.reshape(image[patch].shape)
            out = first_stage(network)(image.reshape(1, -1))
            out = out[0, :, 5, 5] if out.ndim == 4 else out[0]
            assert bool(out[unit] > 0) is on
    assert tested > 5


def test_units_without_thresholds_ignore_nothing():
    radius, _ = silence(convolutional(10, thresholds=False))
    assert float(radius.abs().max()) == 0
    assert silence(dense(10, ramp="fixed")) is None


def test_a_ramp_passes_nothing_on_of_ink_and_paper():
    ink = (np.random.default_rng(0).random((4, 784)) < 0.2).astype(np.float64)
    ramp = dense(10, ramp="fixed", epsilon=0.3)
    # The knots are float32, so that a value moved by 0.3 may reach a few times 1e-7 beyond them.
    assert why_cnn.passed_on(ramp, ink, 0.3, seed=0) < 1e-6
    assert why_cnn.passed_on(ramp, ink, 0.4, seed=0) > 0.01
    assert why_cnn.passed_on(dense(10), ink, 0.3, seed=0) > 0.1


@pytest.mark.parametrize("first", ["shared", "unshared"])
def test_the_first_layers_live_units_are_those_that_are_on(images, first):
    network = dense(10, (7,), first=first, filters=3)
    layer = first_stage(network)[1]
    with torch.no_grad():  # of the three units a pixel, one is never on
        layer.weight.fill_(1.0)
        bias = torch.tensor([0.0, -0.15, -2.0])
        layer.bias.copy_(bias if first == "shared" else bias.expand_as(layer.bias))
    found = why_cnn.first_layer(network, images.numpy(), 0.3, filters=False)
    each = 1 if first == "shared" else 784
    assert (found["units"], found["live"]) == (3 * each, 2 * each)
    assert found["threshold_quartiles"] == pytest.approx([0.125, 0.25, 0.375] if each == 1 else
                                                         [0.0, 0.25, 0.5])  # fmt: skip
    assert found["taps"] == pytest.approx(1)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def fitted(training, X, y):
    return RobustFCClassifier(
        (8,), training=training, epsilon=0.1, clip_values=(0, 1), pgd_steps=2, max_epochs=2,
        epsilon_schedule="constant", random_state=0, device="cpu",
    ).fit(X, y)  # fmt: skip


def test_attacking_every_batch_is_adversarial_training(digits):
    ours = fitted(attack_every.Every(1), *digits)
    theirs = fitted(AdversarialCrossEntropy(), *digits)
    assert np.array_equal(ours.decision_function(digits[0]), theirs.decision_function(digits[0]))


def test_every_second_batch_is_clean_and_the_mixture_is_the_mean(digits):
    X, y = (torch.as_tensor(a) for a in digits)
    clf = fitted("pgd", *digits)
    module = clf.module_.double()

    def losses(objective, calls):
        objective.begin()
        context = why_cnn_context()
        return [objective.loss(module, X, y, context).losses.detach() for _ in range(calls)]

    clean = torch.nn.functional.cross_entropy(module(X), y, reduction="none").detach()
    first, second, third = losses(attack_every.Every(2), 3)
    assert torch.equal(first, clean) and torch.equal(third, clean)
    (attacked,) = losses(attack_every.Every(1), 1)
    assert torch.equal(second, attacked)
    assert float(attacked.mean()) > float(clean.mean())
    (mixed,) = losses(attack_every.Every(1, share=0.25), 1)
    torch.testing.assert_close(mixed, 0.25 * attacked + 0.75 * clean)


def why_cnn_context():
    from sklearn_robust.attacks import ThreatModel
    from sklearn_robust.neural_network import TrainingContext

    threat = ThreatModel(0.1, clip_values=(0, 1))
    return TrainingContext(threat, torch.Generator().manual_seed(0))


def test_linear_cells_of_the_sweep_agree_with_the_law():
    cell = attack_every.linear_cell(0, 0.2, range(2), 2000)
    assert cell["law"] == pytest.approx(0.1)
    clean, robust = (cell["found"][f"{kind}_exact"][0] for kind in ("clean", "robust"))
    assert 0.5 < robust < clean < 1
