"""What an evaluation is made of: an attack, a judge, and the record of what happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sklearn_robust._arrays import Array
from sklearn_robust._threat import ThreatModel


class GradientMaskingWarning(RuntimeWarning):
    """Gradients are exactly zero where no attack has found anything; see `Verdict`."""


class Predict(Protocol):
    """A judge: says which class a sample is in; any function of this form is one."""

    def __call__(self, X: np.ndarray, /) -> np.ndarray:
        """Return class indices of shape (n_samples,) for samples of shape (n_samples, ...)."""


class Attack(Protocol):
    """What searches the threat model; to add one, write a class with this method.

    Examples
    --------
    Noise as an attack:

    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> class Noise:
    ...     def perturb(self, model, X, y, threat, generator):
    ...         return threat.around(X).sample(generator)
    >>> X, y, threat = np.array([[1., 0.]]), np.array([1]), attacks.ThreatModel(0.2)
    >>> attacks.evaluate(model, X, y, threat, Noise(), attacks.predictor(model)).robust
    array([ True])
    """

    def perturb(self, model: Any, X: Array, y: Array, threat: ThreatModel, generator: Any) -> Array:
        """Return the adversarial batch.

        Parameters
        ----------
        model : Model
            A `DifferentiableModel` if the attack needs gradients.
        X : array of shape (n_samples, ...)
            Of numpy or torch, as the model takes it; to be left unchanged.
        y : array of shape (n_samples,)
            Class indices.
        threat : ThreatModel
        generator : numpy.random.Generator or torch.Generator
            The only source of random numbers, on the device of X.

        Returns
        -------
        X_adv : array in the shape of X
            Inside `threat`.
        """


@dataclass(frozen=True)
class AttackRecord:
    """What one attack did.

    Attributes
    ----------
    attack : Attack
    name : str
        The class of the attack, and what tells it from others of its class.
    n_attacked : int
        Samples it was given: those that all attacks before it had left correct.
    n_broken : int
        Samples it broke.
    seconds : float
        Time spent in it, summed over workers.
    n_forwards, n_gradients : int
        Samples it sent forward through the model, and gradients it took with respect to them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, threat = np.array([[1., 0.], [3., 0.]]), np.array([1, 1]), attacks.ThreatModel(0.5)
    >>> both = attacks.AttackEnsemble([attacks.FGSM(), attacks.Square(n_queries=20)])
    >>> for r in attacks.evaluate(model, X, y, threat, both, attacks.predictor(model)).records:
    ...     print(type(r.attack).__name__, r.n_attacked, r.n_broken, r.n_gradients)
    FGSM 2 1 2
    Square 1 0 0
    """

    attack: Attack
    n_attacked: int
    n_broken: int
    seconds: float
    n_forwards: int
    n_gradients: int

    @property
    def name(self) -> str:
        attack, loss = self.attack, getattr(self.attack, "loss", None)
        targets, steps = getattr(attack, "n_targets", None), getattr(attack, "n_steps", None)
        parts = [
            str(getattr(loss, "name", loss)) if loss else "",
            f"{targets} targets" if targets else "",
            f"{steps} steps" if steps else "",
        ]
        told = ", ".join(part for part in parts if part)
        return f"{type(attack).__name__} ({told})" if told else type(attack).__name__


@dataclass(frozen=True)
class Verdict:
    """What the attacks left correct.

    Attributes
    ----------
    X_adv : ndarray, the shape of X
        A misclassified point for each sample that was broken, the sample itself where it was
        misclassified anyway, and where nothing was found the point of the last attack to move it.
    clean : bool ndarray of shape (n_samples,)
        Whether the sample is classified correctly as it is.
    robust : bool ndarray of shape (n_samples,)
        Whether it also is at every point the attacks tried.
    records : tuple of AttackRecord
        One for each attack, in the order they ran.
    broken_by : int ndarray of shape (n_samples,)
        Index into `records` of the attack that broke the sample; -1: none did.
    n_nan : int
        Samples at which the model gave NaN under attack; they count as broken.
    masked : bool ndarray of shape (n_samples,)
        Whether the first gradient that the last attack with gradients took at the sample was
        exactly zero: what such attacks say of it means nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, threat = np.array([[1., 0.], [3., 0.]]), np.array([1, 1]), attacks.ThreatModel(0.5)
    >>> predict = attacks.predictor(model)
    >>> verdict = attacks.evaluate(model, X, y, threat, attacks.FGSM(), predict)
    >>> verdict.broken_by, verdict.X_adv[~verdict.robust]
    (array([ 0, -1]), array([[0.5, 0.5]]))
    """

    X_adv: np.ndarray
    clean: np.ndarray
    robust: np.ndarray
    records: tuple[AttackRecord, ...]
    broken_by: np.ndarray
    n_nan: int
    masked: np.ndarray
