"""The few array operations that numpy and torch spell differently; all other code is shared."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config

Array = Any  # a numpy array or a torch tensor


def is_torch(x: Array) -> bool:
    """Whether `x` is a torch tensor, found out without importing torch."""
    return type(x).__module__.partition(".")[0] == "torch"


def namespace(x: Array) -> Any:
    """Return the module (numpy or torch) whose functions act on `x`."""
    if is_torch(x):
        import torch

        return torch
    return np


def works_ahead(x: Array) -> bool:
    """Whether `x` is on a device that computes while the host goes on, and must wait to look."""
    return is_torch(x) and x.device.type != "cpu"


def as_like(value: Any, x: Array) -> Array:
    """Return `value` as an array of the library, dtype and device of `x`."""
    if is_torch(x):
        import torch

        if isinstance(value, int | float):
            return torch.full((), value, dtype=x.dtype, device=x.device)  # made there, not sent
        if isinstance(value, np.ndarray) and not value.flags.writeable:
            value = value.copy()  # in a worker process it may be another's memory; torch warns
        return torch.as_tensor(value, dtype=x.dtype, device=x.device)
    return np.asarray(value, dtype=x.dtype)


def as_floats(x: Array) -> Array:
    """Return `x` with floating point numbers: whole ones could not hold what is added to them."""
    if is_torch(x):
        return x if x.is_floating_point() else x.to(namespace(x).get_default_dtype())
    if sparse.issparse(x):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def to_numpy(x: Array) -> np.ndarray:
    """Return `x` as a numpy array, from whatever device; bfloat16 as float32."""
    if not is_torch(x):
        return np.asarray(x)
    x = x.detach().cpu()
    return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()


def on_host(x: Any) -> Any:
    """Return an array of torch or of another array API library as numpy's, others as they are.

    Without a copy where it lies in the host's memory.
    """
    if is_torch(x):
        return to_numpy(x)
    if hasattr(x, "__array_namespace__") and not isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    return x


def given_back(result: Any, x: Any) -> Any:
    """Return `result` as an array of the library and device of `x`, as array API dispatch wants."""
    if not get_config()["array_api_dispatch"] or on_host(x) is x:
        return result
    if is_torch(x):
        return namespace(x).asarray(result, device=x.device)
    return x.__array_namespace__().asarray(result, device=x.device)


def spacing(x: Array) -> float:
    """Return the distance from 1 to the next number of the dtype of `x`; float64's for integers."""
    if is_torch(x):
        return namespace(x).finfo(x.dtype if x.is_floating_point() else namespace(x).float64).eps
    return float(np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps)


def rows(x: Array) -> Array:
    """Return `x` with all axes after the first flattened into one."""
    return x.reshape(len(x), math.prod(x.shape[1:]))  # -1 would be ambiguous without samples


def sort_rows(x: Array) -> tuple[Array, Array]:
    """Return each row of `x` sorted ascending, and the indices that sort it."""
    if is_torch(x):
        values, order = x.sort(dim=1)
        return values, order
    order = np.argsort(x, axis=1)
    return np.take_along_axis(x, order, axis=1), order


def take_rows(x: Array, order: Array) -> Array:
    """Return ``x[i, order[i, j]]`` for all i, j."""
    return x.gather(1, order) if is_torch(x) else np.take_along_axis(x, order, axis=1)


def put_rows(x: Array, order: Array) -> Array:
    """Return `out` with ``out[i, order[i, j]] = x[i, j]``: the inverse of `take_rows`."""
    out = namespace(x).empty_like(x)
    if is_torch(x):
        return out.scatter_(1, order, x)
    np.put_along_axis(out, order, x, axis=1)
    return out


def row_max(x: Array) -> Array:
    """Return the largest entry of each row of a 2-D array."""
    return x.amax(dim=1) if is_torch(x) else x.max(axis=1)


def make_generator(seed: int, like: Array) -> Any:
    """Return a random generator for arrays such as `like`, local to the caller."""
    if is_torch(like):
        import torch

        return torch.Generator(device=like.device).manual_seed(int(seed))
    return np.random.default_rng(int(seed))


def random_uniform(like: Array, generator: Any) -> Array:
    """Draw from U[0, 1) in the shape, dtype and device of `like`."""
    if is_torch(like):
        import torch

        return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return generator.random(like.shape).astype(like.dtype, copy=False)


def random_normal(like: Array, generator: Any) -> Array:
    """Draw from N(0, 1) in the shape, dtype and device of `like`."""
    if is_torch(like):
        import torch

        return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return generator.standard_normal(like.shape).astype(like.dtype, copy=False)


def replace_rows(x: Array, mask: Array, new: Array) -> Array:
    """Return a copy of `x` in which the rows selected by the boolean `mask` are those of `new`."""
    x = x.clone() if is_torch(x) else x.copy()
    x[mask] = new
    return x


def per_feature(value: Any, x: Array) -> Array:
    """Return a scalar or a value per feature so that it broadcasts against the samples `x`."""
    value = as_like(value, x)
    return value.reshape(x.shape[1:]) if value.ndim else value
