"""Torch's layers as those of the bounds, and those that others have registered.

A module of another type is followed through its forward pass, see `_graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sklearn_robust.bounds._activations import Clamp, LeakyReLU
from sklearn_robust.bounds._affine import Dense, Reshape, Scale
from sklearn_robust.bounds._bent import GELU, Mish, SiLU, Softplus
from sklearn_robust.bounds._images import AveragePool, Conv, MaxPool, ZeroPad
from sklearn_robust.bounds._kinked import ELU, Hardswish, Softshrink, Tanhshrink
from sklearn_robust.bounds._layers import UnsupportedLayerError
from sklearn_robust.bounds._smooth import Sigmoid, Softsign, Tanh

_EQUIVALENTS: dict[type[nn.Module], Callable[[Any], Sequence[Any]]] = {}


def register_layer(layer_type: type[nn.Module], equivalent: Callable[[Any], Sequence[Any]]) -> None:
    """Teach the bounds a new type of layer by saying what it is made of.

    Needed only for what they cannot find out: a module that calls layers and functions that they
    know is followed as it is.

    Parameters
    ----------
    layer_type : type
        A subclass of ``torch.nn.Module``. Subclasses of it are recognised too, unless they have a
        ``forward`` of their own.
    equivalent : callable
        Maps a module of that type to the sequence of layers, torch's or those of this package
        (`Scale`, `Dense`, `Clamp`, ...), that computes the same in eval mode. Tensors in them
        keep their gradients, so that certified training reaches learnable parameters. It may raise
        `UnsupportedLayerError` for a module that it cannot take apart; nothing is checked before a
        module is bounded, and `certified_correct` raises RuntimeError where a bound contradicts
        what the module computes.

    Examples
    --------
    A threshold shared by all features, ``clip((x - low) / (high - low), 0, 1)``:

    >>> import torch
    >>> from sklearn_robust.bounds import Scale, interval_bounds, register_layer
    >>> class Ramp(torch.nn.Module):
    ...     low, high = 0.25, 0.75
    ...     def forward(self, x):
    ...         return ((x - self.low) / (self.high - self.low)).clip(0, 1)
    >>> def parts(ramp):
    ...     width = ramp.high - ramp.low
    ...     return [Scale(1 / width, -ramp.low / width), torch.nn.Hardtanh(0, 1)]
    >>> register_layer(Ramp, parts)
    >>> x = torch.tensor([[0.1, 0.5]])
    >>> lower, upper = interval_bounds(Ramp(), x - 0.125, x + 0.125)
    >>> lower.round(decimals=3), upper.round(decimals=3)
    (tensor([[0.0000, 0.2500]]), tensor([[0.0000, 0.7500]]))
    """
    _EQUIVALENTS[layer_type] = equivalent


def layers_of(module: nn.Module) -> Sequence[Any] | None:
    """Return the layers that the module is registered to be made of; None if it is not."""
    known = next((cls for cls in type(module).__mro__ if cls in _EQUIVALENTS), None)
    if known is None or type(module).forward is not known.forward:
        return None
    return _EQUIVALENTS[known](module)


def check_hooks(module: nn.Module, where: str) -> None:
    """Raise UnsupportedLayerError if hooks may change what `module` computes."""
    hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    if not all(getattr(hook, "keeps_function", False) for hook in hooks):
        raise UnsupportedLayerError(
            f"{where} has forward hooks, which may change what it computes.", "Remove them first."
        )


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise UnsupportedLayerError(f"with {what}.", remedy)


def _linear(layer: nn.Linear) -> list[Any]:
    return [Dense(layer.weight, layer.bias)]


def _conv(layer: nn.Conv2d) -> list[Any]:
    mode = layer.padding_mode
    _require(mode == "zeros", f"padding_mode={mode!r}", "Use padding_mode='zeros'.")
    options = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return [convolution(layer.weight, layer.bias, *options)]


def convolution(
    weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Conv:
    """Return the layer for the options of torch's conv2d."""
    dilation = _pair(dilation)
    if padding == "valid":
        padding = (0, 0)
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        odd = any(total % 2 for total in totals)
        _require(not odd, "padding='same' and an even kernel", "Pad with nn.ZeroPad2d before it.")
        padding = (totals[0] // 2, totals[1] // 2)
    return Conv(weight, bias, _pair(stride), _pair(padding), dilation, groups)


def _batch_norm(channel_axes: int) -> Callable[[Any], list[Any]]:
    def equivalent(layer: Any) -> list[Any]:
        kept = layer.running_mean is not None
        _require(kept, "track_running_stats=False", "Its output depends on the other samples.")
        return [normalization(layer, layer.running_mean, layer.running_var, channel_axes)]

    return equivalent


def normalization(layer: Any, mean: Tensor, variance: Tensor, channel_axes: int) -> Scale:
    """Return what a batch norm with these statistics does to (channels, *channel_axes)."""
    scale = (variance + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -mean * scale
    size = shift.abs()
    if layer.bias is not None:
        shift, size = shift + layer.bias, size + layer.bias.abs()
    return Scale(*(t.reshape(-1, *(1,) * channel_axes) for t in (scale, shift, size)))


def _max_pool(layer: nn.MaxPool2d) -> list[Any]:
    _require(not layer.ceil_mode, "ceil_mode=True", "Pad the input instead.")
    _require(not layer.return_indices, "return_indices=True", "Drop the indices.")
    _require(_pair(layer.dilation) == (1, 1), "dilation", "Use dilation=1.")
    size, stride = _pair(layer.kernel_size), _pair(layer.stride)
    return [MaxPool(size, stride, _pair(layer.padding))]


def _avg_pool(layer: nn.AvgPool2d) -> list[Any]:
    _require(not layer.ceil_mode, "ceil_mode=True", "Pad the input instead.")
    padding = _pair(layer.padding)
    plain = layer.divisor_override is None and (layer.count_include_pad or padding == (0, 0))
    _require(plain, "a divisor of its own", "Use count_include_pad=True.")
    return [AveragePool(_pair(layer.kernel_size), _pair(layer.stride), padding)]


def _flatten(layer: nn.Flatten) -> list[Any]:
    _require(layer.start_dim != 0, "start_dim=0", "The first axis holds the samples.")
    return [Reshape(layer)]


def _leaky(layer: nn.LeakyReLU) -> list[Any]:
    slope = layer.negative_slope
    _require(0 <= slope <= 1, f"negative_slope={slope}", "Use a slope in [0, 1].")
    return [LeakyReLU(slope)]


def _prelu(layer: nn.PReLU) -> list[Any]:
    inside = bool(((layer.weight >= 0) & (layer.weight <= 1)).all())
    _require(inside, "a weight outside [0, 1]", "Use slopes in [0, 1].")
    return [LeakyReLU(layer.weight)]


def _elu(layer: nn.ELU | nn.CELU) -> list[Any]:
    alpha = float(layer.alpha)
    _require(alpha > 0, f"alpha={alpha}", "Use an alpha above 0.")
    return [ELU(alpha, width=alpha if isinstance(layer, nn.CELU) else 1.0)]


# G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017, as torch has them.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


for _type, _equivalent in {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm(0),
    nn.BatchNorm2d: _batch_norm(2),
    nn.ReLU: lambda layer: [LeakyReLU(0.0)],
    nn.LeakyReLU: _leaky,
    nn.PReLU: _prelu,
    nn.Hardtanh: lambda layer: [Clamp(layer.min_val, layer.max_val)],  # and ReLU6, a subclass
    nn.Tanh: lambda layer: [Tanh()],
    nn.Sigmoid: lambda layer: [Sigmoid()],
    nn.Softplus: lambda layer: [Softplus(layer.beta, layer.threshold)],
    nn.LogSigmoid: lambda layer: [Scale(-1.0), Softplus(1.0, 40.0), Scale(-1.0)],
    nn.SiLU: lambda layer: [SiLU()],
    nn.GELU: lambda layer: [GELU(layer.approximate)],
    nn.Mish: lambda layer: [Mish()],
    nn.ELU: _elu,
    nn.CELU: _elu,
    nn.SELU: lambda layer: [ELU(_SELU_ALPHA, scale=_SELU_SCALE)],
    nn.Softsign: lambda layer: [Softsign()],
    nn.Hardswish: lambda layer: [Hardswish()],
    nn.Softshrink: lambda layer: [Softshrink(layer.lambd)],
    nn.Tanhshrink: lambda layer: [Tanhshrink()],
    nn.Hardsigmoid: lambda layer: [Scale(1.0, 3.0), Clamp(0.0, 6.0), Scale(1 / 6)],
    nn.RReLU: lambda layer: [LeakyReLU((layer.lower + layer.upper) / 2)],
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.ZeroPad2d: lambda layer: [ZeroPad(layer.padding)],
    nn.Flatten: _flatten,
    nn.Unflatten: lambda layer: [Reshape(layer)],
    nn.Dropout: lambda layer: [],
    nn.Dropout2d: lambda layer: [],
    nn.Identity: lambda layer: [],
}.items():
    register_layer(_type, _equivalent)  # type: ignore[arg-type]
