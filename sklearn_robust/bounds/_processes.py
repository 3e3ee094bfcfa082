r"""Gaussian processes for several classes: one against the rest, with gradients.

The latent function of a class has at x the mean ``f`` and the variance ``s^2``. Its share is the
expectation of the logistic function, which scikit-learn takes as a sum of error functions [1]_:

.. math:: p = \tfrac12 \sum_i C_i [1 + \mathrm{erf}(\lambda_i f / \sqrt{1 + 2 \lambda_i^2 s^2})]

References
----------
.. [1] C. K. I. Williams, D. Barber, "Bayesian classification with Gaussian processes", PAMI 1998,
   appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import erf

from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._kernels import RBFKernel

_LAMBDAS = np.array([0.41, 0.4, 0.37, 0.44, 0.39])
_COEFS = np.array([-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654])
_TINY = 1e-300


@dataclass
class Process:
    """The latent function of one class: mean ``K a`` and variance ``own - |L^-1 (w K)|^2``.

    Attributes
    ----------
    gamma, factor : float
        Of the kernel ``factor * exp(-gamma |x - s|^2)``.
    weights : ndarray of shape (n_rows,)
    roots : ndarray of shape (n_rows,)
    lower : ndarray of shape (n_rows, n_rows)
        The Cholesky factor L.
    own : float
        The variance before any sample was seen.
    """

    gamma: float
    factor: float
    weights: np.ndarray
    roots: np.ndarray
    lower: np.ndarray
    own: float

    def share(self, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the share at samples of such squared distances, and its slopes by these."""
        kernel = RBFKernel(self.gamma)
        values = self.factor * kernel(squares)
        v = solve_triangular(self.lower, (self.roots * values).T, lower=True)
        mean, variance = values @ self.weights, self.own - (v**2).sum(axis=0)
        width = np.sqrt(1 + 2 * _LAMBDAS**2 * variance[:, None])
        z = _LAMBDAS * mean[:, None] / width
        peak = _COEFS * np.exp(-(z**2)) / np.sqrt(np.pi)
        by_mean = (peak * _LAMBDAS / width).sum(axis=1)
        by_variance = -(peak * z * _LAMBDAS**2 / width**2).sum(axis=1)
        back = self.roots * solve_triangular(self.lower, v, lower=True, trans="T").T
        each = by_mean[:, None] * self.weights - 2 * by_variance[:, None] * back
        share = (_COEFS * (1 + erf(z))).sum(axis=1) / 2
        return share, each * self.factor * kernel.slope(squares)


class ProcessShares:
    """The class whose process has the largest share; a `DifferentiableModel` in numpy.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    processes : list of Process
        One for each class.
    """

    labels = staticmethod(np.asarray)

    def __init__(self, rows: np.ndarray, processes: list[Process]) -> None:
        self.rows, self.processes, self.n_classes = rows, processes, len(processes)

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return np.log(self._shares(X)[0].clip(_TINY, None))

    def _shares(self, X: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        squares = RBFKernel(1.0).inner(X, self.rows)
        found = [process.share(squares) for process in self.processes]
        return np.array([share for share, _ in found]).T, [slope for _, slope in found]

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        shares, slopes = self._shares(X)
        logits = np.log(shares.clip(_TINY, None))
        direction = loss.direction(logits, y) / shares.clip(_TINY, None)
        pull = sum(direction[:, c, None] * slope for c, slope in enumerate(slopes))
        return logits, 2 * (X * np.sum(pull, axis=1)[:, None] - pull @ self.rows)
