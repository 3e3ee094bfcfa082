"""Checkpoints and other accidents: killed, diverged and interrupted trainings."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.neural_network import (
    AdversarialWeightPerturbation,
    BatchLoss,
    FastAdversarial,
    FreeAdversarial,
    MultiStep,
    TrainingObjective,
)
from sklearn_robust.neural_network._checkpoint import Checkpoint
from sklearn_robust.neural_network.objectives import cross_entropy

SETTINGS = {
    "pgd": {"dropout": 0.3, "lr_schedule": "one-cycle", "weight_averaging": "ema"},
    "stopping": {"early_stopping": True, "n_iter_no_change": 9, "weight_averaging": "swa",
                 "dtype": "bfloat16"},
    "fgsm": {"training": FastAdversarial(probe_every=2), "optimizer": "sgd",
             "optimizer_params": {"momentum": 0.9}, "lr_schedule": MultiStep((0.3, 0.6))},
    "free": {"training": FreeAdversarial(replays=2), "max_grad_norm": 1.0},
}  # fmt: skip


def classifier(name, **kwargs):
    settings = {"epsilon": 0.1, "pgd_steps": 2, "max_epochs": 4, "random_state": 0,
                "batch_size": 100, **SETTINGS[name], **kwargs}  # fmt: skip
    return RobustFCClassifier((16,), **settings)


def trained_bits(clf, X):
    history = [
        {k: v for k, v in row.items() if k not in ("dur", "batches")} for row in clf.net_.history
    ]
    return clf.decision_function(X).tobytes(), json.dumps(history)


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    sys.path[:0] = [sys.argv[1]]
    import torch
    from skorch.callbacks import Callback
    from sklearn.datasets import load_digits
    torch.set_num_threads(1)
    from test_checkpoint import classifier

    class Kill(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if training and len(net.history) == 3 and net.batches_done == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    X, y = load_digits(return_X_y=True)
    classifier(sys.argv[2], checkpoint=sys.argv[3], callbacks=[Kill()]).fit(X / 16, y)
    """
)


@pytest.fixture(scope="module")
def all_digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.mark.parametrize(
    "name",
    ["pgd", *(pytest.param(n, marks=pytest.mark.slow) for n in ("stopping", "fgsm", "free"))],
)
def test_a_killed_fit_resumes_bit_for_bit(all_digits, tmp_path, name):
    X, y = all_digits
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, here, name, str(tmp_path)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    clf = classifier(name, checkpoint=tmp_path, callbacks=[_Count()]).fit(X, y)
    assert clf.net_.callbacks_[-2][1].epochs == [3, 4]  # the killed epoch is done again
    undisturbed = classifier(name).fit(X, y)
    assert trained_bits(clf, X) == trained_bits(undisturbed, X)
    assert clf.n_iter_ == undisturbed.n_iter_ == 4 and clf.loss_ == undisturbed.loss_


class _Count(Callback):
    """Note the epochs that were run; skorch callbacks are copied, so the copy has the notes."""

    def __init__(self):
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append(len(net.history))


def test_a_finished_fit_is_not_repeated(all_digits, tmp_path):
    X, y = all_digits
    for name in ("pgd", "stopping"):
        folder = tmp_path / name
        first = classifier(name, checkpoint=folder).fit(X, y)
        again = classifier(name, checkpoint=str(folder)).fit(X, y)
        assert trained_bits(first, X) == trained_bits(again, X)
        assert first.net_.history[-1, "dur"] == again.net_.history[-1, "dur"]  # it is the same run
        assert not any(m.training for m in again.module_.modules())
        assert [p.name for p in folder.rglob("*.*")] == ["checkpoint.pt"]


def test_another_training_in_the_same_folder_begins_anew(all_digits, tmp_path):
    X, y = all_digits
    settings = {"checkpoint": tmp_path, "max_epochs": 1}
    classifier("pgd", **settings).fit(X, y)
    for changed in ({"max_epochs": 2}, {"random_state": 1}, {"weight_averaging": "swa"}):
        other = classifier("pgd", **{**settings, **changed}).fit(X, y)
        plain = classifier("pgd", **{"max_epochs": 1, **changed}).fit(X, y)
        assert trained_bits(other, X) == trained_bits(plain, X)
    same = classifier("pgd", **settings)
    n_before = len(list(tmp_path.iterdir()))
    for data in ((X[::-1], y[::-1]), (X, y, y + 1.0)):
        same.fit(*data)
    assert len(list(tmp_path.iterdir())) == n_before + 2 == 6
    same.set_params(verbose=1).fit(X, y)  # what changes no number does not matter
    assert len(list(tmp_path.iterdir())) == 6


def test_candidates_of_a_search_share_a_folder(all_digits, tmp_path):
    X, y = all_digits
    grid, cv = {"lr": [1e-3, 1e-2]}, 2
    searches = [
        GridSearchCV(classifier("pgd", max_epochs=1, **own), grid, cv=cv).fit(X, y)
        for own in ({}, {"checkpoint": tmp_path})
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)
    assert len(list(tmp_path.iterdir())) == 2 * 2 + 1  # and the best one, on all the data


def test_a_broken_checkpoint_is_refused_and_runs_no_code(all_digits, tmp_path):
    X, y = all_digits
    clf = classifier("pgd", max_epochs=1, checkpoint=tmp_path)
    clf.fit(X, y)
    (path,) = tmp_path.rglob("checkpoint.pt")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="cannot be read"):
        clf.fit(X, y)
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(ran), "w")

    torch.save({"about": Evil()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="cannot be read"):
        clf.fit(X, y)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"checkpoint": 3}, "checkpoint must be None or the path of a folder, got 3"),
        ({"random_state": None}, "checkpoint needs an integer random_state"),
        ({"warm_start": True}, "checkpoint needs warm_start=False"),
    ],
)
def test_what_a_checkpoint_needs_is_said(all_digits, tmp_path, parameters, message):
    clf = classifier("pgd", **{"checkpoint": tmp_path, **parameters})
    with pytest.raises(ValueError, match=message):
        clf.fit(*all_digits)


