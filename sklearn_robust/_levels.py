"""Where sums of clipped terms reach a given value: the scales and thresholds behind the norms.

Each such sum is piecewise linear or quadratic in one number, with kinks where a term fills up.
Sorting the kinks of a row finds the piece; on it the equation is solved in closed form.
"""

from __future__ import annotations

from sklearn_robust._arrays import Array, as_like, is_torch, namespace, sort_rows, take_rows


def ratio(gain: Array, slope: Array) -> Array:
    """Return gain / slope, 0 where nothing is to be gained and inf where nothing can be."""
    xp = namespace(slope)
    ratio = gain / xp.where(slope > 0, slope, as_like(1, slope))
    ratio = xp.where(slope > 0, ratio, as_like(xp.inf, slope))
    return xp.where(gain > 0, ratio, as_like(0, slope))


def pulled(pull: Array, capacity: Array) -> tuple[Array, Array]:
    """Return ``|pull|``, and the capacity with 0 for what is not pulled, however far it may go."""
    magnitude = abs(pull)
    return magnitude, namespace(pull).where(magnitude > 0, capacity, as_like(0, capacity))


def level(kink: Array, slope: Array, full: Array, gain: Array) -> Array:
    """Return the least t >= 0 with ``sum_j min(slope_j t, full_j) >= gain``, inf if there is none.

    Coordinate j grows with `slope` until t reaches its `kink`, and then gives `full`.
    """
    xp = namespace(slope)
    kink, order = sort_rows(kink)
    full, slope = take_rows(full, order), take_rows(slope, order)
    growing = _after(slope)
    filled = full.cumsum(1)
    finite = (kink < xp.inf) & (filled < xp.inf)
    at_kink = xp.where(finite, filled + xp.where(finite, kink, as_like(0, kink)) * growing,
                       as_like(xp.inf, kink))  # fmt: skip
    n_full = (at_kink < gain[:, None]).sum(1)
    last = (n_full - 1).clip(0, None)[:, None]
    none_full = (n_full == 0)[:, None]
    have = xp.where(none_full, as_like(0, filled), take_rows(filled, last))[:, 0]
    rate = xp.where(none_full, slope.sum(1)[:, None], take_rows(growing, last))[:, 0]
    missing = gain - xp.where(have < xp.inf, have, as_like(0, have))
    return ratio(missing, xp.where(n_full < kink.shape[1], rate, as_like(0, rate)))


def l2_scale(magnitude: Array, capacity: Array) -> Array:
    """Return s with ``sum_j min(s m_j, c_j)^2 = 1``; inf where the box lies within the ball.

    The sum is piecewise quadratic in s with a kink at c_j / m_j, where coordinate j fills up.
    """
    xp = namespace(magnitude)
    movable = (magnitude > 0) & (capacity > 0)
    capacity = xp.where(movable, capacity, as_like(0, capacity))
    magnitude = xp.where(movable, magnitude, as_like(0, magnitude))
    safe = xp.where(movable, magnitude, as_like(1, magnitude))
    kink, order = sort_rows(capacity / safe)
    capacity, magnitude = take_rows(capacity, order), take_rows(magnitude, order)
    finite = kink < xp.inf
    full = (xp.where(finite, capacity, as_like(0, capacity)) ** 2).cumsum(1)
    squares = magnitude**2
    free = _after(squares)
    at_kink = xp.where(
        finite, full + xp.where(finite, kink, as_like(0, kink)) ** 2 * free, as_like(xp.inf, full)
    )
    n_full = (at_kink <= 1).sum(1)
    last = (n_full - 1).clip(0, None)[:, None]
    none_full = (n_full == 0)[:, None]
    used = xp.where(none_full, as_like(0, full), take_rows(full, last))
    left = xp.where(none_full, squares.sum(1)[:, None], take_rows(free, last))
    left_safe = xp.where(left > 0, left, as_like(1, left))
    scale = xp.where(left > 0, ((1 - used) / left_safe) ** 0.5, as_like(xp.inf, left))
    # What is left may be too little for its squares: it stays where it is, or it would run away.
    stuck = (left == 0) & ~none_full & (n_full < kink.shape[1])[:, None]
    return xp.where(stuck, take_rows(kink, last), scale)[:, 0]


def l1_threshold(magnitude: Array, capacity: Array) -> Array:
    """Return the least t >= 0 with ``sum_j min(max(m_j - t, 0), c_j) <= 1``.

    The sum is piecewise linear and falling in t: coordinate j starts to count at m_j, going down,
    and stops growing at m_j - c_j.
    """
    xp = namespace(magnitude)
    fills = (magnitude - capacity).clip(0, None)
    kinks, order = sort_rows(-concat(magnitude, fills))
    kinks = -kinks
    slopes = take_rows(concat(xp.ones_like(magnitude), -xp.ones_like(magnitude)), order).cumsum(1)
    gaps = kinks[:, :-1] - kinks[:, 1:]
    total = concat(xp.zeros_like(kinks[:, :1]), (slopes[:, :-1] * gaps).cumsum(1))
    last = ((total <= 1).sum(1) - 1)[:, None]
    start, used, slope = (take_rows(a, last) for a in (kinks, total, slopes))
    slope = xp.where(slope > 0, slope, as_like(1, slope))
    threshold = start - (1 - used) / slope
    # The last kink of all is at 0 or above it: reaching it within the ball means no shrinking.
    return xp.where(last == kinks.shape[1] - 1, as_like(0, start), threshold)[:, 0].clip(0, None)


def _after(x: Array) -> Array:
    """Return the sum of what follows each entry of a row.

    Not the sum from an entry on less the entry, of which rounding leaves nothing where what
    follows is small beside it.
    """
    xp = namespace(x)
    sums = xp.flip(xp.flip(x[:, 1:], (1,)).cumsum(1), (1,))
    return concat(sums, xp.zeros_like(x[:, :1]))


def concat(a: Array, b: Array) -> Array:
    xp = namespace(a)
    return xp.cat((a, b), 1) if is_torch(a) else xp.concatenate((a, b), 1)
