"""From a fitted transformer, however nested, to its formula, held against its own ``transform``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

from sklearn_robust.preprocessing._blocks import Affine, Block, chained, joined
from sklearn_robust.preprocessing._registry import registered

# Two float64 computations agree to rounding, which subtracting a mean of a million standard
# deviations magnifies to this.
_TOLERANCE = 1e-8
# Roundings of the terms that are allowed beyond that, where the output is float32: a few of its
# own, and those of the points from which `_probe` took the matrix.
_ROUNDINGS = 16
_N_PROBES = 20  # around the samples, for each order of magnitude


class CannotFollowError(TypeError):
    """A transformer whose formula is neither known nor affine."""


def follow(transformer: Any, X: Any) -> Block:
    """Return the formula of a fitted transformer.

    Known are scikit-learn's scalers, PCA, TruncatedSVD, feature selection, SimpleImputer on
    complete data, FunctionTransformer with a declared derivative, what `register_transformer` was
    told, and Pipelines, FeatureUnions and ColumnTransformers of these. Any other transformer is
    probed: where it is affine, ``n_features + 1`` points say all about it.

    Parameters
    ----------
    transformer : fitted transformer
    X : ndarray of shape (n_samples, n_features)
        Complete samples as the transformer takes them, on which its formula is verified.

    Returns
    -------
    block : Affine, or another differentiable block

    Raises
    ------
    CannotFollowError
        If the formula is unknown and not affine.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import MinMaxScaler, StandardScaler
    >>> from sklearn_robust.preprocessing import follow
    >>> X = np.array([[0.0, 10.0], [2.0, 30.0]])
    >>> affine = follow(make_pipeline(StandardScaler(), MinMaxScaler()).fit(X), X)
    >>> affine.matrix.toarray()
    array([[0.5 , 0.  ],
           [0.  , 0.05]])
    """
    if isinstance(transformer, FrozenEstimator):
        return follow(transformer.estimator, X)
    if isinstance(transformer, Pipeline):
        return follow_steps(transformer.steps, X)[0]
    if isinstance(transformer, FeatureUnion):
        return _follow_union(transformer, X)
    if isinstance(transformer, ColumnTransformer):
        return _follow_columns(transformer, X)
    if isinstance(transformer, str):  # "passthrough" in a Pipeline or a union
        return Affine.identity(X.shape[1])
    block = registered(transformer)
    if block is not None:
        _verify(block, transformer, X)
        return block
    affine = _probe(transformer, X)
    for points in _surroundings(X):
        _verify(affine, transformer, points)
    return affine


def follow_steps(steps: list[tuple[str, Any]], X: np.ndarray) -> tuple[Block, np.ndarray]:
    """Return the formula of transformers one after another, and what they make of `X`.

    The formula gives rows where the last of them gives images.
    """
    blocks: list[Block] = [Affine.identity(X.shape[1])]
    for name, step in steps:
        if step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        if X.ndim != 2:
            raise CannotFollowError(
                f"step {name!r} takes samples of shape {X.shape[1:]}, which are not rows. Reshape "
                "in the last step before the classifier."
            )
        try:
            blocks.append(follow(step, X))
        except CannotFollowError as error:
            raise CannotFollowError(f"step {name!r}: {error}") from None
        X = apply(step, X)
    return chained(blocks), X


def _follow_union(union: FeatureUnion, X: np.ndarray) -> Block:
    every, weights = np.arange(X.shape[1]), union.transformer_weights or {}
    parts = []
    for name, transformer in union.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        parts.append(_weighted(every, follow(transformer, X), X, weights.get(name)))
    return joined(parts, X.shape[1])


def _follow_columns(transformer: ColumnTransformer, X: np.ndarray) -> Block:
    return joined([follow_branch(*branch, X) for branch in branches(transformer)], X.shape[1])


def follow_branch(
    name: str, branch: Any, columns: np.ndarray, weight: float | None, X: np.ndarray
) -> tuple[np.ndarray, Block, int]:
    """Return one branch of a ColumnTransformer as `joined` takes it."""
    try:
        block = follow(branch, X[:, columns])
    except CannotFollowError as error:
        raise CannotFollowError(f"branch {name!r}: {error}") from None
    return _weighted(columns, block, X[:, columns], weight)


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
    if names is None or not hasattr(X, "iloc"):
        return np.arange(transformer.n_features_in_)
    missing = set(names) - set(X.columns)  # scikit-learn lets those be missing that it drops
    return np.array([-1 if n in missing else X.columns.get_loc(n) for n in names], dtype=np.intp)


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


def _weighted(
    columns: np.ndarray, block: Block, X: np.ndarray, weight: float | None
) -> tuple[np.ndarray, Block, int]:
    n_out = block.n_out if isinstance(block, Affine) else block(X[:1]).shape[1]
    if weight is not None:
        block = chained([block, Affine.scaling(np.full(n_out, weight))])
    return columns, block, n_out


def apply(transformer: Any, X: np.ndarray) -> np.ndarray:
    """Return what a transformer makes of an array, as a dense float64 array."""
    return _floats(transformer, X).astype(np.float64, copy=False)


def _floats(transformer: Any, X: np.ndarray) -> np.ndarray:
    """Return the same, in float32 if the transformer answers in it."""
    Z = transformer.transform(named(X, transformer))
    Z = np.asarray(Z.toarray() if sparse.issparse(Z) else Z)
    return Z if Z.dtype == np.float32 else Z.astype(np.float64)


def named(X: np.ndarray, estimator: Any) -> Any:
    """Return `X` with the column names that the estimator was fitted with, if there were any."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return X
    import pandas as pd

    return pd.DataFrame(X, columns=names)


