"""Trainings that end in a constant output: how they are noticed, and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_robust._warnings import warn_user
from sklearn_robust.neural_network._parallel import team

if TYPE_CHECKING:
    from sklearn_robust.neural_network._net import RobustNet


def largest_share(counts: torch.Tensor) -> float:
    """Return the share of the class predicted most often, given how often each was."""
    counts = counts.double()
    team().average([counts])
    return float(counts.max() / counts.sum())


def has_collapsed(net: RobustNet, y: np.ndarray, weight: np.ndarray | None) -> bool:
    """Return whether a training, not interrupted, ended with one of several classes for all."""
    _, counts = np.unique(y if weight is None else y[weight > 0], return_counts=True)
    if net.interrupted or counts.max() >= 0.99 * counts.sum():
        return False
    return net.history[-1, "largest_share_predicted"] >= 0.999


def warn_of_collapse(remedy: str) -> None:
    """Say that training has collapsed, and what is done or may be done about it."""
    warn_user(
        "The network predicts one class for every training sample: training has collapsed to a "
        f"constant output. {remedy}",
        ConvergenceWarning,
    )
