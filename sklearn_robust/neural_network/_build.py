"""From hyperparameters and data to a torch module, and the skorch net that trains it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_robust._images import require_image_shape
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._callbacks import training_callbacks
from sklearn_robust.neural_network._modules import Rescale
from sklearn_robust.neural_network._net import RobustNet
from sklearn_robust.neural_network._optimizers import resolve_optimizer
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._plan import TrainingPlan, is_auto, shift_average
from sklearn_robust.neural_network._preprocessing import fit_preprocessor
from sklearn_robust.neural_network._ramp import make_ramp
from sklearn_robust.neural_network._ramp_choice import choose_ramp, describe_knots
from sklearn_robust.neural_network._shifts import ShiftAverage
from sklearn_robust.neural_network.objectives import TrainingObjective


def make_front(
    classifier: Any,
    objective: TrainingObjective,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
) -> tuple[list[nn.Module], tuple[int, ...], Any]:
    """Return the layers before the network, a sample's shape behind them, the transformer."""
    shape = classifier.input_shape_
    classifier.input_ramp_ = front_ramp(classifier, objective, X)
    if classifier.input_ramp_ is not None:
        classifier.input_factor_ = 1.0  # the knots are in the units of X
        return [make_ramp(classifier.input_ramp_, classifier._threat(), X)], shape, None
    if classifier.preprocessor is None:
        factor = classifier.input_factor_
        return ([] if factor == 1 else [Rescale(factor)]), shape, None
    transformer, layers, width = fit_preprocessor(classifier.preprocessor, X, y, weight)
    if width != classifier.n_features_in_:
        shape = (width,)
    return [nn.Flatten(), *layers, nn.Unflatten(1, shape)], shape, transformer


def front_ramp(classifier: Any, objective: TrainingObjective, X: np.ndarray) -> Any:
    """Return the ramp of this training, as `make_ramp` takes it; "auto" asks the data."""
    if not is_auto(classifier.input_ramp):
        return classifier.input_ramp
    if classifier.preprocessor is not None or not objective.sees_through_ramps:
        return None
    knots = choose_ramp(classifier._threat(), X)
    if classifier.verbose and team().rank == 0:
        print(f"input_ramp: {describe_knots(knots)}", flush=True)
    return knots


def join(classifier: Any, front: list[nn.Module], network: nn.Module, shape: Any) -> nn.Module:
    """Return the network behind its front, as the mean over shifts if that is asked for."""
    pixels = shift_average(classifier)
    if pixels:
        image = require_image_shape(shape, classifier.image_shape, "shift_average shifts images")
        network = ShiftAverage(network, pixels, image_shape=image)
    return nn.Sequential(*front, network) if front else network


def make_net(
    classifier: Any,
    objective: TrainingObjective,
    generator: torch.Generator,
    noise: torch.Generator,
    *,
    dtype: str,
    plan: TrainingPlan,
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
    plan : TrainingPlan
    """
    return _plain_net(classifier, noise.device, plan).configure(
        objective=objective,
        threat=classifier._threat(),
        schedule=plan.epsilon_schedule,
        dtype=dtype,
        lr_schedule=plan.lr_schedule,
        max_grad_norm=classifier.max_grad_norm,
        averaging=None
        if classifier.weight_averaging is None
        else resolve_averaging(classifier.weight_averaging),
        augmentation=plan.augmentation,
        planned_epochs=plan.epochs,
        generator=generator,
        noise=noise,
    )


def _plain_net(classifier: Any, device: torch.device, plan: TrainingPlan) -> RobustNet:
    """Return the net as skorch makes it."""
    params = classifier.optimizer_params or {}
    net = RobustNet(
        classifier.module_,
        criterion=nn.CrossEntropyLoss,
        optimizer=resolve_optimizer(classifier.optimizer, params, classifier.module_),
        lr=plan.lr,
        batch_size=plan.batch_size,
        max_epochs=plan.epochs,
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
