"""How an adversary searches the threat model, and the one door through which it sees a model."""

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._losses import DLR, CrossEntropy, Loss, Margin
from sklearn_robust.attacks._model import LinearModel, TorchModel
from sklearn_robust.attacks._pgd import FGSM, PGD

__all__ = [
    "DLR",
    "FGSM",
    "PGD",
    "CrossEntropy",
    "LinearModel",
    "Loss",
    "Margin",
    "ThreatModel",
    "TorchModel",
]
