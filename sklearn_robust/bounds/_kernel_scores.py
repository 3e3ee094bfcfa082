"""Classifiers that compare sums of kernels: scores, gradients, and margins over ball and box."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._anchors import ratio_bounds
from sklearn_robust.bounds._bounded import EPS
from sklearn_robust.bounds._kernel_sums import KernelSum
from sklearn_robust.bounds._kernels import Kernel, RBFKernel
from sklearn_robust.bounds._one_by_one import OneByOne
from sklearn_robust.bounds._parabolas import apply, parabola_bound
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.bounds._relaxations import Relaxation

_TINY = float(np.finfo(np.float64).tiny)


class KernelModel(OneByOne):
    """A classifier that compares sums of kernels.

    Parameters
    ----------
    kernel : Kernel or KernelSum
        The values of several outputs, for all centres, stand one after another.
    centres : ndarray of shape (n_centres, n_features)
    n_classes : int

    Attributes
    ----------
    double, double_inside : bool
        Whether the classifier computes kernels, and distances, in float64, whatever it is given.
    """

    double = True
    double_inside = True

    def __init__(self, kernel: Kernel | KernelSum, centres: np.ndarray, n_classes: int) -> None:
        self.kernel, self.centres, self.n_classes = KernelSum.of(kernel), centres, n_classes

    def values(self, X: np.ndarray, weights: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return the sums of kernels, shape (n_samples, n_sums)."""
        out = np.empty((len(X), len(weights)))
        for part in pieces(len(X), self._bytes()):
            out[part] = self.kernel(X[part], self.centres) @ weights.T + offsets
        return out

    def pulled(self, X: np.ndarray, direction: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradient of ``direction_i @ sums(x_i)``, in the shape of X."""
        gradient = np.empty(X.shape)
        for part in pieces(len(X), self._bytes()):
            own = direction[part] @ weights
            gradient[part] = self.kernel.pulled(X[part], self.centres, own)
        return gradient

    def _bytes(self) -> int:
        return 24 * len(self.centres) * (len(self.kernel.leaves) + self.kernel.n_outputs)

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return no bounds: margins have them, scores of kernels would cancel."""
        return np.full((len(low), self.n_classes), -np.inf), np.full(
            (len(low), self.n_classes), np.inf
        )

    def relaxed(
        self, x: np.ndarray, threat: ThreatModel, centres: np.ndarray | None = None
    ) -> Relaxation:
        """Return the kernels over the set around one sample, of other centres if they are given."""
        centres = self.centres if centres is None else centres
        units = (EPS if double else self.resolution for double in (self.double, self.double_inside))
        return Relaxation(self.kernel, centres, Reach(x, threat), threat, *units)


class KernelDuels(KernelModel):
    """A classifier for whose every class there are sums of kernels that are positive if it wins."""

    @abstractmethod
    def duels(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (n_classes, n_kernels) and offsets (n_classes,) of sums of kernels.

        Where they are positive for all other classes, the class `label` wins.
        """

    def least(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        weights, offsets = self.duels(label)
        others = np.flatnonzero(np.arange(self.n_classes) != label)
        weights, offsets = weights[others], offsets[others]
        relaxation, margins = self.relaxed(x, threat), np.full(self.n_classes, np.inf)
        values = partial(self.values, weights=weights, offsets=offsets)
        margins[others], points = least_sums(relaxation, weights, offsets, values)
        seen = values(points).min(axis=1)
        return margins, points[seen.argmin()]


def least_sums(
    relaxation: Relaxation,
    weights: np.ndarray,
    offsets: np.ndarray,
    values: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower bounds of sums of kernels, as good as needed to be positive, and points met.

    What is not positive at a point met cannot be proven, and is not looked at any further.

    Parameters
    ----------
    relaxation : Relaxation
    weights : ndarray of shape (n_sums, n_kernels)
    offsets : ndarray of shape (n_sums,)
    values : callable
        Maps points to what is bounded, shape (n_points, n_sums).

    Returns
    -------
    bounds : ndarray of shape (n_sums,)
    points : ndarray of shape (n_points, n_features)
    """
    bounds, met = relaxation.bound(weights, offsets)
    met = met.reshape(math.prod(met.shape[:-1]), met.shape[-1])  # -1 fails if nothing may move
    left = ~(bounds > 0)
    if not left.any() or not apply(relaxation):
        return bounds, relaxation.reach.point(met)
    left &= (values(relaxation.reach.point(met)) > 0).all(axis=0)
    for k in np.flatnonzero(left):
        value, further = parabola_bound(relaxation, weights[k], offsets[k], bounds[k])
        bounds[k], met = max(bounds[k], value), np.vstack([met, further])
    return bounds, relaxation.reach.point(met)


class KernelScores(KernelDuels):
    r"""The class with the largest ``sum_s A_cs K(x, s) + b_c``.

    Parameters
    ----------
    kernel : Kernel or KernelSum
    centres : ndarray of shape (n_centres, n_features)
    weights : ndarray of shape (n_classes, n_kernels)
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
        self,
        kernel: Kernel | KernelSum,
        centres: np.ndarray,
        weights: np.ndarray,
        offsets: np.ndarray,
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

    def least(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        unit = max(EPS, self.resolution)
        ratios = np.full(self.n_classes, -np.inf)
        kernel = self.kernel.leaves[0]
        if isinstance(kernel, RBFKernel):
            known = kernel.gamma, self.centres, self.weights
            ratios = ratio_bounds(*known, x, label, threat, unit)
        ratios[label] = np.inf
        if (ratios > 0).all():
            return ratios, x
        margins, point = super().least(x, label, threat)
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


class KernelVotes(KernelDuels):
    r"""Votes of sums of kernels between all pairs of classes, as of a support vector classifier.

    Parameters
    ----------
    kernel : Kernel or KernelSum
    centres : ndarray of shape (n_centres, n_features)
    weights : ndarray of shape (n_pairs, n_kernels)
        Of the pairs (0, 1), (0, 2), ... (1, 2), ...: a positive sum is a vote for the first class.
    offsets : ndarray of shape (n_pairs,)
    n_classes : int
        More than 2.
    break_ties : bool
        Whether sums decide among classes with as many votes, or their order.
    """

    def __init__(
        self,
        kernel: Kernel | KernelSum,
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
        weights, offsets = (
            np.zeros((self.n_classes, self.weights.shape[1])),
            np.zeros(self.n_classes),
        )
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
