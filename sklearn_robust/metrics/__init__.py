"""Numbers about robustness and about input gradients."""

from sklearn_robust.metrics._certified import certified_score
from sklearn_robust.metrics._diagnostics import Finding
from sklearn_robust.metrics._distance import adversarial_distance
from sklearn_robust.metrics._evaluate_robustness import evaluate_robustness
from sklearn_robust.metrics._gradient_measures import (
    effective_complexity,
    gini_sparsity,
    gradient_alignment,
    gradient_smoothness,
    ink_energy,
)
from sklearn_robust.metrics._gradient_quality import GradientQuality, gradient_quality
from sklearn_robust.metrics._report import RadiusResult, RobustnessReport
from sklearn_robust.metrics._scorer import make_robust_scorer
from sklearn_robust.targets import BlackBoxWarning, input_gradients, perturb, robust_score

__all__ = [
    "BlackBoxWarning",
    "Finding",
    "GradientQuality",
    "RadiusResult",
    "RobustnessReport",
    "adversarial_distance",
    "certified_score",
    "effective_complexity",
    "evaluate_robustness",
    "gini_sparsity",
    "gradient_alignment",
    "gradient_quality",
    "gradient_smoothness",
    "ink_energy",
    "input_gradients",
    "make_robust_scorer",
    "perturb",
    "robust_score",
]
