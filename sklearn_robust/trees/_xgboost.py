"""XGBoost's classifiers as sums of boxes, from the dump of their booster."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sklearn_robust.trees._errors import NoBoxesError
from sklearn_robust.trees._float32 import float32_threshold
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._tree import CategorySplit, Tree
from sklearn_robust.trees._values import class_column, class_scores, coded

_UNIT = 2.0**-24  # XGBoost adds up in single precision
# Rounding of probabilities near one half, seen as one of the margin: the slope there is a quarter.
_LINK = 16 * _UNIT


def read(model: Any) -> Forest:
    """Return an XGBClassifier or XGBRFClassifier as a `Forest`.

    Raises
    ------
    NoBoxesError
        If it is linear, has leaves of several values, or takes a number for missing.
    """
    if not hasattr(model, "classes_"):
        raise NoBoxesError(f"{type(model).__name__} is no classifier.")
    if not np.isnan(model.missing):
        raise NoBoxesError("missing= is a number, which goes its own way: leaves are not boxes.")
    content, weights, used = _trees(model)
    k, d = len(model.classes_), model.n_features_in_
    trees = [
        _tree(content["trees"][i], content["tree_info"][i], k, weights[i]) for i in range(used)
    ]
    if not trees:
        raise NoBoxesError("The booster has no trees.")
    forest = Forest(
        trees, np.zeros(k), model.classes_, d, unit=_UNIT, rounds=True, link=_LINK
    )  # fmt: skip
    return _with_base(forest, model)


def encode(model: Any, X: Any) -> np.ndarray:
    """Return samples with the categories of a frame of pandas as codes."""
    if not hasattr(X, "iloc"):
        return coded(X, [])
    own = [kind.categories if kind == "category" else None for kind in X.dtypes]
    booster = model.get_booster()
    if hasattr(booster, "get_categories"):  # since 3.1; before, codes were those of the frame
        held = booster.get_categories(export_to_arrow=True).to_arrow()
        fitted = [None if values is None else values.to_pylist() for _, values in held or []]
        own = [mine if ours is None else ours for mine, ours in zip(own, fitted, strict=True)]
    return coded(X, own)


def _trees(model: Any) -> tuple[dict[str, Any], Any, int]:
    """Return the dump of the trees, a weight for each, and how many are used."""
    booster = model.get_booster()
    part = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    if "tree_info" not in part.get("model", part.get("gbtree", {}).get("model", {})):
        raise NoBoxesError("The booster is linear.")
    content = part["model"] if "model" in part else part["gbtree"]["model"]
    n_trees = len(content["trees"])
    weights = part.get("weight_drop", [1.0] * n_trees)  # of DART
    if model.early_stopping_rounds:
        return content, weights, content["iteration_indptr"][booster.best_iteration + 1]
    return content, weights, n_trees


def _tree(tree: dict[str, Any], column: int, n_classes: int, weight: float) -> Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise NoBoxesError("multi_strategy='multi_output_tree' has leaves of several values.")
    left = np.array(tree["left_children"])
    at = np.array(tree["split_conditions"], dtype=np.float32)
    missing_left = np.array(tree["default_left"], dtype=bool)
    return Tree(
        feature=np.where(left < 0, -1, tree["split_indices"]),
        threshold=float32_threshold(at, strict=True),
        left=left,
        right=np.array(tree["right_children"]),
        missing_left=missing_left,
        value=class_column(weight * at.astype(np.float64), column, n_classes),
        categories=_categories(tree, missing_left),
    )


def _categories(tree: dict[str, Any], missing_left: np.ndarray) -> list[CategorySplit]:
    found = []
    for node, start, n in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        right = tree["categories"][start : start + n]
        size = max(right) // 32 * 32 + 32  # bits in whole words; codes beyond them go left
        left = np.setdiff1d(np.arange(size), right)
        found.append(CategorySplit(node, left, size, bool(missing_left[node]), True))
    return found


def _with_base(forest: Forest, model: Any) -> Forest:
    """Add what the trees leave of a margin: the base scores, whatever their link is."""
    missing = np.full((1, forest.n_features), np.nan)
    margin = class_scores(model.predict(missing, output_margin=True), len(forest.base))
    base = margin - forest.scores(missing)[0]
    forest.slack += 4 * _UNIT * (forest.n_trees + 4) * float(abs(base).max())
    forest.base = base
    return forest
