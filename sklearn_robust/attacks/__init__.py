"""How an adversary searches the threat model, and what it sees of a model on its way."""

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._apgd import APGD
from sklearn_robust.attacks._batched import BatchedSearch
from sklearn_robust.attacks._direct import DirectAttack
from sklearn_robust.attacks._diverse import DiversePGD
from sklearn_robust.attacks._ensemble import AttackEnsemble, get_attack
from sklearn_robust.attacks._evaluate import evaluate, predictor
from sklearn_robust.attacks._fgsm import FGSM
from sklearn_robust.attacks._losses import (
    DLR,
    CrossEntropy,
    ExactCrossEntropy as ExactCrossEntropy,
    Loss,
    Margin,
    TargetedCrossEntropy as TargetedCrossEntropy,
    TargetedDLR as TargetedDLR,
    TargetedMargin as TargetedMargin,
    is_right as is_right,
    pick as pick,
    without as without,
)
from sklearn_robust.attacks._masked import WhereMasked
from sklearn_robust.attacks._minimum_norm import FMN, nearest_mistakes
from sklearn_robust.attacks._model import (
    DifferentiableModel,
    LinearModel,
    Model,
    TorchModel,
    is_search as is_search,
)
from sklearn_robust.attacks._module_state import (
    as_predicting as as_predicting,
    copied as copied,
    is_in_precision as is_in_precision,
    same_buffers as same_buffers,
    to_precision as to_precision,
)
from sklearn_robust.attacks._pgd import PGD
from sklearn_robust.attacks._scores import ScoreModel
from sklearn_robust.attacks._search import Move as Move
from sklearn_robust.attacks._square import Square
from sklearn_robust.attacks._towards import reaching as reaching, towards as towards
from sklearn_robust.attacks._verdict import (
    Attack,
    AttackRecord,
    GradientMaskingWarning,
    Predict,
    Verdict,
)

# The names that are imported "as" themselves serve the packages above, and are not public.
__all__ = [
    "APGD",
    "DLR",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AttackEnsemble",
    "AttackRecord",
    "BatchedSearch",
    "CrossEntropy",
    "DifferentiableModel",
    "DirectAttack",
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
