"""Neural network classifiers that stay right when their input is perturbed."""

from sklearn_robust.neural_network._classifiers import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
)

__all__ = ["RobustCNNClassifier", "RobustFCClassifier", "RobustNeuralNetClassifier"]
