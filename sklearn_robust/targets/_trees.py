"""Tree ensembles: decided exactly sample by sample, or left open at a budget and attacked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._norms import power
from sklearn_robust._threat import ThreatModel
from sklearn_robust.preprocessing import CannotFollowError, Samples
from sklearn_robust.targets._attacked import refuse_beside_budget
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Attacked, Target
from sklearn_robust.targets._tree_front import follow_trees, is_single
from sklearn_robust.trees import (
    BoundedForest,
    Forest,
    NoBoxesError,
    NoTreesError,
    TreeSearch,
    decide,
    disagreements,
    distances,
    probes,
    read_forest,
)

# Linear programs for each rival class of a sample.
_BUDGETS = {"auto": TreeSearch(), "strong": TreeSearch(5000)}
# Samples, and points at thresholds, for which the trees as read are held against the model.
_N_CHECKED = 1000
_PROVEN, _BROKEN, _OPEN = 1, 2, 3


@dataclass(frozen=True)
class _Answer:
    """What is known of some samples that are right.

    Attributes
    ----------
    state : int ndarray of shape (n,)
        Proven, broken or open by the search alone.
    robust : bool ndarray of shape (n,)
        Not broken by the search, nor by the attack on what it left open.
    points : ndarray of shape (n, n_values)
    broken_by : dict of str to int
    """

    state: np.ndarray
    robust: np.ndarray
    points: np.ndarray
    broken_by: dict[str, int]


class TreeTarget(Target):
    """A classifier that is a sum of trees on the rows.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    forest : Forest
        On ``samples.rows``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_robust.targets import make_target
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> target = make_target(clf, X, y, epsilon=0.3)
    >>> found = target.attacked(target.threat)
    >>> found.kind, found.broken_by
    ('exact', {'exact': 50})
    """

    kind = "white box"

    def __init__(self, subject: Subject, samples: Samples, forest: Forest) -> None:
        self.forest = forest
        name = type(subject.classifier).__name__
        obstacle = f"{name} is constant between the thresholds of its trees."
        super().__init__(subject, samples, BoundedForest(forest), obstacle)
        self._states: dict[tuple, np.ndarray] = {}
        # Single precision moves from one of its own numbers to the next.
        single = samples.columns is None and is_single(samples.table.raw)
        self._search_rows = self.rows.astype(np.float32) if single else self.rows

    def check(self, attack: Any = "auto") -> None:
        """Refuse missing values where an attack other than the search is meant."""
        if _budget(attack) is not None:
            return
        if np.isnan(self.rows).any():
            raise ValueError(
                "X has missing values, which only the exact search of trees can leave where they "
                f"are. Use attack='auto' or TreeSearch(), got attack={attack!r}."
            )
        super().check(attack)

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples survive: exactly, but for those that the search left open."""
        if _budget(attack) is None:
            refuse_beside_budget(threat, attack)
            return super().attacked(threat, attack, among=among, **run)
        open_ = self._open(among)
        answer = self._answer(threat, attack, open_, run)
        robust = np.zeros(len(self.clean), dtype=bool)
        robust[open_] = answer.robust
        unknown = answer.robust & (answer.state == _OPEN)
        kind = self.kind if unknown.any() else "exact"
        return Attacked(robust, answer.broken_by, kind)

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        if _budget(attack) is None:
            refuse_beside_budget(threat, attack)
            return super().perturbed(threat, attack, **run)
        rows, open_ = self.rows.copy(), self._open(None)
        rows[open_] = self._answer(threat, attack, open_, run).points
        return self.samples.restore(rows, all_rows=True)

    def _answer(
        self, threat: ThreatModel, attack: Any, open_: np.ndarray, run: dict[str, Any]
    ) -> _Answer:
        search = _budget(attack)
        assert search is not None and self.labels is not None
        options = {key: run[key] for key in ("n_jobs", "verbose") if key in run}
        found = decide(
            self.forest, self.predict, self._search_rows[open_], self.labels[open_], threat,
            max_nodes=search.max_nodes, **options,
        )  # fmt: skip
        state = np.where(found.proven, _PROVEN, np.where(found.broken, _BROKEN, _OPEN))
        self._state(threat)[open_] = state
        robust, points = ~found.broken, np.array(found.points, dtype=self.rows.dtype)
        broken_by = {"exact": int(found.broken.sum())}
        # An attack knows no missing values.
        left = (state == _OPEN) & ~np.isnan(self.rows[open_]).any(axis=1)
        if left.any() and not threat.has_budget:  # nor a budget
            name = attack if isinstance(attack, str) else "auto"
            for lot, verdict in self._evaluated(threat, name, open_[left], **run):
                at = np.searchsorted(open_, lot)
                robust[at], points[at] = verdict.robust, verdict.X_adv
                for record in verdict.records:
                    named = record.name
                    broken_by[named] = broken_by.get(named, 0) + record.n_broken
        return _Answer(state, robust, points, broken_by)

    def _state(self, threat: ThreatModel) -> np.ndarray:
        """Return what the search has found so far at a radius, for each sample; 0: not asked."""
        return self._states.setdefault(threat.key, np.zeros(len(self.clean), dtype=np.int8))

    @property
    def certificate_obstacle(self) -> str | None:
        return None

    def certificate(self, method: str) -> str:
        return "exact search"

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples the search proves; what it has been asked is not asked again."""
        assert self.labels is not None
        open_, state = self._open(among), self._state(threat)
        new = open_[state[open_] == 0]
        found = decide(
            self.forest, self.predict, self._search_rows[new], self.labels[new], threat,
            max_nodes=_BUDGETS["auto"].max_nodes,
        )  # fmt: skip
        state[new] = np.where(found.proven, _PROVEN, np.where(found.broken, _BROKEN, _OPEN))
        proven = np.zeros(len(self.clean), dtype=bool)
        proven[open_] = state[open_] == _PROVEN
        return proven

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        """Return the distance of the nearest mistake that was found: the nearest there is.

        Where a search ends at its budget, a nearer one may be left.
        """
        return self.distance_bounds(unit, **run)[1]

    def distance_bounds(
        self, unit: ThreatModel, attack: Any = None, **run: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return between which bounds each distance lies, in units of the radius of `unit`."""
        assert self.labels is not None
        lower, upper, _ = distances(
            self.forest, self.predict, self._search_rows, self.labels, unit, **run
        )
        return lower, upper


