r"""Sums of Gaussian kernels: tangents below, parabolas above, which add up to a quadratic form.

With ``r = q - q_0`` for the squared distance q, the kernel ``f = exp(-\gamma q)`` lies above its
tangent, and on ``q \ge q_{\min}`` below a parabola:

.. math:: f(q) \le f(q_0) [1 - \gamma r + \varphi(\gamma (q_{\min} - q_0)) \gamma^2 r^2],
          \quad \varphi(s) = (e^{-s} - 1 + s) / s^2 \text{ falls with } s.

In a move d from x the distance is ``q_x + <g, d> + |d|^2``. With :math:`|d|^2 = \rho^2 / 2 + e`,

.. math:: r^2 = (z + e)^2 \le (1 + t) z^2 + (1 + 1/t) \rho^4 / 4,

so that the parabolas of all centres add up to a quadratic form in d: unlike chords, they know that
no d is the worst one for all of them. Its least value over the Euclidean ball is exact, and bounded
over boxes.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust.bounds._bounded import EPS
from sklearn_robust.bounds._forms import least_form
from sklearn_robust.bounds._kernels import RBFKernel
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.bounds._relaxations import Relaxation

# Times that parabolas are laid, and the t of the module's formula.
_ROUNDS, _SHARE = 3, 0.1
# Features up to which eigenvalues cost little.
_MOST_FEATURES = 128


def apply(relaxation: Relaxation) -> bool:
    """Whether parabolas can be laid, at a cost that is worth it."""
    reach = relaxation.reach
    small = 1 < len(reach.free) <= _MOST_FEATURES
    return isinstance(relaxation.kernel, RBFKernel) and small


def parabola_bound(
    relaxation: Relaxation, a: np.ndarray, offset: float
) -> tuple[float, np.ndarray]:
    """Return a lower bound of ``sum_s a_s f(q_s) + offset``, and the points met, in u.

    Parameters
    ----------
    relaxation : Relaxation
        For which `apply` holds.
    a : ndarray of shape (n_centres,)
    offset : float
    """
    best, points = -np.inf, []
    q0, reach = relaxation.q.clip(relaxation.low, relaxation.high), relaxation.reach
    for _ in range(_ROUNDS):
        form, pull, rest = _sum(relaxation, a, q0)
        least, u = least_form(reach, form, pull)
        value = least + rest + offset - relaxation.n_roundings * EPS * abs(offset)
        best = float(np.fmax(best, value))
        points.append(u)
        d = reach.radii * u
        q0 = (q0 + relaxation.q + relaxation.g @ d + d @ d) / 2
        q0 = q0.clip(relaxation.low, relaxation.high)
    return best, np.array(points)


def _sum(
    relaxation: Relaxation, a: np.ndarray, q0: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the sum of all lines and parabolas as a form, a slope and a constant, in u."""
    kernel, reach = relaxation.kernel, relaxation.reach
    f, slope, rho = kernel(q0), a * kernel.slope(q0), _squared_radius(reach)
    gamma = kernel.gamma  # type: ignore[attr-defined]
    bent = np.where(a < 0, -a * f * gamma**2 * _phi(gamma * (relaxation.low - q0)), 0.0)
    g = relaxation.g * reach.radii
    ahead, off = relaxation.q - q0, relaxation.q - q0 + rho / 2
    share = 1 + _SHARE
    form = np.diag(slope.sum() * reach.radii**2) - share * (g.T * bent) @ g
    pull = slope @ g - 2 * share * (bent * off) @ g
    rest = (a * f).sum() + slope @ ahead - share * (bent @ off**2)
    rest -= (1 + 1 / _SHARE) * rho**2 / 4 * bent.sum()
    size = relaxation.size / EPS
    terms = (abs(a) * relaxation.terms).sum() + abs(slope) @ relaxation.size
    terms += 16 * EPS * (bent @ (size + relaxation.high + rho) ** 2)
    return form, pull, float(rest - relaxation.n_roundings * terms)


def _squared_radius(reach: Reach) -> float:
    """Return how long a move can be, squared."""
    if reach.norm.name in ("l2", "l1"):
        return float(reach.radii.max()) ** 2 * (1 + 4 * EPS)
    return float(((reach.radii * reach.extents) ** 2).sum()) * (1 + 4 * len(reach.free) * EPS)


def _phi(s: np.ndarray) -> np.ndarray:
    """Return upper bounds of ``(exp(-s) - 1 + s) / s^2`` for s <= 0, rounding included."""
    safe = np.where(abs(s) < 1e-4, -1.0, s)
    # The difference has at most the error of its terms, 1e-16 / 1e-4 of it here.
    wide = (np.expm1(-safe) + safe) / safe**2 * (1 + 1e-10)
    return np.where(abs(s) < 1e-4, np.exp(abs(s)) / 2 * (1 + 8 * EPS), wide)
