"""From a fitted classifier to its target; the families of the library are registered here."""

from __future__ import annotations

from typing import Any

from sklearn_robust.preprocessing import CannotFollowError
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
from sklearn_robust.targets._scores import score_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._tabular_linear import TabularLinearTarget
from sklearn_robust.targets._target import Target
from sklearn_robust.targets._trees import TreeTarget


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
        label for each sample, or categories flip of what is no linear classifier.
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
    subject = Subject.of(estimator, X, y, epsilon=epsilon, norm=norm, clip_values=clip_values)
    name = type(subject.classifier).__name__
    try:
        found = find_target(subject)
        obstacle = f"{name} is of no family that has formulas or bounds."
    except CannotFollowError as error:
        found, obstacle = None, str(error)
    moves = subject.raw_threat.moves
    if moves is not None and not moves.is_box:
        return _with_budget(subject, found)
    return score_target(subject, obstacle) if found is None else found


def _with_budget(subject: Subject, found: Target | None) -> Target:
    """Return the target for an adversary who flips categories or has a budget."""
    moves = subject.raw_threat.moves
    if type(found) is LinearTarget:
        return TabularLinearTarget(subject, found)
    knows = isinstance(found, TreeTarget) or (
        isinstance(found, BoundedTarget) and found.model.knows_budgets
    )
    if found is not None and knows and moves is not None and not moves.flips:
        return found
    raise ValueError(
        "epsilon has a Flip, which needs a linear classifier behind affine steps and encoders, or "
        "a budget, which needs that, naive Bayes, splines, bins or tree ensembles, got "
        f"{type(subject.estimator).__name__}. Leave out what it does not take. Without a budget "
        "the adversary is stronger, so that certified_score is still a lower bound."
    )
