r"""Kernels as functions of one number, and the lines between which they lie.

.. math:: K(x, s) = f(q_s(x)), \quad q_s(x) = |x - s|^2 \text{ or } x \cdot s

A line of slope m lies below f on an interval if it does at the ends and where ``f' = m``, so that
the best intercept of each slope is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class Kernel(ABC):
    """A kernel of squared distances or of products.

    Attributes
    ----------
    of_distance : bool
        Whether q is the squared distance; otherwise the product.
    """

    of_distance = False

    @abstractmethod
    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Return f(q)."""

    @abstractmethod
    def slope(self, q: np.ndarray) -> np.ndarray:
        """Return f'(q)."""

    @abstractmethod
    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        """Return all q with ``f'(q) = m``, NaN for none."""

    def inner(self, X: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return q for all samples and centres."""
        if not self.of_distance:
            return X @ centres.T
        return np.stack([((x - centres) ** 2).sum(axis=1) for x in X]).reshape(len(X), -1)

    def steepest(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the largest ``|f'|`` of each interval, or a bound of it."""
        return np.maximum(abs(self.slope(low)), abs(self.slope(high)))

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


class RBFKernel(Kernel):
    """``exp(-gamma |x - s|^2)``."""

    of_distance = True

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def __call__(self, q: np.ndarray) -> np.ndarray:
        return np.exp(-self.gamma * q)

    def slope(self, q: np.ndarray) -> np.ndarray:
        return -self.gamma * self(q)

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
