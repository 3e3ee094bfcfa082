"""Pictures of models and of their robustness, as scikit-learn style displays."""

from sklearn_robust.inspection._curve import RobustnessCurve, RobustnessCurveDisplay
from sklearn_robust.inspection._examples import AdversarialExamplesDisplay
from sklearn_robust.inspection._gradients import InputGradientDisplay
from sklearn_robust.inspection._threshold import ThresholdDisplay
from sklearn_robust.inspection._weights import WeightDisplay

__all__ = [
    "AdversarialExamplesDisplay",
    "InputGradientDisplay",
    "RobustnessCurve",
    "RobustnessCurveDisplay",
    "ThresholdDisplay",
    "WeightDisplay",
]
