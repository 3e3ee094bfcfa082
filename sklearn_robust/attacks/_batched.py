r"""BatchedSearch: many points of a sample at once, for models that answer slowly but in bulk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, as_like, rows, to_numpy
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.attacks._direct import nearest_of_other_classes
from sklearn_robust.attacks._losses import Margin, is_right
from sklearn_robust.attacks._search import Run, SearchAttack

# Shares of the radius: mistakes may lie well inside the set, and a smaller set is in a larger one.
_RADII = (1.0, 0.5, 0.25)
_NEIGHBORS = 16  # candidates of other classes
_DRAWS = 24  # corners, and points inside, at each radius
_COPIES = 8


@dataclass(frozen=True, eq=False)
class BatchedSearch(SearchAttack):
    r"""Random search that asks for many points of each sample at a time.

    First rows of other classes, at several radii, as `DirectAttack` tries them; then random corners
    and points inside the set at the same radii; then rounds of changes to the best point so far:
    some features moved to an end of their range or inside it, and steps back towards the sample or
    on towards a row of another class. Only the order of scores counts, and where a classifier gives
    nothing but its labels, these. A forest or a boosted ensemble answers a hundred rows nearly as
    fast as one, so that this takes a hundredth of the calls of `Square`.

    Parameters
    ----------
    candidates : array-like of shape (n_candidates, n_features), optional
        Samples in the units and columns of X. None: the batch that is attacked.
    classes : array-like of int, shape (n_candidates,), optional
        The classes predicted for them. None: those of the highest scores.
    n_rounds : int, default=16
    n_points : int, default=48
        Points of each sample in a round.

    Raises
    ------
    ValueError
        If a parameter breaks its rule.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import BatchedSearch, ScoreModel, ThreatModel
    >>> inside = lambda X: np.c_[abs(X[:, 0] - 2) < 0.5, abs(X[:, 0] - 2) >= 0.5].astype(float)
    >>> model = ScoreModel(inside, n_classes=2)
    >>> X, y, generator = np.array([[0.0]]), np.array([1]), np.random.default_rng(0)
    >>> found = BatchedSearch().perturb(model, X, y, ThreatModel(epsilon=5.0), generator)
    >>> bool(abs(found[0, 0] - 2) < 0.5)
    True
    """

    candidates: Any = field(default=None, repr=False)
    classes: Any = field(default=None, repr=False)
    n_rounds: int = 16
    n_points: int = 48
    needs_gradients = False

    def __post_init__(self) -> None:
        check_int(self.n_rounds, "n_rounds", low=0)
        check_int(self.n_points, "n_points", low=1)

    def run(self, run: Run) -> Array:
        state = _Best(run)
        known = self._known(run)
        rng = np.random.default_rng(int(_seed(run)))
        state.see(self._direct(run, known, state))
        for radius in _RADII:
            if state.open.any():
                state.see(_draws(state, run.threat.scaled(radius), rng))
        for k in range(self.n_rounds):
            if not state.open.any():
                break
            share = 0.8 * 0.9**k
            state.see(_children(state, run.threat, share, self.n_points, known, rng))
        return as_like(state.points.reshape(run.X.shape), run.X)

    def _known(self, run: Run) -> tuple[np.ndarray, np.ndarray]:
        """Return the candidates, in rows, and their classes."""
        if self.candidates is None:
            return rows(to_numpy(run.X)), to_numpy(run.y)
        candidates = np.asarray(self.candidates)
        if self.classes is not None:
            return rows(candidates), np.asarray(self.classes)
        logits = run.model.logits(run.model.asarray(candidates))
        return rows(candidates), to_numpy(logits).argmax(axis=1)

    def _direct(self, run: Run, known: tuple[np.ndarray, np.ndarray], state: _Best) -> np.ndarray:
        """Return the points of the sets that are nearest to rows of other classes."""
        candidates, classes = known
        X, y = state.X, to_numpy(run.y)
        order = nearest_of_other_classes(run.threat, X, y, candidates, classes, _NEIGHBORS)
        parts = [
            _project(run.threat.scaled(radius), X, candidates[order])
            for radius in _RADII
            if order.shape[1]
        ]
        return np.concatenate([state.X[:, None], *parts], axis=1)


def _seed(run: Run) -> int:
    """Draw a seed from the generator of the run, of numpy or torch."""
    if isinstance(run.generator, np.random.Generator):
        return int(run.generator.integers(2**32))
    return int(run.generator.initial_seed() % 2**32) + run.number


class _Best:
    """The points with the highest margins so far, and which samples are still right."""

    def __init__(self, run: Run) -> None:
        self.run, self.shape = run, run.X.shape[1:]
        self.X = rows(to_numpy(run.X)).astype(np.float64)
        self.y = to_numpy(run.y)
        self.points = self.X.copy()
        self.height = np.full(len(self.X), -np.inf)
        self.open = np.ones(len(self.X), dtype=bool)

    def see(self, points: np.ndarray) -> None:
        """Look at some points of each open sample, shape (n_open, n_points, n_features)."""
        open_ = np.flatnonzero(self.open)
        n_points = points.shape[1]
        for part in pieces(len(open_), _COPIES * n_points * row_bytes(self.X)):
            pick, each = open_[part], points[part]
            flat = each.reshape(-1, *self.shape)
            y = np.repeat(self.y[pick], n_points)
            model = self.run.model
            logits = model.logits(model.asarray(flat))
            value = to_numpy(Margin().value(logits, model.labels(y))).astype(np.float64)
            wrong = ~to_numpy(is_right(logits, model.labels(y)))
            value = np.where(wrong, np.inf, value).reshape(len(pick), n_points)
            best = value.argmax(axis=1)
            top = value[np.arange(len(pick)), best]
            better = top >= self.height[pick]  # on a plateau one walks on
            self.points[pick[better]] = each[np.flatnonzero(better), best[better]]
            self.height[pick] = np.maximum(self.height[pick], top)
            self.open[pick] = ~np.isposinf(top)


def _project(threat: ThreatModel, X: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the nearest points of the sets around X, shape (n_samples, n_points, n_features)."""
    n, m, d = points.shape
    around = threat.around(np.repeat(X, m, axis=0))
    return around.project(points.reshape(n * m, d)).reshape(n, m, d)


