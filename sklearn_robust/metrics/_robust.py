"""Accuracy against an adversary of the raw input, for any classifier, and as a scorer."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from sklearn_robust._validation import (
    check_clip_values,
    check_epsilon,
    check_norm,
    check_seed,
    encode_labels,
    weighted_share,
)
from sklearn_robust.attacks._options import choose_attack
from sklearn_robust.bounds._linear import worst_case_correct
from sklearn_robust.metrics._evaluation import attack_estimator, threat_of
from sklearn_robust.metrics._linear import as_linear
from sklearn_robust.metrics._view import is_network, unwrap


def robust_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    n_steps: int | None = None,
    step_size: Any = None,
    n_restarts: int | None = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> float:
    r"""Return the accuracy of a fitted classifier when an adversary moves each sample.

    .. math:: \frac{1}{n} \sum_i [F(x') = y_i \text{ for all } x' \in A(x_i)]

    The adversary moves the rows of X as passed, before any transformer of a pipeline:

    - a linear classifier, also behind scalers, PCA, column selections or any other affine
      transformer, is one linear function of X: the result is exact;
    - a network of this library, or a linear classifier behind a differentiable transformer, is
      attacked along the gradient by X: the result is an upper bound;
    - any other classifier is attacked through its scores alone, and a `BlackBoxWarning` says so:
      the upper bound is a looser one.

    What counts is the estimator's own ``predict`` at the points found. Every sample counts in the
    denominator and the sample itself is a candidate, so the result never exceeds
    ``estimator.score(X, y)``. Usable as ``scoring=robust_score``.

    Parameters
    ----------
    estimator : classifier
        Fitted; a Pipeline, a search over hyperparameters or a FrozenEstimator is looked into.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
        Complete; columns that hold no numbers, and those that a OneHotEncoder or another encoder of
        categories reads, are left alone. So is a column of truth values in a DataFrame, though
        scores count it as 0 or 1; an array of nothing else is one of numbers.
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), optional
    epsilon : float or array of shape (n_features,), optional
        Radius in the units of X, of every column or of each; 0: not attackable. A pandas Series
        is read by the names of the columns, here and in `clip_values`. None: the estimator's
        own, as the report trains and tests. A sweep over epsilon must be scored at a fixed one,
        with `make_robust_scorer`, or the smallest radius wins by construction.
    norm : {"linf", "l2", "l1"}, optional
        None: the estimator's own, or "linf" if it has none.
    clip_values : None, (low, high) or "own", default="own"
        Valid range of the data; None: no clipping; "own": the estimator's, if it has one.
    attack : str or an attack, default="auto"
        "auto": exact where that is possible, else the fast part of the standard ensemble, for
        scores `Square` with 1000 queries. "strong": the whole ensemble, for scores a longer
        `Square`. "pgd" and other names, or an attack object: see
        `sklearn_robust.attacks.get_attack`.
    n_steps, step_size, n_restarts
        Of ``attack="pgd"``, by default 40 steps and one run; see `sklearn_robust.attacks.PGD`.
        Given with "auto", they choose "pgd" where the result is not exact.
    random_state : int, RandomState, Generator or None, default=0
        Seed of the attacks.
    n_jobs : int, optional
        Parts of X attacked at a time, through joblib and so on whatever backend
        ``joblib.parallel_config`` names. The result does not depend on it.
    verbose : int, default=0
        1 or more: show a progress bar.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        If a parameter breaks its rule, X leaves `clip_values` or is incomplete, y has labels unseen
        in fit, the scores are NaN, or the attack needs gradients and there are none.
    TypeError
        If the library can follow neither the estimator's formulas nor its scores.

    Warns
    -----
    BlackBoxWarning
        If `attack` is "auto" or "strong" and only the scores of the estimator are known.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust import robust_score
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = make_pipeline(StandardScaler(), RidgeClassifier()).fit(X, y)
    >>> tenth_of_a_deviation = 0.1 * X.std(axis=0)
    >>> round(clf.score(X, y), 3), round(robust_score(clf, X, y, epsilon=tenth_of_a_deviation), 3)
    (0.968, 0.803)
    """
    steps, final = unwrap(estimator)
    options = {
        "epsilon": epsilon,
        "norm": norm,
        "clip_values": clip_values,
        "attack": attack,
        "n_steps": n_steps,
        "step_size": step_size,
        "n_restarts": n_restarts,
        "random_state": random_state,
        "n_jobs": n_jobs,
        "verbose": verbose,
    }
    if not steps and is_network(final):
        return final.robust_score(X, y, sample_weight, **options)
    if not steps and sparse.issparse(X) and isinstance(attack, str) and attack == "auto":
        choose_attack(attack, n_steps=n_steps, step_size=step_size, n_restarts=n_restarts)
        robust = _sparse_and_linear(final, X, y, epsilon, norm, clip_values)
    else:
        robust = attack_estimator(estimator, X, y, **options).robust
    return weighted_share(robust, sample_weight)


def _sparse_and_linear(
    estimator: Any, X: Any, y: Any, epsilon: Any, norm: str | None, clip_values: Any
) -> np.ndarray:
    """Return the exact verdicts on sparse samples, which stay sparse."""
    threat = threat_of(estimator, X, epsilon, norm, clip_values)
    linear = as_linear(estimator, X)
    if linear is None:
        raise TypeError(
            f"robust_score takes sparse X for linear classifiers only, got "
            f"{type(estimator).__name__}. Pass X.toarray()."
        )
    threat.check_data(linear.X)
    labels = encode_labels(y, estimator.classes_, linear.X.shape[0])
    return worst_case_correct(linear.coef, linear.intercept, linear.X, labels, threat)


class RobustScorer(BaseEstimator):
    """`robust_score` at a fixed radius, as a scorer; made by `make_robust_scorer`."""

    def __init__(
        self,
        epsilon: Any,
        norm: str | None = None,
        clip_values: Any = "own",
        attack: Any = "auto",
        n_steps: int | None = None,
        step_size: Any = None,
        n_restarts: int | None = None,
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.epsilon = epsilon
        self.norm = norm
        self.clip_values = clip_values
        self.attack = attack
        self.n_steps = n_steps
        self.step_size = step_size
        self.n_restarts = n_restarts
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self.score(estimator, X, y, sample_weight)

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the robust accuracy of `estimator` on (X, y)."""
        options = self.get_params(deep=False)
        return robust_score(estimator, X, y, sample_weight=sample_weight, **options)


