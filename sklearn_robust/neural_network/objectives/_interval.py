"""Certified training on interval bounds, and on the linear bounds that it may begin with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sklearn_robust._validation import check_real
from sklearn_robust.bounds._enclosure import Enclosure
from sklearn_robust.bounds._regions import make_region
from sklearn_robust.neural_network.objectives._base import TrainingContext
from sklearn_robust.neural_network.objectives._certified import CertifiedObjective, Placement


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
    regularization : float or None, default=0.5
        The factor lambda of [2]_; 0: none; None: 0 behind an input ramp, else 0.5.
    initialization : bool or None, default=True
        Draw the weights of the library's own networks with standard deviation
        ``sqrt(2 pi) / fan_in`` [2]_, with which boxes keep their width through ReLU layers. None:
        not behind an input ramp, where trainings without it end better.

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

    def certified_share(self, share: float) -> float:
        return (1 - self.kappa) * share

    def place(
        self, module: nn.Module, X: Tensor, y: Tensor, context: TrainingContext, certified: float
    ) -> Placement:
        return Placement(make_region(X, context.threat, rounding=False), X)


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
        if beta == 0 or enclosure.is_linear:  # bounded exactly already
            return margins
        return beta * enclosure.margins(linear=True) + (1 - beta) * margins
