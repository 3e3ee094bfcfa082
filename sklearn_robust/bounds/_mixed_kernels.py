r"""Kernels that mix Gaussians of many widths: Matern and rational quadratic.

Under the Matern kernels, with ``r = sqrt(q)`` and :math:`z = \sqrt{2 \nu} r`,

.. math:: f = e^{-z},\; (1 + z) e^{-z},\; (1 + z + z^2 / 3) e^{-z}
          \quad\text{for } \nu = 1/2, 3/2, 5/2

and under the rational quadratic one ``f = (1 + q / (2 alpha))^(-alpha)``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import lambertw

from sklearn_robust.bounds._kernels import ConvexKernel


class MaternKernel(ConvexKernel):
    """A Matern kernel of half integer nu.

    Parameters
    ----------
    nu : {0.5, 1.5, 2.5}
    metric : ndarray of shape (n_features,) or (1,), or None
        The squares of the inverse length scales.
    """

    least = 1e-12  # below, the slope is taken as it is there: that of nu = 1/2 is infinite at 0

    def __init__(self, nu: float, metric: np.ndarray | None = None) -> None:
        if nu not in (0.5, 1.5, 2.5):
            raise ValueError(f"nu must be 0.5, 1.5 or 2.5, got {nu!r}.")
        self.nu, self.metric = nu, metric

    def _z(self, q: np.ndarray) -> np.ndarray:
        return np.sqrt(2 * self.nu * q)

    def __call__(self, q: np.ndarray) -> np.ndarray:
        z = self._z(q)
        start = {0.5: 1.0, 1.5: 1 + z, 2.5: 1 + z + z**2 / 3}[self.nu]
        return start * np.exp(-z)

    def slope(self, q: np.ndarray) -> np.ndarray:
        z = self._z(np.maximum(q, self.least))
        start = {0.5: -0.5 / z, 1.5: -1.5 + 0 * z, 2.5: -(5 / 6) * (1 + z)}[self.nu]
        return start * np.exp(-z)

    def bend(self, q: np.ndarray) -> np.ndarray:
        z = self._z(q)
        with np.errstate(divide="ignore"):
            if self.nu == 0.5:
                start = (1 + 1 / z) / (4 * z**2)
            else:
                start = 2.25 / z if self.nu == 1.5 else np.full(z.shape, 25 / 12)
        return start * np.exp(-z)

    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.nu == 0.5:  # exp(-z) / z = -2m
                z = lambertw(-0.5 / m).real
            elif self.nu == 1.5:
                z = -np.log(-m / 1.5)
            else:  # (1 + z) exp(-z) = -6m / 5
                z = -lambertw((6 / 5) * m / np.e, -1).real - 1
        # A line that falls more steeply than f meets it at the lower end.
        return [np.where(z >= 0, z**2 / (2 * self.nu), np.nan)]

    def shaken(
        self, low: np.ndarray, high: np.ndarray, size: np.ndarray, unit: float, inner_unit: float
    ) -> np.ndarray:
        """Return by how much one rounding may change f: at most as much as the distance itself.

        ``|df/dr| = 2 r |f'(q)|`` is at most 1 for all of them.
        """
        steep = np.minimum(1.0, 2 * np.sqrt(high) * abs(self.slope(low)))
        return unit * (self(low) + steep * np.sqrt(high)) + inner_unit * steep * np.sqrt(size)


class RationalQuadraticKernel(ConvexKernel):
    """``(1 + |x - s|^2 / (2 alpha length^2))^(-alpha)``.

    Parameters
    ----------
    alpha, length : float
    """

    def __init__(self, alpha: float, length: float) -> None:
        self.alpha, self.scale = alpha, 2 * alpha * length**2

    def __call__(self, q: np.ndarray) -> np.ndarray:
        return (1 + q / self.scale) ** -self.alpha

    def slope(self, q: np.ndarray) -> np.ndarray:
        return -self.alpha / self.scale * (1 + q / self.scale) ** (-self.alpha - 1)

    def bend(self, q: np.ndarray) -> np.ndarray:
        start = self.alpha * (self.alpha + 1) / self.scale**2
        return start * (1 + q / self.scale) ** (-self.alpha - 2)

    def stationary(self, m: np.ndarray) -> list[np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            base = (-m * self.scale / self.alpha) ** (-1 / (self.alpha + 1))
        return [(base - 1) * self.scale]
