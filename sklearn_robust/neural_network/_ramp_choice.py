"""``input_ramp="auto"``: whether a ramp stands in front of the network, and where its knots lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel

# The knots lie at this multiple of epsilon from the ends of the range, so that a value at an end
# does not reach them even in a training at a slightly larger radius.
REACH = 1.1
# A ramp is put in front where it leaves the adversary less than this share of its influence.
# Chosen between data that gain (digits, .6) and data that do not (uniform values, .8).
LARGEST_SHARE = 2 / 3
# As many values tell the influence well.
_VALUES = 2_000_000

Ends = tuple[np.ndarray, np.ndarray]


def choose_ramp(threat: ThreatModel, X: np.ndarray) -> Any:
    """Return the knots of the ramp that suits training data X at a radius; None: better without.

    Parameters
    ----------
    threat : ThreatModel
        At the full epsilon.
    X : ndarray of shape (n_samples, ...)

    Returns
    -------
    knots : (low, high) or None
        Numbers, or an array of shape (n_features,) each where ranges or radii differ.
    """
    if threat.is_null or threat.norm != "linf" or threat.moves is not None:
        return None
    flat = X.reshape(len(X), -1)
    floor, ceiling = value_ranges(flat, threat.clip_values)
    reach = REACH * np.ravel(threat.epsilon)
    wide = ceiling - floor > 2 * reach
    if not wide.any():
        return None
    low, high = np.where(wide, floor + reach, floor), np.where(wide, ceiling - reach, ceiling)
    flat = flat[:: max(flat.size // _VALUES, 1)]
    if influence_kept(flat, threat, (floor, ceiling), (low, high), wide) >= LARGEST_SHARE:
        return None
    if low.size == 1:
        return float(low[0]), float(high[0])
    empty = low >= high  # a feature of one value: passed on as it is, but for a shift
    return low, np.where(empty, low + 1, high)


def describe_knots(knots: Any) -> str:
    """Return a few words on what `choose_ramp` has returned."""
    if knots is None:
        return "none, the values of X do not lie near the ends of their range"
    if np.ndim(knots[0]):
        return f"knots of each of {len(knots[0])} features"
    return f"knots {knots[0]:.6g} and {knots[1]:.6g}"


def value_ranges(X: np.ndarray, clip_values: Any) -> Ends:
    """Return the ends of the range of values, as arrays of shape (1,) or (n_features,).

    Without `clip_values` they are those of the data: one range if at least half of the features
    that vary span half of it, as pixels do, else one for each feature.
    """
    if clip_values is not None:
        floor, ceiling = (np.unique(end) for end in clip_values)
        if len(floor) == len(ceiling) == 1:
            return floor.astype(float), ceiling.astype(float)
        shape = (X.shape[1],)
        low, high = (np.broadcast_to(np.ravel(end), shape).astype(float) for end in clip_values)
        return low, high
    low, high = X.min(axis=0).astype(float), X.max(axis=0).astype(float)
    spans = (high - low)[high > low]
    if len(spans) and np.median(spans) >= (high.max() - low.min()) / 2:
        return low.min(keepdims=True), high.max(keepdims=True)
    return low, high


def influence_kept(
    X: np.ndarray, threat: ThreatModel, ends: Ends, knots: Ends, wide: np.ndarray
) -> float:
    r"""Return the share of the adversary's influence that a ramp h leaves.

    .. math:: \frac{\sum_j E[h(x_j + \epsilon_j) - h(x_j - \epsilon_j)] / \sum_j sd(h(x_j))}
              {\sum_j E[x_j^+ - x_j^-] / \sum_j sd(x_j)}

    with x+ and x- the farthest points within the range, and each feature in units of its range: how
    far the adversary moves what the network sees, over how far the data vary there, and the same
    without the ramp. Features whose range is narrower than the reach, not `wide`, are left out.
    """
    epsilon, mask = np.ravel(threat.epsilon), np.broadcast_to(wide, X.shape[1])
    floor, ceiling, low, high = (np.broadcast_to(v, X.shape[1])[mask] for v in (*ends, *knots))
    X, epsilon = X[:, mask], np.broadcast_to(epsilon, len(mask))[mask]
    kept = _influence(X, epsilon, low, high)
    before = _influence(X, epsilon, floor, ceiling)
    return kept / before if before > 0 else 1.0


def _influence(X: np.ndarray, epsilon: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Return the mean move over the mean standard deviation, behind a ramp from `low` to `high`."""

    def ramp(values: np.ndarray) -> np.ndarray:
        return np.clip((values - low) / (high - low), 0, 1)

    spread = ramp(X).std(axis=0).sum()
    moved = (ramp(X + epsilon) - ramp(X - epsilon)).mean(axis=0).sum()
    return float(moved / spread) if spread > 0 else np.inf
