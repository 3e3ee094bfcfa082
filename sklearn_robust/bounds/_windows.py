"""CROWN for convolutional layers, place by place: a unit sees a window of each layer, no more.

A backward pass from one place of an image touches, layer by layer, a window that grows with the
kernels. Working on the windows alone costs a fraction of passes over whole images, and gives the
same bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_robust.bounds._backward import Functional, collect, cross, functional, minimum, settle
from sklearn_robust.bounds._layers import Interval, Lines, Place
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Box, Region


class _View(NamedTuple):
    """Functions whose `a` is zero outside the window at `at`."""

    f: Functional
    at: Place


def windows_start(network: Network, node: int) -> int | None:
    """Return the node down to which windows can be followed from this one.

    None where windows cannot help: it is no image, or a layer below mixes places or branches.
    """
    if len(network.shapes[node]) != 3:
        return None
    start = node
    while start > 0 and _goes_by_windows(network, start - 1):
        start -= 1
    return start if start <= network.exact else None


def _goes_by_windows(network: Network, k: int) -> bool:
    one_image = network.sources[k] == (k,) and len(network.shapes[k]) == 3
    return one_image and network.layers[k].windowed


def window_products(network: Network, node: int, start: int) -> int:
    """Return the multiplications that one unit of the node costs, by windows."""
    height, width, total = 1, 1, 0
    for j in reversed(range(start, node)):
        layer = network.layers[j]
        total += layer.window_products((height, width)) if layer.affine else 0
        height, width = layer.seen((height, width))
        height, width = min(height, network.shapes[j][1]), min(width, network.shapes[j][2])
    return total


def refine_by_place(
    network: Network,
    region: Region,
    boxes: Sequence[Interval],
    k: int,
    start: int,
    undecided: Tensor,
) -> Interval:
    """Return the box at node k, made tighter where the layer that reads it is `undecided`.

    `start` comes from `windows_start`. All undecided channels of a place are bounded at once.
    """
    low, high = boxes[k]
    new_low, new_high = low.clone(), high.clone()
    undecided = undecided.any(0)
    stop = network.exact if region.is_box else start
    lines = {
        j: network.layers[j].enclose(*boxes[j], network.unit)
        for j in range(stop, k)
        if not network.layers[j].affine
    }
    errors = {j: network.step_error(j, boxes) for j in range(stop, k) if j not in lines}
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
    channels, *size = view.f.a.shape[2:]
    seen, at, size = network.layers[k].lines_in_window(lines, view.at, size, network.shapes[k][1:])
    return _View(cross(network, k, view.f, box, seen, (channels, *size)), at)


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
