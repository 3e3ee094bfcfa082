"""Named sets of hyperparameters that belong together."""

from __future__ import annotations

from typing import Any

from sklearn_robust._validation import check_option
from sklearn_robust.neural_network._averaging import EMA
from sklearn_robust.neural_network._classifiers import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.neural_network._schedules import Ramp
from sklearn_robust.neural_network.objectives import IntervalTraining

_ARCHITECTURES: dict[str, type] = {"cnn": RobustCNNClassifier, "fc": RobustFCClassifier}

# Two strided 4 x 4 convolutions and one hidden layer: at equal passes about a tenth of the cost of
# the report's network.
_SMALL = {"kernel_size": 4, "downsampling": "stride", "dropout": 0.0}
_NETWORKS: dict[tuple[str, str], dict[str, Any]] = {
    ("fast", "cnn"): {"filters": (16, 32), "hidden_layer_sizes": (100,), **_SMALL},
    ("strong", "cnn"): {"filters": (32, 64), "hidden_layer_sizes": (256,), **_SMALL},
    ("certified", "cnn"): {"filters": (32, 64), "hidden_layer_sizes": (256,), **_SMALL},
    ("report", "cnn"): {},
    ("fast", "fc"): {"hidden_layer_sizes": (512, 512)},
    ("strong", "fc"): {"hidden_layer_sizes": (512, 512)},
    ("certified", "fc"): {"hidden_layer_sizes": (512, 512)},
    ("report", "fc"): {},
}
_RAMPED = {"input_ramp": "fixed"}
_TRAININGS: dict[str, dict[str, Any]] = {
    "fast": {
        "training": "pgd",
        "pgd_steps": 5,
        "max_epochs": 5,
        "lr": 5e-3,
        "lr_schedule": "one-cycle",
        **_RAMPED,
    },
    "strong": {
        "training": "pgd",
        "pgd_steps": 10,
        "max_epochs": 30,
        "lr": 2e-3,
        "lr_schedule": "one-cycle",
        "weight_averaging": EMA(0.999),
        **_RAMPED,
    },
    "certified": {
        "training": IntervalTraining(kappa=0.0, initialization=False, regularization=0.0),
        "epsilon_schedule": Ramp(0.05, 0.35),
        "max_epochs": 40,
        "lr": 2e-3,
        "lr_schedule": "one-cycle",
        "max_grad_norm": 10.0,
        **_RAMPED,
    },
    "report": {
        "training": "pgd",
        "pgd_steps": 100,
        "step_size": 0.01,
        "batch_size": 64,
        "epsilon_schedule": "constant",
        "clip_values": None,
    },
}


def make_recipe(
    name: str, architecture: str = "cnn", *, epsilon: float = 0.3, **parameters: Any
) -> Any:
    """Return an unfitted classifier whose hyperparameters belong together.

    The recipes are meant for images in [0, 1] whose values lie mostly near the ends of that range,
    such as MNIST: all but "report" put a ramp in front of the network, see
    `sklearn_robust.neural_network.InputRamp`, and keep the adversary in [0, 1].

    Parameters
    ----------
    name : {"fast", "strong", "certified", "report"}
        "fast": 5 epochs of PGD with 5 steps under a one-cycle learning rate. "strong": 30 epochs
        with 10 steps and averaged weights. "certified": 40 epochs of interval training, for
        `sklearn_robust.metrics.certified_score`. "report": the protocol of the report, PGD with
        100 steps of 0.01, without clipping; about 1,000 passes per image.
    architecture : {"cnn", "fc"}, default="cnn"
        A small strided CNN or two hidden layers of 512 units; the report's own for "report".
    epsilon : float, default=0.3
        Radius, below 0.5 where there is a ramp.
    **parameters
        Any other hyperparameter of the classifier, which replaces the recipe's.

    Returns
    -------
    classifier : RobustCNNClassifier or RobustFCClassifier

    Examples
    --------
    >>> from sklearn_robust.neural_network import make_recipe
    >>> clf = make_recipe("fast", "fc", random_state=0, max_epochs=1)
    >>> clf.hidden_layer_sizes, clf.input_ramp, clf.max_epochs
    ((512, 512), 'fixed', 1)
    """
    check_option(name, "name", _TRAININGS)
    check_option(architecture, "architecture", _ARCHITECTURES)
    chosen = {
        "epsilon": epsilon,
        "clip_values": (0.0, 1.0),
        **_NETWORKS[name, architecture],
        **_TRAININGS[name],
        **parameters,
    }
    return _ARCHITECTURES[architecture](**chosen)
