"""Classifiers that stay right when their input is perturbed, as scikit-learn estimators.

Public names are loaded on first use, so that ``import sklearn_robust`` costs little and torch is
imported only by those who touch a network.
"""

from __future__ import annotations

import importlib
from typing import Any

from sklearn_robust._version import __version__

_PUBLIC = {
    "AdversarialLogisticRegression": "linear_model",
    "AdversarialLogisticRegressionCV": "linear_model",
    "BernoulliGenerator": "datasets",
    "BlackBoxWarning": "metrics",
    "Norm": "_norms",
    "RobustCNNClassifier": "neural_network",
    "RobustFCClassifier": "neural_network",
    "RobustNeuralNetClassifier": "neural_network",
    "SampleMeanClassifier": "linear_model",
    "adversarial_distance": "metrics",
    "adversarial_logistic_path": "linear_model",
    "certified_score": "metrics",
    "epsilon_max": "linear_model",
    "evaluate_robustness": "metrics",
    "get_norm": "_norms",
    "input_gradients": "metrics",
    "load_mnist": "datasets",
    "make_modified_bernoulli": "datasets",
    "make_robust_scorer": "metrics",
    "perturb": "metrics",
    "register_norm": "_norms",
    "robust_score": "metrics",
    "show_versions": "_show_versions",
}
_SUBPACKAGES = (
    "attacks",
    "bounds",
    "datasets",
    "inspection",
    "linear_model",
    "metrics",
    "neural_network",
    "preprocessing",
)

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"sklearn_robust.{_PUBLIC[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"sklearn_robust.{name}")
    raise AttributeError(f"module 'sklearn_robust' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
