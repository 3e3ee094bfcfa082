"""Numbers about robustness and about input gradients."""

from sklearn_robust.metrics._certified import certified_score
from sklearn_robust.metrics._distance import adversarial_distance
from sklearn_robust.metrics._evaluation import BlackBoxWarning
from sklearn_robust.metrics._gradients import input_gradients
from sklearn_robust.metrics._perturb import perturb
from sklearn_robust.metrics._report import RobustnessReport, evaluate_robustness
from sklearn_robust.metrics._robust import make_robust_scorer, robust_score

__all__ = [
    "BlackBoxWarning",
    "RobustnessReport",
    "adversarial_distance",
    "certified_score",
    "evaluate_robustness",
    "input_gradients",
    "make_robust_scorer",
    "perturb",
    "robust_score",
]
