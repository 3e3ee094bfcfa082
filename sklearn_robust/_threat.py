r"""The threat model: the set from which the adversary may choose its input.

.. math:: A(x) = \{x + \epsilon \circ u : \|u\| \le 1\} \cap [\mathrm{low}, \mathrm{high}]

The radius epsilon is one number or one per feature (0: the adversary cannot touch it), in the
units of X as passed. Everything below works on u, so that the formulas on the unit ball serve both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_robust._arrays import (
    Array,
    as_floats,
    as_like,
    namespace,
    per_feature,
    rows,
    spacing,
    to_numpy,
)
from sklearn_robust._norms import NORMS, Norm, power
from sklearn_robust._validation import (
    check_clip_values,
    check_epsilon,
    check_in_range,
    check_norm,
    check_spared,
    in_order,
    rounding,
)


@dataclass(frozen=True)
class ThreatModel:
    """Ball and box around each sample; checked when made.

    Parameters
    ----------
    epsilon : float or array of shape (n_features,) or of one sample's shape
        Radius in the units of X; an array scales the ball by feature.
    norm : {"linf", "l2", "l1"}, default="linf"
    clip_values : None or (low, high), default=None
        Valid range of the data, each a scalar or one value per feature. None: no box. A feature
        whose ends are equal stays where it is.

    Raises
    ------
    ValueError
        If a value is out of range, or a pandas Series goes by names: see `for_columns`.

    Examples
    --------
    >>> from sklearn_robust.attacks import ThreatModel
    >>> ThreatModel([0.1, 0.2], clip_values=(0, 1)).scaled(2).epsilon
    array([0.2, 0.4])
    """

    epsilon: Any
    norm: str = "linf"
    clip_values: Any = None

    def __post_init__(self) -> None:
        epsilon, clip_values = _in_order(None, self.epsilon, self.clip_values)
        object.__setattr__(self, "epsilon", check_epsilon(epsilon))
        object.__setattr__(self, "norm", check_norm(self.norm))
        object.__setattr__(self, "clip_values", check_clip_values(clip_values))

    @classmethod
    def for_columns(
        cls, columns: Any, epsilon: Any, norm: str = "linf", clip_values: Any = None
    ) -> ThreatModel:
        """Return a threat model, values by name in it brought into the order of `columns`.

        `columns` are the names of the columns of X, None if it has none.
        """
        epsilon, clip_values = _in_order(columns, epsilon, clip_values)
        return cls(epsilon, norm, clip_values)

    @property
    def is_null(self) -> bool:
        """Whether the adversary can change nothing at all."""
        return not np.any(self.epsilon)

    @property
    def geometry(self) -> Norm:
        """The norm's formulas on the unit ball."""
        return NORMS[self.norm]

    def scaled(self, factor: float) -> ThreatModel:
        """Return the same threat with epsilon multiplied by `factor`."""
        return replace(self, epsilon=self.epsilon * factor)

    def around(self, X: Array) -> Neighbourhood:
        """Return the sets A(x_i) for the rows of `X`, ready to project onto."""
        return Neighbourhood(self, X)

    def within(self, low: np.ndarray, high: np.ndarray) -> ThreatModel:
        """Return the same threat in a box that is no larger than these ends by feature."""
        if self.clip_values is not None:
            low = np.maximum(np.ravel(self.clip_values[0]), low)
            high = np.minimum(np.ravel(self.clip_values[1]), high)
        return replace(self, clip_values=(low, high))

    def sparing(self, features: np.ndarray) -> ThreatModel:
        """Return the same threat with radius 0 and no box for some features, given by a mask.

        One number as epsilon is meant for what may move; given per feature it must be 0 there.
        """
        if not features.any():
            return self
        epsilon = np.broadcast_to(np.ravel(self.epsilon), features.shape)
        if np.ndim(self.epsilon):
            check_spared(epsilon, features)
        clip = self.clip_values
        if clip is not None:
            ends = zip(clip, (-np.inf, np.inf), strict=True)
            clip = tuple(np.where(features, end, np.ravel(bound)) for bound, end in ends)
        return replace(self, epsilon=np.where(features, 0.0, epsilon), clip_values=clip)

    def check_data(self, X: Array) -> None:
        """Raise ValueError if `X` has values outside `clip_values` or does not fit epsilon."""
        check_epsilon(self.epsilon, int(np.prod(X.shape[1:])))
        if self.clip_values is not None:
            check_in_range(X, self.clip_values)

    def size(self, X_adv: Array, X: Array) -> np.ndarray:
        """Return how far each ``X_adv[i]`` is from ``X[i]`` in units of epsilon (1: on the sphere).

        A change in a feature with epsilon 0 counts as inf. Computed in float64.
        """
        delta = rows(_precise(X_adv)) - rows(_precise(X))
        epsilon = np.broadcast_to(np.ravel(self.epsilon), delta.shape[1:])
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(delta == 0, 0.0, delta / epsilon)
        return self.geometry.length(u)

    def contains(self, X_adv: Array, X: Array) -> np.ndarray:
        """Return for each sample whether ``X_adv[i]`` lies in ball and box.

        The slack is what rounding alone can add: a few units in the last place of the values of X
        for every coordinate that moved, as X + delta is stored in the precision of `X_adv`.
        """
        resolution = 4 * spacing(X_adv)
        a, b = rows(_precise(X_adv)), rows(_precise(X))
        moved = abs(a - b)
        ulp = resolution * (abs(b) + moved) * (moved > 0)
        inside = self.size(b + np.sign(a - b) * (moved - ulp).clip(0), b) <= 1 + resolution
        if self.clip_values is not None:
            low, high = (np.ravel(v) for v in self.clip_values)
            slack = rounding(low, high, X_adv)
            inside &= ((a >= low - slack) & (a <= high + slack)).all(1)
        return inside


