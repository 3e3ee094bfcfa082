"""Objectives that take a loss where an attack has ended."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    standard_loss,
)


class AttackObjective(TrainingObjective):
    """An objective that first lets an attack find points, and then takes a loss there.

    A subclass, a dataclass with the field ``attack``, says which loss: `losses_at`.

    Attributes
    ----------
    attack : PGD or None
        None: PGD with the classifier's `pgd_steps`, `step_size` and `random_start`.

    Examples
    --------
    The hinge loss under attack:

    >>> from dataclasses import dataclass
    >>> from sklearn.datasets import make_blobs
    >>> from torch.nn.functional import multi_margin_loss
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import AttackObjective, BatchLoss
    >>> @dataclass
    ... class Hinge(AttackObjective):
    ...     attack: object = None
    ...     def losses_at(self, module, X, X_adv, y, clean_logits):
    ...         logits = module(X_adv)
    ...         losses = multi_margin_loss(logits, y, reduction="none")
    ...         return BatchLoss(losses, logits, clean_logits)
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> clf = RobustFCClassifier((16,), training=Hinge(), epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    attack: PGD | None

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        enlarged = self.enlarged(TrainingContext(threat, torch.Generator()))
        own_attack(self).check_reach(enlarged.threat)

    def loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        return self._attacked(module, X, y, self.enlarged(context))

    def _attacked(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        if context.threat.is_null:
            return standard_loss(module, X, y)
        X_adv, clean_logits = self.find(module, X, y, context)
        return self.losses_at(module, X, X_adv, y, clean_logits)

    def enlarged(self, context: TrainingContext) -> TrainingContext:
        """Return the context for the attack in training, whose radius may be another."""
        return context

    def find(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> tuple[Tensor, Tensor]:
        """Return the adversarial batch and the clean logits that the attack began with.

        Parameters
        ----------
        module, X, y, context
            As in `loss`.

        Returns
        -------
        X_adv : Tensor in the shape of X
        clean_logits : Tensor of shape (n_samples, n_classes)
        """
        model = context.model(module)
        clean_logits = model.logits(X)
        attack = self.tuned(own_attack(self), clean_logits)
        X_adv = attack.perturb(model, X, y, context.threat, context.generator, logits=clean_logits)
        return X_adv, clean_logits

    def tuned(self, attack: PGD, clean_logits: Tensor) -> PGD:
        """Return the attack as this objective needs it; by default as it is.

        Parameters
        ----------
        attack : PGD
        clean_logits : Tensor of shape (n_samples, n_classes)
            Of the batch to be attacked, in eval mode.

        Returns
        -------
        attack : PGD
        """
        return attack

    @abstractmethod
    def losses_at(
        self, module: torch.nn.Module, X: Tensor, X_adv: Tensor, y: Tensor, clean_logits: Tensor
    ) -> BatchLoss:
        """Return the loss with the attack's points given.

        Parameters
        ----------
        module : torch.nn.Module
            In training mode.
        X, X_adv : Tensor of shape (n_samples, ...)
            The samples, and the points that the attack has found.
        y : Tensor of int64, shape (n_samples,)
        clean_logits : Tensor of shape (n_samples, n_classes)
            At X, in eval mode and without gradient.

        Returns
        -------
        batch_loss : BatchLoss
        """


def own_attack(objective: Any) -> PGD:
    """Return the objective's attack; PGD's defaults if it never was part of a classifier."""
    return PGD() if objective.attack is None else objective.attack
