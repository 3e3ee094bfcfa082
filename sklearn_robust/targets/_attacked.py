"""What an attack has left of the samples of a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel


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


def refuse_beside_budget(threat: ThreatModel, attack: Any) -> None:
    """Raise ValueError for an attack where there is a budget, which none of them knows."""
    if threat.has_budget:
        raise only_auto(attack)


def only_auto(attack: Any) -> ValueError:
    """Return the error for an attack where categories flip or there is a budget."""
    return ValueError(
        f"attack must be 'auto' beside a Flip or a budget, got {attack!r}: attacks move numbers in "
        "boxes and balls, and the answer is known without them."
    )
