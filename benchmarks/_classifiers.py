"""Every classifier of scikit-learn, and those of other libraries that are installed, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

# Classifiers of several labels at once, which have no robust accuracy here.
_OF_MANY_LABELS = ("ClassifierChain", "MultiOutputClassifier")
_COUNTS = ("MultinomialNB", "ComplementNB", "CategoricalNB")
FRONTS = ("bare", "scaled")

# What a constructor needs, or what keeps it quiet; members are linear unless the name says more.
_ARGUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "CalibratedClassifierCV": lambda: {"estimator": LinearSVC()},
    "OneVsRestClassifier": lambda: {"estimator": LogisticRegression(max_iter=1000)},
    "OneVsOneClassifier": lambda: {"estimator": LogisticRegression(max_iter=1000)},
    "OutputCodeClassifier": lambda: {"estimator": LogisticRegression(max_iter=1000)},
    "FixedThresholdClassifier": lambda: {"estimator": LogisticRegression(max_iter=1000)},
    "TunedThresholdClassifierCV": lambda: {"estimator": LogisticRegression(max_iter=1000)},
    "SelfTrainingClassifier": lambda: {"estimator": GaussianNB()},
    "VotingClassifier": lambda: {"estimators": _pair(), "voting": "soft"},
    "StackingClassifier": lambda: {"estimators": _pair()},
    "DummyClassifier": lambda: {"strategy": "prior"},
    "QuadraticDiscriminantAnalysis": lambda: {"reg_param": 0.01},  # features may be collinear
    "MLPClassifier": lambda: {"hidden_layer_sizes": (16,), "max_iter": 300},
    "RandomForestClassifier": lambda: {"n_estimators": 30},
    "ExtraTreesClassifier": lambda: {"n_estimators": 30},
    "RadiusNeighborsClassifier": lambda: {"radius": 3.0, "outlier_label": "most_frequent"},
    "NuSVC": lambda: {"nu": 0.2},
    "LogisticRegression": lambda: {"max_iter": 1000},
    "LogisticRegressionCV": lambda: {"max_iter": 1000, "Cs": 3, "cv": 3},
}


def _pair() -> list[tuple[str, Any]]:
    return [("linear", LogisticRegression(max_iter=1000)), ("bayes", GaussianNB())]


def names() -> list[str]:
    """Return the names of all classifiers, those of scikit-learn first."""
    own = [name for name, _ in all_estimators("classifier") if name not in _OF_MANY_LABELS]
    return [*own, *_FURTHER, *(name for name, package, _ in _FOREIGN if find_spec(package))]


def make(name: str, front: str, seed: int) -> Any:
    """Return a classifier of that name, bare or behind a scaler."""
    if name == "torch module":  # which stands in no pipeline by itself
        return (_ModuleOf if front == "bare" else _Adopted)(_skorch(seed))
    classifier = _make(name, seed)
    if front == "bare":
        return classifier
    return make_pipeline(MinMaxScaler() if name in _COUNTS else StandardScaler(), classifier)


def _make(name: str, seed: int) -> Any:
    if name in _FURTHER:
        return _FURTHER[name]()
    for known, _, maker in _FOREIGN:
        if known == name:
            return maker(seed)
    cls = dict(all_estimators("classifier"))[name]
    estimator = cls(**_ARGUMENTS.get(name, dict)())
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=seed)
    return estimator


def _taxicab(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).sum())


def _perceptron(activation: str) -> MLPClassifier:
    return MLPClassifier((16,), activation=activation, max_iter=300, random_state=0)


_FURTHER: dict[str, Callable[[], Any]] = {
    "VotingClassifier of labels": lambda: VotingClassifier(_pair()),
    "VotingClassifier with a tree": lambda: VotingClassifier(
        [*_pair(), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))], voting="soft"
    ),
    "StackingClassifier of trees": lambda: StackingClassifier(
        [("tree", DecisionTreeClassifier(max_depth=3, random_state=0)), ("bayes", GaussianNB())]
    ),
    **{
        f"MLPClassifier ({activation})": partial(_perceptron, activation)
        for activation in ("identity", "logistic", "tanh")
    },
    "VotingClassifier of networks": lambda: VotingClassifier(
        [("relu", _perceptron("relu")), ("tanh", _perceptron("tanh"))], voting="soft"
    ),
    "KNeighborsClassifier with a function": lambda: KNeighborsClassifier(metric=_taxicab),
}


def _xgboost(seed: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=20, max_depth=4, random_state=seed, n_jobs=1)


def _lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=20, random_state=seed, n_jobs=1, verbose=-1)


def _imblearn(seed: int) -> Any:
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline as sampled

    return sampled(RandomOverSampler(random_state=seed), LogisticRegression(max_iter=1000))


def _skorch(seed: int) -> Any:
    import torch
    from skorch import NeuralNetClassifier
    from torch import nn

    torch.manual_seed(seed)
    return NeuralNetClassifier(
        nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.Linear(16, 3)),
        criterion=nn.CrossEntropyLoss, max_epochs=30, lr=0.05, verbose=0, train_split=None,
    )  # fmt: skip


class _ModuleOf:
    """Trains a network and gives its module away, for which `fit` returns what it trained."""

    def __init__(self, net: Any) -> None:
        self.net = net

    def fit(self, X: np.ndarray, y: np.ndarray) -> Any:
        """Return the trained module, behind a layer that scales."""
        from torch import nn

        mean, spread = X.mean(axis=0), X.std(axis=0)
        module = self.net.fit((X - mean) / spread, y).module_
        scale = nn.Linear(X.shape[1], X.shape[1]).requires_grad_(False)
        scale.weight.copy_(scale.weight.new_tensor(np.diag(1 / spread)))
        scale.bias.copy_(scale.bias.new_tensor(-mean / spread))
        return nn.Sequential(scale, module).eval()


class _Adopted(_ModuleOf):
    """The same inside an estimator of this library."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Any:
        """Return the trained module as a fitted classifier."""
        from sklearn_robust import RobustNeuralNetClassifier

        module = super().fit(X, y)
        return RobustNeuralNetClassifier.from_module(
            module, input_shape=X.shape[1], classes=np.arange(3)
        )


def predictor(classifier: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return what predicts labels, of a torch module too."""
    if hasattr(classifier, "predict"):
        return classifier.predict
    import torch

    def predict(X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return classifier(torch.as_tensor(X)).argmax(1).numpy()

    return predict


_FOREIGN: list[tuple[str, str, Callable[[int], Any]]] = [
    ("XGBClassifier", "xgboost", _xgboost),
    ("LGBMClassifier", "lightgbm", _lightgbm),
    ("imbalanced-learn pipeline", "imblearn", _imblearn),
    ("skorch NeuralNetClassifier", "skorch", _skorch),
    ("torch module", "skorch", _skorch),
]
