"""Responses put together: sums, shares, logarithms, stacks, and the models they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import BoundedModel, enclosing_box, margins_of_scores
from sklearn_robust.bounds._responses import ROUNDINGS, Ends, Region, Response, Scores

_TINY = float(np.finfo(np.float64).tiny)


class Linear(Response):
    """``values @ matrix + offset`` of several responses side by side.

    Parameters
    ----------
    parts : sequence of (Response, ndarray)
        Each with its rows of the matrix, shape (n_values, n_out).
    offset : ndarray of shape (n_out,)
    """

    def __init__(self, parts: Sequence[tuple[Response, np.ndarray]], offset: Any = 0.0) -> None:
        self.parts, n_out = list(parts), parts[0][1].shape[1]
        self.offset = np.broadcast_to(np.asarray(offset, dtype=np.float64), n_out)
        self.bounded = all(part.bounded for part, _ in parts)
        self.smooth = all(part.smooth for part, _ in parts)

    def values(self, X: np.ndarray) -> np.ndarray:
        return sum(part.values(X) @ matrix for part, matrix in self.parts) + self.offset

    def ends(self, region: Region) -> Ends:
        lower, upper, size = self.offset, self.offset, abs(self.offset)
        for part, matrix in self.parts:
            low, high = part.ends(region)
            lower, upper = lower + _least(low, high, matrix), upper - _least(low, high, -matrix)
            largest = np.maximum(*(np.where(np.isfinite(v), abs(v), 0.0) for v in (low, high)))
            size = size + largest @ abs(matrix)
        slack = ROUNDINGS * region.resolution * len(self.parts) * size
        return lower - slack, upper + slack

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return sum((part.pull(X, gradient @ matrix.T) for part, matrix in self.parts), np.zeros(()))

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        """Differences of columns are bounded as such; means keep what each member is ahead by."""
        plain, means = np.zeros((len(labels), len(self.offset))), self._are_means()
        mean, size = plain.copy(), np.broadcast_to(abs(self.offset), plain.shape)
        for part, matrix in self.parts:
            low, high = part.ends(region)
            for label in np.unique(labels):
                mine = labels == label
                plain[mine] += _least(low[mine], high[mine], matrix[:, [label]] - matrix)
            largest = np.maximum(*(np.where(np.isfinite(v), abs(v), 0.0) for v in (low, high)))
            size = size + (largest @ (2 * abs(matrix).max(axis=1)))[:, None]
            if means:
                lead = part.leads(region, labels)
                mean += matrix[0, 0] * np.where(np.isfinite(lead), lead, 0.0)
                mean[np.isneginf(lead)] = -np.inf
        found = np.maximum(plain, mean) if means else plain
        found = found + (self.offset[labels][:, None] - self.offset)
        found = found - ROUNDINGS * region.resolution * len(self.parts) * size
        found[np.isnan(found)] = -np.inf
        np.put_along_axis(found, labels[:, None], np.inf, axis=1)
        return found

    def _are_means(self) -> bool:
        """Whether each part is added as it is, times a weight."""
        return all(
            matrix.shape[0] == matrix.shape[1]
            and matrix[0, 0] >= 0
            and np.array_equal(matrix, matrix[0, 0] * np.eye(len(matrix)))
            for _, matrix in self.parts
        )


def _least(low: np.ndarray, high: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the least of a product with values between ends, which may be infinite."""
    up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
    sums = [np.where(np.isfinite(v), v, 0.0) @ m for v, m in ((low, up), (high, down))]
    open_ = [~np.isfinite(v) @ (m != 0) for v, m in ((low, up), (high, down))]
    return np.where(open_[0] | open_[1], -np.inf, sums[0] + sums[1])


class Logs(Response):
    """The logarithms of probabilities, so that the loss is that of these."""

    def __init__(self, inner: Response) -> None:
        self.inner, self.bounded, self.smooth = inner, inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(self.inner.values(X), _TINY))

    def ends(self, region: Region) -> Ends:
        low, high = (np.log(end.clip(_TINY, None)) for end in self.inner.ends(region))
        return low - region.slack * (1 + abs(low)), high + region.slack * (1 + abs(high))

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        """The logarithm rises by at least as much as a probability does."""
        lead = self.inner.leads(region, labels)
        return np.where(lead > 0, lead, margins_of_scores(*self.ends(region), labels))

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self.inner.pull(X, gradient / np.maximum(self.inner.values(X), _TINY))


