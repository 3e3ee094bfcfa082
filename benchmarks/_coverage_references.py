"""What other ways find of the accuracy that an adversary leaves, for the table of classifiers.

Points drawn at random, samples copied into each set, a fine grid over two columns, and Veritas for
trees: the first three leave too much, and what an attack leaves beyond them it has missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.feature_selection import f_classif

from benchmarks._tree_referees import Veritas
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.metrics import evaluate_robustness
from sklearn_robust.targets import make_target

GRID = 31  # points along each of two columns
GRID_SAMPLES = 50
VERITAS_SAMPLES = 30
# Rows that a classifier is asked about at once.
_AT_ONCE = 30_000

Predict = Callable[[np.ndarray], np.ndarray]


def surviving(predict: Predict, y: np.ndarray, points: Iterator[np.ndarray]) -> float:
    """Return the share of samples that are right at all points, given as arrays like X."""
    right, waiting = np.ones(len(y), dtype=bool), []
    for part in points:
        waiting.append(part)
        if len(waiting) * len(y) >= _AT_ONCE:
            right &= _right(predict, y, waiting)
            waiting = []
    return float((right & _right(predict, y, waiting) if waiting else right).mean())


def _right(predict: Predict, y: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    # Many at once, as some classifiers answer a thousand rows as fast as one.
    predicted = np.asarray(predict(np.concatenate(parts)))
    return (predicted.reshape(len(parts), -1) == y).all(axis=0)


def random_points(X: np.ndarray, epsilon: Any, n_points: int, seed: int) -> Iterator[np.ndarray]:
    """Yield X itself and random corners of the boxes around its rows."""
    rng, around = np.random.default_rng(seed), ThreatModel(epsilon).around(X)
    yield X
    for _ in range(n_points):
        yield around.furthest(rng.choice([-1.0, 1.0], size=X.shape)).astype(X.dtype)


def copies(X: np.ndarray, others: np.ndarray, epsilon: Any) -> Iterator[np.ndarray]:
    """Yield for each of the others the nearest points of the boxes around the rows of X."""
    around = ThreatModel(epsilon).around(X)
    for other in others:
        yield around.project(np.broadcast_to(other, X.shape)).astype(X.dtype)


def on_a_grid(clf: Any, predict: Predict, X: np.ndarray, y: np.ndarray, epsilon: Any) -> dict:
    """Return what attack and proof say where two columns move, and what a grid of points leaves."""
    X, y = X[:GRID_SAMPLES], y[:GRID_SAMPLES]
    with np.errstate(all="ignore"):
        merit = np.nan_to_num(f_classif(X, y)[0])
    columns = np.argsort(-merit)[:2]
    radius = np.zeros(X.shape[1])
    radius[columns] = np.broadcast_to(epsilon, X.shape[1])[columns]
    at = evaluate_robustness(clf, X, y, [1.0], unit=radius, diagnostics=False).radii[0]
    left = surviving(predict, y, _grid(X, columns, radius))
    proven = None if np.isnan(at.certified) else at.certified
    return {"attacked": at.attacked, "certified": proven, "grid": left}


def _grid(X: np.ndarray, columns: np.ndarray, radius: np.ndarray) -> Iterator[np.ndarray]:
    steps = np.linspace(-1, 1, GRID)
    for first in steps:
        for second in steps:
            points = X.copy()
            points[:, columns] += (radius[columns] * [first, second]).astype(X.dtype)
            yield points


def by_veritas(clf: Any, X: np.ndarray, y: np.ndarray, epsilon: Any) -> dict | None:
    """Return on how many samples of a tree ensemble Veritas says something else, None for others.

    Where it ends at its limit of time it says nothing.
    """
    target: Any = make_target(clf, X[:VERITAS_SAMPLES], y[:VERITAS_SAMPLES], epsilon=epsilon)
    if not hasattr(target, "forest") or find_spec("veritas") is None:
        return None
    ours = target.attacked(target.threat).robust
    referee, around = Veritas(target.forest), target.threat.around(target.rows)
    low, high = (around.project(np.full_like(target.rows, end)) for end in (-np.inf, np.inf))
    said = {
        int(i): referee(int(target.labels[i]), low[i], high[i]).robust
        for i in np.flatnonzero(target.clean)
    }
    known = {i: robust for i, robust in said.items() if robust is not None}
    wrong = sum(bool(ours[i]) != robust for i, robust in known.items())
    return {"samples": len(known), "disagree": wrong}
