"""Samples as people have them: lists, tensors, values that rounding has put outside the range."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from sklearn_robust import (
    AdversarialLogisticRegression,
    RobustCNNClassifier,
    RobustFCClassifier,
    certified_score,
    evaluate_robustness,
    input_gradients,
    robust_score,
)
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import certified_correct
from sklearn_robust.neural_network import RandomShift

SETTINGS = {"pgd_steps": 2, "max_epochs": 2, "random_state": 0}


def test_lists_of_images_are_images(digits):
    X, y, *_ = digits
    clf = RobustFCClassifier((8,), epsilon=0.1, **SETTINGS)
    listed = clf.fit(list(X.reshape(-1, 8, 8)), y).predict_proba(X)
    nested = clf.predict_proba(X.reshape(-1, 8, 8).tolist())
    np.testing.assert_array_equal(nested, listed)
    assert clf.input_shape_ == (8, 8)
    np.testing.assert_array_equal(clf.fit(X.reshape(-1, 8, 8), y).predict_proba(X), listed)


def test_tensors_of_bytes_are_bytes(digits):
    X, y, *_ = digits
    grey = np.rint(X * 255).astype(np.uint8)
    clf = RobustFCClassifier((8,), epsilon=20, clip_values=(0, 255), input_ramp=None, **SETTINGS)
    expected = clf.fit(grey, y).predict_proba(grey)
    assert clf.fit(torch.from_numpy(grey), y).input_factor_ == 1 / 255
    np.testing.assert_array_equal(clf.predict_proba(torch.from_numpy(grey)), expected)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_rounding_puts_outside_the_range_is_taken(norm):
    X, y = load_breast_cancer(return_X_y=True)
    scaler = MinMaxScaler()
    scaled = scaler.fit_transform(X)
    assert 1 < scaled.max() < 1 + 1e-15
    settings = {"epsilon": 0.05, "norm": norm, "clip_values": (0, 1)}
    models = (
        RobustFCClassifier((16,), lr=0.02, **settings, **SETTINGS),
        AdversarialLogisticRegression(**settings),
    )
    for model in models:
        pipeline = make_pipeline(scaler, model).fit(X, y)
        certified = certified_score(pipeline[-1], scaled, y)
        robust = pipeline[-1].robust_score(scaled, y)
        assert certified <= robust <= pipeline.score(X, y)
    with pytest.raises(ValueError, match="outside clip_values"):
        models[0].fit(scaled * (1 + 1e-6), y)


def test_adversarial_samples_lie_in_the_range_to_the_last_bit(digits):
    X, y, *_ = digits
    X = 0.1 * X[:300]
    settings = {**SETTINGS, "lr": 0.05, "max_epochs": 5, "batch_size": 32}
    clf = RobustFCClassifier((16,), epsilon=0.01, clip_values=(0, 0.1), **settings)
    clf.fit(X, y[:300])
    X_adv = clf.perturb(X, y[:300])
    assert X_adv.dtype == np.float64
    assert X_adv.max() == 0.1
    clf.fit(X_adv, y[:300]).robust_score(X_adv, y[:300])


def test_shifts_take_the_classifiers_shape(digits):
    X, y, *_ = digits
    clf = RobustCNNClassifier(
        image_shape=(4, 4, 4), filters=(4,), augmentation=RandomShift(1), **SETTINGS
    )
    assert clf.fit(X[:50], y[:50]).net_.augmentation.image_shape == (4, 4, 4)


def test_partial_fit_weighs_one_chunk_against_another(digits):
    X, y, *_ = digits
    parts = [y == 0, y == 1]

    def trained(class_weight=None, sample_weight=(1.0, 1.0), classes=(0, 1)):
        clf = RobustFCClassifier((8,), epsilon=0.1, class_weight=class_weight, **SETTINGS)
        for part, weight in zip(parts, sample_weight, strict=True):
            weights = np.full(part.sum(), weight)
            clf.partial_fit(X[part], y[part], classes=classes, sample_weight=weights)
        return clf.predict_proba(X)

    plain, weighted = trained(), trained({0: 1.0, 1: 0.01})
    assert weighted[:, 1].mean() < plain[:, 1].mean()
    np.testing.assert_allclose(trained(sample_weight=(1.0, 0.01)), weighted)
    trained({0: 1.0, 9: 3.0}, classes=(0, 1, 9))  # no chunk has a nine


def test_frames_are_certified_without_a_word_about_names(digits):
    X, y = digits[0][:200], digits[1][:200]
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    clf = RobustFCClassifier((8,), epsilon=0.02, **SETTINGS).fit(frame, y)
    plain = RobustFCClassifier((8,), epsilon=0.02, **SETTINGS).fit(X, y)
    # Warnings are errors here.
    certified = certified_score(clf, frame, y)
    assert 0 < certified == certified_score(plain, X, y)
    report = evaluate_robustness(clf, frame, y, 0.02, attack="pgd", diagnostics=False)
    assert report.radii[-1].certified == certified
    with pytest.raises(ValueError, match="feature names should match"):
        certified_correct(clf, frame[frame.columns[::-1]], y, ThreatModel(0.02))
    with (
        pytest.warns(UserWarning, match="valid feature names"),
        pytest.raises(ValueError, match="X has 32 features"),
    ):
        certified_correct(clf, X[:, :32], y, ThreatModel(0.02))


@pytest.mark.parametrize("front", [[], [StandardScaler()]], ids=["alone", "pipeline"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_whatever_mode_of_autograd_the_caller_is_in_changes_nothing(digits, mode, front):
    X, y = digits[0][:200], digits[1][:200]

    def answers():
        net = RobustFCClassifier((8,), epsilon=0.05, **SETTINGS | {"max_epochs": 4})
        clf = make_pipeline(*front, net).fit(X, y)
        net.partial_fit(clf[:-1].transform(X) if front else X, y)
        return [
            clf.predict_proba(X),
            input_gradients(clf, X, y),
            robust_score(clf, X, y, epsilon=0.02),
            certified_score(clf, X[:50], y[:50], epsilon=0.02),
        ]

    expected = answers()
    with mode():
        found = answers()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
