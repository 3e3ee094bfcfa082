"""The architectures, as ordinary torch modules from a batch in the shape of X to logits."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sklearn_robust.bounds import Scale, register_layer


def fully_connected(
    n_features: int,
    n_classes: int,
    hidden_layer_sizes: Sequence[int],
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Return a ReLU network."""
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    width = n_features
    for i, size in enumerate(hidden_layer_sizes, start=1):
        layers.append((f"linear{i}", _blank(nn.Linear, width, size, bias=not batch_norm)))
        if batch_norm:
            layers.append((f"norm{i}", nn.BatchNorm1d(size)))
        layers.append((f"relu{i}", nn.ReLU()))
        if dropout:
            layers.append((f"dropout{i}", nn.Dropout(dropout)))
        width = size
    layers.append(("logits", _blank(nn.Linear, width, n_classes)))
    return nn.Sequential(OrderedDict(layers))


def convolutional(
    image_shape: tuple[int, int, int],
    n_classes: int,
    dropout: float,
    *,
    filters: Sequence[int],
    kernel_size: int,
    downsampling: str,
    hidden_layer_sizes: Sequence[int],
    batch_norm: bool = False,
) -> nn.Sequential:
    """Return convolutions that halve the image, hidden layers, dropout, logits.

    With ``downsampling="stride"`` the convolutions themselves move two pixels at a time, which
    costs a quarter and suits bounds. An axis too short to be halved is left alone, and kernels are
    no longer than a padded axis.
    """
    channels, height, width = image_shape
    layers: list[tuple[str, nn.Module]] = [("images", nn.Unflatten(1, image_shape))]
    layers.insert(0, ("flatten", nn.Flatten()))
    padding = (kernel_size - 1) // 2
    for i, n_filters in enumerate(filters, start=1):
        halves = tuple(2 if size > 1 else 1 for size in (height, width))
        stride = halves if downsampling == "stride" else (1, 1)
        kernel = tuple(min(kernel_size, size + 2 * padding) for size in (height, width))
        options = {"stride": stride, "padding": padding, "bias": not batch_norm}
        conv = _blank(nn.Conv2d, channels, n_filters, kernel, **options)
        layers.append((f"conv{i}", conv))
        if batch_norm:
            layers.append((f"conv{i}_norm", nn.BatchNorm2d(n_filters)))
        layers.append((f"relu{i}", nn.ReLU()))
        height, width = (
            (size + 2 * padding - side) // step + 1
            for size, step, side in zip((height, width), stride, kernel, strict=True)
        )
        if downsampling == "pool":
            layers.append((f"pool{i}", nn.MaxPool2d(halves)))
            height, width = height // halves[0], width // halves[1]
        channels = n_filters
    layers.append(("units", nn.Flatten()))
    n_inputs = channels * height * width
    for i, size in enumerate(hidden_layer_sizes, start=1):
        number = "" if len(hidden_layer_sizes) == 1 else str(i)
        layers.append((f"linear{number}", _blank(nn.Linear, n_inputs, size, bias=not batch_norm)))
        if batch_norm:
            layers.append((f"linear{number}_norm", nn.BatchNorm1d(size)))
        layers.append((f"linear{number}_relu", nn.ReLU()))
        n_inputs = size
    layers.append(("dropout", nn.Dropout(dropout)))
    layers.append(("logits", _blank(nn.Linear, n_inputs, n_classes)))
    return nn.Sequential(OrderedDict(layers))


class Rescale(nn.Module):
    """Multiply the input by a constant: bytes to [0, 1] inside the model."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return X * self.factor

    def extra_repr(self) -> str:
        return f"factor={self.factor:.6g}"


register_layer(Rescale, lambda layer: [Scale(layer.factor)])


def initialize(module: nn.Module, generator: torch.Generator) -> None:
    """Draw torch's default weights, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), from a local generator."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = 1 / math.sqrt(max(layer.weight[0].numel(), 1))
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)


def _blank(layer: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    """Make a layer without drawing its weights from torch's global generator."""
    return nn.utils.skip_init(layer, *args, **kwargs)
