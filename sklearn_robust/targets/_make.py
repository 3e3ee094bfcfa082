"""From a fitted classifier to its target; the families of the library are registered here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_robust.preprocessing import CannotFollowError, adds_up
from sklearn_robust.targets import (
    _bayes as _bayes,
    _combinations as _combinations,
    _disguised as _disguised,
    _gaussians as _gaussians,
    _kernels as _kernels,
    _neighbours as _neighbours,
    _processes as _processes,
)
from sklearn_robust.targets._bounded import BoundedTarget
from sklearn_robust.targets._linear import LinearTarget
from sklearn_robust.targets._registry import find_target
from sklearn_robust.targets._scores import score_target, still_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._tabular_linear import TabularLinearTarget
from sklearn_robust.targets._target import Target
from sklearn_robust.targets._trees import TreeTarget
from sklearn_robust.targets._variants import VariantsTarget


def make_target(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
) -> Target:
    """Return a fitted classifier and samples as their adversary meets them.

    Parameters
    ----------
    estimator : classifier
        Fitted; a Pipeline, a search over hyperparameters or a FrozenEstimator is looked into.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
    y : array-like of shape (n_samples,), optional
        Labels. Without them only `gradients` can be asked for, at the predicted ones.
    epsilon, norm, clip_values
        As in `sklearn_robust.robust_score`; columns where `epsilon` is 0 may go through any
        transformer.

    Returns
    -------
    target : Target

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If a parameter breaks its rule, X leaves `clip_values` or is incomplete, y does not have one
        label for each sample, or categories flip that nobody knows.
    TypeError
        If `estimator` is no classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.targets import make_target
    >>> X, y = load_iris(return_X_y=True)
    >>> target = make_target(LogisticRegression(max_iter=1000).fit(X, y), X, y, epsilon=0.1)
    >>> target.kind
    'exact'
    >>> target.distances(target.threat)[:3].round(1)  # in units of epsilon
    array([8.5, 7.5, 9. ])
    """
    return _target_of(
        Subject.of(estimator, X, y, epsilon=epsilon, norm=norm, clip_values=clip_values)
    )


def _target_of(subject: Subject) -> Target:
    moves = subject.raw_threat.moves
    if moves is None or moves.is_box:
        return _found(subject)
    plain = _found(subject.with_moves(replace(moves, flips={})))
    additive = all(adds_up(subject.steps, subject.table, k) for k in moves.flips)
    if type(plain) is LinearTarget and additive:
        return TabularLinearTarget(subject, plain)
    takes_budgets = type(plain) is LinearTarget or _knows_budgets(plain)
    if not moves.flips and takes_budgets:
        return plain
    if not takes_budgets:
        plain = _found(subject.with_moves(replace(moves, flips={}, budget=np.inf)))
    return VariantsTarget(subject, plain, _target_of, takes_budgets)


def _knows_budgets(target: Target) -> bool:
    return isinstance(target, TreeTarget) or (
        isinstance(target, BoundedTarget) and target.model.knows_budgets
    )


def _found(subject: Subject) -> Target:
    """Return the target of the family that knows most, or one that knows scores alone."""
    moves = subject.raw_threat.moves
    if moves is not None and not moves.moving.any() and moves.is_box:
        return still_target(subject)
    name = type(subject.classifier).__name__
    try:
        found = find_target(subject)
        obstacle = f"{name} is of no family that has formulas or bounds."
    except CannotFollowError as error:
        found, obstacle = None, str(error)
    return score_target(subject, obstacle) if found is None else found
