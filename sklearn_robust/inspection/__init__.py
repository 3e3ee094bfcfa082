"""Pictures of models and of their robustness, as scikit-learn style displays."""

from sklearn_robust.inspection._gradients import InputGradientDisplay

__all__ = ["InputGradientDisplay"]
