"""Labels of any kind as indices of classes."""

from __future__ import annotations

from typing import Any

import numpy as np


def encode_labels(y: Any, classes: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the index of each label in the sorted `classes`, -1 where it is none of them.

    No prediction has the index -1: a label that was not seen in fit is a mistake, as accuracy
    counts it. Where labels must be known, `check_seen` follows.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
    n_samples : int
        Samples of X, which y must fit.

    Returns
    -------
    index : ndarray of int, shape (n_samples,)

    Raises
    ------
    ValueError
        If y has not one label for each sample, or its labels cannot be compared to the classes:
        words to numbers.
    """
    y = np.asarray(y)
    if y.ndim != 1 and y.shape != (n_samples, 1):
        raise ValueError(f"y must hold one label for each sample, got shape {y.shape}.")
    y = y.ravel()
    if len(y) != n_samples:
        raise ValueError(f"X has {n_samples} samples but y has {len(y)}.")
    try:
        # Numbers beside words become words, and so compare unequal without an error.
        if (y.dtype.kind in "US") != (classes.dtype.kind in "US") and "O" not in (
            y.dtype.kind,
            classes.dtype.kind,
        ):
            raise TypeError
        index = np.searchsorted(classes, y).clip(0, len(classes) - 1)
    except TypeError:
        raise ValueError(
            f"y must hold labels like the classes {classes.tolist()[:10]}, got {y.tolist()[:3]}."
        ) from None
    return np.where(classes[index] == y, index, -1)


def check_seen(y: Any, index: np.ndarray, classes: np.ndarray) -> None:
    """Raise ValueError if `encode_labels` found labels that were not seen in fit."""
    if (index < 0).any():
        unseen = np.unique(np.ravel(y)[index < 0]).tolist()
        raise ValueError(
            f"y has labels that were not seen in fit: {unseen[:10]}. "
            f"The classes are {classes.tolist()[:10]}."
        )
