"""Distance of each sample to the decision boundary, and the accuracy at every radius from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust.attacks import FMN, nearest_mistakes
from sklearn_robust.metrics._evaluation import check_scores
from sklearn_robust.metrics._target import target_of


def adversarial_distance(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    norm: str | None = None,
    clip_values: Any = "own",
    n_steps: int = 100,
    n_targets: int = 4,
) -> np.ndarray:
    r"""Return how far an adversary must move each sample until it is misclassified.

    .. math:: d_i = \min \{ \|x' - x_i\| : F(x') \ne y_i \}

    Exact for linear classifiers, also behind affine transformers and inside a box. For networks
    an upper bound, by the fast minimum-norm attack. One run gives the accuracy at every radius:
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
    n_steps, n_targets
        Of the attack, see `sklearn_robust.attacks.FMN`.

    Returns
    -------
    distance : ndarray of shape (n_samples,)
        In the units of X; 0 where the sample is misclassified, inf where no mistake was found, or
        the box holds none.

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
    attack = FMN(n_steps, n_targets)
    target = target_of(estimator, X, y, norm, clip_values)
    unit = target.threat(1.0)
    if target.distance is not None:
        wrong = target.predict(target.X) != target.y
        return np.where(wrong, 0.0, target.distance(unit))
    if not hasattr(target.model, "ascent"):
        raise TypeError(
            f"adversarial_distance needs gradients, and {type(estimator).__name__} has none: "
            f"{target.obstacle}. Use robust_score with attack='square' at the radii of interest."
        )
    if target.view is not None:
        check_scores(target.view, stacklevel=3)
    return nearest_mistakes(target.model, target.X, target.y, target.predict, unit, attack=attack)[
        0
    ]
