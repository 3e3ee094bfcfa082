"""Training objectives: what is minimised over one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._losses import is_right
from sklearn_robust.attacks._model import TorchModel
from sklearn_robust.attacks._pgd import PGD


@dataclass(frozen=True)
class BatchLoss:
    """One batch seen by an objective.

    Attributes
    ----------
    losses : tensor of shape (n_samples,)
        What is minimised, before weights; carries the gradient.
    logits : tensor of shape (n_samples, n_classes)
        The logits that `losses` came from: those under attack.
    clean_logits : tensor of shape (n_samples, n_classes)
        The logits at the samples themselves.
    """

    losses: torch.Tensor
    logits: torch.Tensor
    clean_logits: torch.Tensor


class Objective(Protocol):
    """What a training method minimises; to add one, write a class with this method."""

    def loss(
        self,
        module: torch.nn.Module,
        X: torch.Tensor,
        y: torch.Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> BatchLoss:
        """Return the loss of one batch; `module` is in training mode and may be used as it is."""


@dataclass(frozen=True)
class AdversarialCrossEntropy:
    r"""The report's robust training: cross-entropy at the points that an attack found.

    .. math:: L(F(X_{adv}), y), \qquad X_{adv} \approx \arg\max_{x' \in A(x)} L(F(x'), y)

    With `epsilon` 0 it is standard training and costs nothing more.

    Parameters
    ----------
    attack : PGD

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Algorithm 1.
    """

    attack: PGD

    def loss(
        self,
        module: torch.nn.Module,
        X: torch.Tensor,
        y: torch.Tensor,
        threat: ThreatModel,
        generator: torch.Generator,
    ) -> BatchLoss:
        if threat.is_null:
            logits = module(X)
            return BatchLoss(cross_entropy(logits, y), logits, logits.detach())
        model = TorchModel(module, 0)
        clean_logits = model.logits(X)
        X_adv = self.attack.perturb(model, X, y, threat, generator, logits=clean_logits)
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits, clean_logits)


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each sample."""
    return functional.cross_entropy(logits, y, reduction="none")


def count_right(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how many samples are classified as `y`, without waiting for the device."""
    return is_right(logits, y).sum()