def make_robust_scorer(
    epsilon: Any,
    *,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    n_steps: int | None = None,
    step_size: Any = None,
    n_restarts: int | None = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> RobustScorer:
    """Return a scorer for the robust accuracy at one radius, for ``scoring=`` in scikit-learn.

    A sweep over epsilon needs it: a scorer that took each candidate's own epsilon would compare
    accuracies against different adversaries and pick the smallest radius by construction.

    Parameters
    ----------
    epsilon : float or array of shape (n_features,)
        Radius in the units of X, the input of the whole pipeline.
    norm, clip_values, attack, n_steps, step_size, n_restarts, random_state, n_jobs, verbose
        As in `robust_score`. Name the attack, such as "square", to score classifiers that are
        known by their scores alone without a warning at every fit.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``; picklable, with metadata routing through
        ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If `epsilon` is negative or not finite, the norm or the attack is unknown, or an option
        does not belong to the attack. What depends on the data is checked by the scorer.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_robust import make_robust_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000)
    >>> cross_val_score(clf, X, y, scoring=make_robust_scorer(epsilon=0.1)).round(2).tolist()
    [0.93, 0.97, 0.8, 0.9, 1.0]
    """
    check_epsilon(epsilon)
    if norm is not None:
        check_norm(norm)
    if not isinstance(clip_values, str) or clip_values != "own":
        check_clip_values(clip_values)
    check_seed(random_state)
    choose_attack(attack, n_steps=n_steps, step_size=step_size, n_restarts=n_restarts)
    return RobustScorer(
        epsilon,
        norm,
        clip_values,
        attack,
        n_steps,
        step_size,
        n_restarts,
        random_state,
        n_jobs,
        verbose,
    )
