"""Checks of parameters and data: one place, one voice for error messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _check_sample_weight

from sklearn_robust._arrays import Array, is_torch, on_host, rows, spacing, to_numpy
from sklearn_robust._norms import BUILT_IN, NORMS


def check_real(
    value: Any,
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> float:
    """Return `value` as float if it is a number in [low, high], whose ends may be left out."""
    rule = "a number" if infinite else "a finite number"
    if low > -math.inf:
        rule += f" {'>' if open_low else '>='} {low:g}"
    if high < math.inf:
        rule += f" and {'<' if open_high else '<='} {high:g}"
    if (
        isinstance(value, bool | np.bool_)
        or not isinstance(value, Real)
        or math.isnan(value)
        or (math.isinf(value) and not infinite)
        or not low <= float(value) <= high
        or (open_low and value == low)
        or (open_high and value == high)
    ):
        raise ValueError(f"{name} must be {rule}, got {value!r}.")
    return float(value)


def check_level(value: Any, name: str = "confidence_level") -> float:
    """Return a level of confidence as float if it is in (0, 1)."""
    return check_real(value, name, low=0, high=1, open_low=True, open_high=True)


def check_int(value: Any, name: str, *, low: int) -> int:
    """Return `value` as int if it is an integer >= low."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}.")
    return int(value)


def check_bool(value: Any, name: str) -> bool:
    """Return `value` as bool if it is one."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_sizes(value: Any, name: str) -> tuple[int, ...]:
    """Return `value` as a tuple if it is a sequence of integers >= 1."""
    if not isinstance(value, Iterable) or isinstance(value, str):
        example = f"({value},)" if isinstance(value, Integral) else "(64, 32)"
        raise ValueError(
            f"{name} must be a sequence of integers, such as {example}, got {value!r}."
        )
    return tuple(check_int(size, f"each of {name}", low=1) for size in value)


def check_option(value: Any, name: str, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`."""
    options = list(options)
    if not isinstance(value, str) or value not in options:
        known = ", ".join(repr(option) for option in options)
        raise ValueError(f"{name} must be one of {known}, got {value!r}.")
    return value


def check_norm(norm: Any) -> str:
    """Return `norm` if the library knows it."""
    return check_option(norm, "norm", NORMS)


def check_built_in_norm(norm: str, otherwise: str) -> None:
    """Raise an error for a registered norm where each norm has formulas of its own."""
    if norm not in BUILT_IN:
        known = ", ".join(map(repr, BUILT_IN))
        raise ValueError(f"norm must be one of {known} here, got {norm!r}. {otherwise}")


def check_epsilon(
    epsilon: Any, n_features: int | None = None, name: str = "epsilon"
) -> float | np.ndarray:
    """Return a radius as a float, or as a float64 array if it is given per feature."""
    if np.ndim(epsilon) == 0:
        one = epsilon.item() if isinstance(epsilon, np.ndarray) else epsilon
        return check_real(one, name, low=0)
    values = np.array(epsilon, dtype=np.float64, order="C")  # torch takes no view that is reversed
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(
            f"{name} must hold finite numbers >= 0, got an array with minimum "
            f"{values.min():g} and maximum {values.max():g}."
        )
    if n_features is not None and values.size != n_features:
        raise ValueError(
            f"{name} has {values.size} values but X has {n_features} features. "
            "Pass one number, or one value per feature."
        )
    return values


def listed(epsilons: float | Iterable[float]) -> list[float]:
    """Return radii as a list, one number as a list of one."""
    given = np.atleast_1d(epsilons) if isinstance(epsilons, np.ndarray) else epsilons
    return list(given) if isinstance(given, Iterable) else [given]


def in_order(values: Any, columns: Any, name: str, absent: float = 0.0) -> Any:
    """Return values given by name as an array in the order of `columns`, others as they are.

    A pandas Series and a dict go by name. A Series that is numbered 0, 1, ... beside columns that
    are not is in order already.

    Parameters
    ----------
    values : Any
    columns : sequence or None
        Names of the columns; None: they have none.
    name : str
        Of the parameter, for errors.
    absent : float, default=0.0
        The value of columns that are not named.

    Raises
    ------
    ValueError
        If there is a name that is no column's, or columns have no names.
    """
    if not hasattr(values, "reindex") and not isinstance(values, Mapping):
        return values
    names = list(values.keys())
    numbered = names == list(range(len(names)))
    if numbered and (columns is None or not set(names) & set(columns)):
        return np.asarray([values[k] for k in names])
    if columns is None:
        raise ValueError(
            f"{name} has names for its values, but columns have no names here. Bring it into the "
            f"order of the columns of X and pass an array."
        )
    odd = sorted(map(str, set(names) - set(columns)))
    if odd or len(set(names)) < len(names):
        raise ValueError(
            f"{name} must name columns of X, each once; not so for "
            f"{', '.join(odd[:10]) or 'names that are there twice'}."
        )
    return np.array([values.get(column, absent) for column in columns])


def check_spared(epsilon: np.ndarray, features: np.ndarray) -> None:
    """Raise ValueError if a radius is given to features that are left alone, by a mask."""
    wrong = np.flatnonzero(features & (np.ravel(epsilon) > 0))
    if len(wrong):
        raise ValueError(
            "epsilon must be 0 for columns that hold no numbers but words or booleans, or are "
            f"encoded as categories, got values > 0 for columns {wrong.tolist()[:10]}."
        )


