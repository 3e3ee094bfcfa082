r"""The least value of separable quadratics over ball and box, by weak duality.

.. math:: \min_{\|u\|_p \le 1} \sum_k q_k u_k^2 + c_k u_k
    \ge \sum_k \min_{u_k} [q_k u_k^2 + c_k u_k + \lambda |u_k|^p] - \lambda
    \quad\forall \lambda \ge 0

where each u_k stays in its interval: exact for a box, and for any ball where the sum is convex.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust.bounds._reach import Reach

_POWERS = {"l2": 2, "l1": 1}
_BISECTIONS = 30


def least_quadratic(
    reach: Reach, curvature: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower bounds of ``<curvature, d^2> + <slope, d>`` over the moves d from x in the set.

    Parameters
    ----------
    reach : Reach
    curvature : ndarray of shape (n, n_free)
    slope : ndarray of shape (n, n_free)

    Returns
    -------
    least : ndarray of shape (n,)
        But for rounding in the size of the terms.
    u : ndarray of shape (n, n_free)
        Where it is attained, or about there.
    """
    q, c = curvature * reach.radii**2, slope * reach.radii
    ends = -reach.extents, reach.extents
    if reach.floor is not None and reach.ceiling is not None:
        ends = np.maximum(ends[0], reach.floor), np.minimum(ends[1], reach.ceiling)
    power = _POWERS.get(reach.norm.name)
    best, u = _separable(q, c, np.zeros(len(q)), power, ends)
    if power is None:
        return best, u
    low = np.zeros(len(q))
    high = 2 * (np.linalg.norm(c, axis=1) * power + abs(q).max(axis=1, initial=0.0))
    for _ in range(_BISECTIONS):  # the slope of the bound in lambda is |u|^p - 1
        middle = (low + high) / 2
        lengths = (abs(_moved(q, c, middle[:, None], power, ends)) ** power).sum(axis=1)
        low, high = np.where(lengths <= 1, low, middle), np.where(lengths <= 1, middle, high)
    for penalty in (low, high):
        value, u = _separable(q, c, penalty, power, ends)
        best = np.maximum(best, value)
    return best, reach.project(u)


def _moved(
    q: np.ndarray, c: np.ndarray, price: np.ndarray, power: int, ends: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return about the minimisers for one lambda a row, which decide nothing but the next."""
    if power == 2:
        return (-c / (2 * (q + price).clip(1e-300, None))).clip(*ends)
    end = np.where(c > 0, *ends)
    pull = abs(c) - price
    straight = np.where(pull - q * abs(end) > 0, end, 0.0)
    bent = -np.sign(c) * pull.clip(0, None) / (2 * q.clip(1e-300, None))
    return np.where(q > 0, bent.clip(*ends), straight)


def _separable(
    q: np.ndarray,
    c: np.ndarray,
    penalty: np.ndarray,
    power: int | None,
    ends: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bound for one lambda a row, and the minimisers."""
    price = penalty[:, None]
    bent = q + price if power == 2 else q
    pulls = (c,) if power != 1 else (c + price, c - price)
    safe = np.where(bent > 0, bent, 1.0)
    stationary = [np.where(bent > 0, -pull / (2 * safe), 0.0) for pull in pulls]
    if power == 1:  # each on its own side of 0
        stationary = [stationary[0].clip(0, None), stationary[1].clip(None, 0)]
    options = np.stack([np.broadcast_to(end, q.shape) for end in ends] + [0 * q, *stationary])
    options = options.clip(*ends)
    values = q * options**2 + c * options
    if power is not None:
        values = values + price * abs(options) ** power
    chosen = values.argmin(axis=0)[None]
    u = np.take_along_axis(options, chosen, axis=0)[0]
    return np.take_along_axis(values, chosen, axis=0)[0].sum(axis=1) - penalty, u
