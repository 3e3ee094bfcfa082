"""Certified training: the loss at logits that no adversary within the threat model can worsen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_real
from sklearn_robust.bounds._affine import Dense
from sklearn_robust.bounds._backward import minimum
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._margins import difference_specs
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region, make_region
from sklearn_robust.bounds._translation import Known, normalization
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    cross_entropy,
    standard_loss,
)

_TOLERANCE = 0.5  # of both parts of the regulariser, as published


class Enclosure:
    """The boxes through a network over one region per sample, with gradients, without rounding."""

    def __init__(
        self, module: nn.Module, X: Tensor, y: Tensor, region: Region, known: Known | None = None
    ) -> None:
        self.network = Network(module, X, rounding=False, known=known)
        self.boxes = intervals(self.network, region)
        self.region, self.y = region, y

    def margins(self, *, linear: bool = False) -> Tensor:
        """Return lower bounds of ``f_y - f_j``: by intervals, or by lines around activations.

        By intervals, the layers after the last activation act on the differences of logits.
        """
        layers, last = self.network.layers, self.network.last
        if not linear and len(layers) == last + 1 and isinstance(layers[last], Dense):
            return _dense_margins(layers[last], *self.boxes[last], self.y)
        specs = difference_specs(self.y, self.network.shapes[-1][0], self.region.low)
        stop = 0 if linear else last
        return minimum(self.network, self.region, self.boxes, specs, len(layers), stop)

    def regularizer(self) -> Tensor:
        r"""Return the mean over the ReLU layers of (tightness + balance) / tau, with tau = 0.5.

        .. math:: \max(0, \tau - \bar r_0 / \bar r_k) + \max(0, \tau - \min(a, 1/a))
                  + \max(0, \tau - \min(b, 1/b))

        with r the half widths of the boxes at the input and before layer k, and a, b the ratios of
        active to inactive units in the sum of the centres and of their squared deviations.
        """
        first = (self.region.high - self.region.low).mean()
        terms = []
        for layer, (low, high) in zip(self.network.layers, self.boxes, strict=False):
            if getattr(layer, "slope", None) != 0:  # only ReLU has the slope 0
                continue
            growth = first / (high - low).mean().clamp(min=1e-12)
            terms.append(functional.relu(_TOLERANCE - growth) + _imbalance(low, high))
        if not terms:
            return first.new_zeros(())
        return torch.stack(terms).mean() / _TOLERANCE


def _dense_margins(layer: Dense, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    r"""Return the least ``f_y - f_j`` of a last layer ``W z + b`` over boxes, (n, n_classes).

    .. math:: (w_y - w_j)^T c + b_y - b_j - |w_y - w_j|^T r

    The absolute differences of all pairs of rows times all radii are one product of matrices,
    several times faster than a product of its own for each sample.
    """
    rows = layer.weight
    apart = (rows[:, None] - rows).abs().flatten(0, 1)
    with torch.autocast(low.device.type, enabled=False):  # all bits: these decide, and cost little
        logits = layer.forward((low + high) / 2)
        reach = functional.linear((high - low) / 2, apart).unflatten(1, (len(rows), len(rows)))
    picked = y[:, None, None].expand(-1, 1, len(rows))
    return logits.gather(1, y[:, None]) - logits - reach.gather(1, picked)[:, 0]


def _imbalance(low: Tensor, high: Tensor) -> Tensor:
    centre = (low + high) / 2
    active, inactive = (low > 0).to(centre), (high < 0).to(centre)
    spread = (centre - centre.mean()).square()
    total = centre.new_zeros(())
    for above, below in (
        ((centre * active).sum(), -(centre * inactive).sum()),
        ((spread * active).sum(), (spread * inactive).sum()),
    ):
        # A layer without active or without inactive units has no ratio; it counts nothing.
        known = (above > 0) & (below > 0)
        a, b = torch.where(known, above, 1.0), torch.where(known, below, 1.0)
        term = functional.relu(_TOLERANCE - torch.minimum(a / b, b / a))
        total = total + torch.where(known, term, 0.0)
    return total


def normalizes(module: nn.Module) -> bool:
    """Return whether any batch norm takes its statistics from the batch."""
    return any(_batch_norms(module))


def trained_logits(module: nn.Module, X: Tensor, *, gradients: bool) -> tuple[Tensor, Known]:
    """Return the logits of a batch in training, and its batch norms as the layers they are for it.

    Without `gradients` the logits have none, unless statistics of the batch need them.
    """
    wanted = (gradients or normalizes(module)) and torch.is_grad_enabled()
    with torch.set_grad_enabled(wanted), _watched(_batch_norms(module)) as seen:
        return module(X), seen


def _batch_norms(module: nn.Module) -> Iterator[Any]:
    return (m for m in module.modules() if isinstance(m, _BatchNorm) and m.training)


@contextmanager
def _watched(norms: Iterable[Any]) -> Iterator[dict[nn.Module, list[Any]]]:
    """Collect what batch norms in training do to the batch that passes through them."""
    seen: dict[nn.Module, list[Any]] = {}

    def watch(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].to(norm.running_mean.dtype)
        variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)), correction=0)
        seen[norm] = [normalization(norm, mean, variance, x.ndim - 2)]

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(kw_only=True)
class CertifiedObjective(TrainingObjective):
    """What the objectives with bounds share; see `IntervalTraining` for the parameters."""

    epsilon_factor: float = 1.0
    regularization: float = 0.5
    initialization: bool = True

    def __post_init__(self) -> None:
        check_real(self.epsilon_factor, "epsilon_factor", low=0, open_low=True)
        check_real(self.regularization, "regularization", low=0)

    def check(self, module: nn.Module, X: Tensor, threat: ThreatModel) -> None:
        Network(module, X, rounding=False)  # raises for a layer without bounds
        make_region(X, threat)  # raises for a norm without bounds

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        if self.initialization:
            interval_initialize(module, generator)

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
        strength = self.regularization * (1 - share)
        penalty = strength * enclosure.regularizer() if strength > 0 else None
        return -self._margins(enclosure, share), penalty

    def _margins(self, enclosure: Enclosure, share: float) -> Tensor:
        return enclosure.margins()

    def validation_loss(
        self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the loss at the worst logits at epsilon itself."""
        region = make_region(X, context.threat, rounding=False)
        worst, _ = self.worst_logits(module, X, y, region, 1.0)
        return BatchLoss(cross_entropy(worst, y), worst, module(X))


