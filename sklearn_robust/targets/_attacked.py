"""What an attack has left of the samples of a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Attacked:
    """Which samples survive an attack.

    Attributes
    ----------
    robust : bool ndarray of shape (n_samples,)
        Right as they are, and at every point that was tried.
    broken_by : dict of str to int
        How many samples each attack broke first.
    kind : {"exact", "white box", "black box"}
        Whether `robust` is the truth, or what an attack along gradients or thresholds, or through
        scores alone, has left of it.
    """

    robust: np.ndarray
    broken_by: dict[str, int]
    kind: str
