"""CatBoost's classifiers on numbers as sums of boxes, from the file that they save."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_robust.trees._errors import NoBoxesError
from sklearn_robust.trees._float32 import float32_threshold
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._tree import Tree
from sklearn_robust.trees._values import class_column

# Rounding of probabilities near one half, seen as one of the margin: the slope there is a quarter.
_LINK = 16 * 2.0**-53


def read(model: Any) -> Forest:
    """Return a CatBoostClassifier whose features are numbers as a `Forest`.

    Raises
    ------
    NoBoxesError
        If trees look at categories, texts or embeddings, or it is no classifier of one label.
    """
    if not hasattr(model, "classes_"):
        raise NoBoxesError(f"{type(model).__name__} is no classifier.")
    saved, k = _saved(model), len(model.classes_)
    flat, missing_left = _features(saved)
    scale, bias = saved["scale_and_bias"]
    if "oblivious_trees" in saved:
        trees = [_oblivious(tree, k) for tree in saved["oblivious_trees"]]
    else:
        trees = [_nested(tree, k) for tree in saved["trees"]]
    if not trees:
        raise NoBoxesError("The model has no trees.")
    base = np.zeros(k)
    base[-len(bias) :] = bias
    return Forest(
        [_placed(tree, flat, missing_left, scale) for tree in trees],
        base, model.classes_, model.n_features_in_, rounds=True, link=_LINK,
    )  # fmt: skip


def _saved(model: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return json.loads(path.read_text())


def _features(saved: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the column of each number, and whether NaN counts as less than all borders of it."""
    infos = saved["features_info"].get("float_features", [])
    flat = np.array([info["flat_feature_index"] for info in infos], dtype=np.intp)
    left = [info.get("nan_value_treatment", "AsIs") != "AsTrue" for info in infos]
    return flat, np.array(left, dtype=bool)


def _border(split: dict[str, Any]) -> tuple[int, float]:
    if split["split_type"] != "FloatFeature":
        raise NoBoxesError(
            "CatBoost splits on statistics of categories, texts or embeddings: these leaves are "
            "not boxes."
        )
    return split["float_feature_index"], split["border"]


def _oblivious(tree: dict[str, Any], n_classes: int) -> Tree:
    """Return a tree that asks the same question in all nodes of a level."""
    borders = [_border(split) for split in tree["splits"] or ()]
    depth, n_inner = len(borders), 2 ** len(borders) - 1
    level = np.floor(np.log2(np.arange(n_inner) + 1)).astype(np.intp)
    number = np.arange(n_inner)
    leaves = np.arange(2**depth)
    # Left to right the first question is the highest digit; in the file it is the lowest.
    places = sum(((leaves >> (depth - 1 - i)) & 1) << i for i in range(depth)) + 0 * leaves
    feature, threshold = np.full(n_inner + 2**depth, -1), np.full(n_inner + 2**depth, np.nan)
    feature[:n_inner] = np.array([f for f, _ in borders], dtype=np.intp)[level]
    threshold[:n_inner] = np.array([b for _, b in borders])[level]
    left, right = np.full((2, n_inner + 2**depth), -1)
    left[:n_inner], right[:n_inner] = 2 * number + 1, 2 * number + 2
    value = np.zeros((n_inner + 2**depth, n_classes))
    value[n_inner:] = _values(tree["leaf_values"], n_classes)[places]
    return Tree(feature, threshold, left, right, np.zeros(len(feature), bool), value)


def _nested(root: dict[str, Any], n_classes: int) -> Tree:
    """Return a tree of any shape."""
    nodes = [root]
    children: list[tuple[int, int]] = []
    borders = []
    for node in nodes:  # which grows
        children.append((-1, -1))
        borders.append((-1, np.nan))
        if "split" in node:
            borders[-1] = _border(node["split"])
            children[-1] = len(nodes), len(nodes) + 1
            nodes += [node["left"], node["right"]]
    left, right = map(np.array, zip(*children, strict=True))
    feature, threshold = map(np.array, zip(*borders, strict=True))
    value = np.zeros((len(nodes), n_classes))
    for number, node in enumerate(nodes):
        if "split" not in node:
            value[number] = _values(node["value"], n_classes)[0]
    return Tree(feature, threshold, left, right, np.zeros(len(nodes), bool), value)


def _values(values: Any, n_classes: int) -> np.ndarray:
    if n_classes == 2:
        return class_column(np.ravel(values), 1, 2)
    return np.reshape(values, (-1, n_classes))


def _placed(tree: Tree, flat: np.ndarray, missing_left: np.ndarray, scale: float) -> Tree:
    """Return a tree on the columns of X; a sample goes right if it is above a border."""
    inner = tree.feature >= 0
    return Tree(
        feature=np.where(inner, flat[tree.feature], -1),
        threshold=float32_threshold(tree.threshold),
        left=tree.left,
        right=tree.right,
        missing_left=inner & missing_left[tree.feature],
        value=scale * tree.value,
    )