class Difference(Response):
    """The second score less the first, of which more is known than of the two."""

    def __init__(self, inner: Response) -> None:
        self.inner, self.bounded, self.smooth = inner, inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        return np.diff(self.inner.values(X), axis=1)

    def ends(self, region: Region) -> Ends:
        ones = np.ones(len(region.low), dtype=np.intp)
        lower = self.inner.leads(region, ones)[:, :1]
        upper = -self.inner.leads(region, 0 * ones)[:, 1:]
        slack = region.slack * np.maximum(abs(lower), abs(upper))
        return lower - slack, upper + slack

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self.inner.pull(X, np.hstack([-gradient, gradient]))


class Shares(Response):
    """Values that are >= 0 over their sum, as one against the rest is normalised."""

    def __init__(self, inner: Response) -> None:
        self.inner, self.bounded, self.smooth = inner, inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        values = self.inner.values(X)
        total = values.sum(axis=1, keepdims=True)
        uniform = np.full_like(values, 1 / values.shape[1])
        return np.divide(values, total, out=uniform, where=total != 0)

    def ends(self, region: Region) -> Ends:
        low, high = self.inner.ends(region)
        low, high = low.clip(0), high.clip(0)
        most = high.sum(axis=1, keepdims=True) - high
        least = low.sum(axis=1, keepdims=True) - low
        lower = np.divide(low, low + most, out=np.zeros_like(low), where=low > 0)
        upper = np.divide(high, high + least, out=np.ones_like(high), where=least > 0)
        return lower - region.slack, upper + region.slack

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        values = self.inner.values(X)
        total = values.sum(axis=1, keepdims=True)
        share = self.values(X)
        inner = gradient - (share * gradient).sum(axis=1, keepdims=True)
        back = np.divide(inner, total, out=np.zeros_like(inner), where=total != 0)
        return self.inner.pull(X, back)


class Through(Response):
    """The scores of a model that is given another response, as a stack's last estimator is."""

    def __init__(self, model: Any, inner: Response) -> None:
        self.model, self.inner = model, inner
        self.bounded = inner.bounded and hasattr(model, "score_bounds")
        self.smooth = inner.smooth and hasattr(model, "ascent")

    def values(self, X: np.ndarray) -> np.ndarray:
        return Scores(self.model).values(self.inner.values(X))

    def ends(self, region: Region) -> Ends:
        return self.model.score_bounds(*self.inner.ends(region))

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        low, high = self.inner.ends(region)
        return Scores(self.model).leads(Region(low, high, region.resolution), labels)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self.inner.pull(X, Scores(self.model).pull(self.inner.values(X), gradient))


class CombinedModel(BoundedModel):
    """A classifier whose scores are a response with bounds."""

    def __init__(self, response: Response, n_classes: int) -> None:
        self.response, self.n_classes = response, n_classes

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.response.values(X)

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.response.ends(Region(low, high, self.resolution))

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self.response.leads(Region(low, high, self.resolution), labels)

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        box = enclosing_box(X, threat)
        return self.response.leads(Region(*box, self.resolution, X, threat), labels)


class SmoothModel:
    """A classifier whose scores are a response with gradients."""

    def __init__(self, response: Response, n_classes: int) -> None:
        self.response, self.n_classes = response, n_classes

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def labels(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.response.values(X)

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Any, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores and the gradient of the loss."""
        logits = self.logits(X)
        return logits, self.response.pull(X, loss.direction(logits, y))


class SmoothCombinedModel(SmoothModel, CombinedModel):
    """One with both."""


def combined_model(response: Response, n_classes: int) -> Any:
    """Return a combination with what its response has; None if that is neither."""
    if response.bounded and response.smooth:
        return SmoothCombinedModel(response, n_classes)
    if response.bounded:
        return CombinedModel(response, n_classes)
    return SmoothModel(response, n_classes) if response.smooth else None
