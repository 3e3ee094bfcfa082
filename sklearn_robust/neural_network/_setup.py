"""From hyperparameters to what torch needs: device, optimizer, schedule, local randomness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
RAMP = 0.3  # share of the training over which the default schedule raises epsilon


def resolve_device(device: Any) -> torch.device:
    """Return the torch device meant by `device`; "auto" takes CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"device must be 'auto' or a torch device such as 'cpu' or 'cuda', got {device!r}."
        ) from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} but torch sees no CUDA device. Use device='auto' or 'cpu'."
        )
    return resolved


def resolve_schedule(schedule: str | Callable[[float], float]) -> Callable[[float], float]:
    """Return the function from progress in [0, 1] to the share of epsilon that is trained at."""
    if callable(schedule):
        return schedule
    return _ramp if schedule == "ramp" else constant


def _ramp(progress: float) -> float:
    return min(progress / RAMP, 1.0)


def constant(progress: float) -> float:
    return 1.0


def chunks(n: int, size: int = 1024) -> list[slice]:
    return [slice(i, i + size) for i in range(0, max(n, 1), size)]


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a while, and give them their state back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
