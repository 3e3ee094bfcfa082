"""CROWN for convolutional layers, place by place: a unit sees a window of each layer, no more.

A backward pass from one place of an image touches, layer by layer, a window that grows with the
kernels. Working on the windows alone costs a fraction of passes over whole images, and gives the
same bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from sklearn_robust.bounds._activations import Lines, MaxPool
from sklearn_robust.bounds._layers import AveragePool, Conv, Place, Scale, ZeroPad
from sklearn_robust.bounds._regions import Box, Region

if TYPE_CHECKING:
    from sklearn_robust.bounds._propagation import Interval, Network


class _View(NamedTuple):
    """``<a, z> + constant``, known up to `error`, with `a` zero outside the window at `at`."""

    a: Tensor
    constant: Tensor
    error: Tensor
    at: Place


def windows_start(network: Network, k: int) -> int | None:
    """Return the layer down to whose input windows can be followed from that of layer k.

    None where windows cannot help: layer k does not act on images, or a layer below mixes places.
    """
    if len(network.shapes[k]) != 3:
        return None
    start = k
    while start > 0 and _is_windowed(network, start - 1):
        start -= 1
    return start if start <= network.exact else None


def _is_windowed(network: Network, k: int) -> bool:
    layer = network.layers[k]
    if len(network.shapes[k]) != 3:
        return False
    if isinstance(layer, Scale):
        return layer.scale.ndim == 0 or layer.scale[0].numel() == 1
    return isinstance(layer, Conv | AveragePool | ZeroPad | MaxPool) or (
        not layer.affine and layer.elementwise
    )


def window_products(network: Network, k: int, start: int) -> int:
    """Return the multiplications that one unit of the input of layer k costs, by windows."""
    height, width, total = 1, 1, 0
    for j in reversed(range(start, k)):
        layer = network.layers[j]
        if isinstance(layer, Conv):
            total += layer.weight.numel() * height * width
            sizes = layer.weight.shape[2:]
            (p, q), (d, e) = layer.options["stride"], layer.options["dilation"]
            height = (height - 1) * p + d * (sizes[0] - 1) + 1
            width = (width - 1) * q + e * (sizes[1] - 1) + 1
        elif isinstance(layer, AveragePool | MaxPool):
            height = (height - 1) * layer.stride[0] + layer.size[0]
            width = (width - 1) * layer.stride[1] + layer.size[1]
        height, width = min(height, network.shapes[j][1]), min(width, network.shapes[j][2])
    return total


def refine_by_place(
    network: Network, region: Region, boxes: Sequence[Interval], k: int, start: int
) -> Interval:
    """Return the box at the input of layer k, made tighter where layer k is undecided.

    `start` comes from `windows_start`. All undecided channels of a place are bounded at once.
    """
    low, high = boxes[k]
    new_low, new_high = low.clone(), high.clone()
    undecided = network.layers[k].undecided(low, high).any(0)
    stop = network.exact if region.is_box else start
    lines = {
        j: network.layers[j].enclose(*boxes[j], network.unit)
        for j in range(stop, k)
        if not network.layers[j].affine
    }
    for row, column in undecided.any(0).nonzero().tolist():
        channels = undecided[:, row, column].nonzero()[:, 0]
        a = torch.nn.functional.one_hot(channels, len(undecided)).to(low)
        a = torch.cat((a, -a))[None, :, :, None, None]
        zero = a.new_zeros(a.shape[:2])
        view = _View(a, zero, zero, (row, column))
        for j in reversed(range(stop, k)):
            if network.layers[j].affine:
                view = _through_affine(network, j, view, boxes[j])
            else:
                view = _through_nonlinear(network, j, view, boxes[j], lines[j])
        least = _least(network, region, boxes, view, stop)
        pick = (slice(None), channels, row, column)
        new_low[pick] = torch.maximum(low[pick], least[:, : len(channels)])
        new_high[pick] = torch.minimum(high[pick], -least[:, len(channels) :])
    return new_low, new_high


def _through_affine(network: Network, k: int, view: _View, box: Interval) -> _View:
    layer, a = network.layers[k], view.a
    size = network.rounding_size(k, box, a[:, 0])
    size = None if size is None else size.expand(-1, *a.shape[2:])
    constant, error = network.collect(a, layer.bias(), view.constant, view.error, size)
    back, at = layer.transpose_window(a.flatten(0, 1), view.at)
    height, width = network.shapes[k][1:]
    (top, bottom), (left, right) = (
        (max(0, start), min(length, start + n))
        for start, n, length in zip(at, back.shape[2:], (height, width), strict=True)
    )
    back = back[:, :, top - at[0] : bottom - at[0], left - at[1] : right - at[1]]
    return _View(back.reshape(*a.shape[:2], *back.shape[1:]), constant, error, (top, left))


def _through_nonlinear(network: Network, k: int, view: _View, box: Interval, lines: Lines) -> _View:
    """Slice the lines to the window, and let the network's own step do the rest."""
    (height, width), (row, column) = view.a.shape[3:], view.at
    cut = (..., slice(row, row + height), slice(column, column + width))
    layer, (rows, columns) = network.layers[k], network.shapes[k][1:]
    at, shape = view.at, tuple(view.a.shape[2:])
    seen = Lines(*(None if t is None else t[cut] for t in lines))  # type: ignore[arg-type]
    if isinstance(layer, MaxPool):
        span = layer.window((height, width), at)
        top, left = at = max(0, span[0]), max(0, span[2])
        shape = (shape[0], min(rows, span[1]) - top, min(columns, span[3]) - left)

        def local(index: Any) -> Tensor:
            """Turn positions in the plane into positions in the window."""
            return (index // columns - top) * shape[2] + index % columns - left

        seen = seen._replace(lower_at=local(seen.lower_at), upper_at=local(seen.upper_at))
    a, constant, error = network.cross(k, view.a, view.constant, view.error, box, seen, shape)
    return _View(a, constant, error, at)


def _least(
    network: Network, region: Region, boxes: Sequence[Interval], view: _View, stop: int
) -> Tensor:
    """Return the minimum over the region: on the window for a box, else on the whole image."""
    n, (row, column), (height, width) = len(region.low), view.at, view.a.shape[3:]
    if region.is_box:
        cut = (..., slice(row, row + height), slice(column, column + width))
        low, high = boxes[stop]
        return network.settle(view.a, view.constant, view.error, Box(low[cut], high[cut]))
    rows, columns = network.shapes[stop][1:]
    edges = (column, columns - column - width, row, rows - row - height)
    whole = torch.nn.functional.pad(view.a, edges).expand(n, -1, -1, -1, -1)
    return network.descend(region, boxes, whole, view.constant, view.error, stop)
