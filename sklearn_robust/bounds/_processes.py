r"""Gaussian processes for several classes: one against the rest, with gradients and bounds.

The latent function of a class has at x the mean f and the variance v. Its share is the expectation
of the logistic function, for which scikit-learn takes a sum h of error functions [1]_:

.. math:: g(f, v) = E_{u \sim N(f, v)} h(u)
    = \tfrac12 \sum_i C_i [1 + \mathrm{erf}(\lambda_i f / \sqrt{1 + 2 \lambda_i^2 v})]

so that derivatives of g are expectations of derivatives of h, a function of one number that rises,
and whose second derivative is positive below 0 and negative above: g rises with f, and over a range
of v has its extremes at the ends.

References
----------
.. [1] C. K. I. Williams, D. Barber, "Bayesian classification with Gaussian processes", PAMI 1998,
   appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import erf

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss
from sklearn_robust.bounds._bounded import EPS, enclosing_box
from sklearn_robust.bounds._feature_maps import drifts
from sklearn_robust.bounds._kernel_scores import KernelModel, least_sums
from sklearn_robust.bounds._kernel_sums import KernelSum
from sklearn_robust.bounds._relaxations import Relaxation

_LAMBDAS = np.array([0.41, 0.4, 0.37, 0.44, 0.39])
_COEFS = np.array([-1854.8214151, 3516.89893646, 221.29346712, 128.12323805, -2010.49422654])
# The largest |h''|, |h'''| / 2 and |h''''| / 4, rounded up: of g by f twice, f and v, v twice.
_BENDS = 0.0975, 0.0611, 0.0314
# Where shares are looked at in a range, and the weights and the constant of a plane.
_GRID = 64
_Plane = tuple[np.ndarray, float]
# What rounding may do to a share, of which large terms cancel.
_ROUNDING = 64 * EPS * float(abs(_COEFS).sum())
_TINY = 1e-300


def share(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return g, and its slopes by the mean and by the variance."""
    width = np.sqrt(1 + 2 * _LAMBDAS**2 * variance[..., None])
    z = _LAMBDAS * mean[..., None] / width
    peak = _COEFS * np.exp(-(z**2)) / np.sqrt(np.pi)
    by_mean = (peak * _LAMBDAS / width).sum(axis=-1)
    by_variance = -(peak * z * _LAMBDAS**2 / width**2).sum(axis=-1)
    return (_COEFS * (1 + erf(z))).sum(axis=-1) / 2, by_mean, by_variance


