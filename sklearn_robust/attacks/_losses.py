r"""What an attack maximises, as functions of the logits; each gives its gradient in closed form.

An attack only needs a direction, so every loss offers `direction`: its gradient with respect to the
logits up to a positive factor per sample, chosen so that it never underflows. For cross-entropy

.. math:: \nabla_z \mathrm{CE} = (1 - p_y) \, (\mathrm{softmax}_{j \ne y}(z) - e_y)

and the first factor, which is 0 in floating point for a confident sample, is left out: signed and
normalised steps are unchanged by it, and saturated logits no longer hide the gradient.
"""

from __future__ import annotations

from typing import Protocol

from sklearn_robust._arrays import Array, is_torch, namespace, row_max
from sklearn_robust._validation import check_option


class Loss(Protocol):
    """What an attack maximises; larger means closer to a mistake."""

    name: str

    def value(self, logits: Array, y: Array) -> Array:
        """Return the loss of each sample; `logits` is (n, n_classes), `y` holds class indices."""

    def direction(self, logits: Array, y: Array) -> Array:
        """Return d value / d logits times a positive number per sample, shape (n, n_classes)."""


class CrossEntropy:
    """``log sum_j exp(z_j) - z_y``."""

    name = "cross_entropy"

    def value(self, logits: Array, y: Array) -> Array:
        xp, top = namespace(logits), row_max(logits)
        total = xp.exp(logits - top[:, None]).sum(1)
        return xp.log(total) + top - pick(logits, y)

    def direction(self, logits: Array, y: Array) -> Array:
        xp, others = namespace(logits), without(logits, y)
        share = xp.exp(others - row_max(others)[:, None])
        return fill(share / share.sum(1)[:, None], y, -1.0)


class Margin:
    """``max_{j != y} z_j - z_y``: positive exactly where the prediction is wrong [1]_.

    References
    ----------
    .. [1] N. Carlini, D. Wagner, "Towards evaluating the robustness of neural networks", 2017, f_6.
    """

    name = "margin"

    def value(self, logits: Array, y: Array) -> Array:
        return row_max(without(logits, y)) - pick(logits, y)

    def direction(self, logits: Array, y: Array) -> Array:
        rival = without(logits, y).argmax(1)
        return fill(fill(namespace(logits).zeros_like(logits), rival, 1.0), y, -1.0)


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CrossEntropy(), Margin())}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or `loss` itself if it is one."""
    if isinstance(loss, str):
        return LOSSES[check_option(loss, "loss", LOSSES)]
    return loss


def is_right(logits: Array, y: Array) -> Array:
    """Return whether each sample is classified as `y`; logits with NaN count as wrong."""
    right = logits.argmax(1) == y
    return right & (namespace(logits).isnan(logits).sum(1) == 0)


def pick(logits: Array, y: Array) -> Array:
    """Return ``logits[i, y[i]]``."""
    if is_torch(logits):
        return logits.gather(1, y[:, None])[:, 0]
    return namespace(logits).take_along_axis(logits, y[:, None], axis=1)[:, 0]


def fill(a: Array, y: Array, value: float) -> Array:
    """Return a copy of `a` with ``a[i, y[i]] = value``."""
    if is_torch(a):
        return a.scatter(1, y[:, None], value)
    a = a.copy()
    namespace(a).put_along_axis(a, y[:, None], value, axis=1)
    return a


def without(logits: Array, y: Array) -> Array:
    """Return `logits` with the true class at -inf, so that maxima run over the others."""
    return fill(logits, y, -float("inf"))
