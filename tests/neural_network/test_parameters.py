"""Hyperparameters that network classifiers share: one list, spelt out to whoever asks."""

import inspect
import pickle
from typing import get_type_hints

import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.neural_network import BaseRobustClassifier
from sklearn_robust.neural_network._parameters import NetworkParameters, SharedParameters

CLASSES = (BaseRobustClassifier, RobustFCClassifier, RobustCNNClassifier, RobustNeuralNetClassifier)
SHARED = [
    name
    for name, parameter in inspect.signature(NetworkParameters).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
]


class Linear(BaseRobustClassifier):
    """One layer, as a user would add it.

    Parameters
    ----------
    bias : bool, default=True
    {parameters}
    """

    def __init__(self, bias=True, *, epsilon=0.2, **shared):
        super().__init__(epsilon=epsilon, **shared)
        self.bias = bias

    def _make_network(self, generator, shape):
        return torch.nn.Linear(*shape, len(self.classes_), self.bias)


class Wide(RobustFCClassifier):
    def __init__(self, width=8, **shared):
        super().__init__(**shared)
        self.width = width


def test_types_for_editors_are_those_of_the_constructor():
    hints = get_type_hints(NetworkParameters.__init__)
    assert get_type_hints(SharedParameters) == {name: hints[name] for name in SHARED}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_parameter_is_in_signature_and_docstring(cls):
    parameters = inspect.signature(cls).parameters
    assert list(parameters)[-len(SHARED) :] == SHARED
    kinds = {parameter.kind for parameter in parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    described = inspect.getdoc(cls).split("\nAttributes\n")[0]
    for name in parameters:
        assert f"\n{name} : " in described


def test_a_subclass_spells_out_what_it_inherits():
    linear = inspect.signature(Linear).parameters
    assert list(linear) == ["bias", "epsilon", *(n for n in SHARED if n != "epsilon")]
    assert linear["epsilon"].default == 0.2
    assert linear["lr"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "\nepsilon : float, array of shape" in inspect.getdoc(Linear)
    wide = inspect.signature(Wide).parameters
    assert set(wide) == {"width", *inspect.signature(RobustFCClassifier).parameters}
    assert wide["hidden_layer_sizes"].kind is inspect.Parameter.KEYWORD_ONLY


def test_a_subclass_is_an_estimator():
    X, y = load_digits(return_X_y=True)
    settings = {"epsilon": 0.5, "bias": False, "max_epochs": 20, "random_state": 0}
    clf = clone(Linear(**settings))
    assert {name: clf.get_params()[name] for name in settings} == settings
    assert repr(clf) == "Linear(bias=False, epsilon=0.5, max_epochs=20, random_state=0)"
    clf = pickle.loads(pickle.dumps(clf.set_params(lr=5e-3).fit(X, y)))
    assert clf.module_.bias is None
    # A linear classifier separates these digits almost perfectly without an adversary.
    assert clf.score(X, y) > 0.9
    assert clone(Wide(hidden_layer_sizes=(4,))).hidden_layer_sizes == (4,)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("epsilom", "Did you mean 'epsilon'?"),
        ("pgd_step", "Did you mean 'pgd_steps'?"),
        ("zzz", "It has augmentation, batch_norm"),
    ],
)
def test_a_misspelt_parameter_is_named_with_what_was_meant(name, remedy):
    with pytest.raises(TypeError) as caught:
        RobustFCClassifier(**{name: 1})
    assert str(caught.value).startswith(f"RobustFCClassifier has no parameter {name!r}. {remedy}")
