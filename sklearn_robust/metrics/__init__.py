"""Numbers about robustness and about input gradients."""

from sklearn_robust.metrics._gradients import input_gradients
from sklearn_robust.metrics._robust import make_robust_scorer, robust_score

__all__ = ["input_gradients", "make_robust_scorer", "robust_score"]
