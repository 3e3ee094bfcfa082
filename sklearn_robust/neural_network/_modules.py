"""The architectures, as ordinary torch modules from a batch in the shape of X to logits."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from sklearn_robust.bounds import Scale, register_layer


def fully_connected(
    n_features: int,
    n_classes: int,
    hidden_layer_sizes: Sequence[int] = (1024, 1024),
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return a ReLU network; by default the report's: two hidden layers, 1024 wide."""
    layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    width = n_features
    for i, size in enumerate(hidden_layer_sizes, start=1):
        layers += [(f"linear{i}", _blank(nn.Linear, width, size)), (f"relu{i}", nn.ReLU())]
        if dropout:
            layers.append((f"dropout{i}", nn.Dropout(dropout)))
        width = size
    layers.append(("logits", _blank(nn.Linear, width, n_classes)))
    return nn.Sequential(OrderedDict(layers))


def convolutional(
    image_shape: tuple[int, int, int],
    n_classes: int,
    dropout: float = 0.4,
) -> nn.Sequential:
    """Return the report's network, that of TensorFlow's tutorial "Build a CNN using Estimators".

    Two times (5 x 5 convolution, ReLU, 2 x 2 max-pooling) with 32 and 64 filters, 1024 units,
    dropout, logits. An axis too short to be halved is not pooled.
    """
    channels, height, width = image_shape
    layers: list[tuple[str, nn.Module]] = [("images", nn.Unflatten(1, image_shape))]
    layers.insert(0, ("flatten", nn.Flatten()))
    for i, filters in enumerate((32, 64), start=1):
        pool = tuple(2 if size > 1 else 1 for size in (height, width))
        layers += [
            (f"conv{i}", _blank(nn.Conv2d, channels, filters, 5, padding=2)),
            (f"relu{i}", nn.ReLU()),
            (f"pool{i}", nn.MaxPool2d(pool)),
        ]
        channels, height, width = filters, height // pool[0], width // pool[1]
    layers += [
        ("units", nn.Flatten()),
        ("linear", _blank(nn.Linear, channels * height * width, 1024)),
        ("relu", nn.ReLU()),
        ("dropout", nn.Dropout(dropout)),
        ("logits", _blank(nn.Linear, 1024, n_classes)),
    ]
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


def _blank(layer: type[nn.Module], *args: int, **kwargs: int) -> nn.Module:
    """Make a layer without drawing its weights from torch's global generator."""
    return nn.utils.skip_init(layer, *args, **kwargs)
