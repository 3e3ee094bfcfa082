"""Steps of an attack as CUDA graphs: recorded once, replayed on every batch of the same shape.

A step on a small network is some fifty small kernels, which take longer to launch one by one than
to compute. Recorded they are one launch. A graph reads and writes the memory it was recorded with:
what differs between batches is copied there, the weights are where the optimizer changes them.
"""

from __future__ import annotations

import copy
import functools
import threading
import warnings
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sklearn_robust._neighbourhood import Neighbourhood
from sklearn_robust.attacks import (
    DLR,
    CrossEntropy,
    ExactCrossEntropy,
    Loss,
    Margin,
    Move,
    TargetedCrossEntropy,
    TargetedDLR,
    TargetedMargin,
    TorchModel,
    same_buffers,
)

_MOST = 8  # graphs of one training: its batches, a last smaller one, those of a validation
_WARM_UP = 3  # steps before recording, in which torch's libraries take the memory they need
_RECORDING = threading.Lock()  # torch records for one thread at a time
_RECORDABLE: set[type] = {
    CrossEntropy,
    DLR,
    ExactCrossEntropy,
    Margin,
    TargetedCrossEntropy,
    TargetedDLR,
    TargetedMargin,
}
_LossClass = TypeVar("_LossClass", bound=type)


def recordable(loss: _LossClass) -> _LossClass:
    """Let training on CUDA record and replay steps on losses of this class; a decorator.

    It says that the loss's `direction` depends on nothing but its arguments and tensors that are
    attributes. Subclasses, which may do more, have to say so themselves.

    Parameters
    ----------
    loss : subclass of Loss

    Returns
    -------
    loss : the same class

    Examples
    --------
    >>> from sklearn_robust.attacks import Loss
    >>> from sklearn_robust.neural_network import recordable
    >>> @recordable
    ... class LogitsFrom(Loss):
    ...     name = "logits_from"
    ...     def __init__(self, reference):
    ...         self.reference = reference
    ...     def value(self, logits, y):
    ...         return ((logits - self.reference) ** 2).sum(1) / 2
    ...     def direction(self, logits, y):
    ...         return logits - self.reference
    """
    _RECORDABLE.add(loss)
    return loss


class RecordingModel(TorchModel):
    """A module as attacks see it, whose steps are recorded in `graphs` and replayed."""

    def __init__(self, module: torch.nn.Module, n_classes: int, graphs: StepGraphs) -> None:
        super().__init__(module, n_classes)
        self.graphs = graphs

    def repeat(
        self, move: Move, n_steps: int, moving: tuple, fixed: tuple, kind: Hashable
    ) -> tuple:
        """Return `moving` after `n_steps` steps, see `attacks._search.repeat`."""
        return self.graphs.repeat(move, n_steps, moving, fixed, self, kind)


