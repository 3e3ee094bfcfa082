"""Which samples of a tree ensemble an adversary can move to another class: exactly, or open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import effective_n_jobs

from sklearn_robust._arrays import as_floats
from sklearn_robust._jobs import delayed, parallel, with_progress
from sklearn_robust._norms import NORMS, Norm, register_norm
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.trees._bits import first_bits, pieces_of
from sklearn_robust.trees._cells import Cells
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._grid import grid_of
from sklearn_robust.trees._judge import Judge, Outcome, Predict
from sklearn_robust.trees._regions import Regions

# Samples of a batch, and those whose boxes are sent through the trees together.
_MOST, _LEAST, _VISITED = 2048, 16, 256


@dataclass(frozen=True)
class Decision:
    """What is known of samples in a threat model; where neither holds, the question is open.

    Attributes
    ----------
    proven : bool ndarray of shape (n_samples,)
        Right at every point of the set.
    broken : bool ndarray of shape (n_samples,)
        Wrong as they are, or at a point of the set.
    points : ndarray of shape (n_samples, n_features)
        Such a point where `broken`, else the sample.
    """

    proven: np.ndarray
    broken: np.ndarray
    points: np.ndarray


def decide(
    forest: Forest,
    predict: Predict,
    X: np.ndarray,
    labels: np.ndarray,
    threat: ThreatModel,
    *,
    max_nodes: int = 200,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Decision:
    """Decide for each sample whether the adversary can have it misclassified.

    Proofs hold for every float in the set, and rest on the forest being the model. Points are
    confirmed by the model: what it does not confirm stays open.

    Parameters
    ----------
    forest : Forest
        The fitted model.
    predict : callable
        Its own predictions, from rows to class indices.
    X : ndarray of shape (n_samples, n_features)
        NaN: the entry is missing and does not move.
    labels : int ndarray of shape (n_samples,)
        Class indices; -1 is always a mistake.
    threat : ThreatModel
    max_nodes : int, default=200
        Linear programs that a rival class of a sample may take before it is left open. 0: none.
    n_jobs : int, optional
        Batches of samples at a time, see `joblib.Parallel`. None: 1. Answers do not depend on it.
    verbose : int, default=0
        1 or more: show a progress bar.

    Returns
    -------
    decision : Decision

    Raises
    ------
    ValueError
        If the norm is no p-norm, or a feature moves that the trees split by categories.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.trees import decide, read_forest
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> found = decide(read_forest(model), model.predict, X, y, ThreatModel(0.3))
    >>> int(found.proven.sum()), int(found.broken.sum())
    (100, 50)
    >>> bool((model.predict(found.points[found.broken]) == y[found.broken]).any())
    False
    """
    check_int(max_nodes, "max_nodes", low=0)
    X, labels = as_floats(X), np.asarray(labels)
    forest = forest.on(X.dtype)
    if threat.moves is not None:
        forest = forest.on_whole(threat.moves.whole)
    check_categories(forest, X, threat)
    judge = Judge(forest, predict, max_nodes)
    proven, broken, points = np.zeros(len(X), bool), np.zeros(len(X), bool), X.copy()
    right = np.flatnonzero(predict(X) == labels) if len(X) else np.zeros(0, np.intp)
    broken[:] = True
    broken[right] = False
    batches = batches_of(right, n_jobs)
    work = (
        delayed(outcomes_of)(judge, (X[batch], labels[batch]), (threat, threat.geometry))
        for batch in batches
    )
    done = with_progress(parallel(n_jobs)(work), len(batches), "tree ensemble", verbose)
    for batch, outcomes in zip(batches, done, strict=True):
        proven[batch] = [outcome.proven for outcome in outcomes]
        for i, outcome in zip(batch, outcomes, strict=True):
            if outcome.point is not None:
                points[i], broken[i] = outcome.point, True
    _confirm(predict, X, labels, threat, right, broken, points)
    return Decision(proven, broken, points)


def check_categories(forest: Forest, X: np.ndarray, threat: ThreatModel) -> None:
    """Raise ValueError if features move whose splits are no thresholds."""
    touched = threat.touched(X.shape[1]) & (not threat.is_null)
    categories = np.unique(forest.feature[forest.category_row >= 0])
    moving = categories[touched[categories]]
    if len(moving):
        raise ValueError(
            "epsilon must be 0 for features that are split by categories, got values > 0 for "
            f"features {moving.tolist()[:10]}."
        )


def batches_of(
    index: np.ndarray, n_jobs: int | None, least: int = _LEAST, most: int = _MOST
) -> list[np.ndarray]:
    """Return samples in batches, enough of them to keep all workers busy."""
    jobs = effective_n_jobs(n_jobs)
    size = most if jobs == 1 else int(np.clip(len(index) // (4 * jobs), least, most))
    return [index[start : start + size] for start in range(0, len(index), size)]


def outcomes_of(
    judge: Judge, data: tuple[np.ndarray, np.ndarray], set_: tuple[ThreatModel, Norm]
) -> list[Outcome]:
    """Return what is found for samples that are right."""
    threat, norm = set_
    if norm.name not in NORMS:
        register_norm(norm)  # in a worker process, where nobody has
    X, labels = data
    forest, regions = judge.forest, Regions(X, threat)
    inside = grid_of(forest).inside(regions.low, regions.high)
    found = [Outcome(True, None)] * len(X)
    for i, leaves in _open(forest, regions, labels):
        leaves = forest.reached(leaves, X[i]) if forest.whole.any() else leaves
        question = judge.question(leaves, int(labels[i]))
        if len(question.rivals):
            cut = partial(Cells, forest, regions, i, (inside[0][i], inside[1][i]))
            found[i] = judge.verdict(question, cut)
    return found


def _open(forest: Forest, regions: Regions, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield samples that a first bound does not prove, and the leaves that they may reach."""
    low, high, bits = regions.low, regions.high, first_bits(forest, len(labels))
    if bits is None:
        for start in range(0, len(labels), _VISITED):
            lot = slice(start, start + _VISITED)
            yield from enumerate(forest.met(low[lot], high[lot]), start)
        return
    for lot in pieces_of(len(labels)):
        leads, words = bits.leads(low[lot], high[lot], labels[lot])
        leads[np.arange(len(leads)), labels[lot]] = np.inf
        open_ = np.flatnonzero((leads <= forest.slack).any(axis=1))
        yield from zip(lot.start + open_, bits.leaves(words[open_]), strict=True)


def _confirm(
    predict: Predict,
    X: np.ndarray,
    labels: np.ndarray,
    threat: ThreatModel,
    right: np.ndarray,
    broken: np.ndarray,
    points: np.ndarray,
) -> None:
    """Take back points outside of the set, and those at which the model makes no mistake."""
    index = right[broken[right]]
    if not len(index):
        return
    inside = Regions(X[index], threat).contains(points[index], np.arange(len(index)))
    sure = inside & (predict(points[index]) != labels[index])
    broken[index[~sure]] = False
    points[index[~sure]] = X[index[~sure]]
