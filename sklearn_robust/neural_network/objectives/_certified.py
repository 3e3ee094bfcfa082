"""Certified training: the loss at logits that no adversary within the threat model can worsen."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_real
from sklearn_robust.bounds._batch_norm import normalizes, trained_logits
from sklearn_robust.bounds._enclosure import Enclosure
from sklearn_robust.bounds._graph import Known
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region, make_region
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    cross_entropy,
    has_ramp,
    standard_loss,
)
from sklearn_robust.neural_network.objectives._interval_initialize import interval_initialize
from sklearn_robust.neural_network.objectives._regularizer import box_regularizer


class Placement(NamedTuple):
    """Where an objective with bounds takes the two parts of its loss.

    Attributes
    ----------
    region : Region
        Over which the worst logits are taken.
    points : Tensor in the shape of the batch
        Where the other part is taken, as in training.
    clean_logits : Tensor of shape (n_samples, n_classes), optional
        None: `points` are the samples themselves, and their logits are wanted in any case.
    """

    region: Region
    points: Tensor
    clean_logits: Tensor | None = None


@dataclass(kw_only=True)
class CertifiedObjective(TrainingObjective):
    r"""What the objectives with bounds share; see `IntervalTraining` for the parameters.

    .. math:: (1 - \gamma) \, L(F(x'), y) + \gamma \, L(-m(B), y) + \lambda (1 - s) R

    at the share s of epsilon that the schedule has reached. A subclass says how large gamma is
    (`certified_share`), and which points x' and regions B it is about (`place`).
    """

    epsilon_factor: float = 1.0
    regularization: float | None = 0.5
    initialization: bool | None = True

    def __post_init__(self) -> None:
        check_real(self.epsilon_factor, "epsilon_factor", low=0, open_low=True)
        if self.regularization is not None:
            check_real(self.regularization, "regularization", low=0)

    @abstractmethod
    def certified_share(self, share: float) -> float:
        """Return the weight gamma of the worst logits at this share of epsilon."""

    @abstractmethod
    def place(
        self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext, certified: float
    ) -> Placement:
        """Return where the losses are taken.

        Parameters
        ----------
        module, X, y
            As in `loss`.
        context : TrainingContext
            With the radius of training, `epsilon_factor` included.
        certified : float
            The weight of the worst logits.

        Returns
        -------
        placement : Placement
        """

    def check(self, module: nn.Module, X: Tensor, threat: ThreatModel) -> None:
        Network(module, X, rounding=False)  # raises for a layer without bounds

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        wanted = self.initialization
        if not has_ramp(module) if wanted is None else wanted:
            interval_initialize(module, generator)

    def loss(self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext) -> BatchLoss:
        if context.threat.is_null:
            return standard_loss(module, X, y)
        context = replace(context, threat=context.threat.scaled(self.epsilon_factor))
        certified = self.certified_share(context.share)
        region, points, clean_logits = self.place(module, X, y, context, certified)
        norms: Known = {}
        if clean_logits is None or certified < 1 or normalizes(module):
            trained, norms = trained_logits(module, points, gradients=certified < 1)
            clean_logits = trained.detach() if clean_logits is None else clean_logits
        worst, penalty = self.worst_logits(module, X, y, region, context.share, norms)
        losses = certified * cross_entropy(worst, y)
        if certified < 1:
            losses = losses + (1 - certified) * cross_entropy(trained, y)
        return BatchLoss(losses, worst, clean_logits, penalty)

    def worst_logits(
        self,
        module: nn.Module,
        X: Tensor,
        y: Tensor,
        region: Region,
        share: float,
        norms: Known | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits, relative to that of the true class, and the penalty at this share.

        Batch norms are as in eval mode, or as `trained_logits` returned them.
        """
        enclosure = Enclosure(module, X, y, region, norms)
        strength = self._regularization(module) * (1 - share)
        penalty = strength * box_regularizer(enclosure) if strength > 0 else None
        return -self._margins(enclosure, share), penalty

    def _regularization(self, module: nn.Module) -> float:
        if self.regularization is None:
            return 0.0 if has_ramp(module) else 0.5
        return self.regularization

    def _margins(self, enclosure: Enclosure, share: float) -> Tensor:
        return enclosure.margins()

    def validation_loss(
        self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the loss at the worst logits at epsilon itself."""
        region = make_region(X, context.threat, rounding=False)
        worst, _ = self.worst_logits(module, X, y, region, 1.0)
        return BatchLoss(cross_entropy(worst, y), worst, module(X))
