"""Checkpoints: a fit that is killed goes on from its last finished epoch, bit for bit.

A checkpoint is one file, in a folder named after the parameters and the data of its training, so
that several trainings, such as the candidates of a search, do not meet. It is written beside the
old one and then put in its place: a kill at any moment leaves the old one or the new one. It holds
tensors, and numbers and texts as JSON; it is read with ``torch.load(weights_only=True)``, which
runs no code from the file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import pickle
import types
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklearn_robust.neural_network._parallel import team

_UNREADABLE = (OSError, RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError)


class Checkpoint:
    """The file within `folder` for one training, known by its fingerprint."""

    def __init__(self, folder: str | os.PathLike[str], fingerprint: str) -> None:
        self.path = Path(folder) / fingerprint / "checkpoint.pt"

    def save(self, net: Any, *, finished: bool = False) -> None:
        """Write the state of training after an epoch, or after all of it."""
        about = {
            "finished": finished,
            "history": net.history.to_list(),
        }
        content = {
            "about": json.dumps(about, default=_as_plain),
            "module": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "objective": net.objective.state(),
            "averaging": {} if net.averaging is None else net.averaging.state(),
            "callbacks": {name: c.training_state() for name, c in _with_state(net)},
            "random": _random_states(net),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)

    def resume(self, net: Any) -> bool:
        """Give a fresh net the state in the file, if there is one; return whether it is finished.

        Raises
        ------
        ValueError
            If the file cannot be read.
        """
        if not self.path.is_file():
            return False
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            about = json.loads(content["about"])
        except _UNREADABLE as error:
            what = str(error).partition("\n")[0]
            raise ValueError(
                f"checkpoint: {self.path} cannot be read ({what}). Remove it to begin anew."
            ) from error
        net.module_.load_state_dict(content["module"])
        net.optimizer_.load_state_dict(content["optimizer"])
        net.objective.restore(content["objective"])
        if net.averaging is not None:
            net.averaging.restore(_to(content["averaging"], net.device))
        for name, callback in _with_state(net):
            callback.restore_training_state(content["callbacks"][name])
        net.history = type(net.history)(about["history"])
        _restore_random(net, content["random"])
        return about["finished"]


def check_checkpoint(folder: Any, random_state: Any, warm_start: bool) -> None:
    """Raise ValueError if `folder` is no path or the fit could not go on bit for bit."""
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"checkpoint must be None or the path of a folder, got {folder!r}.")
    if isinstance(random_state, bool) or not isinstance(random_state, Integral):
        raise ValueError(
            "checkpoint needs an integer random_state, or a resumed fit would split and "
            f"shuffle the data in another way, got random_state={random_state!r}."
        )
    if team().size > 1:
        raise ValueError(
            "checkpoint is not available under data_parallel: one process's file does not "
            "hold the random states of the others. Pass checkpoint=None."
        )
    if warm_start:
        raise ValueError(
            "checkpoint needs warm_start=False: the file does not know the weights that a "
            "warm start began with."
        )


def _as_plain(value: Any) -> Any:
    """Return what JSON can hold of a number, an array or a tensor; of anything else a text."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _with_state(net: Any) -> Iterable[tuple[str, Any]]:
    return [(name, c) for name, c in net.callbacks_ if hasattr(c, "training_state")]


def _random_states(net: Any) -> dict[str, torch.Tensor]:
    """Return the states of the generators: shuffling, attack, and dropout, which is torch's own."""
    states = {
        "generator": net.generator.get_state(),
        "noise": net.noise.get_state(),
        "torch": torch.get_rng_state(),
    }
    if net.noise.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(net.noise.device)
    return states


def _restore_random(net: Any, states: dict[str, torch.Tensor]) -> None:
    net.generator.set_state(states["generator"])
    restore_generator(net.noise, states["noise"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and net.noise.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], net.noise.device)


def restore_generator(generator: torch.Generator, state: torch.Tensor) -> None:
    """Give a generator a state; one for another kind of device starts from a seed in it."""
    if generator.get_state().shape == state.shape:
        generator.set_state(state)
    else:
        generator.manual_seed(int.from_bytes(state[:8].numpy().tobytes(), "little"))


def _to(value: Any, device: Any) -> Any:
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _to(part, device) for name, part in value.items()}
    return value


def fingerprint(parameters: Mapping[str, Any], *arrays: np.ndarray | None) -> str:
    """Return a text that tells one training from another: parameters and data."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(_describe(dict(parameters)).encode())
    for array in arrays:
        digest.update(_describe(array).encode())
    return digest.hexdigest()


def _describe(value: Any) -> str:
    """Return a text for a value that is the same in another process."""
    if value is None or isinstance(value, str | bool | int | float):
        return repr(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return f"array {value.tolist()!r}"
        data = np.ascontiguousarray(value)
        return f"array {value.dtype} {value.shape} {hashlib.blake2b(data.data).hexdigest()}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {_describe(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_describe, value))})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if torch.is_tensor(value):
        return _describe(value.detach().cpu().numpy())
    if isinstance(value, torch.nn.Module):
        return f"{value!r} {_describe(value.state_dict())}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return f"{type(value).__qualname__} {_describe(fields)}"
    if hasattr(value, "get_params"):
        return f"{type(value).__qualname__} {_describe(value.get_params(deep=False))}"
    if isinstance(value, functools.partial):
        return f"partial {_describe((value.func, value.args, value.keywords))}"
    if isinstance(value, types.FunctionType):
        return f"{value.__module__}.{value.__qualname__} {_describe_function(value)}"
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    try:
        return f"{type(value).__qualname__} {_describe(vars(value))}"
    except RecursionError:
        return type(value).__qualname__


def _describe_function(function: types.FunctionType) -> str:
    """Return a text for what a function does and holds, not for where it is written."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = (function.__defaults__, function.__kwdefaults__, cells)
    return f"{_describe_code(function.__code__)} {_describe(held)}"


def _describe_code(code: types.CodeType) -> str:
    constants = [
        _describe_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def generator_in_state(device: torch.device, state: bytes) -> torch.Generator:
    """Return a generator on the device in the stored state."""
    generator = torch.Generator(device)
    restore_generator(generator, torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator
