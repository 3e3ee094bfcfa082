"""Working sets: the features that a method moves, and their part of X."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust.linear_model._problem import Problem, State

# Sparse submatrices with more than this share of non-zeros are faster as dense ones.
_DENSE_SHARE = 0.1
# A set with more than this share of the features is all of them.
_ALL = 0.7


class Columns:
    """Some features, or all of them, and their part of X."""

    def __init__(self, problem: Problem, chosen: np.ndarray | None) -> None:
        self.chosen = chosen
        X = problem.X if chosen is None else problem.X[:, chosen]
        if chosen is not None and sparse.issparse(X):
            X = X.toarray() if X.nnz > _DENSE_SHARE * np.prod(X.shape) else X.tocsr()
        self.X: Any = X
        self.XT = X.T

    @property
    def index(self) -> Any:
        """What picks the features out of an array of all."""
        return slice(None) if self.chosen is None else self.chosen


def choose_columns(
    problem: Problem,
    state: State,
    g: np.ndarray,
    S: float,
    cap: int,
    last: Columns | None,
    slack: float = 0.0,
) -> Columns:
    """Return the features to move: the non-zero ones and the worst violators, about `cap` at first.

    `last` is returned if it holds them and is not much larger. A new set gets `slack` times as many
    features more, those that are next to become violators. Adversaries other than linf move all.
    """
    if problem.norm != "linf":
        return last if last is not None and last.chosen is None else Columns(problem, None)
    n_features = len(g)
    chosen = state.w != 0
    violation = np.where(chosen, np.inf, abs(g) - S * problem.radius)
    n_support = int(chosen.sum())
    n_extra = int((violation > 0).sum()) - n_support
    room = max(cap, 2 * n_support) - n_support
    if n_extra > room:
        n_extra = min(max(room, 10), n_extra)
    n_chosen = n_support + n_extra
    if n_chosen > _ALL * n_features:
        return last if last is not None and last.chosen is None else Columns(problem, None)
    chosen = _largest(violation, n_chosen)
    if last is not None and last.chosen is not None and len(last.chosen) <= 1.5 * n_chosen + 10:
        kept = np.zeros(n_features, dtype=bool)
        kept[last.chosen] = True
        if kept[chosen].all():
            return last
    n_wanted = int((1 + slack) * n_chosen)
    if n_wanted > _ALL * n_features:
        return Columns(problem, None)
    return Columns(problem, chosen if slack == 0 else _largest(violation, n_wanted))


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """Return the indices of the n largest values, in their order."""
    if n == 0:
        return np.empty(0, dtype=np.intp)
    return np.sort(np.argpartition(-values, n - 1)[:n])
