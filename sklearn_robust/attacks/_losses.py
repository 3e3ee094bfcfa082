r"""What an attack maximises, as functions of the logits; each gives its gradient in closed form.

An attack only needs a direction, so every loss offers `direction`: its gradient with respect to the
logits up to a positive factor per sample, chosen so that it never underflows. For cross-entropy

.. math:: \nabla_z \mathrm{CE} = (1 - p_y) \, (\mathrm{softmax}_{j \ne y}(z) - e_y)

and the first factor, which is 0 in floating point for a confident sample, is left out: signed and
normalised steps are unchanged by it, and saturated logits no longer hide the gradient.
"""

from __future__ import annotations

from typing import Any

from sklearn_robust._arrays import Array, as_like, is_torch, namespace, row_max, sort_rows
from sklearn_robust._validation import check_option


class Loss:
    """What an attack maximises; larger means closer to a mistake.

    To add one, write `value` and `direction`; `at` too if it can be aimed at a class.

    Examples
    --------
    The logit of the true class alone, minus sign in front:

    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> class Doubt(attacks.Loss):
    ...     name = "doubt"
    ...     def value(self, logits, y):
    ...         return -logits[np.arange(len(y)), y]
    ...     def direction(self, logits, y):
    ...         return -np.eye(logits.shape[1])[y]
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, threat = np.array([[1., 0.]]), np.array([1]), attacks.ThreatModel(0.5)
    >>> attacks.PGD(loss=Doubt()).perturb(model, X, y, threat, np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    name: str

    def value(self, logits: Array, y: Array) -> Array:
        """Return the loss of each sample.

        Parameters
        ----------
        logits : array of shape (n_samples, n_classes)
        y : array of shape (n_samples,)
            Class indices.

        Returns
        -------
        value : array of shape (n_samples,)
        """
        raise NotImplementedError

    def direction(self, logits: Array, y: Array) -> Array:
        """Return d value / d logits times a positive number per sample.

        Parameters
        ----------
        logits, y
            As in `value`.

        Returns
        -------
        direction : array of shape (n_samples, n_classes)
        """
        raise NotImplementedError

    def height(self, logits: Array, y: Array) -> Array:
        """Return an increasing function of `value` that does not saturate, to compare points."""
        return self.value(logits, y)

    def at(self, target: Array) -> Loss:
        """Return the loss that is largest where the samples are classified as `target`.

        Parameters
        ----------
        target : array of shape (n_samples,)
            Class indices.

        Returns
        -------
        loss : Loss
            For this batch only.

        Raises
        ------
        ValueError
            If the loss cannot be aimed, as it is by default.
        """
        raise ValueError(f"loss {self.name!r} cannot be aimed at a class. Use n_targets=0.")

    def take(self, keep: Array) -> Loss:
        """Return the loss for the samples `keep` of the batch; only aimed losses differ by it."""
        return self


class CrossEntropy(Loss):
    """``log sum_j exp(z_j) - z_y``.

    Examples
    --------
    Where a sample is so sure that 1 - p_y is 0 in floating point, there still is a direction:

    >>> import numpy as np
    >>> from sklearn_robust.attacks import CrossEntropy
    >>> CrossEntropy().direction(np.array([[0., 100., 1.]]), np.array([1])).round(2)
    array([[ 0.27, -1.  ,  0.73]])
    """

    name = "cross_entropy"

    def value(self, logits: Array, y: Array) -> Array:
        # log(1 + exp(t)): what is lost in log(sum) - z_y for a confident sample is kept here.
        xp, t = namespace(logits), self.height(logits, y)
        return t.clip(0, None) + xp.log1p(xp.exp(-abs(t)))

    def height(self, logits: Array, y: Array) -> Array:
        """Return ``log sum_{j != y} exp(z_j) - z_y``, the logit of a mistake."""
        xp, others = namespace(logits), without(logits, y)
        top = row_max(others)
        return xp.log(xp.exp(others - top[:, None]).sum(1)) + top - pick(logits, y)

    def direction(self, logits: Array, y: Array) -> Array:
        xp, others = namespace(logits), without(logits, y)
        share = xp.exp(others - row_max(others)[:, None])
        return fill(share / share.sum(1)[:, None], y, -1.0)

    def at(self, target: Array) -> Loss:
        return TargetedCrossEntropy(target)


class ExactCrossEntropy(CrossEntropy):
    """The same, whose `direction` is the gradient itself, softmax(z) - e_y, factor included."""

    def direction(self, logits: Array, y: Array) -> Array:
        share = namespace(logits).exp(logits - row_max(logits)[:, None])
        others = fill(share / share.sum(1)[:, None], y, 0.0)
        # Where a sample is confident, p_y - 1 would round to 0.
        own = fill(namespace(logits).zeros_like(logits), y, 1.0)
        return others - own * others.sum(1)[:, None]


class Margin(Loss):
    """``max_{j != y} z_j - z_y``: positive exactly where the prediction is wrong.

    It is the loss f_6 of [1]_.

    References
    ----------
    .. [1] N. Carlini, D. Wagner, "Towards evaluating the robustness of neural networks", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import Margin
    >>> Margin().value(np.array([[2., 5., 1.], [2., 0., 1.]]), np.array([1, 1]))
    array([-3.,  2.])
    """

    name = "margin"

    def value(self, logits: Array, y: Array) -> Array:
        return row_max(without(logits, y)) - pick(logits, y)

    def direction(self, logits: Array, y: Array) -> Array:
        rival = without(logits, y).argmax(1)
        return fill(fill(namespace(logits).zeros_like(logits), rival, 1.0), y, -1.0)

    def at(self, target: Array) -> Loss:
        return TargetedMargin(target)


class DLR(Loss):
    r"""Difference of logits ratio: the margin, unchanged when all logits are scaled or shifted.

    .. math:: \frac{\max_{j \ne y} z_j - z_y}{z_{(1)} - z_{(3)}}

    with the logits sorted in falling order [1]_, eq. 6. With fewer than 3 classes, `Margin`.

    References
    ----------
    .. [1] F. Croce, M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of
       diverse parameter-free attacks", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import DLR
    >>> logits, y = np.array([[2., 5., 1.]]), np.array([1])
    >>> DLR().value(logits, y), DLR().value(10 * logits + 3, y)
    (array([-0.75]), array([-0.75]))
    """

    name = "dlr"

    def value(self, logits: Array, y: Array) -> Array:
        margin = Margin().value(logits, y)
        if logits.shape[1] < 3:
            return margin
        values, _ = sort_rows(logits)
        return _ratio(margin, values[:, -1] - values[:, -3])

    def direction(self, logits: Array, y: Array) -> Array:
        # D (N / D)' = N' - (N / D) D', and D > 0.
        direction = Margin().direction(logits, y)
        if logits.shape[1] < 3:
            return direction
        values, order = sort_rows(logits)
        ratio = _ratio(Margin().value(logits, y), values[:, -1] - values[:, -3])
        direction = _add(direction, order[:, -1], -ratio)
        return _add(direction, order[:, -3], ratio)

    def at(self, target: Array) -> Loss:
        return TargetedDLR(target)


class _Aimed(Loss):
    """A loss for one batch, each sample of which has a class to be mistaken for."""

    def __init__(self, target: Array) -> None:
        self.target = target

    def take(self, keep: Array) -> Loss:
        return type(self)(self.target[keep])


class TargetedCrossEntropy(_Aimed):
    """``log softmax(z)_t``."""

    name = "targeted_cross_entropy"

    def value(self, logits: Array, y: Array) -> Array:
        return -CrossEntropy().value(logits, self.target)

    def height(self, logits: Array, y: Array) -> Array:
        return -CrossEntropy().height(logits, self.target)

    def direction(self, logits: Array, y: Array) -> Array:
        return -CrossEntropy().direction(logits, self.target)


class TargetedMargin(_Aimed):
    """``z_t - z_y``."""

    name = "targeted_margin"

    def value(self, logits: Array, y: Array) -> Array:
        return pick(logits, self.target) - pick(logits, y)

    def direction(self, logits: Array, y: Array) -> Array:
        zeros = namespace(logits).zeros_like(logits)
        return fill(fill(zeros, self.target, 1.0), y, -1.0)


class TargetedDLR(_Aimed):
    r"""The targeted difference of logits ratio; with fewer than 4 classes, `TargetedMargin`.

    .. math:: \frac{z_t - z_y}{z_{(1)} - (z_{(3)} + z_{(4)}) / 2}

    See `DLR`, [1]_, eq. 7.
    """

    name = "targeted_dlr"

    def value(self, logits: Array, y: Array) -> Array:
        margin = TargetedMargin(self.target).value(logits, y)
        if logits.shape[1] < 4:
            return margin
        return _ratio(margin, self._scale(sort_rows(logits)[0]))

    def direction(self, logits: Array, y: Array) -> Array:
        plain = TargetedMargin(self.target)
        direction = plain.direction(logits, y)
        if logits.shape[1] < 4:
            return direction
        values, order = sort_rows(logits)
        ratio = _ratio(plain.value(logits, y), self._scale(values))
        direction = _add(direction, order[:, -1], -ratio)
        direction = _add(direction, order[:, -3], ratio / 2)
        return _add(direction, order[:, -4], ratio / 2)

    @staticmethod
    def _scale(values: Array) -> Array:
        return values[:, -1] - (values[:, -3] + values[:, -4]) / 2


LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CrossEntropy(), Margin(), DLR())}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or `loss` itself if it is one."""
    if isinstance(loss, str):
        return LOSSES[check_option(loss, "loss", LOSSES)]
    return loss


def is_right(logits: Array, y: Array) -> Array:
    """Return whether each sample is classified as `y`; logits with NaN count as wrong."""
    top = row_max(logits)  # NaN where one is, and NaN is not equal to itself
    return (logits.argmax(1) == y) & (top == top)


def has_nan(logits: Array) -> Array:
    """Return for each sample whether one of its logits is NaN."""
    return namespace(logits).isnan(logits).sum(1) > 0


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


def _add(a: Array, y: Array, value: Array) -> Array:
    """Return a copy of `a` with ``value[i]`` added to ``a[i, y[i]]``."""
    if is_torch(a):
        return a.scatter_add(1, y[:, None], value[:, None])
    a = a.copy()
    a[range(len(a)), y] += value
    return a


def _ratio(numerator: Array, scale: Any) -> Array:
    """Return numerator / scale, or 0 where the logits are tied and the scale is 0."""
    safe = namespace(scale).where(scale > 0, scale, as_like(1, scale))
    return namespace(scale).where(scale > 0, numerator / safe, as_like(0, scale))
