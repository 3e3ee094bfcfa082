"""Raw samples of any kind as rows of floats that an attack may move, and back.

Where all columns are numbers the rows are the samples; truth values in a DataFrame are numbers that
nobody moves. Otherwise they hold the numeric columns that the classifier is followed through, the
number of the sample, and what is computed from the other columns once and for all: nothing but the
numeric columns has a radius above 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_epsilon, check_finite, check_spared

_NUMBERS = "iuf"


@dataclass(frozen=True)
class Samples:
    """Raw samples and their form as rows of floats.

    Attributes
    ----------
    raw : DataFrame or ndarray
        The samples as the classifier takes them.
    rows : float ndarray of shape (n_samples, n_values)
        What attacks see.
    columns : ndarray of int or None
        Columns of `raw` at the beginning of `rows`; None: all, and nothing follows them.
    movable : ndarray of bool
        For each of these columns, whether an adversary may touch it.
    """

    raw: Any
    rows: np.ndarray
    columns: np.ndarray | None
    movable: np.ndarray

    @property
    def n_columns(self) -> int:
        return self.raw.shape[1]

    def threat(self, epsilon: Any, norm: str, clip_values: Any) -> ThreatModel:
        """Return the threat model on `rows`, from one in the units and columns of `raw`."""
        raw_threat = ThreatModel(epsilon, norm, clip_values)
        self._check_epsilon(raw_threat.epsilon)
        if self.columns is None and self.movable.all():
            return raw_threat
        n_rest = self.rows.shape[1] - len(self.movable)
        radius = self._of_columns(raw_threat.epsilon) * self.movable
        clip = raw_threat.clip_values
        if clip is not None:
            ends = zip(clip, (-np.inf, np.inf), strict=True)
            low, high = (np.where(self.movable, self._of_columns(b), end) for b, end in ends)
            replace(raw_threat, epsilon=radius, clip_values=(low, high)).check_data(
                self.rows[:, : len(self.movable)]
            )
            clip = (
                np.append(low, np.full(n_rest, -np.inf)),
                np.append(high, np.full(n_rest, np.inf)),
            )
        return ThreatModel(np.append(radius, np.zeros(n_rest)), norm, clip)

    def restore(self, rows: np.ndarray) -> Any:
        """Return raw samples in the container of `raw` with the values of `rows`."""
        if self.columns is None:
            return self._like_raw(rows)
        number = rows[:, len(self.columns)].round().astype(np.intp)
        moved = np.flatnonzero(self.movable)
        if hasattr(self.raw, "iloc"):
            out = self.raw.iloc[number].copy()
            for k in moved:
                out.isetitem(self.columns[k], rows[:, k])
            return out
        out = self.raw[number]
        out[:, self.columns[moved]] = rows[:, moved]
        return out

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Return values per entry of `rows` as values per column of `raw`, 0 for the others."""
        values = values[:, : len(self.movable)] * self.movable
        if self.columns is None:
            return values
        out = np.zeros((len(values), self.n_columns))
        out[:, self.columns] = values
        return out

    def _like_raw(self, rows: np.ndarray) -> Any:
        if not hasattr(self.raw, "iloc"):
            return rows
        index = self.raw.index if len(rows) == len(self.raw) else None
        out = type(self.raw)(rows, columns=self.raw.columns, index=index)
        for k in np.flatnonzero(~self.movable):
            out.isetitem(k, out.iloc[:, k].astype(self.raw.dtypes.iloc[k]))
        return out

    def _of_columns(self, value: Any) -> np.ndarray:
        columns = np.arange(self.n_columns) if self.columns is None else self.columns
        return np.broadcast_to(np.ravel(value), self.n_columns)[columns]

    def _check_epsilon(self, epsilon: Any) -> None:
        check_epsilon(epsilon, self.n_columns)
        if np.ndim(epsilon) == 0:
            return  # one number is meant for every column that can be moved
        fixed = np.ones(self.n_columns, dtype=bool)
        columns = np.arange(self.n_columns) if self.columns is None else self.columns
        fixed[columns] = ~self.movable
        check_spared(epsilon, fixed)


def numeric_columns(X: Any) -> np.ndarray:
    """Return for each column of a DataFrame or an array whether it holds numbers one may move."""
    if hasattr(X, "iloc"):
        return np.array([getattr(t, "kind", "O") in _NUMBERS for t in X.dtypes], dtype=bool)
    if X.dtype.kind != "O":
        return np.full(X.shape[1], X.dtype.kind in _NUMBERS + "b")
    numbers = [
        all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) for v in column)
        for column in X.T
    ]
    return np.array(numbers, dtype=bool)


def with_known_columns(X: Any) -> Any:
    """Return X, dense; raise TypeError for tables other than pandas', whose names would be lost."""
    if hasattr(X, "columns") and not hasattr(X, "iloc"):
        raise TypeError(
            f"X is a {type(X).__module__.partition('.')[0]} table; its columns are found by name "
            "in DataFrames of pandas only. Pass X.to_pandas(), or an array."
        )
    return X.toarray() if sparse.issparse(X) else X


def as_table(X: Any) -> Any:
    """Return `X` as a DataFrame or an array of two dimensions."""
    X = with_known_columns(X)
    if hasattr(X, "iloc"):
        return X
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X must have shape (n_samples, n_features), got {X.shape}.")
    return X


def all_columns(X: Any, movable: np.ndarray) -> Samples:
    """Return samples all of whose columns are numbers, or truth values that may not move."""
    return Samples(X, floats(X, np.arange(X.shape[1])), None, movable)


def some_columns(X: Any, columns: np.ndarray, movable: np.ndarray, rest: np.ndarray) -> Samples:
    """Return samples seen through `columns`, and `rest`, which is computed from the others."""
    number = np.arange(len(X), dtype=np.float64)[:, None]
    return Samples(X, np.hstack([floats(X, columns), number, rest]), columns, movable)


def floats(X: Any, columns: np.ndarray) -> np.ndarray:
    """Return the numeric columns of a table; raise ValueError if they are incomplete."""
    taken = X.iloc[:, columns].to_numpy(np.float64, na_value=np.nan) if hasattr(X, "iloc") else (
        X[:, columns].astype(np.float64)
    )  # fmt: skip
    check_finite(taken, "X")
    return taken
