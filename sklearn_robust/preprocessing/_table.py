"""Raw samples of any kind as a table of columns: what they hold, their numbers, and the way back.

Data frames of every library go through narwhals, so that one rule serves them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from numbers import Real
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from sklearn_robust._arrays import rows
from sklearn_robust._tabular import Moves
from sklearn_robust._validation import check_finite

# By column its categories, and the number of that of each sample.
Labels = Mapping[int, tuple[np.ndarray, np.ndarray]]


class Table(Protocol):
    """Samples in rows, whose columns are known by place.

    Attributes
    ----------
    raw : DataFrame, ndarray or sparse matrix
        The samples as the classifier takes them.
    names : list or None
        Names of the columns, if there are any.
    numeric, boolean : bool ndarray of shape (n_columns,)
        Which columns hold numbers that may be moved, and which hold booleans.
    resolution : float
        The spacing at 1 of the numbers in the column that resolves least.
    moves : Moves or None
        What may become of the columns: those of whole numbers are given no others.
    """

    raw: Any
    names: list[Any] | None
    numeric: np.ndarray
    boolean: np.ndarray
    resolution: float
    moves: Moves | None

    def floats(self, columns: np.ndarray, *, missing: bool = False) -> np.ndarray:
        """Return columns of numbers as float64; raise ValueError if they are incomplete.

        `missing` says that NaN is allowed.
        """

    def of(self, values: Any, *, all_rows: bool = False) -> Any:
        """Return samples with these values in all columns, in the container of `raw`.

        `all_rows` says that they are the samples of the table in its order, whose index they keep.
        """

    def replaced(self, number: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Any:
        """Return the samples `number` with these values in some columns."""

    def labels(self, column: int) -> list[Any]:
        """Return the values of a column of categories."""

    def categories(self, column: int) -> list[Any] | None:
        """Return the categories of the type of a column, None if it is open to all values."""

    def with_labels(self, raw: Any, values: Labels) -> Any:
        """Return samples in the container of the table with other categories in some columns."""


def as_table(X: Any, moves: Moves | None = None) -> Table:
    """Return `X` as a table, of as many columns as a sample has values; ValueError for one row.

    `moves` says what may become of its columns.
    """
    if is_frame(X):
        return FrameTable(X, moves)
    if sparse.issparse(X):
        return SparseTable(X.tocsr(), moves)
    return ArrayTable(X, moves)


def is_frame(X: Any) -> bool:
    """Return whether `X` is a data frame: its columns have names."""
    return hasattr(X, "columns")


def column_names(X: Any) -> list[Any] | None:
    """Return the names of the columns of a data frame, None for other samples."""
    return FrameTable(X).names if is_frame(X) else None


def stack_frames(parts: list[Any]) -> Any:
    """Return data frames of the same columns below each other.

    Columns of whole numbers become floats where they are floats in the last one.
    """
    import narwhals as nw

    frames = [nw.from_native(part, eager_only=True) for part in parts]
    kinds = frames[-1].schema
    cast = [
        frame.with_columns(
            *(frame.get_column(n).cast(kinds[n]) for n, k in frame.schema.items() if k != kinds[n])
        )
        for frame in frames
    ]
    return nw.concat(cast, how="vertical").to_native()


def boolean_columns(X: Any) -> np.ndarray:
    """Return for each column whether it holds booleans: numbers that nobody moves.

    An array of nothing else is one of numbers, as binary images are.
    """
    if is_frame(X):
        return FrameTable(X).boolean
    if isinstance(X, np.ndarray) and X.dtype.kind == "O" and X.ndim == 2:
        return ArrayTable(X).boolean
    return np.zeros(np.shape(X)[1:2], dtype=bool)


class FrameTable:
    """A data frame of pandas, polars or another library that narwhals knows."""

    def __init__(self, X: Any, moves: Moves | None = None) -> None:
        import narwhals as nw

        self.moves = moves
        try:
            self.raw, self._frame = X, nw.from_native(X, eager_only=True)
        except TypeError:
            raise TypeError(
                f"X is a table of {type(X).__module__.partition('.')[0]}, whose columns cannot be "
                "found by name. Pass a data frame of pandas, polars or pyarrow, or an array."
            ) from None
        self._schema = self._frame.schema
        kinds = list(self._schema.values())
        self.names: list[Any] | None = list(self._frame.columns)
        self.numeric = np.array([kind.is_numeric() for kind in kinds], dtype=bool)
        self.boolean = np.array([kind == nw.Boolean for kind in kinds], dtype=bool)
        self.resolution = _resolution(np.float32 if nw.Float32 in kinds else np.float64)

    def floats(self, columns: np.ndarray, *, missing: bool = False) -> np.ndarray:
        import narwhals as nw

        if not len(columns):  # a frame without columns has no rows either
            return np.zeros((len(self._frame), 0))
        some = self._frame[:, columns.tolist()]
        values = some.select(nw.all().cast(nw.Float64)).to_numpy()
        values = values.astype(np.float64, copy=False)
        check_finite(values, "X", missing=missing)
        return values

    def of(self, values: np.ndarray, *, all_rows: bool = False) -> Any:
        import narwhals as nw

        if all_rows:
            columns = np.flatnonzero(self.numeric)
            return self._with(self._frame, columns, values[:, columns])
        values = _settled(values, self.moves)
        schema = dict.fromkeys(self._frame.columns, nw.Float64)
        whole = nw.from_numpy(values, schema, backend=self._frame.implementation)
        other = {name: kind for name in schema if (kind := self._kind(name)) != nw.Float64}
        casts = [whole.get_column(name).cast(kind) for name, kind in other.items()]
        return (whole.with_columns(*casts) if casts else whole).to_native()

    def replaced(self, number: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Any:
        return self._with(self._frame[number], columns, values)

    def labels(self, column: int) -> list[Any]:
        values: list[Any] = self._frame[:, column].to_list()
        return values

    def categories(self, column: int) -> list[Any] | None:
        kind: Any = self._schema[self._frame.columns[column]]
        if self._frame.implementation.is_pandas_like():
            kind = self._frame[:, column].to_native().dtype
        found = getattr(kind, "categories", None)
        return None if found is None else list(found)

    def with_labels(self, raw: Any, values: Labels) -> Any:
        import narwhals as nw

        frame, new = nw.from_native(raw, eager_only=True), []
        for column, (categories, index) in values.items():
            name = self._frame.columns[column]
            series = nw.new_series(name, categories.tolist(), backend=frame.implementation)
            if frame.implementation.is_pandas_like():
                kind = self._frame.get_column(name).to_native().dtype
                series = nw.from_native(series.to_native().astype(kind), series_only=True)
            else:
                series = series.cast(self._schema[name])
            new.append(series[index])
        return frame.with_columns(*new).to_native()

    def _with(self, frame: Any, columns: np.ndarray, values: np.ndarray) -> Any:
        import narwhals as nw

        moved, values = [], _settled(values, self.moves, columns)
        for k, name in enumerate(self._frame.columns[column] for column in columns):
            new = nw.new_series(name, values[:, k], nw.Float64, backend=frame.implementation)
            new = new.cast(self._kind(name))
            if name in self._extensions:
                native = new.to_native().astype(self._extensions[name])
                new = nw.from_native(native, series_only=True)
            moved.append(new)
        return (frame.with_columns(*moved) if moved else frame).to_native()

    @cached_property
    def _extensions(self) -> dict[Any, Any]:
        """The types of pandas' own and pyarrow's columns of floats, which no array keeps."""
        if not self._frame.implementation.is_pandas_like():
            return {}
        empty = self._frame.head(0)
        kinds = {
            name: empty.get_column(name).cast(self._kind(name)).to_native().dtype
            for name, numeric in zip(empty.columns, self.numeric, strict=True)
            if numeric
        }
        return {name: kind for name, kind in kinds.items() if not isinstance(kind, np.dtype)}

    def _kind(self, name: Any) -> Any:
        """Return the type of a column with new values: its own, unless these may be fractions."""
        import narwhals as nw

        kind, moves = self._schema[name], self.moves
        if moves is not None and kind.is_integer():
            k = self._frame.columns.index(name)
            return kind if moves.whole[k] or not moves.moving[k] else nw.Float64
        return kind if kind.is_float() or kind == nw.Boolean else nw.Float64


class ArrayTable:
    """An array, or what numpy makes one of; each value of an image is a column."""

    names: list[Any] | None = None

    def __init__(self, X: Any, moves: Moves | None = None) -> None:
        self.raw, self.moves = np.asarray(X), moves
        if self.raw.ndim < 2:
            raise ValueError(f"X must have shape (n_samples, n_features), got {self.raw.shape}.")
        self._flat = rows(self.raw)
        kind, n_columns = self.raw.dtype.kind, self._flat.shape[1]
        self.resolution = _resolution(self.raw.dtype)
        self.numeric = np.full(n_columns, kind in "iufb")
        self.boolean = np.zeros(n_columns, dtype=bool)
        if kind == "O":
            self.boolean = np.array([all(map(_is_truth, c)) for c in self._flat.T], dtype=bool)
            self.numeric = np.array([all(map(_is_number, c)) for c in self._flat.T], dtype=bool)

    def floats(self, columns: np.ndarray, *, missing: bool = False) -> np.ndarray:
        every = len(columns) == self._flat.shape[1]
        taken = (self._flat if every else self._flat[:, columns]).astype(np.float64)
        check_finite(taken, "X", missing=missing)
        return taken

    def of(self, values: np.ndarray, *, all_rows: bool = False) -> np.ndarray:
        values = _settled(values, self.moves).reshape(-1, *self.raw.shape[1:])
        keeps = self.raw.dtype.kind == "f" or self._stays_whole
        return values.astype(self.raw.dtype, copy=False) if keeps else values

    @property
    def _stays_whole(self) -> bool:
        """Whether there is nothing but whole numbers, before moves and after."""
        if self.moves is None or self.raw.dtype.kind not in "iu":
            return False
        return bool((self.moves.whole | ~self.moves.moving).all())

    def replaced(self, number: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
        out = self._flat[number]
        if out.dtype.kind in "iub" and not self._stays_whole:
            out = out.astype(np.float64)
        out[:, columns] = _settled(values, self.moves, columns)
        return out.reshape(-1, *self.raw.shape[1:])

    def labels(self, column: int) -> list[Any]:
        values: list[Any] = self._flat[:, column].tolist()
        return values

    def categories(self, column: int) -> list[Any] | None:
        return None

    def with_labels(self, raw: Any, values: Labels) -> np.ndarray:
        out = np.array(raw)
        for column, (categories, index) in values.items():
            out[:, column] = categories[index]
        return out


class SparseTable:
    """A sparse matrix, of numbers only."""

    names: list[Any] | None = None

    def __init__(self, X: Any, moves: Moves | None = None) -> None:
        self.raw, self.moves = X, moves
        self.numeric = np.ones(X.shape[1], dtype=bool)
        self.boolean = np.zeros(X.shape[1], dtype=bool)
        self.resolution = _resolution(X.dtype)

    def floats(self, columns: np.ndarray, *, missing: bool = False) -> np.ndarray:
        taken = self.raw[:, columns].toarray().astype(np.float64)
        check_finite(taken, "X", missing=missing)
        return taken

    def of(self, values: Any, *, all_rows: bool = False) -> Any:
        return values if sparse.issparse(values) else _settled(values, self.moves)

    def replaced(self, number: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Any:
        out = self.raw[number].toarray().astype(np.float64)
        out[:, columns] = _settled(values, self.moves, columns)
        return out

    def labels(self, column: int) -> list[Any]:
        values: list[Any] = self.raw[:, [column]].toarray().ravel().tolist()
        return values

    def categories(self, column: int) -> list[Any] | None:
        return None

    def with_labels(self, raw: Any, values: Labels) -> Any:
        raise ValueError("categories of a sparse matrix do not flip. Pass an array or a frame.")


def _settled(values: np.ndarray, moves: Moves | None, columns: Any = slice(None)) -> np.ndarray:
    return values if moves is None else moves.settled(values, columns)


def _resolution(dtype: Any) -> float:
    """Return the spacing at 1 of numbers of a dtype, float64's for those that become floats."""
    dtype = np.dtype(dtype)
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not _is_truth(value)
