"""Data, tree ensembles and radii of the benchmark of trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

from benchmarks._data import small_mnist

Table = tuple[np.ndarray, np.ndarray]
# Columns of the census-like data that hold categories.
CATEGORIES = (8, 9, 10, 11)


@dataclass(frozen=True)
class Setting:
    """A data set, the models trained on one half of it, and radii.

    Attributes
    ----------
    load : callable
        Seed -> X, y.
    radii : dict of str to tuple of float
        By norm: in standard deviations of each column, or as they are where `clip_values` is given.
    models : tuple of str
    clip_values : (low, high) or None
    fixed : tuple of int
        Columns that nobody moves.
    quick : bool
        Whether training and judging take seconds.
    """

    load: Callable[[int], Table]
    radii: dict[str, tuple[float, ...]]
    models: tuple[str, ...]
    clip_values: tuple[float, float] | None = None
    fixed: tuple[int, ...] = ()
    quick: bool = True

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return X, X_test, y, y_test."""
        X, y = self.load(seed)
        return train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)

    def unit(self, X: np.ndarray) -> np.ndarray:
        """Return what a radius of 1 means for each column."""
        scale = np.ones(X.shape[1]) if self.clip_values else np.nanstd(X, axis=0)
        scale[list(self.fixed)] = 0
        return scale


def covtype_like(seed: int, n: int = 6000) -> Table:
    """Return 54 columns of 7 classes, for the size of scikit-learn's data on cover types."""
    return make_classification(
        n, 54, n_informative=12, n_redundant=6, n_classes=7, class_sep=1.5, random_state=seed
    )


def census_like(seed: int) -> Table:
    """Return numbers and categories, a tenth of the numbers missing."""
    X, y = make_classification(6000, 12, n_informative=9, class_sep=0.7, random_state=seed)
    rng = np.random.default_rng(seed)
    for column in CATEGORIES:
        X[:, column] = np.digitize(X[:, column], np.linspace(-2, 2, 8))
    missing = rng.random(X.shape) < 0.1
    missing[:, list(CATEGORIES)] = False
    return np.where(missing, np.nan, X), y


def _digits(seed: int) -> Table:
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def _two_and_six(seed: int) -> Table:
    X, y = small_mnist()
    pick = np.isin(y, (2, 6))
    return X[pick], y[pick]


OTHERS = ("XGBoost", "LightGBM")
ALL = ("forest", "random trees", "boosting", "bins", "votes", *OTHERS)
# Before the name of a model: with so many times the trees.
MORE = "5 x "
SETTINGS = {
    "iris": Setting(lambda seed: load_iris(return_X_y=True), {"linf": (0.2, 0.4)}, ("forest",)),
    "breast cancer": Setting(
        lambda seed: load_breast_cancer(return_X_y=True),
        {"linf": (0.2, 0.5, 0.8), "l2": (0.8,), "l1": (1.2,)},
        ALL,
    ),
    "wine": Setting(
        lambda seed: load_wine(return_X_y=True),
        {"linf": (0.2, 0.5, 0.8), "l2": (0.8,), "l1": (1.2,)},
        ("forest", "bins"),
    ),
    "digits": Setting(_digits, {"linf": (0.03, 0.07, 0.1)}, ("forest", "bins", *OTHERS), (0, 1)),
    "census-like": Setting(
        census_like, {"linf": (0.1, 0.2, 0.4)}, ("bins of categories",), fixed=CATEGORIES
    ),
    "covtype-like": Setting(
        covtype_like,
        {"linf": (0.1, 0.2, 0.3)},
        ("forest", "bins", *OTHERS, f"{MORE}forest", f"{MORE}bins"),
        quick=False,
    ),
    "MNIST 2 or 6": Setting(
        _two_and_six, {"linf": (0.02, 0.05, 0.1)}, ("forest", "bins"), (0, 1), quick=False
    ),
    "MNIST": Setting(
        lambda seed: small_mnist(),
        {"linf": (0.005, 0.01, 0.05)},
        ("forest", "bins"),
        (0, 1),
        quick=False,
    ),
}


def make_model(name: str, n_trees: int, seed: int) -> Any:
    """Return a classifier of so many trees, or iterations; half of them where it votes."""
    if name.startswith(MORE):
        return make_model(name.removeprefix(MORE), 5 * n_trees, seed)
    makers = {
        "forest": lambda: RandomForestClassifier(n_trees, random_state=seed),
        "random trees": lambda: ExtraTreesClassifier(n_trees, random_state=seed),
        "boosting": lambda: GradientBoostingClassifier(n_estimators=n_trees, random_state=seed),
        "bins": lambda: HistGradientBoostingClassifier(max_iter=n_trees, random_state=seed),
        "bins of categories": lambda: HistGradientBoostingClassifier(
            max_iter=n_trees, categorical_features=list(CATEGORIES), random_state=seed
        ),
        "votes": lambda: AdaBoostClassifier(
            DecisionTreeClassifier(max_depth=3), n_estimators=n_trees // 2, random_state=seed
        ),
        "XGBoost": lambda: _xgboost(n_trees, seed),
        "LightGBM": lambda: _lightgbm(n_trees, seed),
    }
    return makers[name]()


def _xgboost(n_trees: int, seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=n_trees, random_state=seed, n_jobs=1)


def _lightgbm(n_trees: int, seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=n_trees, random_state=seed, n_jobs=1, verbose=-1)
