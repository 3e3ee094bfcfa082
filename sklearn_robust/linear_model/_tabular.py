r"""Exact training against what an adversary may do to the columns of a table.

A value of x that may go from l to h is the middle ``z = (l + h) / 2`` and ``r = (h - l) / 2`` to
either side of it, so that the least margin of a linear model over all that the adversary has is

.. math:: \min y (w \cdot x' + b) = y (w \cdot z + b) - r \cdot |w|.

Where the ways up and down are those of the column alone, r is the same for all rows and z is x plus
a constant, which only moves the intercept: a ball again, for any number of classes. Where they
depend on the row (shares of a value, ends of a valid range), each row has a radius of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._threat import ThreatModel
from sklearn_robust.linear_model._exact import minimise
from sklearn_robust.linear_model._margin_losses import LOSSES
from sklearn_robust.linear_model._problem import Problem
from sklearn_robust.linear_model._solution import Solution, prepare
from sklearn_robust.linear_model._solve import solve_classes


def solve_table(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    threat: ThreatModel,
    *,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    **options: Any,
) -> Solution:
    """Return the solution for a threat with moves; other arguments as in `solve_classes`.

    Raises
    ------
    ValueError
        If the ranges depend on the row and X is sparse or there are more than two classes.
    """
    moves = threat.moves
    assert moves is not None
    if threat.clip_values is None and not (moves.relative & moves.moving).any():
        return _solve_columns(X, y, weight, n_classes, threat, start, options)
    if n_classes > 2 or sparse.issparse(X):
        what = f"{n_classes} classes" if n_classes > 2 else "a sparse X"
        raise ValueError(
            "Against relative changes, or inside clip_values, two classes and a dense X are "
            f"trained on, got {what}. OneVsRestClassifier trains a model for each class; without "
            "clip_values, ranges that are not relative train on either."
        )
    present = weight > 0
    ends = threat.limits(np.asarray(X, dtype=float)[present])
    assert ends is not None
    low, high = ends
    middle, reach = (low + high) / 2, (high - low) / 2
    if not reach.any() or len(np.unique(y[present])) == 1:
        return solve_classes(X, y, weight, n_classes, [0.0], start=start, **options)[0]
    return _solve_rows(middle, reach, 2.0 * y[present] - 1, weight[present], start, **options)


def _solve_columns(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    threat: ThreatModel,
    start: tuple[np.ndarray, np.ndarray] | None,
    options: dict[str, Any],
) -> Solution:
    """Solve where all rows have the same ways down and up."""
    down, up = (np.ravel(side) for side in threat.sides(np.zeros((1, X.shape[1]))))
    shift, radius = (up - down) / 2, (up + down) / 2
    if not options["fit_intercept"]:
        X, shift = _moved(X, shift), np.zeros(len(shift))
    if start is not None:
        start = start[0], start[1] + start[0] @ shift
    solution = solve_classes(X, y, weight, n_classes, [radius], start=start, **options)[0]
    solution.intercept = solution.intercept - solution.coef @ shift
    return solution


def _moved(X: Any, shift: np.ndarray) -> Any:
    if sparse.issparse(X) and shift.any():
        raise ValueError(
            "X must be dense where fit_intercept=False and a column may go further one way than "
            "the other, got a sparse one."
        )
    return X + shift if shift.any() else X


@dataclass
class _RowsProblem(Problem):
    """A problem in which each row has radii of its own; `radius` is their mean by feature.

    Attributes
    ----------
    reach : ndarray of shape (n_samples, n_features)
    """

    reach: np.ndarray | None = None
    has_hessian = False

    def length(self, w: np.ndarray) -> np.ndarray:
        """Return how far the margin of each row can fall."""
        assert self.reach is not None
        return self.reach @ abs(w)

    def push(self, s: np.ndarray) -> np.ndarray:
        assert self.reach is not None
        pull = self.reach.T @ (self.c * s)
        return np.divide(pull, self.radius, out=np.zeros_like(pull), where=self.radius > 0)


def _solve_rows(
    middle: np.ndarray,
    reach: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    start: tuple[np.ndarray, np.ndarray] | None,
    *,
    norm: str,
    C: float,
    fit_intercept: bool,
    tol: float,
    max_iter: int,
    verbose: int,
    loss: str,
) -> Solution:
    data = prepare(middle, y, weight, np.average(reach, axis=0, weights=weight), C)
    problem = _RowsProblem(
        **data._asdict(), norm=norm, fit_intercept=fit_intercept, loss=LOSSES[loss](), reach=reach
    )
    first = None if start is None else (np.array(start[0][0], dtype=float), float(start[1][0]))
    solution = minimise(problem, tol, max_iter, first, verbose)
    solution.coef, solution.intercept = solution.coef[None], np.array([solution.intercept])
    return solution
