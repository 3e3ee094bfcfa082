"""Linear classifiers that are trained against an adversary, and the classifier of Theorem 1."""

from sklearn_robust.linear_model._sample_mean import SampleMeanClassifier

__all__ = ["SampleMeanClassifier"]
