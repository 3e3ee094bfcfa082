r"""Transformers of single columns as piecewise polynomials: splines, bins, scalers around them.

Each output is a function of one raw column, a cubic between knots, so that a linear function of all
outputs is a sum over raw columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import numpy as np
from scipy import sparse
from scipy.interpolate import PPoly
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import KBinsDiscretizer, SplineTransformer

from sklearn_robust.preprocessing._blocks import Affine
from sklearn_robust.preprocessing._columns import branches
from sklearn_robust.preprocessing._follow import CannotFollowError, apply, follow

# Of a step whose place is rounded: each scaler takes a few operations.
_ROUNDINGS = 16


class UnknownPiecesError(CannotFollowError):
    """Splines or bins of a kind that is not known."""


@dataclass(frozen=True)
class ColumnPieces:
    r"""One output of transformers: :math:`\sum_i c_{pi} (t - a_p)^i` on piece p of a raw column.

    Attributes
    ----------
    source : int
        The raw column.
    knots : ndarray of shape (n_pieces + 1,)
        From -inf to inf; a knot belongs to the piece on its right.
    centres : ndarray of shape (n_pieces,)
    coef : ndarray of shape (n_pieces, 4)
    size : float
        How large terms get on the way, beside those of the formula, for bounds of rounding.
    blur : float
        In spacings at 1: how far from its knots it may jump, as what is before it rounds.
    """

    source: int
    knots: np.ndarray
    centres: np.ndarray
    coef: np.ndarray
    size: float = 0.0
    blur: float = 0.0

    @classmethod
    def identity(cls, source: int) -> ColumnPieces:
        """Return the raw column itself."""
        ends, line = np.array([-np.inf, np.inf]), np.array([[0.0, 1.0, 0.0, 0.0]])
        return cls(source, ends, np.zeros(1), line)

    @property
    def is_line(self) -> bool:
        """Whether it is an affine function everywhere."""
        return len(self.centres) == 1 and not self.coef[0, 2:].any()

    def scaled(self, factor: float, offset: float = 0.0) -> ColumnPieces:
        """Return ``factor * self + offset``."""
        coef = factor * self.coef
        coef[:, 0] += offset
        size = abs(factor) * self.size + abs(offset)
        return replace(self, coef=coef, size=size)

    def behind(self, inner: ColumnPieces, jumps: bool) -> ColumnPieces:
        """Return this function of the values of a line, as one of the line's own column."""
        if not inner.is_line or inner.coef[0, 1] <= 0:
            raise UnknownPiecesError("of a column nothing but scaled values can be followed here.")
        offset, slope = inner.coef[0, :2]
        start = inner.centres[0] - offset / slope
        knots, centres = start + self.knots / slope, start + self.centres / slope
        far = abs(knots[1:-1]).max(initial=0.0)
        inner_size = inner.size + abs(offset) + slope * (far + abs(inner.centres[0]))
        rise = _steepest(self) * inner_size
        plain = inner.size == 0 and slope == 1 and start == 0
        blur = 0.0 if plain or not jumps else _ROUNDINGS * (far + inner_size / slope)
        return ColumnPieces(
            inner.source, knots, centres, self.coef * slope ** np.arange(4),
            self.size + (0.0 if plain else rise), max(blur, inner.blur),
        )  # fmt: skip


def _steepest(pieces: ColumnPieces) -> float:
    """Return more than the largest slope between the outermost knots, in absolute value."""
    width = np.diff(pieces.knots)
    width = np.where(np.isfinite(width), width, 0.0)[:, None] ** np.arange(3)
    return float((abs(pieces.coef[:, 1:]) * [1, 2, 3] * width).sum(axis=1).max(initial=0.0))


def column_pieces(steps: list[tuple[str, Any]], X: Any, Z: np.ndarray) -> list[ColumnPieces]:
    """Return each output of fitted transformers as a function of one raw column.

    Parameters
    ----------
    steps : list of (name, transformer)
    X : array-like
        Raw samples, of which all columns are numbers.
    Z : ndarray of shape (n_samples, n_columns)
        The same as an array.

    Raises
    ------
    CannotFollowError
        If an output mixes columns, or is no cubic between knots.
    """
    found = [ColumnPieces.identity(j) for j in range(Z.shape[1])]
    for number, (name, step) in enumerate(steps):
        try:
            found, Z = _through(step, found, Z, X if number == 0 else None)
        except CannotFollowError as error:
            raise type(error)(f"step {name!r}: {error}") from None
    return found


Found = tuple[list[ColumnPieces], np.ndarray]


