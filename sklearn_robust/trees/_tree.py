"""A single tree as its readers hand it on: arrays over nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class CategorySplit:
    """A node that sends some codes of a category to the left.

    Attributes
    ----------
    node : int
    left : array-like of int
        Codes below `size` that go left.
    size : int
        Codes from here on, and negative ones, are unknown to the node.
    missing_left, unknown_left : bool
    """

    node: int
    left: Any
    size: int
    missing_left: bool
    unknown_left: bool


@dataclass(frozen=True)
class Tree:
    """One tree, as arrays over its nodes.

    Attributes
    ----------
    feature : int ndarray of shape (n_nodes,)
        -1 in leaves.
    threshold : float ndarray of shape (n_nodes,)
        A sample goes left if ``x <= threshold`` as doubles.
    left, right : int ndarrays of shape (n_nodes,)
    missing_left : bool ndarray of shape (n_nodes,)
        Whether NaN goes left.
    value : float ndarray of shape (n_nodes, n_classes)
        What a leaf adds to the score of each class; of other nodes it is not read.
    categories : sequence of CategorySplit
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    categories: Sequence[CategorySplit] = ()
