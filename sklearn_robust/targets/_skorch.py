"""The classifiers of skorch as targets: what they apply to their module's output to predict."""

from __future__ import annotations

from typing import Any

from skorch.classifier import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

from sklearn_robust.targets._foreign import ForeignTarget, foreign_target
from sklearn_robust.targets._subject import Subject

# What leads from samples to predictions; a subclass may do something of its own in it.
_PREDICTING = (
    *("predict", "predict_proba", "forward_iter", "evaluation_step", "infer"),
    *("get_dataset", "get_iterator", "_get_predict_nonlinearity"),
)


def family_of(subject: Subject) -> ForeignTarget:
    """Return the target of a net: with an output for each class, or with one and a threshold."""
    net = subject.classifier
    binary = isinstance(net, NeuralNetBinaryClassifier)
    return foreign_target(
        subject,
        net.module_,
        indices=True,
        obstacle=_obstacle(net, NeuralNetBinaryClassifier if binary else NeuralNetClassifier),
        threshold=float(net.threshold) if binary else 0.5,
        squashed=_squashes(net),
    )


def _squashes(net: Any) -> bool:
    """Return whether a single output goes through a sigmoid to become a probability."""
    asked = net.predict_nonlinearity == "auto"
    return asked and isinstance(getattr(net, "criterion_", None), nn.BCEWithLogitsLoss)


def _obstacle(net: Any, known: type) -> str | None:
    """Return why the module's output may not be what decides, None if it is."""
    name = type(net).__name__
    if callable(net.predict_nonlinearity):
        return f"{name} predicts through a predict_nonlinearity of its own."
    for method in _PREDICTING:
        if getattr(type(net), method) is not getattr(known, method):
            return f"{name} predicts in its own way: it has a method {method}."
    return None
