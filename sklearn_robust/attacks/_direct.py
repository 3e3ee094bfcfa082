"""The direct attack: towards samples of other classes, as far as the threat model allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, as_like, replace_rows, rows, sort_rows, to_numpy
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.attacks._losses import Margin, is_right
from sklearn_robust.attacks._points import where_rows
from sklearn_robust.attacks._search import Run, SearchAttack


@dataclass(frozen=True, eq=False)
class DirectAttack(SearchAttack):
    r"""Move each sample towards samples of other classes, nearest first, until one misleads.

    .. math:: x' = \arg\min_{z \in A(x)} \|z - c\|_2, \quad \text{the distance in units of epsilon}

    for one candidate c after another, as in [1]_ and [2]_: the candidate itself if it lies in the
    set, else the point of the set that is nearest to it. It needs no gradients, and finds mistakes
    on plateaus and inside the set, where `Square` may see none.

    Parameters
    ----------
    candidates : array-like of shape (n_candidates, ...), optional
        Samples in the units and columns of X. None: the batch that is attacked.
    classes : array-like of int, shape (n_candidates,), optional
        The classes predicted for them. None: those of the highest scores.
    n_neighbors : int, default=50
        How many candidates are tried for each sample, a forward pass for each.

    Raises
    ------
    ValueError
        If a parameter breaks its rule.

    References
    ----------
    .. [1] L. Amsaleg et al., "The vulnerability of learning to adversarial perturbation increases
       with intrinsic dimensionality", WIFS 2017.
    .. [2] Y. Wang, S. Jha, K. Chaudhuri, "Analyzing the robustness of nearest neighbors to
       adversarial examples", ICML 2018.

    Examples
    --------
    A strip of another class, which the corners of the set lie beyond:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import DirectAttack, ScoreModel, ThreatModel
    >>> inside = lambda X: np.c_[abs(X[:, 0] - 2) < 0.5, abs(X[:, 0] - 2) >= 0.5].astype(float)
    >>> model = ScoreModel(inside, n_classes=2)
    >>> X, y = np.array([[0.0], [2.1]]), np.array([1, 0])
    >>> threat, generator = ThreatModel(epsilon=5.0), np.random.default_rng(0)
    >>> DirectAttack().perturb(model, X, y, threat, generator)
    array([[2.1],
           [0. ]])
    """

    candidates: Any = field(default=None, repr=False)
    classes: Any = field(default=None, repr=False)
    n_neighbors: int = 50
    needs_gradients = False

    def __post_init__(self) -> None:
        check_int(self.n_neighbors, "n_neighbors", low=1)
        if self.classes is not None and np.shape(self.classes) != np.shape(self.candidates)[:1]:
            raise ValueError(
                "classes must hold one class for each of the candidates, got shape "
                f"{np.shape(self.classes)} for candidates of shape {np.shape(self.candidates)}."
            )

    def run(self, run: Run) -> Array:
        around, model, y, margin = run.around, run.model, run.y, Margin()
        candidates, classes = self._known(run)
        best, height = run.X, margin.value(model.logits(run.X), y)
        open_ = y == y
        order = nearest_of_other_classes(
            run.threat, run.X, to_numpy(y), candidates, classes, self.n_neighbors
        )
        for nearest in order.T:
            points = around.project(where_rows(open_, candidates[nearest], best))
            logits = model.logits(points[open_])
            value = replace_rows(height, open_, margin.value(logits, y[open_]))
            right = replace_rows(open_, open_, is_right(logits, y[open_]))
            better = open_ & ((value > height) | ~right)
            best, height = where_rows(better, points, best), where_rows(better, value, height)
            open_ = open_ & right
            if not open_.any():
                break
        return best

    def _known(self, run: Run) -> tuple[Array, np.ndarray]:
        """Return the candidates and their classes."""
        if self.candidates is None:
            return run.X, to_numpy(run.y)
        candidates = run.model.asarray(self.candidates)
        if self.classes is not None:
            return candidates, np.asarray(self.classes)
        return candidates, to_numpy(run.model.logits(candidates)).argmax(axis=1)


def nearest_of_other_classes(
    threat: ThreatModel,
    X: Array,
    y: np.ndarray,
    candidates: Array,
    classes: np.ndarray,
    n_neighbors: int,
) -> np.ndarray:
    """Return candidates of other classes for each sample, nearest first, by index.

    Distances are taken in units of the radius. All samples have as many as the one with the most,
    those of their own class come last.
    """
    same = classes == y[:, None]
    size = min(n_neighbors, int((~same).sum(axis=1).max(initial=0)))
    order = np.zeros((len(y), size), dtype=np.intp)
    for piece in pieces(len(y), len(candidates) * row_bytes(X)) if size else ():
        distance = _distances(threat, X[piece], candidates)
        distance[same[piece]] = np.inf
        order[piece] = to_numpy(sort_rows(distance)[1])[:, :size]
    return order


def _distances(threat: ThreatModel, X: Array, candidates: Array) -> Array:
    """Return the distance of each candidate from each sample, shape (n_samples, n_candidates)."""
    a, b = rows(X), rows(candidates)
    delta = (b[None] - a[:, None]).reshape(len(a) * len(b), -1)
    radii = np.asarray(to_numpy(threat.radii(a)), dtype=np.float64)
    scale = np.divide(1.0, radii, out=np.zeros(radii.shape), where=radii > 0)
    if scale.ndim > 1:
        scale = np.repeat(scale, len(b), axis=0)
    return threat.geometry.length(delta * as_like(scale, delta)).reshape(len(a), len(b))
