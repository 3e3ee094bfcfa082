"""The rows that a classifier is retrained on: the data, and points around some of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing

from sklearn_robust.preprocessing import is_frame, stack_frames


class TrainingRows:
    """Samples with their labels and weights, and the points that were found around some of them."""

    def __init__(self, X: Any, y: np.ndarray, weight: np.ndarray) -> None:
        self._parts, self._numbers = [X], [np.arange(len(y))]
        self._y, self._weight = y, weight

    def add(self, points: Any, numbers: np.ndarray) -> None:
        """Take up those of the points whose numbers are given."""
        self._parts.append(_safe_indexing(points, numbers))
        self._numbers.append(numbers)

    def samples(self) -> tuple[Any, np.ndarray]:
        """Return all as one container of the kind of X, and their labels."""
        return _stacked(self._parts), self._y[np.concatenate(self._numbers)]

    def weights(self) -> np.ndarray:
        """Return the weight of each row: a sample and its points share the sample's."""
        numbers = np.concatenate(self._numbers)
        return (self._weight / np.bincount(numbers))[numbers]


def _stacked(parts: list[Any]) -> Any:
    """Return containers of samples below each other; points of sparse samples are dense."""
    if len(parts) == 1:
        return parts[0]
    if is_frame(parts[0]):
        return stack_frames(parts)
    if sparse.issparse(parts[0]):
        return sparse.vstack([sparse.csr_array(part) for part in parts], format="csr")
    return np.concatenate(parts)
