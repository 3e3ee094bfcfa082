"""Data and small fitted networks that several test modules share."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier

# A plain training, on which the claims of the tests that share these networks rest.
PLAIN = {"lr_schedule": "constant", "batch_size": 128, "input_ramp": None, "random_state": 0}

torch.set_num_threads(1)  # the tests' networks are too small to gain from more


@pytest.fixture(autouse=True)
def _same_draws():
    """Begin every test at the same draws of torch and NumPy: one that passes passes again."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what random_state=None draws from


@pytest.fixture(scope="session")
def digits():
    """Return scikit-learn's digits in [0, 1]: 1,200 to train on, 597 to test on."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order] / 16, y[order]
    return X[:1200], y[:1200], X[1200:], y[1200:]


@pytest.fixture(scope="session")
def robust_fc(digits):
    """Return a fully connected network trained at epsilon 0.15 on the digits; do not change it."""
    X, y, *_ = digits
    return RobustFCClassifier((64,), epsilon=0.15, max_epochs=30, pgd_steps=5, **PLAIN).fit(X, y)


@pytest.fixture(scope="session")
def standard_fc(digits):
    """Return the same network trained at epsilon 0."""
    X, y, *_ = digits
    return RobustFCClassifier((64,), epsilon=0, max_epochs=30, **PLAIN).fit(X, y)


@pytest.fixture(scope="session")
def robust_cnn(digits):
    """Return a small-data CNN trained on 8 x 8 images."""
    X, y, *_ = digits
    clf = RobustCNNClassifier(
        filters=(32, 64), kernel_size=5, downsampling="pool", hidden_layer_sizes=(1024,),
        dropout=0.4, epsilon=0.1, max_epochs=4, pgd_steps=3, **PLAIN,
    )  # fmt: skip
    return clf.fit(X.reshape(-1, 8, 8), y)
