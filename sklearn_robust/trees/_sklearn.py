"""scikit-learn's trees and their ensembles as sums of boxes; only HistGradientBoosting is apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.tree import BaseDecisionTree

from sklearn_robust.trees._errors import NoBoxesError, NoTreesError
from sklearn_robust.trees._float32 import float32_threshold
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._hist import encode_hist, read_hist
from sklearn_robust.trees._tree import Tree
from sklearn_robust.trees._values import class_column, class_scores, numbers

_FORESTS = (RandomForestClassifier, ExtraTreesClassifier)


def read(model: Any) -> Forest:
    """Return a classifier of scikit-learn as a `Forest`.

    Raises
    ------
    NoBoxesError
        If it is not made of trees, or not a sum of them.
    """
    if getattr(model, "n_outputs_", 1) > 1 or isinstance(model.classes_, list):
        raise NoBoxesError(f"{type(model).__name__} has several outputs.")
    if isinstance(model, HistGradientBoostingClassifier):
        return read_hist(model)
    if isinstance(model, GradientBoostingClassifier):
        return _boosted(model)
    if isinstance(model, AdaBoostClassifier):
        return _weighted_votes(model)
    if isinstance(model, VotingClassifier) and model.voting == "hard":
        return _hard_votes(model)
    return _averaged(model)


def encode(model: Any, Z: Any) -> np.ndarray:
    """Return what a model is given as the numbers that its trees compare."""
    if isinstance(model, HistGradientBoostingClassifier):
        return encode_hist(model, Z)
    return numbers(Z)


def _averaged(model: Any) -> Forest:
    """Return a model that predicts the highest mean of the probabilities of trees."""
    trees, weights = _members(model)
    n_classes = len(model.classes_)
    if len(trees) == 1:  # no sum at all: the leaf decides
        tree = trees[0]
        vote = Tree(**{**vars(tree), "value": np.eye(n_classes)[tree.value.argmax(axis=1)]})
        return _forest(model, [vote])
    equal = len(set(weights)) == 1
    if not equal:
        trees = [
            Tree(**{**vars(tree), "value": tree.value * weight})
            for tree, weight in zip(trees, weights, strict=True)
        ]
    # Members that are ensembles divide by their size, and so does a vote by its weights.
    plain = isinstance(model, (BaseDecisionTree, *_FORESTS)) or (
        isinstance(model, BaggingClassifier)
        and all(isinstance(e, BaseDecisionTree) for e in model.estimators_)
    )
    return _forest(model, trees, rounds=not (plain and equal))


def _forest(model: Any, trees: list[Tree], **rounding: Any) -> Forest:
    k = len(model.classes_)
    return Forest(trees, np.zeros(k), model.classes_, model.n_features_in_, **rounding)


def _members(model: Any) -> tuple[list[Tree], list[float]]:
    """Return the trees whose weighted probabilities a model averages, and their weights."""
    if isinstance(model, BaseDecisionTree):
        return [tree_of(model, model.tree_.value[:, 0])], [1.0]
    if isinstance(model, _FORESTS):
        parts = [_members(e) for e in model.estimators_]
        return _together(parts, [1.0] * len(parts))
    if isinstance(model, BaggingClassifier):
        parts = [
            _placed(_members(e), columns, _own_classes(e, len(model.classes_)), model)
            for e, columns in zip(model.estimators_, model.estimators_features_, strict=True)
        ]
        return _together(parts, [1.0] * len(parts))
    if isinstance(model, VotingClassifier) and model.voting == "soft":
        return _together([_members(e) for e in model.estimators_], _vote_weights(model))
    raise NoTreesError(f"{type(model).__name__} is not a sum of trees that can be read.")


def _together(
    parts: list[tuple[list[Tree], list[float]]], weights: list[float]
) -> tuple[list[Tree], list[float]]:
    """Return the members of several averages: each of them weighs its weight by its own sum."""
    total = [sum(own) for _, own in parts]
    scale = total[0] if len(set(total)) == 1 else 1.0  # whole weights stay whole
    return (
        [tree for trees, _ in parts for tree in trees],
        [
            w * scale / sum_ * weight
            for (_, own), weight, sum_ in zip(parts, weights, total, strict=True)
            for w in own
        ],
    )


def _vote_weights(model: VotingClassifier) -> list[float]:
    weights = model._weights_not_none
    return [1.0] * len(model.estimators_) if weights is None else [float(w) for w in weights]


def _own_classes(member: Any, n_classes: int) -> np.ndarray:
    """Return which classes of the ensemble a member has seen: it was fitted on their numbers."""
    if len(member.classes_) == n_classes:
        return np.arange(n_classes)
    return np.asarray(member.classes_, dtype=np.intp)


def _placed(
    members: tuple[list[Tree], list[float]], columns: Any, own: np.ndarray, model: Any
) -> tuple[list[Tree], list[float]]:
    """Return members that were fitted on some columns and classes as trees on all of them."""
    columns, spread = np.asarray(columns), np.eye(len(model.classes_))[own]
    trees = []
    for tree in members[0]:
        feature = np.where(tree.feature < 0, -1, columns[tree.feature])
        trees.append(Tree(**{**vars(tree), "feature": feature, "value": tree.value @ spread}))
    return trees, members[1]


def tree_of(member: Any, value: np.ndarray) -> Tree:
    """Return a tree of scikit-learn, which casts its input to single precision."""
    t = member.tree_
    return Tree(
        feature=np.where(t.children_left < 0, -1, t.feature),
        threshold=float32_threshold(t.threshold),
        left=t.children_left,
        right=t.children_right,
        missing_left=t.missing_go_to_left,
        value=value,
    )


def _voting_tree(member: Any, classes: np.ndarray, weight: float) -> Tree:
    """Return a tree that gives its weight to the class that it predicts."""
    if not isinstance(member, BaseDecisionTree):
        _members(member)  # are there trees in it at all?
        raise NoBoxesError(
            f"{type(member).__name__} has one vote, which is not a sum over its leaves."
        )
    predicted = member.classes_[member.tree_.value[:, 0].argmax(axis=1)]
    return tree_of(member, weight * np.eye(len(classes))[np.searchsorted(classes, predicted)])


def _weighted_votes(model: AdaBoostClassifier) -> Forest:
    """Return AdaBoost, which also takes w / (k - 1) from the classes voted against.

    That leaves the differences of scores as they are, times k / (k - 1), but rounds.
    """
    weights = model.estimator_weights_[: len(model.estimators_)]
    trees = [
        _voting_tree(member, model.classes_, weight)
        for member, weight in zip(model.estimators_, weights, strict=True)
    ]
    return _forest(model, trees, rounds=True)


def _hard_votes(model: VotingClassifier) -> Forest:
    numbers, weights = np.arange(len(model.classes_)), _vote_weights(model)
    trees = [
        _voting_tree(member, numbers, weight)
        for member, weight in zip(model.estimators_, weights, strict=True)
    ]
    return _forest(model, trees)


def _boosted(model: GradientBoostingClassifier) -> Forest:
    init, k = model.init_, len(model.classes_)
    if not (isinstance(init, str) or hasattr(init, "class_prior_")):
        raise NoBoxesError("init= of GradientBoostingClassifier is a model of its own.")
    start = model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32))[0]
    trees = [
        tree_of(e, class_column(model.learning_rate * e.tree_.value[:, 0, 0], j, k))
        for stage in model.estimators_
        for j, e in enumerate(stage)
    ]
    return Forest(
        trees, class_scores(start, k), model.classes_, model.n_features_in_,
        high_class_wins_ties=k == 2,
    )  # fmt: skip
