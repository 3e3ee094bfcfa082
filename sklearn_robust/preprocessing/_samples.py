"""Raw samples as rows of floats that an attack may move, and back.

Where all columns are numbers the rows are the samples; booleans in a DataFrame are numbers that
nobody moves. Otherwise rows hold the numeric columns that the classifier is followed through, the
number of the sample, and what is computed from the other columns once and for all: nothing but the
movable columns has a radius above 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._arrays import as_floats
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_epsilon, check_finite, check_whole
from sklearn_robust.preprocessing._table import SparseTable, Table


@dataclass(frozen=True)
class Samples:
    """Raw samples and their form as rows of floats.

    Attributes
    ----------
    table : Table
        The samples as the classifier takes them.
    rows : float ndarray or sparse matrix of shape (n_samples, n_values)
        What attacks see.
    columns : ndarray of int or None
        Columns of the table at the beginning of `rows`; None: all, and nothing follows them.
    movable : bool ndarray of shape (n_columns,)
        For each column of the table, whether an adversary may touch it.
    """

    table: Table
    rows: Any
    columns: np.ndarray | None
    movable: np.ndarray

    def threat(self, raw: ThreatModel) -> ThreatModel:
        """Return a threat model in the units and columns of the raw samples as one on `rows`.

        Raises
        ------
        ValueError
            If epsilon has not as many values as there are columns, or moves one that is fixed.
        """
        n_columns = len(self.movable)
        check_epsilon(raw.epsilon, n_columns)
        raw = raw.sparing(~self.movable)
        if raw.moves is not None and raw.moves.whole.any():
            whole = np.flatnonzero(raw.moves.whole)
            check_whole(self.table.floats(whole, missing=True), whole, self.table.names)
        if self.columns is None:
            return raw

        def on_rows(values: Any, rest: float) -> np.ndarray:
            every = np.broadcast_to(np.ravel(values), n_columns)
            return np.append(every[self.columns], np.full(n_rest, rest))

        n_rest = self.rows.shape[1] - len(self.columns)
        clip = raw.clip_values
        if clip is not None:
            clip = on_rows(clip[0], -np.inf), on_rows(clip[1], np.inf)
        if raw.moves is not None:
            return replace(raw, moves=raw.moves.taken(self.columns, n_rest), clip_values=clip)
        return replace(raw, epsilon=on_rows(raw.epsilon, 0.0), clip_values=clip)

    def restore(self, rows: Any, *, all_rows: bool = False) -> Any:
        """Return raw samples, in the container they came in, with the values of `rows`.

        `all_rows` says that they are all samples in their order, whose index they keep.
        """
        if self.columns is None:
            return self.table.of(rows, all_rows=all_rows)
        moved = np.flatnonzero(self.movable[self.columns])
        number = rows[:, len(self.columns)].round().astype(np.intp)
        return self.table.replaced(number, self.columns[moved], rows[:, moved])

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Return values by entry of `rows` in the shape of the raw samples, 0 for the others."""
        out = values
        if self.columns is not None:
            out = np.zeros((len(values), len(self.movable)))
            out[:, self.columns] = values[:, : len(self.columns)]
        return (out * self.movable).reshape(self.table.raw.shape)


def all_columns(table: Table, movable: np.ndarray, *, missing: bool = False) -> Samples:
    """Return samples all of whose columns are numbers, or booleans that may not move.

    `missing` says that NaN is allowed, here and below.
    """
    if isinstance(table, SparseTable):
        rows = as_floats(table.raw)
        check_finite(rows.data[:, None], "X")
        return Samples(table, rows, None, movable)
    return Samples(table, table.floats(np.arange(len(movable)), missing=missing), None, movable)


def some_columns(
    table: Table,
    columns: np.ndarray,
    movable: np.ndarray,
    rest: np.ndarray | None = None,
    *,
    missing: bool = False,
) -> Samples:
    """Return samples seen through `columns`, and `rest`, which is computed from the others."""
    numbers = table.floats(columns, missing=missing)
    number = np.arange(len(numbers), dtype=np.float64)[:, None]
    parts = [numbers, number] if rest is None else [numbers, number, rest]
    return Samples(table, np.hstack(parts), columns, movable)


def dense(samples: Samples) -> Samples:
    """Return the same samples without sparse rows, for what cannot work on these."""
    if not sparse.issparse(samples.rows):
        return samples
    return replace(samples, rows=samples.rows.toarray())
