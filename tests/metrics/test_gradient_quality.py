"""Measures of input gradients: their formulas, their limits, and what chance gives."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from sklearn_robust.metrics import (
    effective_complexity,
    gini_sparsity,
    gradient_alignment,
    gradient_quality,
    gradient_smoothness,
    ink_energy,
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    return LogisticRegression(max_iter=1000).fit(X, y), X[:300], y[:300]


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).normal(size=(400, 1, 12, 10))


def test_gini_is_half_the_mean_difference_of_magnitudes(noise):
    g = noise[:5].reshape(5, -1)
    a = np.abs(g)
    differences = np.abs(a[:, :, None] - a[:, None, :]).mean((1, 2))
    np.testing.assert_allclose(gini_sparsity(g), differences / (2 * a.mean(1)), rtol=1e-12)


def test_gini_of_normal_numbers_is_as_documented(noise):
    # For |N(0, 1)| the mean difference gives sqrt(2) - 1; four standard errors of the mean around.
    values = gini_sparsity(np.random.default_rng(0).normal(size=(2000, 784)))
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - (np.sqrt(2) - 1)) < 4 * error + 1 / 784


@pytest.mark.parametrize(
    "measure",
    [
        gini_sparsity,
        effective_complexity,
        gradient_smoothness,
        lambda g: gradient_alignment(np.abs(g) + 1, g),
        lambda g: gradient_alignment(np.abs(g) + 1, g, cosine=False),
        lambda g: ink_energy(np.abs(g), g),
    ],
)
def test_measures_ignore_the_length_of_a_gradient_and_have_no_value_for_zero(measure, noise):
    g = np.concatenate([noise[:3], 0 * noise[:1]])
    with np.errstate(all="raise", under="ignore"):
        values = measure(g)
    assert np.isnan(values[3])
    X = noise[:3]
    factors = np.array([1e-200, 1.0, 1e200])[:, None, None, None]
    if measure in (gini_sparsity, effective_complexity, gradient_smoothness):
        np.testing.assert_allclose(measure(X * factors), values[:3], rtol=1e-9)
    for other in (gradient_alignment, ink_energy):
        np.testing.assert_allclose(other(X, X * factors), other(X, X), rtol=1e-9)


def test_alignment_is_the_cosine_with_the_image(noise):
    x, g = noise[:10], noise[10:20]
    expected = [
        abs(np.dot(a.ravel(), b.ravel())) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(x, g, strict=True)
    ]
    np.testing.assert_allclose(gradient_alignment(x, g), expected, rtol=1e-12)
    lengths = np.linalg.norm(x.reshape(10, -1), axis=1)
    np.testing.assert_allclose(
        gradient_alignment(x, g, cosine=False), np.multiply(expected, lengths), rtol=1e-12
    )


def test_ink_energy_counts_what_is_on_ink_or_next_to_it():
    X = np.zeros((1, 7, 7))
    X[0, 3, 3] = 1
    g = np.zeros((1, 7, 7))
    g[0, 3, 3], g[0, 4, 4], g[0, 5, 5], g[0, 0, 0] = 1, -2, 4, -8
    expected = {0: 1 / 15, 1: 3 / 15, 2: 7 / 15, 3: 1.0}
    for width, energy in expected.items():
        assert ink_energy(X, g, width=width)[0] == pytest.approx(energy)


def test_smoothness_tells_a_slope_from_noise_and_from_a_chessboard(noise):
    slope = np.add.outer(np.arange(10.0), np.arange(10.0))[None]
    chess = (-1.0) ** slope
    assert gradient_smoothness(slope)[0] > 0.95
    assert gradient_smoothness(chess)[0] == pytest.approx(-1)
    values = gradient_smoothness(noise)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_chance_is_what_it_should_be(digits):
    clf, X, y = digits
    quality = gradient_quality(clf, X, y, image_shape=(8, 8))
    # What looks at the gradient alone cannot change when gradients change owners.
    for measure in ("gini", "complexity", "smoothness"):
        np.testing.assert_allclose(
            np.sort(quality.shuffled[measure]), np.sort(quality.values[measure])
        )
    area = ink_energy(X.reshape(-1, 8, 8), np.ones((len(X), 8, 8)))
    error = (quality.random["ink"] - area).std() / np.sqrt(len(X))
    assert abs(quality.random["ink"].mean() - area.mean()) < 4 * error
    assert quality.n_samples == 300
    assert quality.n_zero == 0


def test_rows_of_a_table_have_no_image_measures(digits):
    clf, X, y = digits
    quality = gradient_quality(clf, X, y, image_shape=(64,))
    assert list(quality.values) == ["gini", "complexity", "cosine"]
    frame = quality.to_frame()
    assert list(frame.columns) == ["mean", "low", "high", "shuffled", "random"]
    assert (frame["low"] < frame["mean"]).all()
    assert "95 % interval" in repr(quality)


def test_effects_compare_the_same_samples(digits):
    clf, X, y = digits
    quality = gradient_quality(clf, X, y)
    weak = LogisticRegression(C=1e-4).fit(X, y)
    other = gradient_quality(weak, X, y)
    effect = quality.effect(other, "gini")
    assert effect["low"] <= effect["difference"] <= effect["high"]
    back = other.effect(quality, "gini")
    assert back["cohen_d"] == pytest.approx(-effect["cohen_d"])
    itself = quality.effect(quality, "gini")
    assert itself["difference"] == itself["cohen_d"] == 0
    with pytest.raises(ValueError, match="got 300 here and 200 in other"):
        quality.effect(gradient_quality(clf, X[:200], y[:200]), "gini")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gini_sparsity([1.0, 2.0]), "one sample per row"),
        (lambda: gini_sparsity([[np.nan, 2.0]]), "NaN or infinite values in 1 samples"),
        (lambda: effective_complexity([[1.0]], share=2), "share must be"),
        (lambda: gradient_smoothness(np.ones((2, 9))), "pass image_shape"),
        (lambda: gradient_alignment(np.ones((2, 3)), np.ones((2, 4))), "must have the shape of X"),
        (lambda: ink_energy(np.ones((1, 3, 3)), np.ones((1, 3, 3)), width=-1), "width must be"),
    ],
)
def test_what_cannot_be_measured_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_wrong_image_shape_is_named(digits):
    clf, X, y = digits
    with pytest.raises(ValueError, match=r"image_shape must be .* with 64 values, .* got \(9, 9\)"):
        gradient_quality(clf, X, y, image_shape=(9, 9))
    with pytest.raises(ValueError, match="at least 2 samples"):
        gradient_quality(clf, X[:1], y[:1])
