r"""The norms linf, l2 and l1 as geometry: lengths, projections, steepest points, uniform draws.

Every function acts on rows, an array of shape (n_samples, n_features) of numpy or torch, and on
the *unit* ball; `_threat.ThreatModel` scales it by epsilon, which may differ by feature. A box
is given by `capacity`, how far each coordinate may move in the direction it is pulled:
a non-negative array of the same shape, ``inf`` where nothing limits it, or None for no box at all.
The box must contain the origin. Then the projection onto ball and box, and the point of both that
goes furthest along a direction, keep the signs of their argument and are found exactly:

- linf separates by coordinate;
- l2: ``min(s |z|, capacity)`` for the one scale s at which the length is 1;
- l1: ``min(max(|z| - t, 0), capacity)`` for the one threshold t; along a direction, a fractional
  knapsack that fills coordinates in the order of their pull.

References
----------
.. [1] J. Duchi et al., "Efficient projections onto the l1-ball", ICML 2008 (no box).
.. [2] F. Croce, M. Hein, "Mind the box: l1-APGD for sparse adversarial attacks", ICML 2021.
"""

from __future__ import annotations

import functools
import math
from typing import Protocol

import numpy as np

from sklearn_robust._arrays import (
    Array,
    as_like,
    namespace,
    put_rows,
    random_normal,
    random_uniform,
    row_max,
    rows,
    sort_rows,
    take_rows,
)
from sklearn_robust._levels import concat, l1_threshold, l2_scale, level, pulled, ratio


class Norm(Protocol):
    """What the library needs to know of a norm; `register_norm` adds one.

    Every method acts on rows, numpy arrays or torch tensors of shape (n_samples, n_features), and
    on the unit ball. `capacity`, of that shape and >= 0, is how far each coordinate may move in the
    direction it is pulled, ``inf`` where nothing limits it; None: no box.

    Attributes
    ----------
    name : str
        What ``norm=`` is given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import get_norm
    >>> l2, z = get_norm("l2"), np.array([[3.0, 4.0]])
    >>> l2.project(z), l2.project(z, capacity=np.array([[1.0, 0.0]]))
    (array([[0.6, 0.8]]), array([[1., 0.]]))
    """

    name: str

    def length(self, delta: Array) -> Array:
        """Return ``||delta_i||`` for each row i, shape (n_samples,)."""

    def dual_length(self, weights: Array) -> Array:
        """Return ``max <weights_i, u>`` over the unit ball for each row i, shape (n_samples,)."""

    def project(self, z: Array, capacity: Array | None = None) -> Array:
        """Return the nearest point (Euclidean) to each row of `z` in unit ball and box."""

    def steepest(self, gradient: Array, capacity: Array | None = None) -> Array:
        """Return the point of unit ball and box that maximises ``<gradient_i, u>`` for each row."""

    def shortest(self, pull: Array, gain: Array, capacity: Array | None = None) -> Array:
        """Return the least length of a u in the box with ``<pull_i, u> >= gain_i``, else inf.

        `gain` and the lengths have shape (n_samples,).
        """

    def sample(self, like: Array, generator: object) -> Array:
        """Draw uniformly from the unit ball, one point for each row of `like`.

        `generator` is a numpy or torch Generator, on the device of `like`.
        """


class Linf:
    """The largest absolute coordinate; its dual is l1."""

    name = "linf"

    def length(self, delta: Array) -> Array:
        return row_max(abs(rows(delta)))

    def dual_length(self, weights: Array) -> Array:
        return abs(rows(weights)).sum(1)

    def project(self, z: Array, capacity: Array | None = None) -> Array:
        if capacity is None:
            return z.clip(-1, 1)
        return z.clip(-capacity.clip(None, 1), capacity.clip(None, 1))

    def steepest(self, gradient: Array, capacity: Array | None = None) -> Array:
        sign = namespace(gradient).sign(gradient)
        return sign if capacity is None else sign * capacity.clip(None, 1)

    def shortest(self, pull: Array, gain: Array, capacity: Array | None = None) -> Array:
        if capacity is None:
            return ratio(gain, self.dual_length(pull))
        magnitude, capacity = pulled(pull, capacity)
        return level(capacity, magnitude, magnitude * capacity, gain)

    def sample(self, like: Array, generator: object) -> Array:
        return 2 * random_uniform(like, generator) - 1


