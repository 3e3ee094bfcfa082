r"""What members of a combination answer, and what is made of it: values, bounds and gradients.

A response is a vector function of the samples, built as ``predict`` builds it: scores of a member,
their probabilities, calibrated or voted, averaged, and weighted. Each says between which ends it
lies over a region, and at least how far one entry is ahead of the others, which is more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from sklearn_robust._arrays import to_numpy
from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import BoundedModel, margins_of_scores

# Of a probability or a share, in units of the resolution; exponentials are off by a few.
ROUNDINGS = 64

Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Region:
    """Boxes, and the balls in them if it is known that nothing leaves these.

    Attributes
    ----------
    low, high : ndarray of shape (n_regions, n_features)
    X, threat
        None, or the centres of the balls and what they are.
    resolution : float
    """

    low: np.ndarray
    high: np.ndarray
    resolution: float
    X: np.ndarray | None = None
    threat: ThreatModel | None = None

    @property
    def slack(self) -> float:
        """What rounding may do to a probability."""
        return ROUNDINGS * self.resolution

    def of_model(self, model: BoundedModel, labels: np.ndarray) -> np.ndarray:
        """Return lower bounds of ``score_y - score_c`` of a model."""
        if self.X is None or self.threat is None:
            return model.box_margins(self.low, self.high, labels)
        return model.margins(self.X, labels, self.threat)

    def ends_of_model(self, model: BoundedModel) -> Ends:
        """Return lower and upper bounds of the scores of a model."""
        if self.X is None or self.threat is None:
            return model.score_bounds(self.low, self.high)
        return model.set_bounds(self.X, self.threat)


class Response(ABC):
    """A vector function of the samples.

    Attributes
    ----------
    bounded, smooth : bool
        Whether there are bounds of it, and gradients.
    """

    bounded: bool = True
    smooth: bool = True

    @abstractmethod
    def values(self, X: np.ndarray) -> np.ndarray:
        """Return it at samples, shape (n_samples, n_values)."""

    @abstractmethod
    def ends(self, region: Region) -> Ends:
        """Return between which ends each value lies, two arrays (n_regions, n_values)."""

    @abstractmethod
    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to X, given that with respect to the values."""

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        """Return at least how far the value of a label is ahead of the others, inf for itself."""
        return margins_of_scores(*self.ends(region), labels)


