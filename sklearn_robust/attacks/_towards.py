"""A model as an attack sees it that is to reach one chosen class, and not just any mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, namespace, row_max
from sklearn_robust.attacks._losses import Loss, fill, pick, without

Judge = Callable[[Any], np.ndarray]


class TowardsModel:
    """Two scores of a model: the highest of all classes but one, and that of this one.

    Samples are of class 0 until they are taken for the chosen class; any attack, told that their
    label is 0, leads there.

    Parameters
    ----------
    model : Model
    index : int
        Of the chosen class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import FGSM, LinearModel, ThreatModel, towards
    >>> model = LinearModel(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), np.zeros(3))
    >>> X, label = np.array([[0.1, 0.0]]), np.array([0])
    >>> aimed = towards(model, 2)
    >>> X_adv = FGSM().perturb(aimed, X, label, ThreatModel(0.5), np.random.default_rng(0))
    >>> int(model.logits(X_adv).argmax())
    2
    """

    n_classes = 2

    def __init__(self, model: Any, index: int) -> None:
        self.model, self.index = model, index

    def asarray(self, X: Any) -> Array:
        return self.model.asarray(X)

    def labels(self, y: Any) -> Array:
        return self.model.labels(y)

    def logits(self, X: Array) -> Array:
        return _two_scores(self.model.logits(X), self.index)


class TowardsGradients(TowardsModel):
    """The same of a model with gradients."""

    def ascent(self, X: Array, y: Array, loss: Loss, leak: float = 0.0) -> tuple[Array, Array]:
        logits, gradient = self.model.ascent(X, y, _OfTwoScores(loss, self.index), leak)
        return _two_scores(logits, self.index), gradient


class _OfTwoScores(Loss):
    """A loss of the two scores, as one of all."""

    def __init__(self, inner: Loss, index: int) -> None:
        self.inner, self.index = inner, index

    def value(self, logits: Array, y: Array) -> Array:
        return self.inner.value(_two_scores(logits, self.index), y)

    def direction(self, logits: Array, y: Array) -> Array:
        two = self.inner.direction(_two_scores(logits, self.index), y)
        zeros, chosen = namespace(logits).zeros_like(logits), y * 0 + self.index
        rival = without(logits, chosen).argmax(1)
        ones = [fill(zeros, at, 1.0) for at in (rival, chosen)]
        return ones[0] * two[:, :1] + ones[1] * two[:, 1:]


def _two_scores(logits: Array, index: int) -> Array:
    chosen = logits.argmax(1) * 0 + index
    pair = row_max(without(logits, chosen)), pick(logits, chosen)
    return namespace(logits).stack(pair, 1)


def towards(model: Any, index: int) -> TowardsModel:
    """Return a model, with gradients where it has them, for attacks that aim at one class."""
    return (TowardsGradients if hasattr(model, "ascent") else TowardsModel)(model, index)


def reaching(predict: Judge, index: int | None) -> Judge:
    """Return the judge that goes with `towards`: 1 where the chosen class is predicted, else 0.

    Without a chosen class it is `predict` itself.
    """
    if index is None:
        return predict
    return lambda X: (predict(X) == index).astype(np.intp)
