"""Exact solutions for labelled samples: which solver, and classes without weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_robust._validation import (
    check_bool,
    check_built_in_norm,
    check_int,
    check_norm,
    check_real,
)
from sklearn_robust._warnings import warn_user
from sklearn_robust.linear_model._exact import solve_path
from sklearn_robust.linear_model._multinomial import solve_multinomial
from sklearn_robust.linear_model._solution import Solution

_MAX_ITER = 10_000  # enough to reach rounding
# The objective falls with the intercept of a class without weight for ever. At this difference its
# probability is 0 in float32 and next to the least number of float64. As the scores of the others
# have the mean 0 at every x, it is never predicted.
_NEVER = 700.0


def check_built_in(norm: Any) -> None:
    """Raise ValueError for a norm that was registered: each has coordinates of its own here."""
    otherwise = "AdversarialLogisticRegression(solver='pgd') takes others too."
    check_built_in_norm(check_norm(norm), otherwise)


def check_problem(
    norm: Any, C: Any, fit_intercept: Any, tol: Any, max_iter: Any, verbose: Any
) -> dict[str, Any]:
    """Return the options of `solve_classes`, with a number for `max_iter`."""
    return {
        "norm": check_norm(norm),
        "C": check_real(C, "C", low=0, open_low=True, infinite=True),
        "fit_intercept": check_bool(fit_intercept, "fit_intercept"),
        "tol": check_real(tol, "tol", low=0, open_low=True),
        "max_iter": _MAX_ITER if max_iter is None else check_int(max_iter, "max_iter", low=1),
        "verbose": verbose if isinstance(verbose, bool) else check_int(verbose, "verbose", low=0),
    }


def check_present(weight: np.ndarray, n_classes: int) -> None:
    """Raise ValueError unless there are two classes and a positive weight."""
    if n_classes < 2:
        raise ValueError("y must have samples of at least 2 classes, got 1 class.")
    if not weight.any():
        raise ValueError(
            "sample_weight and class_weight must leave a positive weight to at least one sample, "
            "got none."
        )


def solve_classes(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    epsilons: Sequence[Any],
    *,
    fit_intercept: bool,
    loss: str = "logistic",
    start: tuple[np.ndarray, np.ndarray] | None = None,
    **options: Any,
) -> list[Solution]:
    """Return the solution for each of the falling radii, from the first on, or `start`.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
    y : ndarray of int, shape (n_samples,)
        Index of each sample's class.
    weight : ndarray of shape (n_samples,)
        >= 0. With an intercept, a class without any has coefficients 0 and is never predicted,
        which is the limit of falling objectives.
    n_classes : int
    epsilons : sequence of float or of ndarray of shape (n_features,)
    loss : {"logistic", "squared_hinge", "hinge", "squared"}
        Others than the first for two classes only.
    start : (coef, intercept) or None
        As `coef_` and `intercept_` of an estimator.
    **options
        As in `_exact.solve`.

    Returns
    -------
    solutions : list of Solution
        With coef of shape (1, n_features) for two classes and (n_classes, n_features) for more.
    """
    if loss != "logistic" and n_classes > 2:
        raise ValueError(
            f"loss must be 'logistic' for more than two classes, got {loss!r} for {n_classes}. "
            "OneVsRestClassifier trains a model for each class."
        )
    options["fit_intercept"] = fit_intercept
    # Without an intercept, nothing but its weights could keep a class from being predicted.
    present = np.unique(y[weight > 0]) if fit_intercept else np.arange(n_classes)
    index = np.searchsorted(present, y)
    if start is not None and not start[0].any(axis=1).all():
        start = None  # from a fit in which a class had no weight, or with no weights at all
    if len(present) == 1:
        solutions = [_constant(X.shape[1]) for _ in epsilons]
    elif len(present) == 2:
        rest = options | {"loss": loss}
        solutions = _two_classes(X, index, weight, n_classes, epsilons, start, rest)
    else:
        solutions = []
        start = None if start is None else (start[0][present], start[1][present])
        for epsilon in epsilons:
            found = solve_multinomial(
                X, index, weight, epsilon=epsilon, n_classes=len(present), start=start, **options
            )
            solutions.append(found)
            start = found.coef, found.intercept
    return [_with_absent(solution, present, n_classes) for solution in solutions]


def _constant(n_features: int) -> Solution:
    return Solution(np.zeros((1, n_features)), np.zeros(1), 0.0, 0.0, 0, converged=True)


def _two_classes(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    epsilons: Sequence[Any],
    start: tuple[np.ndarray, np.ndarray] | None,
    options: dict[str, Any],
) -> list[Solution]:
    """Solve for two classes, the only ones of `n_classes` with weight."""
    if n_classes > 2:
        # Two rows -w/2 and w/2 have the penalty |w|^2 / 4.
        options, start = options | {"C": 2 * options["C"]}, None
    first = None if start is None else (start[0][0], start[1][0])
    solutions = solve_path(X, 2.0 * y - 1, weight, epsilons=epsilons, start=first, **options)
    for solution in solutions:
        solution.coef = np.array([-0.5, 0.5])[:, None] * solution.coef
        solution.intercept = np.array([-0.5, 0.5]) * solution.intercept
    return solutions


def _with_absent(solution: Solution, present: np.ndarray, n_classes: int) -> Solution:
    """Give a solution with a row for each class with weight the shape of an estimator's."""
    coef = np.zeros((n_classes, solution.coef.shape[1]))
    intercept = np.full(n_classes, -_NEVER)
    coef[present], intercept[present] = solution.coef, solution.intercept
    if n_classes == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    solution.coef, solution.intercept = coef, intercept
    return solution


def warn_not_converged(solution: Solution, tol: float, C: float) -> None:
    """Say what was reached and what to do about it, if tol was not."""
    if solution.converged:
        return
    if solution.separable:
        message = (
            "With C=inf the problem has no minimum: every sample has a positive margin at this "
            "epsilon, and longer weights are better for ever. Pass a finite C or a larger epsilon."
        )
    else:
        what = "stationarity residual" if math.isinf(C) else "duality gap"
        message = (
            f"The relative {what} is {solution.dual_gap:.2g} after {solution.n_iter} iterations, "
            f"tol is {tol:g}. Increase max_iter or tol, or scale the features of X."
        )
    warn_user(message, ConvergenceWarning)
