"""Training with products in bfloat16: what is computed in which precision, and what it costs."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    attacks,
)
from sklearn_robust.neural_network import _device
from sklearn_robust.neural_network._device import products_in

X, Y = load_digits(return_X_y=True)
X = X / 16


def digits(**parameters):
    settings = {"epsilon": 0.1, "clip_values": (0, 1), "max_epochs": 6, "random_state": 0}
    return RobustFCClassifier((64,), **{**settings, **parameters})


class Seen(torch.nn.Module):
    """A linear layer that notes the precision of what it returns."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.dtypes = []

    def forward(self, X):
        out = self.linear(X)
        self.dtypes.append(out.dtype)
        return out


def test_products_are_in_bfloat16_and_what_comes_out_is_not():
    module, x = Seen(), torch.rand(4, 3)
    with products_in("bfloat16", module, x.device):
        logits = module(x)
    assert module.dtypes == [torch.bfloat16]
    assert logits.dtype == torch.float32
    assert module(x).dtype == module.dtypes[-1] == torch.float32  # nothing is left behind


def test_an_attack_before_the_loss_does_not_cut_the_weights_off():
    # torch's own memory of bfloat16 weights would: it keeps the first copy, made without gradient.
    module, x = Seen(), torch.rand(4, 3)
    with products_in("bfloat16", module, x.device):
        with torch.no_grad():
            module(x)
        module(x).sum().backward()
    assert module.linear.weight.grad is not None


@pytest.mark.parametrize(
    "training", ["pgd", "fgsm", "free", "trades", "mart", "ibp", "crown-ibp", "sabr", "mtl-ibp"]
)
def test_each_objective_learns_with_it_as_without(training):
    scores = {}
    for dtype in ("float32", "bfloat16"):
        clf = digits(dtype=dtype, training=training, pgd_steps=3, epsilon=0.05).fit(X, Y)
        assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}
        assert all(torch.isfinite(p).all() for p in clf.module_.parameters())
        scores[dtype] = clf.score(X, Y)
    # The same weights and noise, but for rounding: over seeds the two differ by a few samples.
    assert abs(scores["bfloat16"] - scores["float32"]) < 0.01
    assert scores["float32"] > 0.7


def test_the_attack_in_it_finds_nearly_what_it_finds_with_all_bits():
    clf = digits().fit(X, Y)
    model = clf._model()
    x, y = model.asarray(X), model.labels(clf._encode(Y, len(Y)))
    threat = attacks.ThreatModel(0.1, clip_values=(0, 1))
    left = {}
    for dtype in ("float32", "bfloat16"):
        generator = torch.Generator().manual_seed(0)
        with products_in(dtype, clf.module_, x.device):
            X_adv = attacks.PGD(n_steps=10).perturb(model, x, y, threat, generator)
        assert X_adv.dtype == torch.float32
        assert float((X_adv - x).abs().max()) <= 0.1 + 1e-6  # rounding of float32 near 1
        left[dtype] = (clf.predict(X_adv.numpy()) == Y).mean()
    # Of 1797 samples a few dozen lie so near the boundary that the directions' last bits decide.
    assert abs(left["bfloat16"] - left["float32"]) < 0.01
    assert left["float32"] < clf.score(X, Y) - 0.05


def test_convolutions_train_and_the_history_has_numbers():
    clf = RobustCNNClassifier(
        image_shape=(8, 8), filters=(8,), hidden_layer_sizes=(32,), dropout=0.0, epsilon=0.05,
        pgd_steps=2, max_epochs=8, dtype="bfloat16", random_state=0,
    ).fit(X[:600], Y[:600])  # fmt: skip
    assert clf.score(X[:600], Y[:600]) > 0.5
    assert np.isfinite(clf.net_.history[:, "train_loss"]).all()


def test_fits_are_repeatable():
    one, two = (digits(dtype="bfloat16", max_epochs=1).fit(X, Y) for _ in range(2))
    for a, b in zip(one.module_.parameters(), two.module_.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # with an early torch
def test_a_radius_that_bfloat16_cannot_tell_is_warned_of():
    with pytest.warns(UserWarning, match="dtype='bfloat16' tells values near 101"):
        plain = {"clip_values": None, "input_ramp": None}
        digits(dtype="bfloat16", max_epochs=1, **plain).fit(X + 100, Y)


def test_a_device_without_autocast_gets_an_error(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: False)
    with pytest.raises(ValueError, match="dtype='bfloat16' needs a device with torch's autocast"):
        digits(dtype="bfloat16").fit(X, Y)


@pytest.mark.parametrize(
    ("has", "slow"),
    [
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, False),
        ({"architecture": "aarch64"}, False),
        ({}, False),
    ],
)
def test_a_processor_that_only_imitates_bfloat16_is_warned_of(monkeypatch, has, slow):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        digits(dtype="bfloat16", max_epochs=1).fit(X, Y)
        digits(dtype="float32", max_epochs=1).fit(X, Y)
    said = [str(w.message) for w in caught if "many times slower than float32" in str(w.message)]
    assert len(said) == slow


