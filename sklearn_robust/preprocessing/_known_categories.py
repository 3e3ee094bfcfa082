"""Which categories an encoder knows for a raw column, so that one may be exchanged for another."""

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

# Each column by itself, so that what flips of several do to linear scores adds up.
_ENCODERS = (OneHotEncoder, OrdinalEncoder, TargetEncoder)
_AFTER = (StandardScaler, MinMaxScaler, MaxAbsScaler)


def known_categories(
    steps: list[tuple[str, Any]], table: Table, column: int, only: Any = None
) -> list[Any]:
    """Return the categories of a raw column that its encoder was fitted on, without missing ones.

    Parameters
    ----------
    steps : list of (name, transformer)
        Of which the first is the ColumnTransformer that encodes the column.
    table : Table
    column : int
    only : sequence, optional
        Those that are meant.

    Raises
    ------
    ValueError
        If no encoder of single columns reads it, it knows none of `only`, or X lacks entries.
    """
    name = column if table.names is None else table.names[column]
    known = _found(steps, table, column)
    if known is None:
        raise ValueError(
            f"changes[{name!r}]: a Flip is of a column that a OneHotEncoder, an OrdinalEncoder or "
            "a TargetEncoder reads in a ColumnTransformer as the first step, with scalers after it "
            "at the most."
        )
    if any(value is None or value != value for value in table.labels(column)):
        raise ValueError(f"changes[{name!r}]: X has missing values there, which do not flip.")
    if only is None:
        return known
    if odd := [value for value in only if value not in known]:
        raise ValueError(f"changes[{name!r}]: to has {odd[:10]}, which the encoder does not know.")
    return list(only)


def _found(steps: list[tuple[str, Any]], table: Table, column: int) -> list[Any] | None:
    if not steps or not isinstance(steps[0][1], ColumnTransformer):
        return None
    known = None
    for _, branch, columns, _ in branches(steps[0][1], table.raw):
        if column not in columns:
            continue
        encoder, *after = (
            [step for _, step in branch.steps] if isinstance(branch, Pipeline) else [branch]
        )
        if not isinstance(encoder, _ENCODERS) or not all(isinstance(s, _AFTER) for s in after):
            return None
        own = encoder.categories_[int(np.flatnonzero(columns == column)[0])].tolist()
        own = [value for value in own if value is not None and value == value]
        known = own if known is None else [value for value in known if value in own]
    return known
