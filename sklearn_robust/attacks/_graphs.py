"""Steps of an attack as CUDA graphs: recorded once, replayed on every batch of the same shape.

A step on a small network is some fifty small kernels, which take longer to launch one by one than
to compute. Recorded they are one launch. A graph reads and writes the memory it was recorded with:
what differs between batches is copied there, the weights are where the optimizer changes them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Hashable
from typing import Any

import torch

from sklearn_robust.attacks._losses import Loss
from sklearn_robust.attacks._search import Move

_MOST = 8  # graphs of one training: its batches, a last smaller one, those of a validation
_WARM_UP = 3  # steps before recording, in which torch's libraries take the memory they need


class StepGraphs:
    """The recorded steps of one training; drop it with the training, it holds device memory."""

    def __init__(self) -> None:
        self._graphs: dict[Hashable, _Recorded | None] = {}
        self._n_graphs, self._failed = 0, False

    def repeat(
        self,
        move: Move,
        n_steps: int,
        moving: tuple,
        fixed: tuple,
        module: torch.nn.Module,
        kind: Hashable,
    ) -> tuple:
        """Return `moving` after `n_steps` steps, see `_search.repeat`; `kind` leaves out `module`.

        Steps that come once are not recorded, nor those of losses that hold more than tensors.
        """
        recorded = None
        if usable(moving[0].device, fixed):
            key = (kind, _signature((moving, fixed)), _whereabouts(module))
            recorded = self._find(key, move, moving, fixed)
        if recorded is not None:
            return recorded.run(n_steps, moving, fixed)
        for _ in range(n_steps):
            moving = move(moving, fixed)
        return moving

    def _find(self, key: Hashable, move: Move, moving: tuple, fixed: tuple) -> _Recorded | None:
        if key not in self._graphs:
            self._graphs[key] = None
        elif self._graphs[key] is None and not self._failed and self._n_graphs < _MOST:
            try:
                self._graphs[key] = _Recorded(move, moving, fixed)
                self._n_graphs += 1
            except RuntimeError as error:
                self._failed = True
                warnings.warn(
                    "The steps of the attack cannot be recorded as a CUDA graph, so training goes "
                    f"on without: {error}. Pass cuda_graphs=False to silence this.",
                    stacklevel=2,
                )
        return self._graphs[key]


class _Recorded:
    """One recorded step, and the memory it acts on."""

    def __init__(self, move: Move, moving: tuple, fixed: tuple) -> None:
        self._moving, self._fixed = _owned(moving), _owned(fixed)

        def step() -> None:
            _assign(self._moving, move(self._moving, self._fixed))

        self._replay = record(step, moving[0].device)

    def run(self, n_steps: int, moving: tuple, fixed: tuple) -> tuple:
        _assign(self._moving, moving)
        _assign(self._fixed, fixed)
        for _ in range(n_steps):
            self._replay()
        return _owned(self._moving)


def usable(device: torch.device, fixed: tuple) -> bool:
    """Return whether steps on this device can be recorded, and tensors alone decide their loss."""
    losses = (part for part in fixed if isinstance(part, Loss))
    plain = all(torch.is_tensor(value) for loss in losses for value in vars(loss).values())
    return device.type == "cuda" and plain


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a function that does on the device what `step` does there, in one launch."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Another thread, which trains on the device too, may go on meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
    return graph.replay


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
        return value.clone()
    if isinstance(value, tuple):
        return tuple(map(_owned, value))
    twin = copy.copy(value)
    vars(twin).update({name: part.clone() for name, part in _parts(value).items()})
    return twin


def _assign(target: Any, value: Any) -> None:
    """Copy the tensors of `value` into those of `target`."""
    if torch.is_tensor(value):
        target.copy_(value)
    elif isinstance(value, tuple):
        for own, new in zip(target, value, strict=True):
            _assign(own, new)
    elif value is not None:
        for name, part in _parts(value).items():
            vars(target)[name].copy_(part)
