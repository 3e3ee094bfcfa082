"""How far the nearest mistake of a tree ensemble is: proven from below, shown from above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import delayed

from sklearn_robust._arrays import as_floats
from sklearn_robust._jobs import parallel, with_progress
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
        As in `decide`, where a search ends at its budget the bounds stay apart.
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
    batches = batches_of(right, n_jobs)
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
        self.open = False

    def close(self, rtol: float) -> None:
        """Bring the bounds together, as far as the judge's budget goes."""
        self._widen()
        if not np.isfinite(self.upper):
            return
        if Regions(self.x, self.unit).power == np.inf:
            self._bisect()
        while not self.open and self.lower < self.upper * (1 - rtol):
            self._ask(self.upper * (1 - rtol))

    def _widen(self) -> None:
        """Ask at growing radii until there is a mistake, or no further threshold.

        At the first, half of the features have a threshold within reach.
        """
        nearest, furthest = self._thresholds()
        widest = float(furthest.max(initial=0.0)) * len(self.x[0]) * (1 + _SAME)
        radius = float(np.median(nearest[nearest > 0])) if nearest.any() else widest
        while self.lower < widest and not self.open and not np.isfinite(self.upper):
            self._ask(min(radius, widest))
            radius *= 2
        if self.lower >= widest:
            self.lower = np.inf

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

    def _ask(self, radius: float) -> None:
        """Move a bound to a radius, or to a mistake within it; otherwise it is open."""
        outcome = self._outcome(radius)
        if outcome.proven:
            self.lower = max(self.lower, radius)
        elif outcome.point is None:
            self.open = True
        else:
            self._take(outcome.point)

    def _outcome(self, radius: float) -> Outcome:
        regions, leaves = self._region(radius)
        question = self.judge.question(leaves, self.label)
        if not len(question.rivals):
            return Outcome(True, None)
        return self.judge.verdict(question, self._cut(regions))

    def _region(self, radius: float) -> tuple[Regions, np.ndarray]:
        regions = Regions(self.x, self.unit.scaled(radius), self.judge.forest.dtype)
        return regions, self.judge.forest.met(regions.low, regions.high)[0]

    def _cut(self, regions: Regions) -> Callable[[np.ndarray], Cells]:
        """Return what makes cells of leaves."""
        first, last = grid_of(self.judge.forest).inside(regions.low, regions.high)
        return partial(Cells, self.judge.forest, regions, 0, (first[0], last[0]))

    def _take(self, point: np.ndarray) -> None:
        """Take up a mistake, if it is nearer than the last."""
        point, missing = point[None], np.isnan(self.x)
        far = self.unit.size(np.where(missing, 0, point), np.where(missing, 0, self.x))
        if far[0] < self.upper:
            self.upper, self.point = float(far[0]), point
        else:
            self.open = True

    def _bisect(self) -> None:
        """Find the first of the radii at which cells enter a box that lets a mistake in."""
        regions, leaves = self._region(self.upper)
        cells = self._cut(regions)(leaves)
        x, scale = (
            values[cells.feature][cells.cell_axis]
            for values in (self.x[0], Regions(self.x, self.unit).radius)
        )
        enters = np.unique(abs(cells.nearest - x) / scale)
        while not self.open:
            left = enters[(enters > self.lower * (1 + _SAME)) & (enters < self.upper * (1 - _SAME))]
            if not len(left):
                break
            self._ask(self._between(left))
        # Below the next radius at which anything changes nothing does. One asked about may have
        # been missed by rounding.
        later = enters[enters > self.lower * (1 - _SAME)]
        self.lower = max(self.lower, min(later.min(initial=np.inf), self.upper))

    def _between(self, left: np.ndarray) -> float:
        """Return a radius in the gap above the middle one of the radii that are left."""
        middle = left[(len(left) - 1) // 2]
        beyond = np.append(left[left > middle * (1 + _SAME)], self.upper)[0]
        return float((middle + beyond) / 2)
