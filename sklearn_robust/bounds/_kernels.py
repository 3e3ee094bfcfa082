r"""Kernels as functions of one number, and the lines between which they lie.

.. math:: K(x, s) = f(q_s(x)), \quad q_s(x) = \sum_k w_k (x_k - s_k)^2 \text{ or } x \cdot s

A line of slope m lies below f on an interval if it does at the ends and where ``f' = m``, so that
the best intercept of each slope is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.spatial.distance import cdist

_EPS = float(np.finfo(np.float64).eps)


class Kernel(ABC):
    """A kernel of squared distances or of products.

    Attributes
    ----------
    of_distance : bool
        Whether q is the squared distance; otherwise the product.
    metric : ndarray of shape (n_features,) or (1,), or None
        The weights w > 0 of the squared distance; None: 1.
    least : float
        The smallest q at which a tangent is laid.
    """

    of_distance = False
    metric: np.ndarray | None = None
    least = 0.0

    @abstractmethod
    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Return f(q)."""

    @abstractmethod
    def slope(self, q: np.ndarray) -> np.ndarray:
        """Return f'(q)."""

    @abstractmethod
    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        """Return all q with ``f'(q) = m``, NaN for none."""

    def equals(self, other: Kernel) -> bool:
        """Whether another kernel is the same function, by its class and numbers."""
        same = type(self) is type(other) and vars(self).keys() == vars(other).keys()
        return same and all(np.array_equal(v, vars(other)[k]) for k, v in vars(self).items())

    def inner(self, X: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return q for all samples and centres."""
        if not self.of_distance:
            return X @ centres.T
        if not len(centres):
            return np.zeros((len(X), 0))
        with np.errstate(over="ignore"):
            return cdist(self._scaled(X), self._scaled(centres), "sqeuclidean")

    def pulled(self, X: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradients of ``sum_s weights_is q_s(x_i)``, in the shape of X."""
        back = weights @ centres
        if not self.of_distance:
            return back
        back = 2 * (X * weights.sum(axis=1)[:, None] - back)
        return back if self.metric is None else back * self.metric

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return X if self.metric is None else X * np.sqrt(self.metric)

    def steepest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the largest ``|f'|`` of each interval, or a bound of it."""
        return np.maximum(abs(self.slope(low)), abs(self.slope(high)))

    def shaken(
        self, low: np.ndarray, high: np.ndarray, size: np.ndarray, unit: float, inner_unit: float
    ) -> np.ndarray:
        """Return by how much one rounding may change f(q), for q in each interval.

        Parameters
        ----------
        low, high : ndarray
        size : ndarray
            What the terms of q add up to, squares of coordinates or their products.
        unit, inner_unit : float
            The spacing at 1 of the numbers in which f is computed, and q.
        """
        steep = self.steepest(low, high)
        f = np.maximum(abs(self(low)), abs(self(high)))
        return unit * (f + steep * high * self.of_distance) + inner_unit * steep * size

    def intercepts(
        self, m: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the largest and the smallest intercept of lines below and above, of slope m."""
        at = [low, high, *(np.clip(q, low, high) for q in self.stationary(m))]
        # Where there is none, NaN passes through `clip`; the ends decide.
        rest = np.stack(
            [self(np.where(np.isnan(q), low, q)) - m * np.where(np.isnan(q), low, q) for q in at]
        )
        return rest.min(axis=0), rest.max(axis=0)


class ConvexKernel(Kernel):
    """A kernel that falls with the distance ever more slowly: ``f' < 0 < f''``, and f'' falls.

    So are all that mix Gaussians of the same centre with weights >= 0.
    """

    of_distance = True

    @abstractmethod
    def bend(self, q: np.ndarray) -> np.ndarray:
        """Return f''(q), which may be inf at 0."""

    def parabolas(self, at: np.ndarray, low: np.ndarray) -> np.ndarray:
        r"""Return bounds c for which f lies below its tangent plus a parabola, on q >= low.

        .. math:: f(q) \le f(q_0) + f'(q_0) (q - q_0) + c (q - q_0)^2, \quad
            c = \int_0^1 (1 - t) f''(q_0 + t (q_{\min} - q_0)) dt

        as the integral falls with the end of the interval.

        Parameters
        ----------
        at, low : ndarray
            The points of the tangents, and the ends, ``low <= at``.
        """
        step, first, here = low - at, self(low), self(at)
        least = np.where(step < 0, step, -1.0)
        pull = self.slope(at) * step
        rounding = 8 * _EPS * (first + here + abs(pull))
        wide = (first - here - pull + rounding) / least**2 * (1 + 8 * _EPS)
        with np.errstate(over="ignore", invalid="ignore"):
            near = self.bend(low) / 2 * (1 + 64 * _EPS)
        return np.where(step < 0, np.fmin(wide, near), near)


class RBFKernel(ConvexKernel):
    """``exp(-gamma |x - s|^2)``, with weights by feature if there is a metric."""

    def __init__(self, gamma: float, metric: np.ndarray | None = None) -> None:
        self.gamma, self.metric = gamma, metric

    def __call__(self, q: np.ndarray) -> np.ndarray:
        return np.exp(-self.gamma * q)

    def slope(self, q: np.ndarray) -> np.ndarray:
        return -self.gamma * self(q)

    def bend(self, q: np.ndarray) -> np.ndarray:
        return self.gamma**2 * self(q)

    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return [-np.log(-m / self.gamma) / self.gamma]


class PolynomialKernel(Kernel):
    """``(gamma x . s + coef0)^degree``."""

    def __init__(self, gamma: float, coef0: float, degree: int) -> None:
        self.gamma, self.coef0, self.degree = gamma, coef0, degree

    def __call__(self, q: np.ndarray) -> np.ndarray:
        return (self.gamma * q + self.coef0) ** self.degree

    def slope(self, q: np.ndarray) -> np.ndarray:
        if self.degree == 0:
            return np.zeros_like(q)
        return self.degree * self.gamma * (self.gamma * q + self.coef0) ** (self.degree - 1)

    def steepest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        ends = np.maximum(abs(self.gamma * low + self.coef0), abs(self.gamma * high + self.coef0))
        if self.degree == 0:
            return np.zeros_like(ends)
        return self.degree * abs(self.gamma) * ends ** (self.degree - 1)

    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        if self.degree < 2:
            return []
        share, root = m / (self.degree * self.gamma), 1 / (self.degree - 1)
        with np.errstate(invalid="ignore"):
            if self.degree % 2 == 0:
                bases = [np.sign(share) * abs(share) ** root]
            else:
                bases = [share**root, -(share**root)]
        return [(base - self.coef0) / self.gamma for base in bases]


class SigmoidKernel(Kernel):
    """``tanh(gamma x . s + coef0)``."""

    def __init__(self, gamma: float, coef0: float) -> None:
        self.gamma, self.coef0 = gamma, coef0

    def __call__(self, q: np.ndarray) -> np.ndarray:
        return np.tanh(self.gamma * q + self.coef0)

    def slope(self, q: np.ndarray) -> np.ndarray:
        return self.gamma * (1 - self(q) ** 2)

    def steepest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.full(low.shape, abs(self.gamma))

    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        with np.errstate(invalid="ignore", divide="ignore"):
            base = np.arctanh(np.sqrt(1 - m / self.gamma))
        return [(base - self.coef0) / self.gamma, (-base - self.coef0) / self.gamma]
