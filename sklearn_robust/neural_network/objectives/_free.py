"""Free adversarial training: the gradient of the training pass moves the attack too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._neighbourhood import Neighbourhood
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    cross_entropy,
    has_ramp,
    standard_loss,
)


@dataclass
class FreeAdversarial(TrainingObjective):
    r"""Each batch is repeated; one backward pass serves weights and attack; ``training="free"``.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta L(F_\theta(x + \delta), y), \qquad
              \delta \leftarrow P_A(x + \delta + \epsilon \, u) - x, \quad
              u = \mathrm{sign} \nabla_x L

    for `replays` repetitions of the batch; the next batch begins with the same delta [1]_,
    Algorithm 1. An epoch costs `replays` training passes and no others, so [1]_ divides the number
    of epochs by `replays`. The attack sees the network as it trains (dropout on).

    Parameters
    ----------
    replays : int, default=8

    References
    ----------
    .. [1] A. Shafahi et al., "Adversarial training for free!", NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import FreeAdversarial
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = FreeAdversarial(replays=4)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    sees_through_ramps = False
    replays: int = 8
    _delta: Tensor | None = field(default=None, init=False, repr=False)
    _at: tuple[Neighbourhood, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_int(self.replays, "replays", low=1)

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        if has_ramp(module):
            raise ValueError(
                "training='free' attacks with the gradient of the training pass, which an "
                "input_ramp hides where it saturates. Use training='fgsm' or 'pgd'."
            )

    def loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        if context.threat.is_null:
            self._at = None
            return standard_loss(module, X, y)
        around = context.threat.around(X)
        if self._delta is None or len(self._delta) < len(X):
            self._delta = around.sample(context.generator) - X
        X_adv = around.project(X + self._delta[: len(X)].to(X)).requires_grad_()
        self._at = (around, X_adv)
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits)

    def after_backward(self, module: torch.nn.Module) -> None:
        if self._at is None or self._delta is None:
            return
        around, X_adv = self._at
        assert X_adv.grad is not None  # the losses came from it
        step = around.epsilon * around.direction(X_adv.grad)
        moved = around.project(X_adv.detach() + step) - around.X
        self._delta = torch.cat((moved, self._delta[len(moved) :].to(moved)))
        self._at = None

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the loss under PGD with ten steps: there is no training pass to learn from."""
        model = context.model(module)
        clean_logits = model.logits(X)
        X_adv = PGD(10).perturb(model, X, y, context.threat, context.generator, logits=clean_logits)
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits, clean_logits)

    def begin(self) -> None:
        self._delta = self._at = None

    def state(self) -> dict[str, Any]:
        return {"delta": self._delta}

    def restore(self, state: dict[str, Any]) -> None:
        self._delta = state["delta"]
