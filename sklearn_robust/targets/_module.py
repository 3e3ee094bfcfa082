"""A torch module that nobody has wrapped, as a classifier of the labels 0 to n_classes - 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn

from sklearn_robust.attacks import TorchModel
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets._endings import as_logits
from sklearn_robust.targets._foreign import ForeignTarget, foreign_target, read_array, some_of
from sklearn_robust.targets._subject import Subject


class ModuleClassifier(ClassifierMixin, BaseEstimator):
    """A trained module that predicts, in its own precision.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch to a score for each class, or to one number for each sample of two classes.
    X : array-like of shape (n_samples, ...)
        Samples as it takes them, on which it is tried what it ends in.

    Raises
    ------
    TypeError
        If it is no classifier on these samples.
    """

    def __init__(self, module: nn.Module, X: Any) -> None:
        self.module = module
        try:
            given = TorchModel(module, 0).asarray(some_of(read_array(X)))
            self.logits_ = as_logits(module, given)
        except (CannotFollowError, RuntimeError, TypeError) as error:
            raise TypeError(
                f"{type(module).__name__} does not classify X: {error} Pass X as the module takes "
                "it, or an estimator: RobustNeuralNetClassifier.from_module makes one."
            ) from error

    def predict(self, X: Any) -> np.ndarray:
        """Return the index of the largest score of each sample."""
        model = TorchModel(self.logits_, self.logits_.n_classes)
        return model.logits(model.asarray(X)).argmax(1).cpu().numpy()


def family_of(subject: Subject) -> ForeignTarget:
    """Return the target of a module on its own input."""
    return foreign_target(subject, subject.classifier.module, indices=True)