def _in_order(columns: Any, epsilon: Any, clip_values: Any) -> tuple[Any, Any]:
    """Return epsilon and clip_values with each Series in the order of the columns."""
    if isinstance(clip_values, tuple | list) and len(clip_values) == 2:
        ends = zip(clip_values, (-np.inf, np.inf), strict=True)
        clip_values = tuple(in_order(bound, columns, "clip_values", end) for bound, end in ends)
    return in_order(epsilon, columns, "epsilon"), clip_values


class Neighbourhood:
    """The sets A(x_i) around one batch, with what does not change between steps computed once."""

    def __init__(self, threat: ThreatModel, X: Array) -> None:
        self.threat, self.X = threat, as_floats(X)
        X = self.X
        self._norm = threat.geometry
        self.power = power(threat.norm, math.prod(X.shape[1:]))
        self.epsilon = per_feature(threat.epsilon, X)
        self._low = self._high = None
        if threat.clip_values is not None:
            self._low, self._high = (per_feature(v, X) for v in threat.clip_values)
        if self.is_box:
            # Ball and box are both boxes: two bounds hold everything.
            xp = namespace(X)
            ones = xp.broadcast_to(as_like(1, X), (1, math.prod(X.shape[1:])))
            side = self.epsilon * self._norm.steepest(ones).reshape(X.shape[1:])
            self._floor, self._ceiling = X - side, X + side
            if self._low is not None:
                self._floor = xp.maximum(self._floor, self._low)
                self._ceiling = xp.minimum(self._ceiling, self._high)

    @property
    def is_box(self) -> bool:
        """Whether the ball is a box, in which each feature moves as if it were alone."""
        return self.power == math.inf

    @property
    def is_pointed(self) -> bool:
        """Whether the ball has its corners on the axes, so that steepest steps move one feature."""
        return self.power == 1

    def project(self, X_adv: Array, radius: Array | None = None) -> Array:
        """Return the nearest point to each ``X_adv[i]`` in A(x_i); distances are taken in u.

        With `radius`, of shape (n_samples,) and > 0, the ball of sample i has that radius in u.
        """
        if radius is None and self.is_box:
            return X_adv.clip(self._floor, self._ceiling)
        z = self.to_unit(X_adv)
        capacity = self._capacity(z)
        if radius is None:
            return self.from_unit(self._norm.project(z, capacity))
        r = radius[:, None]
        return self.from_unit(
            r * self._norm.project(z / r, None if capacity is None else capacity / r)
        )

    def to_unit(self, X_adv: Array) -> Array:
        """Return u, in rows, with ``X_adv = X + epsilon * u``; 0 where epsilon is 0."""
        return rows(self._divide(X_adv - self.X))

    def from_unit(self, u: Array) -> Array:
        """Return ``X + epsilon * u`` clipped to the box."""
        X_adv = self.X + self.epsilon * u.reshape(self.X.shape)
        return X_adv if self._low is None else X_adv.clip(self._low, self._high)

    def sample(self, generator: Any) -> Array:
        """Draw uniformly from the ball, then project onto the box.

        The ball is that of the features that may move: in one of more dimensions, the others would
        take most of the length.
        """
        X = rows(self.X)
        radii = np.broadcast_to(np.ravel(self.threat.epsilon), X.shape[1:])
        if self.is_box or radii.all():
            return self.from_unit(self._norm.sample(X, generator))
        u, movable = namespace(X).zeros_like(X), radii.nonzero()[0]
        if len(movable):
            u[:, movable] = self._norm.sample(X[:, movable], generator)
        return self.from_unit(u)

    def direction(self, gradient: Array) -> Array:
        """Return the unit step of steepest ascent, ignoring the box."""
        # In a box signs alone decide: those of tiny gradients are not to underflow.
        scaled = rows(gradient if self.is_box else gradient * self.epsilon)
        return self._norm.steepest(scaled).reshape(self.X.shape)

    def inward(self, X_adv: Array, gradient: Array) -> Array:
        """Return `gradient`, 0 where following it leads from `X_adv` straight out of the box."""
        if self._low is None:
            return gradient
        blocked = ((gradient > 0) & (X_adv >= self._high)) | ((gradient < 0) & (X_adv <= self._low))
        return namespace(gradient).where(blocked, as_like(0, gradient), gradient)

    def furthest(self, gradient: Array) -> Array:
        """Return the point of A(x_i) that maximises ``<gradient_i, x>``."""
        pull = rows(gradient * self.epsilon)
        return self.from_unit(self._norm.steepest(pull, self._capacity(pull)))

    def distance(self, gradient: Array, gain: Array) -> Array:
        """Return the length, in u, of the least move in the box that gains ``<gradient, x' - x>``.

        Exact, so it is the distance to a hyperplane; inf where the box holds no such point.
        """
        pull = rows(gradient * self.epsilon)
        return self._norm.shortest(pull, gain, self._capacity(pull))

    def _capacity(self, pull: Array) -> Array | None:
        """Return how far u may go in the direction of `pull` before it leaves the box."""
        if self._low is None:
            return None
        xp = namespace(pull)
        up = rows(self._divide(self._high - self.X))
        down = rows(self._divide(self.X - self._low))
        return xp.where(pull > 0, up, down).clip(0, None)

    def _divide(self, delta: Array) -> Array:
        xp = namespace(delta)
        safe = xp.where(self.epsilon > 0, self.epsilon, as_like(1, delta))
        return xp.where(self.epsilon > 0, delta / safe, as_like(0, delta))


def _precise(x: Array) -> np.ndarray:
    return to_numpy(x).astype(np.float64, copy=False)
