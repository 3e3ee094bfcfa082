"""From a fitted transformer, however nested, to its formula, held against its own ``transform``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

from sklearn_robust._pieces import piece_bytes, pieces, row_bytes
from sklearn_robust.preprocessing._blocks import Affine, Block, chained, joined
from sklearn_robust.preprocessing._columns import branches
from sklearn_robust.preprocessing._registry import registered

# Two float64 computations agree to rounding, which subtracting a mean of a million standard
# deviations magnifies to this.
_TOLERANCE = 1e-8
# Roundings of the terms that are allowed beyond that, where the output is float32: a few of its
# own, and those of the points from which `_probe` took the matrix.
_ROUNDINGS = 16
_N_PROBES = 20  # around the samples, for each order of magnitude
_COPIES = 8  # of a piece of the samples that are in memory at a time while a formula is verified


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
    X = _narrow(transformer, X)
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


def _weighted(
    columns: np.ndarray, block: Block, X: np.ndarray, weight: float | None
) -> tuple[np.ndarray, Block, int]:
    n_out = block.n_out if isinstance(block, Affine) else block(X[:1]).shape[1]
    if weight is not None:
        block = chained([block, Affine.scaling(np.full(n_out, weight))])
    return columns, block, n_out


def apply(transformer: Any, X: Any) -> Any:
    """Return what a transformer makes of samples in float64; sparse if they are, and it can."""
    return _floats(transformer, X).astype(np.float64, copy=False)


def _floats(transformer: Any, X: Any) -> Any:
    """Return the same, in float32 if the transformer answers in it."""
    Z = transformer.transform(named(X, transformer))
    if not sparse.issparse(Z):
        Z = np.asarray(Z)
    elif not sparse.issparse(X):
        Z = Z.toarray()
    return Z if Z.dtype == np.float32 else Z.astype(np.float64)


def named(X: Any, estimator: Any) -> Any:
    """Return rows as a data frame, if the estimator was fitted on one, so that it finds names."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or sparse.issparse(X):
        return X
    import narwhals as nw

    installed: Any = next(name for name in ("pandas", "polars", "pyarrow") if find_spec(name))
    return nw.from_numpy(X, dict.fromkeys(names, nw.Float64), backend=installed).to_native()


def _probe(transformer: Any, X: np.ndarray) -> Affine:
    """Recover the matrix and the offset of a map that is affine, from a point and its neighbours.

    Whether it is affine on the data is for `_verify` to find out.
    """
    centre, reach = X.mean(axis=0), _reach(X)
    at = _try(transformer, np.vstack([centre, centre + np.diag(reach)])).astype(np.float64)
    matrix = (at[1:] - at[0]) / reach[:, None]
    return Affine(matrix, at[0] - centre @ matrix)


def _narrow(transformer: Any, X: Any) -> np.ndarray:
    """Return dense samples; raise CannotFollowError if there are too many features to try each."""
    if 8 * X.shape[1] ** 2 > piece_bytes():
        raise CannotFollowError(
            f"{type(transformer).__name__} has no known formula, and {X.shape[1]} features are too "
            "many to find it by trying each. Register it with "
            "sklearn_robust.preprocessing.register_transformer."
        )
    return X.toarray() if sparse.issparse(X) else X


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


def _verify(block: Block, transformer: Any, X: Any) -> None:
    """Raise CannotFollowError unless the formula gives what the transformer gives.

    The points are `X` and mixtures of its rows: an affine map is affine between the samples too,
    where one that rounds or bins is not.
    """
    rng = np.random.default_rng(0)
    for piece in pieces(X.shape[0], _COPIES * row_bytes(X)):
        points = part = X[piece]
        if isinstance(block, Affine):
            shift = part[rng.permutation(part.shape[0])] - part
            share = rng.uniform(-1, 2, size=part.shape[0])
            mixed = part + sparse.diags_array(share) @ shift
            stack = sparse.vstack if sparse.issparse(part) else np.vstack
            points = stack([part, mixed])
        elif sparse.issparse(part):
            points = part.toarray()
        _compare(block, transformer, points)


def _compare(block: Block, transformer: Any, points: Any) -> None:
    ours, theirs = block(points), _try(transformer, points)
    if ours.shape == theirs.shape:
        scale = 1 + _largest(theirs)
        terms = _terms(block, points) if isinstance(block, Affine) else scale
        slack = _TOLERANCE * scale + _ROUNDINGS * _resolution(theirs) * terms
        if (_largest(ours - theirs) <= slack).all():
            return
    raise CannotFollowError(_unknown(transformer))


def _largest(Z: Any) -> np.ndarray:
    """Return the largest absolute value of each column; NaN where there is one."""
    if not Z.shape[0]:
        return np.zeros(Z.shape[1])
    largest = abs(Z).max(axis=0)
    return largest.toarray().ravel() if sparse.issparse(largest) else np.asarray(largest)


def _resolution(Z: Any) -> float:
    """Return the relative distance of neighbouring numbers in float32 if `Z` is, or in float64."""
    return float(np.finfo(np.float32 if Z.dtype == np.float32 else np.float64).eps)


def _terms(affine: Affine, X: Any) -> np.ndarray:
    """Return, by output, the largest sum of what adds up to it, each by its size."""
    return _largest(abs(X) @ abs(affine.matrix)) + np.abs(affine.offset)


def _try(transformer: Any, points: Any) -> Any:
    """Return `_floats` in rows, at points that need not be possible data; whatever it says."""
    try:
        with np.errstate(all="ignore"):
            Z = _floats(transformer, points)
    except Exception as error:
        raise CannotFollowError(f"{_unknown(transformer)} It raised: {error}") from None
    return Z if Z.ndim == 2 else Z.reshape(len(points), -1)


def _unknown(transformer: Any) -> str:
    return (
        f"{type(transformer).__name__} is not affine on X, and its formula is not known. Register "
        "it with sklearn_robust.preprocessing.register_transformer (declare_derivative for a "
        "FunctionTransformer), or set epsilon to 0 for the columns it reads."
    )
