r"""Gradients that pass through rectifiers which are off: a search direction, not a derivative.

In a network that is robust under linf, a unit is off unless its input comes close to a threshold,
and its derivative does not say which way that is. With a small slope in the backward pass alone,

.. math:: g(z) = \max(z, 0), \qquad g'(z) := [z > 0] + s \, [z \le 0]

the values stay what they are and the gradient also leads towards units that could be switched on.
Relatives of it were found to make attacks transfer better [1]_.

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

_RECTIFIERS = {functional.relu, torch.relu, Tensor.relu}
_IN_PLACE = {torch.relu_, Tensor.relu_}


class Leaking(TorchFunctionMode):
    """Within this context, rectifiers that are off have the slope `slope` in the backward pass.

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
        if func in _RECTIFIERS or func in _IN_PLACE:
            x, in_place = _arguments(*args, **kwargs)
            return _Rectify.apply(x, in_place or func in _IN_PLACE, self.slope)
        return func(*args, **kwargs)


def _arguments(input: Tensor, inplace: bool = False) -> tuple[Tensor, bool]:
    return input, inplace


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, in_place: bool, slope: float) -> Tensor:
        if in_place:
            ctx.mark_dirty(x)
            x.relu_()
        else:
            x = x.relu()
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient, ctx.slope * gradient), None, None