def test_divergence_stops_and_keeps_the_last_good_weights(all_digits):
    X, y = all_digits
    settings = {"epsilon": 0, "optimizer": "sgd", "lr": 0.1, "lr_schedule": _explode,
                "weight_averaging": None}  # fmt: skip
    clf = classifier("pgd", **settings)
    with pytest.raises(FloatingPointError, match=r"The training loss became (nan|inf) in epoch 3"):
        clf.fit(X, y)
    good = classifier("pgd", **{**settings, "lr_schedule": "constant", "max_epochs": 2}).fit(X, y)
    np.testing.assert_array_equal(clf.decision_function(X), good.decision_function(X))
    assert clf.n_iter_ == 2 and np.isfinite(clf.loss_)
    assert not any(m.training for m in clf.module_.modules())


def _explode(progress):
    return 1.0 if progress < 0.5 else 1e30


def test_an_interrupt_keeps_the_checkpoint_of_the_last_epoch(all_digits, tmp_path):
    X, y = all_digits
    clf = classifier("pgd", checkpoint=tmp_path, callbacks=[_Interrupt()])
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        clf.fit(X, y)
    assert clf.predict(X).shape == y.shape
    resumed = classifier("pgd", checkpoint=tmp_path).fit(X, y)
    assert trained_bits(resumed, X) == trained_bits(classifier("pgd").fit(X, y), X)


def _times(factor):
    return lambda progress: factor


class _Noise(TrainingObjective):
    def __init__(self, scale):
        self.scale = scale

    def loss(self, module, X, y, context):
        logits = module(X + self.scale)
        return BatchLoss(cross_entropy(logits, y), logits)


@pytest.mark.parametrize(
    ("name", "value", "same", "other"),
    [
        ("lr_schedule", _times(0.5), _times(0.5), _times(0.25)),
        ("lr_schedule", lambda p: 1 - p / 2, lambda p: 1 - p / 2, lambda p: 1 - p / 3),
        ("optimizer", *(partial(torch.optim.SGD, momentum=m) for m in (0.9, 0.9, 0.5))),
        ("training", _Noise(0.1), _Noise(0.1), _Noise(1.0)),
    ],
    ids=["closure", "lambda", "partial", "object"],
)  # fmt: skip
def test_functions_and_objects_are_told_apart_by_what_they_do_and_hold(
    all_digits, tmp_path, name, value, same, other
):
    X, y = all_digits
    settings = {"checkpoint": tmp_path, "max_epochs": 1}
    first = classifier("pgd", **settings, **{name: value}).fit(X, y)
    again = classifier("pgd", **settings, **{name: same}).fit(X, y)
    assert trained_bits(again, X) == trained_bits(first, X)
    assert len(list(tmp_path.iterdir())) == 1
    classifier("pgd", **settings, **{name: other}).fit(X, y)
    assert len(list(tmp_path.iterdir())) == 2


class _RootOfZero(torch.nn.Module):
    """Finite outputs, and a gradient that is not a number once the last batch has come."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 10)
        self.shift = torch.nn.Parameter(torch.zeros(10))

    def forward(self, X):
        return self.linear(X) + (self.shift * 0).sqrt()


def test_weights_are_checked_after_the_last_update_too(all_digits):
    X, y = all_digits
    clf = RobustNeuralNetClassifier(_RootOfZero, epsilon=0, max_epochs=1, batch_size=-1)
    with pytest.raises(FloatingPointError, match="A weight became infinite or NaN in epoch 1"):
        clf.fit(X, y)
    assert np.isfinite(clf.decision_function(X)).all()


def test_an_interrupt_while_the_checkpoint_is_written_is_not_early_stopping(
    all_digits, tmp_path, monkeypatch
):
    X, y = all_digits
    save, calls = Checkpoint.save, []

    def interrupted(self, net, **kwargs):
        calls.append(kwargs)
        if len(calls) == 2:
            raise KeyboardInterrupt
        save(self, net, **kwargs)

    monkeypatch.setattr(Checkpoint, "save", interrupted)
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        classifier("pgd", checkpoint=tmp_path).fit(X, y)
    resumed = classifier("pgd", checkpoint=tmp_path).fit(X, y)
    assert trained_bits(resumed, X) == trained_bits(classifier("pgd").fit(X, y), X)


def test_an_interrupt_leaves_no_perturbed_weights(all_digits, monkeypatch):
    X, y = all_digits
    models = []
    for moved in (True, False):
        perturb = AdversarialWeightPerturbation._perturb
        seen = []

        def interrupted(self, *args, perturb=perturb, seen=seen, moved=moved):
            seen.append(args)
            if len(seen) == 30 and not moved:
                raise KeyboardInterrupt
            perturb(self, *args)
            if len(seen) == 30:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(AdversarialWeightPerturbation, "_perturb", interrupted)
            clf = classifier("pgd", training=AdversarialWeightPerturbation(gamma=0.5))
            with pytest.warns(UserWarning, match="interrupted in epoch 2"):
                models.append(clf.set_params(weight_averaging=None).fit(X, y))
    np.testing.assert_array_equal(*(m.decision_function(X) for m in models))


class _Interrupt(Callback):
    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == 2 and net.batches_done == 3:
            raise KeyboardInterrupt
