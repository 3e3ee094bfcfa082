"""The hyperparameters that network classifiers share: names, types, defaults, meaning, rules."""

from __future__ import annotations

import difflib
import inspect
import os
from dataclasses import replace
from numbers import Integral
from typing import Any, TypedDict

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_robust._validation import (
    check_bool,
    check_epsilon,
    check_int,
    check_option,
    check_real,
    check_step_size,
)
from sklearn_robust.neural_network._augmentation import (
    RandomShift,
    check_augmentation,
    image_size,
)
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._callbacks import check_callbacks
from sklearn_robust.neural_network._descriptions import SECTIONS
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._precision import check_dtype
from sklearn_robust.neural_network._ramp import check_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    resolve_schedule,
)
from sklearn_robust.neural_network._setup import OPTIMIZERS, resolve_device
from sklearn_robust.neural_network.objectives import get_objective


class SharedParameters(TypedDict, total=False):
    """Types of `NetworkParameters`, for editors and type checkers to know ``**shared`` by."""

    epsilon: Any
    norm: str
    pgd_steps: int
    step_size: Any
    random_start: bool
    clip_values: Any
    preprocessor: Any
    training: Any
    epsilon_schedule: Any
    max_epochs: int
    batch_size: int
    optimizer: Any
    optimizer_params: dict[str, Any] | None
    lr: float
    lr_schedule: Any
    max_grad_norm: float | None
    weight_averaging: Any
    augmentation: Any
    class_weight: Any
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    warm_start: bool
    checkpoint: Any
    callbacks: Any
    dtype: str
    device: Any
    cuda_graphs: bool
    random_state: Any
    verbose: int


