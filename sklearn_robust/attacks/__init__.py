"""How an adversary searches the threat model, and the one door through which it sees a model."""

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._losses import CrossEntropy, Margin
from sklearn_robust.attacks._model import LinearModel, TorchModel
from sklearn_robust.attacks._pgd import PGD

__all__ = ["PGD", "CrossEntropy", "LinearModel", "Margin", "ThreatModel", "TorchModel"]
