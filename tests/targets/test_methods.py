"""A method of a classifier is the function of its name."""

import inspect

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_robust
from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
)
from sklearn_robust.attacks import PGD

X, Y = load_wine(return_X_y=True)
X = (X - X.min(axis=0)) / np.ptp(X, axis=0)
SHARED = {
    "epsilon": 0.05,
    "clip_values": (0, 1),
    "max_epochs": 10,
    "batch_size": 32,
    "lr": 0.01,
    "random_state": 0,
}


def module(n_classes):
    from torch import nn

    return nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, n_classes))


ESTIMATORS = {
    "exact": lambda: AdversarialLogisticRegression(0.05, clip_values=(0, 1)),
    "path": lambda: AdversarialLogisticRegressionCV([0.02, 0.05], cv=3, scoring_epsilon=0.05),
    "fc": lambda: RobustFCClassifier((16,), **SHARED),
    "cnn": lambda: RobustCNNClassifier(filters=(4,), hidden_layer_sizes=(8,), **SHARED),
    "own module": lambda: RobustNeuralNetClassifier(module, **SHARED),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    return ESTIMATORS[request.param]().fit(X, Y)


@pytest.mark.parametrize("name", ["robust_score", "perturb", "input_gradients"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_method_has_the_signature_of_its_function(estimator, name):
    function = inspect.signature(getattr(sklearn_robust, name))
    _, *rest = function.parameters.values()
    method = inspect.signature(getattr(ESTIMATORS[estimator](), name))
    assert list(method.parameters.values()) == rest


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("attack", ["auto", PGD(5)], ids=["auto", "pgd"])
def test_a_method_gives_what_its_function_gives(fitted, norm, attack):
    epsilon = {"linf": 0.05, "l2": 0.2, "l1": 0.5}[norm]
    options = {"epsilon": epsilon, "norm": norm, "attack": attack}
    score = fitted.robust_score(X, Y, **options)
    assert score == sklearn_robust.robust_score(fitted, X, Y, **options)
    X_adv = fitted.perturb(X, Y, **options)
    np.testing.assert_array_equal(X_adv, sklearn_robust.perturb(fitted, X, Y, **options))
    assert np.mean(fitted.predict(X_adv) == Y) == score < fitted.score(X, Y)
    gradients = fitted.input_gradients(X, Y)
    np.testing.assert_array_equal(gradients, sklearn_robust.input_gradients(fitted, X, Y))


def test_the_methods_defaults_are_the_threat_the_classifier_was_made_for(fitted):
    clip = fitted.clip_values
    named = sklearn_robust.robust_score(fitted, X, Y, epsilon=0.05, norm="linf", clip_values=clip)
    assert fitted.robust_score(X, Y) == named


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_pipeline_in_raw_units_gives_what_its_last_step_gives_in_its_own(fitted, norm):
    """Behind a scaler that divides by powers of 2, every float is the same but for its exponent."""
    scaler = StandardScaler(with_mean=False).fit(X)
    scaler.scale_ = np.full(13, 0.25)
    pipe = make_pipeline(scaler, fitted)
    options = {"norm": norm, "attack": PGD(5, random_start=False, keep="fooling")}
    inside = sklearn_robust.robust_score(fitted, X, Y, epsilon=0.1, clip_values=(0, 1), **options)
    outside = sklearn_robust.robust_score(
        pipe, X / 4, Y, epsilon=0.1 / 4, clip_values=(0, 0.25), **options
    )
    # The network alone is attacked in float32, behind a scaler in float64.
    assert abs(inside - outside) <= 1 / len(Y)
