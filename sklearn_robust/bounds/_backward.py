r"""Linear bounds backwards (CROWN): functions of a late layer, pushed below functions of the input.

``<a, z_k>`` goes exactly through an affine layer, and through a nonlinear one by the line that the
sign of each a_i asks for,

.. math:: \langle a, g(z) \rangle \ge \langle a_+ s_{lo} + a_- s_{up}, z \rangle
          + \langle a_+, t_{lo} \rangle + \langle a_-, t_{up} \rangle

until a set is reached on which linear functions can be minimised [1]_. With ``a_+ = (a + |a|) / 2``
and ``a_- = (a - |a|) / 2`` that takes the mean of the two lines and half their difference.

Where it is known that ``<p, z> <= 0`` for numbers z that a layer reads, p may be added on the way:
the Lagrangian of a program with that constraint [2]_.

References
----------
.. [1] H. Zhang et al., "Efficient neural network robustness certification with general activation
   functions", NeurIPS 2018, theorem 3.2.
.. [2] S. Wang et al., "Beta-CROWN: efficient bound propagation with per-neuron split constraints
   for neural network robustness verification", NeurIPS 2021, theorem 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_robust.bounds._layers import Interval, Lines
from sklearn_robust.bounds._network import Network, largest
from sklearn_robust.bounds._regions import Box, Region

Choices = dict[int, Tensor]  # by layer, in the shape of what it reads: (n, specs, ...)


class Functional(NamedTuple):
    """``<a[i, s], z> + constant[i, s]`` for sample i and spec s, known up to ``error[i, s]``."""

    a: Tensor
    constant: Tensor
    error: Tensor


def functional(a: Tensor) -> Functional:
    """Return ``<a, z>``, of shape (n, specs, ...), without constant and error."""
    zero = a.new_zeros(a.shape[:2])
    return Functional(a, zero, zero)


def minimum(
    network: Network,
    region: Region,
    boxes: Sequence[Interval],
    what: Tensor | Functional,
    start: int,
    stop: int = 0,
    slopes: Choices | None = None,
    prices: Choices | None = None,
) -> Tensor:
    """Return lower bounds of linear functions of a node over the region, (n, specs).

    Parameters
    ----------
    network : Network
    region : Region
    boxes : list of (low, high)
        The box at each node, up to `start`.
    what : Tensor of shape (n, specs, ...) or Functional
        In the shape of node `start`. n may be 1 for all samples.
    start, stop : int
        Go backwards from node `start` past layer `stop`, and take the minimum over the region
        where that leads to the input, else over the boxes of the nodes that it leads to.
    slopes : dict, optional
        For layers with a choice of lower slopes, those to use for each spec.
    prices : dict, optional
        For nonlinear layers, functions of what they read that are nowhere above 0, for each spec.
    """
    stop = lowest_stop(network, region, start, stop)
    reached = pull(network, boxes, what, start, stop, slopes, prices)
    values = [
        settle(network, f, Box(*boxes[node]) if node else region) for node, f in reached.items()
    ]
    return values[0] if len(values) == 1 else torch.stack(values).sum(0)


def lowest_stop(network: Network, region: Region, start: int, stop: int = 0) -> int:
    """Return past which layer to go back: a box stays a box through the first layers."""
    return max(stop, min(network.exact, start)) if region.is_box else stop


def pull(
    network: Network,
    boxes: Sequence[Interval],
    what: Tensor | Functional,
    start: int,
    stop: int,
    slopes: Choices | None = None,
    prices: Choices | None = None,
) -> dict[int, Functional]:
    """Return functions of earlier nodes whose sum lies below that of node `start`.

    Layers from `stop` on are gone through, and all nodes that these read are reached.
    """
    reached = {start: what if isinstance(what, Functional) else functional(what)}
    slopes, prices = slopes or {}, prices or {}
    for k in reversed(range(stop, start)):
        if k + 1 in reached:
            f = reached.pop(k + 1)
            for node, part in _step(network, boxes, k, f, slopes.get(k), prices.get(k)):
                if node in reached:
                    part = _added(network, part, reached[node], boxes[node])
                reached[node] = part
    return reached


def _step(
    network: Network,
    boxes: Sequence[Interval],
    k: int,
    f: Functional,
    slopes: Tensor | None,
    prices: Tensor | None,
) -> Iterator[tuple[int, Functional]]:
    """Yield the functions of the nodes that layer k reads; the first has constant and error."""
    layer = network.layers[k]
    if not layer.affine:
        box, shape = boxes[network.source(k)], network.shapes[network.source(k)]
        lines = layer.enclose(*box, network.unit)
        f = cross(network, k, f, box, lines, shape, slopes)
        # A sum that is rounded is the exact one for a price of the same sign, which is as valid.
        yield network.source(k), f if prices is None else f._replace(a=f.a + prices)
        return
    f = collect(f, layer.bias(), network.step_error(k, boxes))
    for node, back in network.back(k, f.a.flatten(0, 1)):
        back = back.reshape(*f.a.shape[:2], *network.shapes[node])
        yield node, f._replace(a=back)
        f = f._replace(constant=torch.zeros_like(f.constant), error=torch.zeros_like(f.error))


def _added(network: Network, f: Functional, g: Functional, box: Interval) -> Functional:
    """Return the sum of functions of one node, which several layers read."""
    a, error = f.a + g.a, f.error + g.error
    if network.unit:
        length = torch.linalg.vector_norm(a.flatten(2), 1, dim=2)
        error = error + 4 * network.unit * largest(*box)[:, None] * length
    return Functional(a, f.constant + g.constant, error)


def settle(network: Network, f: Functional, region: Region) -> Tensor:
    """Return the minimum of the functions over a region of their points."""
    least = region.minimum(f.a)
    value = f.constant + least
    if not network.unit:
        return value
    size = _weigh(f.a.abs(), torch.maximum(region.low.abs(), region.high.abs()))
    n = math.prod(f.a.shape[2:])
    own = 4 * (n + 8) * size + 64 * (f.constant.abs() + least.abs())
    return value - f.error - own * network.unit


def collect(f: Functional, bias: Tensor | None, error: Tensor | None) -> Functional:
    """Return the functions with what a step back through an affine layer adds to them.

    `error` is what the network's `step_error` says; the step itself is left to the layer.
    """
    if bias is not None:
        bias = bias.to(f.a).expand(f.a.shape[2:])
        f = f._replace(constant=f.constant + _weigh(f.a, bias))
    if error is not None:
        f = f._replace(error=f.error + error * torch.linalg.vector_norm(f.a.flatten(2), 1, dim=2))
    return f


def cross(
    network: Network,
    k: int,
    f: Functional,
    box: Interval,
    lines: Lines,
    shape: tuple[int, ...],
    slopes: Tensor | None = None,
) -> Functional:
    """Return the functions after a step back through nonlinear layer k.

    `shape` is that of the layer's input, as far as `lines` see it.
    """
    a, size = f.a, f.a.abs()
    half_sum, half_gap = (lines.lower + lines.upper) / 2, (lines.lower - lines.upper) / 2
    constant, error = f.constant + _weigh(a, half_sum), f.error
    if network.unit:
        intercepts = torch.maximum(lines.lower.abs(), lines.upper.abs())
        size_of_terms = _steepest(lines, slopes) * largest(*box)
        terms = intercepts + size_of_terms.reshape(-1, *(1,) * (intercepts.ndim - 1))
        both = _weigh(size, half_gap, terms)
        constant = constant + both[..., 0]
        n = math.prod(network.shapes[k + 1]) + 8
        error = error + 4 * n * network.unit * both[..., 1]
    else:
        constant = constant + _weigh(size, half_gap)
    lower = lines.lower_slope[:, None] if slopes is None else slopes
    upper = lines.upper_slope[:, None]
    back = torch.addcmul(a * ((lower + upper) / 2), size, (lower - upper) / 2)
    if lines.lower_at is None or lines.upper_at is None:
        return Functional(back, constant, error)
    at = torch.where(a > 0, lines.lower_at[:, None], lines.upper_at[:, None])
    plane = back.new_zeros(*back.shape[:3], math.prod(shape[1:]))
    plane = plane.scatter_add(3, at.flatten(3), back.flatten(3))
    return Functional(plane.reshape(*back.shape[:2], *shape), constant, error)


def _steepest(lines: Lines, slopes: Tensor | None) -> Tensor:
    """Return the largest slope of each sample's lines, at least 1."""
    used = [lines.lower_slope, lines.upper_slope] + ([] if slopes is None else [slopes.detach()])
    steepest = torch.stack([s.abs().flatten(1).amax(1) for s in used]).amax(0)
    return steepest.clamp(min=1)


def _weigh(a: Tensor, *vectors: Tensor) -> Tensor:
    """Return ``<a[i, s], v[i]>`` (or ``<a[i, s], v>``), (n, specs), or (n, specs, 2) for two."""
    columns = [
        (v.flatten(1) if v.ndim == a.ndim - 1 else v.flatten()[None])[..., None] for v in vectors
    ]
    out = a.flatten(2) @ torch.cat(columns, dim=2)
    return out[:, :, 0] if len(vectors) == 1 else out
