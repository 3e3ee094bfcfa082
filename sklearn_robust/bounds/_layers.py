"""From a torch module to the flat list of layers that the bounds understand.

A layer is one of three kinds, and each knows its own formulas:

- `Affine` (here): z -> W z + b, with its transpose and its absolute value;
- reshaping (here): an `Affine` that only moves numbers;
- nonlinear (`_activations`): an interval rule and two lines that enclose the function.

A module of another type is taken apart by what `register_layer` knows about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklearn_robust.bounds._activations import Clamp, LeakyReLU, MaxPool

Shape = tuple[int, ...]
Place = tuple[int, int]  # row and column of a window's upper left corner


class Layer(Protocol):
    """What the traversal yields; `affine` tells the two kinds apart."""

    affine: bool

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, as the module computes it in eval mode."""


class Affine(Protocol):
    """``z -> W z + b`` on batches of any sample shape."""

    affine: bool
    terms: int
    """Largest number of products in one output, for the rounding error; 0: nothing is computed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b``."""

    def absolute(self, x: Tensor) -> Tensor:
        """Return ``|W| x``."""

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        """Return ``W^T a`` for `a` in the output's shape; `shape` is a sample's, of the input."""

    def bias(self) -> Tensor | None:
        """Return b so that it broadcasts against an output."""

    def gain(self) -> Tensor:
        """Return ``sum_j |W_ij|``, or more, so that it broadcasts against an output."""


class Windowed(Affine, Protocol):
    """An affine layer on images, of which every output sees a window of the input."""

    def transpose_window(self, a: Tensor, at: Place) -> tuple[Tensor, Place]:
        """Return ``W^T a`` and its place, for `a` that is zero but in a window at `at`.

        The result may reach over the border of the image, onto the padding.
        """


class Reshape:
    """Flatten, unflatten: the same numbers in another shape."""

    affine = True
    terms = 0

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return a.reshape(len(a), *shape)

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())


class Dense:
    """``nn.Linear`` on samples that are vectors."""

    affine = True

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self._bias = weight, bias
        self.terms = weight.shape[1] + 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self._bias)

    def absolute(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.abs())

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return a @ self.weight

    def bias(self) -> Tensor | None:
        return self._bias

    def gain(self) -> Tensor:
        return self.weight.abs().sum(1)


class Scale:
    """``scale * x + shift``, numbers or one value per channel: batch norm, changes of units.

    Parameters
    ----------
    scale, shift : float or Tensor
        A tensor must broadcast against a sample.
    """

    affine = True
    terms = 2

    def __init__(self, scale: float | Tensor, shift: float | Tensor = 0.0) -> None:
        self.scale, self.shift = (
            v if torch.is_tensor(v) else torch.tensor(v, dtype=torch.float64)
            for v in (scale, shift)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.scale.to(x) * x + self.shift.to(x)

    def absolute(self, x: Tensor) -> Tensor:
        return self.scale.to(x).abs() * x

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return self.scale.to(a) * a

    def transpose_window(self, a: Tensor, at: Place) -> tuple[Tensor, Place]:
        return self.scale.to(a) * a, at

    def bias(self) -> Tensor:
        return self.shift

    def gain(self) -> Tensor:
        return self.scale.abs()


class Conv:
    """Two-dimensional convolution with zero padding."""

    affine = True

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        self.weight, self._bias = weight, bias
        self.options: dict[str, Any] = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        self.terms = weight[0].numel() + 1

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self._bias, **self.options)

    def absolute(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight.abs(), **self.options)

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        # Rows and columns that the stride never reached at the far end come back as zeros.
        kept = [
            (a.shape[2 + i] - 1) * self.options["stride"][i]
            - 2 * self.options["padding"][i]
            + self.options["dilation"][i] * (self.weight.shape[2 + i] - 1)
            + 1
            for i in (0, 1)
        ]
        rest = (shape[1] - kept[0], shape[2] - kept[1])
        return functional.conv_transpose2d(a, self.weight, output_padding=rest, **self.options)

    def transpose_window(self, a: Tensor, at: Place) -> tuple[Tensor, Place]:
        options = {**self.options, "padding": 0}
        stride, padding = self.options["stride"], self.options["padding"]
        place = (at[0] * stride[0] - padding[0], at[1] * stride[1] - padding[1])
        return functional.conv_transpose2d(a, self.weight, **options), place

    def bias(self) -> Tensor | None:
        return None if self._bias is None else self._bias[:, None, None]

    def gain(self) -> Tensor:
        return self.weight.abs().flatten(1).sum(1)[:, None, None]


