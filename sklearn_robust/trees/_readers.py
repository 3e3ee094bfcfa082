"""Which function reads which tree model, and the test of what it read against the model itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_robust.trees._errors import NoBoxesError
from sklearn_robust.trees._forest import Forest

# The module that reads the models of a library, by the package (or, of scikit-learn, the class).
_MODULES = {
    "sklearn": "_sklearn",
    "xgboost": "_xgboost",
    "lightgbm": "_lightgbm",
    "catboost": "_catboost",
}


def read_forest(model: Any) -> Forest:
    """Return a fitted classifier made of trees as a `Forest`.

    Raises
    ------
    NoBoxesError
        If the model is not made of trees, or its leaves are no boxes; the message says why.
    """
    for cls in type(model).__mro__:
        name = _MODULES.get(cls.__module__.partition(".")[0])
        if name is not None:
            reader: Callable[[Any], Forest] = importlib.import_module(
                f"sklearn_robust.trees.{name}"
            ).read
            return reader(model)
    raise NoBoxesError(f"{type(model).__name__} is not made of trees that can be read.")


def probes(forest: Forest, X: np.ndarray, fixed: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return points near the samples `X` that lie on thresholds, or a step beside them.

    `fixed` columns stay as they are.
    """
    rng = np.random.default_rng(seed)
    points = X[rng.integers(len(X), size=n)].astype(np.float64)
    for f in np.flatnonzero(~fixed):
        thresholds = forest.threshold[forest.numbers(f)]
        if not len(thresholds):
            continue
        t = rng.choice(thresholds, size=n)
        with np.errstate(over="ignore"):
            t32 = t.astype(np.float32)
            up32 = np.nextafter(t32, np.float32(np.inf))
        near = np.stack([t, forest.after(t), np.nextafter(t, -np.inf), t32, up32, points[:, f]])
        pick = near[rng.integers(len(near), size=n), np.arange(n)]
        points[:, f] = np.where(np.isfinite(pick) & ~np.isnan(points[:, f]), pick, points[:, f])
    return points


def disagreements(
    forest: Forest, predict: Callable[[np.ndarray], np.ndarray], points: np.ndarray
) -> int:
    """Return for how many points the model does not predict what the forest says.

    Where the two highest scores lie within the slack, any of those that high may be predicted.
    """
    scores = forest.scores(points)
    predicted = predict(points)
    own = scores[np.arange(len(scores)), predicted]
    wrong = own < scores.max(axis=1) - forest.slack
    if forest.exact:
        wrong = forest.winners(scores) != predicted
    return int(wrong.sum())