def _probe(transformer: Any, X: np.ndarray) -> Affine:
    """Recover the matrix and the offset of a map that is affine, from a point and its neighbours.

    Whether it is affine on the data is for `_verify` to find out.
    """
    centre, reach = X.mean(axis=0), _reach(X)
    at = _try(transformer, np.vstack([centre, centre + np.diag(reach)])).astype(np.float64)
    matrix = (at[1:] - at[0]) / reach[:, None]
    return Affine(matrix, at[0] - centre @ matrix)


def _reach(X: np.ndarray) -> np.ndarray:
    """Return the spread of each column; of one that is constant its size, or 1."""
    spread, size = np.ptp(X, axis=0), np.abs(X).max(axis=0)
    return np.where(spread > 0, spread, np.where(size > 0, size, 1.0))


def _surroundings(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the samples, and points around some of them at distances of many orders of magnitude.

    Few samples, or a column that is constant, say nothing of a map that bins, clips or ranks: an
    adversary takes it where no sample is.
    """
    yield X
    rng, reach = np.random.default_rng(0), _reach(X)
    for scale in 10.0 ** np.arange(-4, 5):
        near = X[rng.integers(len(X), size=_N_PROBES)]
        yield near + scale * reach * rng.uniform(-1, 1, size=near.shape)


def _verify(block: Block, transformer: Any, X: np.ndarray) -> None:
    """Raise CannotFollowError unless the formula gives what the transformer gives.

    The points are `X` and mixtures of its rows: an affine map is affine between the samples too,
    where one that rounds or bins is not.
    """
    rng = np.random.default_rng(0)
    mixed = X + rng.uniform(-1, 2, size=(len(X), 1)) * (X[rng.permutation(len(X))] - X)
    points = X if not isinstance(block, Affine) else np.vstack([X, mixed])
    ours, theirs = block(points), _try(transformer, points)
    if ours.shape == theirs.shape:
        scale = 1 + np.abs(theirs).max(axis=0, initial=0)
        terms = _terms(block, points) if isinstance(block, Affine) else scale
        slack = _TOLERANCE * scale + _ROUNDINGS * _resolution(theirs) * terms
        if (np.abs(ours - theirs) <= slack).all():
            return
    raise CannotFollowError(_unknown(transformer))


def _resolution(Z: np.ndarray) -> float:
    """Return the relative distance of neighbouring numbers in float32 if `Z` is, or in float64."""
    return float(np.finfo(np.float32 if Z.dtype == np.float32 else np.float64).eps)


def _terms(affine: Affine, X: np.ndarray) -> np.ndarray:
    """Return, by output, the largest sum of what adds up to it, each by its size."""
    return (np.abs(X) @ abs(affine.matrix) + np.abs(affine.offset)).max(axis=0, initial=0)


def _try(transformer: Any, points: np.ndarray) -> np.ndarray:
    """Return `_floats` in rows, at points that need not be possible data; whatever it says."""
    try:
        with np.errstate(all="ignore"):
            return _floats(transformer, points).reshape(len(points), -1)
    except Exception as error:
        raise CannotFollowError(f"{_unknown(transformer)} It raised: {error}") from None


def _unknown(transformer: Any) -> str:
    return (
        f"{type(transformer).__name__} is not affine on X, and its formula is not known. Teach it "
        "with sklearn_robust.preprocessing.register_transformer (declare_derivative for a "
        "FunctionTransformer), or set epsilon to 0 for the columns it reads."
    )
