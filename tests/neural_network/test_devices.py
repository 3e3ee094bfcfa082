"""Estimators fitted on a CUDA device and loaded where there is none."""

import contextlib
import copy
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine
from sklearn.preprocessing import StandardScaler
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, certified_score
from sklearn_robust.neural_network import RandomShift
from sklearn_robust.neural_network._batches import Batch
from sklearn_robust.neural_network.objectives import TRADES, AdversarialWeightPerturbation

X, Y = load_wine(return_X_y=True)
DIGITS = load_digits().data[:40] / 16
without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
with_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def fitted(**kwargs):
    clf = RobustFCClassifier(
        (8,), preprocessor=StandardScaler(), max_epochs=3, random_state=0, **kwargs
    )
    return clf.fit(X, Y)


@pytest.fixture
def cuda_file(tmp_path, monkeypatch):
    """Return a function that stores an estimator as a process with CUDA would: tensors say so."""

    def store(clf, device):
        clf.net_.device = torch.device("cuda")  # as the fit there leaves it
        clf.device = device
        path = tmp_path / "model"
        with monkeypatch.context() as patch:
            patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
            joblib.dump(clf, path)
            tensor = pickle.dumps(torch.zeros(2))
        with pytest.raises(RuntimeError, match="CUDA"):  # what any stray tensor would meet
            pickle.loads(tensor)
        return path

    return store


