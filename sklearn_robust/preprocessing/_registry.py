"""What the library knows about single transformers, and how a user adds to it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.feature_selection import SelectorMixin
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)

from sklearn_robust.preprocessing._blocks import (
    ROUNDINGS,
    Affine,
    Block,
    Clip,
    Elementwise,
    Sizes,
    chained,
)


# Named functions, not lambdas: a network with a preprocessor holds them, and must pickle.
def _log1p_slope(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + x)


def _sqrt_slope(x: np.ndarray) -> np.ndarray:
    return 0.5 / np.sqrt(x)


def _square_slope(x: np.ndarray) -> np.ndarray:
    return 2 * x


def _tanh_slope(x: np.ndarray) -> np.ndarray:
    return 1 - np.tanh(x) ** 2


def _arcsinh_slope(x: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(1 + x**2)


_DERIVATIVES: dict[Callable, Callable] = {
    np.log: np.reciprocal,
    np.log1p: _log1p_slope,
    np.exp: np.exp,
    np.expm1: np.exp,
    np.sqrt: _sqrt_slope,
    np.square: _square_slope,
    np.tanh: _tanh_slope,
    np.arcsinh: _arcsinh_slope,
}


@singledispatch
def registered(transformer: Any) -> Block | None:
    """Return the formula of a fitted transformer, or None where none is known."""
    return None


Formula = Callable[[Any], Block | None]


def register_transformer(cls: type) -> Callable[[Formula], Formula]:
    """Teach the library the formula of a transformer; used as a decorator.

    What is registered serves subclasses too. It is held against the transformer's own ``transform``
    on the data whenever it is used.

    Parameters
    ----------
    cls : type
        The transformer's class. The decorated function maps a fitted instance to an `Affine`, an
        `Elementwise`, any other `Block`, or None if this one has no formula.

    Returns
    -------
    decorator : callable
        Returns the decorated function as it is.

    Raises
    ------
    TypeError
        If `cls` is not a class. A formula that gives something else than ``transform`` raises
        `CannotFollowError` where it is used.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> from sklearn_robust.preprocessing import Affine, register_transformer
    >>> class Kilo(TransformerMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         self.n_features_in_ = X.shape[1]
    ...         return self
    ...     def transform(self, X):
    ...         return X / 1000
    >>> @register_transformer(Kilo)
    ... def _(transformer):
    ...     return Affine.scaling([1 / 1000] * transformer.n_features_in_)
    """
    return registered.register(cls)


def declare_derivative(func: Callable, derivative: Callable) -> None:
    """Say what the derivative of an elementwise function is, for `FunctionTransformer(func)`.

    Parameters
    ----------
    func : callable
        Acts on each value by itself. numpy's log, log1p, exp, expm1, sqrt, square, tanh and arcsinh
        are known already.
    derivative : callable
        Maps an array to the derivative at each value; is given the same ``kw_args``.

    Raises
    ------
    ValueError
        If one of the two is not callable.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_robust.preprocessing import declare_derivative, follow
    >>> def cube(x):
    ...     return x**3
    >>> declare_derivative(cube, lambda x: 3 * x**2)
    >>> X = np.array([[1.0, 2.0]])
    >>> follow(FunctionTransformer(cube).fit(X), X).pull(X, np.ones((1, 2)))
    array([[ 3., 12.]])
    """
    for name, value in (("func", func), ("derivative", derivative)):
        if not callable(value):
            raise ValueError(f"{name} must be callable, got {value!r}.")
    _DERIVATIVES[func] = derivative


@register_transformer(StandardScaler)
def _(transformer: StandardScaler) -> Block:
    centre = transformer.mean_ if transformer.with_mean else 0.0
    return _centred(transformer.n_features_in_, centre, transformer.scale_)


@register_transformer(RobustScaler)
def _(transformer: RobustScaler) -> Block:
    return _centred(transformer.n_features_in_, transformer.center_, transformer.scale_)


def _centred(n_features: int, centre: Any, divisor: Any) -> Affine:
    """Return ``(x - centre) / divisor``, either of which may be None."""
    scale = np.ones(n_features) if divisor is None else 1 / np.asarray(divisor, dtype=np.float64)
    return Affine.scaling(scale, 0.0 if centre is None else -np.asarray(centre) * scale)


@register_transformer(MinMaxScaler)
def _(transformer: MinMaxScaler) -> Block:
    affine = Affine.scaling(transformer.scale_, transformer.min_)
    if not transformer.clip:
        return affine
    return chained([affine, Clip(*transformer.feature_range)])


@register_transformer(MaxAbsScaler)
def _(transformer: MaxAbsScaler) -> Block:
    affine = Affine.scaling(1 / np.asarray(transformer.scale_, dtype=np.float64))
    if not getattr(transformer, "clip", False):  # a parameter of later scikit-learn releases
        return affine
    return chained([affine, Clip(-1.0, 1.0)])


@register_transformer(PCA)
@register_transformer(IncrementalPCA)
def _(transformer: PCA | IncrementalPCA) -> Block:
    matrix = np.asarray(transformer.components_, dtype=np.float64).T
    # Rounded as `transform` rounds it, in the precision of the data that PCA was fitted on.
    centre = (transformer.mean_.reshape(1, -1) @ transformer.components_.T)[0].astype(np.float64)
    size = abs(transformer.mean_.astype(np.float64)) @ abs(matrix)
    if transformer.whiten:
        deviation = np.sqrt(transformer.explained_variance_)
        deviation = np.maximum(deviation, np.finfo(deviation.dtype).eps).astype(np.float64)
        matrix, centre, size = matrix / deviation, centre / deviation, size / deviation
    return Affine(matrix, -centre, Sizes(abs(matrix), size, len(matrix) + ROUNDINGS))


@register_transformer(TruncatedSVD)
def _(transformer: TruncatedSVD) -> Block:
    components = np.asarray(transformer.components_, dtype=np.float64)
    return Affine(components.T, np.zeros(len(components)))


@register_transformer(SelectorMixin)
def _(transformer: SelectorMixin) -> Block:
    support = transformer.get_support()
    return Affine.selection(np.flatnonzero(support), len(support))


@register_transformer(SimpleImputer)
def _(transformer: SimpleImputer) -> Block | None:
    """On complete data: the features it keeps, then an indicator of 0 for each it tells about."""
    if transformer.statistics_.dtype.kind not in "fiu":
        return None
    kept = np.arange(transformer.n_features_in_)
    if not transformer.keep_empty_features:
        kept = kept[~np.isnan(transformer.statistics_.astype(np.float64))]
    n_indicators = len(transformer.indicator_.features_) if transformer.add_indicator else 0
    return Affine.selection([*kept, *[-1] * n_indicators], transformer.n_features_in_)


@register_transformer(FunctionTransformer)
def _(transformer: FunctionTransformer) -> Block | None:
    func = transformer.func
    if func is None:
        return Affine.identity(transformer.n_features_in_)
    if func not in _DERIVATIVES:
        return None
    arguments = transformer.kw_args or {}
    return Elementwise(partial(func, **arguments), partial(_DERIVATIVES[func], **arguments))
