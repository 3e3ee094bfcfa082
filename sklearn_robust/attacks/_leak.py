r"""Gradients that pass through units which are off or full: a search direction, not a derivative.

In a network that is robust under linf, a unit is off unless its input comes close to a threshold,
and its derivative does not say which way that is. With a small slope in the backward pass alone,

.. math:: g(z) = \max(z, 0), \qquad g'(z) := [z > 0] + s \, [z \le 0]

the values stay what they are and the gradient also leads towards units that could be switched on.
Likewise for units with a ceiling, such as those that hold a network's input in its range. Relatives
of it were found to make attacks transfer better [1]_.

References
----------
.. [1] Y. Guo, Q. Li, H. Chen, "Backpropagating linearly improves transferability of adversarial
   examples", NeurIPS 2020: slope 1 in the last layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# What is bounded, from below, from above if at all, and whether in place.
_Unit = tuple[Tensor, float, float | None, bool]


class Leaking(TorchFunctionMode):
    """Within this context, units that are off or full have the slope `slope` in the backward pass.

    It acts on what a module calls and leaves the module alone. What has been compiled to a graph
    calls nothing, and keeps its gradient.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _BOUNDED:
            return _Bounded.apply(*_BOUNDED[func](*args, **kwargs), self.slope)
        return func(*args, **kwargs)


def _rectifier(input: Tensor, inplace: bool = False) -> _Unit:
    return input, 0.0, None, inplace


def _rectifier_in_place(input: Tensor) -> _Unit:
    return input, 0.0, None, True


def _relu6(input: Tensor, inplace: bool = False) -> _Unit:
    return input, 0.0, 6.0, inplace


def _hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> _Unit:
    return input, min_val, max_val, inplace


_BOUNDED: dict[Callable, Callable[..., _Unit]] = {
    functional.relu: _rectifier,
    torch.relu: _rectifier,
    Tensor.relu: _rectifier,
    torch.relu_: _rectifier_in_place,
    Tensor.relu_: _rectifier_in_place,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
}


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, low: float, high: float | None, in_place: bool, slope: float
    ) -> Tensor:
        if in_place:
            ctx.mark_dirty(x)
            x.clamp_(low, high)
        else:
            x = x.clamp(low, high)
        ctx.save_for_backward(x)
        ctx.low, ctx.high, ctx.slope = low, high, slope
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        moves = x > ctx.low
        if ctx.high is not None:
            moves &= x < ctx.high
        return torch.where(moves, gradient, ctx.slope * gradient), None, None, None, None
