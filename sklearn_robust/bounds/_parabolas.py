r"""Sums of convex kernels: tangents below, parabolas above, which add up to a quadratic form.

With ``r = q - q_0`` for the squared distance q, a convex kernel f lies above its tangent, and on
``q \ge q_{\min}`` below a parabola (`ConvexKernel.parabolas`):

.. math:: f(q) \le f(q_0) + f'(q_0) r + c r^2.

In a move d from x the distance is ``q_x + <g, d> + |d|^2``. With :math:`|d|^2 = \rho^2 / 2 + e`,

.. math:: r^2 = (z + e)^2 \le (1 + t) z^2 + (1 + 1/t) \rho^4 / 4,

so that the parabolas of all centres add up to a quadratic form in d: unlike chords, they know that
no d is the worst one for all of them. Its least value over the Euclidean ball is exact, and bounded
over boxes. What is no convex kernel stays between its lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust.bounds._bounded import EPS
from sklearn_robust.bounds._forms import least_form
from sklearn_robust.bounds._kernel_leaves import Leaf
from sklearn_robust.bounds._kernels import ConvexKernel
from sklearn_robust.bounds._reach import Reach
from sklearn_robust.bounds._relaxations import Relaxation

# Times that parabolas are laid, and the t of the module's formula.
_ROUNDS, _SHARE = 3, 0.1
# Features up to which eigenvalues cost little.
_MOST_FEATURES = 128


def apply(relaxation: Relaxation) -> bool:
    """Whether parabolas can be laid, at a cost that is worth it."""
    small = 1 < len(relaxation.reach.free) <= _MOST_FEATURES
    return small and any(isinstance(leaf.kernel, ConvexKernel) for leaf in relaxation.leaves)


def parabola_bound(
    relaxation: Relaxation, a: np.ndarray, offset: float, known: float | None = None
) -> tuple[float, np.ndarray]:
    """Return a lower bound of ``sum_s a_s K_s + offset``, and the points met, in u.

    Parameters
    ----------
    relaxation : Relaxation
        For which `apply` holds.
    a : ndarray of shape (n_outputs * n_centres,)
    offset : float
    known : float, optional
        A bound <= 0 to better, until it is positive: if parabolas do not, no others are laid.
    """
    best, points = -np.inf, []
    reach, at = relaxation.reach, [leaf.at(leaf.q) for leaf in relaxation.leaves]
    for _ in range(_ROUNDS):
        form, pull, rest = _sum(relaxation, a, at)
        least, u = least_form(reach, form, pull)
        value = least + rest + offset - relaxation.n_roundings * EPS * abs(offset)
        best = float(np.fmax(best, value))
        points.append(u)
        if known is not None and not known < best <= 0:
            break
        d = (reach.radii * u)[None]
        at = [
            leaf.at((q + leaf.moved(d)[0]) / 2)
            for leaf, q in zip(relaxation.leaves, at, strict=True)
        ]
    return best, np.array(points)


def _sum(
    relaxation: Relaxation, a: np.ndarray, at: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the sum of all lines and parabolas as a form, a slope and a constant, in u."""
    each, constant = relaxation.split(a[None], [q[None] for q in at])
    n_free = len(relaxation.reach.free)
    form, pull = np.zeros((n_free, n_free)), np.zeros(n_free)
    rest, rounding = float(constant[0]), float(abs(a) @ relaxation.shaken)
    for leaf, coefficients, q in zip(relaxation.leaves, each, at, strict=True):
        lay = _bent if isinstance(leaf.kernel, ConvexKernel) else _straight
        own = lay(leaf, relaxation.reach, coefficients[0], q)
        form, pull = form + own[0], pull + own[1]
        rest, rounding = rest + own[2], rounding + own[3]
    return form, pull, float(rest - relaxation.n_roundings * rounding)


_Part = tuple[np.ndarray, np.ndarray, float, float]


def _straight(leaf: Leaf, reach: Reach, a: np.ndarray, q: np.ndarray) -> _Part:
    """Return the lines of a kernel: form, slope, constant, and what one rounding may do."""
    m, intercept = leaf.lines(a, q)
    weights = a * m
    form = np.diag(weights.sum() * leaf.curve * reach.radii**2)
    rest = float(weights @ leaf.q + a @ intercept)
    return form, weights @ (leaf.g * reach.radii), rest, float(abs(weights) @ leaf.size)


def _bent(leaf: Leaf, reach: Reach, a: np.ndarray, q: np.ndarray) -> _Part:
    """Return the tangents and parabolas of a convex kernel, as `_straight` does."""
    kernel: Any = leaf.kernel
    f, slope, rho = kernel(q), a * kernel.slope(q), _squared_radius(leaf, reach)
    bent = np.where(a < 0, -a * kernel.parabolas(q, leaf.low), 0.0)
    g, ahead, share = leaf.g * reach.radii, leaf.q - q, 1 + _SHARE
    off = ahead + rho / 2
    form = np.diag(slope.sum() * leaf.curve * reach.radii**2) - share * (g.T * bent) @ g
    pull = slope @ g - 2 * share * (bent * off) @ g
    rest = (a * f).sum() + slope @ ahead - share * (bent @ off**2)
    rest -= (1 + 1 / _SHARE) * rho**2 / 4 * bent.sum()
    rounding = abs(slope) @ leaf.size
    rounding += 16 * EPS * (bent @ (leaf.size / EPS + leaf.high + rho) ** 2)
    return form, pull, float(rest), float(rounding)


def _squared_radius(leaf: Leaf, reach: Reach) -> float:
    """Return how long a move can be, squared, in the metric of a kernel."""
    if reach.norm.name in ("l2", "l1"):
        return float((leaf.curve * reach.radii**2).max()) * (1 + 4 * EPS)
    squares = leaf.curve * (reach.radii * reach.extents) ** 2
    return float(squares.sum()) * (1 + 4 * len(reach.free) * EPS)
