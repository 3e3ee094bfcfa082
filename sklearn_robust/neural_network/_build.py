"""From hyperparameters and data to a torch module, and the skorch net that trains it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_robust._images import require_image_shape
from sklearn_robust.neural_network._augmentation import bound_augmentation
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._callbacks import training_callbacks
from sklearn_robust.neural_network._modules import Rescale
from sklearn_robust.neural_network._net import RobustNet
from sklearn_robust.neural_network._optimizers import resolve_optimizer
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._preprocessing import fit_preprocessor
from sklearn_robust.neural_network._ramp import make_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    constant,
    resolve_schedule,
)
from sklearn_robust.neural_network._shifts import ShiftAverage
from sklearn_robust.neural_network.objectives import TrainingObjective


def make_front(
    classifier: Any, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
) -> tuple[list[nn.Module], tuple[int, ...], Any]:
    """Return the layers before the network, a sample's shape behind them, the transformer."""
    shape = classifier.input_shape_
    if classifier.input_ramp is not None:
        return [make_ramp(classifier.input_ramp, classifier._threat(), X)], shape, None
    if classifier.preprocessor is None:
        factor = classifier.input_factor_
        return ([] if factor == 1 else [Rescale(factor)]), shape, None
    transformer, layers, width = fit_preprocessor(classifier.preprocessor, X, y, weight)
    if width != classifier.n_features_in_:
        shape = (width,)
    return [nn.Flatten(), *layers, nn.Unflatten(1, shape)], shape, transformer


def join(classifier: Any, front: list[nn.Module], network: nn.Module, shape: Any) -> nn.Module:
    """Return the network behind its front, as the mean over shifts if that is asked for."""
    if classifier.shift_average:
        image = require_image_shape(shape, classifier.image_shape, "shift_average shifts images")
        network = ShiftAverage(network, classifier.shift_average, image_shape=image)
    return nn.Sequential(*front, network) if front else network


def make_net(
    classifier: Any,
    objective: TrainingObjective,
    generator: torch.Generator,
    noise: torch.Generator,
    *,
    dtype: str,
    at_full_epsilon: bool,
) -> RobustNet:
    """Return the net that trains the classifier's module.

    Parameters
    ----------
    classifier : BaseRobustClassifier
        With its module.
    objective : TrainingObjective
    generator, noise : torch.Generator
        As in `RobustNet.configure`.
    dtype : str
        The precision of training.
    at_full_epsilon : bool
        Whether to leave out the schedule of epsilon: weights that were trained go on from there.
    """
    epsilon_schedule: Any = constant
    if not at_full_epsilon:
        epsilon_schedule = resolve_schedule(
            classifier.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES
        )
    return _plain_net(classifier, noise.device).configure(
        objective=objective,
        threat=classifier._threat(),
        schedule=epsilon_schedule,
        dtype=dtype,
        lr_schedule=resolve_schedule(classifier.lr_schedule, "lr_schedule", LR_SCHEDULES),
        max_grad_norm=classifier.max_grad_norm,
        averaging=None
        if classifier.weight_averaging is None
        else resolve_averaging(classifier.weight_averaging),
        augmentation=None
        if classifier.augmentation is None
        else bound_augmentation(classifier.augmentation, classifier.image_shape),
        planned_epochs=classifier.max_epochs,
        generator=generator,
        noise=noise,
    )


def _plain_net(classifier: Any, device: torch.device) -> RobustNet:
    """Return the net as skorch makes it."""
    params = classifier.optimizer_params or {}
    net = RobustNet(
        classifier.module_,
        criterion=nn.CrossEntropyLoss,
        optimizer=resolve_optimizer(classifier.optimizer, params, classifier.module_),
        lr=classifier.lr,
        batch_size=classifier.batch_size,
        max_epochs=classifier.max_epochs,
        train_split=None,
        device=device,
        verbose=0,
        callbacks=training_callbacks(
            classifier.callbacks,
            classifier.verbose if team().rank == 0 else 0,
            (classifier.n_iter_no_change, classifier.tol) if classifier.early_stopping else None,
        ),
        **{f"optimizer__{name}": value for name, value in params.items()},
    )
    return net.initialize()
