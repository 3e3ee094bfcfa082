"""Classifiers that stay right when their input is perturbed, as scikit-learn estimators.

Public names are loaded on first use, so that ``import sklearn_robust`` costs little and torch is
imported only by those who touch a network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sklearn_robust._version import __version__

if TYPE_CHECKING:  # what type checkers and editors see
    from sklearn_robust import (
        attacks as attacks,
        bounds as bounds,
        datasets as datasets,
        inspection as inspection,
        linear_model as linear_model,
        metrics as metrics,
        neural_network as neural_network,
        preprocessing as preprocessing,
        targets as targets,
        trees as trees,
    )
    from sklearn_robust._adversarial_training import (
        AdversarialTrainingClassifier as AdversarialTrainingClassifier,
    )
    from sklearn_robust._norms import (
        Norm as Norm,
        get_norm as get_norm,
        register_norm as register_norm,
    )
    from sklearn_robust._show_versions import show_versions as show_versions
    from sklearn_robust._tabular import (
        Change as Change,
        Flip as Flip,
        TabularThreat as TabularThreat,
    )
    from sklearn_robust.datasets import (
        BernoulliGenerator as BernoulliGenerator,
        load_mnist as load_mnist,
        make_modified_bernoulli as make_modified_bernoulli,
    )
    from sklearn_robust.linear_model import (
        AdversarialLogisticRegression as AdversarialLogisticRegression,
        AdversarialLogisticRegressionCV as AdversarialLogisticRegressionCV,
        SampleMeanClassifier as SampleMeanClassifier,
        adversarial_logistic_path as adversarial_logistic_path,
        epsilon_max as epsilon_max,
    )
    from sklearn_robust.metrics import (
        BlackBoxWarning as BlackBoxWarning,
        adversarial_distance as adversarial_distance,
        certified_score as certified_score,
        evaluate_robustness as evaluate_robustness,
        input_gradients as input_gradients,
        make_robust_scorer as make_robust_scorer,
        perturb as perturb,
        robust_score as robust_score,
    )
    from sklearn_robust.neural_network import (
        RobustCNNClassifier as RobustCNNClassifier,
        RobustFCClassifier as RobustFCClassifier,
        RobustNeuralNetClassifier as RobustNeuralNetClassifier,
    )
    from sklearn_robust.targets import register_target as register_target

_PUBLIC = {
    "AdversarialLogisticRegression": "linear_model",
    "AdversarialLogisticRegressionCV": "linear_model",
    "AdversarialTrainingClassifier": "_adversarial_training",
    "BernoulliGenerator": "datasets",
    "BlackBoxWarning": "metrics",
    "Change": "_tabular",
    "Flip": "_tabular",
    "Norm": "_norms",
    "RobustCNNClassifier": "neural_network",
    "RobustFCClassifier": "neural_network",
    "RobustNeuralNetClassifier": "neural_network",
    "SampleMeanClassifier": "linear_model",
    "TabularThreat": "_tabular",
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
    "register_target": "targets",
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
    "targets",
    "trees",
)

__all__ = ["__version__", *sorted(_PUBLIC)]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _PUBLIC:
            return getattr(importlib.import_module(f"sklearn_robust.{_PUBLIC[name]}"), name)
        if name in _SUBPACKAGES:
            return importlib.import_module(f"sklearn_robust.{name}")
        raise AttributeError(f"module 'sklearn_robust' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
