"""A model as attacks see it: logits, and gradients with respect to the input.

Each turns data into arrays of its own library (`asarray`), gives `logits` and, where it is
differentiable, `ascent`. Attacks know nothing else of a model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sklearn_robust._arrays import Array, rows
from sklearn_robust.attacks._losses import Loss
from sklearn_robust.attacks._module_state import as_predicting

if TYPE_CHECKING:
    import torch


_THREAD = threading.local()


class Model(Protocol):
    """What every attack may ask of a model; `LinearModel`, `TorchModel`, `ScoreModel` are such.

    Attributes
    ----------
    n_classes : int

    Examples
    --------
    One of your own, for attacks that need no gradients:

    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> class Disc:
    ...     n_classes = 2
    ...     def asarray(self, X):
    ...         return np.asarray(X, dtype=np.float64)
    ...     def labels(self, y):
    ...         return np.asarray(y)
    ...     def logits(self, X):
    ...         return np.column_stack([np.ones(len(X)), (X**2).sum(axis=1)])
    >>> X, y, threat = np.array([[0.5, 0.5]]), np.array([0]), attacks.ThreatModel(0.4)
    >>> X_adv = attacks.Square(50).perturb(Disc(), X, y, threat, np.random.default_rng(0))
    >>> Disc().logits(X_adv).argmax(axis=1)
    array([1])
    """

    n_classes: int

    def asarray(self, X: Any) -> Array:
        """Return the samples `X`, (n_samples, ...), as arrays of numpy or torch, in that shape."""

    def labels(self, y: Any) -> Array:
        """Return the class indices `y`, (n_samples,), as integers of the same library."""

    def logits(self, X: Array) -> Array:
        """Return scores of shape (n_samples, n_classes); the largest is the prediction."""


class DifferentiableModel(Model, Protocol):
    """What an attack with gradients may ask of a model.

    Examples
    --------
    A `Model` of your own with gradients in closed form:

    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> class Disc:
    ...     n_classes, asarray, labels = 2, np.asarray, np.asarray
    ...     def logits(self, X):
    ...         return np.column_stack([np.ones(len(X)), (X**2).sum(axis=1)])
    ...     def ascent(self, X, y, loss, leak=0.0):
    ...         logits = self.logits(X)
    ...         return logits, 2 * X * loss.direction(logits, y)[:, 1:]
    >>> X, y, threat = np.array([[0.5, 0.5]]), np.array([0]), attacks.ThreatModel(0.4)
    >>> attacks.FGSM().perturb(Disc(), X, y, threat, np.random.default_rng(0))
    array([[0.9, 0.9]])
    """

    def ascent(self, X: Array, y: Array, loss: Loss, leak: float = 0.0) -> tuple[Array, Array]:
        """Return the logits at `X` and ``d loss / d X``, the latter up to a factor per sample.

        Parameters
        ----------
        X : array of shape (n_samples, ...)
        y : array of shape (n_samples,)
            Class indices.
        loss : Loss
            Its `direction` is to be pulled back to X.
        leak : float, default=0.0
            Share of the gradient that units pass on which are off or full; a model without any may
            leave it aside.

        Returns
        -------
        logits : array of shape (n_samples, n_classes)
        gradient : array in the shape of X
        """


class LinearModel:
    """A linear classifier in numpy: logits ``X W^T + b``.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features)
    intercept : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import LinearModel, Margin
    >>> model = LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> logits, gradient = model.ascent(np.array([[1., 0.]]), np.array([1]), Margin())
    >>> logits, gradient
    (array([[-1.,  1.]]), array([[-2.,  4.]]))
    """

    def __init__(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        self.coef, self.intercept = coef, intercept
        self.n_classes = len(coef)

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def labels(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def logits(self, X: np.ndarray) -> np.ndarray:
        return rows(X) @ self.coef.T + self.intercept

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = self.logits(X)
        return logits, (loss.direction(logits, y) @ self.coef).reshape(X.shape)


class TorchModel:
    """A torch module that maps a batch to logits, used as it predicts: in eval mode, frozen.

    Parameters
    ----------
    module : torch.nn.Module
    n_classes : int

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.attacks import PGD, ThreatModel, TorchModel
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> _ = net.weight.data.copy_(torch.tensor([[-1., 2.], [1., -2.]]))
    >>> model = TorchModel(net, n_classes=2)
    >>> X, y = model.asarray([[1., 0.]]), model.labels([1])
    >>> PGD().perturb(model, X, y, ThreatModel(0.5), torch.Generator())
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, module: torch.nn.Module, n_classes: int) -> None:
        self.module, self.n_classes = module, n_classes
        self._writes: bool | None = None  # into its input; known after the first pass

    def _like(self) -> torch.Tensor:
        """Return a tensor of the dtype and on the device that the module's input is to have."""
        import torch

        tensors = (*self.module.parameters(), *self.module.buffers())
        if any(map(torch.nn.parameter.is_lazy, tensors)):
            raise ValueError(
                f"{type(self.module).__name__} has parameters without a shape, and so nothing that "
                "could be attacked. Call the module on a batch first, and train it."
            )
        floats = (t for t in tensors if t.is_floating_point())
        filters = (t.real for t in tensors if t.is_complex())
        return next(chain(floats, filters), torch.zeros(()))

    def asarray(self, X: Any) -> torch.Tensor:
        import torch

        like = self._like()
        if not torch.is_tensor(X):
            X = np.asarray(X)
            # torch shares memory with numpy, and has no read-only tensors and no negative strides.
            shared = X.flags.writeable and min(X.strides, default=0) >= 0
            X = torch.as_tensor(X if shared else X.copy())
        return X.to(like.device, like.dtype)

    def labels(self, y: Any) -> torch.Tensor:
        import torch

        y = y if torch.is_tensor(y) else np.array(y)  # a copy: y may be read-only too
        return torch.as_tensor(y, dtype=torch.long, device=self._like().device)

    def logits(self, X: torch.Tensor) -> torch.Tensor:
        import torch

        with as_predicting(self.module), torch.inference_mode(False), torch.no_grad():
            return self._forward(X)

    def ascent(
        self, X: torch.Tensor, y: torch.Tensor, loss: Loss, leak: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with _searching():
            logits, gradient = self.derivative(X, y, loss, leak)
        # Where the logits are NaN the sample is broken already; the attack must stay finite.
        return logits, gradient.nan_to_num()

    def derivative(
        self, X: torch.Tensor, y: torch.Tensor, loss: Loss, leak: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same with the true derivative of layers that offer a search another."""
        import torch

        with as_predicting(self.module), torch.inference_mode(False), torch.enable_grad():
            # What inference mode has made can take no gradient; a copy can.
            X = (X.clone() if X.is_inference() else X.detach()).requires_grad_()
            with _leaking(leak):
                logits = self._forward(X)
            if not logits.requires_grad:
                raise ValueError(
                    f"{type(self.module).__name__} gives no gradient with respect to its input. "
                    "Use an attack without gradients."
                )
            direction = loss.direction(logits.detach(), y)
            (gradient,) = torch.autograd.grad(logits, X, direction)
        return logits.detach(), gradient

    def _forward(self, X: torch.Tensor) -> torch.Tensor:
        """Return the logits; `X` stays as it is, even if the module writes into its input."""
        first = self._writes is None
        if first or self._writes or X.is_inference():
            X = X.clone()
        version = X._version
        logits = _checked(self.module(X), self.module)
        if first:
            self._writes = X._version != version
        return logits


class CountingModel:
    """A model that counts what is asked of it: samples sent forward, and gradients.

    `zero_gradient` says of which samples the first gradient was exactly zero.
    """

    def __init__(self, model: Model) -> None:
        self._model, self.n_classes = model, model.n_classes
        self.kind = type(model).__name__
        self.n_forwards = self.n_gradients = 0
        self.zero_gradient: Array | None = None
        if hasattr(model, "ascent"):
            self.ascent = self._ascent

    def asarray(self, X: Any) -> Array:
        return self._model.asarray(X)

    def labels(self, y: Any) -> Array:
        return self._model.labels(y)

    def logits(self, X: Array) -> Array:
        self.n_forwards += len(X)
        return self._model.logits(X)

    def _ascent(self, X: Array, y: Array, loss: Loss, leak: float = 0.0) -> tuple[Array, Array]:
        self.n_forwards += len(X)
        self.n_gradients += len(X)
        logits, gradient = self._model.ascent(X, y, loss, leak)  # type: ignore[attr-defined]
        if self.zero_gradient is None:
            self.zero_gradient = is_zero(gradient)
        return logits, gradient


def _checked(logits: Any, module: torch.nn.Module) -> torch.Tensor:
    """Return what a module gave if it is logits."""
    n_axes = getattr(logits, "ndim", None)
    if n_axes == 2 and not logits.is_complex():
        return logits
    got = "complex numbers" if n_axes == 2 else f"{getattr(logits, 'shape', type(logits).__name__)}"
    raise ValueError(
        f"{type(module).__name__} must map a batch to real logits of shape (n_samples, n_classes), "
        f"got {got}."
    )


def is_zero(gradient: Array) -> Array:
    """Return for each sample whether the gradient vanishes altogether."""
    return ~(rows(gradient) != 0).any(1)


def _leaking(slope: float) -> AbstractContextManager:
    if not slope:
        return nullcontext()
    from sklearn_robust.attacks._leak import Leaking

    return Leaking(slope)


def is_search() -> bool:
    """Return whether the gradient of this forward pass is to guide a search.

    A layer that is flat in places has no derivative there, but may know which way leads out.
    """
    return getattr(_THREAD, "searching", False)


@contextmanager
def _searching() -> Iterator[None]:
    """Let `is_search` say so in this thread; others may want derivatives of the same module."""
    before, _THREAD.searching = is_search(), True
    try:
        yield
    finally:
        _THREAD.searching = before
