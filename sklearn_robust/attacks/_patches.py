"""The parts of a sample that random search changes: squares of images, subsets of features.

One part at a time serves a whole batch: no sample's own search is any less random, and a part that
all samples share is a slice, which is read and written without touching the rest.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from sklearn_robust._arrays import Array, as_like, namespace, random_uniform
from sklearn_robust._images import image_shape


class Patches(Protocol):
    """Random parts of samples, of shape (n_samples, *shape)."""

    shape: tuple[int, ...]

    def stripes(self, X: Array, generator: Any) -> Array:
        """Return signs for a first guess that covers all of the samples `X`."""

    def signs(self, part: Array, generator: Any) -> Array:
        """Return signs for what lies inside a part."""

    def draw(self, share: float, places: np.random.Generator) -> tuple[Any, ...]:
        """Return the index of a part of that share of each sample."""

    def bump(self, part: Array) -> Array:
        """Return weights > 0 for what lies inside a part, larger in its middle."""


class Squares:
    """Squares of images of shape (channels, height, width), the same in all channels."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape: tuple[int, ...] = shape

    def stripes(self, X: Array, generator: Any) -> Array:
        return random_signs(X[:, :, :1], generator)

    def signs(self, part: Array, generator: Any) -> Array:
        return random_signs(part[:, :, :1, :1], generator)

    def draw(self, share: float, places: np.random.Generator) -> tuple[Any, ...]:
        _, height, width = self.shape
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        row, column = (int(places.integers(n - side + 1)) for n in (height, width))
        return ..., slice(row, row + side), slice(column, column + side)

    def bump(self, part: Array) -> Array:
        middle = (part.shape[-1] - 1) / 2
        off = abs(as_like(np.arange(part.shape[-1]), part) - middle)
        ring = namespace(part).maximum(off[:, None], off[None, :])
        # About sum_{k >= ring} 1 / (k + 1)^2, the weights of the paper's Algorithm 3.
        return 1 / (ring + 1)


class Subsets:
    """Random subsets of `n_features` features that have no order."""

    def __init__(self, n_features: int) -> None:
        self.shape: tuple[int, ...] = (n_features,)

    def stripes(self, X: Array, generator: Any) -> Array:
        return random_signs(X, generator)

    def signs(self, part: Array, generator: Any) -> Array:
        return random_signs(part, generator)

    def draw(self, share: float, places: np.random.Generator) -> tuple[Any, ...]:
        n = self.shape[0]
        return slice(None), places.permutation(n)[: min(max(round(share * n), 1), n)]

    def bump(self, part: Array) -> Array:
        return namespace(part).ones_like(part[:1])


def choose_patches(declared: Any, sample_shape: tuple[int, ...]) -> Patches:
    """Return the patches for samples of that shape; `declared` is `Square`'s `image_shape`."""
    if declared is None:
        return Subsets(math.prod(sample_shape))
    shape = image_shape(sample_shape, None if isinstance(declared, str) else declared)
    return Subsets(math.prod(sample_shape)) if shape is None else Squares(shape)


def random_signs(like: Array, generator: Any) -> Array:
    """Return +1 or -1 in the shape of `like`."""
    return 1 - 2 * (random_uniform(like, generator) < 0.5) * as_like(1, like)
