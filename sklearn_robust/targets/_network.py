"""A torch module, alone or behind transformers: attacked along its gradients, proven by bounds."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import DifferentiableModel, TorchModel, copied, to_precision
from sklearn_robust.bounds import (
    NetworkGradients,
    NetworkScores,
    certifiable,
    certified_network,
)
from sklearn_robust.preprocessing import Front, Samples
from sklearn_robust.targets._differentiable import DifferentiableTarget
from sklearn_robust.targets._subject import Subject

if TYPE_CHECKING:
    import torch

# float32, in which networks are attacked, ends at 3e38; logits need some of it.
_LARGEST = 1e30


class NetworkTarget(DifferentiableTarget):
    """A classifier that is a torch module from rows to logits.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    module : torch.nn.Module
        From ``samples.rows`` to logits, in the precision in which it is to be attacked.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.targets import make_target
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RobustFCClassifier((16,), epsilon=0.1, max_epochs=50, lr=0.01, random_state=0)
    >>> pipe = make_pipeline(StandardScaler(), clf).fit(X, y)
    >>> target = make_target(pipe, X, y, epsilon=0.05)
    >>> target.kind, target.certificate_obstacle is None
    ('white box', True)
    >>> proven = target.certified(target.threat, "auto")
    >>> bool((proven <= target.attacked(target.threat, seed=0).robust).all())
    True
    """

    # What a sample becomes on its way through a network can be a hundred times as large.
    _most = 256
    _finally = None

    def __init__(self, subject: Subject, samples: Samples, module: torch.nn.Module) -> None:
        radius = subject.raw_threat.largest
        if radius > _LARGEST:
            raise ValueError(
                f"epsilon must be <= {_LARGEST:g} for networks, got {radius:g}. Scale X."
            )
        self.module = module
        super().__init__(subject, samples, TorchModel(module, len(subject.classes_)))

    @cached_property
    def certificate_obstacle(self) -> str | None:  # type: ignore[override]
        """A sentence that names the layer without bounds; None if all have them."""
        return certifiable(self.module, self.rows[:1]) if len(self.rows) else None

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        if self.certificate_obstacle is not None:
            return super().certified(threat, method)
        among = self.clean if among is None else self.clean & among
        return certified_network(
            self.module, self.rows, self.labels, threat, method, candidates=among,
            **self._evaluation(),
        )  # fmt: skip

    def _evaluation(self) -> dict[str, Any]:
        """Return what `certified_network` is told of how the estimator evaluates the module."""
        return {}

    def member_model(self) -> NetworkGradients:
        known = self.module, self.rows.shape[1:], len(self.classes_)
        if self.certificate_obstacle is None:
            return NetworkScores(*known, **self._evaluation())
        return NetworkGradients(*known, self._evaluation().get("spacing"))

    def _exact_model(self) -> DifferentiableModel:
        """Return the model in float64, in which gradients of confident samples do not underflow."""
        import torch

        if all(p.dtype == torch.float64 for p in self.module.parameters()):
            return self.model
        with torch.inference_mode(False):
            exact = in_float64(self.module, self.rows[:1])
        return self.model if exact is None else TorchModel(exact, len(self.classes_))


def network_target(
    subject: Subject, module: torch.nn.Module, input_shape: tuple[int, ...]
) -> NetworkTarget:
    """Return the target of a classifier that is a torch module on its own input.

    In float64: raw units can differ by decades between columns, more than float32 resolves.

    Parameters
    ----------
    subject : Subject
    module : torch.nn.Module
        From a batch of samples to logits.
    input_shape : tuple of int
        Shape of a sample as the module takes it.

    Raises
    ------
    CannotFollowError
        If what stands in front of the classifier cannot be followed.

    Examples
    --------
    See `NetworkTarget`.
    """
    import torch

    front = subject.front.as_dense()
    with torch.inference_mode(False):  # or the weights could not be differentiated
        whole = to_precision(module_behind(front, module, input_shape), torch.float64)
    return NetworkTarget(subject, front.samples, whole)


def module_behind(
    front: Front, module: torch.nn.Module, input_shape: tuple[int, ...]
) -> torch.nn.Module:
    """Return a module from dense rows to what a copy of `module` gives, on its device."""
    import torch
    from torch import nn

    from sklearn_robust.targets._layers import as_layers

    device = next(iter(module.state_dict().values()), torch.zeros(())).device
    layers = [*as_layers(front.block), nn.Unflatten(1, input_shape), copied(module)]
    return nn.Sequential(*layers).to(device).eval()


def in_float64(module: torch.nn.Module, sample: Any) -> torch.nn.Module | None:
    """Return a copy of a module in float64, None if it does not compute in that."""
    import torch

    try:
        exact = to_precision(copied(module), torch.float64)
        model = TorchModel(exact, 0)
        if len(sample):
            model.logits(model.asarray(sample))
    except RuntimeError:  # its forward pass casts to another precision, for example
        return None
    return exact