class L2:
    """The Euclidean length; its own dual."""

    name = "l2"

    def length(self, delta: Array) -> Array:
        return (rows(delta) ** 2).sum(1) ** 0.5

    def dual_length(self, weights: Array) -> Array:
        return self.length(weights)

    def project(self, z: Array, capacity: Array | None = None) -> Array:
        if capacity is None:
            return z / self.length(z).clip(1, None)[:, None]
        xp, magnitude = namespace(z), abs(z)
        scale = l2_scale(magnitude, capacity).clip(None, 1)
        return _inside(self, xp.sign(z) * xp.minimum(magnitude * scale[:, None], capacity))

    def steepest(self, gradient: Array, capacity: Array | None = None) -> Array:
        xp = namespace(gradient)
        # Dividing by the largest entry first keeps the squares of tiny gradients above underflow.
        top = row_max(abs(gradient))[:, None]
        gradient = gradient / xp.where(top > 0, top, as_like(1, top))
        if capacity is None:
            length = self.length(gradient)[:, None]
            return gradient / xp.where(length > 0, length, as_like(1, length))
        magnitude = abs(gradient)
        # An infinite scale means that the whole box lies in the ball: go to its corner.
        scale = l2_scale(magnitude, capacity).clip(None, xp.finfo(magnitude.dtype).max)
        u = xp.sign(gradient) * xp.minimum(magnitude * scale[:, None], capacity)
        return _inside(self, u)

    def shortest(self, pull: Array, gain: Array, capacity: Array | None = None) -> Array:
        if capacity is None:
            return ratio(gain, self.dual_length(pull))
        xp = namespace(pull)
        magnitude, capacity = pulled(pull, capacity)
        safe = xp.where(magnitude > 0, magnitude, as_like(1, pull))
        scale = level(capacity / safe, magnitude**2, magnitude * capacity, gain)
        reachable = scale < xp.inf
        finite = xp.where(reachable, scale, as_like(0, scale))
        u = xp.minimum(magnitude * finite[:, None], capacity)
        return xp.where(reachable, self.length(u), scale)

    def sample(self, like: Array, generator: object) -> Array:
        direction = self.steepest(random_normal(like, generator))
        radius = random_uniform(like[:, :1], generator) ** (1 / like.shape[1])
        return direction * radius


class L1:
    """The sum of absolute coordinates; its dual is linf."""

    name = "l1"

    def length(self, delta: Array) -> Array:
        return abs(rows(delta)).sum(1)

    def dual_length(self, weights: Array) -> Array:
        return row_max(abs(rows(weights)))

    def project(self, z: Array, capacity: Array | None = None) -> Array:
        xp, magnitude = namespace(z), abs(z)
        if capacity is None:
            capacity = xp.full_like(z, xp.inf)
        threshold = l1_threshold(magnitude, capacity)[:, None]
        u = xp.sign(z) * xp.minimum((magnitude - threshold).clip(0, None), capacity)
        return _inside(self, u)

    def steepest(self, gradient: Array, capacity: Array | None = None) -> Array:
        xp, magnitude = namespace(gradient), abs(gradient)
        limit = xp.ones_like(gradient) if capacity is None else capacity.clip(None, 1)
        limit = xp.where(magnitude > 0, limit, as_like(0, limit))
        _, order = sort_rows(-magnitude)
        limit = take_rows(limit, order)
        before = limit.cumsum(1) - limit
        filled = xp.minimum((1 - before).clip(0, None), limit)
        return xp.sign(gradient) * put_rows(filled, order)

    def shortest(self, pull: Array, gain: Array, capacity: Array | None = None) -> Array:
        if capacity is None:
            return ratio(gain, self.dual_length(pull))
        xp = namespace(pull)
        magnitude, capacity = pulled(pull, capacity)
        _, order = sort_rows(-magnitude)
        magnitude, capacity = take_rows(magnitude, order), take_rows(capacity, order)
        gains = magnitude * capacity
        before = concat(xp.zeros_like(gains[:, :1]), gains.cumsum(1)[:, :-1])
        safe = xp.where(magnitude > 0, magnitude, as_like(1, magnitude))
        # Each coordinate gives what is still missing, or all it has.
        used = xp.minimum((gain[:, None] - before).clip(0, None) / safe, capacity)
        missing = gain > gains.sum(1)
        return xp.where(missing, as_like(xp.inf, gain), used.sum(1))

    def sample(self, like: Array, generator: object) -> Array:
        # |u| is uniform under the simplex: exponentials over their sum with one more exponential.
        xp = namespace(like)
        magnitude = -xp.log1p(-random_uniform(like, generator))
        rest = -xp.log1p(-random_uniform(like[:, :1], generator))
        sign = xp.sign(random_uniform(like, generator) - 0.5)
        return sign * magnitude / (magnitude.sum(1)[:, None] + rest)