def _through(transformer: Any, inputs: list[ColumnPieces], Z: np.ndarray, X: Any = None) -> Found:
    """Return the outputs of one transformer, and their values."""
    if isinstance(transformer, FrozenEstimator):
        return _through(transformer.estimator, inputs, Z, X)
    if transformer is None or isinstance(transformer, str):  # "passthrough"
        return inputs, Z
    if isinstance(transformer, Pipeline):
        for number, (_, step) in enumerate(transformer.steps):
            inputs, Z = _through(step, inputs, Z, X if number == 0 else None)
        return inputs, Z
    if isinstance(transformer, ColumnTransformer):
        parts = [
            (branch, columns, weight) for _, branch, columns, weight in branches(transformer, X)
        ]
        return _side_by_side(parts, inputs, Z)
    if isinstance(transformer, FeatureUnion):
        weights, every = transformer.transformer_weights or {}, np.arange(len(inputs))
        parts = [
            (branch, every, weights.get(name))
            for name, branch in transformer.transformer_list
            if not (isinstance(branch, str) and branch == "drop")
        ]
        return _side_by_side(parts, inputs, Z)
    found = pieces_of(transformer, inputs)
    if found is None:
        found = _by_column(follow(transformer, Z), inputs)
    return found, apply(transformer, Z)


def _side_by_side(
    parts: list[tuple[Any, np.ndarray, float | None]], inputs: list[ColumnPieces], Z: np.ndarray
) -> Found:
    outputs: list[ColumnPieces] = []
    values = [np.zeros((len(Z), 0))]
    for branch, columns, weight in parts:
        found, part = _through(branch, [inputs[j] for j in columns], Z[:, columns])
        factor = 1.0 if weight is None else float(weight)
        outputs += found if weight is None else [piece.scaled(factor) for piece in found]
        values.append(factor * part)
    return outputs, np.hstack(values)


def _by_column(block: Any, inputs: list[ColumnPieces]) -> list[ColumnPieces]:
    """Return the outputs of an affine formula that reads one input for each."""
    if not isinstance(block, Affine):
        raise CannotFollowError("it is no scaler, spline or binning of single columns.")
    matrix = sparse.csc_array(block.matrix)
    matrix.eliminate_zeros()
    if (np.diff(matrix.indptr) > 1).any():
        raise CannotFollowError("it mixes columns.")
    outputs = []
    for k, offset in enumerate(np.broadcast_to(block.offset, matrix.shape[1])):
        at = slice(matrix.indptr[k], matrix.indptr[k + 1])
        source = int(matrix.indices[at][0]) if at.stop > at.start else 0
        outputs.append(inputs[source].scaled(float(matrix.data[at].sum()), float(offset)))
    return outputs


@singledispatch
def pieces_of(transformer: Any, inputs: list[ColumnPieces]) -> list[ColumnPieces] | None:
    """Return the outputs of a transformer of single columns, None if this is none."""
    return None


@pieces_of.register
def _(transformer: SplineTransformer, inputs: list[ColumnPieces]) -> list[ColumnPieces]:
    """Splines with constant ends: cubics at the most, continuous."""
    if transformer.extrapolation != "constant" or not 1 <= transformer.degree <= 3:
        raise UnknownPiecesError(
            "of SplineTransformer, degrees from 1 to 3 with extrapolation='constant' are known."
        )
    outputs = []
    for spline, inner in zip(transformer.bsplines_, inputs, strict=True):
        own = _basis(spline)
        kept = own if transformer.include_bias else own[:-1]
        outputs += [function.behind(inner, jumps=False) for function in kept]
    return outputs


def _basis(spline: Any) -> list[ColumnPieces]:
    """Return the functions of a B-spline basis, constant beyond its outermost knots."""
    k, t = spline.k, spline.t
    first, last = t[k], t[-k - 1]
    inside = np.arange(k, len(t) - k - 1)
    if not (np.diff(t) > 0).all():
        raise UnknownPiecesError("some of its knots fall together.")
    coef = np.zeros((spline.c.shape[1], len(inside) + 2, 4))
    for own, weights in zip(coef, spline.c.T, strict=True):
        own[1:-1, : k + 1] = PPoly.from_spline((t, weights, k)).c[::-1, inside].T
    coef[:, 0, 0], coef[:, -1, 0] = spline(np.array([first, last]))
    knots = np.concatenate([[-np.inf], t[inside], [last, np.inf]])
    centres = np.concatenate([[first], t[inside], [last]])
    # Basis functions are at most 1, and so are the terms of their recursion.
    return [ColumnPieces(0, knots, centres, own, size=1.0) for own in coef]


@pieces_of.register
def _(transformer: KBinsDiscretizer, inputs: list[ColumnPieces]) -> list[ColumnPieces]:
    """Steps: which bin a value is in, as a number or as an indicator for each."""
    outputs = []
    for edges, inner in zip(transformer.bin_edges_, inputs, strict=True):
        inside = np.asarray(edges[1:-1], dtype=np.float64)
        n_bins = len(inside) + 1
        knots = np.concatenate([[-np.inf], inside, [np.inf]])
        centres = np.concatenate([inside[:1], inside]) if n_bins > 1 else np.zeros(1)
        ordinal = transformer.encode == "ordinal"
        values = np.arange(n_bins)[None] if ordinal else np.eye(n_bins)
        for value in values:
            coef = np.zeros((n_bins, 4))
            coef[:, 0] = value
            steps = ColumnPieces(0, knots, centres, coef, size=float(value.max()))
            outputs.append(steps.behind(inner, jumps=True))
    return outputs