@pytest.mark.parametrize("front", [{"preprocessor": StandardScaler()}, {"input_ramp": "fixed"}])
def test_no_warning_where_the_front_sees_all_bits(monkeypatch, front):
    monkeypatch.setattr(_device, "multiplies_bfloat16", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        digits(dtype="bfloat16", max_epochs=1, clip_values=(100, 101), **front).fit(X + 100, Y)


def test_radii_near_the_spacing_of_float32_are_attacked_and_trained_as_predictions_see_them():
    rng, n, epsilon = np.random.default_rng(0), 200, 0.24  # a radius of 24 cm in UTM coordinates
    offset = np.array([5_800_000, 400_000])
    Z = offset + rng.uniform(-3, 3, (n, 2))
    y = ((Z - Z.mean(0)).sum(1) > 0).astype(int)
    settings = {"epsilon": epsilon, "max_epochs": 40, "lr": 1e-2, "random_state": 0}
    clf = RobustFCClassifier((32,), preprocessor=StandardScaler(), **settings).fit(Z, y)
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float64}
    right = clf.predict(Z) == y
    for corner in np.array(np.meshgrid(*2 * [np.linspace(-1, 1, 9)])).reshape(2, -1).T:
        right &= clf.predict(Z + epsilon * corner) == y
    assert clf.robust_score(Z, y) <= right.mean() < clf.score(Z, y)
    # Centred by hand, float32 is good enough: the same problem up to rounding of the data.
    near = RobustFCClassifier((32,), preprocessor=StandardScaler(), **settings).fit(Z - offset, y)
    assert {p.dtype for p in near.module_.parameters()} == {torch.float32}
    assert abs(near.robust_score(Z - offset, y) - clf.robust_score(Z, y)) <= 0.02


def test_an_attack_finer_than_training_gets_the_bits_it_needs():
    Z, y = 1000 + 4 * X[:300], Y[:300]
    clf = digits(epsilon=0.5, clip_values=None, preprocessor=StandardScaler()).fit(Z, y)
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}
    small = 2e-5  # float32 numbers near 1000 are 6e-5 apart
    X_adv = clf.perturb(Z, y, epsilon=small)
    right = clf.predict(Z) == y
    moved = np.abs(X_adv - Z).max(axis=1)[right]
    assert moved.max() <= small * (1 + 1e-6)
    assert moved.min() > 0.9 * small


class Spectral(torch.nn.Module):
    """A filter in the frequency domain."""

    def __init__(self):
        super().__init__()
        self.filter = torch.nn.Parameter(torch.randn(33, dtype=torch.cfloat))
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, X):
        return self.linear(torch.fft.irfft(torch.fft.rfft(X) * self.filter, n=64))


@pytest.mark.parametrize("averaging", [None, "ema"])
def test_complex_weights_stay_complex_and_are_trained(averaging):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Spectral()
    settings = {"epsilon": 0.01, "max_epochs": 1, "random_state": 0, "weight_averaging": averaging}
    still = RobustNeuralNetClassifier(module, lr=1e-12, **settings).fit(X, Y)
    assert still.module_.filter.dtype == torch.cfloat
    with torch.no_grad():
        expected = copy.deepcopy(module)(torch.as_tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(still.decision_function(X), expected, atol=1e-5)
    trained = RobustNeuralNetClassifier(module, lr=1e-2, **settings).fit(X, Y)
    # Of the constant and of the highest frequency real signals have no imaginary part.
    assert (trained.module_.filter.imag != module.filter.imag)[1:-1].all()
    gradient, step = trained.input_gradients(X[:1], Y[:1]), 1e-6 * np.eye(64)[20]
    loss = [-trained.predict_log_proba(X[:1] + s)[0, Y[0]] for s in (step, -step)]
    assert gradient[0, 20] == pytest.approx((loss[0] - loss[1]) / 2e-6, rel=1e-5)