# Random splits of the features over which `power` compares lengths, and their rounding in float64,
# generously: no norm without the property passes by chance.
_SPLITS, _ROUNDING = 8, 1e-9

NORMS: dict[str, Norm] = {norm.name: norm for norm in (Linf(), L2(), L1())}
BUILT_IN = tuple(NORMS)


def get_norm(name: str) -> Norm:
    """Return the norm of that name, to build another one from.

    Parameters
    ----------
    name : str
        "linf", "l2", "l1", or one that `register_norm` was given.

    Returns
    -------
    norm : Norm

    Raises
    ------
    ValueError
        If no norm has that name.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import get_norm
    >>> get_norm("l1").dual_length(np.array([[3.0, -4.0]]))
    array([4.])
    """
    if name not in NORMS:
        known = ", ".join(map(repr, NORMS))
        raise ValueError(f"name must be one of {known}, got {name!r}.")
    return NORMS[name]


def register_norm(norm: Norm) -> None:
    """Make a norm known by its name, wherever the library takes ``norm=``.

    Attacks, certificates, exact scores of linear models and the training of networks need no more
    than the geometry below, and rely on it: a `dual_length` or `steepest` that falls short of the
    maximum makes certificates wrong. Exact linear training has formulas of its own for "linf",
    "l2" and "l1", and refuses others.

    Parameters
    ----------
    norm : Norm
        An object with an attribute `name` and the methods ``length(delta)``,
        ``dual_length(weights)``, ``project(z, capacity=None)``, ``steepest(gradient,
        capacity=None)``, ``shortest(pull, gain, capacity=None)`` and ``sample(like, generator)``.
        The page "Extending" of the documentation shows one. A norm registered again under its name
        replaces the earlier one.

    Raises
    ------
    ValueError
        If the name is one of the library's own.
    TypeError
        If a method is missing.

    Examples
    --------
    >>> from sklearn_robust import register_norm
    >>> class Nothing:
    ...     name = "nothing"
    >>> register_norm(Nothing())
    Traceback (most recent call last):
    ...
    TypeError: norm must have the methods length, dual_length, ...; Nothing lacks length, ...
    """
    methods = [name for name, value in vars(Norm).items() if callable(value) and name[0] != "_"]
    missing = [name for name in methods if not callable(getattr(norm, name, None))]
    if missing:
        raise TypeError(
            f"norm must have the methods {', '.join(methods)}; {type(norm).__name__} lacks "
            f"{', '.join(missing)}."
        )
    if norm.name in BUILT_IN:
        raise ValueError(f"norm must have a name of its own, got {norm.name!r}.")
    NORMS[norm.name] = norm
    power.cache_clear()


@functools.cache
def power(name: str, n_features: int) -> float | None:
    r"""Return the p of a norm that is a p-norm, perhaps with weights, and None of any other.

    .. math:: \|a + b\|^p = \|a\|^p + \|b\|^p

    for all a and b without a common feature, and the larger of both lengths for infinity, says
    what an attack needs to know of a ball: with infinity it is a box, with 1 its corners lie on the
    axes and steepest steps move a single feature. No other norms have the property [1]_; it is
    found by asking for lengths, so that it holds for registered norms too. A single feature makes
    every ball a box.

    References
    ----------
    .. [1] H. F. Bohnenblust, "An axiomatic characterization of L_p-spaces", Duke Math. J., 1940.
    """
    norm, rng = NORMS[name], np.random.default_rng(0)
    whole = rng.standard_normal((_SPLITS, n_features))
    first = rng.permuted(np.broadcast_to(np.arange(n_features) % 2 == 0, whole.shape), axis=1)
    a, b, both = (norm.length(u) for u in (whole * first, whole * ~first, whole))
    if np.allclose(np.maximum(a, b), both, rtol=_ROUNDING, atol=0):
        return math.inf
    sums = ((p, a**p + b**p, both**p) for p in (2, 1))
    return next((p for p, s, t in sums if np.allclose(s, t, rtol=_ROUNDING, atol=0)), None)


def _inside(norm: Norm, u: Array) -> Array:
    """Take back what cancellation in the scale or threshold of a row let it exceed length 1."""
    return u / norm.length(u).clip(1, None)[:, None]
