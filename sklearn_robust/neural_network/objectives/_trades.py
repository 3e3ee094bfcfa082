"""TRADES: cross-entropy at the samples, and a divergence between there and the attack's points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sklearn_robust._validation import check_real
from sklearn_robust.attacks import PGD, Loss
from sklearn_robust.neural_network._graphs import recordable
from sklearn_robust.neural_network.objectives._attacked import AttackObjective, own_attack
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    cross_entropy,
    kl_divergence,
)
from sklearn_robust.neural_network.objectives._pgd import AdversarialCrossEntropy


@dataclass
class TRADES(AttackObjective):
    r"""Accuracy and stability as two terms; ``training="trades"``.

    .. math:: L(F(x), y) + \beta \, \mathrm{KL}(p(x) \,\|\, p(x')), \qquad
              x' \approx \arg\max_{x' \in A(x)} \mathrm{KL}(p(x) \,\|\, p(x'))

    with p the probabilities of the network [1]_, eq. (5). The attack climbs the divergence, on
    all samples, where ``training="pgd"`` skips those already wrong; costs one forward and one
    backward pass more than that. [1]_ starts the attack from normal noise of standard deviation
    0.001; here it starts as the attack does, uniformly in the ball. At x itself the divergence has
    no gradient, so a random start is needed. In the history, adversarial accuracies on training
    batches are those at these points; on held-out samples they are those of ``training="pgd"``.

    Parameters
    ----------
    beta : float, default=6.0
        Weight of stability against accuracy, >= 0.
    attack : PGD, optional
        None: PGD with the classifier's `pgd_steps` and `step_size`.

    References
    ----------
    .. [1] H. Zhang et al., "Theoretically principled trade-off between robustness and accuracy",
       ICML 2019.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import TRADES
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = TRADES(beta=3.0)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    beta: float = 6.0
    attack: PGD | None = None

    def __post_init__(self) -> None:
        check_real(self.beta, "beta", low=0)

    def tuned(self, attack: PGD, clean_logits: Tensor) -> PGD:
        loss = DivergenceFrom(clean_logits)
        return replace(attack, loss=loss, only_correct=False, random_start=True)

    def losses_at(
        self, module: torch.nn.Module, X: Tensor, X_adv: Tensor, y: Tensor, clean_logits: Tensor
    ) -> BatchLoss:
        clean, logits = module(X), module(X_adv)
        losses = cross_entropy(clean, y) + self.beta * kl_divergence(logits, clean)
        return BatchLoss(losses, logits, clean.detach())

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the cross-entropy under PGD, which breaks what the divergence leaves right."""
        return AdversarialCrossEntropy(own_attack(self)).loss(module, X, y, context)


@recordable
class DivergenceFrom(Loss):
    r"""``KL(p || softmax(z))`` for reference probabilities p of each sample.

    Its gradient with respect to z is ``softmax(z) - p``.
    """

    name = "divergence"

    def __init__(self, reference: Tensor) -> None:
        self.reference = reference

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        return kl_divergence(logits, self.reference)

    def direction(self, logits: Tensor, y: Tensor) -> Tensor:
        return logits.softmax(1) - self.reference.softmax(1)

    def take(self, keep: Tensor) -> DivergenceFrom:
        return DivergenceFrom(self.reference[keep])
