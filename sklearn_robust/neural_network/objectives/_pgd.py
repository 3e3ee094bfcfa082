"""Adversarial training by PGD: Algorithm 1 of Collins et al. (2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sklearn_robust._validation import check_real
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network.objectives._attacked import AttackObjective
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    cross_entropy,
)


@dataclass
class AdversarialCrossEntropy(AttackObjective):
    r"""Cross-entropy at the points that an attack found; ``training="pgd"``.

    .. math:: L(F(X_{adv}), y), \qquad X_{adv} \approx \arg\max_{x' \in A(x)} L(F(x'), y)

    Costs a clean forward pass, as many forward passes and input gradients as the attack has steps,
    and a training pass. With `epsilon` 0 it is standard training and costs nothing more.

    Parameters
    ----------
    attack : PGD, optional
        None: PGD with the classifier's `pgd_steps`, `step_size` and `random_start`.
    epsilon_factor : float, default=1.0
        Train at this multiple of epsilon. Robustness fades at the very radius of the training, so
        a slightly larger one can gain at epsilon. A `step_size` of one's own stays as it is.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Algorithm 1.
    .. [2] A. Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import AdversarialCrossEntropy
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = AdversarialCrossEntropy(epsilon_factor=1.1)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    attack: PGD | None = None
    epsilon_factor: float = 1.0

    def __post_init__(self) -> None:
        check_real(self.epsilon_factor, "epsilon_factor", low=0, open_low=True)

    def enlarged(self, context: TrainingContext) -> TrainingContext:
        return replace(context, threat=context.threat.scaled(self.epsilon_factor))

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the loss under the attack at epsilon itself."""
        return self._attacked(module, X, y, context)

    def losses_at(
        self, module: torch.nn.Module, X: Tensor, X_adv: Tensor, y: Tensor, clean_logits: Tensor
    ) -> BatchLoss:
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits, clean_logits)
