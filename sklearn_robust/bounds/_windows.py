"""CROWN for convolutional layers, place by place: a unit sees a window of each layer, no more.

A backward pass from one place of an image touches, layer by layer, a window that grows with the
kernels. Working on the windows alone costs a fraction of passes over whole images, and gives the
same bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sklearn_robust.bounds._activations import Lines, MaxPool
from sklearn_robust.bounds._affine import AveragePool, Conv, Place, Scale, ZeroPad
from sklearn_robust.bounds._backward import Functional, collect, cross, functional, minimum, settle
from sklearn_robust.bounds._network import Interval, Network
from sklearn_robust.bounds._regions import Box, Region


class _View(NamedTuple):
    """Functions whose `a` is zero outside the window at `at`."""

    f: Functional
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
    errors = {j: network.step_error(j, boxes[j]) for j in range(stop, k) if j not in lines}
    # Every place begins with the same step: the kernels themselves.
    units = torch.eye(len(undecided), dtype=low.dtype, device=low.device)[:, :, None, None]
    kernels = network.layers[k - 1].transpose_window(units)
    for row, column in undecided.any(0).nonzero().tolist():
        channels = undecided[:, row, column].nonzero()[:, 0]
        a, back = units[channels], kernels[channels]
        view = _View(functional(torch.cat((a, -a))[None]), (row, column))
        view = _after_affine(network, k - 1, view, torch.cat((back, -back)), errors[k - 1])
        for j in reversed(range(stop, k - 1)):
            if network.layers[j].affine:
                back = network.layers[j].transpose_window(view.f.a.flatten(0, 1))
                view = _after_affine(network, j, view, back, errors[j])
            else:
                view = _through_nonlinear(network, j, view, boxes[j], lines[j])
        least = _least(network, region, boxes, view, stop)
        pick = (slice(None), channels, row, column)
        new_low[pick] = torch.maximum(low[pick], least[:, : len(channels)])
        new_high[pick] = torch.minimum(high[pick], -least[:, len(channels) :])
    return new_low, new_high


def _after_affine(
    network: Network, k: int, view: _View, back: Tensor, error: Tensor | None
) -> _View:
    """Return what lies behind affine layer k: `back` without what it has on the padding."""
    layer = network.layers[k]
    f, at = collect(view.f, layer.bias(), error), layer.place(view.at)
    height, width = network.shapes[k][1:]
    (top, bottom), (left, right) = (
        (max(0, start), min(length, start + n))
        for start, n, length in zip(at, back.shape[2:], (height, width), strict=True)
    )
    back = back[:, :, top - at[0] : bottom - at[0], left - at[1] : right - at[1]]
    return _View(f._replace(a=back.reshape(*f.a.shape[:2], *back.shape[1:])), (top, left))


def _through_nonlinear(network: Network, k: int, view: _View, box: Interval, lines: Lines) -> _View:
    """Slice the lines to the window, and let the usual step do the rest."""
    a = view.f.a
    (height, width), (row, column) = a.shape[3:], view.at
    cut = (..., slice(row, row + height), slice(column, column + width))
    layer, (rows, columns) = network.layers[k], network.shapes[k][1:]
    at, shape = view.at, tuple(a.shape[2:])
    seen = Lines(*(None if t is None else t[cut] for t in lines))  # type: ignore[arg-type]
    if isinstance(layer, MaxPool):
        span = layer.window((height, width), at)
        top, left = at = max(0, span[0]), max(0, span[2])
        shape = (shape[0], min(rows, span[1]) - top, min(columns, span[3]) - left)

        def local(index: Any) -> Tensor:
            """Turn positions in the plane into positions in the window."""
            return (index // columns - top) * shape[2] + index % columns - left

        seen = seen._replace(lower_at=local(seen.lower_at), upper_at=local(seen.upper_at))
    return _View(cross(network, k, view.f, box, seen, shape), at)


def _least(
    network: Network, region: Region, boxes: Sequence[Interval], view: _View, stop: int
) -> Tensor:
    """Return the minimum over the region: on the window for a box, else on the whole image."""
    a = view.f.a
    n, (row, column), (height, width) = len(region.low), view.at, a.shape[3:]
    if region.is_box:
        cut = (..., slice(row, row + height), slice(column, column + width))
        low, high = boxes[stop]
        return settle(network, view.f, Box(low[cut], high[cut]))
    rows, columns = network.shapes[stop][1:]
    edges = (column, columns - column - width, row, rows - row - height)
    whole = torch.nn.functional.pad(a, edges).expand(n, -1, -1, -1, -1)
    return minimum(network, region, boxes, view.f._replace(a=whole), stop)
