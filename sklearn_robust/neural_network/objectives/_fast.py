"""Fast adversarial training: one step from a random start, watched for its known failure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int, check_real
from sklearn_robust.attacks import PGD, TorchModel
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    count_right,
    cross_entropy,
    standard_loss,
)


@dataclass
class FastAdversarial(TrainingObjective):
    r"""Cross-entropy after one signed step from a random start; ``training="fgsm"``.

    .. math:: x' = P_A(x + \delta + \alpha \, \mathrm{sign} \nabla_x L(F(x + \delta), y)), \qquad
              \delta \sim U(A), \quad \alpha = 1.25 \, \epsilon

    as in [1]_, Algorithm 3 (steepest steps of that length in other norms). Costs two forward and
    two backward passes.

    *Catastrophic overfitting*: the network may learn to defeat the single step alone; its accuracy
    under that step stays high and that under PGD falls to 0 within an epoch [1]_. Every
    `probe_every` batches, PGD attacks the batch at hand. Where its accuracy is lower than that
    under the single step by more than `tolerance`, training goes on with PGD of `fallback_steps`
    steps, says so with a warning, and the history has ``multi_step`` true from that epoch on.

    Parameters
    ----------
    step : float, default=1.25
        Length of the step in units of epsilon.
    probe_every : int, default=25
        Batches between two probes, each of which costs ``probe_steps + 1`` passes.
    probe_steps : int, default=10
        Steps of PGD in a probe.
    tolerance : float, default=0.2
        Largest difference of the two accuracies that counts as healthy.
    fallback_steps : int, default=5
        Steps of PGD after a failure.

    References
    ----------
    .. [1] E. Wong, L. Rice, J. Z. Kolter, "Fast is better than free: revisiting adversarial
       training", ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import FastAdversarial
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = FastAdversarial(probe_every=10)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    >>> clf.net_.history[-1]["multi_step"]
    False
    """

    step: float = 1.25
    probe_every: int = 25
    probe_steps: int = 10
    tolerance: float = 0.2
    fallback_steps: int = 5
    _batches: int = field(default=0, init=False, repr=False)
    _multi_step: bool = field(default=False, init=False, repr=False)
    _probed: tuple[float, float] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_real(self.step, "step", low=0, open_low=True)
        check_real(self.tolerance, "tolerance", low=0, high=1)
        for name in ("probe_every", "probe_steps", "fallback_steps"):
            check_int(getattr(self, name), name, low=1)

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        if threat.moves is not None:
            raise ValueError(
                "training='fgsm' has a length of step, which the changes of a table have not. Use "
                "training='auto' with pgd_steps=1."
            )
        if not threat.is_null:
            self._attack(TrainingContext(threat, torch.Generator())).check_reach(threat)

    def loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        if context.threat.is_null:
            return standard_loss(module, X, y)
        model = context.model(module)
        self._batches += 1
        if not self._multi_step and self._batches % self.probe_every == 0:
            self._probe(model, X, y, context)
        X_adv = self._attack(context).perturb(model, X, y, context.threat, context.generator)
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits)

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the loss under PGD of `probe_steps` steps: one step would not see the failure."""
        model = context.model(module)
        clean_logits = model.logits(X)
        attack = PGD(self.probe_steps)
        X_adv = attack.perturb(model, X, y, context.threat, context.generator, logits=clean_logits)
        logits = module(X_adv)
        return BatchLoss(cross_entropy(logits, y), logits, clean_logits)

    def _attack(self, context: TrainingContext) -> PGD:
        if self._multi_step:
            return PGD(self.fallback_steps)
        return PGD(1, self.step * context.threat.epsilon, only_correct=False)

    def _probe(self, model: TorchModel, X: Tensor, y: Tensor, context: TrainingContext) -> None:
        """Compare one step with many on this batch, and leave the single step if it is fooled."""
        held = []
        for attack in (self._attack(context), PGD(self.probe_steps, only_correct=False)):
            X_adv = attack.perturb(model, X, y, context.threat, context.generator)
            held.append(count_right(model.logits(X_adv), y) / len(y))
        one, many = torch.stack(held).tolist()
        self._probed = (one, many)
        if one - many > self.tolerance:
            self._multi_step = True
            warnings.warn(
                f"Catastrophic overfitting: accuracy {one:.3f} under a single step, {many:.3f} "
                f"under PGD-{self.probe_steps} on a training batch. Training goes on with "
                f"PGD-{self.fallback_steps}. A smaller lr or epsilon, or training='pgd', avoids "
                "it.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def notes(self) -> dict[str, Any]:
        notes: dict[str, Any] = {"multi_step": self._multi_step}
        if self._probed is not None:
            notes["probe_single_step"], notes["probe_pgd"] = self._probed
        return notes

    def state(self) -> dict[str, Any]:
        return {"batches": self._batches, "multi_step": self._multi_step, "probed": self._probed}

    def restore(self, state: dict[str, Any]) -> None:
        self._batches, self._multi_step = state["batches"], state["multi_step"]
        self._probed = state["probed"]
