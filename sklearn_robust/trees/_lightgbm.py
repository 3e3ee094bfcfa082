"""LightGBM's classifiers as sums of boxes, from the dump of their booster."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust.trees._errors import NoBoxesError
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._tree import CategorySplit, Tree
from sklearn_robust.trees._values import class_column, coded

# Values up to this size are read as 0.
_ZERO = float(np.float32(1e-35))
# Rounding of probabilities near one half, seen as one of the margin: the slope there is a quarter.
_LINK = 16 * 2.0**-53


def read(model: Any) -> Forest:
    """Return an LGBMClassifier as a `Forest`.

    Raises
    ------
    NoBoxesError
        If its leaves are linear, it is trained one class against the rest, or takes 0 for missing.
    """
    if not hasattr(model, "classes_"):
        raise NoBoxesError(f"{type(model).__name__} is no classifier.")
    booster = model.booster_
    dump = booster.dump_model()
    if booster.params.get("linear_tree"):
        raise NoBoxesError("linear_tree=True has leaves that are no constants.")
    if "ova" in dump.get("objective", ""):
        raise NoBoxesError("The objective is one class against the rest, which is no sum.")
    k, per = len(model.classes_), dump["num_tree_per_iteration"]
    infos = dump["tree_info"][: max(model.best_iteration_ or 0, 0) * per or None]
    scale = per / len(infos) if dump["average_output"] else 1.0
    trees = [
        _tree(info["tree_structure"], number % per, k, scale) for number, info in enumerate(infos)
    ]
    return Forest(
        trees, np.zeros(k), model.classes_, model.n_features_in_, rounds=True, link=_LINK
    )  # fmt: skip


def encode(model: Any, X: Any) -> np.ndarray:
    """Return samples with the categories of a frame of pandas as codes."""
    lists = iter(model.booster_.pandas_categorical or [])
    kinds = getattr(X, "dtypes", [None] * np.shape(X)[1])
    return coded(X, [next(lists, None) if kind == "category" else None for kind in kinds])


def _tree(root: dict[str, Any], column: int, n_classes: int, scale: float) -> Tree:
    nodes = [root]
    children: list[tuple[int, int]] = []
    for node in nodes:  # which grows
        children.append((-1, -1))
        if "split_feature" in node:
            children[-1] = len(nodes), len(nodes) + 1
            nodes += [node["left_child"], node["right_child"]]
    left, right = map(np.array, zip(*children, strict=True))
    splits = [_split(node) for node in nodes]
    value = np.array([node.get("leaf_value", 0.0) for node in nodes]) * scale
    return Tree(
        feature=np.array([node.get("split_feature", -1) for node in nodes]),
        threshold=np.array([threshold for threshold, _ in splits]),
        left=left,
        right=right,
        missing_left=np.array([missing for _, missing in splits]),
        value=class_column(value, column, n_classes),
        categories=[
            _category(number, node)
            for number, node in enumerate(nodes)
            if node.get("decision_type") == "=="
        ],
    )


def _split(node: dict[str, Any]) -> tuple[float, bool]:
    """Return the threshold of a node, and whether missing values go left."""
    if "split_feature" not in node or node["decision_type"] == "==":
        return np.nan, False
    threshold, missing_left = node["threshold"], node["default_left"]
    if node["missing_type"] == "Zero":
        raise NoBoxesError("zero_as_missing=True: 0 goes its own way, so leaves are not boxes.")
    if node["missing_type"] == "None":  # NaN is read as 0
        missing_left = threshold >= 0
    if abs(threshold) <= _ZERO:
        threshold = _ZERO if threshold >= 0 else np.nextafter(-_ZERO, -1)
    return float(threshold), bool(missing_left)


def _category(number: int, node: dict[str, Any]) -> CategorySplit:
    codes = [int(code) for code in node["threshold"].split("||")]
    return CategorySplit(number, codes, max(codes) + 1, missing_left=False, unknown_left=False)