class NetworkParameters(BaseEstimator):
    """Stores and checks the hyperparameters that all network classifiers share.

    A subclass with hyperparameters of its own names those, and takes these as ``**shared``. To
    everyone who asks for the signature of its constructor, as scikit-learn does, all are spelt out;
    ``{parameters}`` in its docstring becomes their description.
    """

    # Not shared: who passes a module can put a ramp into it, and a mean around it.
    input_ramp: Any = None
    shift_average: int = 0

    def __init__(
        self,
        *,
        epsilon: Any = 0.1,
        norm: str = "linf",
        pgd_steps: int = 10,
        step_size: Any = None,
        random_start: bool = True,
        clip_values: Any = None,
        preprocessor: Any = None,
        training: Any = "pgd",
        epsilon_schedule: Any = "ramp",
        max_epochs: int = 10,
        batch_size: int = 128,
        optimizer: Any = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule: Any = "constant",
        max_grad_norm: float | None = None,
        weight_averaging: Any = None,
        augmentation: Any = None,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        warm_start: bool = False,
        checkpoint: Any = None,
        callbacks: Any = None,
        dtype: str = "float32",
        device: Any = "auto",
        cuda_graphs: bool = True,
        random_state: Any = None,
        verbose: int = 0,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(_unknown_parameter(self, next(iter(unknown))))
        self.epsilon = epsilon
        self.norm = norm
        self.pgd_steps = pgd_steps
        self.step_size = step_size
        self.random_start = random_start
        self.clip_values = clip_values
        self.preprocessor = preprocessor
        self.training = training
        self.epsilon_schedule = epsilon_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.max_grad_norm = max_grad_norm
        self.weight_averaging = weight_averaging
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.dtype = dtype
        self.device = device
        self.cuda_graphs = cuda_graphs
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            _spell_out_shared(cls)
        for name, text in SECTIONS.items():
            cls.__doc__ = (cls.__doc__ or "").replace("{" + name + "}", text)

    def _check_parameters(self) -> None:
        check_epsilon(self.epsilon, self.n_features_in_)
        check_step_size(self.step_size, self.n_features_in_)
        check_int(self.pgd_steps, "pgd_steps", low=1)
        check_int(self.max_epochs, "max_epochs", low=1)
        if not isinstance(self.verbose, bool):
            check_int(self.verbose, "verbose", low=0)
        check_real(self.lr, "lr", low=0, open_low=True)
        self._check_batch_size()
        if not callable(self.optimizer):
            check_option(self.optimizer, "optimizer", OPTIMIZERS)
        if not isinstance(self.optimizer_params, dict | None):
            raise ValueError(
                "optimizer_params must be None or a dict, such as {'weight_decay': 1e-4}, got "
                f"{self.optimizer_params!r}."
            )
        transformer = self.preprocessor
        if transformer is not None and (
            isinstance(transformer, type) or not hasattr(transformer, "transform")
        ):
            raise ValueError(
                "preprocessor must be None or a transformer, such as StandardScaler(), got "
                f"{transformer!r}."
            )
        get_objective(self.training)
        resolve_schedule(self.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES)
        resolve_schedule(self.lr_schedule, "lr_schedule", LR_SCHEDULES)
        resolve_averaging(self.weight_averaging)
        if check_ramp(self.input_ramp) is not None and self.preprocessor is not None:
            raise ValueError(
                "input_ramp works on X itself, and so does preprocessor. Pass one of them, or "
                "scale X and pass the knots of the ramp in its new units."
            )
        if check_int(self.shift_average, "shift_average", low=0) and self.preprocessor is None:
            image_size(self.input_shape_, getattr(self, "image_shape", None), "shift_average")
        self._check_augmentation()
        if self.max_grad_norm is not None:
            check_real(self.max_grad_norm, "max_grad_norm", low=0, open_low=True)
        if self.checkpoint is not None:
            self._check_checkpoint()
        for name in ("random_start", "early_stopping", "warm_start", "cuda_graphs"):
            check_bool(getattr(self, name), name)
        if self.early_stopping:
            check_real(
                self.validation_fraction,
                "validation_fraction",
                low=0,
                high=1,
                open_low=True,
                open_high=True,
            )
            check_int(self.n_iter_no_change, "n_iter_no_change", low=1)
            check_real(self.tol, "tol")
        self._check_class_weight()
        check_callbacks(self.callbacks, validation=self.early_stopping)
        check_dtype(self.dtype, resolve_device(self.device))

    def _check_batch_size(self) -> None:
        size = self.batch_size
        whole = isinstance(size, Integral) and not isinstance(size, bool)
        if not whole or (size < 1 and size != -1):
            raise ValueError(
                f"batch_size must be an integer >= 1, or -1 for all samples at once, got {size!r}."
            )

    def _check_augmentation(self) -> None:
        if not isinstance(check_augmentation(self.augmentation), RandomShift):
            return
        image_size(self.input_shape_, self._shift().image_shape)
        if self.clip_values is not None:
            low, high = (np.min(self.clip_values[0]), np.max(self.clip_values[1]))
            if not low <= self.augmentation.fill <= high:
                raise ValueError(
                    f"augmentation fills with {self.augmentation.fill:g}, outside "
                    f"clip_values={self.clip_values}. Pass RandomShift(fill=...) with one inside."
                )

    def _shift(self) -> RandomShift:
        """Return the `RandomShift` of the hyperparameters for images of the classifier's shape."""
        ours = getattr(self, "image_shape", None)
        shape = ours if self.augmentation.image_shape is None else self.augmentation.image_shape
        return replace(self.augmentation, image_shape=shape)

    def _check_class_weight(self) -> None:
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                check_real(weight, f"class_weight[{label!r}]", low=0)
        elif self.class_weight is not None and (
            not isinstance(self.class_weight, str) or self.class_weight != "balanced"
        ):
            raise ValueError(
                "class_weight must be None, 'balanced' or a dict from label to weight, got "
                f"{self.class_weight!r}."
            )

    def _check_checkpoint(self) -> None:
        if not isinstance(self.checkpoint, str | os.PathLike):
            raise ValueError(
                f"checkpoint must be None or the path of a folder, got {self.checkpoint!r}."
            )
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, Integral):
            raise ValueError(
                "checkpoint needs an integer random_state, or a resumed fit would split and "
                f"shuffle the data in another way, got random_state={self.random_state!r}."
            )
        if team().size > 1:
            raise ValueError(
                "checkpoint is not available under data_parallel: one process's file does not "
                "hold the random states of the others. Pass checkpoint=None."
            )
        if self.warm_start:
            raise ValueError(
                "checkpoint needs warm_start=False: the file does not know the weights that a "
                "warm start began with."
            )


def _without_unknown() -> inspect.Signature:
    """Return the signature of the shared parameters without what catches misspelt ones."""
    signature = inspect.signature(NetworkParameters.__init__)
    *known, _ = signature.parameters.values()
    return signature.replace(parameters=known)


NetworkParameters.__init__.__signature__ = _without_unknown()  # type: ignore[attr-defined]


def _spell_out_shared(cls: type) -> None:
    """Replace ``**shared`` in the signature of a constructor by the parameters of the parent's."""
    constructor: Any = vars(cls)["__init__"]
    signature = inspect.signature(constructor)
    *own, last = signature.parameters.values()
    if last.kind is not inspect.Parameter.VAR_KEYWORD:
        return
    inherited = inspect.signature(super(cls, cls).__init__).parameters  # type: ignore[arg-type]
    shared = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inherited.items()
        if name not in signature.parameters
    ]
    constructor.__signature__ = signature.replace(parameters=[*own, *shared])


def _unknown_parameter(classifier: NetworkParameters, name: str) -> str:
    known = classifier._get_param_names()
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."
    return f"{type(classifier).__name__} has no parameter {name!r}. {remedy}"
