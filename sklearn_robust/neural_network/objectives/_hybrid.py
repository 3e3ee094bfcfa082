"""Between attack and certificate: small boxes around adversarial points, and a mixture of both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sklearn_robust._arrays import per_feature
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_real
from sklearn_robust.attacks import PGD
from sklearn_robust.bounds._regions import Box, make_region
from sklearn_robust.neural_network.objectives._attacked import own_attack
from sklearn_robust.neural_network.objectives._base import TrainingContext
from sklearn_robust.neural_network.objectives._certified import CertifiedObjective, Placement


@dataclass(kw_only=True)
class SmallBoxTraining(CertifiedObjective):
    r"""Worst logits over a small box around an adversarial point; ``training="sabr"``.

    .. math:: (1 - s) \, L(F(x), y) + s \, L(-m(B), y) + \lambda (1 - s) R,

    .. math:: B = \{x' + \delta : |\delta| \le b \epsilon\} \cap A(x), \quad
              x' \approx \arg\max_{\|x' - x\| \le (1 - b) \epsilon} L(F(x'), y)

    with m the margins over B by intervals [1]_, Algorithm 1, s the share of epsilon reached and R
    as in `IntervalTraining`. Small boxes cost the network less accuracy than the whole ball does;
    b = 1 is interval training. linf only. Samples that are misclassified are not attacked, where
    [1]_ attacks all: their x' is x. In the history, adversarial accuracies on training
    batches are those over B, neither an attack's nor certified.

    Parameters
    ----------
    box : float, default=0.6
        The share b of epsilon, in (0, 1].
    attack : PGD, optional
        None: PGD with the classifier's `pgd_steps`, `step_size` and `random_start`.
    epsilon_factor, regularization, initialization
        As in `IntervalTraining`.

    References
    ----------
    .. [1] M. N. Müller et al., "Certified training: small boxes are all you need", ICLR 2023.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier, certified_score
    >>> from sklearn_robust.neural_network import SmallBoxTraining
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = SmallBoxTraining(box=0.5)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> certified_score(clf.fit(X, y), X, y) > 0.9
    True
    """

    box: float = 0.6
    attack: PGD | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real(self.box, "box", low=0, high=1, open_low=True)

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        super().check(module, X, threat)
        if threat.moves is not None:
            raise ValueError(
                "training='sabr' shrinks a ball, not the changes of a table. Use training='ibp' or "
                "'mtl-ibp'."
            )
        if threat.norm != "linf":
            raise ValueError(
                f"training='sabr' needs norm='linf', whose ball is a box, got {threat.norm!r}. Use "
                "training='mtl-ibp' or 'ibp'."
            )
        own_attack(self).check_reach(threat.scaled(self.epsilon_factor * (1 - self.box)))

    def certified_share(self, share: float) -> float:
        return share

    def place(
        self,
        module: torch.nn.Module,
        X: Tensor,
        y: Tensor,
        context: TrainingContext,
        certified: float,
    ) -> Placement:
        threat, model = context.threat, context.model(module)
        clean_logits = model.logits(X)
        centre = own_attack(self).perturb(
            model, X, y, threat.scaled(1 - self.box), context.generator, logits=clean_logits
        )
        radius = self.box * per_feature(threat.epsilon, X)
        around = threat.around(X)
        box = Box(around.project(centre - radius), around.project(centre + radius))
        return Placement(box, X, clean_logits)


@dataclass(kw_only=True)
class MixedIntervalTraining(CertifiedObjective):
    r"""Adversarial and certified loss in a fixed proportion; ``training="mtl-ibp"``.

    .. math:: (1 - \alpha s) \, L(F(x'), y) + \alpha s \, L(-m, y) + \lambda (1 - s) R

    with x' from the attack, m the margins over A(x) by intervals, s the share of epsilon reached
    and R as in `IntervalTraining` [1]_, eq. (9). Between adversarial training (alpha 0) and
    interval training (alpha 1); a small alpha keeps more accuracy and leaves the proof to tighter
    bounds than intervals. Samples that are misclassified are not attacked, where [1]_ attacks all:
    their x' is x.

    Parameters
    ----------
    alpha : float, default=0.5
    attack : PGD, optional
        None: PGD with the classifier's `pgd_steps`, `step_size` and `random_start`.
    epsilon_factor, regularization, initialization
        As in `IntervalTraining`.

    References
    ----------
    .. [1] A. De Palma et al., "Expressive losses for verified robustness via convex combinations",
       ICLR 2024.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier, certified_score
    >>> from sklearn_robust.neural_network import MixedIntervalTraining
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = MixedIntervalTraining(alpha=0.3)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> certified_score(clf.fit(X, y), X, y) > 0.9
    True
    """

    alpha: float = 0.5
    attack: PGD | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real(self.alpha, "alpha", low=0, high=1)

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:
        super().check(module, X, threat)
        own_attack(self).check_reach(threat.scaled(self.epsilon_factor))

    def certified_share(self, share: float) -> float:
        return self.alpha * share

    def place(
        self,
        module: torch.nn.Module,
        X: Tensor,
        y: Tensor,
        context: TrainingContext,
        certified: float,
    ) -> Placement:
        model, attacked = context.model(module), X
        clean_logits = model.logits(X)
        if certified < 1:
            attacked = own_attack(self).perturb(
                model, X, y, context.threat, context.generator, logits=clean_logits
            )
        return Placement(make_region(X, context.threat, rounding=False), attacked, clean_logits)
