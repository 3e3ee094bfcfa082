"""Transformers inside a network: training against an adversary in raw units."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)

from sklearn_robust import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    robust_score,
)
from sklearn_robust.attacks import APGD, ThreatModel
from sklearn_robust.bounds import certified_correct

X, Y = load_wine(return_X_y=True)
SPREAD = X.std(axis=0)


def tiny(**kwargs):
    settings = {"epsilon": 0.2 * SPREAD, "max_epochs": 30, "pgd_steps": 3, "lr": 0.02,
                "random_state": 0}  # fmt: skip
    return RobustFCClassifier((16,), **{**settings, **kwargs})


def test_the_scaler_inside_trains_against_raw_units_where_outside_it_does_not(digits):
    X, y, X_test, y_test = digits
    settings = {"epsilon": 0.1, "max_epochs": 40, "pgd_steps": 4, "lr": 3e-3, "random_state": 0}
    settings["training"] = "pgd"
    inside = RobustFCClassifier((64,), preprocessor=StandardScaler(), **settings).fit(X, y)
    outside = make_pipeline(StandardScaler(), RobustFCClassifier((64,), **settings)).fit(X, y)
    attack = {"epsilon": 0.1, "attack": APGD(20, "margin")}
    raw_inside = robust_score(inside, X_test, y_test, **attack)
    raw_outside = robust_score(outside, X_test, y_test, **attack)
    # Both are good classifiers; 0.1 of a standard deviation, about 0.02, is what the second saw.
    assert inside.score(X_test, y_test) > 0.93
    assert outside.score(X_test, y_test) > 0.93
    # Measured, with twice the epochs and units: 0.80 and 0.00.
    assert raw_inside > 0.65
    assert raw_outside < 0.2


def test_epsilon_zero_is_the_pipeline(digits):
    X, y, X_test, _ = digits
    settings = {"epsilon": 0, "max_epochs": 2, "random_state": 0, "dtype": "float64"}
    inside = RobustFCClassifier((8,), preprocessor=StandardScaler(), **settings).fit(X, y)
    outside = make_pipeline(StandardScaler(), RobustFCClassifier((8,), **settings)).fit(X, y)
    # (x - mean) / scale against x / scale - mean / scale: rounding, carried through two epochs.
    np.testing.assert_allclose(
        inside.decision_function(X_test), outside.decision_function(X_test), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    "preprocessor",
    [
        StandardScaler(),
        PCA(4, whiten=True),
        make_pipeline(MinMaxScaler(), SelectKBest(k=5)),
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler()),
    ],
)
def test_the_module_maps_raw_samples_and_holds_the_transformer_as_buffers(preprocessor):
    clf = tiny(preprocessor=preprocessor, epsilon=0, dtype="float64").fit(X, Y)
    assert clf.score(X, Y) > 0.9
    assert not hasattr(preprocessor, "n_features_in_")
    names = [name for name, _ in clf.module_.named_parameters()]
    assert len(names) == 4  # weights and biases of two layers, and nothing of the transformer
    Z = clf.preprocessor_.transform(X)
    rest = clf.module_[-1]
    with torch.no_grad():
        by_hand = rest(torch.as_tensor(Z))
        whole = clf.module_(torch.as_tensor(X))
    np.testing.assert_allclose(whole.numpy(), by_hand.numpy(), rtol=0, atol=1e-8)
    twin = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(twin.decision_function(X), clf.decision_function(X))


def test_attacks_and_certificates_are_in_raw_units():
    clf = tiny(preprocessor=StandardScaler()).fit(X, Y)
    epsilon = 0.3 * SPREAD
    X_adv = clf.perturb(X, Y, epsilon=epsilon)
    threat = ThreatModel(epsilon)
    assert threat.contains(X_adv.astype(np.float32), X.astype(np.float32)).all()
    assert (abs(X_adv - X) / SPREAD).max() > 0.25
    certified = certified_correct(clf, X, Y, threat)
    attacked = clf.robust_score(X, Y, epsilon=epsilon)
    assert 0.3 < certified.mean() <= attacked < clf.score(X, Y)


def test_clip_values_are_in_raw_units():
    low, high = X.min(axis=0) - 1e-3, X.max(axis=0) + 1e-3
    clf = tiny(preprocessor=StandardScaler(), clip_values=(low, high)).fit(X, Y)
    X_adv = clf.perturb(X, Y, epsilon=SPREAD)
    slack = 1e-6 * np.abs(high)  # attacks run in float32
    assert (X_adv >= low - slack).all() and (X_adv <= high + slack).all()
    with pytest.raises(ValueError, match="outside clip_values"):
        clf.fit(X * 2, Y)


def test_weights_reach_the_transformer():
    weight = np.random.default_rng(0).integers(0, 3, size=len(Y))
    settings = {"batch_size": -1, "random_start": False, "dtype": "float64", "max_epochs": 5}
    for preprocessor in (StandardScaler(), MinMaxScaler()):
        weighted = tiny(preprocessor=preprocessor, **settings).fit(X, Y, sample_weight=weight)
        repeated = tiny(preprocessor=preprocessor, **settings).fit(
            np.repeat(X, weight, axis=0), np.repeat(Y, weight)
        )
        # Sums in another order differ by rounding, which Adam's early steps magnify.
        np.testing.assert_allclose(
            weighted.decision_function(X), repeated.decision_function(X), atol=1e-7
        )


def test_images_keep_their_shape_or_become_rows():
    images, y = load_digits(return_X_y=True)
    images = images[:300].reshape(-1, 8, 8)
    settings = {"epsilon": 0, "max_epochs": 1, "random_state": 0}
    clf = RobustCNNClassifier(preprocessor=MinMaxScaler(), **settings).fit(images, y[:300])
    assert clf.input_gradients(images[:2]).shape == (2, 8, 8)
    reduced = RobustCNNClassifier(preprocessor=PCA(16), **settings).fit(images, y[:300])
    assert reduced.module_[-1].images.unflattened_size == (1, 1, 16)  # components are no pixels
    with pytest.raises(ValueError, match="with 16 values"):
        RobustCNNClassifier((3, 3), preprocessor=PCA(16), **settings).fit(images, y[:300])


def test_a_factory_is_told_the_shape_behind_the_transformer():
    def network(input_shape, n_classes):
        return torch.nn.Linear(*input_shape, n_classes)

    clf = RobustNeuralNetClassifier(network, preprocessor=PCA(3), epsilon=0, max_epochs=1)
    assert clf.fit(X, Y).module_[-1].in_features == 3


def test_bytes_reach_the_transformer_as_they_are():
    images, y = load_digits(return_X_y=True)
    grey = (images * 15).astype(np.uint8)
    clf = tiny(preprocessor=StandardScaler(), epsilon=2.0, max_epochs=1).fit(grey, y)
    assert clf.input_factor_ == 1
    np.testing.assert_allclose(clf.preprocessor_.mean_, grey.mean(axis=0))


def test_partial_fit_and_warm_start_keep_the_transformer():
    clf = tiny(preprocessor=StandardScaler())
    clf.partial_fit(X[::2], Y[::2])
    first = clf.preprocessor_
    clf.partial_fit(X, Y)
    assert clf.preprocessor_ is first
    warm = tiny(preprocessor=StandardScaler(), warm_start=True, max_epochs=1).fit(X, Y)
    first = warm.preprocessor_
    assert warm.fit(X * 2, Y).preprocessor_ is first


def test_nested_parameters_can_be_set():
    clf = tiny(preprocessor=StandardScaler())
    assert clf.get_params()["preprocessor__with_mean"] is True
    clone(clf).set_params(preprocessor__with_mean=False).fit(X, Y)


@pytest.mark.parametrize(
    "preprocessor", [PolynomialFeatures(2), QuantileTransformer(n_quantiles=9)]
)
def test_what_cannot_be_differentiated_is_refused_by_name(preprocessor):
    name = type(preprocessor).__name__
    with pytest.raises(ValueError, match=f"preprocessor must be differentiable.*{name} is not"):
        tiny(preprocessor=preprocessor).fit(X, Y)
