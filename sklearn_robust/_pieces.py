"""Cutting work on many samples into pieces of a bounded size: the one place that does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn import get_config

# Of scikit-learn's working_memory, 1024 MiB by default: what is made of a piece on its way, such as
# gradients and activations, is about three times as large again.
_SHARE = 0.25


def piece_bytes() -> int:
    """Return how many bytes a piece may hold: a quarter of scikit-learn's ``working_memory``."""
    return int(_SHARE * get_config()["working_memory"] * 2**20)


def pieces(n_samples: int, sample_bytes: float, *, most: int | None = None) -> Iterator[slice]:
    """Yield slices that cover so many samples, each of at most `piece_bytes` and `most` samples.

    Parameters
    ----------
    n_samples : int
    sample_bytes : float
        What one sample needs while it is worked on: itself, and the largest thing made of it.
    most : int, optional
        Samples in a piece at the most, whatever they weigh.

    Examples
    --------
    >>> from sklearn import config_context
    >>> from sklearn_robust._pieces import pieces
    >>> with config_context(working_memory=1):
    ...     list(pieces(3, sample_bytes=100_000))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    size = max(1, int(piece_bytes() // max(sample_bytes, 1)))
    size = size if most is None else min(size, most)
    for start in range(0, n_samples, size):
        yield slice(start, min(start + size, n_samples))


def by_pieces(
    function: Callable[[slice], np.ndarray],
    n_samples: int,
    sample_bytes: float,
    shape: tuple[int, ...] = (),
    *,
    dtype: Any = np.float64,
    most: int | None = None,
) -> np.ndarray:
    """Return what a function gives for each piece, as one array of shape (n_samples, *shape).

    The array is there from the beginning: results that are kept one by one would lie between what
    pieces need on their way, and that memory could not be used again.
    """
    out = np.empty((n_samples, *shape), dtype)
    for piece in pieces(n_samples, sample_bytes, most=most):
        out[piece] = function(piece)
    return out


def row_bytes(X: Any) -> int:
    """Return what one sample of `X` needs as float64, dense."""
    return 8 * math.prod(X.shape[1:])
