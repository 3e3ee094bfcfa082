"""The report's alternation as a training objective: attacks on each k-th batch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network import (
    AdversarialCrossEntropy,
    BatchLoss,
    TrainingContext,
    TrainingObjective,
)


@dataclass
class Every(TrainingObjective):
    """Cross-entropy on clean batches, and on each `k`-th batch partly on attacked ones.

    The first of `k` batches are clean; in the last, `share` of the loss is that under attack.
    """

    k: int = 2
    share: float = 1.0
    attack: PGD | None = None

    def begin(self) -> None:
        self.seen = 0

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def loss(
        self, module: torch.nn.Module, X: torch.Tensor, y: torch.Tensor, context: TrainingContext
    ) -> BatchLoss:
        self.seen += 1
        if self.seen % self.k == 0:
            attacked = AdversarialCrossEntropy(self.attack).loss(module, X, y, context)
            if self.share == 1:
                return attacked
        logits = module(X)
        clean = functional.cross_entropy(logits, y, reduction="none")
        if self.seen % self.k:
            return BatchLoss(clean, logits, logits.detach())
        losses = self.share * attacked.losses + (1 - self.share) * clean
        return BatchLoss(losses, attacked.logits, logits.detach())