@without_cuda
@pytest.mark.parametrize("training", ["pgd", "free"])
@pytest.mark.parametrize("averaging", [None, "ema"])
def test_a_file_with_cuda_tensors_loads_silently_where_device_is_auto(
    cuda_file, training, averaging
):
    clf = fitted(training=training, weight_averaging=averaging)
    expected = clf.decision_function(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = joblib.load(cuda_file(clf, "auto"))
    assert loaded.module_ is loaded.net_.module_
    assert {value.device.type for value in loaded.module_.state_dict().values()} == {"cpu"}
    np.testing.assert_array_equal(loaded.decision_function(X), expected)
    assert loaded.robust_score(X, Y, epsilon=0.1) <= loaded.score(X, Y)
    loaded.set_params(weight_averaging=None).partial_fit(X, Y)
    assert not np.array_equal(loaded.decision_function(X), expected)
    copy.deepcopy(loaded).fit(X, Y)


@without_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_file_of_a_fit_bound_to_cuda_predicts_and_says_what_to_do(cuda_file, device):
    clf = fitted()
    path, expected = cuda_file(clf, device), clf.decision_function(X)
    with pytest.warns(UserWarning, match=r"predicts on the CPU. Use set_params\(device='auto'\)"):
        loaded = joblib.load(path)
    np.testing.assert_array_equal(loaded.decision_function(X), expected)
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        loaded.fit(X, Y)
    loaded.set_params(device="auto").fit(X, Y)


@with_cuda
def test_a_fit_on_cuda_predicts_the_same_in_a_process_without(tmp_path):
    clf = fitted(device="cuda")
    assert next(clf.module_.parameters()).device.type == "cuda"
    joblib.dump((clf, X), tmp_path / "model")
    program = (
        "import joblib, torch; assert not torch.cuda.is_available();"
        "clf, X = joblib.load('model'); joblib.dump(clf.decision_function(X), 'answer')"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, cwd=tmp_path, check=True,
    )  # fmt: skip
    answer = joblib.load(tmp_path / "answer")
    # Two implementations of the same sums in float64.
    np.testing.assert_allclose(answer, clf.decision_function(X), rtol=1e-9, atol=1e-9)


REPEATED = """
import sys, tempfile
import numpy as np, torch
from skorch.callbacks import Callback
from sklearn.datasets import load_digits
from sklearn_robust import RobustCNNClassifier

class Stop(Callback):
    def __init__(self, after=0):
        self.after = after

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.after:
            raise KeyboardInterrupt

torch.use_deterministic_algorithms(True)
X, y = load_digits(return_X_y=True)
images = X[:300].reshape(-1, 8, 8) / 16

def fit(**parameters):
    clf = RobustCNNClassifier(
        training=sys.argv[1], norm=sys.argv[2], epsilon=0.2, clip_values=(0, 1), pgd_steps=3,
        max_epochs=4, random_state=0, device="cuda", **parameters
    )
    return clf.fit(images, y[:300])

first = fit().decision_function(images)
np.testing.assert_array_equal(fit().decision_function(images), first)
with tempfile.TemporaryDirectory() as folder:
    fit(checkpoint=folder, callbacks=[Stop(3)])
    resumed = fit(checkpoint=folder)
    assert resumed.n_iter_ == 4
    np.testing.assert_array_equal(resumed.decision_function(images), first)
"""


@with_cuda
@pytest.mark.parametrize("training", ["pgd", "trades", "free", "ibp"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_seed_repeats_a_training_on_cuda_bit_for_bit(training, norm, tmp_path):
    """Where torch is told to be deterministic; resumed after an interruption too."""
    env = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    quiet = ("-W", "ignore", "-W", "error:The steps of the attack")
    program = [sys.executable, *quiet, "-c", REPEATED, training, norm]
    done = subprocess.run(program, env=env, cwd=tmp_path, capture_output=True, text=True)
    if "does not have a deterministic implementation" in done.stderr:
        pytest.skip("this version of torch cannot repeat a sum that the norm needs")
    assert done.returncode == 0, done.stderr


@with_cuda
def test_bounds_and_attacks_on_cuda_are_those_of_the_cpu():
    images, y = load_digits(return_X_y=True)
    images, y = images[:300].reshape(-1, 8, 8) / 16, y[:300]
    clf = RobustCNNClassifier(
        filters=(8,), hidden_layer_sizes=(16,), training="ibp", epsilon=0.05, clip_values=(0, 1),
        device="cuda", random_state=0,
    ).fit(images, y)  # fmt: skip
    on_cpu = copy.deepcopy(clf).set_params(device="cpu")
    on_cpu.module_.to("cpu")
    np.testing.assert_allclose(
        clf.input_gradients(images, y), on_cpu.input_gradients(images, y), rtol=1e-6, atol=1e-9
    )
    for method in ("ibp", "crown", "auto"):
        proven = [certified_score(m, images, y, method=method) for m in (clf, on_cpu)]
        assert proven[0] == proven[1]
    attacked = [m.robust_score(images, y, attack="strong", random_state=0) for m in (clf, on_cpu)]
    assert attacked[0] >= proven[0]
    assert attacked[0] == pytest.approx(attacked[1], abs=0.01)  # random numbers differ


class NoCopies(TorchDispatchMode):
    """Raises where values are sent from the host, which waits for them to arrive."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_):
            devices = {t.device.type for t in (*args, out) if isinstance(t, torch.Tensor)}
            assert len(devices) == 1, f"{func} from host to device"
        return out


TRAININGS = ["pgd", "fgsm", "free", "trades", "mart", "ibp", "crown-ibp", "sabr", "mtl-ibp",
             AdversarialWeightPerturbation(TRADES())]  # fmt: skip


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # it learns next to nothing
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: t if isinstance(t, str) else "awp")
def test_a_step_on_a_device_asks_the_host_nothing(training, norm, monkeypatch):
    """On torch's device "meta" tensors have no values, so that any question about one fails."""
    if training == "sabr" and norm != "linf":
        pytest.skip("its boxes are of linf")
    clf = RobustCNNClassifier(
        filters=(4, 4), hidden_layer_sizes=(8,), training=training, norm=norm, epsilon=0.2,
        clip_values=(0, 1), input_ramp=None if training == "free" else "fixed", pgd_steps=2,
        augmentation=RandomShift(1), max_grad_norm=1.0, max_epochs=1,
    ).fit(DIGITS, np.arange(40) % 10)  # fmt: skip
    net = clf.net_
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    net.noise = None  # there is no generator for this device
    net.device = "meta"
    net.module_.to(net.device)
    net.begin_epoch()
    batch = Batch(
        *(t.to(net.device) for t in (torch.rand(40, 64), torch.ones(40).long(), torch.ones(40)))
    )
    with NoCopies():
        X = net._augmented(batch.X)
        step = net.train_step_single(batch._replace(X=X))
    assert step["loss"].device.type == "meta"
    with pytest.raises(RuntimeError, match="meta tensors"):
        bool(step["loss"] > 0)
