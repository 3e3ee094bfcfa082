"""Cutting work on many samples into pieces of a bounded size, in one place for the whole library."""

from __future__ import annotations

from collections.abc import Iterator

from sklearn import get_config
from sklearn.utils import gen_batches

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
    if n_samples:
        yield from gen_batches(n_samples, size if most is None else min(size, most))
