"""Accuracy under attack as a scorer at one radius, for ``scoring=`` in scikit-learn."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from sklearn_robust._tabular import TabularThreat
from sklearn_robust._validation import check_clip_values, check_epsilon, check_norm, check_seed
from sklearn_robust.attacks import get_attack
from sklearn_robust.targets import robust_score


class RobustScorer(BaseEstimator):
    """`robust_score` at a fixed radius, as a scorer; made by `make_robust_scorer`."""

    def __init__(
        self,
        epsilon: Any,
        norm: str | None = None,
        clip_values: Any = "own",
        attack: Any = "auto",
        random_state: Any = 0,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.epsilon = epsilon
        self.norm = norm
        self.clip_values = clip_values
        self.attack = attack
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def _accept_sample_weight(self) -> bool:
        """Return True: what scikit-learn asks of a scorer among several, without routing."""
        return True

    @property
    def _score_func(self) -> Any:
        """What TunedThresholdClassifierCV asks for: a function of labels and predictions."""
        raise TypeError(
            "TunedThresholdClassifierCV needs a scorer that is a function of the predictions for "
            "X, which robust accuracy is not: it needs those around X too. Search the threshold "
            "with GridSearchCV(FixedThresholdClassifier(...), {'threshold': ...}, scoring=...)."
        )

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
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> RobustScorer:
    """Return a scorer for the robust accuracy at one radius, for ``scoring=`` in scikit-learn.

    A sweep over epsilon needs it: a scorer that took each candidate's own epsilon would compare
    accuracies against different adversaries and pick the smallest radius by construction.

    Parameters
    ----------
    epsilon : float, array of shape (n_features,) or TabularThreat
        Radius in the units of X, the input of the whole pipeline, or what may become of columns.
    norm, clip_values, attack, random_state, n_jobs, verbose
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
        If `epsilon` is negative or not finite, or the norm or the attack is unknown. What depends
        on the data is checked by the scorer.

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
    if not isinstance(epsilon, TabularThreat):
        check_epsilon(epsilon)
    if norm is not None:
        check_norm(norm)
    if not isinstance(clip_values, str) or clip_values != "own":
        check_clip_values(clip_values)
    check_seed(random_state)
    get_attack(attack)
    return RobustScorer(epsilon, norm, clip_values, attack, random_state, n_jobs, verbose)
