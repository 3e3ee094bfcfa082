"""How an adversary searches the threat model, and what it sees of a model on its way."""

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._apgd import APGD
from sklearn_robust.attacks._diverse import DiversePGD
from sklearn_robust.attacks._ensemble import AttackEnsemble, get_attack
from sklearn_robust.attacks._evaluate import evaluate, predictor
from sklearn_robust.attacks._fgsm import FGSM
from sklearn_robust.attacks._losses import DLR, CrossEntropy, Loss, Margin
from sklearn_robust.attacks._masked import WhereMasked
from sklearn_robust.attacks._minimum_norm import FMN, nearest_mistakes
from sklearn_robust.attacks._model import DifferentiableModel, LinearModel, Model, TorchModel
from sklearn_robust.attacks._pgd import PGD
from sklearn_robust.attacks._scores import ScoreModel
from sklearn_robust.attacks._square import Square
from sklearn_robust.attacks._verdict import (
    Attack,
    AttackRecord,
    GradientMaskingWarning,
    Predict,
    Verdict,
)

__all__ = [
    "APGD",
    "DLR",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AttackEnsemble",
    "AttackRecord",
    "CrossEntropy",
    "DifferentiableModel",
    "DiversePGD",
    "GradientMaskingWarning",
    "LinearModel",
    "Loss",
    "Margin",
    "Model",
    "Predict",
    "ScoreModel",
    "Square",
    "ThreatModel",
    "TorchModel",
    "Verdict",
    "WhereMasked",
    "evaluate",
    "get_attack",
    "nearest_mistakes",
    "predictor",
]
