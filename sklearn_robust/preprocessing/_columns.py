"""Which columns of the raw samples each branch of a ColumnTransformer reads, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from sklearn_robust.preprocessing._table import as_table, is_frame


def encoded_columns(transformer: Any, X: Any) -> np.ndarray:
    """Return for each raw column whether a first step encodes it as categories."""
    encoded = np.zeros(X.shape[1], dtype=bool)
    if isinstance(transformer, ColumnTransformer):
        for _, branch, columns, _ in branches(transformer, X):
            encoded[columns] |= _encodes(branch)
    else:
        encoded[:] = _encodes(transformer)
    return encoded


def _encodes(transformer: Any) -> bool:
    if isinstance(transformer, Pipeline):
        return any(_encodes(step) for _, step in transformer.steps)
    return not isinstance(transformer, str | None) and get_tags(transformer).input_tags.categorical


def branches(
    transformer: ColumnTransformer, X: Any = None
) -> list[tuple[str, Any, np.ndarray, float | None]]:
    """Return (name, transformer, columns, weight) of the branches with output, in its order.

    Columns are counted as in `fit`, or as in the DataFrame `X`, which is read by name.
    """
    place = places(transformer, X)
    n_features = transformer.n_features_in_
    names = getattr(transformer, "feature_names_in_", None)
    weights, slices = transformer.transformer_weights or {}, transformer.output_indices_
    found = []
    for name, branch, columns in transformer.transformers_:
        if slices[name].stop > slices[name].start:
            position = _positions(columns, n_features, names)
            found.append((name, branch, place[position], weights.get(name)))
    return sorted(found, key=lambda item: slices[item[0]].start)


def places(transformer: ColumnTransformer, X: Any) -> np.ndarray:
    """Return where in `X` each column of `fit` is; where there are no names, in the same place."""
    names = getattr(transformer, "feature_names_in_", None)
    if names is None or not is_frame(X):
        return np.arange(transformer.n_features_in_)
    place = {name: k for k, name in enumerate(as_table(X).names or ())}
    # scikit-learn lets those be missing that it drops.
    return np.array([place.get(name, -1) for name in names], dtype=np.intp)


def _positions(columns: Any, n_features: int, names: np.ndarray | None) -> np.ndarray:
    """Return the columns meant by a label, a position, a slice, a mask or a list of them."""
    if isinstance(columns, slice):
        ends = [columns.start, columns.stop]
        if any(isinstance(end, str) for end in ends):
            start, stop = (None if e is None else _position_of(e, names) for e in ends)
            columns = slice(start, None if stop is None else stop + 1, columns.step)
        return np.arange(n_features)[columns]
    listed = np.atleast_1d(np.asarray(columns))
    if listed.dtype.kind in "OUT":
        return np.array([_position_of(name, names) for name in listed], dtype=np.intp)
    return np.arange(n_features)[listed]


def _position_of(name: str, names: np.ndarray | None) -> int:
    return list([] if names is None else names).index(name)
