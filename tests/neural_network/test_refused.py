"""What cannot be trained is refused before any training, and leaves the estimator as it was."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import BatchScoring, Checkpoint, EarlyStopping, EpochScoring, LRScheduler
from torch import nn

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.neural_network import (
    AdversarialWeightPerturbation,
    FastAdversarial,
    MixedIntervalTraining,
    RandomShift,
    SmallBoxTraining,
)

SETTINGS = {"epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 2, "random_state": 0}


class NeverTrained:
    """An optimizer that must not be asked for a step."""

    def __init__(self, *args, **kwargs):
        pass


def test_a_refused_fit_leaves_a_fitted_model_as_it_was(digits):
    X, y, *_ = digits
    clf = RobustFCClassifier((16,), max_epochs=3, **SETTINGS).fit(X, y)
    before, state = clf.predict_proba(X), dict(vars(clf))
    clf.set_params(training="sabr", norm="l2")
    for samples, labels in ((X[:, :32], y), (X, y % 3)):
        with pytest.raises(ValueError, match="training='sabr' needs norm='linf'"):
            clf.fit(samples, labels)
    with pytest.raises(ValueError, match="X has 32 features"):
        clf.partial_fit(X[:, :32], y)
    clf.set_params(training="auto", norm="linf")
    assert vars(clf) == state
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), before)


def test_after_a_refused_first_call_partial_fit_begins_anew(digits):
    X, y, *_ = digits
    clf = RobustFCClassifier((16,), training="sabr", norm="l2", **SETTINGS)
    with pytest.raises(ValueError, match="sabr"):
        clf.partial_fit(X, y)
    assert not hasattr(clf, "classes_")
    assert clf.set_params(norm="linf").partial_fit(X, y).n_iter_ == 1


class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, X):
        return self.layer(X.float())


class TwoOutputs(Casting):
    def forward(self, X):
        return self.layer(X), X


def compiled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.Linear(64, 10))


class Auxiliary(Casting):
    def forward(self, X):
        out = self.layer(X)
        return (out, out) if self.training else out


class Shifting(Casting):
    def forward(self, X):
        X -= 3.0
        return self.layer(X)


class Rectifying(Casting):
    def forward(self, X):
        return self.layer(nn.functional.relu(X.flatten(1), inplace=True))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Casting, r"fails in float64, in which predictions are computed: .*no casts"),
        (TwoOutputs, "got tuple for one sample"),
        (Auxiliary, "got tuple for one sample in training mode. Switch off its auxiliary outputs"),
        (compiled, "module holds TorchScript"),
        (nn.Sequential(nn.LazyLinear(10)), "lazy layers, which torch cannot copy"),
        (Shifting, r"changes its input in place, .* x = x - 3 instead of x -= 3"),
        (Rectifying, r"changes its input in place, .* inplace=False"),
    ],
)
def test_modules_that_could_not_predict_are_refused_before_training(digits, module, message):
    X, y, *_ = digits
    before = X.copy()
    clf = RobustNeuralNetClassifier(module, optimizer=NeverTrained, **SETTINGS)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    np.testing.assert_array_equal(X, before)
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_lazy_layers_that_a_function_makes_take_their_sizes_from_the_samples(digits):
    X, y, *_ = digits

    def network(lazy):
        sizes = [()] * 3 if lazy else [(64,), (16,), (16,)]
        layers = (nn.LazyLinear, nn.LazyBatchNorm1d) if lazy else (nn.Linear, nn.BatchNorm1d)
        return nn.Sequential(
            layers[0](*sizes[0], 16), layers[1](*sizes[1]), nn.ReLU(), layers[0](*sizes[2], 10)
        )

    settings = {**SETTINGS, "max_epochs": 1}
    lazy, plain = (
        RobustNeuralNetClassifier(network, module_params={"lazy": b}, **settings).fit(X, y)
        for b in (True, False)
    )
    # The same draws of torch's global generator, in the same order.
    np.testing.assert_array_equal(lazy.decision_function(X), plain.decision_function(X))


def test_an_error_in_the_first_epoch_leaves_the_estimator_as_it_was(digits):
    X, y, *_ = digits

    def raising(progress):
        if progress > 0.1:
            raise RuntimeError("mine")
        return 1.0

    settings = {"max_epochs": 4, "batch_size": 100, **SETTINGS}
    clf = RobustFCClassifier((8,), epsilon_schedule=raising, **settings)
    with pytest.raises(RuntimeError, match="mine"):
        clf.fit(X, y)
    with pytest.raises(RuntimeError, match="mine"):
        clf.set_params(max_epochs=1).partial_fit(X, y)
    assert not hasattr(clf, "classes_")
    before = clf.set_params(epsilon_schedule="ramp").fit(X, y).decision_function(X)
    with pytest.raises(RuntimeError, match="mine"):
        clf.set_params(epsilon_schedule=raising).fit(X, y % 5)
    np.testing.assert_array_equal(clf.decision_function(X), before)


def test_layers_behind_the_first_may_work_in_place(digits):
    X, y, *_ = digits
    before = X.copy()
    module = nn.Sequential(nn.Linear(64, 16), nn.ReLU(inplace=True), nn.Linear(16, 10))
    clf = RobustNeuralNetClassifier(module, max_epochs=1, dtype="float64", **SETTINGS)
    clf.fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before)


def test_spectral_norm_predicts_and_is_pickled(digits):
    X, y, *_ = digits

    def network():
        return nn.Sequential(
            nn.utils.spectral_norm(nn.Linear(64, 16)), nn.ReLU(), nn.Linear(16, 10)
        )

    clf = RobustNeuralNetClassifier(network, max_epochs=1, **SETTINGS).fit(X, y)
    clf.predict(X)
    assert not clf.module_[0].weight.requires_grad


@pytest.mark.parametrize(
    "training",
    [
        "pgd",
        "trades",
        "mart",
        AdversarialWeightPerturbation(),
        SmallBoxTraining(),
        MixedIntervalTraining(),
    ],
    ids=lambda training: training if isinstance(training, str) else type(training).__name__,
)
def test_steps_that_lead_nowhere_are_refused_before_training(digits, training):
    X, y, *_ = digits
    options = {**SETTINGS, "epsilon": 0.3}
    clf = RobustFCClassifier(
        (16,), training=training, step_size=1e-4, optimizer=torch.optim.SGD, **options
    )
    with pytest.raises(ValueError, match="step_size must let 2 steps cover"):
        clf.fit(X, y)
    assert not hasattr(clf, "net_")
    with pytest.raises(ValueError, match="step_size must let 1 steps cover"):
        RobustFCClassifier((16,), training=FastAdversarial(step=1e-4), **options).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"callbacks": [EpochScoring("accuracy")]}, "callbacks cannot hold this EpochScoring"),
        ({"callbacks": [EpochScoring(len, use_caching=False)]}, r"function, on_train=True, "),
        ({"callbacks": [("a", BatchScoring("accuracy"))]}, "this BatchScoring"),
        ({"callbacks": [Checkpoint()]}, "it watches 'valid_loss_best', .* early_stopping=True"),
        ({"callbacks": [Checkpoint]}, "it watches 'valid_loss_best', .* early_stopping=True"),
        (
            {"callbacks": [EarlyStopping("valid_acc")], "early_stopping": True},
            "it watches 'valid_acc', .* valid_clean_accuracy",
        ),
        (
            {
                "callbacks": [LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1)],
                "lr_schedule": "one-cycle",
            },
            "LRScheduler beside lr_schedule='one-cycle', which sets the learning rate",
        ),
        ({"augmentation": RandomShift(1, fill=3.0)}, "augmentation fills with 3, outside"),
        ({"augmentation": RandomShift(1, image_shape=(3, 3))}, r"image_shape must be \(h, w\)"),
        ({"early_stopping": "yes"}, "early_stopping must be True or False"),
        ({"random_start": "no"}, "random_start must be True or False"),
        ({"early_stopping": True, "tol": None}, "tol must be a finite number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_parameters_are_checked_before_training(digits, parameters, message):
    X, y, *_ = digits
    with pytest.raises(ValueError, match=message):
        RobustFCClassifier((8,), **SETTINGS, **parameters).fit(X, y)


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # after one epoch
def test_images_in_another_order_of_axes_are_refused():
    X = np.random.default_rng(0).random((30, 3, 8, 8))
    clf = RobustCNNClassifier(filters=(4,), hidden_layer_sizes=(8,), max_epochs=1, **SETTINGS)
    clf.fit(X, np.arange(30) % 3)
    flat = clf.predict(X.reshape(30, -1))
    np.testing.assert_array_equal(clf.predict(X), flat)
    with pytest.raises(ValueError, match=r"samples of shape \(8, 8, 3\), but fit saw \(3, 8, 8\)"):
        clf.predict(X.transpose(0, 2, 3, 1))


def test_a_channel_of_one_may_be_left_out(digits):
    X, y, *_ = digits
    clf = RobustFCClassifier((8,), max_epochs=1, **SETTINGS).fit(X.reshape(-1, 8, 8), y)
    np.testing.assert_array_equal(clf.predict(X.reshape(-1, 1, 8, 8)), clf.predict(X))
