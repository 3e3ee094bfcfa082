"""Accuracy against an adversary, for any classifier the library can follow, and as a scorer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_epsilon, check_norm, encode_labels
from sklearn_robust.bounds._linear import worst_case_correct
from sklearn_robust.metrics._linear import as_linear


def robust_score(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    n_steps: int = 40,
    step_size: Any = None,
    n_restarts: int = 1,
    random_state: Any = 0,
) -> float:
    r"""Return the accuracy of a fitted classifier when an adversary moves each sample.

    .. math:: \frac{1}{n} \sum_i [F(x') = y_i \text{ for all } x' \in A(x_i)]

    For a linear classifier, the library's or scikit-learn's, this is computed exactly. For a
    network it is an upper bound: the accuracy at the worst point that PGD finds. Every sample
    counts in the denominator and the sample itself is a candidate, so the result never exceeds
    ``estimator.score(X, y)``. Usable as ``scoring=robust_score``.

    Parameters
    ----------
    estimator : classifier
        A fitted network of this library, or any fitted linear classifier.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), optional
    epsilon : float or array of shape (n_features,), optional
        Radius in the units of X. None: the estimator's own, as the report trains and tests. A
        sweep over epsilon must be scored at a fixed one, with `make_robust_scorer`, or the
        smallest radius wins by construction.
    norm : {"linf", "l2", "l1"}, optional
        None: the estimator's own, or "linf" if it has none.
    clip_values : None, (low, high) or "own", default="own"
        Valid range of the data; None: no clipping; "own": the estimator's, if it has one.
    n_steps, step_size, n_restarts, random_state
        Of the attack, where one is needed; see `sklearn_robust.attacks.PGD`.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        If a parameter breaks its rule, X leaves `clip_values`, or y has labels unseen in fit.
    TypeError
        If the library can follow neither the estimator's scores nor its gradients.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn_robust import robust_score
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = (X - X.mean(0)) / X.std(0)
    >>> clf = RidgeClassifier().fit(X, y)
    >>> round(clf.score(X, y), 3), round(robust_score(clf, X, y, epsilon=0.1), 3)
    (0.968, 0.803)
    """
    if hasattr(estimator, "module_"):
        return estimator.robust_score(
            X,
            y,
            sample_weight,
            epsilon=epsilon,
            norm=norm,
            clip_values=clip_values,
            n_steps=n_steps,
            step_size=step_size,
            n_restarts=n_restarts,
            random_state=random_state,
        )
    threat = _threat_of(estimator, epsilon, norm, clip_values)
    linear = as_linear(estimator, X)
    if linear is None:
        raise TypeError(
            f"robust_score cannot follow {type(estimator).__name__}: it is neither a network of "
            "this library nor a linear classifier."
        )
    threat.check_data(linear.X)
    labels = encode_labels(y, estimator.classes_)
    correct = worst_case_correct(linear.coef, linear.intercept, linear.X, labels, threat)
    return float(np.average(correct, weights=sample_weight))


def _threat_of(estimator: Any, epsilon: Any, norm: str | None, clip_values: Any) -> ThreatModel:
    """Return the threat model with the estimator's own values where none are given."""
    if epsilon is None:
        epsilon = getattr(estimator, "epsilon", None)
        if epsilon is None:
            raise ValueError(
                f"epsilon must be given: {type(estimator).__name__} has none of its own."
            )
    if isinstance(clip_values, str) and clip_values == "own":
        clip_values = getattr(estimator, "clip_values", None)
    norm = norm or getattr(estimator, "norm", None) or "linf"
    return ThreatModel(epsilon, norm, clip_values)


class RobustScorer(BaseEstimator):
    """`robust_score` at a fixed radius, as a scorer; made by `make_robust_scorer`."""

    def __init__(
        self,
        epsilon: Any,
        norm: str | None = None,
        clip_values: Any = "own",
        n_steps: int = 40,
        step_size: Any = None,
        n_restarts: int = 1,
        random_state: Any = 0,
    ) -> None:
        self.epsilon = epsilon
        self.norm = norm
        self.clip_values = clip_values
        self.n_steps = n_steps
        self.step_size = step_size
        self.n_restarts = n_restarts
        self.random_state = random_state

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self.score(estimator, X, y, sample_weight)

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the robust accuracy of `estimator` on (X, y)."""
        return robust_score(estimator, X, y, sample_weight=sample_weight, **self.get_params())


def make_robust_scorer(
    epsilon: Any,
    *,
    norm: str | None = None,
    clip_values: Any = "own",
    n_steps: int = 40,
    step_size: Any = None,
    n_restarts: int = 1,
    random_state: Any = 0,
) -> RobustScorer:
    """Return a scorer for the robust accuracy at one radius, for ``scoring=`` in scikit-learn.

    A sweep over epsilon needs it: a scorer that took each candidate's own epsilon would compare
    accuracies against different adversaries and pick the smallest radius by construction.

    Parameters
    ----------
    epsilon : float or array of shape (n_features,)
        Radius in the units of X.
    norm, clip_values, n_steps, step_size, n_restarts, random_state
        As in `robust_score`.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``; picklable, with metadata routing through
        ``set_score_request(sample_weight=True)``.

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
    return RobustScorer(epsilon, norm, clip_values, n_steps, step_size, n_restarts, random_state)
