"""The frame of an attack: whom to attack, how often, and at which class; a run is the attack's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, replace_rows, sort_rows, works_ahead
from sklearn_robust._neighbourhood import Neighbourhood
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.attacks._losses import Loss, get_loss, is_right, without
from sklearn_robust.attacks._model import Model
from sklearn_robust.attacks._points import where_rows

Move = Callable[[tuple, tuple], tuple]


@dataclass(frozen=True)
class Run:
    """What one run of an attack is given.

    Attributes
    ----------
    model : Model
    X, y : arrays
        The clean samples to attack, and their class indices.
    threat : ThreatModel
    loss : Loss
        What to maximise, aimed at a class of each sample if the attack is targeted.
    generator : numpy.random.Generator or torch.Generator
    number : int
        Runs before this one.
    """

    model: Any
    X: Array
    y: Array
    threat: ThreatModel
    loss: Loss
    generator: Any
    number: int

    @property
    def around(self) -> Neighbourhood:
        """The sets A(x_i), computed anew at each access."""
        return self.threat.around(self.X)

    def take(self, keep: Array) -> Run:
        """Return the same for the samples `keep` only."""
        return replace(self, X=self.X[keep], y=self.y[keep], loss=self.loss.take(keep))


class SearchAttack(ABC):
    """An attack in runs, each on the samples that are still classified correctly.

    A subclass says what one run does, `run`, and in attributes how many there are to be.

    Attributes
    ----------
    loss : str or Loss
    n_restarts : int
        Runs for each target.
    n_targets : int
        0: untargeted. Otherwise runs for each of so many wrong classes, most likely first; all of
        them if there are fewer.
    only_correct : bool
        Whether to leave alone what is misclassified as it is.
    needs_gradients : bool
        Whether runs ask the model for more than logits.
    """

    loss: str | Loss = "margin"
    n_restarts: int = 1
    n_targets: int = 0
    only_correct: bool = True
    needs_gradients: bool = True

    @abstractmethod
    def run(self, run: Run) -> Array:
        """Return the points that one run has found, in the shape of its X and inside the set."""

    def check_reach(self, threat: ThreatModel) -> None:  # noqa: B027 (most have nothing to check)
        """Raise ValueError if a run covers next to nothing of the set; by default, none does."""

    def perturb(
        self,
        model: Any,
        X: Array,
        y: Array,
        threat: ThreatModel,
        generator: Any,
        logits: Array | None = None,
    ) -> Array:
        """Return the adversarial batch: for each sample the point of the first run to break it.

        Parameters
        ----------
        model : Model
            A `DifferentiableModel` for attacks with gradients.
        X : array of shape (n_samples, ...)
            Samples in the units of `threat`; left unchanged.
        y : array of shape (n_samples,)
            Class indices.
        threat : ThreatModel
        generator : numpy.random.Generator or torch.Generator
            The only source of random numbers, on the device of X.
        logits : array of shape (n_samples, n_classes), optional
            The logits at `X` if they are known already, which saves a forward pass.

        Returns
        -------
        X_adv : array in the shape of X
            Where no run breaks the sample, the point of the last one.
        """
        check_model(model, self)
        if threat.is_null or not len(X):
            return X
        self.check_reach(threat)
        if logits is None and self.only_correct:
            logits = model.logits(X)
        todo = is_right(logits, y) if self.only_correct else y == y
        aims = losses(get_loss(self.loss), model, X, y, self.n_targets, logits)
        plan = enumerate(aim for aim in aims for _ in range(self.n_restarts))
        runs = [Run(model, X, y, threat, aim, generator, number) for number, aim in plan]
        if len(runs) == 1 and works_ahead(X):
            # Attacking some in vain costs less than waiting for the device to say whom to attack.
            return where_rows(todo, self.run(runs[0]), X)
        return self._search(runs, todo)

    def _search(self, runs: list[Run], todo: Array) -> Array:
        X_adv = runs[0].X
        for run in runs:
            if not todo.any():
                break
            if todo.all():
                found = X_adv = self.run(run)
            else:
                found = self.run(run.take(todo))
                X_adv = replace_rows(X_adv, todo, found)
            if run is not runs[-1]:
                right = is_right(run.model.logits(found), run.y[todo])
                todo = replace_rows(todo, todo, right)
        return X_adv


def repeat(
    model: Model, move: Move, n_steps: int, moving: tuple, fixed: tuple, kind: Hashable | None
) -> tuple:
    """Return `moving` after `n_steps` times ``moving = move(moving, fixed)``.

    Both are tuples of arrays, of objects that hold arrays, and of None. A model may have a method
    `repeat` that does it in a faster way, and knows the step again by `kind`: all else that decides
    what `move` does on it. None: there will hardly be another step of this shape.
    """
    faster = getattr(model, "repeat", None)
    if faster is not None and kind is not None:
        return faster(move, n_steps, moving, fixed, kind)
    for _ in range(n_steps):
        moving = move(moving, fixed)
    return moving


def losses(
    loss: Loss, model: Model, X: Array, y: Array, n_targets: int, logits: Array | None = None
) -> list[Loss]:
    """Return the loss, or aimed at the likeliest wrong class of each sample, the second, ..."""
    if n_targets == 0:
        return [loss]
    logits = model.logits(X) if logits is None else logits
    _, order = sort_rows(-without(logits, y))
    return [loss.at(order[:, rank]) for rank in range(min(n_targets, logits.shape[1] - 1))]


def check_targets(n_targets: Any, loss: str | Loss) -> None:
    """Raise ValueError unless `n_targets` is a count and, if > 0, the loss can be aimed."""
    check_int(n_targets, "n_targets", low=0)
    if n_targets:
        get_loss(loss).at(np.zeros(1, dtype=int))


def check_model(model: Any, attack: SearchAttack) -> None:
    """Raise ValueError if the attack cannot work on this model."""
    name = type(attack).__name__
    if attack.needs_gradients and not hasattr(model, "ascent"):
        kind = getattr(model, "kind", type(model).__name__)  # one that counts says whose passes
        raise ValueError(
            f"{name} needs gradients with respect to the input, which {kind} does not give. Use an "
            "attack that needs scores only: Square(), or attack='auto'."
        )
    if model.n_classes == 1:  # training passes 0, not knowing the number
        why = (
            "there is no class to aim at." if attack.n_targets else "no input can be misclassified."
        )
        raise ValueError(f"{name} needs a model with at least 2 classes, got n_classes=1: {why}")
