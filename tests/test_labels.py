"""Labels as indices of classes: one rule for the whole library."""

import numpy as np
import pytest

from sklearn_robust._labels import check_seen, encode_labels


@pytest.mark.parametrize(
    ("classes", "y", "expected"),
    [
        ([0, 1, 5], [5, 0, 2, 7, -1], [2, 0, -1, -1, -1]),
        ([0.5, 1.5], [1.5, np.nan, 1], [1, -1, -1]),
        (["ant", "bee"], ["bee", "cat", "a"], [1, -1, -1]),
        (np.array(["ant", "bee"], dtype=object), ["bee", "zebra"], [1, -1]),
        ([False, True], [True, False], [1, 0]),
        ([0, 1], [[1], [0]], [1, 0]),
    ],
)
def test_a_label_is_the_index_of_its_class_and_minus_one_where_it_is_none(classes, y, expected):
    index = encode_labels(y, np.asarray(classes), len(y))
    assert index.tolist() == expected


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 1], "X has 2 samples but y has 3"),
        ([[0, 1], [1, 0]], r"y must hold one label for each sample, got shape \(2, 2\)"),
        (0, r"y must hold one label for each sample, got shape \(\)"),
        (["0", "1"], r"y must hold labels like the classes \[0, 1\], got \['0', '1'\]"),
        (np.array(["0", None]), r"y must hold labels like the classes"),
    ],
)
def test_labels_that_do_not_fit_samples_or_classes_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        encode_labels(y, np.array([0, 1]), 2)


def test_unseen_labels_are_named_where_they_must_be_known():
    classes = np.array([0, 1])
    check_seen([0, 1], encode_labels([0, 1], classes, 2), classes)
    with pytest.raises(ValueError, match=r"not seen in fit: \[2, 7\]. The classes are \[0, 1\]"):
        check_seen([7, 0, 2], encode_labels([7, 0, 2], classes, 3), classes)
