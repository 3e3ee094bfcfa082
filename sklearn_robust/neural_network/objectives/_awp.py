"""Adversarial weight perturbation: the weights, too, are moved to where the loss is larger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_real
from sklearn_robust.attacks import PGD, same_buffers
from sklearn_robust.neural_network.objectives._attacked import AttackObjective
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    standard_loss,
)
from sklearn_robust.neural_network.objectives._pgd import AdversarialCrossEntropy


@dataclass
class AdversarialWeightPerturbation(TrainingObjective):
    r"""Another objective's loss at perturbed weights, which flattens the loss in the weights.

    .. math:: \ell(\theta + v; x'), \qquad
              v_k = \gamma \, \|\theta_k\| \, \frac{\nabla_k \ell}{\|\nabla_k \ell\|}

    for every weight matrix and kernel theta_k, with x' the points that the objective's attack has
    found; the update is made from theta with the gradient at theta + v [1]_, eqs. (9) and (10)
    with one step. Costs one training pass more than the objective.

    Parameters
    ----------
    objective : AttackObjective, optional
        `AdversarialCrossEntropy`, `TRADES` or `MART`. None: the first of these.
    gamma : float, default=0.01
        Relative size of the perturbation, > 0.

    References
    ----------
    .. [1] D. Wu, S.-T. Xia, Y. Wang, "Adversarial weight perturbation helps robust
       generalization", NeurIPS 2020.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import TRADES, AdversarialWeightPerturbation
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = AdversarialWeightPerturbation(TRADES(), gamma=0.005)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    objective: AttackObjective | None = None
    gamma: float = 0.01
    _moved: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_real(self.gamma, "gamma", low=0, open_low=True)
        if self.objective is not None and not isinstance(self.objective, AttackObjective):
            raise ValueError(
                "objective must find adversarial points first: AdversarialCrossEntropy, TRADES or "
                f"MART, got {self.objective!r}."
            )

    def bound_to(self, attack: PGD) -> AdversarialWeightPerturbation:
        inner = AdversarialCrossEntropy() if self.objective is None else self.objective
        return type(self)(inner.bound_to(attack), self.gamma)  # type: ignore[arg-type]

    @property
    def _inner(self) -> AttackObjective:
        return AdversarialCrossEntropy() if self.objective is None else self.objective

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        self._inner.check(module, X, threat)

    def loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        if context.threat.is_null:
            return standard_loss(module, X, y)
        context = self._inner.enlarged(context)
        X_adv, clean_logits = self._inner.find(module, X, y, context)
        with torch.enable_grad(), same_buffers(module):
            losses = self._inner.losses_at(module, X, X_adv, y, clean_logits).losses
            value = (losses if context.weight is None else losses * context.weight).mean()
            self._perturb(module, value)
        return self._inner.losses_at(module, X, X_adv, y, clean_logits)

    def _perturb(self, module: torch.nn.Module, value: Tensor) -> None:
        weights = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
        gradients = torch.autograd.grad(value, weights, allow_unused=True)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is None:
                    continue
                length = gradient.norm()
                scale = self.gamma * weight.norm() / torch.where(length > 0, length, 1.0)
                self._moved.append((weight, weight.clone()))
                weight.add_(scale * gradient)

    def after_backward(self, module: torch.nn.Module) -> None:
        self._restore_weights()

    def _restore_weights(self) -> None:
        with torch.no_grad():
            for weight, original in self._moved:
                weight.copy_(original)
        self._moved = []

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the objective's own loss, at the weights as they are."""
        return self._inner.validation_loss(module, X, y, context)

    def begin(self) -> None:
        self._restore_weights()  # there are some where a batch was interrupted
        self._inner.begin()

    def notes(self) -> dict[str, Any]:
        return self._inner.notes()

    def state(self) -> dict[str, Any]:
        return self._inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._inner.restore(state)
