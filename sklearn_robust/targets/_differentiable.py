"""A classifier whose gradients are known: attacked along them, and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sklearn_robust._arrays import to_numpy
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import (
    AttackEnsemble,
    DifferentiableModel,
    DirectAttack,
    ExactCrossEntropy,
    Loss,
    nearest_mistakes,
)
from sklearn_robust.preprocessing import Block, Rule, Samples, guide, pull
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target, dense_rows, leaves_choice

_STEEP = 1e100  # whose square is a number too


class DifferentiableTarget(Target):
    """A classifier that gives the gradients of its scores.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    model : DifferentiableModel
        What attacks see, on ``samples.rows``.

    Examples
    --------
    A `DifferentiableModel` of one's own, behind whatever transformers stand in front of it:

    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, ClassifierMixin
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_robust.targets import differentiable_target, make_target, register_target
    >>> class NearestMean(ClassifierMixin, BaseEstimator):
    ...     def fit(self, X, y):
    ...         self.classes_ = np.unique(y)
    ...         self.means_ = np.array([X[y == c].mean(axis=0) for c in self.classes_])
    ...         return self
    ...     def predict(self, X):
    ...         return self.classes_[((X[:, None] - self.means_) ** 2).sum(axis=2).argmin(axis=1)]
    >>> class Scores:
    ...     def __init__(self, classifier):
    ...         self.means, self.n_classes = classifier.means_, len(classifier.classes_)
    ...         self.labels = np.asarray
    ...     def asarray(self, X):
    ...         return np.asarray(X, dtype=np.float64)
    ...     def logits(self, X):
    ...         return -((X[:, None] - self.means) ** 2).sum(axis=2)
    ...     def ascent(self, X, y, loss, leak=0.0):
    ...         logits = self.logits(X)
    ...         slopes = 2 * (self.means - X[:, None])
    ...         return logits, np.einsum("nk,nkd->nd", loss.direction(logits, y), slopes)
    >>> @register_target(NearestMean)
    ... def _(subject):
    ...     return differentiable_target(subject, Scores(subject.classifier))
    >>> X, y = load_iris(return_X_y=True)
    >>> target = make_target(NearestMean().fit(X, y), X, y, epsilon=0.2)
    >>> target.kind, float(target.attacked(target.threat, seed=0).robust.mean().round(2))
    ('white box', 0.8)
    """

    kind = "white box"
    batch_size = 256
    model: DifferentiableModel

    def __init__(self, subject: Subject, samples: Samples, model: DifferentiableModel) -> None:
        name = type(subject.classifier).__name__
        obstacle = f"{name} is followed by its gradients, for which there are no bounds."
        super().__init__(subject, samples, model, obstacle)

    def check(self, attack: Any = "auto") -> None:
        """Nothing to say before the attack: its gradients are known, and it looks for NaN."""

    # What follows attacks along gradients, made with samples to move towards; None: nothing.
    _finally: Callable[..., Any] | None = DirectAttack

    def _chosen(self, attack: Any, aim: int | None = None) -> Any:
        """Return the attack meant; what the library chooses ends with a search near other samples.

        Votes and kernels have places where a gradient says nothing.
        """
        chosen = super()._chosen(attack, aim)
        if self._finally is None or not leaves_choice(attack):
            return chosen
        return AttackEnsemble([*chosen.attacks, self._finally(**self._candidates(aim))])

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        """Return an upper bound of each distance, by a minimum-norm attack; inf: none found."""
        assert self.labels is not None
        distance, right = np.zeros(len(self.clean)), np.flatnonzero(self.clean)
        distance[right] = nearest_mistakes(
            self.model, dense_rows(self.rows[right]), self.labels[right], self.predict, unit,
            attack=attack,
        )[0]  # fmt: skip
        return distance

    def gradients(self) -> np.ndarray:
        model = self._exact_model()
        labels = self.predicted if self.labels is None else self.labels
        if (labels < 0).any():
            raise ValueError(
                f"y has {int((labels < 0).sum())} labels that were not seen in fit, whose loss has "
                f"no gradient. The classes are {self.classes_.tolist()[:10]}."
            )
        # What guides an attack is not the derivative in all layers.
        derivative = getattr(model, "derivative", model.ascent)
        gradients = np.empty(self.rows.shape)
        for piece in pieces(len(labels), 8 * row_bytes(self.rows), most=self.batch_size):
            x, index = model.asarray(dense_rows(self.rows[piece])), model.labels(labels[piece])
            gradients[piece] = to_numpy(derivative(x, index, ExactCrossEntropy())[1])
        return self.samples.scatter(gradients)

    def _exact_model(self) -> DifferentiableModel:
        """Return the model in the precision in which gradients are reported."""
        return self.model


def differentiable_target(subject: Subject, model: DifferentiableModel) -> DifferentiableTarget:
    """Return the target of a classifier that is `model`, in numpy, on its own input.

    Parameters
    ----------
    subject : Subject
    model : DifferentiableModel

    Raises
    ------
    CannotFollowError
        If what stands in front of the classifier cannot be followed.

    Examples
    --------
    See `DifferentiableTarget`.
    """
    front = subject.front.as_dense()
    return DifferentiableTarget(subject, front.samples, ModelBehind(front.block, model))


class ModelBehind:
    """A differentiable model in numpy, seen through a block."""

    def __init__(self, block: Block, model: DifferentiableModel) -> None:
        self.block, self.inner, self.n_classes = block, model, model.n_classes
        self.labels = model.labels

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.inner.logits(self.block(X))

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, gradient = self._back(X, y, loss, guide, self.inner.ascent)
        # A derivative may be infinite in places, as that of a square root is at 0.
        return logits, np.nan_to_num(gradient, posinf=_STEEP, neginf=-_STEEP)

    def derivative(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._back(X, y, loss, pull, getattr(self.inner, "derivative", self.inner.ascent))

    def _back(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, rule: Rule, slopes: Callable
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, gradient = slopes(self.block(X), y, loss)
        return logits, rule(self.block, X, gradient)
