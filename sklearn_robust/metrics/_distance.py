"""Distance of each sample to the decision boundary, and the accuracy at every radius from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._tabular import TabularThreat
from sklearn_robust.attacks import FMN
from sklearn_robust.metrics._least_costs import LeastCosts
from sklearn_robust.targets import AimedTarget, make_target_in_lots


def adversarial_distance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    norm: str | None = None,
    clip_values: Any = "own",
    unit: Any = 1.0,
    n_steps: int = 100,
    n_targets: int = 4,
    return_bounds: bool = False,
    n_jobs: int | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    r"""Return how far an adversary must move each sample until it is misclassified.

    .. math:: d_i = \min \{ \|x' - x_i\| : F(x') \ne y_i \}

    Exact for linear classifiers, also behind affine transformers and with `clip_values`, and for
    tree ensembles, where the search of a sample ends. For networks an upper bound, by the fast
    minimum-norm attack. One run gives the accuracy at every radius:
    ``np.mean(d > epsilon)``.

    Parameters
    ----------
    estimator : classifier
        Fitted, as in `robust_score`; known by more than its scores.
    X, y : array-like
        Samples in raw units, and their labels.
    norm : {"linf", "l2", "l1"}, optional
        None: the estimator's own, or "linf" if it has none.
    clip_values : None, (low, high) or "own", default="own"
        As in `robust_score`.
    unit : float, array of shape (n_features,), Series or TabularThreat, default=1.0
        In what distances are measured, for every column or for each; 0: the column stays as it is.
        Of a `TabularThreat`, the distance is the least that changes cost together which have the
        sample misclassified, for any classifier; a budget limits it.
    n_steps, n_targets
        Of the attack, see `sklearn_robust.attacks.FMN`.
    return_bounds : bool, default=False
        Whether to return what is proven from below, too.
    n_jobs : int, optional
        Samples of tree ensembles are searched by so many workers, see `joblib.Parallel`. None: 1.

    Returns
    -------
    distance : ndarray of shape (n_samples,)
        In units of `unit`, those of X by default; 0 where the sample is misclassified, inf where no
        mistake was found, or none lies in `clip_values`. With ``return_bounds=True`` the pair
        ``(lower, upper)``: a proven lower bound, 0 where nothing is proven, and the distance of the
        nearest mistake found.

    Raises
    ------
    TypeError
        If the estimator is known by its scores alone.

    References
    ----------
    .. [1] M. Pintor, F. Roli, W. Brendel, B. Biggio, "Fast minimum-norm adversarial attacks through
       adaptive norm constraints", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import adversarial_distance, robust_score
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> distance = adversarial_distance(clf, X, y)
    >>> bool((distance > 0.2).mean() == robust_score(clf, X, y, epsilon=0.2))
    True
    """
    if isinstance(unit, TabularThreat):
        costs = LeastCosts(estimator, X, y, unit, norm, clip_values, n_jobs)
        return (costs.lower(), costs.upper()) if return_bounds else costs.upper()
    attack = FMN(n_steps, n_targets)
    target = make_target_in_lots(estimator, X, y, epsilon=unit, norm=norm, clip_values=clip_values)
    assert not isinstance(target, AimedTarget)  # no class was chosen
    if return_bounds:
        return target.distance_bounds(target.threat, attack, n_jobs=n_jobs)
    return target.distances(target.threat, attack, n_jobs=n_jobs)
