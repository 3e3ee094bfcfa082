"""Linear models trained on the worst case of every sample."""

from sklearn_robust.linear_model._cv import AdversarialLogisticRegressionCV
from sklearn_robust.linear_model._epsilon_max import epsilon_max
from sklearn_robust.linear_model._logistic import AdversarialLogisticRegression
from sklearn_robust.linear_model._path import AdversarialPath, adversarial_logistic_path
from sklearn_robust.linear_model._sample_mean import SampleMeanClassifier

__all__ = [
    "AdversarialLogisticRegression",
    "AdversarialLogisticRegressionCV",
    "AdversarialPath",
    "SampleMeanClassifier",
    "adversarial_logistic_path",
    "epsilon_max",
]