class StepGraphs:
    """The recorded steps of one training; drop it with the training, it holds device memory."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, _Recorded | None] = {}
        self._n_graphs, self._failed = 0, False

    def __reduce__(self) -> tuple:
        return StepGraphs, ()  # they are memory of this process

    def repeat(
        self,
        move: Move,
        n_steps: int,
        moving: tuple,
        fixed: tuple,
        model: TorchModel,
        kind: Hashable,
    ) -> tuple:
        """Return `moving` after `n_steps` steps on `model`, which `kind` leaves out.

        Steps that come once are not recorded, nor what `usable` leaves out.
        """
        recorded = None
        if usable(moving[0].device, model.module, fixed):
            key = (kind, type(model), _signature((moving, fixed)), _whereabouts(model.module))
            recorded = self._find(key, move, moving, fixed, model)
        if recorded is not None:
            return recorded.run(n_steps, moving, fixed)
        for _ in range(n_steps):
            moving = move(moving, fixed)
        return moving

    def _find(
        self, key: Hashable, move: Move, moving: tuple, fixed: tuple, model: TorchModel
    ) -> _Recorded | None:
        if key not in self._graphs:
            self._graphs[key] = None
        elif self._graphs[key] is None and not self._failed and self._n_graphs < _MOST:
            try:
                self._graphs[key] = _Recorded(move, moving, fixed, model)
                self._n_graphs += 1
            except Exception as error:  # whatever it is, the loop may do without
                self._failed = True
                warnings.warn(
                    "The steps of the attack cannot be recorded as a CUDA graph, so training goes "
                    f"on without: {error.__context__ or error}. Pass cuda_graphs=False to silence "
                    "this.",
                    stacklevel=2,
                )
        return self._graphs[key]


class _Recorded:
    """One recorded step, and the memory it acts on."""

    def __init__(self, move: Move, moving: tuple, fixed: tuple, model: TorchModel) -> None:
        self._moving, self._fixed = _owned(moving), _owned(fixed)
        self._model = model  # kept, so that no other module is taken for this one by its address

        def step() -> None:
            _assign(self._moving, move(self._moving, self._fixed))

        device = moving[0].device
        devices = [device] if device.type == "cuda" else []
        # Steps that are only made for recording leave no trace.
        with same_buffers(model.module), torch.random.fork_rng(devices):
            with Unasking():
                step()
            self._replay = record(step, device)

    def run(self, n_steps: int, moving: tuple, fixed: tuple) -> tuple:
        _assign(self._moving, moving)
        _assign(self._fixed, fixed)
        for _ in range(n_steps):
            self._replay()
        return _owned(self._moving)


def usable(device: torch.device, module: torch.nn.Module, fixed: tuple) -> bool:
    """Return whether steps on this device can be recorded.

    Not those of a layer that computes on the host, nor of losses that do not say of themselves that
    tensors alone decide what they do, or hold others.
    """
    return (
        device.type == "cuda"
        and not any(getattr(layer, "on_host", False) for layer in module.modules())
        and all(
            _is_recordable(part, device)
            for part in fixed
            if not (torch.is_tensor(part) or isinstance(part, Neighbourhood))
        )
    )


def _is_recordable(loss: Loss, device: torch.device) -> bool:
    return type(loss) in _RECORDABLE and all(
        torch.is_tensor(value) and value.device == device for value in vars(loss).values()
    )


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a function that does on the device what `step` does there, in one launch."""
    with _RECORDING, torch.cuda.device(device):
        stream = _stream(device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # which gives the stream back if recording fails
            for _ in range(_WARM_UP):
                step()
            graph = torch.cuda.CUDAGraph()
            # Another thread, which trains on the device too, may go on meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                step()
        torch.cuda.current_stream().wait_stream(stream)
    return graph.replay


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream to record on: one, since torch keeps memory for each; on this device."""
    return torch.cuda.Stream(device)


class Unasking(TorchDispatchMode):
    """Raises RuntimeError where a step asks the host, or sends it something: no graph holds that.

    Found here, while nothing is being recorded: after a recording that fails some versions of torch
    are not themselves.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            raise RuntimeError(f"{func} depends on values, for which the host would have to wait")
        out = func(*args, **(kwargs or {}))
        # A number from the host beside tensors of the device is passed by value.
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        tensors = filter(torch.is_tensor, tree_leaves((args, kwargs, out)))
        if len({t.device for t in tensors if t.ndim or copies}) > 1:
            raise RuntimeError(f"{func} works on two devices at once")
        return out


def _whereabouts(module: torch.nn.Module) -> Hashable:
    """Return where the weights are, and in which precision products are computed."""
    tensors = (*module.parameters(), *module.buffers())
    precision = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    return id(module), *(t.data_ptr() for t in tensors), *precision


def _parts(value: Any) -> dict[str, Any]:
    """Return the named parts of an object that are tensors."""
    return {name: part for name, part in vars(value).items() if torch.is_tensor(part)}


def _signature(value: Any) -> Hashable:
    """Return what must agree for a graph recorded with other values to serve `value`."""
    if value is None:
        return None
    if torch.is_tensor(value):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, tuple):
        return tuple(map(_signature, value))
    return type(value), tuple((name, _signature(part)) for name, part in _parts(value).items())


def _owned(value: Any) -> Any:
    """Return a copy whose tensors have memory of their own."""
    if value is None:
        return None
    if torch.is_tensor(value):
        return value.detach().clone()
    if isinstance(value, tuple):
        return tuple(map(_owned, value))
    twin = copy.copy(value)
    vars(twin).update({name: part.detach().clone() for name, part in _parts(value).items()})
    return twin


def _assign(target: Any, value: Any) -> None:
    """Copy the tensors of `value` into those of `target`."""
    if torch.is_tensor(value):
        target.copy_(value.detach())
    elif isinstance(value, tuple):
        for own, new in zip(target, value, strict=True):
            _assign(own, new)
    elif value is not None:
        for name, part in _parts(value).items():
            vars(target)[name].copy_(part.detach())
