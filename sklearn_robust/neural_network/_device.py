"""Where and in what precision networks are trained: device, weights, products, randomness."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_option, value_range
from sklearn_robust._warnings import warn_user

# What weights, inputs and steps have; "bfloat16" is for products alone.
_WEIGHTS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.float32,
}

_GLOBAL_GENERATORS = threading.RLock()

# How many numbers of float32 must lie within the radius, for steps to be what they are meant to be.
_NUMBERS_WITHIN = 2**8


def check_dtype(dtype: Any, device: torch.device) -> None:
    """Raise ValueError unless training can run in this precision on this device."""
    check_option(dtype, "dtype", _WEIGHTS)
    if dtype == "bfloat16" and not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            f"dtype='bfloat16' needs a device with torch's autocast, got {device.type!r}. Use "
            "dtype='float32', or device='cpu' or 'cuda'."
        )


def warn_of_speed(dtype: str, device: torch.device) -> None:
    """Warn if this processor has no instructions for bfloat16, so that torch imitates them."""
    if dtype == "bfloat16" and device.type == "cpu" and not multiplies_bfloat16():
        warn_user(
            "dtype='bfloat16' is many times slower than float32 on this processor, which has "
            "neither AVX512_BF16 nor AMX. Use dtype='float32', or a device that has them."
        )


def multiplies_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 numbers, as far as torch can tell."""
    # Older versions of torch do not say.
    has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return has.get("architecture") != "x86_64" or any(
        has.get(name) for name in ("avx512_bf16", "amx_bf16")
    )


def warn_of_resolution(dtype: str, threat: ThreatModel, X: np.ndarray) -> None:
    """Warn if bfloat16 can hardly tell a sample from an adversarial one."""
    if dtype != "bfloat16" or threat.is_null:
        return
    low, high = value_range(X)
    top, epsilon = float(max(-low.min(), high.max())), threat.largest
    spacing = torch.finfo(torch.bfloat16).eps * top
    if epsilon < 2 * spacing:
        warn_user(
            f"dtype='bfloat16' tells values near {top:g}, the largest of X, apart by about "
            f"{spacing:.2g}, and epsilon={epsilon:g} is less than twice that: the network hardly "
            "sees what the attack does. Use dtype='float32', or centre and scale X."
        )


def weight_dtype(dtype: str) -> torch.dtype:
    """Return the precision of the weights."""
    return _WEIGHTS[dtype]


def float32_resolves(threat: ThreatModel, X: np.ndarray) -> bool:
    r"""Return whether float32 tells a sample of X from what the adversary makes of it.

    In each feature :math:`2^8` numbers of float32 must lie within the radius, or within the range
    of the feature if it cannot be moved: near the largest :math:`|x_j|` they are
    :math:`|x_j| / 2^{23}` apart at most. Time stamps and coordinates in metres are where they do
    not. Predictions, in float64, would tell what attacks and training did not.
    """
    if not len(X):
        return True
    low, high = value_range(X)
    size = np.maximum(abs(low), abs(high))
    gap, radius = size / 2**23, threat.reach_at(size)
    finest = np.where(radius > 0, radius, high - low)
    return bool((gap * _NUMBERS_WITHIN <= np.where(finest > 0, finest, np.inf)).all())


def training_dtype(dtype: str, threat: ThreatModel, X: np.ndarray) -> str:
    """Return the precision to train in: float64 where float32 could not tell X apart."""
    return dtype if float32_resolves(threat, X) else "float64"


@contextmanager
def products_in(dtype: str, module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Compute the products of matrices within `module` in bfloat16, if that is `dtype`.

    What the module returns, and with it losses and steps, is float32.
    """
    if dtype != "bfloat16":
        yield
        return
    # torch would remember a weight's bfloat16 copy, without its gradient if an attack comes first,
    # and beyond a change of the weight by an objective.
    widened = module.register_forward_hook(_in_float32)
    try:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
    finally:
        widened.remove()


def _in_float32(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
    return output.float() if torch.is_tensor(output) else output


_in_float32.keeps_function = True  # type: ignore[attr-defined]  # bounds accept it


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


def available(device: torch.device) -> bool:
    """Return whether this machine has the device."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    return device.type != "mps" or torch.backends.mps.is_available()


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a while, and give them their state back afterwards.

    There is one for all threads, which therefore wait for one another.
    """
    devices = [device] if device.type == "cuda" else []
    with _GLOBAL_GENERATORS, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
