"""The radius from which the best that a linear model can do is to ignore every feature."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_X_y

from sklearn_robust._arrays import on_host, rows
from sklearn_robust._norms import NORMS
from sklearn_robust._validation import (
    check_bool,
    check_epsilon,
    check_norm,
    check_sample_weight,
    in_order,
)


def epsilon_max(
    X: Any,
    y: Any,
    *,
    norm: str = "linf",
    sample_weight: Any = None,
    fit_intercept: bool = True,
    scale: Any = 1.0,
) -> float:
    r"""Return the least epsilon at which all weights of the exact binary model are zero.

    .. math:: \epsilon_{\max} = \tfrac12 \| \bar x_+ - \bar x_- \|_p ,

    half the distance between the means of the classes in the adversary's norm, whatever C, the
    loss (if it falls with the margin) and the balance of the classes are. Without an intercept it
    is the length of the mean of y x.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Two classes.
    norm : {"linf", "l2", "l1"}, default="linf"
    sample_weight : array-like of shape (n_samples,) or None, default=None
    fit_intercept : bool, default=True
    scale : float or array of shape (n_features,), default=1.0
        For a radius that differs by feature: the least factor f such that ``epsilon = f * scale``
        is enough; inf if a feature of scale 0 tells the classes apart.

    Returns
    -------
    epsilon : float
        In the units of X (of `scale`).

    Notes
    -----
    At w = 0 the slope p of the loss is the same on all samples of a class, and the intercept makes
    ``sum s p`` equal, A, for the two classes. So ``sum s p y x = A (mean_+ - mean_-)``, and 0 is a
    subgradient if and only if its length is at most ``epsilon sum s p = 2 A epsilon``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.linear_model import AdversarialLogisticRegression, epsilon_max
    >>> X, y = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 2.0]]), [0, 0, 1]
    >>> epsilon_max(X, y)
    1.25
    >>> AdversarialLogisticRegression(epsilon=1.25).fit(X, y).coef_
    array([[0., 0.]])
    """
    scale = in_order(scale, getattr(X, "columns", None), "scale")
    X, y = check_X_y(on_host(X), on_host(y), accept_sparse=("csr", "csc"), dtype=np.float64)
    check_norm(norm)
    check_bool(fit_intercept, "fit_intercept")
    scale = np.broadcast_to(np.ravel(check_epsilon(scale, X.shape[1], "scale")), X.shape[1:])
    weight = check_sample_weight(sample_weight, X)
    classes = np.unique(y[weight > 0])
    if len(classes) != 2:
        raise ValueError(
            f"y must have two classes with a positive weight, got {len(classes)}. For more "
            "classes there is no closed form."
        )
    up = np.where(y == classes[1], weight, 0)
    down = np.where(y == classes[0], weight, 0)
    if fit_intercept:
        pull = X.T @ (up / up.sum() - down / down.sum()) / 2
    else:
        pull = X.T @ (up - down) / weight.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(pull == 0, 0.0, pull / scale)
    return float(NORMS[norm].length(rows(relative[None]))[0])
