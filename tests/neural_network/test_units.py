"""Warnings for epsilon and X in units that cannot be meant, and silence where they can."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_robust import RobustFCClassifier

IMAGES, Y = load_digits(return_X_y=True)
IMAGES, Y = IMAGES[:60] / 16, Y[:60]
GREY = np.round(IMAGES * 255)


def fit(X=IMAGES, **settings):
    settings = {"epsilon": 0.1, "max_epochs": 1, "pgd_steps": 1, "random_state": 0, **settings}
    with warnings.catch_warnings():
        # One epoch on 60 digits leaves some of these networks constant, which is beside the point.
        warnings.filterwarnings("ignore", category=UserWarning, message="The network predicts one")
        return RobustFCClassifier((4,), **settings).fit(X, Y)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_a_radius_below_a_grey_level_is_warned_of(dtype):
    with pytest.warns(
        UserWarning, match=r"epsilon=0\.3 is less than one grey level of X"
    ) as caught:
        fit(GREY.astype(dtype), epsilon=0.3)
    assert caught[0].filename == __file__
    fit(GREY.astype(dtype), epsilon=8)
    fit(GREY.astype(dtype), epsilon=0)


def test_whole_numbers_that_are_no_grey_levels_are_let_be():
    fit(GREY + 1, epsilon=0.3)
    fit(GREY / 16, epsilon=0.3)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_radius_at_which_all_samples_meet_is_exact(norm):
    low, high = IMAGES.min(axis=0), IMAGES.max(axis=0)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    meeting = np.linalg.norm((high - low) / 2, ord=order)
    fit(epsilon=meeting * (1 - 1e-9), norm=norm)
    message = r"to one common point, .* values lie in \[0, 1\]"
    with pytest.warns(UserWarning, match=message):
        fit(epsilon=meeting * (1 + 1e-9), norm=norm)
    # A radius for each feature: one that cannot be closed keeps the samples apart.
    each = np.full(64, meeting)
    with pytest.warns(UserWarning, match=message):
        fit(epsilon=each, norm="linf")
    each[IMAGES.std(axis=0).argmax()] = 0.1
    fit(epsilon=each, norm="linf")


def test_bytes_given_to_a_model_of_fractions_are_warned_of():
    clf = pickle.loads(pickle.dumps(fit()))
    message = "values up to 255, where fit saw values up to 1: .* Divide X as it was divided"
    for grey in (GREY.astype(np.uint8), GREY):
        with pytest.warns(UserWarning, match=message) as caught:
            clf.predict(grey)
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match=message):
            clf.robust_score(grey, Y)


def test_fractions_given_to_a_model_of_bytes_are_warned_of():
    clf = fit(GREY.astype(np.uint8), epsilon=8)
    with pytest.warns(UserWarning, match="values up to 255 of type uint8: .* Pass X as uint8, or"):
        clf.predict(IMAGES)


@pytest.mark.parametrize(
    ("given", "new"),
    [
        (IMAGES, IMAGES * 0),
        (IMAGES, IMAGES * 20),
        (IMAGES * 16, (IMAGES * 16).astype(np.uint8)),
        (GREY.astype(np.uint8), GREY),
        (GREY.astype(np.uint8), GREY.astype(np.uint8) * 0),
        (IMAGES * 0, IMAGES),
    ],
)
def test_what_may_be_the_same_units_is_let_be(given, new):
    fit(given, epsilon=2 if given.max() > 1 else 0.1).predict(new)


def test_a_model_of_an_earlier_version_still_predicts():
    clf = fit()
    expected = clf.predict(IMAGES)
    state = {k: v for k, v in clf.__getstate__().items() if not k.startswith("_fitted_")}
    old = RobustFCClassifier.__new__(RobustFCClassifier)
    old.__setstate__(state)
    np.testing.assert_array_equal(old.predict(IMAGES), expected)


def test_bytes_that_are_no_grey_levels_are_numbers():
    images = np.round(IMAGES * 16).astype(np.uint8)
    for given in (images, images.reshape(-1, 8, 8), (images > 8).astype(np.uint8)):
        by_bytes, by_floats = (fit(g) for g in (given, given.astype(np.float32)))
        assert by_bytes.input_factor_ == 1
        np.testing.assert_array_equal(
            by_bytes.decision_function(given), by_floats.decision_function(given)
        )
    # A table of counts with flags beside them: grey levels would leave nothing of the flags.
    table = np.column_stack([images[:, :3] * 15, images[:, 3:11] > 8]).astype(np.uint8)
    assert fit(table, epsilon=0.1).input_factor_ == 1


def test_bytes_in_rows_that_are_no_squares_are_taken_for_grey_levels_aloud():
    rows = GREY[:, 8:56].astype(np.uint8)
    with pytest.warns(
        UserWarning, match=r"taken for grey levels.* pass X\.astype\(float\)"
    ) as caught:
        assert fit(rows, epsilon=8, input_ramp=None).input_factor_ == 1 / 255
    assert caught[0].filename == __file__
    images = rows.reshape(-1, 6, 8)  # no question
    assert fit(images, epsilon=8, input_ramp=None).input_factor_ == 1 / 255
    assert fit(rows.astype(float), epsilon=8, input_ramp=None).input_factor_ == 1
