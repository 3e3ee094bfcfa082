"""Neural network classifiers that stay right when their input is perturbed."""

from sklearn_robust.neural_network import _target  # noqa: F401  registers the networks as targets
from sklearn_robust.neural_network._augmentation import RandomShift
from sklearn_robust.neural_network._averaging import EMA, SWA
from sklearn_robust.neural_network._base import BaseRobustClassifier
from sklearn_robust.neural_network._classifiers import (
    RobustCNNClassifier,
    RobustFCClassifier,
)
from sklearn_robust.neural_network._graphs import recordable
from sklearn_robust.neural_network._own_module import RobustNeuralNetClassifier
from sklearn_robust.neural_network._parallel import data_parallel
from sklearn_robust.neural_network._ramp import InputRamp
from sklearn_robust.neural_network._recipes import make_recipe
from sklearn_robust.neural_network._schedules import MultiStep, OneCycle, Ramp
from sklearn_robust.neural_network._shifts import ShiftAverage
from sklearn_robust.neural_network.objectives import (
    MART,
    TRADES,
    AdversarialCrossEntropy,
    AdversarialWeightPerturbation,
    AttackObjective,
    BatchLoss,
    CrownIntervalTraining,
    FastAdversarial,
    FreeAdversarial,
    IntervalTraining,
    MixedIntervalTraining,
    SmallBoxTraining,
    TrainingContext,
    TrainingObjective,
    interval_initialize,
)

__all__ = [
    "EMA",
    "MART",
    "SWA",
    "TRADES",
    "AdversarialCrossEntropy",
    "AdversarialWeightPerturbation",
    "AttackObjective",
    "BaseRobustClassifier",
    "BatchLoss",
    "CrownIntervalTraining",
    "FastAdversarial",
    "FreeAdversarial",
    "InputRamp",
    "IntervalTraining",
    "MixedIntervalTraining",
    "MultiStep",
    "OneCycle",
    "Ramp",
    "RandomShift",
    "RobustCNNClassifier",
    "RobustFCClassifier",
    "RobustNeuralNetClassifier",
    "ShiftAverage",
    "SmallBoxTraining",
    "TrainingContext",
    "TrainingObjective",
    "data_parallel",
    "interval_initialize",
    "make_recipe",
    "recordable",
]