@dataclass
class Process:
    """The latent function of one class: mean ``k a`` and variance ``own - k M k``.

    With k the kernels of x and all rows, and ``M = W^(1/2) (L L^T)^-1 W^(1/2)``.

    Attributes
    ----------
    kernel : KernelSum
        Between different points.
    noise : float
        What is added where a point meets itself.
    weights : ndarray of shape (n_rows,)
        The a.
    roots : ndarray of shape (n_rows,)
        The diagonal of W^(1/2).
    lower : ndarray of shape (n_rows, n_rows)
        L, with ``L L^T = I + W^(1/2) K W^(1/2)``.
    """

    kernel: KernelSum
    noise: float
    weights: np.ndarray
    roots: np.ndarray
    lower: np.ndarray

    @cached_property
    def _root(self) -> np.ndarray:
        """Return ``L^-1 W^(1/2)``."""
        return solve_triangular(self.lower, np.diag(self.roots), lower=True)

    def explained(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``k M k`` for rows of kernels k, and ``M k``."""
        v = values @ self._root.T
        return (v**2).sum(axis=1), v @ self._root

    @cached_property
    def condition(self) -> float:
        """Return what rounding is multiplied by when L is solved for: at most L's condition."""
        return float(np.sqrt((self.lower**2).sum()))  # eigenvalues of L L^T are at least 1


class _Around(NamedTuple):
    """What is known of a process around one sample: the range of its share, and planes.

    A plane is a function ``<pull, k> + constant`` of the kernels, of which the first pair is below
    the share, the second above: tangents at the sample, and chords of the range of the mean.
    """

    low: float
    high: float
    tangents: tuple[_Plane, _Plane]
    chords: tuple[_Plane, _Plane]


class ProcessShares(KernelModel):
    """The class whose process has the largest share, as of one against the rest.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
    processes : list of Process
        One for each class.
    """

    double = double_inside = False

    def __init__(self, rows: np.ndarray, processes: list[Process]) -> None:
        super().__init__(KernelSum.joined([p.kernel for p in processes]), rows, len(processes))
        self.processes = processes

    def logits(self, X: np.ndarray) -> np.ndarray:
        return np.log(self._shares(X)[0].clip(_TINY, None))

    def _shares(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the shares, their slopes by kernels and by the variance before the data."""
        values = self.kernel(X, self.centres).reshape(len(X), self.n_classes, -1)
        shares, by_own = np.empty((2, len(X), self.n_classes))
        slopes, own = np.empty(values.shape), self.kernel.own(X)[0]
        for c, process in enumerate(self.processes):
            explained, back = process.explained(values[:, c])
            variance = (own[:, c] + process.noise - explained).clip(0, None)
            shares[:, c], by_mean, by_own[:, c] = share(values[:, c] @ process.weights, variance)
            slopes[:, c] = by_mean[:, None] * process.weights - 2 * by_own[:, c, None] * back
        return shares, slopes, by_own

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        shares, slopes, by_own = self._shares(X)
        logits = np.log(shares.clip(_TINY, None))
        direction = loss.direction(logits, y) / shares.clip(_TINY, None)
        weights = (direction[:, :, None] * slopes).reshape(len(X), -1)
        gradient = self.kernel.pulled(X, self.centres, weights)
        own = self.kernel.own(X)[1]
        return logits, gradient + np.einsum("nc,nc,nck->nk", direction, by_own, own)

    def least(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of the differences of shares, and the point where one was seen least."""
        relaxation = self.relaxed(x, threat, np.vstack([self.centres, x]))
        known = self._around(x, threat, relaxation)
        own, n_kernels = known[label], len(self.centres) + 1
        margins = np.array([own.low - other.high for other in known]) - 2 * _ROUNDING
        margins[label], points = np.inf, [x[None]]
        for kind in ("tangents", "chords"):
            left = np.flatnonzero(~(margins > 0))
            if not len(left) or not (self._leads(points[-1], label, left) > 0).all():
                break  # proven, or broken
            below, above = getattr(own, kind)[0], [getattr(known[c], kind)[1] for c in left]
            weights = np.zeros((len(left), self.n_classes, n_kernels))
            weights[:, label] = below[0]
            weights[np.arange(len(left)), left] = [-plane[0] for plane in above]
            offsets = below[1] - np.array([plane[1] for plane in above]) - 2 * _ROUNDING
            bounds, met = least_sums(
                relaxation, weights.reshape(len(left), -1), offsets,
                partial(self._leads, label=label, rivals=left),
            )  # fmt: skip
            margins[left] = np.fmax(margins[left], bounds)
            points.append(met)
        margins[np.isnan(margins)] = -np.inf
        every = np.vstack(points)
        rivals = np.flatnonzero(np.arange(self.n_classes) != label)
        return margins, every[self._leads(every, label, rivals).min(axis=1).argmin()]

    def _leads(self, X: np.ndarray, label: int, rivals: np.ndarray) -> np.ndarray:
        scores = self.logits(X)
        return scores[:, [label]] - scores[:, rivals]

    def _around(self, x: np.ndarray, threat: ThreatModel, relaxation: Relaxation) -> list[_Around]:
        """Return what is known of each process, the sample itself being the last centre."""
        values = self.kernel(x[None], relaxation.centres).reshape(self.n_classes, -1)
        low, high = (end[0] for end in enclosing_box(x[None], threat))
        own = self.kernel.own(np.clip(0.0, low, high)[None])[0][0]  # the least: it rises with |x|
        drift, unit = drifts(self.kernel, x, threat), (len(x) + 64) * self.resolution
        return [
            _one(process, relaxation.part(c), values[c], float(own[c]), float(drift[c]), unit)
            for c, process in enumerate(self.processes)
        ]


def _one(
    process: Process,
    relaxation: Relaxation,
    values: np.ndarray,
    own: float,
    drift: float,
    unit: float,
) -> _Around:
    r"""Return what is known of one process.

    The variance is :math:`\phi^T A \phi` with :math:`A = (I + \Phi^T W \Phi)^{-1} \le I`, so that

    .. math:: 0 \le v - v_0 - 2 \phi_0^T A (\phi - \phi_0) \le |\phi - \phi_0|^2, \quad
        \phi_0^T A \phi = K(x_0, x) - k_0 M k.
    """
    k0, there = values[:-1], float(values[-1])
    explained, back = (part[0] for part in process.explained(k0[None]))
    line = np.append(-2 * back, 2.0)
    mean = np.append(process.weights, 0.0)
    # What is solved for is so in float64; kernels are computed as samples are given.
    off = relaxation.n_roundings * float(np.linalg.norm(relaxation.shaken))
    size = there + explained + k0 @ k0 + abs(line) @ abs(values)
    slack = float(64 * (len(k0) + 64) * EPS * process.condition * size)
    slack += 2 * unit * (there + process.noise + drift)
    drift = (np.sqrt(drift) + off) ** 2
    (f0, f1, t0, t1), _ = relaxation.bound(np.stack([mean, -mean, line, -line]), np.zeros(4), 2)
    f, there = (float(f0), -float(f1)), there - float(explained)
    moved = float(t0 - line @ values), float(-t1 - line @ values + drift)
    root, step = np.sqrt(max(there, 0.0)), np.sqrt(drift)
    least = max(there + moved[0], max(root - step, 0.0) ** 2, own / process.condition**2)
    most = min(there + moved[1], (root + step) ** 2)
    least, most = least + process.noise - slack, most + process.noise + slack
    here = float(mean[:-1] @ k0), there + process.noise
    if not (0 < least <= here[1] <= most and f[0] <= here[0] <= f[1]):
        # What cancels to nothing is nothing to divide by.
        nothing = (np.zeros(len(values)), -np.inf), (np.zeros(len(values)), np.inf)
        return _Around(-np.inf, np.inf, nothing, nothing)
    tangents = _tangents(values, mean, line, here, (f, (least, most)), (-slack, drift + slack))
    low, high, chords = _chords(mean, f, (least, most))
    return _Around(low, high, tangents, chords)


def _tangents(
    values: np.ndarray,
    mean: np.ndarray,
    line: np.ndarray,
    here: tuple[float, float],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    beside: tuple[float, float],
) -> tuple[_Plane, _Plane]:
    """Return planes around a share by its slopes at the sample and the most that it can bend.

    Parameters
    ----------
    values : ndarray
        The kernels at the sample.
    mean, line : ndarray
        The weights of the kernels in the mean, and in the linear part of the variance.
    here, ranges : tuple
        The mean and the variance at the sample, and their ranges.
    beside : tuple
        The range of what the variance changes by beside its linear part.
    """
    start, *slopes = (float(v) for v in share(np.array(here[0]), np.array(here[1])))
    df, dv = (max(r[1] - v, v - r[0]) for v, r in zip(here, ranges, strict=True))
    bend = _BENDS[0] * df**2 / 2 + _BENDS[1] * df * dv + _BENDS[2] * dv**2 / 2
    pull = slopes[0] * mean + slopes[1] * line
    bend += 8 * EPS * len(values) * float(abs(pull) @ abs(values))
    ends = sorted(slopes[1] * end for end in beside)
    shift = start - float(pull @ values)
    return (pull, shift + ends[0] - bend), (pull, shift + ends[1] + bend)


def _chords(
    mean: np.ndarray, f: tuple[float, float], variances: tuple[float, float]
) -> tuple[float, float, tuple[_Plane, _Plane]]:
    """Return the range of a share, and planes of the slope of its chord over the range of the mean.

    Between two of n numbers a function is off its chord by ``|h''| step^2 / 8`` at the most.
    """
    means = np.linspace(*f, _GRID)
    ends = [share(means, np.full(_GRID, variance))[0] for variance in variances]
    low, high = np.minimum(*ends), np.maximum(*ends)
    width = f[1] - f[0]
    off = _BENDS[0] * (width / (_GRID - 1)) ** 2 / 8 + 16 * EPS * (1 + abs(means).max())
    planes = []
    for side, sign in ((low, -1), (high, 1)):
        slope = (side[-1] - side[0]) / width if width > 0 else 0.0
        rest = (side - slope * means).max() if sign > 0 else (side - slope * means).min()
        planes.append((slope * mean, float(rest + sign * off)))
    return float(low[0]), float(high[-1]), (planes[0], planes[1])
