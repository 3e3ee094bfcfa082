"""The rules of the hyperparameters that network classifiers share: each alone, and together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn_robust._images import check_image_shape, require_image_shape
from sklearn_robust._tabular import TabularThreat
from sklearn_robust._validation import (
    check_bool,
    check_epsilon,
    check_int,
    check_real,
    check_step_size,
)
from sklearn_robust.neural_network._augmentation import check_augmentation
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._batches import check_batch_size, check_class_weight
from sklearn_robust.neural_network._callbacks import check_callbacks
from sklearn_robust.neural_network._checkpoint import check_checkpoint
from sklearn_robust.neural_network._device import check_dtype, resolve_device
from sklearn_robust.neural_network._optimizers import check_optimizer, check_optimizer_params
from sklearn_robust.neural_network._plan import is_auto
from sklearn_robust.neural_network._preprocessing import check_preprocessor
from sklearn_robust.neural_network._ramp import check_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    resolve_schedule,
)
from sklearn_robust.neural_network.objectives import get_objective

Check = Callable[[Any, str], Any]


def integer(low: int) -> Check:
    """Return the check of an integer >= low."""
    return lambda value, name: check_int(value, name, low=low)


def real(**limits: Any) -> Check:
    """Return the check of a finite number within limits, as of `check_real`."""
    return lambda value, name: check_real(value, name, **limits)


def optional(check: Check) -> Check:
    """Return the check that lets None pass."""
    return lambda value, name: None if value is None else check(value, name)


def by_data(check: Check) -> Check:
    """Return the check that lets "auto" pass."""
    return lambda value, name: value if is_auto(value) else check(value, name)


# In the order in which a user is told of them.
RULES: dict[str, Check] = {
    "pgd_steps": integer(1),
    "max_epochs": by_data(integer(1)),
    "verbose": lambda value, name: isinstance(value, bool) or check_int(value, name, low=0),
    "lr": by_data(real(low=0, open_low=True)),
    "batch_size": by_data(check_batch_size),
    "optimizer": check_optimizer,
    "optimizer_params": check_optimizer_params,
    "image_shape": optional(lambda value, name: check_image_shape(value)),
    "preprocessor": optional(check_preprocessor),
    "training": lambda value, name: get_objective(value),
    "epsilon_schedule": lambda value, name: resolve_schedule(value, name, EPSILON_SCHEDULES),
    "lr_schedule": by_data(lambda value, name: resolve_schedule(value, name, LR_SCHEDULES)),
    "weight_averaging": optional(lambda value, name: resolve_averaging(value)),
    "input_ramp": optional(lambda value, name: check_ramp(value)),
    "shift_average": by_data(integer(0)),
    "max_grad_norm": optional(real(low=0, open_low=True)),
    "random_start": check_bool,
    "early_stopping": check_bool,
    "warm_start": check_bool,
    "cuda_graphs": check_bool,
    "class_weight": optional(check_class_weight),
}

# Of no meaning, and free, where early_stopping=False.
STOPPING_RULES: dict[str, Check] = {
    "validation_fraction": real(low=0, high=1, open_low=True, open_high=True),
    "n_iter_no_change": integer(1),
    "tol": real(),
}


def check_each(owner: Any, rules: dict[str, Check]) -> None:
    """Check the attributes of `owner` that have a rule."""
    for name, check in rules.items():
        check(getattr(owner, name), name)


def check_shared(classifier: Any) -> None:
    """Raise ValueError for a hyperparameter that breaks its rule, for the data that were read."""
    if not isinstance(classifier.epsilon, TabularThreat):
        check_epsilon(classifier.epsilon, classifier.n_features_in_)
    check_step_size(classifier.step_size, classifier.n_features_in_)
    check_each(classifier, RULES)
    if classifier.early_stopping:
        check_each(classifier, STOPPING_RULES)
    _check_front(classifier)
    check_callbacks(
        classifier.callbacks,
        validation=classifier.early_stopping,
        lr_schedule=classifier.lr_schedule,
    )
    if classifier.checkpoint is not None:
        check_checkpoint(classifier.checkpoint, classifier.random_state, classifier.warm_start)
    check_dtype(classifier.dtype, resolve_device(classifier.device))


def _check_front(classifier: Any) -> None:
    """Raise ValueError where what comes before the network does not suit the samples."""
    ramp = None if is_auto(classifier.input_ramp) else classifier.input_ramp
    if ramp is not None and classifier.preprocessor is not None:
        raise ValueError(
            "input_ramp works on X itself, and so does preprocessor. Pass one of them, or "
            "scale X and pass the knots of the ramp in its new units."
        )
    shape, declared = classifier.input_shape_, classifier.image_shape
    average = classifier.shift_average if classifier.preprocessor is None else 0  # or of its shape
    if average and not is_auto(average):
        require_image_shape(shape, declared, "shift_average shifts images")
    if classifier.augmentation is not None and not is_auto(classifier.augmentation):
        check_augmentation(classifier.augmentation, shape, declared, classifier.clip_values)


def check_partial(classifier: Any) -> None:
    """Raise ValueError for hyperparameters that need all the data, or all of the training."""
    if isinstance(classifier.class_weight, str):
        raise ValueError(
            f"class_weight={classifier.class_weight!r} needs all the data at once, which "
            "partial_fit does not see. Pass a dict, or sample_weight."
        )
    if classifier.early_stopping:
        raise ValueError(
            "early_stopping=True compares the epochs of one training, of which partial_fit "
            "sees one. Use fit, or early_stopping=False."
        )
    if classifier.weight_averaging is not None:
        raise ValueError(
            f"weight_averaging={classifier.weight_averaging!r} averages over one training, which "
            "partial_fit does not know the end of. Use fit, or weight_averaging=None."
        )
