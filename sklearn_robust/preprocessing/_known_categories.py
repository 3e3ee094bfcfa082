"""Which categories the encoders of a pipeline know for a raw column."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from sklearn_robust.preprocessing._columns import branches
from sklearn_robust.preprocessing._table import Table

Steps = list[tuple[str, Any]]

# Each column by itself, so that what flips of several do to linear scores adds up.
_ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)
_AFTER = (StandardScaler, MinMaxScaler, MaxAbsScaler)


def encoded_categories(steps: Steps, table: Table, column: int) -> list[Any] | None:
    """Return the categories of a raw column that its encoders were fitted on, but missing ones.

    None: no OneHotEncoder, OrdinalEncoder or TargetEncoder reads it as it is.
    """
    known = None
    for branch, columns in _branches(steps, table, column):
        encoder = next((step for step in branch if isinstance(step, _ENCODERS)), None)
        # An imputer before it may have added or dropped columns.
        if encoder is None or encoder.n_features_in_ != len(columns):
            continue
        own = encoder.categories_[int(np.flatnonzero(columns == column)[0])].tolist()
        own = [value for value in own if value is not None and value == value]
        known = own if known is None else [value for value in known if value in own]
    return known


def adds_up(steps: Steps, table: Table, column: int) -> bool:
    """Whether what a category of a raw column does to linear scores adds to what others do.

    That is so behind an encoder in a ColumnTransformer, with scalers after it at the most.
    """
    if not steps or not isinstance(steps[0][1], ColumnTransformer):
        return False
    found = _branches(steps[:1], table, column)
    return bool(found) and all(
        isinstance(branch[0], _ENCODERS) and all(isinstance(step, _AFTER) for step in branch[1:])
        for branch, _ in found
    )


def _branches(steps: Steps, table: Table, column: int) -> list[tuple[list[Any], np.ndarray]]:
    """Return the transformers in a row that read a raw column, and which columns these read."""
    if not steps:
        return []
    if not isinstance(steps[0][1], ColumnTransformer):
        return [([step for _, step in steps], np.arange(len(table.numeric)))]
    found = branches(steps[0][1], table.raw)
    return [
        ([step for _, step in each.steps] if isinstance(each, Pipeline) else [each], columns)
        for _, each, columns, _ in found
        if column in columns
    ]