class Scores(Response):
    """The scores of a member."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.bounded, self.smooth = hasattr(model, "score_bounds"), hasattr(model, "ascent")

    def values(self, X: np.ndarray) -> np.ndarray:
        return to_numpy(self.model.logits(self.model.asarray(X))).astype(np.float64)

    def ends(self, region: Region) -> Ends:
        return region.ends_of_model(self.model)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        labels = self.model.labels(np.zeros(len(X), dtype=np.intp))
        found = self.model.ascent(self.model.asarray(X), labels, _Along(gradient))[1]
        return to_numpy(found).astype(np.float64)

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        found = region.of_model(self.model, labels)
        by_ends = super().leads(region, labels)
        # What does not change at all has no bound of its own there.
        return np.where(np.isfinite(found), np.maximum(found, by_ends), by_ends)


class _Along:
    """A loss whose gradient with respect to the scores is given."""

    def __init__(self, gradient: np.ndarray) -> None:
        self.gradient = gradient

    def direction(self, logits: Any, y: Any) -> Any:
        if isinstance(logits, np.ndarray):
            return self.gradient
        return logits.new_tensor(self.gradient)


class Softmax(Response):
    """The probabilities of scores: ``exp(z_k) / sum_c exp(z_c)``."""

    def __init__(self, inner: Response) -> None:
        self.inner, self.bounded, self.smooth = inner, inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        return softmax(self.inner.values(X), axis=1)

    def ends(self, region: Region) -> Ends:
        leads = self._all_leads(region)
        with np.errstate(over="ignore"):
            # p_k = 1 / sum_c exp(z_c - z_k), and z_k - z_c is at least leads[:, k, c].
            lower = 1 / (1 + np.exp(-leads).sum(axis=2))
            upper = 1 / (1 + np.exp(_others(leads)).sum(axis=2))
        return lower - region.slack, upper + region.slack

    def _all_leads(self, region: Region) -> np.ndarray:
        n = len(region.low)
        n_classes = self.inner.values(region.low[:1]).shape[1]
        every = [self.inner.leads(region, np.full(n, k)) for k in range(n_classes)]
        return np.stack(every, axis=1)

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        lower, upper = self.ends(region)
        ahead = self.inner.leads(region, labels)
        own = np.take_along_axis(lower, labels[:, None], axis=1).clip(0, 1)
        # p_y - p_c = p_y (1 - exp(z_c - z_y)) = p_c (exp(z_y - z_c) - 1)
        with np.errstate(over="ignore"):
            found = np.where(
                ahead >= 0,
                own * -np.expm1(-ahead),
                upper.clip(0, 1) * np.expm1(ahead.clip(None, 0)),
            )
        found = np.maximum(found - 2 * region.slack, margins_of_scores(lower, upper, labels))
        np.put_along_axis(found, labels[:, None], np.inf, axis=1)
        return found

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        share = self.values(X)
        back = share * (gradient - (share * gradient).sum(axis=1, keepdims=True))
        return self.inner.pull(X, back)


def _others(leads: np.ndarray) -> np.ndarray:
    """Return at the least ``z_c - z_k`` in place [:, k, c], -inf for c = k."""
    turned = leads.swapaxes(1, 2).copy()
    turned[:, np.arange(turned.shape[1]), np.arange(turned.shape[1])] = -np.inf
    return turned


class Votes(Response):
    """1 for the class with the highest score, 0 for the others; gradients are the softmax's."""

    def __init__(self, inner: Response) -> None:
        self.inner, self.bounded, self.smooth = inner, inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        scores = self.inner.values(X)
        return np.eye(scores.shape[1])[scores.argmax(axis=1)]

    def ends(self, region: Region) -> Ends:
        n_classes, n = self.inner.values(region.low[:1]).shape[1], len(region.low)
        leads = [self.inner.leads(region, np.full(n, k)) for k in range(n_classes)]
        sure = np.stack([(lead > 0).all(axis=1) for lead in leads], axis=1)
        # A class cannot win where another is ahead of it.
        behind = np.stack(leads, axis=1)
        behind[:, np.arange(n_classes), np.arange(n_classes)] = -np.inf
        out = (behind > 0).any(axis=1)
        return sure.astype(float), (~out).astype(float)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return Softmax(self.inner).pull(X, gradient)


class Elementwise(Response):
    """A rising or falling function of each value, piecewise differentiable.

    Parameters
    ----------
    inner : Response
    func, slope : sequence of callables
        One for each value; a function is monotone, its slope has one sign.
    rising : sequence of bool
    """

    def __init__(
        self,
        inner: Response,
        func: Sequence[Callable],
        slope: Sequence[Callable],
        rising: Sequence[bool],
    ) -> None:
        self.inner, self.func, self.slope, self.rising = inner, func, slope, rising
        self.bounded, self.smooth = inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        return self._each(self.func, self.inner.values(X))

    @staticmethod
    def _each(functions: Sequence[Callable], values: np.ndarray) -> np.ndarray:
        parts = [f(column) for f, column in zip(functions, values.T, strict=True)]
        return np.stack(parts, axis=1)

    def ends(self, region: Region) -> Ends:
        a, b = (self._each(self.func, end) for end in self.inner.ends(region))
        rising = np.array(self.rising)
        slack = region.slack * np.maximum(np.maximum(abs(a), abs(b)), 1)
        return np.where(rising, a, b) - slack, np.where(rising, b, a) + slack

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self.inner.pull(X, gradient * self._each(self.slope, self.inner.values(X)))


class Rounded(Response):
    """The same where it is computed in fewer bits than bounds are.

    Parameters
    ----------
    inner : Response
        Probabilities.
    spacing : float
        Of numbers at 1 in that precision.
    """

    def __init__(self, inner: Response, spacing: float) -> None:
        self.inner, self.off = inner, ROUNDINGS * spacing
        self.bounded, self.smooth = inner.bounded, inner.smooth

    def values(self, X: np.ndarray) -> np.ndarray:
        return self.inner.values(X)

    def ends(self, region: Region) -> Ends:
        low, high = self.inner.ends(region)
        return low - self.off, high + self.off

    def leads(self, region: Region, labels: np.ndarray) -> np.ndarray:
        return self.inner.leads(region, labels) - 2 * self.off

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self.inner.pull(X, gradient)
