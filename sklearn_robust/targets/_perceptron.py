"""scikit-learn's MLPClassifier as a torch module: followed by its gradients, proven by bounds."""

from __future__ import annotations

import itertools

import torch
from sklearn.neural_network import MLPClassifier
from torch import nn

from sklearn_robust.targets._foreign import ForeignTarget, foreign_target
from sklearn_robust.targets._subject import Subject

_ACTIVATIONS = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def family_of(subject: Subject) -> ForeignTarget | None:
    """Return the target of a perceptron for one label a sample, as its layers compute it."""
    perceptron = subject.classifier
    n_classes = len(perceptron.classes_)
    if perceptron.n_outputs_ != (1 if n_classes == 2 else n_classes) or n_classes < 2:
        return None
    if perceptron.out_activation_ != ("logistic" if n_classes == 2 else "softmax"):
        return None  # several labels for a sample
    return foreign_target(
        subject, _as_module(perceptron), indices=False, table=True, threshold=0.5, squashed=True
    )


def _as_module(perceptron: MLPClassifier) -> nn.Sequential:
    """Return the layers up to the scores, in the precision of the weights."""
    layers: list[nn.Module] = []
    for weight, bias in zip(perceptron.coefs_, perceptron.intercepts_, strict=True):
        layer = nn.utils.skip_init(nn.Linear, *weight.shape, dtype=torch.as_tensor(weight).dtype)
        layer.weight = nn.Parameter(torch.tensor(weight.T.copy()), requires_grad=False)
        layer.bias = nn.Parameter(torch.tensor(bias), requires_grad=False)
        layers.append(layer)
    between = (_ACTIVATIONS[perceptron.activation]() for _ in layers)
    both = itertools.chain.from_iterable(zip(layers, between, strict=True))
    return nn.Sequential(*list(both)[:-1])