@dataclass(kw_only=True)
class IntervalTraining(CertifiedObjective):
    r"""Cross-entropy at the worst logits by interval bounds; ``training="ibp"``.

    .. math:: \kappa \, L(F(x), y) + (1 - \kappa) \, L(-m, y) + \lambda (1 - s) R, \qquad
              \kappa = 1 - (1 - \kappa_{end}) s

    with :math:`m_j \le \min_{x' \in A(x)} F_y - F_j` from intervals, the last affine layers acting
    on differences of logits [1]_; s the share of epsilon that the schedule has reached; and R the
    regulariser of [2]_, which holds the boxes tight and the ReLUs balanced while epsilon rises. It
    is one number per batch, without sample weights. Costs about three forward passes and their
    gradients. The accuracies that the history calls adversarial are certified ones. Bounds take
    layers as in eval mode, but batch norm with the statistics of the clean batch, as in [2]_.

    Parameters
    ----------
    kappa : float, default=0.5
        Weight of the clean loss when epsilon has been reached; before, it is larger.
    epsilon_factor : float, default=1.0
        Train at this multiple of epsilon. Certified accuracy at epsilon often gains from a larger
        one (1.1 in [1]_ and 1.33 in [2]_ on MNIST at 0.3).
    regularization : float, default=0.5
        The factor lambda of [2]_; 0: none.
    initialization : bool, default=True
        Draw the weights of the library's own networks with standard deviation
        ``sqrt(2 pi) / fan_in`` [2]_, with which boxes keep their width through ReLU layers.

    References
    ----------
    .. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training
       verifiably robust models", 2018.
    .. [2] Z. Shi et al., "Fast certified robust training with short warmup", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier, certified_score
    >>> from sklearn_robust.neural_network import IntervalTraining
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = IntervalTraining(kappa=0.0)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> certified_score(clf.fit(X, y), X, y) > 0.9
    True
    """

    kappa: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real(self.kappa, "kappa", low=0, high=1)

    def loss(self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext) -> BatchLoss:
        if context.threat.is_null:
            return standard_loss(module, X, y)
        threat = context.threat.scaled(self.epsilon_factor)
        region = make_region(X, threat, rounding=False)
        certified = (1 - self.kappa) * context.share
        clean, norms = trained_logits(module, X, gradients=certified < 1)
        worst, penalty = self.worst_logits(module, X, y, region, context.share, norms)
        losses = certified * cross_entropy(worst, y)
        if certified < 1:
            losses = losses + (1 - certified) * cross_entropy(clean, y)
        return BatchLoss(losses, worst, clean.detach(), penalty)


