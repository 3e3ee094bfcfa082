"""Bounds of the scores of a forest over boxes: each tree at the best of the leaves that are met."""

from __future__ import annotations

import numpy as np

from sklearn_robust.bounds import BoundedModel
from sklearn_robust.trees._bits import first_bits, pieces_of
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._sums import starts, summing_error


class BoundedForest(BoundedModel):
    """A forest as a model of scores: probabilities where trees give those, else what they add up.

    Parameters
    ----------
    forest : Forest
    """

    def __init__(self, forest: Forest) -> None:
        self.forest, self.n_classes = forest, len(forest.base)
        self.scale = 1 / _total(forest)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.scale * self.forest.scores(np.asarray(X, dtype=np.float64))

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        forest, lower, upper = self.forest, [], []
        for leaves in forest.met(low, high):
            value, start = forest.value[leaves], starts(forest.tree[leaves])
            lower.append(np.minimum.reduceat(value, start).sum(axis=0))
            upper.append(np.maximum.reduceat(value, start).sum(axis=0))
        slack = self._slack()
        shape = (len(low), self.n_classes)
        return (
            self.scale * (np.reshape(lower, shape) + forest.base) - slack,
            self.scale * (np.reshape(upper, shape) + forest.base) + slack,
        )

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        bits = first_bits(self.forest, len(low))
        if bits is None:
            margins = self._leads(low, high, labels)
        else:
            lots = [bits.leads(low[lot], high[lot], labels[lot])[0] for lot in pieces_of(len(low))]
            margins = np.concatenate(lots)
        margins = self.scale * margins - 2 * self._slack()
        margins[np.arange(len(low)), labels] = np.inf
        return margins

    def _leads(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return how far a class is ahead of each at least, each tree at the worst leaf met."""
        forest, leads = self.forest, np.zeros((len(low), self.n_classes))
        for i, leaves in enumerate(forest.met(low, high)):
            value, label = forest.value[leaves], labels[i]
            lead = np.minimum.reduceat(value[:, [label]] - value, starts(forest.tree[leaves]))
            leads[i] = lead.sum(axis=0) + forest.base[label] - forest.base
        return leads

    def _slack(self) -> float:
        """Return by how much a score of the model may differ from what is added up here."""
        forest = self.forest
        size = float((_largest(forest).sum(axis=0) + abs(forest.base)).max())
        return 2 * self.scale * (forest.slack + summing_error(forest.n_trees + 4, size))


def _largest(forest: Forest) -> np.ndarray:
    """Return the largest value of each class in each tree, by size."""
    return np.maximum.reduceat(abs(forest.value), starts(forest.tree))


def _total(forest: Forest) -> float:
    """Return what the scores of all classes add up to, if that is the same everywhere, else 1."""
    leaf, start = forest.value.sum(axis=1), starts(forest.tree)
    top, bottom = np.maximum.reduceat(leaf, start), np.minimum.reduceat(leaf, start)
    shares = (forest.value >= 0).all() and not forest.base.any()
    if not shares or (top - bottom > 1e-9 * top).any():
        return 1.0
    return float(top.sum()) or 1.0
