r"""Sums of kernels: gradients, and bounds of their margins over ball and box.

A margin is ``sum_s a_s f(q_s(x)) + b``. For a term with a_s > 0 a line below f is taken, for one
with a_s < 0 a line above it; the lines add up to a single quadratic in x,

.. math:: \sum_s a_s m_s q_s(x) + \text{const}, \quad q_s(x) = |x - s|^2 \text{ or } x \cdot s

whose least value over the set is known. Where it lies, the lines are laid anew as tangents.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS, BoundedModel, enclosing_box
from sklearn_robust.bounds._kernels import Kernel
from sklearn_robust.bounds._quadratics import least_quadratic
from sklearn_robust.bounds._reach import Reach

# Times that lines are laid.
_ROUNDS = 6
_TINY = float(np.finfo(np.float64).tiny)


class KernelModel(BoundedModel):
    """A classifier that compares sums of kernels.

    Parameters
    ----------
    kernel : Kernel
    centres : ndarray of shape (n_centres, n_features)
    n_classes : int

    Attributes
    ----------
    double : bool
        Whether the classifier computes in float64, whatever it is given.
    """

    double = True

    def __init__(self, kernel: Kernel, centres: np.ndarray, n_classes: int) -> None:
        self.kernel, self.centres, self.n_classes = kernel, centres, n_classes

    @abstractmethod
    def duels(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (n_classes, n_centres) and offsets (n_classes,) of sums of kernels.

        Where they are positive for all other classes, the class `label` wins.
        """

    def values(self, X: np.ndarray, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the sums of kernels, shape (n_samples, n_sums)."""
        out = np.empty((len(X), len(weights)))
        for part in pieces(len(X), 24 * len(self.centres)):
            out[part] = self.kernel(self.kernel.inner(X[part], self.centres)) @ weights.T + offsets
        return out

    def pulled(self, X: np.ndarray, direction: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradient of ``direction_i @ sums(x_i)``, in the shape of X."""
        gradient = np.empty(X.shape)
        for part in pieces(len(X), 24 * len(self.centres)):
            q = self.kernel.inner(X[part], self.centres)
            w = (direction[part] @ weights) * self.kernel.slope(q)
            back = w @ self.centres
            if self.kernel.of_distance:
                back = 2 * (X[part] * w.sum(axis=1)[:, None] - back)
            gradient[part] = back
        return gradient

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return no bounds: margins have them, scores of kernels would cancel."""
        return np.full((len(low), self.n_classes), -np.inf), np.full(
            (len(low), self.n_classes), np.inf
        )

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        margins = np.empty((len(low), self.n_classes))
        for i, label in enumerate(labels):
            middle = (low[i] + high[i]) / 2
            half = np.nextafter(np.maximum(high[i] - middle, middle - low[i]), np.inf)
            half = np.where(high[i] > low[i], half, 0.0)
            margins[i] = self._relaxed(middle, int(label), ThreatModel(half))[0]
        return margins

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        found = [self._relaxed(x, int(y), threat)[0] for x, y in zip(X, labels, strict=True)]
        return np.array(found).reshape(len(X), self.n_classes)

    def worst_points(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return where the margin was least on the way to its bounds."""
        found = [self._relaxed(x, int(y), threat)[1] for x, y in zip(X, labels, strict=True)]
        return threat.around(X).project(np.array(found).reshape(X.shape))

    def _relaxed(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of the margins of one sample, and the point where one was seen least."""
        weights, offsets = self.duels(label)
        others = np.flatnonzero(np.arange(self.n_classes) != label)
        weights, offsets = weights[others], offsets[others]
        unit = EPS if self.double else self.resolution
        relaxation = Relaxation(self.kernel, self.centres, Reach(x, threat), threat, unit)
        margins = np.full(self.n_classes, np.inf)
        margins[others], met = relaxation.bound(weights, offsets)
        points = relaxation.reach.point(met.reshape(-1, met.shape[-1]))
        seen = self.values(points, weights, offsets).min(axis=1)
        return margins, points[seen.argmin()]


class Relaxation:
    """The kernels of all centres over the set around one sample."""

    def __init__(
        self,
        kernel: Kernel,
        centres: np.ndarray,
        reach: Reach,
        threat: ThreatModel,
        unit: float = EPS,
    ) -> None:
        self.kernel, self.reach, n = kernel, reach, centres.shape[1]
        delta, free = centres - reach.x, reach.free
        low, high = (end[0] for end in enclosing_box(reach.x[None], threat))
        largest = float(np.linalg.norm(np.maximum(abs(low), abs(high))))
        if kernel.of_distance:
            self.q, self.g = (delta**2).sum(axis=1), -2 * delta[:, free]
            self.low, self.high = self._distances(centres, low, high)
            size = (largest + np.linalg.norm(centres, axis=1)) ** 2  # of the expanded form
        else:
            self.q, self.g = centres @ reach.x, centres[:, free]
            pull = self.g * reach.radii
            self.low, self.high = self.q + reach.lowest(pull), self.q - reach.lowest(-pull)
            size = largest * np.linalg.norm(centres, axis=1)
        rounding = (8 * n + 64) * EPS * size
        self.low, self.high = self.low - rounding, self.high + rounding
        if kernel.of_distance:
            self.low = self.low.clip(0, None)
        f = np.maximum(abs(kernel(self.low)), abs(kernel(self.high)))
        steep = kernel.steepest(self.low, self.high)
        # What rounding may do to a term, and to lines per slope; sums add up as many roundings.
        self.size = EPS * size
        self.terms = unit * (f + steep * self.high * kernel.of_distance) + EPS * steep * size
        self.terms += np.finfo(np.float32 if unit > EPS else np.float64).tiny
        self.n_roundings = 4 * (len(centres) + n + 64)

    def _distances(
        self, centres: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges of the squared distances, over the box and over a ball around it."""
        near = np.maximum(np.maximum(low - centres, centres - high), 0)
        far = np.maximum(abs(low - centres), abs(high - centres))
        least, most = (near**2).sum(axis=1), (far**2).sum(axis=1)
        if self.reach.norm.name in ("l2", "l1") and len(self.reach.free):
            radius, root = self.reach.radii.max(), np.sqrt(self.q)
            least = np.maximum(least, (root - radius).clip(0, None) ** 2)
            most = np.minimum(most, (root + radius) ** 2)
        return least, most

    def bound(self, a: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower bounds of ``sum_s a_ks f(q_s) + offset_k`` for each k, and points met, in u.

        Parameters
        ----------
        a : ndarray of shape (n_sums, n_centres)
        offsets : ndarray of shape (n_sums,)

        Returns
        -------
        bound : ndarray of shape (n_sums,)
        points : ndarray of shape (n_rounds, n_sums, n_free)
        """
        best, points = np.full(len(a), -np.inf), [np.zeros((len(a), len(self.reach.free)))]
        q = np.broadcast_to(self.q.clip(self.low, self.high), a.shape)
        for number in range(_ROUNDS):
            m, intercept = self._lines(a, q)
            value, u = self._least(a * m)
            value = value + offsets + (a * (m * self.q + intercept)).sum(axis=1)
            value = value - self._slack(a, m, offsets)
            best = np.fmax(best, value)  # NaN, of numbers out of range, proves nothing
            points.append(u)
            q = (q * (number + 1) + self._inner(u)) / (number + 2)
            q = q.clip(self.low, self.high)
        return best, np.array(points)

    @cached_property
    def _chord(self) -> np.ndarray:
        """The slopes of the chords."""
        width = self.high - self.low
        rise = self.kernel(self.high) - self.kernel(self.low)
        return np.where(
            width > 0, rise / np.where(width > 0, width, 1), self.kernel.slope(self.low)
        )

    def _lines(self, a: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes and intercepts, for each term the better of a chord and a tangent."""
        lines = []
        for m in (np.broadcast_to(self._chord, a.shape), self.kernel.slope(q)):
            below, above = self.kernel.intercepts(m, self.low, self.high)
            lines.append((m, np.where(a > 0, below, above)))
        first, second = (a * (m * q + intercept) for m, intercept in lines)
        better = second > first
        (m, intercept), (tangent, other) = lines
        return np.where(better, tangent, m), np.where(better, other, intercept)

    def _least(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least change of ``sum weights q`` over the set, and where it is."""
        slope = weights @ self.g
        if not len(self.reach.free):
            return np.zeros(len(weights)), slope
        if self.kernel.of_distance:
            return least_quadratic(self.reach, weights.sum(axis=1), slope)
        pull = slope * self.reach.radii
        return self.reach.lowest(pull), self.reach.steepest(-pull)

    def _inner(self, u: np.ndarray) -> np.ndarray:
        """Return q of all centres at some points."""
        d = self.reach.radii * u
        moved = self.q + d @ self.g.T
        return moved + ((d**2).sum(axis=1)[:, None] if self.kernel.of_distance else 0.0)

    def _slack(self, a: np.ndarray, m: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return what rounding may do to the sums, here and where the classifier adds them up."""
        size = (abs(a) * (self.terms + abs(m) * self.size)).sum(axis=1)
        return self.n_roundings * (size + EPS * abs(offsets))


class KernelScores(KernelModel):
    r"""The class with the largest ``sum_s A_cs K(x, s) + b_c``.

    Parameters
    ----------
    kernel : Kernel
    centres : ndarray of shape (n_centres, n_features)
    weights : ndarray of shape (n_classes, n_centres)
    offsets : ndarray of shape (n_classes,)

    Examples
    --------
    Two bumps, at 0 and at 2:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import RBFKernel, KernelScores
    >>> model = KernelScores(RBFKernel(1.0), np.array([[0.0], [2.0]]), np.eye(2), np.zeros(2))
    >>> x, y = np.array([[0.5]]), np.array([0])
    >>> [bool(model.margins(x, y, ThreatModel(e))[0, 1] > 0) for e in (0.3, 0.51)]
    [True, False]
    """

    def __init__(
        self, kernel: Kernel, centres: np.ndarray, weights: np.ndarray, offsets: np.ndarray
    ) -> None:
        super().__init__(kernel, centres, len(weights))
        self.weights, self.offsets = weights, offsets

    def duels(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        return self.weights[label] - self.weights, self.offsets[label] - self.offsets

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.values(X, self.weights, self.offsets)

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = self.logits(X)
        return logits, self.pulled(X, loss.direction(logits, y), self.weights)


class KernelShares(KernelScores):
    r"""The class with the largest share of a sum of kernels, with weights >= 0.

    Shares may be as small as numbers get, so that logits are logarithms.
    """

    double = False

    def logits(self, X: np.ndarray) -> np.ndarray:
        return np.log(super().logits(X).clip(_TINY, None))

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = self.logits(X)
        # Of tiny sums the logarithm alone is left: weights are as they would be without underflow.
        return logits, self.pulled(X, loss.direction(logits, y) * np.exp(-logits), self.weights)


class KernelVotes(KernelModel):
    r"""Votes of sums of kernels between all pairs of classes, as of a support vector classifier.

    Parameters
    ----------
    kernel : Kernel
    centres : ndarray of shape (n_centres, n_features)
    weights : ndarray of shape (n_pairs, n_centres)
        Of the pairs (0, 1), (0, 2), ... (1, 2), ...: a positive sum is a vote for the first class.
    offsets : ndarray of shape (n_pairs,)
    n_classes : int
        More than 2.
    break_ties : bool
        Whether sums decide among classes with as many votes, or their order.
    """

    def __init__(
        self,
        kernel: Kernel,
        centres: np.ndarray,
        weights: np.ndarray,
        offsets: np.ndarray,
        n_classes: int,
        break_ties: bool,
    ) -> None:
        super().__init__(kernel, centres, n_classes)
        self.weights, self.offsets, self.break_ties = weights, offsets, break_ties
        self.first, self.second = np.triu_indices(n_classes, 1)
        self.signs = np.zeros((len(weights), n_classes))
        self.signs[np.arange(len(weights)), self.first] = 1
        self.signs[np.arange(len(weights)), self.second] = -1

    def duels(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        weights, offsets = np.zeros((self.n_classes, len(self.centres))), np.zeros(self.n_classes)
        for k, (i, j) in enumerate(zip(self.first, self.second, strict=True)):
            if label in (i, j):
                sign, other = (1, j) if label == i else (-1, i)
                weights[other], offsets[other] = sign * self.weights[k], sign * self.offsets[k]
        return weights, offsets

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self._scores(self.values(X, self.weights, self.offsets))[0]

    def _scores(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return votes and confidences as scikit-learn adds them up, and the latter alone."""
        won, lost = (self.signs == 1).astype(float), (self.signs == -1).astype(float)
        votes = (sums > 0) @ won + (sums <= 0) @ lost
        confidence = sums @ self.signs
        scores = votes + confidence / (3 * (abs(confidence) + 1))
        if not self.break_ties:  # the first class of those with the most votes
            winner, top = votes.argmax(axis=1)[:, None], scores.max(axis=1, keepdims=True)
            np.put_along_axis(scores, winner, top * (1 + 4 * EPS), axis=1)
        return scores, confidence

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores, and the gradient of votes that fade where a pair is undecided."""
        sums = self.values(X, self.weights, self.offsets)
        logits = self._scores(sums)[0]
        soft = (loss.direction(logits, y) @ self.signs.T) / (1 + abs(sums)) ** 2
        return logits, self.pulled(X, soft, self.weights)

    def derivative(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores and their gradient, in which votes have no part."""
        sums = self.values(X, self.weights, self.offsets)
        logits, confidence = self._scores(sums)
        each = loss.direction(logits, y) / (3 * (1 + abs(confidence)) ** 2)
        return logits, self.pulled(X, each @ self.signs.T, self.weights)
