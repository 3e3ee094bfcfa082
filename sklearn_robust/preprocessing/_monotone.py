"""Which inputs of a classifier are non-decreasing functions of one raw column each.

Trees ask nothing but on which side of a threshold a value is, so that such a function can be undone
exactly, whatever it is.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from sklearn_robust.preprocessing._columns import branches
from sklearn_robust.preprocessing._follow import CannotFollowError
from sklearn_robust.preprocessing._table import Table

_RISING = {
    np.arcsinh, np.arctan, np.cbrt, np.ceil, np.exp, np.exp2, np.expm1, np.floor, np.log, np.log10,
    np.log1p, np.log2, np.rint, np.sign, np.sinh, np.sqrt, np.tanh, np.trunc,
}  # fmt: skip
# In `sources`: computed from columns that nobody moves.
FIXED = -1


def monotone_sources(steps: list[tuple[str, Any]], table: Table, movable: np.ndarray) -> np.ndarray:
    """Return of which raw column each output of some steps is a non-decreasing function.

    Parameters
    ----------
    steps : list of (name, transformer)
        Fitted; the first of them reads `table`.
    table : Table
    movable : bool ndarray of shape (n_columns,)

    Returns
    -------
    sources : int ndarray of shape (n_outputs,)
        -1: computed from columns that do not move.

    Raises
    ------
    CannotFollowError
        If an output mixes several columns that move, or may fall where one of them rises.
    """
    sources = np.where(movable, np.arange(len(movable)), FIXED)
    for number, (name, step) in enumerate(steps):
        try:
            sources = _through(step, sources, table.raw if number == 0 else None)
        except CannotFollowError as error:
            raise CannotFollowError(f"step {name!r}: {error}") from None
    return sources


def _through(transformer: Any, sources: np.ndarray, X: Any = None) -> np.ndarray:
    """Return the sources behind one transformer; `X` is the table of raw samples if it reads it."""
    if isinstance(transformer, FrozenEstimator):
        return _through(transformer.estimator, sources, X)
    if transformer is None or isinstance(transformer, str):  # "passthrough"
        return sources
    if isinstance(transformer, Pipeline):
        for number, (_, step) in enumerate(transformer.steps):
            sources = _through(step, sources, X if number == 0 else None)
        return sources
    if isinstance(transformer, ColumnTransformer):
        return _through_columns(transformer, sources, X)
    if isinstance(transformer, FeatureUnion):
        return _through_union(transformer, sources)
    kept = selected(transformer)
    if kept is not None:
        return np.append(sources, FIXED)[kept]
    n_out = _n_outputs(transformer)
    if (sources == FIXED).all() and n_out is not None:
        return np.full(n_out, FIXED)
    raise CannotFollowError(
        f"{type(transformer).__name__} is not known to treat each column by itself and to keep the "
        "order of its values."
    )


def _through_columns(transformer: ColumnTransformer, sources: np.ndarray, X: Any) -> np.ndarray:
    parts = [np.zeros(0, dtype=np.intp)]
    for name, branch, columns, weight in branches(transformer, X):
        part = transformer.output_indices_[name]
        if (sources[columns] == FIXED).all():
            parts.append(np.full(part.stop - part.start, FIXED))
            continue
        _check_weight(weight)
        try:
            parts.append(_through(branch, sources[columns]))
        except CannotFollowError as error:
            raise CannotFollowError(f"branch {name!r}: {error}") from None
    return np.concatenate(parts)


def _through_union(union: FeatureUnion, sources: np.ndarray) -> np.ndarray:
    weights, parts = union.transformer_weights or {}, [np.zeros(0, dtype=np.intp)]
    for name, transformer in union.transformer_list:
        if not (isinstance(transformer, str) and transformer == "drop"):
            _check_weight(weights.get(name))
            parts.append(_through(transformer, sources))
    return np.concatenate(parts)


def _check_weight(weight: float | None) -> None:
    if weight is not None and weight < 0:
        raise CannotFollowError("a weight below 0 reverses the order of values.")


def _n_outputs(transformer: Any) -> int | None:
    try:
        return len(transformer.get_feature_names_out())
    except (AttributeError, ValueError):
        return None


@singledispatch
def selected(transformer: Any) -> np.ndarray | None:
    """Return which input each output is a non-decreasing function of; None if that is unknown.

    -1 stands for none of them.
    """
    return None


@selected.register(StandardScaler)
@selected.register(RobustScaler)
@selected.register(MinMaxScaler)
@selected.register(MaxAbsScaler)
@selected.register(QuantileTransformer)
@selected.register(PowerTransformer)
@selected.register(Binarizer)
def _(transformer: Any) -> np.ndarray | None:
    return np.arange(transformer.n_features_in_)


@selected.register
def _(transformer: KBinsDiscretizer) -> np.ndarray | None:
    return np.arange(transformer.n_features_in_) if transformer.encode == "ordinal" else None


@selected.register
def _(transformer: SelectorMixin) -> np.ndarray | None:
    return np.flatnonzero(transformer.get_support())


@selected.register
def _(transformer: SimpleImputer) -> np.ndarray | None:
    """The features it keeps, then an indicator for some: what is missing stays missing."""
    if transformer.statistics_.dtype.kind not in "fiu" or not _is_nan(transformer.missing_values):
        return None
    kept = np.arange(transformer.n_features_in_)
    if not transformer.keep_empty_features:
        kept = kept[~np.isnan(transformer.statistics_.astype(np.float64))]
    n_indicators = len(transformer.indicator_.features_) if transformer.add_indicator else 0
    return np.concatenate([kept, np.full(n_indicators, FIXED)]).astype(np.intp)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and np.isnan(value)


@selected.register
def _(transformer: FunctionTransformer) -> np.ndarray | None:
    if transformer.func is not None and not _rises(transformer.func):
        return None
    return np.arange(transformer.n_features_in_)


def _rises(func: Any) -> bool:
    try:
        return func in _RISING
    except TypeError:  # a function that cannot be a key
        return False