def _budget(attack: Any) -> TreeSearch | None:
    """Return the search that is meant by an attack, None if it is another one."""
    if isinstance(attack, TreeSearch):
        return attack
    return _BUDGETS.get(attack) if isinstance(attack, str) else None


def tree_target(subject: Subject) -> Target | None:
    """Return the target of a classifier made of trees, None for others.

    What was read is held against the classifier's own predictions, on the samples and at points
    that lie on thresholds. Behind transformers that mix columns it is known by bounds only.

    Raises
    ------
    CannotFollowError
        If it cannot be read, what stands before it cannot be followed, or what was read is not what
        it predicts.
    """
    try:
        forest = read_forest(subject.classifier)
    except NoTreesError:
        return None
    except NoBoxesError as error:
        raise CannotFollowError(str(error)) from None
    if power(subject.raw_threat.norm, len(subject.table.numeric)) is None:
        raise CannotFollowError(
            f"trees are not searched in the norm {subject.raw_threat.norm!r}, in which the prices "
            "of moves of single columns do not add up."
        )
    try:
        target = TreeTarget(subject, *follow_trees(subject, forest))
    except CannotFollowError as error:
        if len(forest.category_table):
            raise
        return _mixed(subject, forest, error)
    n_wrong, n = _differences(target) if len(target.rows) else (0, 0)
    if n_wrong:
        raise CannotFollowError(
            f"{type(subject.classifier).__name__} predicts something else than its trees, as this "
            f"library reads them, at {n_wrong} of {n} points."
        )
    return target


def _mixed(subject: Subject, forest: Forest, error: CannotFollowError) -> Target:
    """Return the target of trees behind transformers that mix columns."""
    try:
        return bounded_target(subject, BoundedForest(forest))
    except CannotFollowError:
        raise error from None


def _differences(target: TreeTarget) -> tuple[int, int]:
    """Return at how many points the trees as read are not the classifier, and of how many."""
    rows, samples = target.rows, target.samples
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _N_CHECKED)).round().astype(np.intp)]
    fixed = np.ones(rows.shape[1], dtype=bool)
    fixed[: len(samples.movable[samples.movable])] = False
    if samples.columns is None:
        fixed = ~samples.movable
    near = probes(target.forest, some, fixed, _N_CHECKED)
    if target.threat.clip_values is not None:
        near = near.clip(*target.threat.clip_values)
    points = np.concatenate([some, target.threat.settled(near)])
    return disagreements(target.forest, target.predict, points), len(points)
