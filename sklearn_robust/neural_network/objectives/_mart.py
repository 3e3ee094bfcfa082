"""MART: adversarial training that weighs misclassified samples more."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust._validation import check_real
from sklearn_robust.attacks import PGD, pick, without
from sklearn_robust.neural_network.objectives._attacked import AttackObjective
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    kl_divergence,
)


@dataclass
class MART(AttackObjective):
    r"""Misclassification-aware training; ``training="mart"``.

    .. math:: -\log p_y(x') - \log(1 - \max_{k \ne y} p_k(x'))
              + \lambda \, (1 - p_y(x)) \, \mathrm{KL}(p(x) \,\|\, p(x'))

    with x' the points that maximise the cross-entropy [1]_, eq. (11), sought for all samples, where
    ``training="pgd"`` skips those already wrong. Costs one forward and one backward pass more than
    that.

    Parameters
    ----------
    weight : float, default=5.0
        The factor lambda, >= 0.
    attack : PGD, optional
        None: PGD with the classifier's `pgd_steps`, `step_size` and `random_start`.

    References
    ----------
    .. [1] Y. Wang et al., "Improving adversarial robustness requires revisiting misclassified
       examples", ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import MART
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = MART(weight=2.0)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    weight: float = 5.0
    attack: PGD | None = None

    def __post_init__(self) -> None:
        check_real(self.weight, "weight", low=0)

    def tuned(self, attack: PGD, clean_logits: Tensor) -> PGD:
        return replace(attack, only_correct=False)

    def losses_at(
        self, module: torch.nn.Module, X: Tensor, X_adv: Tensor, y: Tensor, clean_logits: Tensor
    ) -> BatchLoss:
        clean, logits = module(X), module(X_adv)
        doubt = -torch.expm1(pick(functional.log_softmax(clean, dim=1), y))  # 1 - p_y(x)
        stability = self.weight * doubt * kl_divergence(logits, clean)
        return BatchLoss(boosted_cross_entropy(logits, y) + stability, logits, clean.detach())


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return ``-log p_y - log(1 - max_{k != y} p_k)``, without a difference of probabilities.

    1 - p_k is the sum of the other probabilities, whose logarithm does not underflow.
    """
    total = logits.logsumexp(1)
    rival = without(logits, y).argmax(1)
    return (total - pick(logits, y)) + (total - without(logits, rival).logsumexp(1))
