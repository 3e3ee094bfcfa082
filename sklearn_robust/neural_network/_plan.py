"""How a training runs: its length, rates and batches, where "auto" leaves them to the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from skorch.callbacks import LRScheduler

from sklearn_robust._images import image_shape
from sklearn_robust.neural_network._augmentation import RandomShift, bound_augmentation
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    Ramp,
    Schedule,
    constant,
    resolve_schedule,
)

# A training has about so many steps of the optimizer, in a number of epochs between these.
STEPS, EPOCHS = 900, (16, 60)
# A batch is a tenth of the samples, between these.
BATCHES, BATCH_SIZES = 10, (32, 128)
# Peak of the rate in one cycle, and the rate otherwise.
LR_CYCLE, LR = 5e-3, 1e-3
# `partial_fit` does not know how often it will be called.
_CALLS = 10
# A training that has collapsed is repeated with so much of the rate, and a longer rise of epsilon.
_GENTLER_RATE, _GENTLER_RAMP = 0.2, Ramp(0.0, 0.7)
# A pixel is much of a smaller image: digits of 8 x 8 train worse with shifts.
_LEAST_SIDE = 16
# One of fewer steps is constant because it has hardly begun.
_FEWEST_STEPS = 50


@dataclass(frozen=True)
class TrainingPlan:
    """What a training does with the hyperparameters of a classifier and with its data.

    Attributes
    ----------
    epochs, batch_size : int
    lr : float
    lr_schedule, epsilon_schedule : callable
        Progress in [0, 1] -> factor.
    augmentation : callable or None
    repeats : bool
        Whether it is for another try after a training that collapsed.
    """

    epochs: int
    batch_size: int
    lr: float
    lr_schedule: Schedule
    epsilon_schedule: Schedule
    augmentation: Any
    repeats: bool = False

    def has_steps(self, n_samples: int) -> bool:
        """Return whether a training is long enough to collapse, and not merely to have begun."""
        return self.epochs * steps_of_epoch(n_samples, self.batch_size) >= _FEWEST_STEPS

    def gentler(self) -> TrainingPlan:
        """Return the plan for another try after a training that collapsed."""
        rate = _GENTLER_RATE * self.lr
        return replace(self, lr=rate, epsilon_schedule=_GENTLER_RAMP, repeats=True)

    def at_full_epsilon(self) -> TrainingPlan:
        """Return the plan for weights that were trained already and go on from there."""
        return replace(self, epsilon_schedule=constant)


def is_auto(value: Any) -> bool:
    """Return whether a hyperparameter is left to the data."""
    return isinstance(value, str) and value == "auto"


def make_plan(classifier: Any, X: np.ndarray, *, whole: bool) -> TrainingPlan:
    """Return the plan of `fit`, or of calls of `partial_fit` if X is not the `whole` data."""
    size = batch_size(classifier.batch_size, len(X))
    schedule = lr_schedule(classifier, whole=whole)
    return TrainingPlan(
        epochs=epochs(classifier.max_epochs, len(X), size) if whole else _calls(classifier),
        batch_size=size,
        lr=learning_rate(classifier, schedule),
        lr_schedule=schedule,
        epsilon_schedule=resolve_schedule(
            classifier.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES
        ),
        augmentation=augmentation(classifier, X),
    )


def batch_size(size: Any, n_samples: int) -> int:
    """Return the samples of a batch: by "auto" a tenth of all, but from 32 to 128."""
    if not is_auto(size):
        return size
    return int(np.clip(n_samples // BATCHES, *BATCH_SIZES))


def epochs(max_epochs: Any, n_samples: int, batch_size: int) -> int:
    """Return the epochs of a fit: by "auto" those of 900 steps, but from 16 to 60."""
    if not is_auto(max_epochs):
        return max_epochs
    steps = steps_of_epoch(n_samples, batch_size)
    return int(np.clip(math.ceil(STEPS / steps), *EPOCHS))


def steps_of_epoch(n_samples: int, batch_size: int) -> int:
    """Return the batches that an epoch has, of so many samples each; -1: one of all."""
    return 1 if batch_size == -1 else math.ceil(n_samples / batch_size)


def _calls(classifier: Any) -> int:
    return _CALLS if is_auto(classifier.max_epochs) else classifier.max_epochs


def lr_schedule(classifier: Any, *, whole: bool) -> Schedule:
    """Return the schedule of the rate: by "auto" one cycle in `fit`, if no callback sets it."""
    if not is_auto(classifier.lr_schedule):
        return resolve_schedule(classifier.lr_schedule, "lr_schedule", LR_SCHEDULES)
    parts = [item[1] if isinstance(item, tuple) else item for item in classifier.callbacks or []]
    own = any(part is LRScheduler or isinstance(part, LRScheduler) for part in parts)
    return LR_SCHEDULES["one-cycle"] if whole and not own else constant


def learning_rate(classifier: Any, schedule: Schedule) -> float:
    """Return the rate: by "auto" the larger one for fresh weights of the library in one cycle."""
    if not is_auto(classifier.lr):
        return classifier.lr
    return LR_CYCLE if schedule == LR_SCHEDULES["one-cycle"] and classifier._draws_weights else LR


def augmentation(classifier: Any, X: np.ndarray) -> Any:
    """Return the augmentation: by "auto" shifts by a pixel where samples are images."""
    chosen = classifier.augmentation
    if is_auto(chosen):
        if not shifts_images(classifier):
            return None
        clip_values = classifier.clip_values
        fill = X.min() if clip_values is None else np.min(clip_values[0])
        chosen = RandomShift(1, fill=float(fill))
    return bound_augmentation(chosen, classifier.image_shape)


def shift_average(classifier: Any) -> int:
    """Return the pixels of the mean over shifts: by "auto" one where samples are images."""
    if not is_auto(classifier.shift_average):
        return classifier.shift_average
    return int(shifts_images(classifier))


def shifts_images(classifier: Any) -> bool:
    """Return whether "auto" shifts the samples: images, passed or declared so, of 16 x 16 at least.

    A convolutional network reads rows as images, so they are some to it; to others, rows are rows.
    """
    shape, declared = classifier.input_shape_, classifier.image_shape
    rows = len(shape) == 1 and declared is None and not classifier.reads_images
    if rows or classifier.preprocessor is not None:
        return False
    image = image_shape(shape, declared)
    return image is not None and min(image[1:]) >= _LEAST_SIDE
