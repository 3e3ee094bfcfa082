"""How far the nearest mistake of a tree ensemble is: proven from below, shown from above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sklearn_robust._arrays import as_floats
from sklearn_robust._jobs import delayed, parallel, with_progress
from sklearn_robust._norms import NORMS, Norm, register_norm
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.trees._cells import Cells
from sklearn_robust.trees._decide import batches_of, check_categories
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._grid import grid_of
from sklearn_robust.trees._judge import Judge, Outcome, Predict
from sklearn_robust.trees._regions import Regions
from sklearn_robust.trees._sums import starts

# Radii closer than this, relatively, are not told apart.
_SAME = 1e-12
# Samples of a batch.
_LEAST, _MOST = 2, 32
# Sets between those where moves find a mistake and where they do not, before programs are solved.
_N_NARROWED = 3


def distances(
    forest: Forest,
    predict: Predict,
    X: np.ndarray,
    labels: np.ndarray,
    unit: ThreatModel,
    *,
    max_nodes: int = 200,
    rtol: float = 1e-6,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return bounds of the distance of each sample to the nearest mistake, and the mistakes.

    .. math:: d_i = \min \{ \|(x' - x_i) / \mathrm{unit}\| : F(x') \ne y_i \}

    Parameters
    ----------
    forest, predict, X, labels, max_nodes, n_jobs, verbose
        As in `decide`. Where a search ends at its budget the bounds stay apart.
    unit : ThreatModel
        In whose radii distances are measured; its norm and clip_values hold.
    rtol : float, default=1e-6
        How far apart bounds may be, relatively. In linf they agree but for rounding.

    Returns
    -------
    lower, upper : ndarrays of shape (n_samples,)
        0 where a sample is wrong as it is; both are infinite where the box holds no mistake.
    points : ndarray of shape (n_samples, n_features)
        Mistakes at the upper bound; the sample where none was found.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.trees import distances, read_forest
    >>> X, y = load_iris(return_X_y=True)
    >>> model = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> lower, upper, points = distances(
    ...     read_forest(model), model.predict, X[:3], y[:3], ThreatModel(1.0)
    ... )
    >>> bool((lower == upper).all()), model.predict(points)
    (True, array([1, 1, 1]))
    """
    check_int(max_nodes, "max_nodes", low=0)
    X, labels = as_floats(X), np.asarray(labels)
    forest = forest.on(X.dtype)
    check_categories(forest, X, unit)
    judge = Judge(forest, predict, max_nodes)
    lower, upper, points = np.zeros(len(X)), np.zeros(len(X)), X.copy()
    right = np.flatnonzero(predict(X) == labels) if len(X) else np.zeros(0, np.intp)
    batches = batches_of(right, n_jobs, _LEAST, _MOST)
    work = (
        delayed(_brackets)(judge, (X[batch], labels[batch]), (unit, unit.geometry), rtol)
        for batch in batches
    )
    done = with_progress(parallel(n_jobs)(work), len(batches), "distances", verbose)
    for batch, found in zip(batches, done, strict=True):
        lower[batch], upper[batch], points[batch] = found
    shown = right[np.isfinite(upper[right])]
    if len(shown):
        false = shown[predict(points[shown]) == labels[shown]]
        upper[false], points[false] = np.inf, X[false]
    return lower, upper, points


