"""Thresholds behind transformers of single columns, restated on the raw columns: exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sklearn_robust.trees._forest import Forest

# Raw values are sought up to this size, which single precision can hold.
_FAR = 1e30
# Neighbours of a crossing, in steps of one double, that have to lie on their side of it.
_NEAR = (1, 2, 3, 4, 16, 256, 2**16, 2**32)


class NotMonotoneError(ValueError):
    """A transformer does not keep the order of values near a threshold, or takes none."""


@dataclass(frozen=True)
class Through:
    """How rows of raw columns arrive at a forest.

    Attributes
    ----------
    inputs : callable
        From rows to the forest's own features.
    row : ndarray of shape (n_values,)
        A row that can be taken for the other columns while one is looked at.
    source : int ndarray of shape (n_features,)
        Of which value of a row each feature is a non-decreasing function; -1: of none.
    least, largest : ndarrays of shape (n_values,)
        The range of each value among the samples.
    low, high : ndarrays of shape (n_values,)
        The range of each value in which the transformers are defined, no smaller than that.
    """

    inputs: Callable[[np.ndarray], np.ndarray]
    row: np.ndarray
    source: np.ndarray
    least: np.ndarray
    largest: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, features: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return some features where their sources have values, shape (n, n_features)."""
        rows = np.repeat(self.row[None], len(values), axis=0)
        rows[:, self.source[features]] = values
        with np.errstate(all="ignore"):
            return self.inputs(rows)[:, features]

    def ends(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how far down and up the values of some features can be followed.

        A power may overflow far from the samples.
        """
        source = self.source[features]
        down = np.maximum(np.minimum(self.least[source], -_FAR), self.low[source])
        up = np.minimum(np.maximum(self.largest[source], _FAR), self.high[source])
        if self._takes(features, np.stack([down, up])):
            return down, up
        return (
            self._furthest(features, self.least[source], down),
            self._furthest(features, self.largest[source], up),
        )

    def _furthest(self, features: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
        """Return for each feature the furthest double from a value of it that is taken."""
        found = far.copy()
        for k, feature in enumerate(features[:, None]):

            def takes(key: int, feature: np.ndarray = feature) -> bool:
                return self._takes(feature, _double(np.array([[key]])))

            good, bad = int(_number(near[k])), int(_number(far[k]))
            if takes(bad):
                continue
            if not takes(good):
                raise NotMonotoneError("a transformer does not take samples with a value moved.")
            while abs(bad - good) > 1:
                middle = (good + bad) // 2
                good, bad = (middle, bad) if takes(middle) else (good, middle)
            found[k] = _double(np.array(good))
        return found

    def _takes(self, features: np.ndarray, values: np.ndarray) -> bool:
        try:
            return bool(np.isfinite(self.at(features, values)).all())
        except ValueError:
            return False


def raw_thresholds(forest: Forest, through: Through) -> np.ndarray:
    """Return the threshold of each node on the raw column that its feature is made from.

    The largest double that goes left is found by bisection over all doubles, through the
    transformers' own arithmetic, so that its rounding is included; inf where all values go left.
    Nodes of features without a source keep theirs.

    Raises
    ------
    NotMonotoneError
        If doubles near a crossing do not lie on their side of it.
    """
    out = forest.threshold.copy()
    for features in _distinct(through.source):
        nodes = [forest.numbers(f) for f in features]
        wanted = [np.unique(forest.threshold[mine]) for mine in nodes]
        longest = max(map(len, wanted))
        if not longest:
            continue
        T = np.full((longest, len(features)), np.inf)
        for column, t in enumerate(wanted):
            T[: len(t), column] = t
        found = _crossings(through, features, T)
        for column, (mine, t) in enumerate(zip(nodes, wanted, strict=True)):
            out[mine] = found[np.searchsorted(t, forest.threshold[mine]), column]
    return out


def missing_ways(forest: Forest, through: Through) -> np.ndarray:
    """Return whether each node sends a missing raw value left: an imputer replaces it."""
    out = forest.missing_left.copy()
    for features in _distinct(through.source):
        values = through.at(features, np.full((1, len(features)), np.nan))[0]
        for f, value in zip(features, values, strict=True):
            mine = forest.feature == f
            if not np.isnan(value):
                out[mine] = value <= forest.threshold[mine]
    return out


def _distinct(source: np.ndarray) -> list[np.ndarray]:
    """Return the features that have sources, in groups in which each source occurs once."""
    groups, left = [], np.flatnonzero(source >= 0)
    while len(left):
        _, first = np.unique(source[left], return_index=True)
        groups.append(left[first])
        left = np.delete(left, first)
    return groups


def _crossings(through: Through, features: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Return the largest doubles that are sent up to T, shape of T."""
    first, last = (np.broadcast_to(_number(end), T.shape) for end in through.ends(features))

    def is_left(keys: np.ndarray) -> np.ndarray:
        # What a transformer is not defined for lies below all that it is defined for.
        return ~(through.at(features, _double(keys.clip(first, last))) > T)

    low, high = first, last
    while (low < high).any():
        middle = (low >> 1) + (high >> 1) + ((low | high) & 1)
        left = is_left(middle)
        low, high = np.where(left, middle, low), np.where(left, high, middle - 1)
    _check_monotone(is_left, low, (first, last))
    found = _double(low)
    found = np.where(low == last, np.where(is_left(last), np.inf, found), found)
    return np.where((low == first) & ~is_left(first), np.nextafter(found, -np.inf), found)


def _check_monotone(
    is_left: Callable[[np.ndarray], np.ndarray],
    at: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
) -> None:
    inside = (at > ends[0]) & (at < ends[1])
    for step in _NEAR:
        below, above = is_left(at - step), is_left(at + step)
        if (inside & (~below | (above & (at + step <= ends[1])))).any():
            raise NotMonotoneError("a transformer does not keep the order of neighbouring values.")


def _number(x: np.ndarray) -> np.ndarray:
    """Return integers in the order of doubles."""
    key = np.atleast_1d(np.asarray(x, dtype=np.float64)).view(np.int64).reshape(np.shape(x))
    return np.where(key < 0, key ^ np.int64(2**63 - 1), key)


def _double(key: np.ndarray) -> np.ndarray:
    return np.where(key < 0, key ^ np.int64(2**63 - 1), key).view(np.float64)
