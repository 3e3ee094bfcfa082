r"""The least value of a quadratic form, convex or not, over a ball or a box, by weak duality.

.. math:: \min_{u \in U} u^T Q u + c^T u \ge \min_u u^T (Q + \Lambda) u + c^T u - b(\Lambda)

with a diagonal :math:`\Lambda \ge 0` for which the sum is convex: in a box
:math:`b = \sum_k \Lambda_k`; in the Euclidean ball :math:`\Lambda = \lambda I` and
:math:`b = \lambda`, which is exact (the trust region problem).
"""

from __future__ import annotations

import numpy as np

from sklearn_robust.bounds._reach import Reach

_EPS = float(np.finfo(np.float64).eps)
_BISECTIONS = 60
# Times that the multipliers of a box are improved.
_UPDATES = 12


def least_form(reach: Reach, Q: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a lower bound of ``u Q u + <c, u>`` over the set, and where about it is attained.

    Parameters
    ----------
    reach : Reach
    Q : ndarray of shape (n_free, n_free)
        Symmetric.
    c : ndarray of shape (n_free,)

    Returns
    -------
    least : float
        Rounding included.
    u : ndarray of shape (n_free,)
    """
    if not len(c):
        return 0.0, c
    if not (np.isfinite(Q).all() and np.isfinite(c).all()):  # overflow
        return -np.inf, np.zeros(len(c))
    found = [_over_ball(Q, c)] if reach.norm.name in ("l2", "l1") else []
    if reach.norm.name != "l2" or reach.floor is not None:  # or the ball is all there is
        found.append(_over_box(reach, Q, c))
    least, u = max(found, key=lambda pair: pair[0])
    return least, reach.project(u[None])[0]


def _over_ball(Q: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray]:
    values, vectors = np.linalg.eigh(Q)
    pull, floor = vectors.T @ c, max(0.0, -values[0])
    low, high = floor, floor + np.linalg.norm(c) / 2 + _EPS * abs(values).max() + 1e-300

    def at(price: float) -> np.ndarray:
        return -pull / (2 * (values + price).clip(1e-300, None))

    with np.errstate(over="ignore"):
        if np.linalg.norm(at(floor)) > 1:
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                low, high = (middle, high) if np.linalg.norm(at(middle)) > 1 else (low, middle)
        else:
            high = floor
        u = at(high)
    left = 1 - u @ u
    if high > 0 and left > 0:  # the hard case: on to the sphere along the lowest direction
        u = _to_sphere(u, left)
    bound = _proof(Q, c, np.full(len(c), high), vectors @ at(high), high)
    return bound, vectors @ u


def _to_sphere(u: np.ndarray, left: float) -> np.ndarray:
    """Return u moved along its first coordinate until its length is 1."""
    out = u.copy()
    out[0] = np.copysign(np.sqrt(u[0] ** 2 + left), u[0])
    return out


def _over_box(reach: Reach, Q: np.ndarray, c: np.ndarray) -> tuple[float, np.ndarray]:
    low, high = -reach.extents, reach.extents
    if reach.floor is not None and reach.ceiling is not None:
        low, high = np.maximum(low, reach.floor), np.minimum(high, reach.ceiling)
    # In coordinates in which the box is [-1, 1]; half a side is a little longer than it was.
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 8 * _EPS)
    shift = middle @ Q @ middle + c @ middle
    slack = 8 * len(c) * _EPS * (abs(middle) @ abs(Q) @ abs(middle) + abs(c) @ abs(middle))
    form, pull = half[:, None] * Q * half, half * (c + 2 * Q @ middle)
    least, v = -np.inf, np.zeros(len(c))
    lowest = np.linalg.eigvalsh(form)[0]
    prices = np.full(len(c), max(0.0, -lowest) + 1e-3 * abs(pull) + 1e-300)
    for _ in range(_UPDATES):
        prices = prices + max(0.0, -np.linalg.eigvalsh(form + np.diag(prices))[0])
        prices = prices + len(c) * 1e-12 * abs(form).max(initial=1e-300)
        point = _solved(form + np.diag(prices), -pull / 2)
        bound = _proof(form, pull, prices, point, float(prices.sum()))
        if bound > least:
            least, v = bound, point
        # At the best prices a point is at an end of each feature that has one.
        prices = prices * abs(point).clip(0.1, 10)
    return float(shift + least - slack), middle + half * v.clip(-1, 1)


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return a solution, of the least length where there is no single one."""
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, right, rcond=None)[0]


def _proof(Q: np.ndarray, c: np.ndarray, prices: np.ndarray, u: np.ndarray, budget: float) -> float:
    """Return what prices and a point prove, wherever they come from, with u in [-1, 1].

    The sum with the prices is made convex, so that it lies above its tangent at the point.
    """
    if not np.isfinite(u).all():
        return -np.inf
    u = u.clip(-1e6, 1e6)
    convex = Q + np.diag(prices)
    size = abs(convex).sum(axis=1).max() + abs(Q).sum(axis=1).max()
    # A shift of the eigenvalues costs as much for each feature, as u is in [-1, 1].
    lacking = max(0.0, -float(np.linalg.eigvalsh(convex)[0])) + 8 * len(c) * _EPS * size
    gradient = 2 * convex @ u + c + 2 * lacking * u
    value = u @ convex @ u + lacking * (u @ u) + c @ u
    rest = -abs(gradient).sum() - gradient @ u
    terms = abs(u) @ abs(convex) @ abs(u) + abs(c) @ abs(u) + budget + lacking * (u @ u)
    rounding = 16 * len(c) * _EPS * (terms + abs(gradient) @ (1 + abs(u)))
    return float(value + rest - budget - lacking * len(c) - rounding)
