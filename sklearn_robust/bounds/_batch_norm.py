"""Batch norms as they act on the batch that passes through them, for bounds in training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_robust.bounds._graph import Known
from sklearn_robust.bounds._layers import Layer
from sklearn_robust.bounds._translation import normalization


def normalizes(module: nn.Module) -> bool:
    """Return whether any batch norm takes its statistics from the batch."""
    return any(True for _ in _batch_norms(module))


def trained_logits(module: nn.Module, X: Tensor, *, gradients: bool) -> tuple[Tensor, Known]:
    """Return the logits of a batch in training, and its batch norms as the layers they are for it.

    Without `gradients` the logits have none, unless statistics of the batch need them.
    """
    wanted = (gradients or normalizes(module)) and torch.is_grad_enabled()
    with torch.set_grad_enabled(wanted), _watched(_batch_norms(module)) as seen:
        return module(X), seen


def _batch_norms(module: nn.Module) -> Iterator[Any]:
    return (m for m in module.modules() if isinstance(m, _BatchNorm) and m.training)


@contextmanager
def _watched(norms: Iterable[Any]) -> Iterator[dict[nn.Module, list[Layer]]]:
    """Collect what batch norms in training do to the batch that passes through them."""
    seen: dict[nn.Module, list[Layer]] = {}

    def watch(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].to(norm.running_mean.dtype)
        variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)), correction=0)
        seen[norm] = [normalization(norm, mean, variance, x.ndim - 2)]

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
