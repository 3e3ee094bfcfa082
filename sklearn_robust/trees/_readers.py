"""Which function reads which tree model, and the test of what it read against the model itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_robust.trees._errors import NoTreesError
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._values import numbers

# The module that reads the models of a package.
_MODULES = {
    "sklearn.ensemble": "_sklearn",
    "sklearn.tree": "_sklearn",
    "xgboost": "_xgboost",
    "lightgbm": "_lightgbm",
    "catboost": "_catboost",
}


def read_forest(model: Any) -> Forest:
    """Return a fitted classifier made of trees as a `Forest`.

    Parameters
    ----------
    model : classifier
        Of scikit-learn, XGBoost, LightGBM or CatBoost; none of them is imported for it.

    Returns
    -------
    forest : Forest
        On the input of the model as `inputs_of` gives it.

    Raises
    ------
    NoBoxesError
        If the model is not made of trees, or its leaves are not boxes; the message says why.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_robust.trees import read_forest
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RandomForestClassifier(10, random_state=0).fit(X, y)
    >>> forest = read_forest(model)
    >>> forest.n_trees, bool((forest.predict(X) == model.predict(X)).all())
    (10, True)
    """
    module = _module(model)
    if module is None:
        raise NoTreesError(f"{type(model).__name__} is not made of trees that can be read.")
    return module.read(model)


def inputs_of(model: Any, Z: Any) -> np.ndarray:
    """Return what a model is given as the numbers that its `Forest` compares."""
    encode = getattr(_module(model), "encode", None)
    if encode is not None:
        return encode(model, Z)
    return numbers(Z)


def _module(model: Any) -> Any:
    name = _module_name(model)
    return None if name is None else importlib.import_module(f"sklearn_robust.trees.{name}")


def _module_name(model: Any) -> str | None:
    for cls in type(model).__mro__:
        for package, name in _MODULES.items():
            if f"{cls.__module__}.".startswith(f"{package}."):
                return name
    return None


def probes(forest: Forest, X: np.ndarray, fixed: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return points near the samples `X` that lie on thresholds, or a step beside them.

    `fixed` columns stay as they are.
    """
    rng = np.random.default_rng(seed)
    points = X[rng.integers(len(X), size=n)].astype(np.float64)
    used = np.unique(forest.feature[forest.feature >= 0])
    for f in used[~fixed[used]]:
        thresholds = forest.threshold[forest.numbers(f)]
        if not len(thresholds):
            continue
        t = rng.choice(thresholds, size=n)
        with np.errstate(over="ignore"):
            t32 = t.astype(np.float32)
            up32 = np.nextafter(t32, np.float32(np.inf))
        near = np.stack([t, forest.after(t, f), np.nextafter(t, -np.inf), t32, up32, points[:, f]])
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
