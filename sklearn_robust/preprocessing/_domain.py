"""Where fitted transformers are defined: raw values beyond are out of the adversary's reach."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import NMF, LatentDirichletAllocation, MiniBatchNMF
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import AdditiveChi2Sampler, SkewedChi2Sampler
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer

from sklearn_robust.preprocessing._blocks import Affine
from sklearn_robust.preprocessing._columns import branches
from sklearn_robust.preprocessing._registry import registered
from sklearn_robust.preprocessing._table import Table

Bounds = tuple[np.ndarray, np.ndarray]

# The first float32 numbers above 0 and -1: classifiers may cast what they are given.
_ABOVE_0 = float(np.finfo(np.float32).tiny)
_ABOVE_MINUS_1 = float(np.nextafter(np.float32(-1), np.float32(0)))
_ROUNDING = 8 * float(np.finfo(np.float64).eps)
_LARGEST = 1e30  # that a power may grow to, which float32 can hold
_LOWEST = {
    np.log: _ABOVE_0,
    np.log2: _ABOVE_0,
    np.log10: _ABOVE_0,
    np.log1p: _ABOVE_MINUS_1,
    np.sqrt: 0.0,
}


@singledispatch
def lowest(transformer: Any) -> Any:
    """Return the lowest value that a fitted transformer takes, one for all columns or one each."""
    return -np.inf


@lowest.register
def _(transformer: FunctionTransformer) -> Any:
    try:
        return _LOWEST.get(transformer.func, -np.inf)
    except TypeError:  # a function that cannot be a key
        return -np.inf


@lowest.register
def _(transformer: PowerTransformer) -> Any:
    if transformer.method != "box-cox":
        return -np.inf
    power = np.minimum(transformer.lambdas_, 0)
    # (x^power - 1) / power, which a negative power takes to infinity at 0.
    with np.errstate(divide="ignore"):
        finite = np.where(power < 0, (_LARGEST * -power) ** (1 / power), 0.0)
    return np.maximum(finite, _ABOVE_0)


@lowest.register
def _(transformer: SkewedChi2Sampler) -> Any:
    return float(np.nextafter(-transformer.skewedness, np.inf))


@lowest.register(AdditiveChi2Sampler)
@lowest.register(NMF)
@lowest.register(MiniBatchNMF)
@lowest.register(LatentDirichletAllocation)
@lowest.register(TfidfTransformer)
def _(transformer: Any) -> Any:
    return 0.0


def raw_domain(steps: list[tuple[str, Any]], table: Table) -> Bounds | None:
    """Return the range of each raw column in which the transformers are defined; None: everywhere.

    Found for transformers that read the raw columns, or columns that were scaled one by one. What
    the samples hold themselves is always inside.
    """
    low, high = _of_steps(steps, len(table.numeric), table.raw)
    bounded = np.flatnonzero((np.isfinite(low) | np.isfinite(high)) & table.numeric)
    if not len(bounded):
        return None
    values = table.floats(bounded)
    if len(values):
        low[bounded] = np.minimum(low[bounded], values.min(axis=0))
        high[bounded] = np.maximum(high[bounded], values.max(axis=0))
    return low, high


def _of(transformer: Any, n_columns: int, X: Any = None) -> Bounds:
    """Return the range of each column that a transformer reads."""
    if isinstance(transformer, FrozenEstimator):
        return _of(transformer.estimator, n_columns, X)
    if isinstance(transformer, Pipeline):
        return _of_steps(transformer.steps, n_columns, X)
    low, high = np.full(n_columns, -np.inf), np.full(n_columns, np.inf)
    if isinstance(transformer, FeatureUnion):
        parts = [(np.arange(n_columns), part) for _, part in transformer.transformer_list]
    elif isinstance(transformer, ColumnTransformer):
        parts = [(columns, part) for _, part, columns, _ in branches(transformer, X)]
    else:
        return np.array(np.broadcast_to(lowest(transformer), n_columns), dtype=np.float64), high
    for columns, part in parts:
        inner = _of(part, len(columns))
        low[columns] = np.maximum(low[columns], inner[0])
        high[columns] = np.minimum(high[columns], inner[1])
    return low, high


def _of_steps(steps: list[tuple[str, Any]], n_columns: int, X: Any = None) -> Bounds:
    """Return the range of each column that steps one after another read, the first of them `X`."""
    low, high = np.full(n_columns, -np.inf), np.full(n_columns, np.inf)
    scale, offset = np.ones(n_columns), np.zeros(n_columns)
    for _, step in steps:
        if step is None or isinstance(step, str):  # "passthrough"
            continue
        ends = _before(_of(step, n_columns, X), scale, offset)
        low, high = np.fmax(low, ends[0]), np.fmin(high, ends[1])
        block = registered(step)
        diagonal = _diagonal(block)
        if diagonal is None or not isinstance(block, Affine):
            break
        scale, offset, X = scale * diagonal, offset * diagonal + block.offset, None
    return low, high


def _before(bounds: Bounds, scale: np.ndarray, offset: np.ndarray) -> Bounds:
    """Return the bounds of x for those of ``scale * x + offset``, inwards by what may be rounded.

    NaN where the scale is 0.
    """
    if not offset.any() and (scale == 1).all():
        return bounds
    with np.errstate(invalid="ignore", divide="ignore"):
        ends = np.sort([(bound - offset) / scale for bound in bounds], axis=0)
        slack = _ROUNDING * (np.abs(ends) + np.abs(offset / scale))
    slack = np.where(np.isfinite(slack), slack, 0.0)
    return ends[0] + slack[0], ends[1] - slack[1]


def _diagonal(block: Any) -> np.ndarray | None:
    """Return the factors of a block that scales each column by itself, None for any other."""
    if not isinstance(block, Affine) or block.n_in != block.n_out:
        return None
    matrix = sparse.csr_array(block.matrix)
    diagonal = matrix.diagonal()
    return diagonal if matrix.nnz == np.count_nonzero(diagonal) else None
