"""Training samples changed at random in ways that leave their class as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust._images import require_image_shape
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
        rows are square images if their number of features is a square and at least 64.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import RandomShift
    >>> X = torch.arange(1., 10.).reshape(1, 3, 3)
    >>> RandomShift()(X, torch.Generator().manual_seed(1))
    tensor([[[2., 3., 0.],
             [5., 6., 0.],
             [8., 9., 0.]]])
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
        shape = tuple(X.shape[1:])
        _, height, width = require_image_shape(
            shape, self.image_shape, "augmentation shifts images"
        )
        images = X.reshape(n, -1, height, width)
        padded = functional.pad(images, (p, p, p, p), value=self.fill)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)
        rows, columns = torch.randint(2 * p + 1, (2, n), generator=generator, device=X.device)
        return windows[torch.arange(n, device=X.device), :, rows, columns].reshape(X.shape)


def check_augmentation(
    augmentation: Any, sample_shape: tuple[int, ...], image_shape: Any, clip_values: Any
) -> None:
    """Raise ValueError for what cannot be called, or shifts what are no images or out of range."""
    if not callable(augmentation):
        raise ValueError(
            "augmentation must be None, 'auto' or a callable of a batch and a torch.Generator, "
            f"such as RandomShift(1), got {augmentation!r}."
        )
    if not isinstance(augmentation, RandomShift):
        return
    bound = bound_augmentation(augmentation, image_shape)
    require_image_shape(sample_shape, bound.image_shape, "augmentation shifts images")
    if clip_values is not None:
        low, high = np.min(clip_values[0]), np.max(clip_values[1])
        if not low <= augmentation.fill <= high:
            raise ValueError(
                f"augmentation fills with {augmentation.fill:g}, outside "
                f"clip_values={clip_values}. Pass RandomShift(fill=...) with one inside."
            )


def bound_augmentation(augmentation: Any, image_shape: Any) -> Any:
    """Return the augmentation for a classifier whose images have that shape, if it does not say."""
    if isinstance(augmentation, RandomShift) and augmentation.image_shape is None:
        return replace(augmentation, image_shape=image_shape)
    return augmentation
