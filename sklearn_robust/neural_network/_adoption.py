"""A module that somebody has trained, as one from samples to a logit for each label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_robust.attacks import TorchModel
from sklearn_robust.neural_network._trial import refuse_scripts
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets import AffineLayer, as_logits

# Samples on which it is tried what a module ends in.
_TRIED = 8


def adopted(
    module: Any, input_shape: int | Sequence[int], classes: Any
) -> tuple[nn.Module, np.ndarray, tuple[int, ...]]:
    """Return a module as one to a logit for each label, the sorted labels, and the shape.

    Raises
    ------
    ValueError
        If it is none, its output holds no scores, or there are not as many classes.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module, got {module!r}.")
    refuse_scripts(module)
    shape = _checked_shape(input_shape)
    draws = np.random.default_rng(0).random((_TRIED, *shape))
    try:
        logits = as_logits(module, TorchModel(module, 0).asarray(draws))
    except (CannotFollowError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"module fails on a batch of shape {draws.shape}, as input_shape={input_shape} says: "
            f"{error}"
        ) from error
    labels = np.arange(logits.n_classes) if classes is None else np.asarray(classes)
    if labels.ndim != 1 or len(np.unique(labels)) != logits.n_classes:
        raise ValueError(
            f"classes must be {logits.n_classes} different labels, one for each output of module "
            f"or two for a single one, got {classes!r}."
        )
    order = np.argsort(labels)
    network: nn.Module = logits if logits.changes_output else module
    if (order != np.arange(len(order))).any():
        sort = AffineLayer(np.eye(len(order))[order], np.zeros(len(order)))
        network = nn.Sequential(network, sort)
    return network, labels[order], shape


def own_precision(module: nn.Module) -> dict[str, Any]:
    """Return the parameters that keep a module in its precision, and on its device."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    found: dict[str, Any] = {}
    if any(t.dtype == torch.float64 for t in tensors):
        found["dtype"] = "float64"
    if tensors and tensors[0].device.type != "cpu":
        found["device"] = str(tensors[0].device)
    return found


def _checked_shape(input_shape: Any) -> tuple[int, ...]:
    shape = (input_shape,) if isinstance(input_shape, Integral) else tuple(input_shape)
    if not shape or not all(isinstance(n, Integral) for n in shape) or math.prod(shape) < 1:
        raise ValueError(
            f"input_shape must be one or several positive integers, got {input_shape!r}."
        )
    return tuple(map(int, shape))
