"""Training samples changed at random in ways that leave their class as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust._validation import check_int, check_real

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class RandomShift:
    """Move each image by up to `pixels` along each axis, uniformly, whole pixels at a time.

    Parameters
    ----------
    pixels : int, default=1
    fill : float, default=0.0
        What comes in at the border, in the units of X.
    image_shape : (h, w), (c, h, w) or None, default=None
        Shape of one image. None: the classifier's `image_shape` if it has one, else that of X;
        rows of a square number of features are square.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import RandomShift
    >>> X = torch.arange(1., 10.).reshape(1, 9)
    >>> RandomShift()(X, torch.Generator().manual_seed(1)).reshape(3, 3)
    tensor([[2., 3., 0.],
            [5., 6., 0.],
            [8., 9., 0.]])
    """

    pixels: int = 1
    fill: float = 0.0
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_int(self.pixels, "pixels", low=0)
        check_real(self.fill, "fill")

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return the batch X, each of its images shifted, in the shape of X."""
        n, p = len(X), self.pixels
        height, width = image_size(tuple(X.shape[1:]), self.image_shape)
        images = X.reshape(n, -1, height, width)
        padded = functional.pad(images, (p, p, p, p), value=self.fill)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        rows, columns = torch.randint(2 * p + 1, (2, n), generator=generator, device=X.device)
        return windows[torch.arange(n, device=X.device), :, rows, columns].reshape(X.shape)


def image_size(
    given: tuple[int, ...], image_shape: tuple[int, ...] | None, by: str = "augmentation"
) -> tuple[int, int]:
    """Return (height, width) of images in samples of shape `given`; square rows are images too.

    `by` is what needs images.
    """
    shape = given if image_shape is None else tuple(image_shape)
    if len(shape) == 1 and image_shape is None:
        shape = (math.isqrt(shape[0]),) * 2
    if len(shape) not in (2, 3) or math.prod(shape) != math.prod(given):
        raise ValueError(
            f"{by} shifts images: image_shape must be (h, w) or (c, h, w) with {math.prod(given)} "
            f"values, as a sample has, got {shape}. Pass samples in the shape of images."
        )
    return shape[-2], shape[-1]


def check_augmentation(augmentation: Any) -> Augmentation | None:
    """Return `augmentation` if it is None or callable."""
    if augmentation is None or callable(augmentation):
        return augmentation
    raise ValueError(
        "augmentation must be None or a callable of a batch and a torch.Generator, such as "
        f"RandomShift(1), got {augmentation!r}."
    )
