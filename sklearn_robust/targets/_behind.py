"""A bounded model behind transformers, as its adversary sees it: on the rows of the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds import BoundedModel, block_box, enclosing_box
from sklearn_robust.preprocessing import Affine, Block, CannotFollowError, Front
from sklearn_robust.targets._differentiable import ModelBehind

# How many times its rounding a feature that does not move gets as its radius, for each feature.
_SPARE = 100


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
        self.knows_budgets = self.by_column is not None and model.knows_budgets
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
        Z, inner = self._wider_through(X, threat)
        return self.inner.margins(Z, labels, inner)

    def set_bounds(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
        if self.by_column is None:
            return super().set_bounds(X, threat)
        return self.inner.set_bounds(*self._wider_through(X, threat))

    def _wider_through(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, ThreatModel]:
        """Return what `_through` does, wider by what rounding may add."""
        Z, inner = self._through(X, threat)
        slack = self._slack(X, threat)
        return Z, _wider(inner, slack) if slack.any() else inner

    def _through(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, ThreatModel]:
        """Return the samples and the threat model in the units of the classifier's input."""
        assert self.by_column is not None
        index, scale, offset = self.by_column.index, self.by_column.scale, self.by_column.offset
        clip = threat.clip_values
        if clip is not None:
            low, high = (np.broadcast_to(np.ravel(v), X.shape[1:])[index] for v in clip)
            with np.errstate(invalid="ignore"):
                ends = np.sort([scale * low, scale * high], axis=0) + offset
            clip = tuple(np.where(np.isnan(end), offset, end) for end in ends)
            if not (clip[0] < clip[1]).any():  # nothing moves
                return self.block(X), ThreatModel(np.zeros(len(scale)), threat.norm)
        if threat.moves is not None:
            moves = threat.moves.seen(index, scale, offset)
            return self.block(X), replace(threat, clip_values=clip, moves=moves)
        epsilon = abs(scale) * np.broadcast_to(np.ravel(threat.epsilon), X.shape[1:])[index]
        return self.block(X), ThreatModel(epsilon, threat.norm, clip)

    def _slack(self, X: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return how far, by column, rounding may take the classifier's input from the formula."""
        assert self.by_column is not None
        known = self.by_column
        largest = (abs(X).max(axis=0, initial=0.0) + largest_radii(X, threat))[known.index]
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


class GradientsBehind(BoundedBehind, ModelBehind):
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
        clip = clip[0] - finite(slack, clip[0]), clip[1] + finite(slack, clip[1])
    return replace(inflated(threat, slack), clip_values=clip)


def largest_radii(X: Any, threat: ThreatModel) -> np.ndarray:
    """Return how far each feature may move, in the sample where it moves furthest."""
    if threat.moves is None:
        return np.broadcast_to(np.ravel(threat.epsilon), X.shape[1:])
    dense = X.toarray() if sparse.issparse(X) else np.asarray(X, dtype=np.float64)
    return np.asarray(threat.radii(dense)).max(axis=0, initial=0.0)


def inflated(threat: ThreatModel, slack: np.ndarray) -> ThreatModel:
    r"""Return a threat model whose ball holds every point of the ball moved by up to `slack`.

    .. math:: \|(\epsilon \circ u + \sigma) / w\| \le 1 + \|s / w\| \quad\text{for } w \ge \epsilon

    Where nothing was to move, w is much larger than the slack, so that the second term is small.
    """
    if threat.moves is not None:
        return replace(threat, moves=threat.moves.widened(slack))
    epsilon = np.broadcast_to(np.ravel(threat.epsilon), slack.shape)
    if threat.norm == "linf":
        return replace(threat, epsilon=epsilon + slack)
    wide = np.where(epsilon > 0, epsilon + slack, _SPARE * len(slack) * slack)
    share = np.divide(slack, wide, out=np.zeros(len(slack)), where=wide > 0)
    return replace(threat, epsilon=wide * (1 + threat.geometry.length(share[None])[0]))


def finite(slack: np.ndarray, bound: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(bound), slack, 0.0)