def _draws(state: _Best, threat: ThreatModel, rng: np.random.Generator) -> np.ndarray:
    """Return corners of the sets, and points inside them."""
    X = state.X[state.open]
    around = threat.around(np.repeat(X, _DRAWS, axis=0))
    signs = rng.choice([-1.0, 1.0], size=around.X.shape)
    # Of a ball that is no box: what few features may spend, and many.
    few = signs * (rng.random(signs.shape) < _shares(len(signs), signs.shape[1], 1.0, rng))
    drawn = [around.furthest(signs), around.furthest(few), around.sample(rng)]
    return np.concatenate([part.reshape(len(X), _DRAWS, -1) for part in drawn], axis=1)


def _shares(n: int, n_features: int, most: float, rng: np.random.Generator) -> np.ndarray:
    """Return shares of the features to change, from one of them to `most`, as a column."""
    low = np.log(1 / n_features)
    return np.exp(low + rng.random((n, 1)) * max(np.log(most) - low, 0.0))


def _children(
    state: _Best,
    threat: ThreatModel,
    share: float,
    n_points: int,
    known: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Return points near the best ones: some features elsewhere, or a step along a line."""
    X, best = state.X[state.open], state.points[state.open]
    shape = (len(X), n_points, X.shape[1])
    radii = np.broadcast_to(threat.radii(X), X.shape)[:, None]
    # To an end of the range for most, anywhere in it for others.
    reach = np.where(rng.random(shape[:2])[..., None] < 0.7, 1.0, rng.random(shape))
    moved = X[:, None] + rng.choice([-1.0, 1.0], size=shape) * reach * radii
    shares = _shares(len(X) * n_points, shape[2], share, rng).reshape(len(X), n_points, 1)
    change = rng.random(shape) < shares
    points = np.where(change, moved, best[:, None])
    lines = n_points // 6
    if lines:
        towards = known[0][rng.integers(len(known[0]), size=(len(X), lines))]
        step = rng.random((len(X), lines, 1))
        points[:, :lines] = best[:, None] + step * (towards - best[:, None])
        points[:, lines : 2 * lines] = X[:, None] + rng.random((len(X), lines, 1)) * (
            best[:, None] - X[:, None]
        )
    return _project(threat, X, points)
