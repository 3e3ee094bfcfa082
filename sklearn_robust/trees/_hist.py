"""scikit-learn's HistGradientBoostingClassifier as a sum of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._tree import CategorySplit, Tree
from sklearn_robust.trees._values import class_column, class_scores, numbers

# The most codes a category has: one byte less one for missing values.
_N_CODES = 256


def read_hist(model: Any) -> Forest:
    """Return the model as a `Forest` on its input with categories encoded, see `encode_hist`."""
    k = len(model.classes_)
    source = _source(model)
    trees = [
        _tree(predictor, source, j, k)
        for stage in model._predictors
        for j, predictor in enumerate(stage)
    ]
    base = class_scores(model._baseline_prediction, k)
    return Forest(trees, base, model.classes_, model.n_features_in_, rounds=True)


def encode_hist(model: Any, X: Any) -> np.ndarray:
    """Return samples with their categories as codes, and those not seen in ``fit`` as missing."""
    if model._preprocessor is None:
        return numbers(X)
    return model._preprocess_X(X, reset=False)[:, np.argsort(_source(model))]


def _source(model: Any) -> np.ndarray:
    """Return the column of the input of each feature: within the model categories come first."""
    if model._preprocessor is None:
        return np.arange(model.n_features_in_)
    is_category = np.asarray(model.is_categorical_, dtype=bool)
    return np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])


def _tree(predictor: Any, source: np.ndarray, column: int, n_classes: int) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    splits = []
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
        words = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        bits = (words[:, None] >> np.arange(32, dtype=words.dtype)) & 1
        missing = bool(missing_left[node])  # unknown codes are encoded as missing
        splits.append(CategorySplit(int(node), np.flatnonzero(bits), _N_CODES, missing, missing))
    return Tree(
        feature=np.where(is_leaf, -1, source[nodes["feature_idx"]]),
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        missing_left=missing_left,
        value=class_column(nodes["value"], column, n_classes),
        categories=splits,
    )
