"""Holding a model against an attack: the clean point is a candidate, survivors are attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sklearn_robust._arrays import Array, is_torch, make_generator
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._model import Model


class Attack(Protocol):
    """What searches the threat model; to add one, write a class with this method."""

    def perturb(self, model: Any, X: Array, y: Array, threat: ThreatModel, generator: Any) -> Array:
        """Return the adversarial batch, in the shape of `X` and inside `threat`."""


@dataclass(frozen=True)
class Verdict:
    """What an attack left standing.

    Attributes
    ----------
    X_adv : ndarray, the shape of X
        The worst point found for each sample; the sample itself where it was misclassified anyway.
    clean : bool ndarray of shape (n_samples,)
        Whether the sample is classified correctly as it is.
    robust : bool ndarray of shape (n_samples,)
        Whether it also is at every point the attack tried.
    """

    X_adv: np.ndarray
    clean: np.ndarray
    robust: np.ndarray


def evaluate(
    model: Model,
    X: np.ndarray,
    y: np.ndarray,
    threat: ThreatModel,
    attack: Attack,
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int = 0,
    batch_size: int = 256,
) -> Verdict:
    """Attack the samples that `predict` gets right and let `predict` judge what was found.

    Parameters
    ----------
    model : Model
        What the attack sees.
    X : ndarray of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)
        Class indices.
    threat : ThreatModel
    attack : Attack
    predict : callable
        Maps samples to class indices. The judge may compute in a higher precision than `model`.
    seed : int
        Each batch draws from its own generator made from the seed and the batch's number.
    batch_size : int

    Raises
    ------
    RuntimeError
        If the attack returns a point outside the threat model.
    """
    clean = predict(X) == y
    X_adv, robust = np.array(X), clean.copy()
    survivors = np.flatnonzero(clean)
    for number, start in enumerate(range(0, len(survivors), batch_size)):
        batch = survivors[start : start + batch_size]
        x = model.asarray(X[batch])
        generator = make_generator(_batch_seed(seed, number), x)
        found = attack.perturb(model, x, model.labels(y[batch]), threat, generator)
        inside = threat.contains(found, x)
        if not inside.all():
            raise RuntimeError(
                f"{type(attack).__name__} returned {int((~inside).sum())} points outside the "
                "threat model; this is a defect of the attack."
            )
        found = np.asarray(found.cpu() if is_torch(found) else found)
        X_adv[batch] = found
        robust[batch] = predict(found) == y[batch]
    return Verdict(X_adv, clean, robust)


def _batch_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
