"""A classifier whose scores can be bounded: attacked from above, and proven from below."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds import BoundedModel
from sklearn_robust.preprocessing import CannotFollowError, Samples
from sklearn_robust.targets._attacked import refuse_beside_budget
from sklearn_robust.targets._behind import (
    BoundedBehind,
    GradientsBehind,
    finite,
    inflated,
    largest_radii,
)
from sklearn_robust.targets._differentiable import DifferentiableTarget
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import (
    Attacked,
    Target,
    dense_rows,
    leaves_choice,
)

# What is made of a sample while its scores are bounded.
_COPIES = 16
# Roundings by which a point of the set may be off: stored, compared, cast.
_ROUNDINGS = 8
# Of the scores, by which the highest may miss the class that is predicted.
_TOLERANCE = 1e-5


class BoundedTarget(Target):
    """A classifier that is a `BoundedModel` on ``samples.rows``.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    model : BoundedModel
    """

    model: Any  # a BoundedModel

    def __init__(self, subject: Subject, samples: Samples, model: BoundedModel) -> None:
        name = type(subject.classifier).__name__
        super().__init__(subject, samples, model, f"{name} is known by bounds of its scores.")
        self._set_kind()

    def _set_kind(self) -> None:
        if self.model.is_exact(self.threat):
            self.kind = "exact"

    def check(self, attack: Any = "auto") -> None:
        super().check("square" if self.kind == "exact" and leaves_choice(attack) else attack)

    @property
    def certificate_obstacle(self) -> str | None:
        return None

    def certificate(self, method: str) -> str:
        return "exact" if self.kind == "exact" else method

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are right and have margins above 0 to all other classes."""
        return self._proven(threat, self._open(among))

    def _proven(self, threat: ThreatModel, index: np.ndarray) -> np.ndarray:
        """Return, for all samples, which of those given by index are proven."""
        proven, wide = np.zeros(len(self.clean), dtype=bool), self._widened(threat)
        for part in pieces(len(index), _COPIES * row_bytes(self.rows)):
            pick = index[part]
            if threat.is_null:
                proven[pick] = True
                continue
            rows = np.asarray(dense_rows(self.rows[pick]), dtype=np.float64)
            proven[pick] = (self.model.margins(rows, self._labels[pick], wide) > 0).all(axis=1)
        return proven

    def _widened(self, threat: ThreatModel) -> ThreatModel:
        """Return a threat model that holds what rounding makes of points, too."""
        epsilon = largest_radii(self.rows, threat)
        largest: Any = abs(self.rows).max(axis=0) if self.rows.shape[0] else np.zeros(len(epsilon))
        size = np.ravel(largest.toarray() if sparse.issparse(largest) else largest) + epsilon
        slack = _ROUNDINGS * self.samples.table.resolution * size
        wide = inflated(threat, np.where(epsilon > 0, slack, 0.0))
        if threat.clip_values is None:
            return wide
        low, high = (np.broadcast_to(np.ravel(v), epsilon.shape) for v in threat.clip_values)
        fixed = epsilon == 0  # also what a sample holds out of the range, by rounding
        low = np.where(fixed, -np.inf, low - finite(slack, low))
        high = np.where(fixed, np.inf, high + finite(slack, high))
        return replace(wide, clip_values=(low, high))

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples survive: first the worst points of the bounds, then the attack.

        Where the model is exact, only samples that rounding leaves open are attacked.
        """
        open_ = self._open(among)
        points = self._worst_points(threat, open_) if leaves_choice(attack) else None
        if points is None:
            refuse_beside_budget(threat, attack)
            return super().attacked(threat, attack, among=among, **run)
        robust, left = self._left(threat, open_, points)
        exact = self.model.is_exact(threat)
        broken = {"exact" if exact else "bound": len(open_) - int(robust.sum())}
        kind = "exact"
        if left.any() and threat.has_budget:  # which no attack knows
            kind = "white box"
        elif left.any():
            rest = super().attacked(threat, attack, among=left, **run)
            robust &= ~left | rest.robust
            broken |= rest.broken_by
            kind = rest.kind if rest.robust.any() else kind
        return Attacked(robust, broken, kind)

    def _left(
        self, threat: ThreatModel, index: np.ndarray, points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return, for all samples, which stay right at some points, and which to go on attacking.

        Where the model is exact, these are neither proven nor broken, by rounding.
        """
        robust = np.zeros(len(self.clean), dtype=bool)
        robust[index] = self.predict(points) == self._labels[index]
        if not self.model.is_exact(threat):
            return robust, robust.copy()
        return robust, robust & ~self._proven(threat, np.flatnonzero(robust))

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        open_ = self._open(None)
        points = self._worst_points(threat, open_) if leaves_choice(attack) else None
        if points is None:
            refuse_beside_budget(threat, attack)
            return super().perturbed(threat, attack, **run)
        rows = dense_rows(self.rows).copy()
        rows[open_] = points
        left = np.flatnonzero(self._left(threat, open_, points)[1] & (not threat.has_budget))
        for lot, verdict in self._evaluated(threat, attack, left, **run) if len(left) else ():
            rows[lot] = verdict.X_adv
        return self.samples.restore(rows, all_rows=True)

    @property
    def _labels(self) -> np.ndarray:
        assert self.labels is not None
        return self.labels

    def _worst_points(self, threat: ThreatModel, index: np.ndarray) -> np.ndarray | None:
        """Return where the bounds of some samples are least, None if the model does not say."""
        points = np.array(dense_rows(self.rows[index]), dtype=np.float64)
        if threat.is_null:
            return points
        for part in pieces(len(index), _COPIES * row_bytes(self.rows)):
            pick = index[part]
            found = self.model.worst_points(points[part], self._labels[pick], threat)
            if found is None:
                return None
            points[part] = found
        return points


