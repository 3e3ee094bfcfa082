"""The formulas that a fitted transformer may be: affine, elementwise, clipped, and their joins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import safe_sparse_dot


class Block(Protocol):
    """A function of rows that can be differentiated; what `register_transformer` asks for.

    One that is flat in places may have a method `guide` too, with the parameters of `pull`: what an
    attack follows upwards in place of the gradient, as that of `Clip` leads back into the range.

    Examples
    --------
    The product of all features:

    >>> import numpy as np
    >>> class Product:
    ...     def __call__(self, X):
    ...         return X.prod(axis=1, keepdims=True)
    ...     def pull(self, X, gradient):
    ...         return gradient * self(X) / X
    >>> Product().pull(np.array([[2.0, 5.0]]), np.array([[1.0]]))
    array([[5., 2.]])
    """

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return the transformed rows.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_in)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_out)
        """

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to the input, given that with respect to the output.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_in)
        gradient : ndarray of shape (n_samples, n_out)

        Returns
        -------
        gradient : ndarray of shape (n_samples, n_in)
        """


# Of a coefficient, and of what a transformer does to a value beside adding up.
ROUNDINGS = 8


@dataclass(frozen=True)
class Sizes:
    """What the terms of an affine map add up to where none cancels, of one that is a product too.

    Attributes
    ----------
    matrix : ndarray or sparse array of shape (n_in, n_out)
    offset : ndarray of shape (n_out,)
    n_roundings : int
        How many roundings a term goes through at the most.

    Examples
    --------
    A difference of two large numbers, small as it is, is rounded by their size:

    >>> import numpy as np
    >>> from sklearn_robust.preprocessing import Affine, Sizes
    >>> sum_of_two, less = np.ones((2, 1)), np.array([-1e6])
    >>> centred = Affine(sum_of_two, less, Sizes(sum_of_two, abs(less), n_roundings=3))
    >>> centred(np.array([[5e5, 5e5]])), centred.sizes.offset
    (array([[0.]]), array([1000000.]))
    """

    matrix: Any
    offset: np.ndarray
    n_roundings: int


@dataclass(frozen=True)
class Affine:
    r"""Rows times a matrix, plus an offset: :math:`z = x M + b`.

    Parameters
    ----------
    matrix : ndarray or sparse array of shape (n_in, n_out)
    offset : ndarray of shape (n_out,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.preprocessing import Affine
    >>> Affine.scaling([2.0, 10.0], [0.0, 1.0])(np.array([[1.0, 1.0]]))
    array([[ 2., 11.]])
    """

    matrix: Any
    offset: np.ndarray
    _sizes: Sizes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def scaling(cls, scale: Any, offset: Any = 0.0) -> Affine:
        """Return ``z_j = scale_j * x_j + offset_j``."""
        scale = np.asarray(scale, dtype=np.float64)
        offset = np.broadcast_to(np.asarray(offset, dtype=np.float64), scale.shape)
        return cls(sparse.csr_array(sparse.diags(scale)), offset)

    @classmethod
    def identity(cls, n_features: int) -> Affine:
        """Return ``z = x``."""
        return cls.scaling(np.ones(n_features))

    @classmethod
    def selection(cls, index: Any, n_features: int) -> Affine:
        """Return ``z_k = x_{index_k}``; an index of -1 stands for the constant 0."""
        index = np.asarray(index, dtype=np.intp)
        taken = np.flatnonzero(index >= 0)
        matrix = sparse.csr_array(
            (np.ones(len(taken)), (index[taken], taken)), shape=(n_features, len(index))
        )
        return cls(matrix, np.zeros(len(index)))

    @property
    def n_in(self) -> int:
        return self.matrix.shape[0]

    @property
    def n_out(self) -> int:
        return self.matrix.shape[1]

    def __call__(self, X: Any) -> Any:
        """Return the transformed rows; sparse ones stay so under a sparse matrix alone."""
        if sparse.issparse(X) and sparse.issparse(self.matrix) and not self.offset.any():
            return X @ self.matrix
        return safe_sparse_dot(X, self.matrix, dense_output=True) + self.offset

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return safe_sparse_dot(gradient, self.matrix.T, dense_output=True)

    def then(self, other: Affine) -> Affine:
        """Return the map that applies this one first, then `other`."""
        mine, theirs = self.sizes, other.sizes
        sizes = Sizes(
            mine.matrix @ theirs.matrix,
            mine.offset @ theirs.matrix + theirs.offset,
            mine.n_roundings + theirs.n_roundings,
        )
        return Affine(self.matrix @ other.matrix, other(self.offset[None])[0], sizes)

    @property
    def sizes(self) -> Sizes:
        """The absolute values of all that adds up to an output, for bounds of its rounding."""
        if self._sizes is not None:
            return self._sizes
        n_terms = int((self.matrix != 0).sum(axis=0).max(initial=0)) + 1
        return Sizes(abs(self.matrix), abs(self.offset), n_terms + ROUNDINGS)


@dataclass(frozen=True)
class Elementwise:
    """The same function of every feature, ``z_j = func(x_j)``, with its derivative.

    Parameters
    ----------
    func, derivative : callable
        Map an array to an array of its shape.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.preprocessing import Elementwise
    >>> log, X = Elementwise(np.log, np.reciprocal), np.array([[1.0, 4.0]])
    >>> log.pull(X, gradient=np.ones((1, 2)))
    array([[1.  , 0.25]])
    """

    func: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.func(X), dtype=np.float64)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        # Infinite in places, as that of a square root is at 0; what follows deals with it.
        with np.errstate(divide="ignore", invalid="ignore"):
            return gradient * self.derivative(X)


@dataclass(frozen=True)
class Clip:
    """Values cut off at `low` and `high`, beyond which the gradient is 0.

    Parameters
    ----------
    low, high : float

    Notes
    -----
    An attack that follows the gradient would leave a value where it is once it is out of the range,
    as a random start may put it. It follows `guide`, which leads back.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.preprocessing import Clip
    >>> clip, X = Clip(0.0, 1.0), np.array([[-3.0, 0.5, 4.0]])
    >>> clip(X), clip.pull(X, gradient=np.ones((1, 3))), clip.guide(X, gradient=np.ones((1, 3)))
    (array([[0. , 0.5, 1. ]]), array([[0., 1., 0.]]), array([[1., 1., 0.]]))
    """

    low: float
    high: float

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return X.clip(self.low, self.high)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return np.where(X.clip(self.low, self.high) == X, gradient, 0.0)

    def guide(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return the gradient where a step along it does not lead out of the range, or further."""
        upwards, downwards = (gradient > 0) & (self.high > X), (gradient < 0) & (self.low < X)
        return np.where(upwards | downwards, gradient, 0.0)


Rule = Callable[[Block, np.ndarray, np.ndarray], np.ndarray]


def pull(block: Block, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the gradient of the loss with respect to the input of a block."""
    return block.pull(X, gradient)


def guide(block: Block, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return what an attack follows upwards in its place: the block's `guide`, if it has one."""
    return getattr(block, "guide", block.pull)(X, gradient)


@dataclass(frozen=True)
class Chain:
    """Blocks one after another."""

    blocks: tuple[Block, ...]

    def __call__(self, X: np.ndarray) -> np.ndarray:
        for block in self.blocks:
            X = block(X)
        return X

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self._back(X, gradient, pull)

    def guide(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self._back(X, gradient, guide)

    def _back(self, X: np.ndarray, gradient: np.ndarray, rule: Rule) -> np.ndarray:
        inputs = [X]
        for block in self.blocks[:-1]:
            inputs.append(block(inputs[-1]))
        for block, at in zip(reversed(self.blocks), reversed(inputs), strict=True):
            gradient = rule(block, at, gradient)
        return gradient


@dataclass(frozen=True)
class Branches:
    """Blocks side by side, each of some columns of the input, their outputs joined.

    Parameters
    ----------
    parts : sequence of (ndarray of int, Block, int)
        The columns of the input, what is done with them, and how many columns come out.
    n_in : int
    """

    parts: Sequence[tuple[np.ndarray, Block, int]]
    n_in: int

    def __call__(self, X: np.ndarray) -> np.ndarray:
        return np.hstack([block(X[:, columns]) for columns, block, _ in self.parts])

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self._back(X, gradient, pull)

    def guide(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return self._back(X, gradient, guide)

    def _back(self, X: np.ndarray, gradient: np.ndarray, rule: Rule) -> np.ndarray:
        out, start = np.zeros((len(X), self.n_in)), 0
        for columns, block, width in self.parts:
            part = gradient[:, start : start + width]
            back = Affine.selection(columns, self.n_in)
            out += back.pull(X, rule(block, X[:, columns], part))
            start += width
        return out


def chained(blocks: Sequence[Block]) -> Block:
    """Return the blocks as one, neighbouring affine ones multiplied out."""
    merged: list[Block] = []
    for block in blocks:
        inner = block.blocks if isinstance(block, Chain) else (block,)
        for b in inner:
            if merged and isinstance(b, Affine) and isinstance(merged[-1], Affine):
                merged[-1] = merged[-1].then(b)
            else:
                merged.append(b)
    return merged[0] if len(merged) == 1 else Chain(tuple(merged))


def joined(parts: Sequence[tuple[np.ndarray, Block, int]], n_in: int) -> Block:
    """Return the parts side by side; one affine map if all of them are affine."""
    pieces = []
    for columns, block, _ in parts:
        if not isinstance(block, Affine):
            return Branches(tuple(parts), n_in)
        pieces.append(Affine.selection(columns, n_in).then(block))
    if not pieces:
        return Affine(sparse.csr_array((n_in, 0)), np.zeros(0))
    sizes = [p.sizes for p in pieces]
    return Affine(
        _side_by_side([p.matrix for p in pieces]),
        np.concatenate([p.offset for p in pieces]),
        Sizes(
            _side_by_side([s.matrix for s in sizes]),
            np.concatenate([s.offset for s in sizes]),
            max(s.n_roundings for s in sizes),
        ),
    )


def _side_by_side(matrices: list[Any]) -> Any:
    return sparse.hstack([sparse.csr_array(matrix) for matrix in matrices], format="csr")
