"""What a training method is: the loss of one batch, and the hooks around it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import PGD, TorchModel, is_right
from sklearn_robust.neural_network._graphs import RecordingModel, StepGraphs


@dataclass(frozen=True)
class TrainingContext:
    """What surrounds a batch.

    Attributes
    ----------
    threat : ThreatModel
        At this point of the epsilon schedule.
    generator : torch.Generator
        The only source of random numbers, on the device of the batch.
    share : float
        Share of the full epsilon that the schedule has reached; certified training shifts its
        weights along with it.
    weight : Tensor of shape (n_samples,), optional
        Sample weights with mean 1 over the training data. The caller weights the losses; an
        objective needs them only where it takes a gradient of its own. None: all 1.
    graphs : optional
        The recorded steps of this training's attacks, where a CUDA device has them.
    """

    threat: ThreatModel
    generator: torch.Generator
    share: float = 1.0
    weight: Tensor | None = None
    graphs: StepGraphs | None = None

    def model(self, module: torch.nn.Module) -> TorchModel:
        """Return `module` as attacks see it: in eval mode, frozen."""
        # Nobody asks for the number of classes.
        return (
            TorchModel(module, 0) if self.graphs is None else RecordingModel(module, 0, self.graphs)
        )


@dataclass(frozen=True)
class BatchLoss:
    """One batch seen by an objective.

    Attributes
    ----------
    losses : Tensor of shape (n_samples,)
        What is minimised, before sample weights; carries the gradient.
    logits : Tensor of shape (n_samples, n_classes)
        The logits under attack, or worst-case ones where bounds are trained.
    clean_logits : Tensor of shape (n_samples, n_classes), optional
        The logits at the samples themselves, where the objective has computed them.
    penalty : Tensor of shape (), optional
        Added to the weighted mean of `losses`; for terms that belong to no single sample.
    """

    losses: Tensor
    logits: Tensor
    clean_logits: Tensor | None = None
    penalty: Tensor | None = None


class TrainingObjective(ABC):
    r"""What a training method minimises. To add one, write a subclass with `loss`.

    The network classifiers minimise, over batches B with sample weights w of mean 1,

    .. math:: \frac{1}{|B|} \sum_{i \in B} w_i \, \ell_i + \text{penalty}

    with the losses and the penalty of `loss`. Pass an instance, or a name of the library's own, as
    ``training=``. `fit` works on a deep copy, so an objective may keep what it needs from batch to
    batch; what must survive an interruption goes through `state` and `restore`.

    Examples
    --------
    Cross-entropy on noisy samples instead of adversarial ones:

    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import BatchLoss, TrainingObjective
    >>> class NoisyCrossEntropy(TrainingObjective):
    ...     def loss(self, module, X, y, context):
    ...         noisy = context.threat.around(X).sample(context.generator)
    ...         logits = module(noisy)
    ...         losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    ...         return BatchLoss(losses, logits)
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = RobustFCClassifier((32,), training=NoisyCrossEntropy(), epsilon=2.0, random_state=0)
    >>> clf.fit(X, y).score(X, y) > 0.9
    True
    """

    replays: int = 1
    """How often each batch is repeated in a row, with an update of the weights each time."""

    sees_through_ramps: ClassVar[bool] = True
    """Whether its attack is led by more than the derivative, which is 0 where a ramp is flat."""

    @abstractmethod
    def loss(self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext) -> Any:
        """Return the `BatchLoss` of one batch.

        Parameters
        ----------
        module : torch.nn.Module
            In training mode; may be used as it is.
        X : Tensor of shape (n_samples, ...)
        y : Tensor of int64, shape (n_samples,)
            Class indices.
        context : TrainingContext

        Returns
        -------
        batch_loss : BatchLoss
        """

    def validation_loss(
        self, module: torch.nn.Module, X: Tensor, y: Tensor, context: TrainingContext
    ) -> BatchLoss:
        """Return the same for held-out samples, at the full epsilon.

        Parameters
        ----------
        module : torch.nn.Module
            In eval mode; no gradients are kept.
        X, y, context
            As in `loss`.

        Returns
        -------
        batch_loss : BatchLoss
        """
        return self.loss(module, X, y, context)

    def bound_to(self, attack: PGD) -> TrainingObjective:
        """Return a copy for one training.

        Parameters
        ----------
        attack : PGD
            The classifier's, for an objective whose field `attack` is None.

        Returns
        -------
        objective : TrainingObjective
        """
        bound = copy.deepcopy(self)
        if getattr(bound, "attack", attack) is None:
            bound.attack = attack  # type: ignore[attr-defined]
        return bound

    def check(self, module: torch.nn.Module, X: Tensor, threat: ThreatModel) -> None:  # noqa: B027
        """Raise an error, before any training, if the method does not suit module or threat.

        Parameters
        ----------
        module : torch.nn.Module
        X : Tensor of shape (1, ...)
            A sample.
        threat : ThreatModel
            At the full epsilon.
        """

    def initialize(self, module: torch.nn.Module, generator: torch.Generator) -> None:  # noqa: B027
        """Draw fresh weights; called for networks that the library makes. Default: leave them.

        Parameters
        ----------
        module : torch.nn.Module
        generator : torch.Generator
            On the CPU, where the module is.
        """

    def begin(self) -> None:  # noqa: B027
        """Forget what belongs to one training; called when one begins and when it has ended."""

    def after_backward(self, module: torch.nn.Module) -> None:  # noqa: B027
        """Act between the backward pass and the update of the weights.

        Parameters
        ----------
        module : torch.nn.Module
            With the gradients of its parameters.
        """

    def notes(self) -> dict[str, Any]:
        """Return what to write into the history after an epoch.

        Returns
        -------
        notes : dict of str to number, str or bool
        """
        return {}

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on bit for bit.

        Returns
        -------
        state : dict of str to Tensor or plain value
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take over what `state` has returned."""


def standard_loss(module: torch.nn.Module, X: Tensor, y: Tensor) -> BatchLoss:
    """Return the cross-entropy at the samples themselves: training without an adversary."""
    logits = module(X)
    return BatchLoss(cross_entropy(logits, y), logits, logits.detach())


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each sample."""
    return functional.cross_entropy(logits, y, reduction="none")


def kl_divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Return ``KL(softmax(reference) || softmax(logits))`` of each sample."""
    p = functional.log_softmax(reference, dim=1)
    q = functional.log_softmax(logits, dim=1)
    return (p.exp() * (p - q)).sum(1)


def has_ramp(module: torch.nn.Module) -> bool:
    """Return whether a layer of the module shows an attack another slope than its derivative."""
    return any(hasattr(part, "guides_search") for part in module.modules())


def count_right(logits: Tensor, y: Tensor) -> Tensor:
    """Return how many samples are classified as `y`, without waiting for the device."""
    return is_right(logits, y).sum()