class BoundedDifferentiableTarget(BoundedTarget, DifferentiableTarget):
    """A `BoundedModel` that gives gradients too, along which it is attacked."""

    def __init__(self, subject: Subject, samples: Samples, model: Any) -> None:
        DifferentiableTarget.__init__(self, subject, samples, model)
        self._set_kind()

    def check(self, attack: Any = "auto") -> None:
        """Nothing to say before the attack."""


def bounded_target(
    subject: Subject, model: BoundedModel, cls: type[BoundedTarget] | None = None
) -> BoundedTarget:
    """Return the target of a classifier that is `model`, in numpy, on its own input.

    Behind transformers that treat columns one by one its `margins` hold as they are; behind others
    it is bounded over the boxes that they make of the sets.

    Parameters
    ----------
    subject : Subject
    model : BoundedModel
        With a method `ascent`, as of a `DifferentiableModel`, if it is to be attacked along its
        gradients.
    cls : type of Target, optional
        A subclass for what answers more.

    Raises
    ------
    CannotFollowError
        If what stands in front of the classifier cannot be followed, or the highest score is not
        that of the predicted class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn_robust.bounds import BoundedModel
    >>> from sklearn_robust.targets import Subject, bounded_target
    >>> class Constant(BoundedModel):
    ...     n_classes = 3
    ...     def logits(self, X):
    ...         return np.tile([1.0, 0.0, 0.0], (len(X), 1))
    ...     def score_bounds(self, low, high):
    ...         return self.logits(low), self.logits(low)
    >>> X, y = load_iris(return_X_y=True)
    >>> subject = Subject.of(DummyClassifier(strategy="prior").fit(X, y), X, y, epsilon=1.0)
    >>> target = bounded_target(subject, Constant())
    >>> target.certified(target.threat, "auto").mean().round(2)
    np.float64(0.33)
    """
    front = subject.front.as_dense()
    model.resolution = subject.table.resolution
    behind = (GradientsBehind if hasattr(model, "ascent") else BoundedBehind)(front, model)
    if cls is None:
        cls = BoundedDifferentiableTarget if hasattr(model, "ascent") else BoundedTarget
    target = cls(subject, front.samples, behind)
    if model.decides:
        _check_predictions(target)
    return target


def combined_target(subject: Subject, model: Any, samples: Samples | None = None) -> Target:
    """Return the target of a classifier that is `model` on the rows of its samples.

    Parameters
    ----------
    subject : Subject
    model : BoundedModel, DifferentiableModel, or both
    samples : Samples, optional
        None: those of the front.
    """
    samples = subject.front.as_dense().samples if samples is None else samples
    target: Target
    if not hasattr(model, "score_bounds"):
        target = DifferentiableTarget(subject, samples, model)
    else:
        model.resolution = subject.table.resolution
        cls = BoundedDifferentiableTarget if hasattr(model, "ascent") else BoundedTarget
        target = cls(subject, samples, model)
    _check_predictions(target)
    return target


def _check_predictions(target: Target) -> None:
    """Raise CannotFollowError if the scores do not decide, as in a subclass that thinks anew."""
    scores = target._scores()
    gap = scores.max(axis=1, initial=-np.inf)
    gap = gap - np.take_along_axis(scores, target.predicted[:, None], axis=1)[:, 0]
    if (gap > _TOLERANCE * (1 + abs(scores).max(axis=1, initial=0.0))).any():
        name = type(target.estimator).__name__
        raise CannotFollowError(f"{name} predicts another class than its scores favour.")
