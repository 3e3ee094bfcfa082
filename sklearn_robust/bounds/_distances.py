r"""Minkowski distances from rows, and over boxes: which of two rows is the nearer one.

.. math:: d(x, t)^p = \sum_k |x_k - t_k|^p

For a pair of rows the difference of these rises or falls with each x_k, as ``|s|^p`` is convex: in
a box its least value lies at an end of each feature, and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

_EPS = float(np.finfo(np.float64).eps)
# Below it numbers lose digits.
_UNDERFLOW = 1e-300


@dataclass(frozen=True)
class Distance:
    """A Minkowski distance.

    Parameters
    ----------
    p : float
        At least 1; infinity for the largest difference (Chebyshev).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.bounds import Distance
    >>> x, rows = np.array([[1.0, 2.0]]), np.array([[0.0, 0.0], [1.0, 5.0]])
    >>> Distance(2).powers(x, rows)
    array([[5., 9.]])
    >>> Distance(2).gaps(x[0] - 1, x[0] + 1, rows[:1], rows[1:])  # 9 - 5 less 2 (1 + 5)
    array([[-8.]])
    """

    p: float

    def powers(self, X: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the p-th power of the distance of each sample to each row."""
        if self.p == 2:
            return cdist(X, rows, "sqeuclidean")
        if self.p == 1:
            return cdist(X, rows, "cityblock")
        if np.isinf(self.p):
            return cdist(X, rows, "chebyshev")
        return cdist(X, rows, "minkowski", p=self.p) ** self.p

    def ranges(
        self, low: np.ndarray, high: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest power of the distance of each row over a box."""
        near = np.maximum(np.maximum(low - rows, rows - high), 0)
        far = np.maximum(abs(low - rows), abs(high - rows))
        if np.isinf(self.p):
            return near.max(axis=1), far.max(axis=1)
        return (near**self.p).sum(axis=1), (far**self.p).sum(axis=1)

    def gaps(
        self, low: np.ndarray, high: np.ndarray, own: np.ndarray, rivals: np.ndarray
    ) -> np.ndarray:
        """Return ``min d(x, rival)^p - d(x, own)^p`` over a box, shape (n_rivals, n_own).

        A lower bound for infinite p.
        """
        if np.isinf(self.p):
            return self.ranges(low, high, rivals)[0][:, None] - self.ranges(low, high, own)[1]
        ends = [(abs(end - own) ** self.p, abs(end - rivals) ** self.p) for end in (low, high)]
        gaps = np.empty((len(rivals), len(own)))
        for k in range(len(own)):
            at_low, at_high = (theirs - mine[k] for mine, theirs in ends)
            gaps[:, k] = np.minimum(at_low, at_high).sum(axis=1)
        return gaps

    def slack(self, most: np.ndarray, lengths: np.ndarray, n_features: int, unit: float) -> Any:
        """Return what rounding may do to the difference of two powers.

        Parameters
        ----------
        most : ndarray
            Bounds of the larger of both.
        lengths : ndarray
            Bounds of ``|x|_2 + |t|_2``, whose square is among the terms of Euclidean distances in
            their expanded form, which is computed in float64 always.
        n_features : int
        unit : float
            The spacing at 1 of the numbers that the classifier computes with.
        """
        # A power may be off by some units for each unit of its exponent.
        roundings = 32 + 8 * n_features + (16 * self.p if np.isfinite(self.p) else 0)
        expanded = _EPS * lengths**2 if self.p == 2 else 0.0
        return roundings * (unit * most + expanded + _UNDERFLOW)
