r"""alpha-CROWN: the lower lines of rectifiers, chosen by gradient steps on the margins.

Any slope between those of the two pieces is a valid lower line through the origin of an undecided
rectifier. Which one is best depends on the function that is bounded, and the bound is concave and
almost everywhere differentiable in it [1]_.

References
----------
.. [1] K. Xu et al., "Fast and complete: enabling complete verification with rapid and massively
   parallel incomplete verifiers", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_robust.bounds._backward import minimum
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region

_STEPS = 20
_RATE, _RATE_FALLS = 0.25, 0.95


def minimum_with_best_slopes(
    network: Network,
    region: Region,
    boxes: Sequence[Interval],
    specs: Tensor,
    *,
    settle: bool = False,
) -> Tensor:
    """Return bounds of functions of the output, (n, specs), each with slopes of its own.

    Parameters
    ----------
    network : Network
    region : Region
    boxes : list of (low, high)
    specs : Tensor of shape (n, specs, n_outputs)
    settle : bool
        Stop as soon as all bounds are positive.
    """
    fixed = [(low.detach(), high.detach()) for low, high in boxes]
    slopes, ranges = _free_slopes(network, fixed, specs.shape[1])
    end = len(network.layers)
    best = minimum(network, region, boxes, specs, end)
    if not slopes:
        return best
    chosen, top = {k: s.clone() for k, s in slopes.items()}, best.detach()
    optimizer = torch.optim.Adam(list(slopes.values()), lr=_RATE)
    for step in range(_STEPS):
        if settle and (top > 0).all():
            break
        with torch.enable_grad():
            free = {k: s.requires_grad_() for k, s in slopes.items()}
            value = minimum(network, region, fixed, specs, end, 0, free)
            gradients = torch.autograd.grad(value.sum(), list(free.values()))
        with torch.no_grad():
            better = value > top
            top = torch.maximum(top, value.detach())
            for (k, s), g in zip(slopes.items(), gradients, strict=True):
                pick = better.reshape(*better.shape, *(1,) * (s.ndim - 2))
                chosen[k] = torch.where(pick, s.detach(), chosen[k])
                s.grad = -g
        if step + 1 < _STEPS:
            _projected_step(optimizer, slopes, ranges)
    return torch.maximum(best, minimum(network, region, boxes, specs, end, 0, chosen))


def _free_slopes(
    network: Network, boxes: Sequence[Interval], n_specs: int
) -> tuple[dict[int, Tensor], dict[int, tuple[Tensor, Tensor]]]:
    """Return the slopes to begin with for each layer that has a choice, and their ranges."""
    slopes, ranges = {}, {}
    for k, layer in enumerate(network.layers):
        low, high = boxes[network.source(k)]
        free = None if layer.affine or k < network.exact else layer.free_slopes(low, high)
        if free is not None:
            ranges[k] = free[0][:, None], free[1][:, None]
            start = layer.enclose(low, high, 0.0).lower_slope[:, None]
            slopes[k] = start.detach().expand(-1, n_specs, *low.shape[1:]).clone()
    return slopes, ranges


def _projected_step(
    optimizer: torch.optim.Optimizer,
    slopes: dict[int, Tensor],
    ranges: dict[int, tuple[Tensor, Tensor]],
) -> None:
    optimizer.step()
    with torch.no_grad():
        for k, (least, most) in ranges.items():
            slopes[k].copy_(slopes[k].clamp(least, most))
    for group in optimizer.param_groups:
        group["lr"] *= _RATE_FALLS
