"""The path of exact solutions over the radius."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_X_y
from sklearn.utils.multiclass import check_classification_targets

from sklearn_robust._arrays import on_host
from sklearn_robust._validation import check_epsilon, check_sample_weight
from sklearn_robust.linear_model._classifier import FLOATS, SPARSE
from sklearn_robust.linear_model._solve import (
    check_built_in,
    check_present,
    check_problem,
    solve_classes,
    warn_not_converged,
)


class AdversarialPath(NamedTuple):
    """Exact solutions for one radius after the other, in the order asked for.

    Attributes
    ----------
    epsilons : ndarray of shape (n_epsilons,)
    coefs : ndarray of shape (n_epsilons, 1, n_features) or (n_epsilons, n_classes, n_features)
        One row of weights for two classes, as in `AdversarialLogisticRegression`.
    intercepts : ndarray of shape (n_epsilons, 1) or (n_epsilons, n_classes)
    dual_gaps : ndarray of shape (n_epsilons,)
        The certificate of each solution.
    n_iters : ndarray of int, shape (n_epsilons,)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_robust.linear_model import adversarial_logistic_path
    >>> path = adversarial_logistic_path(*load_iris(return_X_y=True), [0.0, 0.1, 0.2])
    >>> path.coefs.shape, path.intercepts.shape, bool(path.dual_gaps.max() <= 1e-6)
    ((3, 3, 4), (3, 3), True)
    """

    epsilons: np.ndarray
    coefs: np.ndarray
    intercepts: np.ndarray
    dual_gaps: np.ndarray
    n_iters: np.ndarray


def adversarial_logistic_path(
    X: Any,
    y: Any,
    epsilons: Any,
    *,
    norm: str = "linf",
    C: float = 1.0,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int | None = None,
    sample_weight: Any = None,
    verbose: int = 0,
) -> AdversarialPath:
    """Solve exact adversarial logistic regression for several radii at once.

    From the largest radius down, each solution starts where the ones before it lead and takes over
    what was learnt of the curvature: far cheaper than as many fits. Each is certified on its own.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    epsilons : array-like of shape (n_epsilons,)
        Radii >= 0, in any order.
    norm, C, fit_intercept, tol, max_iter, verbose
        As in `AdversarialLogisticRegression`.
    sample_weight : array-like of shape (n_samples,) or None, default=None

    Returns
    -------
    path : AdversarialPath
        Named tuple of the arrays ``epsilons`` (n_epsilons,), ``coefs`` (n_epsilons, 1 or n_classes,
        n_features), ``intercepts`` (n_epsilons, 1 or n_classes), ``dual_gaps`` (n_epsilons,) and
        ``n_iters`` (n_epsilons,), in the order of `epsilons`.

    Raises
    ------
    ValueError
        If a parameter breaks its rule, X is incomplete, or y has samples of less than 2 classes,
        or no weight is positive.

    Warns
    -----
    ConvergenceWarning
        For each radius at which `tol` is not reached.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_robust.linear_model import adversarial_logistic_path
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> path = adversarial_logistic_path(scale(X), y, [0, 0.2, 0.4, 0.8])
    >>> (path.coefs[:, 0] != 0).sum(axis=1)
    array([30, 10,  5,  1])
    """
    check_built_in(norm)
    options = check_problem(norm, C, fit_intercept, tol, max_iter, verbose)
    X, y = check_X_y(on_host(X), on_host(y), accept_sparse=SPARSE, dtype=FLOATS)
    check_classification_targets(y)
    epsilons = np.atleast_1d(check_epsilon(np.atleast_1d(epsilons), name="epsilons"))
    if epsilons.ndim != 1:
        raise ValueError(f"epsilons must be one-dimensional, got shape {epsilons.shape}.")
    weight = check_sample_weight(sample_weight, X)
    classes, index = np.unique(y, return_inverse=True)
    check_present(weight, len(classes))
    return path_of_classes(X, index, weight, len(classes), epsilons, options)


def path_of_classes(
    X: Any,
    y: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    epsilons: np.ndarray,
    options: dict[str, Any],
) -> AdversarialPath:
    """Return the path for checked arguments, as `solve_classes` takes them."""
    order = np.argsort(-epsilons, kind="stable")
    solutions: list[Any] = [None] * len(epsilons)
    found = solve_classes(X, y, weight, n_classes, list(epsilons[order]), **options)
    for i, solution in zip(order, found, strict=True):
        solutions[i] = solution
        warn_not_converged(solution, options["tol"], options["C"])
    return AdversarialPath(
        epsilons=epsilons,
        coefs=np.array([s.coef for s in solutions]),
        intercepts=np.array([s.intercept for s in solutions]),
        dual_gaps=np.array([s.dual_gap for s in solutions]),
        n_iters=np.array([s.n_iter for s in solutions]),
    )
