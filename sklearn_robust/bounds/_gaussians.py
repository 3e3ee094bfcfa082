r"""Gaussian classes with covariances of their own: scores are quadratic forms.

.. math:: F_c(x) = -\tfrac12 |A_c^T (x - \mu_c)|^2 + b_c

Each margin is a quadratic form, indefinite in general, whose least value over the Euclidean ball is
known exactly, and bounded over boxes.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS
from sklearn_robust.bounds._forms import least_form
from sklearn_robust.bounds._one_by_one import OneByOne
from sklearn_robust.bounds._reach import Reach


class GaussianScores(OneByOne):
    """The class of the highest Gaussian log-density, as of quadratic discriminant analysis.

    Parameters
    ----------
    means : ndarray of shape (n_classes, n_features)
    roots : list of ndarray of shape (n_features, rank)
        A root of each inverse covariance.
    offsets : ndarray of shape (n_classes,)

    Examples
    --------
    The boundary lies half way, at 1.5:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import GaussianScores
    >>> model = GaussianScores(np.array([[1.0], [2.0]]), [np.eye(1)] * 2, np.zeros(2))
    >>> x, y = np.array([[1.2]]), np.array([0])
    >>> [model.margins(x, y, ThreatModel(e, "l2"))[0, 1].round(6) > 0 for e in (0.29, 0.31)]
    [np.True_, np.False_]
    """

    def __init__(self, means: np.ndarray, roots: list[np.ndarray], offsets: np.ndarray) -> None:
        self.means, self.roots, self.offsets = means, roots, offsets
        self.n_classes = len(means)
        self.inverses = [root @ root.T for root in roots]

    def logits(self, X: np.ndarray) -> np.ndarray:
        found = [
            b - (((X - mean) @ root) ** 2).sum(axis=1) / 2
            for mean, root, b in zip(self.means, self.roots, self.offsets, strict=True)
        ]
        return np.array(found).T

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = self.logits(X)
        direction, gradient = loss.direction(logits, y), np.zeros(X.shape)
        for c, (mean, inverse) in enumerate(zip(self.means, self.inverses, strict=True)):
            gradient -= direction[:, c, None] * ((X - mean) @ inverse)
        return logits, gradient

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lower, upper = np.empty((2, len(low), self.n_classes))
        for c, (mean, root) in enumerate(zip(self.means, self.roots, strict=True)):
            size = np.maximum(abs(low - mean), abs(high - mean)) @ abs(root)
            slack = (8 * len(mean) + 64) * EPS * ((size**2).sum(axis=1) + abs(self.offsets[c]))
            up, down = root.clip(0, None), root.clip(None, 0)
            least = (low - mean) @ up + (high - mean) @ down
            most = (high - mean) @ up + (low - mean) @ down
            near = np.maximum(np.maximum(least, -most), 0)
            far = np.maximum(abs(least), abs(most))
            lower[:, c] = self.offsets[c] - (far**2).sum(axis=1) / 2 - slack
            upper[:, c] = self.offsets[c] - (near**2).sum(axis=1) / 2 + slack
        return lower, upper

    def is_exact(self, threat: ThreatModel) -> bool:
        return threat.norm == "l2" and threat.clip_values is None

    def least(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        reach = Reach(x, threat)
        margins, points = np.full(self.n_classes, np.inf), np.tile(x, (self.n_classes, 1))
        terms = [self._terms(c, reach) for c in range(self.n_classes)]
        for c, (form, pull, value, slack) in enumerate(terms):
            if c == label:
                continue
            own = terms[label]
            least, u = least_form(reach, form - own[0], pull - own[1])
            margins[c] = own[2] - value + least - slack - own[3]
            points[c] = reach.point(u[None])[0]
        margins[np.isnan(margins)] = -np.inf  # of numbers out of range
        return margins, points[margins.argmin()]

    def _terms(self, c: int, reach: Reach) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return minus the score of a class as a form in u, and what rounding may do to it."""
        delta, root = reach.x - self.means[c], self.roots[c]
        scaled = root[reach.free] * reach.radii[:, None]
        y = delta @ root
        size = abs(delta) @ abs(root) + reach.extents @ abs(scaled)
        slack = (8 * len(delta) + 64) * EPS * (size @ size + abs(self.offsets[c]))
        return scaled @ scaled.T / 2, scaled @ y, self.offsets[c] - y @ y / 2, slack
