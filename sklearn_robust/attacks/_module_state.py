"""The state of a torch module: held as it predicts, given back as it was, in another precision."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# The modules that somebody holds as they predict, and the lock on that list and their flags.
_HELD: weakref.WeakKeyDictionary[Any, _Hold] = weakref.WeakKeyDictionary()
_HOLDING = threading.Lock()


@contextmanager
def as_predicting(module: torch.nn.Module) -> Iterator[None]:
    """Hold `module` in eval mode with frozen parameters; give each its own flags back afterwards.

    Flags belong to the module, not to a thread: the first of several threads sets them and the last
    one gives them back. Nested use costs nothing.
    """
    with _HOLDING:
        hold = _HELD.get(module)
        if hold is None:
            hold = _HELD[module] = _Hold(module)
        hold.n_holders += 1
    try:
        yield
    finally:
        with _HOLDING:
            hold.n_holders -= 1
            if not hold.n_holders:
                del _HELD[module]
                hold.release()


class _Hold:
    """The flags of a module as they were before it was held in eval mode with frozen parameters."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.n_holders = 0
        # A frozen TorchScript module has no such flag.
        self._training = [m for m in module.modules() if getattr(m, "training", False)]
        self._learning = [p for p in module.parameters() if p.requires_grad]
        recurrent: list[Any] = [m for m in module.modules() if _trains_to_derive(m)]
        self._recurrent = [(m, m.training, m.dropout) for m in recurrent]
        for m in self._training:
            m.training = False
        for p in self._learning:
            p.requires_grad_(False)
        for m, _, _ in self._recurrent:
            m.training, m.dropout = True, 0.0

    def release(self) -> None:
        for m in self._training:
            m.training = True
        for p in self._learning:
            p.requires_grad_(True)
        for m, training, dropout in self._recurrent:
            m.training, m.dropout = training, dropout


def _trains_to_derive(module: torch.nn.Module) -> bool:
    """Return whether cuDNN gives derivatives of this module in training mode only.

    That is so for recurrent layers, where the mode decides about dropout and nothing else: without
    dropout they predict in either mode.
    """
    import torch

    recurrent = isinstance(module, torch.nn.RNNBase)
    return recurrent and any(p.device.type == "cuda" for p in module.parameters())


@contextmanager
def same_buffers(module: torch.nn.Module) -> Iterator[None]:
    """Give buffers (batch norm's statistics) the values back that they had before."""
    import torch

    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)


def copied(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy that shares no tensor; that of a TorchScript module can learn nothing."""
    import torch

    with torch.no_grad():  # or its weights would remember what they are copies of
        return copy.deepcopy(module)


def to_precision(
    module: torch.nn.Module, dtype: torch.dtype, device: torch.device | None = None
) -> torch.nn.Module:
    """Move a module, in place, to a precision; complex weights get the complex one of that size."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device or tensor.device, _precision_like(tensor, dtype))

    return module._apply(moved)


def is_in_precision(module: torch.nn.Module, dtype: torch.dtype) -> bool:
    """Return whether `to_precision` would leave the module as it is."""
    tensors = (*module.parameters(), *module.buffers())
    return all(t.dtype == _precision_like(t, dtype) for t in tensors)


def _precision_like(tensor: torch.Tensor, dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a tensor brought to a precision: what holds integers stays as it is."""
    if tensor.is_complex():
        return dtype.to_complex()
    return dtype if tensor.is_floating_point() else tensor.dtype