@dataclass(kw_only=True)
class CrownIntervalTraining(IntervalTraining):
    r"""Interval training that begins with tighter bounds; ``training="crown-ibp"``.

    The loss of `IntervalTraining` with the margins

    .. math:: m = \beta \, m_{crown} + (1 - \beta) \, m_{ibp}, \qquad
              \beta = 1 - (1 - \beta_{end}) s

    where m_crown comes from lines around the activations, as wide as intervals say, pushed
    backwards from the margins to the input [1]_, eq. (10). Costs about two backward passes per
    class more, as long as beta is not 0.

    Parameters
    ----------
    kappa, epsilon_factor, regularization, initialization
        As in `IntervalTraining`.
    beta : float, default=0.0
        Weight of the tighter bounds when epsilon has been reached.

    References
    ----------
    .. [1] H. Zhang et al., "Towards stable and efficient training of verifiably robust neural
       networks", ICLR 2020.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier, certified_score
    >>> from sklearn_robust.neural_network import CrownIntervalTraining
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> training = CrownIntervalTraining(beta=0.5)
    >>> clf = RobustFCClassifier((16,), training=training, epsilon=0.3, lr=0.01, random_state=0)
    >>> certified_score(clf.fit(X, y), X, y) > 0.9
    True
    """

    beta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real(self.beta, "beta", low=0, high=1)

    def _margins(self, enclosure: Enclosure, share: float) -> Tensor:
        beta = 1 - (1 - self.beta) * share
        margins = enclosure.margins()
        if beta == 0 or not enclosure.network.last:  # a linear network is bounded exactly already
            return margins
        return beta * enclosure.margins(linear=True) + (1 - beta) * margins


def interval_initialize(module: nn.Module, generator: torch.Generator) -> None:
    r"""Draw weights under which boxes keep their mean width from layer to layer, in place.

    Weights of linear and convolutional layers are normal with mean 0 and standard deviation
    :math:`\sqrt{2 \pi} / n` for n inputs per unit, biases 0.

    Parameters
    ----------
    module : torch.nn.Module
    generator : torch.Generator
        On the device of the module.

    References
    ----------
    .. [1] Z. Shi et al., "Fast certified robust training with short warmup", NeurIPS 2021,
       section 3.1.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import interval_initialize
    >>> layer = torch.nn.Linear(500, 100)
    >>> interval_initialize(layer, torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 4), layer.bias.any().item()  # sqrt(2 pi) / 500 = 0.0050
    (0.005, False)
    """
    layers: list[Any] = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            fan_in = max(layer.weight[0].numel(), 1)
            layer.weight.normal_(0, math.sqrt(2 * math.pi) / fan_in, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
