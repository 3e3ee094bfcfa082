"""Random weights under which interval bounds neither vanish nor explode."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def interval_initialize(module: nn.Module, generator: torch.Generator) -> None:
    r"""Draw weights under which boxes keep their mean width from layer to layer, in place.

    Weights of linear and convolutional layers are normal with mean 0 and standard deviation
    :math:`\sqrt{2 \pi} / n` for n inputs per unit, biases 0.

    Parameters
    ----------
    module : torch.nn.Module
    generator : torch.Generator
        On the device of the module.

    References
    ----------
    .. [1] Z. Shi et al., "Fast certified robust training with short warmup", NeurIPS 2021,
       section 3.1.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import interval_initialize
    >>> layer = torch.nn.Linear(500, 100)
    >>> interval_initialize(layer, torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item(), 4), layer.bias.any().item()  # sqrt(2 pi) / 500 = 0.0050
    (0.005, False)
    """
    layers: list[Any] = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    with torch.no_grad():
        for layer in layers:
            fan_in = max(layer.weight[0].numel(), 1)
            layer.weight.normal_(0, math.sqrt(2 * math.pi) / fan_in, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