def check_step_size(step_size: Any, n_features: int | None = None) -> float | np.ndarray | None:
    """Return a step as None, a positive float, or a float64 array with a positive entry."""
    if step_size is None:
        return None
    step_size = in_order(step_size, None, "step_size")
    values = check_epsilon(step_size, n_features, name="step_size")
    if not np.any(values):
        raise ValueError(f"step_size must be None or > 0, got {step_size!r}.")
    return values


def check_clip_values(clip_values: Any) -> tuple[Any, Any] | None:
    """Return clip_values as None or a pair (low, high) of floats or float64 arrays.

    Some features may have no room between the two: nothing moves them.
    """
    if clip_values is None:
        return None
    message = (
        "clip_values must be None or a pair (low, high) with low < high, each a number or one "
        "value per feature"
    )
    try:
        low, high = (np.array(v, dtype=np.float64, order="C") for v in clip_values)
        ordered, room = np.ravel(low <= high), np.any(low < high)
    except (TypeError, ValueError):
        raise ValueError(f"{message}, got {clip_values!r}.") from None
    if not ordered.all():  # also when a bound is NaN
        where = np.flatnonzero(~ordered)[:10].tolist()
        got = f"the contrary in features {where}" if ordered.size > 1 else repr(clip_values)
        raise ValueError(f"{message}, got {got}.")
    if not room:
        raise ValueError(f"{message}, got no room in any feature.")
    return tuple(v if v.ndim else float(v) for v in (low, high))  # type: ignore[return-value]


def check_sample_weight(sample_weight: Any, X: Any) -> np.ndarray:
    """Return a float64 weight >= 0 for each sample of X; None: 1 for all."""
    return _check_sample_weight(
        on_host(sample_weight), X, dtype=np.float64, ensure_non_negative=True
    )


def weighted_share(correct: np.ndarray, sample_weight: Any) -> float:
    """Return the share of True, by weight: one number >= 0 per sample, or None."""
    return float(np.average(correct, weights=check_sample_weight(sample_weight, correct)))


def check_in_range(X: Array, clip_values: tuple[Any, Any]) -> None:
    """Raise ValueError if `X` has values outside `clip_values`."""
    n_features = math.prod(X.shape[1:])
    for bound in clip_values:
        if np.size(bound) not in (1, n_features):
            raise ValueError(
                f"clip_values has {np.size(bound)} values but X has {n_features} features. "
                "Pass one number, or one value per feature."
            )
    if not X.shape[0]:
        return
    low, high = (np.ravel(v) for v in clip_values)
    slack = rounding(low, high, X)
    lowest, highest = value_range(X)
    if ((lowest < low - slack) | (highest > high + slack)).any():
        shown = clip_values if all(np.ndim(v) == 0 for v in clip_values) else "the given ranges"
        raise ValueError(
            f"X has values in [{lowest.min():.6g}, {highest.max():.6g}] outside "
            f"clip_values={shown}. Scale X, or pass clip_values=None."
        )


def rounding(low: np.ndarray, high: np.ndarray, X: Array) -> np.ndarray:
    """Return how far outside [low, high] rounding alone may put values of the precision of X."""
    size = np.maximum(*(np.where(np.isfinite(v), abs(v), 0.0) for v in (low, high)))
    return 4 * spacing(X) * size


def value_range(X: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest value of each feature of samples of any kind, as float64.

    Nothing as large as X is made on the way.
    """
    if sparse.issparse(X):
        ends = X.min(axis=0).toarray().ravel(), X.max(axis=0).toarray().ravel()
    elif is_torch(X):
        ends = to_numpy(rows(X).amin(0)), to_numpy(rows(X).amax(0))
    else:
        ends = np.fmin.reduce(rows(X)), np.fmax.reduce(rows(X))  # missing values have no say
    return ends[0].astype(np.float64), ends[1].astype(np.float64)


def check_finite(X: Array, name: str, *, missing: bool = False) -> None:
    """Raise ValueError if `X` has NaN or infinite values, with the count of samples.

    `missing` says that NaN is allowed.
    """
    if not is_torch(X) and X.dtype.kind in "iub":
        return
    if missing:
        bad, what = np.isinf(rows(X)).any(axis=1), "infinite"
    else:
        finite = rows(X).isfinite().all(dim=1) if is_torch(X) else np.isfinite(rows(X)).all(axis=1)
        bad, what = ~finite, "NaN or infinite"
    if bad.any():
        raise ValueError(f"{name} has {what} values in {int(bad.sum())} samples.")


def check_whole(values: np.ndarray, columns: np.ndarray, names: Any = None) -> None:
    """Raise ValueError if columns that change in whole steps hold other numbers; NaN is allowed."""
    known = np.where(np.isnan(values), 0, values)
    odd = columns[(known != np.rint(known)).any(axis=0)].tolist()[:10]
    if odd:
        named = odd if names is None else [names[k] for k in odd]
        raise ValueError(
            f"X must hold whole numbers in columns that change in whole steps, not so in {named}."
        )


def check_seed(random_state: Any) -> None:
    """Raise ValueError unless `random_state` can give a seed; draws nothing from it."""
    if random_state is None or isinstance(
        random_state, np.random.Generator | np.random.RandomState
    ):
        return
    if not isinstance(random_state, Integral) or isinstance(random_state, bool):
        raise ValueError(
            "random_state must be None, an integer >= 0, a numpy RandomState or Generator, "
            f"got {random_state!r}."
        )
    check_int(random_state, "random_state", low=0)


def draw_seed(random_state: Any) -> int:
    """Return a seed for local generators; None takes fresh entropy, never numpy's global state."""
    check_seed(random_state)
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return int(random_state)
