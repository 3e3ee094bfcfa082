"""Classifiers that compare sums of kernels: scores, gradients, and margins over ball and box."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._anchors import ratio_bounds
from sklearn_robust.bounds._bounded import EPS, BoundedModel
from sklearn_robust.bounds._kernels import Kernel, RBFKernel
from sklearn_robust.bounds._parabolas import apply, parabola_bound
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.bounds._relaxations import Relaxation

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
        met = met.reshape(math.prod(met.shape[:-1]), met.shape[-1])  # -1 fails if nothing may move
        for k, c in enumerate(others):
            if not margins[c] > 0 and apply(relaxation):
                value, further = parabola_bound(relaxation, weights[k], offsets[k])
                margins[c], met = max(margins[c], value), np.vstack([met, further])
        points = relaxation.reach.point(met)
        seen = self.values(points, weights, offsets).min(axis=1)
        return margins, points[seen.argmin()]


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

    Shares may be as small as numbers get, so that logits are logarithms. Margins are bounds of the
    differences of these, or -inf.
    """

    double = False

    def _relaxed(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        unit = max(EPS, self.resolution)
        ratios = np.full(self.n_classes, -np.inf)
        if isinstance(self.kernel, RBFKernel):
            known = self.kernel.gamma, self.centres, self.weights
            ratios = ratio_bounds(*known, x, label, threat, unit)
        ratios[label] = np.inf
        if (ratios > 0).all():
            return ratios, x
        margins, point = super()._relaxed(x, label, threat)
        # Kernels are at most 1, and log(y / c) >= (y - c) / y where y > c.
        total = abs(self.weights[label]).sum()
        return np.fmax(ratios, np.where(margins > 0, margins / total, -np.inf)), point

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
