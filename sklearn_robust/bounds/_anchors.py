r"""Ratios of sums of rbf kernels: against one row as an anchor, exponents are linear functions.

.. math:: \frac{K(x, s)}{K(x, a)} = e^{-\gamma (|x - s|^2 - |x - a|^2)}
    = e^{-\gamma (|s|^2 - |a|^2 - 2 \langle x, s - a \rangle)}

so that each ratio is known exactly over balls and boxes, however narrow the kernel is, where lines
around the kernels themselves are far apart.
"""

from __future__ import annotations

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import EPS, enclosing_box

# Rows of the class itself that are tried.
_ANCHORS = 3
# The exponent down to which kernels are normal numbers, with room.
_LOWEST = -600.0
# Absolute, of a sum in units of its anchor: what has underflowed.
_LOST = 1e-40


def ratio_bounds(
    gamma: float,
    centres: np.ndarray,
    shares: np.ndarray,
    x: np.ndarray,
    label: int,
    threat: ThreatModel,
    unit: float = EPS,
) -> np.ndarray:
    """Return lower bounds of ``log(sum_y / sum_c)`` over the set around one sample.

    Parameters
    ----------
    gamma : float
    centres : ndarray of shape (n_centres, n_features)
    shares : ndarray of shape (n_classes, n_centres)
        Weights >= 0 of the kernels in the sum of each class.
    x : ndarray of shape (n_features,)
    label : int
        The class y.
    threat : ThreatModel
        Wider already by what rounding may add to a point of the set; a clip box is left aside.
    unit : float
        The spacing at 1 of the numbers in which the sums are computed.

    Returns
    -------
    bounds : ndarray of shape (n_classes,)
        -inf where nothing is known.
    """
    best = np.full(len(shares), -np.inf)
    q = ((centres - x) ** 2).sum(axis=1)
    with np.errstate(divide="ignore"):
        near = np.log(shares[label]) - gamma * q
    low, high = (end[0] for end in enclosing_box(x[None], threat))
    largest = np.linalg.norm(np.maximum(abs(low), abs(high)))
    radius = np.linalg.norm(np.maximum(high - x, x - low))
    off = gamma * (8 * len(x) + 64) * unit * (largest + np.linalg.norm(centres, axis=1)) ** 2
    epsilon = np.broadcast_to(np.ravel(threat.radii(x[None])), x.shape)
    for a in np.argsort(-near)[:_ANCHORS]:
        deepest = -gamma * (np.sqrt(q[a]) + radius) ** 2 - off[a]
        if not np.isfinite(near[a]) or not deepest > _LOWEST:
            continue
        reach = 2 * gamma * threat.geometry.dual_length((centres - centres[a]) * epsilon)
        spread = (1 + 1e-9) * reach + off + off[a]
        middle = -gamma * (q - q[a])
        ends = np.exp((middle - spread).clip(None, 600)), np.exp((middle + spread).clip(None, 600))
        open_ended = middle + spread > 600
        best = np.fmax(best, _log_ratios(shares, label, *ends, open_ended, unit))
    return best


def _log_ratios(
    shares: np.ndarray,
    label: int,
    least: np.ndarray,
    most: np.ndarray,
    open_ended: np.ndarray,
    unit: float,
) -> np.ndarray:
    """Return bounds of the logarithm of ratios of sums, in units of the anchor."""
    pull = shares[label] - shares
    lead = pull.clip(0, None) @ least + pull.clip(None, 0) @ most
    total = shares @ most
    rounding = (shares.shape[1] + 64) * unit * (total + total[label])
    lead = lead - 2 * rounding - _LOST * shares.shape[1]
    lead[(pull[:, open_ended] < 0).any(axis=1)] = -np.inf
    # log(y / c) = -log(1 - (y - c) / y) >= (y - c) / y
    return np.where(lead > 0, lead / total[label], -np.inf)
