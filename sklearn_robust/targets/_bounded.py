"""A classifier whose scores can be bounded: attacked from above, and proven from below."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds import BoundedModel, block_box, enclosing_box
from sklearn_robust.preprocessing import Affine, Block, CannotFollowError, Front, Samples
from sklearn_robust.targets._differentiable import DifferentiableTarget, ModelBehind
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Attacked, Target, dense_rows, leaves_choice

# What is made of a sample while its scores are bounded.
_COPIES = 16
# Roundings by which a point of the set may be off: stored, compared, cast.
_ROUNDINGS = 8
# How many times its rounding a feature that does not move gets as its radius, for each feature.
_SPARE = 100
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

    def certified(self, threat: ThreatModel, method: str, *, among: Any = None) -> np.ndarray:
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
        epsilon = np.broadcast_to(np.ravel(threat.epsilon), self.rows.shape[1:])
        largest: Any = abs(self.rows).max(axis=0) if self.rows.shape[0] else np.zeros(len(epsilon))
        size = np.ravel(largest.toarray() if sparse.issparse(largest) else largest) + epsilon
        slack = _ROUNDINGS * self.samples.table.resolution * size
        wide = np.where(epsilon > 0, _inflated(epsilon, slack, threat), 0.0)
        if threat.clip_values is None:
            return replace(threat, epsilon=wide)
        ends = (np.broadcast_to(np.ravel(v), wide.shape) for v in threat.clip_values)
        low, high = ends
        fixed = epsilon == 0  # also what a sample holds out of the range, by rounding
        low = np.where(fixed, -np.inf, low - _finite(slack, low))
        high = np.where(fixed, np.inf, high + _finite(slack, high))
        return replace(threat, epsilon=wide, clip_values=(low, high))

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples survive: first the worst points of the bounds, then the attack.

        Where the model is exact, only samples that rounding leaves open are attacked.
        """
        open_ = self._open(among)
        points = self._worst_points(threat, open_) if leaves_choice(attack) else None
        if points is None:
            return super().attacked(threat, attack, among=among, **run)
        robust, left = self._left(threat, open_, points)
        exact = self.model.is_exact(threat)
        broken = {"exact" if exact else "bound": len(open_) - int(robust.sum())}
        kind = "exact"
        if left.any():
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
            return super().perturbed(threat, attack, **run)
        rows = dense_rows(self.rows).copy()
        rows[open_] = points
        left = np.flatnonzero(self._left(threat, open_, points)[1])
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
    behind = (_GradientsBehind if hasattr(model, "ascent") else BoundedBehind)(front, model)
    if cls is None:
        cls = BoundedDifferentiableTarget if hasattr(model, "ascent") else BoundedTarget
    target = cls(subject, front.samples, behind)
    if model.decides:
        _check_predictions(target)
    return target


def combined_target(subject: Subject, model: Any) -> Target:
    """Return the target of a classifier that is `model` on the rows of its samples.

    Parameters
    ----------
    subject : Subject
    model : BoundedModel, DifferentiableModel, or both
    """
    samples = subject.front.as_dense().samples
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


@dataclass(frozen=True)
class _ByColumn:
    """A block that scales columns one by one: ``z_k = scale_k * x_{index_k} + offset_k``."""

    index: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    slack: np.ndarray  # by what multiple of the resolution z_k is rounded, per size of its terms

    @classmethod
    def of(cls, block: Block) -> _ByColumn | None:
        """Return a block in this form, None if it reads a column twice or several at once."""
        if not isinstance(block, Affine):
            return None
        matrix = sparse.csc_array(block.matrix)
        matrix.eliminate_zeros()
        by_output, by_input = np.diff(matrix.indptr), np.bincount(matrix.indices)
        if by_output.max(initial=0) > 1 or by_input.max(initial=0) > 1:
            return None
        index, scale = np.zeros((2, block.n_out))
        index[by_output == 1], scale[by_output == 1] = matrix.indices, matrix.data
        sizes = block.sizes
        as_it_is = (scale == 1) & (sizes.offset == 0) & (_column_sums(sizes.matrix) == 1)
        slack = np.where(as_it_is, 0.0, sizes.n_roundings)
        return cls(index.astype(np.intp), scale, np.asarray(block.offset), slack)


def _column_sums(matrix: Any) -> np.ndarray:
    return np.ravel(matrix.sum(axis=0))


