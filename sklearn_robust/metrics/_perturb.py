"""The adversarial batch of any classifier, in the units and the container of its raw input."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._validation import truth_columns
from sklearn_robust.metrics._evaluation import attack_estimator
from sklearn_robust.metrics._view import is_network, unwrap


def perturb(
    estimator: Any,
    X: Any,
    y: Any,
    *,
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
) -> Any:
    """Return the points that `robust_score` holds predictions against: mistakes where it finds one.

    Samples that are misclassified as they are come back as they are, as in Algorithm 1 of the
    report; where no mistake is found, the point is that of the last attack. Columns that hold no
    numbers or are encoded as categories are left alone.

    Parameters
    ----------
    estimator, X, y, epsilon, norm, clip_values, attack, n_steps, step_size, n_restarts
        As in `robust_score`.
    random_state, n_jobs, verbose
        As in `robust_score`.

    Returns
    -------
    X_adv : ndarray or DataFrame, as X
        Columns of integers become floats.

    Raises
    ------
    ValueError, TypeError
        As in `robust_score`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust.metrics import perturb
    >>> X, y = np.array([[100.0, 0.0], [300.0, 5.0]]), [0, 1]
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> perturb(clf, X, y, epsilon=[50.0, 0.0])
    array([[150.,   0.],
           [250.,   5.]])
    """
    steps, final = unwrap(estimator)
    options: dict[str, Any] = {
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
        X_adv = final._attacked(X, y, **options).X_adv.reshape(np.shape(X))
        if not hasattr(X, "iloc"):
            return X_adv
        out = type(X)(X_adv, columns=X.columns, index=X.index)
        for k in np.flatnonzero(truth_columns(X)):
            out.isetitem(k, X.iloc[:, k])
        return out
    result = attack_estimator(estimator, X, y, **options)
    return result.view.samples.restore(result.rows)
