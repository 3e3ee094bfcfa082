"""How much memory a network takes for a sample, measured on one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._slow_conv2d_forward)


class _Largest(TorchDispatchMode):
    """Notes the largest number of bytes that one operation writes and needs on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.n_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = _tensors(args), _tensors(out)
        known = {t.untyped_storage().data_ptr() for t in given}
        new = [t for t in made if t.untyped_storage().data_ptr() not in known]  # others are views
        needed = sum(map(_n_bytes, new))
        if func.overloadpacket in _CONVOLUTIONS:
            needed += _columns(args[0], args[1], made[0])
        self.n_bytes = max(self.n_bytes, needed)
        return out


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _n_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _columns(image: Tensor, kernel: Tensor, out: Tensor) -> int:
    """Return the bytes of the windows of an image, which torch lays out as a matrix in float64."""
    per_place = image.shape[1] * math.prod(kernel.shape[2:])
    return per_place * math.prod(out.shape[2:]) * image.element_size()


def sample_bytes(module: nn.Module, sample: Tensor) -> int:
    """Return how many bytes the widest place of a module takes for one sample.

    Parameters
    ----------
    module : torch.nn.Module
        As it predicts.
    sample : Tensor of shape (1, ...)
    """
    with torch.no_grad(), _Largest() as largest:
        module(sample)
    return max(largest.n_bytes, _n_bytes(sample))
