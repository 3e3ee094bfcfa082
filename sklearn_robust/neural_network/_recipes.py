"""Named sets of hyperparameters that belong together."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_robust._validation import check_epsilon, check_option
from sklearn_robust.neural_network._augmentation import RandomShift
from sklearn_robust.neural_network._averaging import EMA
from sklearn_robust.neural_network._classifiers import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.neural_network._schedules import Ramp
from sklearn_robust.neural_network.objectives import AdversarialCrossEntropy, IntervalTraining

_ARCHITECTURES: dict[str, type] = {"cnn": RobustCNNClassifier, "fc": RobustFCClassifier}

# The knots of the ramp lie at this multiple of epsilon from the ends of the range.
_REACH = 1.1


# Two strided 4 x 4 convolutions and one hidden layer: at equal passes about a tenth of the cost of
# the report's network.
_SMALL = {"kernel_size": 4, "downsampling": "stride", "dropout": 0.0}
_NETWORKS: dict[tuple[str, str], dict[str, Any]] = {
    ("fast", "cnn"): {"filters": (16, 32), "hidden_layer_sizes": (100,), **_SMALL},
    ("strong", "cnn"): {"filters": (32, 64), "hidden_layer_sizes": (256,), **_SMALL},
    ("certified", "cnn"): {
        "filters": (64, 128),
        "hidden_layer_sizes": (512,),
        "max_epochs": 45,
        "lr": 2e-3,
        **_SMALL,
    },
    ("report", "cnn"): {},
    ("fast", "fc"): {"hidden_layer_sizes": (512, 512), "max_epochs": 15, "lr": 2e-3},
    ("strong", "fc"): {"hidden_layer_sizes": (512, 512)},
    ("certified", "fc"): {"hidden_layer_sizes": (1024, 512), "max_epochs": 60, "lr": 1e-3},
    ("report", "fc"): {},
}
_TRAININGS: dict[str, dict[str, Any]] = {
    "fast": {
        "training": AdversarialCrossEntropy(epsilon_factor=_REACH),
        "pgd_steps": 5,
        "max_epochs": 16,
        "lr": 5e-3,
        "lr_schedule": "one-cycle",
        "weight_averaging": EMA(0.999),
        "augmentation": RandomShift(1),
    },
    "strong": {
        "training": AdversarialCrossEntropy(epsilon_factor=_REACH),
        "pgd_steps": 10,
        "max_epochs": 30,
        "lr": 2e-3,
        "lr_schedule": "one-cycle",
        "weight_averaging": EMA(0.999),
        "augmentation": RandomShift(1),
    },
    "certified": {
        # Without the initialisation and the regulariser that networks without a ramp need.
        "training": IntervalTraining(
            kappa=0.0, epsilon_factor=_REACH, initialization=False, regularization=0.0
        ),
        "epsilon_schedule": Ramp(0.05, 0.35),
        "lr_schedule": "one-cycle",
        "max_grad_norm": 10.0,
        "augmentation": RandomShift(1),
        "shift_average": 1,
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


def _knots(epsilon: float, clip_values: Any) -> Any:
    """Return a ramp a little farther from the ends of the range than the adversary reaches."""
    if clip_values is None:
        return "fixed"
    low, high = (float(np.min(clip_values[0])), float(np.max(clip_values[1])))
    reach = _REACH * float(np.max(epsilon))
    if 2 * reach >= high - low:
        raise ValueError(
            f"epsilon must be less than {(high - low) / 2 / _REACH:.3g} for a recipe with a ramp, "
            f"whose knots lie {_REACH} epsilon from the ends of clip_values={clip_values}, got "
            f"{epsilon}. Pass input_ramp=None, or knots of your own."
        )
    return low + reach, high - reach


def make_recipe(
    name: str, architecture: str = "cnn", *, epsilon: float = 0.3, **parameters: Any
) -> Any:
    """Return an unfitted classifier whose hyperparameters belong together.

    The recipes are meant for images in [0, 1] whose values lie mostly near the ends of that range,
    such as MNIST: all but "report" put a ramp in front of the network with knots at 1.1 epsilon
    from the ends, see `sklearn_robust.neural_network.InputRamp`, and keep the adversary in [0, 1].

    Measured on MNIST at epsilon 0.3: "fast" has 93 % (CNN) and 92 % (FC) under the strongest
    attacks, "strong" 95 % (CNN) and 93 % (FC), "certified" 92 % (CNN) and 92 % (FC) proven, at 98 %
    and 97 % clean. The page "Robust training, measured" of the documentation has the table.

    Parameters
    ----------
    name : {"fast", "strong", "certified", "report"}
        "fast": PGD with 5 steps at 1.1 epsilon, a one-cycle learning rate, averaged weights, and
        images shifted by up to a pixel; 6 to 12 core-minutes for MNIST. "strong": the same with 10
        steps, 30 epochs, and a wider CNN; 41 (CNN, ``dtype="bfloat16"``) and 22 core-minutes (FC).
        "certified": interval training, for `sklearn_robust.metrics.certified_score`, predicting
        with the mean over shifts by a pixel; for MNIST 11 (FC) and 35 core-minutes (CNN) with
        ``dtype="bfloat16"``. "report": the protocol of the report, PGD with 100 steps of 0.01,
        without clipping; about 1,000 passes per image.
    architecture : {"cnn", "fc"}, default="cnn"
        A small strided CNN, or two hidden layers of 512 units (1024 and 512 for "certified"); the
        report's own for "report".
    epsilon : float, default=0.3
        Radius, below 0.45 where there is a ramp.
    **parameters
        Any other hyperparameter of the classifier, which replaces the recipe's.

    Returns
    -------
    classifier : RobustCNNClassifier or RobustFCClassifier
        Its ramp stays where this epsilon has put it: to compare radii, make a recipe for each, or
        search over ``epsilon`` and ``input_ramp`` together.

    Raises
    ------
    ValueError
        If the name or the architecture is unknown, or epsilon leaves no room for the ramp.

    Examples
    --------
    >>> from sklearn_robust.neural_network import make_recipe
    >>> clf = make_recipe("fast", "fc", random_state=0, max_epochs=1)
    >>> clf.hidden_layer_sizes, clf.pgd_steps, clf.max_epochs
    ((512, 512), 5, 1)
    """
    check_option(name, "name", _TRAININGS)
    check_option(architecture, "architecture", _ARCHITECTURES)
    check_epsilon(epsilon)
    chosen = {
        "epsilon": epsilon,
        "clip_values": (0.0, 1.0),
        **copy.deepcopy(_TRAININGS[name]),  # objectives can be changed
        **_NETWORKS[name, architecture],
        **parameters,
    }
    shift, clip_values = chosen.get("augmentation"), chosen["clip_values"]
    if "augmentation" not in parameters and shift is not None and clip_values is not None:
        chosen["augmentation"] = replace(shift, fill=float(np.min(clip_values[0])))
    if name != "report" and "input_ramp" not in chosen:
        chosen["input_ramp"] = _knots(epsilon, chosen["clip_values"])
    return _ARCHITECTURES[architecture](**chosen)
