r"""The sets of inputs over which networks are bounded: what linear functions attain on them.

The bounds need two things of a set: its enclosing box, and the minimum of ``<a, x>`` for many a.
Both come from the norm's own geometry, the clip box included: along feature j the unit ball reaches
as far as the dual length of the unit vector e_j. Linear functions over linf's ball and box, a box
again, are plain sums.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sklearn_robust._arrays import per_feature
from sklearn_robust._norms import BUILT_IN
from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel

# Attacks store their points in float32, whose rounding ThreatModel.contains forgives; the sets are
# wider by as much, so that what is certified also holds for those points.
STORED = 4 * float(np.finfo(np.float32).eps)


class Region(Protocol):
    """A set of inputs around each of n samples."""

    is_box: bool
    low: Tensor
    high: Tensor

    def minimum(self, a: Tensor) -> Tensor:
        """Return ``min <a[i, s], x>`` over set i for `a` of shape (n, specs, ...): (n, specs)."""


class Box:
    """The inputs between `low` and `high`."""

    is_box = True

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high

    def minimum(self, a: Tensor) -> Tensor:
        a = a.flatten(2)
        centre = ((self.low + self.high) / 2).flatten(1)[:, :, None]
        radius = ((self.high - self.low) / 2).flatten(1)[:, :, None]
        return (a @ centre - a.abs() @ radius)[:, :, 0]


class BallAndBox:
    """A(x_i) for a norm other than linf: ball, intersected with the clip box where there is one."""

    is_box = False

    def __init__(self, X: Tensor, threat: ThreatModel, widening: Tensor, hull: Box) -> None:
        self.X, self.threat, self.widening = X, threat, widening
        self.low, self.high = hull.low, hull.high
        self.epsilon = per_feature(threat.epsilon, X)
        # Dual lengths are sums over the features, and the maximisers over ball and box solve for a
        # scale or threshold from such sums. The value is concave in the radius, so a relative
        # error of the radius is no larger in the value.
        self._outwards = 1 + 8 * math.prod(X.shape[1:]) * torch.finfo(X.dtype).eps

    def minimum(self, a: Tensor) -> Tensor:
        flat = a.flatten(2)
        moved = self.reach(a)
        stored = (flat.abs() @ self.widening.flatten(1)[:, :, None])[:, :, 0]
        return (flat @ self.X.flatten(1)[:, :, None])[:, :, 0] - moved - stored

    def reach(self, a: Tensor) -> Tensor:
        """Return ``max <-a[i, s], x - x_i>`` over A(x_i), from above: (n, specs)."""
        flat = a.flatten(2)
        if self.threat.clip_values is None:
            return self.ball_reach(flat.flatten(0, 1)).reshape(flat.shape[:2])
        pull = -a.detach().flatten(0, 1)
        centres = self.X.repeat_interleave(a.shape[1], dim=0)
        furthest = self.threat.around(centres).furthest(pull.reshape(centres.shape))
        delta = (furthest - centres).reshape(flat.shape)
        return self._outwards * -(flat * delta).sum(2)

    def ball_reach(self, a: Tensor) -> Tensor:
        """Return ``max <a_k, delta>`` over the ball, without the box, for the rows of `a`."""
        weights = a.flatten(1) * self.epsilon.reshape(-1)
        # The length of 0 has no gradient under l2, which a logit minus itself would ask for.
        zero = (weights == 0).all(1)
        length = self.threat.geometry.dual_length(weights.masked_fill(zero[:, None], 1.0))
        return self._outwards * length.masked_fill(zero, 0.0)

    def widest_reach(self, a: Tensor) -> Tensor | None:
        """Return `ball_reach` for rows of any length, every feature taken as the widest one.

        None for a registered norm, which may treat features differently or count them.
        """
        if self.threat.norm not in BUILT_IN:
            return None
        return self._outwards * self.threat.geometry.dual_length(a.flatten(1)) * self.epsilon.max()


def make_region(X: Tensor, threat: ThreatModel, *, rounding: bool = True) -> Region:
    """Return the set from which the adversary may choose around each row of `X`.

    Parameters
    ----------
    X : Tensor of shape (n_samples, ...)
    threat : ThreatModel
    rounding : bool
        Widen the set by what storing a point of it in float32 may add.

    Notes
    -----
    The formulas of a registered norm are taken as they are: where `dual_length` or `steepest` falls
    short of the maximum, so do the bounds.
    """
    extents = per_feature(_extents(threat, X), X)
    down, up = (side * extents for side in threat.sides(X))
    widening = (STORED if rounding else 0.0) * (X.abs() + 3 * torch.maximum(down, up))
    low, high = X - down - widening, X + up + widening
    if threat.clip_values is not None:
        floor, ceiling = (per_feature(v, X) for v in threat.clip_values)
        ends = (torch.where(end.isfinite(), end.abs(), 0.0) for end in (floor, ceiling))
        margin = (STORED if rounding else 0.0) * torch.maximum(*ends)
        low, high = torch.maximum(low, floor - margin), torch.minimum(high, ceiling + margin)
    hull = Box(low, high)
    return hull if threat.norm == "linf" else BallAndBox(X, threat, widening, hull)


def _extents(threat: ThreatModel, X: Tensor) -> float | np.ndarray:
    """Return how far the unit ball reaches along each feature."""
    if threat.norm in BUILT_IN:
        return 1.0
    n, length = math.prod(X.shape[1:]), threat.geometry.dual_length
    return np.concatenate([length(_unit_vectors(part, n)) for part in pieces(n, 8 * n)])


def _unit_vectors(part: slice, n: int) -> np.ndarray:
    return np.eye(part.stop - part.start, n, part.start)