def _brackets(
    judge: Judge,
    data: tuple[np.ndarray, np.ndarray],
    set_: tuple[ThreatModel, Norm],
    rtol: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return bounds and points of samples that are right."""
    unit, norm = set_
    if norm.name not in NORMS:
        register_norm(norm)  # in a worker process, where nobody has
    X, labels = data
    # Balls in double precision, of points in that of the data.
    wide = X.astype(np.float64)
    brackets = [Bracket(judge, wide[i : i + 1], int(labels[i]), unit) for i in range(len(X))]
    for bracket in brackets:
        bracket.close(rtol)
    lower, upper = ([getattr(b, name) for b in brackets] for name in ("lower", "upper"))
    return (
        np.array(lower),
        np.array(upper),
        np.concatenate([b.point for b in brackets]).astype(X.dtype),
    )


@dataclass
class Bracket:
    """Bounds of the distance of one sample, which asking at radii brings together.

    Parameters
    ----------
    judge : Judge
    x : ndarray of shape (1, n_features)
    label : int
    unit : ThreatModel
    """

    judge: Judge
    x: np.ndarray
    label: int
    unit: ThreatModel

    def __post_init__(self) -> None:
        self.lower, self.upper, self.point = 0.0, np.inf, self.x.copy()
        regions = Regions(self.x, self.unit)
        self._radius, self._power = regions.radius, 1.0
        self._is_linf = regions.power == np.inf
        if not self._is_linf:
            self._power = regions.power

    def close(self, rtol: float) -> None:
        """Bring the bounds together, as far as the judge's budget goes."""
        self._widen()
        if np.isinf(self.lower):
            return
        keep = 1 - (_SAME if self._is_linf else rtol)
        proven: dict[int, float] = {}
        while self._settle(proven, keep):
            pass

    def _widen(self) -> None:
        """Look for a mistake by moves alone in growing sets, up to where no threshold follows.

        In the first, half of the features have a threshold within reach.
        """
        nearest, furthest = self._thresholds()
        self._widest = float(furthest.max(initial=0.0)) * len(self.x[0]) * (1 + _SAME)
        radius = float(np.median(nearest[nearest > 0])) if nearest.any() else self._widest
        while np.isinf(self.upper):
            radius = min(radius, self._widest)
            self._try(radius)
            if radius == self._widest:
                self.lower = np.inf if self.lower == radius else self.lower
                return
            radius *= 2
        # The larger the set, the slower its programs.
        low = max(self.lower, self.upper / 4)
        for _ in range(_N_NARROWED):
            radius = float(np.sqrt(low * self.upper))
            if not self._try(radius):
                low = radius

    def _try(self, radius: float) -> bool:
        """Move a bound to a radius if moves alone find a mistake, or none is left."""
        regions, leaves = self._region(radius)
        quick = replace(self.judge, max_nodes=0)
        question, outcome = quick.question(leaves, self.label), Outcome(True, None)
        if len(question.rivals):
            outcome = quick.verdict(question, self._cut(regions))
        if outcome.proven:
            self.lower = max(self.lower, radius)
        if outcome.point is not None:
            self._take(outcome.point)
        return outcome.point is not None

    def _settle(self, proven: dict[int, float], keep: float) -> bool:
        """Find the nearest mistake of each rival; return whether to begin again, more closely.

        `proven` has the radius up to which each rival is known to lose, and is added to.
        """
        radius = min(self.upper, self._widest)
        regions, leaves = self._region(radius)
        question, cut = self.judge.question(leaves, self.label), self._cut(regions, priced=True)
        closed = True
        for rival in map(int, question.rivals):
            if proven.get(rival, 0.0) >= keep * self.upper:
                continue
            budget = min(regions.budget, (keep * self.upper / radius) ** self._power)
            found = self.judge.nearest(question, rival, cut, budget=budget, keep=keep**self._power)
            bound = radius * found.price ** (1 / self._power) * (1 - _SAME)
            proven[rival] = max(proven.get(rival, 0.0), bound)
            if found.point is not None:
                self._take(found.point)
            if found.again and self.upper < radius:
                return True
            closed &= not (found.open or found.again)
        if closed and np.isinf(self.upper):
            self.lower = np.inf  # no threshold lies further away
            return False
        least = min((proven[int(rival)] for rival in question.rivals), default=np.inf)
        self._raise_to(min(least, radius), cut(leaves))
        return False

    def _raise_to(self, radius: float, cells: Cells) -> None:
        """Raise the lower bound to a radius, in linf to the next at which cells enter the set."""
        if self._is_linf:
            x = self.x[0][cells.feature][cells.cell_axis]
            enters = abs(cells.nearest - x) / self._radius[cells.feature][cells.cell_axis]
            radius = enters[enters >= radius * (1 - _SAME)].min(initial=np.inf)
        self.lower = max(self.lower, min(radius, self.upper))

    def _thresholds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how far, in units, the first and the last threshold are of features that move."""
        regions, grid = Regions(self.x, self.unit), grid_of(self.judge.forest)
        x = self.x[0]
        cut = (np.diff(grid.start) > 0) & (regions.radius > 0) & ~np.isnan(x)
        moves = cut[grid.feature]
        feature = grid.feature[moves]
        away = abs(grid.value[moves] - x[feature]) / regions.radius[feature]
        if not len(away):
            return away, away
        begin = starts(feature)
        return np.minimum.reduceat(away, begin), np.maximum.reduceat(away, begin)

    def _region(self, radius: float) -> tuple[Regions, np.ndarray]:
        regions = Regions(self.x, self.unit.scaled(radius), self.judge.forest.dtype)
        return regions, self.judge.forest.met(regions.low, regions.high)[0]

    def _cut(self, regions: Regions, *, priced: bool = False) -> Callable[[np.ndarray], Cells]:
        """Return what makes cells of leaves."""
        first, last = grid_of(self.judge.forest).inside(regions.low, regions.high)
        return partial(Cells, self.judge.forest, regions, 0, (first[0], last[0]), priced=priced)

    def _take(self, point: np.ndarray) -> None:
        """Take up a mistake, if it is nearer than the last."""
        point, missing = point[None], np.isnan(self.x)
        far = self.unit.size(np.where(missing, 0, point), np.where(missing, 0, self.x))
        if far[0] < self.upper:
            self.upper, self.point = float(far[0]), point
