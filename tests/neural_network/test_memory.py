"""Predictions go through a network in pieces by bytes, which change no prediction."""

import os
import subprocess
import sys

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


WORK = """
import re, sys
import numpy as np
import torch
from sklearn import set_config
from sklearn_robust import RobustFCClassifier, robust_score
from sklearn_robust.metrics import certified_score

def resident(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

torch.set_num_threads(1)
set_config(working_memory=64)
X = np.memmap(sys.argv[1], dtype=sys.argv[2], mode="r", shape=(60_000, 784))
top = 255 if X.dtype == np.uint8 else 1
y = np.arange(len(X)) % 2
options = {"epsilon": 0.01 * top, "norm": "linf", "clip_values": (0, top)}
clf = RobustFCClassifier(
    (4,), **options, pgd_steps=1, max_epochs=1, batch_size=1024, input_ramp=None, random_state=0
)
start = X[:1000], y[:1000]
clf.fit(*start).predict(start[0])
robust_score(clf, *start, attack="fgsm"), certified_score(clf, *start, method="ibp")
for name, run in {
    "fit": lambda: clf.fit(X, y),
    "predict": lambda: clf.predict(X),
    "robust_score": lambda: robust_score(clf, X, y, attack="fgsm"),
    "certified_score": lambda: certified_score(clf, X, y, method="ibp"),
}.items():
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = resident("VmRSS")
    run()
    print(name, (resident("VmHWM") - before) / (X.nbytes / 2**20))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux' /proc")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_makes_a_copy_of_all_samples(tmp_path, dtype):
    # Images that go down and up again: bytes that are taken for grey levels.
    ramp = np.tile(abs(np.arange(784) % 56 - 28) * 9, (60_000, 1)).astype(np.uint8)
    ramp[np.arange(60_000) % 2 == 1] //= 2
    (ramp if dtype == "uint8" else ramp.astype(dtype) / np.float32(255)).tofile(tmp_path / "X")
    piece = 64 / (60_000 * 784 * np.dtype(dtype).itemsize / 2**20)
    done = subprocess.run(
        [sys.executable, "-c", WORK, tmp_path / "X", dtype], check=True, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    extra = {name: float(times) for name, times in map(str.split, done.stdout.splitlines())}
    assert extra.keys() == {"fit", "predict", "robust_score", "certified_score"}
    # The pages of the map that were read count as well; a float64 copy is 8 or 2 times X.
    assert max(extra.values()) < 1.5 + piece, extra
