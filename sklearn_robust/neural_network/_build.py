"""From hyperparameters and data to a torch module, and the skorch net that trains it."""

from __future__ import annotations

import copy
import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from sklearn_robust._validation import draw_seed
from sklearn_robust.attacks import PGD
from sklearn_robust.attacks._model import as_predicting
from sklearn_robust.neural_network._augmentation import RandomShift, image_size
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._callbacks import (
    CheckpointWriter,
    EarlyStopping,
    default_callbacks,
)
from sklearn_robust.neural_network._inference import NetworkInference
from sklearn_robust.neural_network._modules import Rescale
from sklearn_robust.neural_network._net import RobustNet
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._precision import (
    warn_of_resolution,
    warn_of_speed,
    weight_dtype,
)
from sklearn_robust.neural_network._preprocessing import fit_preprocessor
from sklearn_robust.neural_network._ramp import make_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    constant,
    resolve_schedule,
)
from sklearn_robust.neural_network._setup import OPTIMIZERS, own_randomness, resolve_device
from sklearn_robust.neural_network._shifts import ShiftAverage, network_alone
from sklearn_robust.neural_network.objectives import get_objective


class NetworkConstruction(NetworkInference, ABC):
    """The part of a network classifier that makes what is trained."""

    # Whether the library draws the weights, so that an objective may draw others instead.
    _draws_weights = True

    @abstractmethod
    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        """Return a fresh module from a batch of samples of that shape, as floats, to logits."""

    def _start(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        classes: np.ndarray,
        *,
        keep_module: bool,
    ) -> None:
        """Build module and net; the random numbers of the whole fit come from `random_state`."""
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got one class: "
                f"{classes.tolist()}."
            )
        seed = team().seed(draw_seed(self.random_state))
        seeds = np.random.SeedSequence(seed).generate_state(3).tolist()
        device = resolve_device(self.device)
        warn_of_speed(self.dtype, device)
        if self.preprocessor is None and self.input_ramp is None:  # which see X with all bits
            warn_of_resolution(self.dtype, self._threat(), X)
        generator = torch.Generator().manual_seed(seeds[0])
        self.classes_ = classes
        weights = self._weights(y, weight)
        self._mean_weight = float(weights[weights > 0].mean()) if weights.any() else 1.0
        objective = get_objective(self.training).bound_to(self._attack())
        if not keep_module:
            layers, shape = self._make_front(X, y, weight)
            with own_randomness(seeds[1], device):
                network = self._make_network(generator, shape)
            if self._draws_weights:
                objective.initialize(network, generator)
            network = self._averaged(network, shape)
            self.module_ = torch.nn.Sequential(*layers, network) if layers else network
        self.module_.to(device, weight_dtype(self.dtype))
        team().copy_first(self.module_)
        self._check_logits(X[:1])
        with network_alone(self.module_):
            objective.check(self.module_, self._model().asarray(X[:1]), self._threat())
        self.net_ = self._make_net(device).configure(
            objective=objective,
            threat=self._threat(),
            schedule=constant
            if keep_module
            else resolve_schedule(self.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES),
            dtype=self.dtype,
            lr_schedule=resolve_schedule(self.lr_schedule, "lr_schedule", LR_SCHEDULES),
            max_grad_norm=self.max_grad_norm,
            averaging=copy.deepcopy(resolve_averaging(self.weight_averaging)),
            augmentation=self._shift()
            if isinstance(self.augmentation, RandomShift)
            else self.augmentation,
            planned_epochs=self.max_epochs,
            generator=generator,
            noise=torch.Generator(device).manual_seed(team().own_seed(seeds[2])),
        )

    def _make_front(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[list[torch.nn.Module], tuple[int, ...]]:
        """Return the layers before the network, and the shape of a sample behind them."""
        if self.input_ramp is not None:
            return [make_ramp(self.input_ramp, self._threat(), X)], self.input_shape_
        if self.preprocessor is None:
            factor = self.input_factor_
            return ([] if factor == 1 else [Rescale(factor)]), self.input_shape_
        self.preprocessor_, layers, width = fit_preprocessor(self.preprocessor, X, y, weight)
        shape = self.input_shape_ if width == self.n_features_in_ else (width,)
        return [torch.nn.Flatten(), *layers, torch.nn.Unflatten(1, shape)], shape

    def _averaged(self, network: torch.nn.Module, shape: tuple[int, ...]) -> torch.nn.Module:
        """Return the network, as the mean over shifts if that is asked for."""
        if not self.shift_average:
            return network
        height, width = image_size(shape, getattr(self, "image_shape", None))
        channels = math.prod(shape) // (height * width)
        return ShiftAverage(network, self.shift_average, image_shape=(channels, height, width))

    def _check_logits(self, X: np.ndarray) -> None:
        """Raise ValueError if the module does not map a sample to one logit per class.

        Tried as it trains and as it predicts, in float64.
        """
        one = f"on a batch of shape {X.shape}, one sample in the shape that X has"
        logits = self._tried(X, None, one)
        if not torch.is_tensor(logits) or logits.shape != (len(X), len(self.classes_)):
            found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
            raise ValueError(
                "module must map a batch of shape (n_samples, "
                f"{', '.join(map(str, self.input_shape_))}) to logits of shape (n_samples, "
                f"{len(self.classes_)}), got {found} for one sample."
            )
        self._tried(
            X,
            torch.float64,
            "in float64, in which predictions are computed",
            " Let it keep the precision of its input: no casts such as x.float().",
        )
        # Rounding in float32 is some 1e-7 for each term; logits that sum to 1 by chance are rare.
        if (logits >= 0).all() and abs(float(logits.sum()) - 1) < 1e-5:
            warnings.warn(
                "module seems to end in softmax: its output for a sample sums to 1. The loss takes "
                "logits, and hardly learns from probabilities. Leave the softmax out.",
                UserWarning,
                stacklevel=4,
            )

    def _tried(self, X: np.ndarray, dtype: torch.dtype | None, where: str, remedy: str = "") -> Any:
        """Return what the module makes of X; raise ValueError if it fails, or changes X."""
        try:
            model = self._model(dtype)
            given = model.asarray(X).clone()
            # Not `model.logits`, which hands the module a copy and refuses other outputs itself.
            with as_predicting(model.module), torch.no_grad():
                logits = model.module(given)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"module fails {where}: {error}.{remedy}") from error
        # torch counts changes in place; rectifiers make them without changing positive values.
        if given._version:
            raise ValueError(
                "module changes its input in place, which may be the caller's X. Let it compute "
                "x = x - 3 instead of x -= 3, and build its first layers with inplace=False."
            )
        return logits

    def _make_net(self, device: torch.device) -> RobustNet:
        optimizer = self.optimizer
        if not callable(optimizer):
            fused = OPTIMIZERS[optimizer]
            # torch refuses to be both.
            optimizer = fused.func if "foreach" in (self.optimizer_params or {}) else fused
        verbose = self.verbose if team().rank == 0 else 0
        callbacks = default_callbacks(verbose, validation=self.early_stopping)
        if self.early_stopping:
            callbacks.append(("early_stopping", EarlyStopping(self.n_iter_no_change, self.tol)))
        net = RobustNet(
            self.module_,
            criterion=torch.nn.CrossEntropyLoss,
            optimizer=optimizer,
            lr=self.lr,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            train_split=None,
            device=device,
            verbose=0,
            callbacks=[
                *callbacks,
                *(copy.deepcopy(self.callbacks) or []),
                ("checkpoint", CheckpointWriter()),
            ],
            **{f"optimizer__{k}": v for k, v in (self.optimizer_params or {}).items()},
        )
        return net.initialize()

    def _attack(self) -> PGD:
        return PGD(self.pgd_steps, self.step_size, random_start=self.random_start)
