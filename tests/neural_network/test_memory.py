"""Predictions go through a network in pieces by bytes, which change no prediction."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from torch import nn

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.neural_network._memory import sample_bytes


def test_the_widest_place_of_a_network_is_what_counts():
    narrow = nn.Sequential(nn.Linear(10, 1000), nn.ReLU(), nn.Linear(1000, 3)).double()
    x = torch.zeros(1, 10, dtype=torch.float64)
    assert sample_bytes(narrow, x) == 1000 * 8
    assert sample_bytes(nn.Identity(), x) == 10 * 8


def test_the_windows_that_a_convolution_lays_out_count():
    convolution = nn.Conv2d(3, 4, 5, padding=2).double()
    image = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    windows, out = 3 * 25 * 256 * 8, 4 * 256 * 8
    assert sample_bytes(convolution, image) == windows + out


@pytest.mark.parametrize("kind", ["fc", "cnn"])
def test_pieces_change_no_prediction(digits, kind):
    X, y, *_ = digits
    settings = {"epsilon": 0.1, "pgd_steps": 1, "max_epochs": 4, "random_state": 0}
    settings |= {"lr_schedule": "constant", "input_ramp": None}
    if kind == "fc":
        clf = RobustFCClassifier((32,), **settings).fit(X, y)
    else:
        clf = RobustCNNClassifier(filters=(4,), hidden_layer_sizes=(8,), **settings).fit(X, y)
    whole, gradients = clf.decision_function(X), clf.input_gradients(X, y)
    passes = []
    clf.module_.register_forward_hook(lambda module, given, out: passes.append(len(out)))
    with config_context(working_memory=1):
        in_pieces, gradients_in_pieces = clf.decision_function(X), clf.input_gradients(X, y)
        alone = np.concatenate([clf.decision_function(X[i : i + 1]) for i in range(50)])
    assert max(passes) < len(X)
    # Sums of float64 in another order.
    np.testing.assert_allclose(in_pieces, whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(alone, whole[:50], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradients_in_pieces, gradients, rtol=1e-9, atol=1e-12)
