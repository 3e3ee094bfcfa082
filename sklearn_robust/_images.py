"""Which samples are images, and of which shape: one rule for the whole library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

# Rows of fewer features than this are not taken for images.
LEAST_PIXELS = 64


def image_shape(sample_shape: tuple[int, ...], declared: Any = None) -> tuple[int, int, int] | None:
    """Return a sample's shape as an image, (channels, height, width), or None if it is none.

    Samples of shape (h, w) or (c, h, w) are images. A row of features is a square image if their
    number is a square and at least 64. What is declared wins: (n,) says that rows are no images.

    Parameters
    ----------
    sample_shape : tuple of int
        Shape of one sample, without the axis of samples.
    declared : (h, w), (c, h, w), (n,) or None, default=None
        The shape that somebody has given, which must hold as many values as a sample.

    Raises
    ------
    ValueError
        If `declared` is no shape of an image, or one of another size.

    Examples
    --------
    >>> from sklearn_robust._images import image_shape
    >>> image_shape((8, 6)), image_shape((784,)), image_shape((30,)), image_shape((30,), (5, 6))
    ((1, 8, 6), (1, 28, 28), None, (1, 5, 6))
    """
    shape = tuple(sample_shape)
    if declared is not None:
        shape = check_image_shape(declared, math.prod(sample_shape))
        if len(shape) == 1:
            return None
    if len(shape) in (2, 3):
        channels, height, width = shape if len(shape) == 3 else (1, *shape)
        return channels, height, width
    side = math.isqrt(math.prod(shape))
    square = len(shape) == 1 and side * side == shape[0] >= LEAST_PIXELS
    return (1, side, side) if square else None


def require_image_shape(
    sample_shape: tuple[int, ...], declared: Any, needed_by: str
) -> tuple[int, int, int]:
    """Return the same, or raise ValueError that names what needs images.

    Parameters
    ----------
    sample_shape, declared
        As in `image_shape`.
    needed_by : str
        What has no meaning for other samples, such as "augmentation shifts images".
    """
    shape = image_shape(sample_shape, declared)
    if shape is None:
        raise ValueError(
            f"{needed_by}: image_shape must be (h, w) or (c, h, w) with {math.prod(sample_shape)} "
            f"values, as each sample has, or samples be images, got shape {tuple(sample_shape)}."
        )
    return shape


def check_image_shape(declared: Any, n_values: int | None = None) -> tuple[int, ...]:
    """Return a declared shape as a tuple of one to three integers that hold so many values."""
    shape = tuple(declared) if isinstance(declared, Iterable) else ()
    if not all(isinstance(n, Integral) for n in shape) or len(shape) not in (1, 2, 3):
        raise ValueError(
            f"image_shape must be None, (h, w) or (c, h, w), in integers, got {declared!r}."
        )
    if n_values is not None and math.prod(shape) != n_values:
        raise ValueError(
            f"image_shape must be (h, w) or (c, h, w) with {n_values} values, as each sample has, "
            f"got {shape}."
        )
    return tuple(int(n) for n in shape)


def channels_last(shape: tuple[int, ...]) -> bool:
    """Return whether a shape of three axes can be an image only as (h, w, c)."""
    return len(shape) == 3 and shape[0] > 4 >= shape[2]
