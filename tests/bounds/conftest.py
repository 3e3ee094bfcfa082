"""Small networks on scikit-learn's digits, trained once, and points of a threat model."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import ThreatModel


def _convolutional():
    """A CNN with every kind of layer that the library's own networks hold, and batch norm."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 10),
    )


def _make_network(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "conv":
            return _convolutional()
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 40),
            nn.ReLU(),
            nn.Linear(40, 30),
            nn.LeakyReLU(0.1),
            nn.Linear(30, 10),
        )


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="session")
def fc(digits):
    """A fully connected network trained against PGD at 0.1."""
    X, y = digits
    clf = RobustFCClassifier(
        (64, 64), epsilon=0.1, clip_values=(0, 1), pgd_steps=5, max_epochs=25, input_ramp=None,
        lr_schedule="constant", batch_size=128, random_state=0,
    )  # fmt: skip
    return clf.fit(X[:1200], y[:1200])


@pytest.fixture(scope="session")
def cnn(digits):
    """A convolutional network with batch norm and pooling, trained against PGD at 0.1."""
    X, y = digits
    clf = RobustNeuralNetClassifier(
        _make_network("conv"),
        epsilon=0.1,
        clip_values=(0, 1),
        pgd_steps=5,
        max_epochs=12,
        lr_schedule="constant",
        batch_size=128,
        augmentation=None,
        random_state=0,
    )
    return clf.fit(X[:1200], y[:1200])


@pytest.fixture(scope="session")
def held_out(digits):
    X, y = digits
    return X[1200:1280], y[1200:1280]


@pytest.fixture
def make_network():
    """Make a module ("dense" or "conv") with torch's default weights from a local seed."""
    return _make_network


@pytest.fixture
def adversarial_points():
    """Yield points of A(x): uniform draws, and extreme points along random directions."""

    def draw(threat: ThreatModel, X: torch.Tensor, n_draws: int):
        generator = torch.Generator().manual_seed(0)
        around = threat.around(X)
        for _ in range(n_draws):
            yield around.project(around.sample(generator))
            yield around.furthest(torch.randn(X.shape, generator=generator, dtype=X.dtype))

    return draw
