r"""Interval bounds forwards, from a set of inputs to the box at every layer.

A box [c - r, c + r] becomes under ``W z + b``

.. math:: [W c + b - |W| r, \; W c + b + |W| r]

and a monotone layer acts on both ends [1]_. Where the set is a ball, the first nonlinear layer also
knows the dual norms of the rows that lead to it.

References
----------
.. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training verifiably
   robust models", 2018, equations (5) and (6).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklearn_robust._pieces import pieces
from sklearn_robust.bounds._averages import mean_error, networks_of
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import BallAndBox, Box, Region


def interval_bounds(
    module: torch.nn.Module, lower: Tensor, upper: Tensor, *, rounding: bool = True
) -> Interval:
    r"""Return bounds of a network's outputs over boxes of inputs, by interval propagation.

    .. math:: [c - r, c + r] \mapsto [W c + b - |W| r, \; W c + b + |W| r]

    through affine layers; monotone layers act on both ends [1]_. Differentiable with respect to
    the module's parameters and the box. Layers act as in eval mode, whatever the module's mode is.

    Parameters
    ----------
    module : torch.nn.Module
        As in `margin_bounds`.
    lower, upper : Tensor of shape (n_samples, ...)
        Ends of the boxes, in the precision and on the device of the module.
    rounding : bool, default=True
        Move the bounds outwards by what rounding can do. Training may do without.

    Returns
    -------
    lower, upper : Tensor of shape (n_samples, n_outputs)

    Raises
    ------
    UnsupportedLayerError
        If the module holds a layer without bounds; the message names it.

    References
    ----------
    .. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training
       verifiably robust models", 2018, equations (5) and (6).

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import interval_bounds
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    >>> lower, upper = interval_bounds(layer, torch.zeros(1, 2), torch.ones(1, 2))
    >>> round(lower.item(), 3), round(upper.item(), 3)
    (-2.0, 1.0)
    """
    networks = [Network(part, lower, rounding=rounding) for part in networks_of(module)]
    boxes = [intervals(network, Box(lower, upper))[-1] for network in networks]
    if len(boxes) == 1:
        return boxes[0]
    low, high = (torch.stack(ends) for ends in zip(*boxes, strict=True))
    size = torch.maximum(low.abs(), high.abs()).amax(0)
    error = mean_error(len(boxes), networks[0].unit, size)
    return low.mean(0) - error, high.mean(0) + error


def intervals(network: Network, region: Region) -> list[Interval]:
    """Return the box at every node."""
    boxes = [(region.low, region.high)]
    for k in range(len(network.layers)):
        node = network.source(k)
        if k == network.first and node and isinstance(region, BallAndBox):
            boxes[node] = _within_ball(network, region, boxes[node])
        boxes.append(network.interval(k, boxes))
    return boxes


def _within_ball(network: Network, region: BallAndBox, box: Interval) -> Interval:
    """Return the tighter of `box` and the dual norm's bound at the first nonlinear layer."""
    stored = [(region.X - region.widening, region.X + region.widening)]
    for k in range(network.source(network.first)):
        stored.append(network.interval(k, stored))
    low, high = stored[-1]
    if network.reach is None or network.reach[0] is not region.threat:
        reach = _kernel_reach(network, region)
        network.reach = region.threat, _ball_reach(network, region) if reach is None else reach
    # The rows of a product of matrices have a rounding error of their own.
    reach = network.reach[1] + 1e6 * network.unit * (box[1] - box[0])
    return torch.maximum(box[0], low - reach), torch.minimum(box[1], high + reach)


def _ball_reach(network: Network, region: BallAndBox) -> Tensor:
    """Return how far each input of the first nonlinear layer moves over the unclipped ball."""
    node = network.source(network.first)
    shape, widest = network.shapes[node], max(map(math.prod, network.shapes[: node + 1]))
    n = math.prod(shape)
    like = region.X
    parts = []
    for part in pieces(n, 8 * 2 * widest):
        rows = torch.arange(part.start, part.stop, device=like.device)
        a = torch.nn.functional.one_hot(rows, n).to(like).reshape(-1, *shape)
        parts.append(region.ball_reach(_at_input(network, a, node)))
    return torch.cat(parts).reshape(shape)


def _at_input(network: Network, a: Tensor, node: int) -> Tensor:
    """Return the linear functions `a` of a node behind affine layers, as functions of the input."""
    known = {node: a}
    for k in reversed(range(node)):
        if k + 1 in known:
            for source, part in network.back(k, known.pop(k + 1)):
                known[source] = known[source] + part if source in known else part
    return known[0]


def _kernel_reach(network: Network, region: BallAndBox) -> Tensor | None:
    """Return `_ball_reach` where one layer of kernels stands first, else None.

    A place's linear function is its kernel, or a part of it at the border, which reaches less.
    """
    if not network.is_chain(0, network.first):
        return None
    prefix = network.layers[: network.first]
    k, factors = 0, []
    while k < len(prefix) and (factor := prefix[k].factor()) is not None:
        factors.append(factor)
        k += 1
    kernels = prefix[k].kernels() if k < len(prefix) else None
    if kernels is None or not all(layer.pointwise for layer in prefix[k + 1 :]):
        return None
    widest = region.widest_reach(kernels)
    if widest is None:
        return None
    reach = widest[:, None, None].expand(1, *network.shapes[k + 1])
    for factor in factors:
        reach = factor.to(reach) * reach
    for layer in prefix[k + 1 :]:
        reach = layer.absolute(reach)
    return reach[0]