class BoundedBehind(BoundedModel):
    """A bounded model on a classifier's own input, seen through what stands in front of it."""

    def __init__(self, front: Front, model: BoundedModel) -> None:
        self.block, self.n_classes = front.block, model.n_classes
        self.inner: Any = model
        self.resolution = model.resolution
        self.by_column = _ByColumn.of(front.block)
        # A formula that was found by probing agrees with its transformer to some digits only.
        off = abs(np.asarray(front.block(front.samples.rows)) - np.asarray(front.output))
        self.off = 4 * off.max(axis=0, initial=0.0)
        rows = front.samples.rows[:1]
        if self.by_column is None and block_box(self.block, rows, rows, self.resolution) is None:
            raise CannotFollowError("there are no bounds of what a transformer makes of a range.")

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.inner.logits(self.inner.asarray(self.block(X)))

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        box, open_ended = self._box(low, high)
        lower, upper = self.inner.score_bounds(*box)
        return np.where(open_ended, -np.inf, lower), np.where(open_ended, np.inf, upper)

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        box, open_ended = self._box(low, high)
        return np.where(open_ended, -np.inf, self.inner.box_margins(*box, labels))

    def _box(
        self, low: np.ndarray, high: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Return the ends behind the transformers, and as a column which boxes have none."""
        box = block_box(self.block, low, high, self.resolution)
        assert box is not None
        low, high = box[0] - self.off, box[1] + self.off
        finite = np.isfinite(low) & np.isfinite(high)
        box = np.where(finite, low, 0.0), np.where(finite, high, 0.0)
        return box, ~finite.all(axis=1)[:, None]

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        if self.by_column is None:
            return self.box_margins(*enclosing_box(X, threat), labels)
        Z, inner = self._through(X, threat)
        slack = self._slack(X, threat)
        if slack.any():
            inner = _wider(inner, slack)
        return self.inner.margins(Z, labels, inner)

    def _through(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, ThreatModel]:
        """Return the samples and the threat model in the units of the classifier's input."""
        assert self.by_column is not None
        index, scale, offset = self.by_column.index, self.by_column.scale, self.by_column.offset
        epsilon = abs(scale) * np.broadcast_to(np.ravel(threat.epsilon), X.shape[1:])[index]
        clip = threat.clip_values
        if clip is not None:
            low, high = (np.broadcast_to(np.ravel(v), X.shape[1:])[index] for v in clip)
            with np.errstate(invalid="ignore"):
                ends = np.sort([scale * low, scale * high], axis=0) + offset
            clip = tuple(np.where(np.isnan(end), offset, end) for end in ends)
        return self.block(X), ThreatModel(epsilon, threat.norm, clip)

    def _slack(self, X: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return how far, by column, rounding may take the classifier's input from the formula."""
        assert self.by_column is not None
        known = self.by_column
        epsilon = np.broadcast_to(np.ravel(threat.epsilon), X.shape[1:])
        largest = (abs(X).max(axis=0, initial=0.0) + epsilon)[known.index]
        size = abs(known.scale) * largest + abs(known.offset)
        return known.slack * self.resolution * size + self.off

    def is_exact(self, threat: ThreatModel) -> bool:
        return self.by_column is not None and self.inner.is_exact(threat)

    def worst_points(
        self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel
    ) -> np.ndarray | None:
        if self.by_column is None:
            return None
        Z, inner = self._through(X, threat)
        found = self.inner.worst_points(Z, labels, inner)
        if found is None:
            return None
        index, scale = self.by_column.index, self.by_column.scale
        live, points = scale != 0, X.copy()
        points[:, index[live]] += (found - Z)[:, live] / scale[live]
        return threat.around(X).project(points)


class _GradientsBehind(BoundedBehind, ModelBehind):
    """The same for a model with gradients."""

    def __init__(self, front: Front, model: Any) -> None:
        ModelBehind.__init__(self, front.block, model)
        BoundedBehind.__init__(self, front, model)

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        return ModelBehind.ascent(self, X, y, loss, leak)


def _wider(threat: ThreatModel, slack: np.ndarray) -> ThreatModel:
    """Return a threat model whose set is wider by some amount in each column."""
    clip = threat.clip_values
    if clip is not None:
        clip = clip[0] - _finite(slack, clip[0]), clip[1] + _finite(slack, clip[1])
    return replace(threat, epsilon=_inflated(threat.epsilon, slack, threat), clip_values=clip)


def _inflated(epsilon: np.ndarray, slack: np.ndarray, threat: ThreatModel) -> np.ndarray:
    r"""Return radii of a ball that holds every point of the ball moved by up to `slack`.

    .. math:: \|(\epsilon \circ u + \sigma) / w\| \le 1 + \|s / w\| \quad\text{for } w \ge \epsilon

    Where nothing was to move, w is much larger than the slack, so that the second term is small.
    """
    if threat.norm == "linf":
        return epsilon + slack
    wide = np.where(epsilon > 0, epsilon + slack, _SPARE * len(slack) * slack)
    share = np.divide(slack, wide, out=np.zeros(len(slack)), where=wide > 0)
    return wide * (1 + threat.geometry.length(share[None])[0])


def _finite(slack: np.ndarray, bound: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(bound), slack, 0.0)
