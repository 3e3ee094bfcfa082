"""What transformers make of a box: the ends of each output, rounded outwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust.preprocessing import Affine, Block, Branches, Chain, Clip, Elementwise

Box = tuple[np.ndarray, np.ndarray]

# Functions that never decrease; numpy computes them to a few units in the last place.
_RISING: tuple[Callable, ...] = (np.log, np.log1p, np.exp, np.expm1, np.sqrt, np.tanh, np.arcsinh)
_ULPS = 8


@singledispatch
def block_box(block: Block, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    """Return the ends of what a block makes of boxes, None if no bounds of it are known.

    Parameters
    ----------
    block : Block
    low, high : ndarray of shape (n_boxes, n_in)
    resolution : float
        The spacing at 1 of the numbers in which the transformers compute.
    """
    return None


@block_box.register
def _(block: Affine, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    dense, sizes = _dense(block.matrix), block.sizes
    up, down, terms = np.maximum(dense, 0), np.minimum(dense, 0), _dense(sizes.matrix)
    handed_on = ((terms != 0).sum(axis=0) == 1) & (dense.sum(axis=0) == 1) & (sizes.offset == 0)
    with np.errstate(invalid="ignore"):  # of infinite ends, which a domain may have
        size = np.maximum(abs(low), abs(high)) @ terms + sizes.offset
        slack = np.where(handed_on, 0.0, sizes.n_roundings * resolution * size)
        lower = low @ up + high @ down + block.offset - slack
        upper = high @ up + low @ down + block.offset + slack
    return _without_nan(lower, upper)


@block_box.register
def _(block: Clip, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    return block(low), block(high)


@block_box.register
def _(block: Elementwise, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    func = block.func.func if isinstance(block.func, partial) else block.func
    if func is np.square:
        crosses = (low < 0) & (high > 0)
        a, b = np.square(low), np.square(high)
        ends = np.where(crosses, 0.0, np.minimum(a, b)), np.maximum(a, b)
    elif func in _RISING:
        with np.errstate(all="ignore"):
            ends = block(low), block(high)
    else:
        return None
    # Rounding may take the end of a range out of the function's domain: nothing is known then.
    return _without_nan(ends[0] - _ulps(ends[0], resolution), ends[1] + _ulps(ends[1], resolution))


@block_box.register
def _(block: Chain, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    box: Box | None = (low, high)
    for part in block.blocks:
        if box is None:
            return None
        box = block_box(part, *box, resolution)
    return box


@block_box.register
def _(block: Branches, low: np.ndarray, high: np.ndarray, resolution: float) -> Box | None:
    boxes = [
        block_box(part, low[:, columns], high[:, columns], resolution)
        for columns, part, _ in block.parts
    ]
    known = [box for box in boxes if box is not None]
    if len(known) < len(boxes):
        return None
    return np.hstack([box[0] for box in known]), np.hstack([box[1] for box in known])


def _without_nan(low: np.ndarray, high: np.ndarray) -> Box:
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


def _ulps(values: np.ndarray, resolution: float) -> np.ndarray:
    size = np.where(np.isfinite(values), abs(values), 0.0)
    return _ULPS * resolution * size + np.finfo(np.float32).tiny


def _dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
