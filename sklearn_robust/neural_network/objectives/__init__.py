"""Training methods: what a network classifier minimises over a batch, one file for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sklearn_robust.neural_network.objectives._attacked import AttackObjective
from sklearn_robust.neural_network.objectives._awp import AdversarialWeightPerturbation
from sklearn_robust.neural_network.objectives._base import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    count_right,
    cross_entropy,
)
from sklearn_robust.neural_network.objectives._fast import FastAdversarial
from sklearn_robust.neural_network.objectives._free import FreeAdversarial
from sklearn_robust.neural_network.objectives._hybrid import (
    MixedIntervalTraining,
    SmallBoxTraining,
)
from sklearn_robust.neural_network.objectives._interval import (
    CrownIntervalTraining,
    IntervalTraining,
)
from sklearn_robust.neural_network.objectives._interval_initialize import interval_initialize
from sklearn_robust.neural_network.objectives._mart import MART
from sklearn_robust.neural_network.objectives._pgd import AdversarialCrossEntropy
from sklearn_robust.neural_network.objectives._trades import TRADES

__all__ = [
    "MART",
    "TRADES",
    "AdversarialCrossEntropy",
    "AdversarialWeightPerturbation",
    "AttackObjective",
    "BatchLoss",
    "CrownIntervalTraining",
    "FastAdversarial",
    "FreeAdversarial",
    "IntervalTraining",
    "MixedIntervalTraining",
    "SmallBoxTraining",
    "TrainingContext",
    "TrainingObjective",
    "count_right",
    "cross_entropy",
    "get_objective",
    "interval_initialize",
]

# "auto": what won over data sets and radii in `python -m benchmarks defaults`.
OBJECTIVES: dict[str, Callable[[], TrainingObjective]] = {
    "auto": partial(AdversarialCrossEntropy, epsilon_factor=1.1),
    "pgd": AdversarialCrossEntropy,
    "fgsm": FastAdversarial,
    "free": FreeAdversarial,
    "trades": TRADES,
    "mart": MART,
    "ibp": IntervalTraining,
    "crown-ibp": CrownIntervalTraining,
    "sabr": SmallBoxTraining,
    "mtl-ibp": MixedIntervalTraining,
}


def get_objective(training: str | Any) -> TrainingObjective:
    """Return the objective of that name with its defaults, or `training` itself if it is one."""
    if isinstance(training, str) and training in OBJECTIVES:
        return OBJECTIVES[training]()
    if isinstance(training, TrainingObjective):
        return training
    raise ValueError(
        f"training must be one of {', '.join(map(repr, OBJECTIVES))} or a TrainingObjective, got "
        f"{training!r}."
    )
