"""The set around one sample in coordinates of its unit ball, and linear functions over it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sklearn_robust._norms import BUILT_IN, Norm
from sklearn_robust._threat import ThreatModel

_EPS = float(np.finfo(np.float64).eps)


class Reach:
    r"""A(x) as ``x + radii * u``, with u in the unit ball and between `floor` and `ceiling`.

    Parameters
    ----------
    x : float ndarray of shape (n_features,)
    threat : ThreatModel

    Attributes
    ----------
    free : ndarray of int
        The features that may move; everything below is about these.
    radii : ndarray of shape (n_free,)
    floor, ceiling : ndarray of shape (n_free,) or None
        Ends of the clip box in u; None: no box.
    """

    def __init__(self, x: np.ndarray, threat: ThreatModel) -> None:
        self.x = x.astype(np.float64)
        every = np.broadcast_to(np.ravel(threat.radii(self.x[None])), x.shape).astype(np.float64)
        self.free = np.flatnonzero(every > 0)
        self.radii = every[self.free]
        self.norm: Norm = threat.geometry
        here = self.x[self.free]
        self.floor: np.ndarray | None = None
        self.ceiling: np.ndarray | None = None
        limits = threat.limits(self.x[None])
        if limits is not None:
            low, high = (np.broadcast_to(np.ravel(end), x.shape)[self.free] for end in limits)
            self.floor = np.minimum((low - here) / self.radii, 0)
            self.ceiling = np.maximum((high - here) / self.radii, 0)

    @cached_property
    def extents(self) -> np.ndarray:
        """How far u reaches along each feature, the box included."""
        n = len(self.free)
        ball = np.ones(n) if self.norm.name in BUILT_IN else self.norm.dual_length(np.eye(n))
        if self.floor is not None and self.ceiling is not None:
            ball = np.minimum(ball, np.maximum(-self.floor, self.ceiling))
        return ball

    def lowest(self, W: np.ndarray) -> np.ndarray:
        """Return lower bounds of ``min <W_k, u>``, rounding included, shape (n_rows,)."""
        if not len(self.free):
            return np.zeros(len(W))
        if self.floor is None:
            reach = self.norm.dual_length(W)
        else:
            reach = -(W * self.steepest(-W)).sum(axis=1)
        # The value is concave in the radius: an error of the radius is no larger in the value.
        outwards = 1 + 8 * W.shape[1] * _EPS
        return -outwards * reach.clip(0, None)

    def steepest(self, W: np.ndarray) -> np.ndarray:
        """Return the points u that maximise ``<W_k, u>``."""
        return self.norm.steepest(W, self._capacity(W))

    def project(self, Z: np.ndarray) -> np.ndarray:
        """Return the nearest points u to the rows of `Z`."""
        return self.norm.project(Z, self._capacity(Z))

    def point(self, U: np.ndarray) -> np.ndarray:
        """Return samples at the points `U`, in all features."""
        X = np.tile(self.x, (len(U), 1))
        X[:, self.free] += self.radii * U
        return X

    def _capacity(self, W: np.ndarray) -> np.ndarray | None:
        if self.floor is None or self.ceiling is None:
            return None
        return np.where(W > 0, self.ceiling, -self.floor)
