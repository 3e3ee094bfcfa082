"""Points of a batch while they are searched: chosen by sample, kept, scaled, stepped uphill."""

from __future__ import annotations

from sklearn_robust._arrays import Array, as_like, is_torch, namespace
from sklearn_robust._neighbourhood import Neighbourhood
from sklearn_robust._norms import Norm
from sklearn_robust.attacks._losses import is_right


def spread(values: Array, like: Array) -> Array:
    """Return one value per sample, shaped so that it broadcasts against the samples `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def to_unit_length(norm: Norm, u: Array) -> Array:
    """Return each row of `u` divided by its length; zero stays zero."""
    length = norm.length(u)
    return u / (length + (length == 0))[:, None]


def where_rows(mask: Array, a: Array, b: Array) -> Array:
    """Return ``a[i]`` where ``mask[i]`` and ``b[i]`` elsewhere."""
    return namespace(a).where(spread(mask, a), a, b)


def copied(x: Array) -> Array:
    """Return a copy of `x`, where it may be a view."""
    return x.clone() if is_torch(x) else x.copy()


def mistakes(logits: Array, y: Array, margin: Array) -> Array | None:
    """Return which samples are misclassified, None for none; `margin` is `Margin` of the logits.

    Nearly always the margins say that none is, and then this costs one comparison.
    """
    if (margin < 0).all():
        return None
    wrong = ~is_right(logits, y)
    return wrong if wrong.any() else None


def full(like: Array, value: float) -> Array:
    """Return `value` once for each sample of `like`, in its dtype and on its device."""
    return namespace(like).zeros_like(like.reshape(len(like), -1)[:, 0]) + as_like(value, like)


class Kept:
    """Remembers for each sample the first point that was misclassified."""

    def __init__(self, X: Array, y: Array) -> None:
        self._y, self._kept = y, X
        self.found = y != y

    def see(self, X_adv: Array, logits: Array) -> bool:
        """Look at one point of each sample; return whether each sample has its point by now."""
        new = ~is_right(logits, self._y) & ~self.found
        if not new.any():
            return False
        self._kept = where_rows(new, X_adv, self._kept)
        self.found = self.found | new
        return bool(self.found.all())

    def best(self, otherwise: Array) -> Array:
        """Return the misclassified points, and `otherwise` where there is none."""
        return where_rows(self.found, self._kept, otherwise)


def uphill(around: Neighbourhood, X: Array, gradient: Array) -> Array:
    """Return the unit step of steepest ascent from `X`; under l1, of a feature that can move.

    An l1 step moves one feature. Where that stands at the end of its range the step leads nowhere,
    and the attack would never try another. Under the other norms all features move at once.
    """
    if around.is_pointed:
        gradient = around.inward(X, gradient)
    return around.direction(gradient)
