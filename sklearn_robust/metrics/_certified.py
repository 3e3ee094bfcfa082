"""Certified accuracy: the share of samples for which no adversary in the threat model exists."""

from __future__ import annotations

from typing import Any

from sklearn_robust._validation import weighted_share
from sklearn_robust.bounds import BranchAndBound, check_method
from sklearn_robust.targets import make_target_in_lots


def certified_score(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    method: str | BranchAndBound = "auto",
) -> float:
    r"""Return the share of samples that are proven to be classified correctly under any attack.

    .. math:: \frac{1}{n} \sum_i [F(x') = y_i \text{ is proven for all } x' \in A(x_i)]

    A lower bound of the robust accuracy; exact for linear classifiers, also behind affine
    transformers, and for tree ensembles, where the search of a sample ends. Never above
    `robust_score` of the same threat model.

    Parameters
    ----------
    estimator : classifier
        Fitted: a network (see `robust_score`), a linear classifier, trees, or a pipeline of
        transformers that the library can follow and one of these.
    X, y, sample_weight, epsilon, norm, clip_values
        As in `robust_score`.
    method : str or BranchAndBound, default="auto"
        Of the proofs for networks: "auto", "ibp", "crown-ibp", "crown", "alpha-crown", or
        "complete", which searches what these leave open, for seconds or minutes a sample. See
        `sklearn_robust.bounds.certified_correct`.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    TypeError
        If the estimator is known by its scores alone, which prove nothing.
    UnsupportedLayerError
        If a network holds a layer without bounds; the message names it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import certified_score, robust_score
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> certified_score(clf, X, y, epsilon=0.1) == robust_score(clf, X, y, epsilon=0.1)
    True
    """
    check_method(method)
    target = make_target_in_lots(
        estimator, X, y, epsilon=epsilon, norm=norm, clip_values=clip_values
    )
    return weighted_share(target.certified(target.threat, method), sample_weight)
