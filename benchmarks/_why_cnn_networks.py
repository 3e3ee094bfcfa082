"""Networks that differ in one thing: who has thresholds in the first layer, and who shares them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklearn_robust.neural_network import InputRamp

SIDE = 28


class Unshared(nn.Module):
    """A convolution whose positions have kernels and biases of their own (locally connected)."""

    def __init__(
        self, channels: int, filters: int, size: int, stride: int, padding: int, side: int
    ):
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding
        self.side = (side + 2 * padding - size) // stride + 1
        n_taps, n_places = channels * size * size, self.side**2
        bound = 1 / math.sqrt(n_taps)  # torch's default for the convolution it stands for
        self.weight = nn.Parameter(torch.empty(n_places, n_taps, filters).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_places, 1, filters).uniform_(-bound, bound))

    def forward(self, X: Tensor) -> Tensor:
        patches = functional.unfold(X, self.size, padding=self.padding, stride=self.stride)
        out = torch.baddbmm(self.bias, patches.permute(2, 0, 1), self.weight)
        return out.permute(1, 2, 0).reshape(len(X), -1, self.side, self.side)


class RampEach(InputRamp):
    """An `InputRamp` with learnable knots for each pixel, all beginning at the same."""

    def __init__(self, low: float, high: float, n_features: int) -> None:
        super().__init__(low, high, learnable=True)
        self.start = nn.Parameter(self.start.detach().repeat(n_features))
        self.raw_width = nn.Parameter(self.raw_width.detach().repeat(n_features))

    def extra_repr(self) -> str:
        return f"{len(self.start)} features"


def dense(
    n_classes: int,
    widths: tuple[int, ...] = (128, 128),
    ramp: str | None = None,
    epsilon: float = 0.3,
    first: str | None = None,
    filters: int = 8,
) -> nn.Sequential:
    """Return a fully connected network on flat images.

    `ramp`: "fixed" or "learnable" is shared, "each" has knots for each pixel. `first`: a layer of
    `filters` units a pixel before it, ReLU of a w + b, "shared" among the pixels or "unshared".
    """
    layers: list[nn.Module] = []
    width = SIDE * SIDE
    if ramp == "each":
        layers.append(RampEach(epsilon, 1 - epsilon, width))
    elif ramp is not None:
        layers.append(InputRamp(epsilon, 1 - epsilon, learnable=ramp == "learnable"))
    if first is not None:
        one = (
            nn.Conv2d(1, filters, 1)
            if first == "shared"
            else Unshared(1, filters, size=1, stride=1, padding=0, side=SIDE)
        )
        layers += [nn.Unflatten(1, (1, SIDE, SIDE)), one, nn.ReLU(), nn.Flatten()]
        width *= filters
    for size in widths:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, n_classes))


def convolutional(
    n_classes: int,
    filters: tuple[int, int] = (16, 32),
    thresholds: bool = True,
    unshared: int = 0,
    ramp: str | None = None,
    epsilon: float = 0.3,
) -> nn.Sequential:
    """Return two strided 4 x 4 convolutions and a hidden layer of 100 units, on flat images.

    Without `thresholds` the first layer has no biases: its units are on for any multiple of what
    turns them on. `unshared`: how many of the layers, from the first on, do not share weights.
    """
    layers: list[nn.Module] = []
    if ramp is not None:
        layers.append(InputRamp(epsilon, 1 - epsilon, learnable=ramp == "learnable"))
    layers.append(nn.Unflatten(1, (1, SIDE, SIDE)))
    channels, side = 1, SIDE
    for number, n_filters in enumerate(filters):
        if number < unshared:
            layers.append(Unshared(channels, n_filters, 4, 2, 1, side))
        else:
            bias = thresholds or number > 0
            layers.append(nn.Conv2d(channels, n_filters, 4, stride=2, padding=1, bias=bias))
        layers.append(nn.ReLU())
        channels, side = n_filters, side // 2
    width = channels * side * side
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(width, 100), nn.ReLU(), nn.Linear(100, n_classes)
    )


# What is compared: name -> (function that makes it, its arguments).
NETWORKS: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
    "FC 2 x 128": (dense, {}),
    "FC 2 x 512": (dense, {"widths": (512, 512)}),
    "FC 5 x 128": (dense, {"widths": (128,) * 5}),
    "FC, 8 units a pixel": (dense, {"first": "unshared"}),
    "FC, 8 units a pixel, shared": (dense, {"first": "shared"}),
    "FC, a learnable ramp each pixel": (dense, {"ramp": "each"}),
    "FC, one learnable ramp": (dense, {"ramp": "learnable"}),
    "FC, one fixed ramp": (dense, {"ramp": "fixed"}),
    "CNN": (convolutional, {}),
    "CNN, no biases in layer 1": (convolutional, {"thresholds": False}),
    "CNN, layer 1 unshared": (convolutional, {"unshared": 1}),
    "CNN, layers 1 and 2 unshared": (convolutional, {"unshared": 2}),
    "CNN, one learnable ramp": (convolutional, {"ramp": "learnable"}),
}


def first_stage(module: nn.Sequential) -> nn.Sequential:
    """Return the network up to its first ramp or ReLU: what the rest sees."""
    end = next(i for i, m in enumerate(module) if isinstance(m, InputRamp | nn.ReLU))
    return nn.Sequential(*list(module)[: end + 1])


def silence(module: nn.Sequential) -> tuple[Tensor, Tensor] | None:
    r"""Return for each unit of the first layer how large a change leaves it off on an empty image.

    A unit :math:`\max(0, w \cdot x + b)` that sees zeros is off under every change of at most t
    upwards if :math:`b + t \sum_j \max(w_j, 0) \le 0`: :math:`t = -b / \sum_j \max(w_j, 0)`.
    Negative: it is on already. None for networks that begin with a ramp. Second, its weights.
    """
    layer: Any = next(m for m in module if not isinstance(m, nn.Unflatten))
    if isinstance(layer, InputRamp):
        return None
    if isinstance(layer, Unshared):
        weights = layer.weight.detach().transpose(1, 2).flatten(0, 1)
        bias = layer.bias.detach().flatten()
    else:
        weights = layer.weight.detach().flatten(1)
        bias = torch.zeros(len(weights)) if layer.bias is None else layer.bias.detach()
    return -bias / weights.clamp(min=0).sum(1).clamp(min=1e-12), weights
