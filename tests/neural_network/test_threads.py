"""Threads: what one does to a network does not show in what another gets from it."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import (
    CrossEntropy,
    ThreatModel,
    TorchModel,
    _module_state,
    evaluate,
    get_attack,
    predictor,
)

SETTINGS = {"epsilon": 0.2, "clip_values": (0, 1), "pgd_steps": 2, "random_state": 0}


def test_gradients_are_true_while_another_thread_attacks(digits):
    X, y, X_test, y_test = digits
    clf = RobustFCClassifier((64,), input_ramp="fixed", max_epochs=2, **SETTINGS).fit(X, y)
    expected = clf.input_gradients(X_test, y_test)
    n = 0
    with ThreadPoolExecutor(2) as threads:
        job = threads.submit(clf.robust_score, X_test, y_test, attack="pgd")
        while not job.done() or not n:
            np.testing.assert_array_equal(clf.input_gradients(X_test, y_test), expected)
            n += 1
    with joblib.parallel_config(backend="threading"):
        assert clf.robust_score(X_test, y_test, n_jobs=3) == clf.robust_score(X_test, y_test)


def test_fits_in_threads_are_those_of_one_after_the_other(digits):
    X, y, *_ = digits

    def network():
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))

    def probabilities(_):
        clf = RobustNeuralNetClassifier(network, max_epochs=1, **SETTINGS)
        return clf.fit(X[:300], y[:300]).predict_proba(X[:300])

    expected = probabilities(0)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(probabilities, range(4)):
            np.testing.assert_array_equal(found, expected)


def normed():
    """Return a network in training mode, as the loop that has trained it leaves it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def test_threads_leave_the_statistics_of_batch_norm_and_the_score_alone(digits):
    X, y = (a[:512] for a in digits[:2])
    model = TorchModel(normed(), 10)
    before = copy.deepcopy(model.module.state_dict())
    verdicts = []
    for n_jobs in (1, 4):
        with joblib.parallel_config(backend="threading"):
            verdicts.append(
                evaluate(
                    model, X, y, ThreatModel(0.05), get_attack("pgd"), predictor(model),
                    batch_size=64, n_jobs=n_jobs,
                )
            )  # fmt: skip
    np.testing.assert_array_equal(verdicts[0].X_adv, verdicts[1].X_adv)
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(m.training for m in model.module.modules())
    assert all(p.requires_grad for p in model.module.parameters())


def test_flags_stay_until_the_last_thread_is_done():
    module = normed()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with _module_state.as_predicting(module):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(10)
    with _module_state.as_predicting(module):
        pass
    assert not any(m.training for m in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    leave.set()
    other.join()
    assert all(m.training for m in module.modules())
    assert all(p.requires_grad for p in module.parameters())


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, X):
        return self.head(self.lstm(X.reshape(-1, 8, 8))[0][:, -1])


def test_recurrent_layers_derive_in_training_mode_what_they_do_in_eval_mode(digits, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Sequence()
    module.head.eval()
    model = TorchModel(module, 10)
    x, y = model.asarray(digits[0][:5]), model.labels(digits[1][:5])
    expected = model.derivative(x, y, CrossEntropy())
    # As on CUDA, where cuDNN refuses the backward pass in eval mode.
    monkeypatch.setattr(_module_state, "_trains_to_derive", lambda m: isinstance(m, nn.RNNBase))
    with _module_state.as_predicting(module):
        assert module.lstm.training and module.lstm.dropout == 0 and not module.training
    found = model.derivative(x, y, CrossEntropy())
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert module.lstm.training and module.lstm.dropout == 0.5 and not module.head.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_recurrent_layers_are_attacked_on_cuda(digits):
    X, y, *_ = digits
    clf = RobustNeuralNetClassifier(Sequence, max_epochs=1, device="cuda", **SETTINGS).fit(X, y)
    assert np.isfinite(clf.input_gradients(X[:5], y[:5])).all()
    assert clf.robust_score(X, y) <= clf.score(X, y)
