"""The sets from which the adversary may choose around a batch: projections, steps, extremes."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from sklearn_robust._arrays import Array, as_floats, as_like, namespace, rows
from sklearn_robust._norms import Norm, power


class Threat(Protocol):
    """What is asked of a threat model."""

    @property
    def epsilon(self) -> Any:
        """The radius, or a multiple of what each feature may do."""

    @property
    def norm(self) -> str:
        """Its name."""

    @property
    def geometry(self) -> Norm:
        """The norm's formulas on the unit ball."""

    def radii(self, X: Array) -> Array:
        """Return how far each feature may move, in a form that broadcasts against `X`."""

    def limits(self, X: Array) -> tuple[Array, Array] | None:
        """Return the ends of the box in which the ball around each row lies, None if of none."""


class Neighbourhood:
    """The sets A(x_i) around one batch, with what does not change between steps computed once."""

    def __init__(self, threat: Threat, X: Array) -> None:
        self.threat, self.X = threat, as_floats(X)
        X = self.X
        self._norm = threat.geometry
        self.power = power(threat.norm, math.prod(X.shape[1:]))
        self.epsilon = threat.radii(X)
        limits: tuple[Array, Array] = threat.limits(X) or (None, None)
        self._low, self._high = limits
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
        if self.is_box or radii.all():  # also of a table, whose radii depend on the row
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
