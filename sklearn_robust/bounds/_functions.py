"""Functions and methods of torch that the bounds know, by name: what they are as layers.

What is said in an error continues "There are no bounds for ..., which calls ...".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_robust.bounds._activations import Clamp, LeakyReLU
from sklearn_robust.bounds._affine import Dense, Reshape, Scale
from sklearn_robust.bounds._images import AveragePool, ZeroPad
from sklearn_robust.bounds._joins import Concat, Sum
from sklearn_robust.bounds._layers import Shape, UnsupportedLayerError
from sklearn_robust.bounds._traced import Ranked, Traced
from sklearn_robust.bounds._translation import convolution, layers_of

FUNCTIONS: dict[str, Callable[..., Traced]] = {}


class ObstacleError(Exception):
    """What a function cannot do, as the end of a sentence."""


def _named(*names: str) -> Callable[[Callable[..., Traced]], Callable[..., Traced]]:
    def note(function: Callable[..., Traced]) -> Callable[..., Traced]:
        FUNCTIONS.update(dict.fromkeys(names, function))
        return function

    return note


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ObstacleError(what)


def _as_module(make: Callable[..., nn.Module]) -> Callable[..., Traced]:
    """Return the function that does what a module of torch does with the same options."""

    def function(x: Traced, *args: Any, **kwargs: Any) -> Traced:
        try:
            layers = layers_of(make(*args, **kwargs))
        except UnsupportedLayerError as error:
            raise ObstacleError(error.reason.rstrip(".")) from None
        for layer in layers or ():
            x = x.through(layer)
        return x

    return function


FUNCTIONS.update({
    "relu": _as_module(nn.ReLU),
    "relu6": _as_module(nn.ReLU6),
    "leaky_relu": _as_module(nn.LeakyReLU),
    "hardtanh": _as_module(nn.Hardtanh),
    "tanh": _as_module(nn.Tanh),
    "sigmoid": _as_module(nn.Sigmoid),
    "softplus": _as_module(nn.Softplus),
    "log_sigmoid": _as_module(nn.LogSigmoid),
    "silu": _as_module(nn.SiLU),
    "gelu": _as_module(nn.GELU),
    "mish": _as_module(nn.Mish),
    "elu": _as_module(nn.ELU),
    "celu": _as_module(nn.CELU),
    "selu": _as_module(nn.SELU),
    "softsign": _as_module(nn.Softsign),
    "hardswish": _as_module(nn.Hardswish),
    "softshrink": _as_module(nn.Softshrink),
    "tanhshrink": _as_module(nn.Tanhshrink),
    "hardsigmoid": _as_module(nn.Hardsigmoid),
    "max_pool2d": _as_module(nn.MaxPool2d),
    "max_pool2d_with_indices": _as_module(nn.MaxPool2d),
    "avg_pool2d": _as_module(nn.AvgPool2d),
})  # fmt: skip


@_named("softmax", "log_softmax")
def _softmax(x: Traced, dim: Any = None, *options: Any, **more: Any) -> Traced:
    _require(x.ndim == 2 and dim in (None, 1, -1), "over other than the classes")
    return Ranked(x)


# Arithmetic --------------------------------------------------------------------------------------


@_named("add")
def _add(a: Any, b: Any, *, alpha: float = 1) -> Traced:
    if isinstance(a, Traced) and isinstance(b, Traced):
        _require(a.shape == b.shape, "on tensors of different shapes")
        return a.through(Sum((1.0, float(alpha))), b)
    if isinstance(b, Traced):
        return b.through(Scale(float(alpha), _constant(a, b)))
    return a.through(Scale(1.0, alpha * _constant(b, a)))


@_named("sub", "subtract")
def _sub(a: Any, b: Any, *, alpha: float = 1) -> Traced:
    return _add(a, b, alpha=-alpha)


@_named("rsub")
def _rsub(a: Any, b: Any) -> Traced:
    return _sub(b, a)


@_named("mul", "multiply")
def _mul(a: Any, b: Any) -> Traced:
    x, factor = (a, b) if isinstance(a, Traced) else (b, a)
    return x.through(Scale(_constant(factor, x)))


@_named("div", "divide", "true_divide")
def _div(a: Any, b: Any) -> Traced:
    _require(isinstance(a, Traced), "by a tensor that depends on the input")
    return a.through(Scale(1 / _constant(b, a)))


@_named("neg", "negative")
def _neg(x: Traced) -> Traced:
    return x.through(Scale(-1.0))


def _constant(value: Any, x: Traced) -> Any:
    """Return a number, or a tensor with the axes of a sample, to which it broadcasts."""
    _require(not isinstance(value, Traced), "on two tensors that depend on the input")
    if isinstance(value, Real):
        return float(value)
    _require(isinstance(value, Tensor), f"on {type(value).__name__}")
    shape, ours = tuple(x.shape[1:]), value.shape
    lead = value.ndim - len(shape)
    fits = lead <= 1 and all(n in (1, m) for n, m in zip(ours[::-1], shape[::-1], strict=False))
    _require(fits and ours[: max(lead, 0)] in ((), (1,)), "on a tensor of another shape")
    return value if not value.ndim else value.reshape((1,) * max(-lead, 0) + ours[max(lead, 0) :])


# Products ----------------------------------------------------------------------------------------


@_named("linear")
def _linear(x: Any, weight: Any, bias: Tensor | None = None) -> Traced:
    _require(isinstance(x, Traced) and isinstance(weight, Tensor), "with weights from the input")
    return x.through(Dense(weight, bias))


@_named("matmul", "mm")
def _matmul(x: Any, weight: Any) -> Traced:
    plain = isinstance(x, Traced) and isinstance(weight, Tensor) and weight.ndim == 2
    _require(plain, "on other than a batch and a matrix of weights")
    return x.through(Dense(weight.T, None))


@_named("conv2d")
def _conv2d(
    x: Any,
    weight: Any,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Traced:
    _require(isinstance(x, Traced) and isinstance(weight, Tensor), "with weights from the input")
    return x.through(convolution(weight, bias, stride, padding, dilation, groups))


# Shapes ------------------------------------------------------------------------------------------


def _reshaping(name: str) -> Callable[..., Traced]:
    """Return the function for a method of tensors that moves no number."""

    def function(x: Traced, *args: Any, **kwargs: Any) -> Traced:
        plain = torch.empty(x.shape, device="meta")
        shape = getattr(plain, name)(*args, **kwargs).shape
        _require(shape[:1] == (1,), "across samples")
        return x.through(Reshape(partial(_reshaped, tuple(shape[1:]))))

    return function


def _reshaped(shape: Shape, x: Tensor) -> Tensor:
    return x.reshape(len(x), *shape)


for _name in ("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten"):
    FUNCTIONS[_name] = _reshaping(_name)


@_named("contiguous")
def _contiguous(x: Traced) -> Traced:
    return x


@_named("clone")
def _clone(x: Traced) -> Traced:
    return Traced(x.graph, x.node)


@_named("dropout", "dropout2d", "feature_dropout", "alpha_dropout")
def _dropout(x: Traced, p: float = 0.5, training: bool = True) -> Traced:
    _require(not training or not p, "with training=True, which is random")
    return x


@_named("cat", "concat", "concatenate")
def _cat(tensors: Sequence[Any], dim: int = 0) -> Traced:
    _require(all(isinstance(x, Traced) for x in tensors), "with a tensor that is constant")
    first, *others = tensors
    axis = dim % first.ndim - 1
    _require(axis >= 0, "across samples")
    return first.through(Concat(axis), *others)


@_named("pad")
def _pad(x: Traced, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Traced:
    plain = mode == "constant" and not value and len(pad) == 4 and x.ndim == 4
    _require(plain, "with other than zeros around images")
    return x.through(ZeroPad((pad[0], pad[1], pad[2], pad[3])))


# Pooling, clipping -------------------------------------------------------------------------------


@_named("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(x: Traced, output_size: Any) -> Traced:
    _require(x.ndim == 4 and output_size in (1, (1, 1), [1, 1]), "to more than one value")
    size = tuple(x.shape[2:])
    return x.through(AveragePool(size, size, (0, 0)))  # type: ignore[arg-type]


@_named("mean")
def _mean(x: Traced, dim: Any = None, keepdim: bool = False) -> Traced:
    axes = sorted(d % x.ndim for d in ([dim] if isinstance(dim, int) else dim or ()))
    _require(x.ndim == 4 and axes == [2, 3], "over other axes than rows and columns of images")
    pooled = _adaptive_avg_pool2d(x, 1)
    return pooled if keepdim else FUNCTIONS["flatten"](pooled, 1)


@_named("clamp", "clip")
def _clamp(x: Traced, min: Any = None, max: Any = None) -> Traced:
    floor, ceiling = (-math.inf if min is None else min), (math.inf if max is None else max)
    numbers = isinstance(floor, Real) and isinstance(ceiling, Real) and floor < ceiling
    _require(numbers, "with other than two numbers, the lower one first")
    rectifier = (floor, ceiling) == (0, math.inf)
    return x.through(LeakyReLU() if rectifier else Clamp(float(floor), float(ceiling)))
