"""The parts of a sample that random search changes: squares of images, subsets of features."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from sklearn_robust._arrays import (
    Array,
    as_like,
    namespace,
    random_uniform,
    rows,
    sort_rows,
)

# Rows of fewer features than this are not taken for images.
_LEAST_IMAGE = 64


class Patches(Protocol):
    """Random parts of samples; everything returned has the shape of the samples `X`."""

    def stripes(self, X: Array, generator: Any) -> Array:
        """Return signs for a first guess that covers the whole sample."""

    def signs(self, X: Array, generator: Any) -> Array:
        """Return signs for what lies inside a patch."""

    def draw(self, X: Array, share: float, generator: Any) -> Array:
        """Return where a patch of that share of the sample lies, as booleans."""

    def bump(self, X: Array, share: float, generator: Any) -> Array:
        """Return weights: > 0 inside a patch, larger in its middle; 0 outside."""


class Squares:
    """Squares of images of shape (channels, height, width), the same in all channels."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def stripes(self, X: Array, generator: Any) -> Array:
        channels, _, width = self.shape
        signs = random_signs(rows(X)[:, : channels * width], generator)
        signs = signs.reshape(len(X), channels, 1, width)
        return self._filled(X, signs)

    def signs(self, X: Array, generator: Any) -> Array:
        signs = random_signs(rows(X)[:, : self.shape[0]], generator)
        return self._filled(X, signs.reshape(len(X), -1, 1, 1))

    def draw(self, X: Array, share: float, generator: Any) -> Array:
        row, column, side = self._place(X, share, generator)
        down = (row >= 0) & (row < side)
        across = (column >= 0) & (column < side)
        return self._same_in_channels(X, down[:, :, None] & across[:, None, :])

    def bump(self, X: Array, share: float, generator: Any) -> Array:
        xp = namespace(X)
        row, column, side = self._place(X, share, generator)
        middle = (side - 1) / 2
        off_row, off_column = abs(row - middle), abs(column - middle)
        ring = xp.maximum(off_row[:, :, None], off_column[:, None, :])
        # About sum_{k >= ring} 1 / (k + 1)^2, the weights of the paper's Algorithm 3.
        weight = xp.where(ring <= middle + 0.25, 1 / (ring + 1), as_like(0, X))
        return self._same_in_channels(X, weight)

    def _place(self, X: Array, share: float, generator: Any) -> tuple[Array, Array, int]:
        """Return each row's and column's offset from a random square, and the square's side."""
        _, height, width = self.shape
        side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
        at = random_uniform(rows(X)[:, :1], generator), random_uniform(rows(X)[:, :1], generator)
        floor = namespace(X).floor
        row, column = (
            as_like(np.arange(n), X)[None, :] - floor(u * (n - side + 1))
            for n, u in zip((height, width), at, strict=True)
        )
        return row, column, side

    def _same_in_channels(self, X: Array, image: Array) -> Array:
        if self.shape[0] == 1:
            return image.reshape(X.shape)
        image = namespace(X).broadcast_to(image[:, None], (len(X), *self.shape))
        return image.reshape(X.shape)

    def _filled(self, X: Array, signs: Array) -> Array:
        return namespace(X).broadcast_to(signs, (len(X), *self.shape)).reshape(X.shape)


class Subsets:
    """Random subsets of features that have no order."""

    def stripes(self, X: Array, generator: Any) -> Array:
        return random_signs(X, generator)

    def signs(self, X: Array, generator: Any) -> Array:
        return random_signs(X, generator)

    def draw(self, X: Array, share: float, generator: Any) -> Array:
        lots = random_uniform(rows(X), generator)
        size = min(max(round(share * lots.shape[1]), 1), lots.shape[1])
        limit = sort_rows(lots)[0][:, size - 1 : size]
        return (lots <= limit).reshape(X.shape)

    def bump(self, X: Array, share: float, generator: Any) -> Array:
        inside = self.draw(X, share, generator)
        return namespace(X).where(inside, as_like(1, X), as_like(0, X))


def choose_patches(image_shape: Any, sample_shape: tuple[int, ...]) -> Patches:
    """Return the patches for samples of that shape; see `Square` for `image_shape`."""
    size = math.prod(sample_shape)
    if image_shape is None:
        return Subsets()
    shape = _guess(sample_shape) if isinstance(image_shape, str) else tuple(image_shape)
    if shape is None:
        return Subsets()
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or math.prod(shape) != size:
        raise ValueError(
            f"image_shape must be 'auto', None, (h, w) or (c, h, w) with {size} values, as each "
            f"sample has, got {image_shape!r}."
        )
    return Squares(shape)


def _guess(sample_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if len(sample_shape) in (2, 3):
        return sample_shape
    side = math.isqrt(math.prod(sample_shape))
    is_image = len(sample_shape) == 1 and side * side == sample_shape[0] >= _LEAST_IMAGE
    return (side, side) if is_image else None


def random_signs(like: Array, generator: Any) -> Array:
    """Return +1 or -1 in the shape of `like`."""
    return 1 - 2 * (random_uniform(like, generator) < 0.5) * as_like(1, like)