class AveragePool:
    """Mean over windows, the zeros of the padding included: a convolution of each channel."""

    affine = True

    def __init__(
        self, size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        self.size, self.stride, self.padding = size, stride, padding
        self.terms = size[0] * size[1] + 1

    def _convolution(self, like: Tensor) -> Conv:
        weight = like.new_full((1, 1, *self.size), 1 / (self.size[0] * self.size[1]))
        return Conv(weight, None, self.stride, self.padding, (1, 1), 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self._convolution(x).forward(x.flatten(0, 1)[:, None])
        return out.reshape(*x.shape[:2], *out.shape[2:])

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        flat = a.flatten(0, 1)[:, None]
        return self._convolution(a).transpose(flat, (1, *shape[1:])).reshape(len(a), *shape)

    def transpose_window(self, a: Tensor, at: Place) -> tuple[Tensor, Place]:
        out, place = self._convolution(a).transpose_window(a.flatten(0, 1)[:, None], at)
        return out.reshape(*a.shape[:2], *out.shape[2:]), place

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())


class ZeroPad:
    """A border of zeros around images; `widths` as torch has them: left, right, top, bottom."""

    affine = True
    terms = 0

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        self.widths = widths

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.widths)

    absolute = forward

    def transpose(self, a: Tensor, shape: Shape) -> Tensor:
        return functional.pad(a, tuple(-w for w in self.widths))

    def transpose_window(self, a: Tensor, at: Place) -> tuple[Tensor, Place]:
        return a, (at[0] - self.widths[2], at[1] - self.widths[0])

    def bias(self) -> None:
        return None

    def gain(self) -> Tensor:
        return torch.ones(())


class UnsupportedLayerError(NotImplementedError):
    """A module holds a layer for which there are no bounds."""


_EQUIVALENTS: dict[type[nn.Module], Callable[[Any], Sequence[Any]]] = {}


def register_layer(layer_type: type[nn.Module], equivalent: Callable[[Any], Sequence[Any]]) -> None:
    """Teach the bounds a new type of layer by saying what it is made of.

    Parameters
    ----------
    layer_type : type
        A subclass of ``torch.nn.Module``. Subclasses of it are recognised too, unless they have a
        ``forward`` of their own.
    equivalent : callable
        Maps a module of that type to the sequence of layers, torch's or those of this package
        (`Scale`, `Dense`, `Clamp`, ...), that computes the same in eval mode. Tensors in them
        keep their gradients, so that certified training reaches learnable parameters.

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


def flatten(module: nn.Module) -> list[Any]:
    """Return the layers of `module`, as it computes in eval mode, in order.

    Raises
    ------
    UnsupportedLayerError
        If there is a layer without bounds; the message has its name and position.
    """
    return list(_walk(module, ""))


def _walk(module: Any, position: str) -> Iterator[Any]:
    if not isinstance(module, nn.Module):
        yield module
        return
    known = next((cls for cls in type(module).__mro__ if cls in _EQUIVALENTS), None)
    where = f"{type(module).__name__} (at {position!r})" if position else type(module).__name__
    if known is None or type(module).forward is not known.forward:
        raise UnsupportedLayerError(
            f"There are no bounds for {where}. Build the network as an nn.Sequential of "
            f"{', '.join(sorted(cls.__name__ for cls in _EQUIVALENTS))}, or teach the bounds the "
            "new type with sklearn_robust.bounds.register_layer."
        )
    if module._forward_hooks or module._forward_pre_hooks:
        raise UnsupportedLayerError(
            f"{where} has forward hooks, which may change what it computes. Remove them first."
        )
    try:
        parts = _EQUIVALENTS[known](module)
    except UnsupportedLayerError as error:
        raise UnsupportedLayerError(f"There are no bounds for {where} {error}") from None
    names = dict(enumerate(module._modules)) if isinstance(module, nn.Sequential) else {}
    for i, part in enumerate(parts):
        inner = f"{position}.{names[i]}" if position and i in names else names.get(i, position)
        yield from _walk(part, inner)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)  # type: ignore[return-value]


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise UnsupportedLayerError(f"with {what}. {remedy}")


def _linear(layer: nn.Linear) -> list[Any]:
    return [Dense(layer.weight, layer.bias)]


def _conv(layer: nn.Conv2d) -> list[Any]:
    mode = layer.padding_mode
    _require(mode == "zeros", f"padding_mode={mode!r}", "Use padding_mode='zeros'.")
    padding = layer.padding
    if padding == "valid":
        padding = (0, 0)
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        odd = any(total % 2 for total in totals)
        _require(not odd, "padding='same' and an even kernel", "Pad with nn.ZeroPad2d before it.")
        padding = (totals[0] // 2, totals[1] // 2)
    options = (layer.stride, padding, layer.dilation, layer.groups)
    return [Conv(layer.weight, layer.bias, *options)]  # type: ignore[arg-type]


def _batch_norm(channel_axes: int) -> Callable[[Any], list[Any]]:
    def equivalent(layer: Any) -> list[Any]:
        kept = layer.running_mean is not None
        _require(kept, "track_running_stats=False", "Its output depends on the other samples.")
        scale = (layer.running_var + layer.eps).rsqrt()
        if layer.weight is not None:
            scale = scale * layer.weight
        shift = -layer.running_mean * scale
        if layer.bias is not None:
            shift = shift + layer.bias
        ones = (1,) * channel_axes
        return [Scale(scale.reshape(-1, *ones), shift.reshape(-1, *ones))]

    return equivalent


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


for _type, _equivalent in {
    nn.Sequential: list,
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm(0),
    nn.BatchNorm2d: _batch_norm(2),
    nn.ReLU: lambda layer: [LeakyReLU(0.0)],
    nn.LeakyReLU: _leaky,
    nn.Hardtanh: lambda layer: [Clamp(layer.min_val, layer.max_val)],  # and ReLU6, a subclass
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
