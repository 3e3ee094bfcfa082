"""The scikit-learn side of a robust network: parameters, data and labels in, predictions out.

The estimator is a plain BaseEstimator; `fit` builds a torch module and a skorch net around it.
"""

from __future__ import annotations

import copy
import os
import warnings
from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from sklearn_robust._validation import (
    check_epsilon,
    check_int,
    check_option,
    check_real,
    check_step_size,
    draw_seed,
)
from sklearn_robust.attacks import PGD
from sklearn_robust.neural_network._augmentation import check_augmentation
from sklearn_robust.neural_network._averaging import resolve_averaging
from sklearn_robust.neural_network._callbacks import (
    CheckpointWriter,
    EarlyStopping,
    default_callbacks,
)
from sklearn_robust.neural_network._checkpoint import Checkpoint, fingerprint
from sklearn_robust.neural_network._inference import NetworkInference
from sklearn_robust.neural_network._modules import Rescale
from sklearn_robust.neural_network._net import Batch, RobustNet
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._preprocessing import fit_preprocessor
from sklearn_robust.neural_network._ramp import check_ramp, make_ramp
from sklearn_robust.neural_network._schedules import (
    EPSILON_SCHEDULES,
    LR_SCHEDULES,
    constant,
    resolve_schedule,
)
from sklearn_robust.neural_network._setup import (
    OPTIMIZERS,
    available,
    own_randomness,
    resolve_device,
)
from sklearn_robust.neural_network.objectives import get_objective


class BaseRobustClassifier(ClassifierMixin, NetworkInference, ABC):
    """Everything the network classifiers share; a subclass says how its module is made."""

    # Hyperparameters, stored by the subclasses' explicit constructors.
    training: Any
    input_ramp: Any = None
    preprocessor: Any
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
    device: str
    random_state: Any
    verbose: int

    # Whether the library draws the weights, so that an objective may draw others instead.
    _draws_weights = True

    @abstractmethod
    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        """Return a fresh module from a batch of samples of that shape, as floats, to logits."""

    # Fitting -----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseRobustClassifier:
        """Train on (X, y) for `max_epochs` epochs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, h, w) or (n_samples, c, h, w)
            Float or uint8; in the units of `epsilon`. uint8 is divided by 255 inside the model.
        y : array-like of shape (n_samples,)
            Labels of any kind.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a hyperparameter or the data break their rule; nothing is trained then.
        FloatingPointError
            If the loss becomes NaN or infinite. The model has the weights of the last finished
            epoch and can be used.
        """
        warm = self.warm_start and hasattr(self, "module_")
        X, y, weight = self._read_training_data(X, y, sample_weight, reset=not warm)
        self._check_parameters()
        if warm and not np.array_equal(np.unique(y), self.classes_):
            raise ValueError(
                "warm_start=True needs the classes of the first fit, "
                f"{self.classes_.tolist()}, got {np.unique(y).tolist()}."
            )
        self._start(X, y, weight, np.unique(y), keep_module=warm)
        data, valid = self._split(X, y, weight)
        self._train(data, valid, self.max_epochs, self._checkpoint(X, y, weight))
        self._warn_if_constant(data)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> BaseRobustClassifier:
        """Train for one epoch on (X, y), going on from where the model is.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like of shape (n_classes,), optional
            All labels that will ever be seen; needed in the first call if `y` lacks some.

        Returns
        -------
        self : object
        """
        first = not hasattr(self, "module_")
        X, y, weight = self._read_training_data(X, y, sample_weight, reset=first)
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all the data at once, which partial_fit "
                "does not see. Pass a dict, or sample_weight."
            )
        if self.weight_averaging is not None:
            raise ValueError(
                f"weight_averaging={self.weight_averaging!r} averages over one training, which "
                "partial_fit does not know the end of. Use fit, or weight_averaging=None."
            )
        if first:
            self._check_parameters()
            known = np.unique(y if classes is None else classes)
            self._start(X, y, weight, known, keep_module=False)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                "classes must be those of the first call to partial_fit, "
                f"{self.classes_.tolist()}, got {np.unique(classes).tolist()}."
            )
        self._train(self._batch(X, y, weight), None, 1)
        return self

    def _check_parameters(self) -> None:
        check_epsilon(self.epsilon, self.n_features_in_)
        check_step_size(self.step_size, self.n_features_in_)
        check_int(self.pgd_steps, "pgd_steps", low=1)
        check_int(self.max_epochs, "max_epochs", low=1)
        check_int(self.verbose, "verbose", low=0)
        check_real(self.lr, "lr", low=0, open_low=True)
        check_option(self.dtype, "dtype", ("float32", "float64"))
        if self.batch_size != -1:
            check_int(self.batch_size, "batch_size", low=1)
        if not callable(self.optimizer):
            check_option(self.optimizer, "optimizer", OPTIMIZERS)
        get_objective(self.training)
        resolve_schedule(self.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES)
        resolve_schedule(self.lr_schedule, "lr_schedule", LR_SCHEDULES)
        resolve_averaging(self.weight_averaging)
        check_augmentation(self.augmentation)
        if check_ramp(self.input_ramp) is not None and self.preprocessor is not None:
            raise ValueError(
                "input_ramp works on X itself, and so does preprocessor. Pass one of them, or "
                "scale X and pass the knots of the ramp in its new units."
            )
        if self.max_grad_norm is not None:
            check_real(self.max_grad_norm, "max_grad_norm", low=0, open_low=True)
        if self.checkpoint is not None:
            self._check_checkpoint()
        if self.early_stopping:
            check_real(self.validation_fraction, "validation_fraction", low=0, open_low=True)
            check_int(self.n_iter_no_change, "n_iter_no_change", low=1)
        resolve_device(self.device)

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

    def _read_training_data(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return checked samples in their own shape, labels, and weights."""
        bytes_in = getattr(X, "dtype", None) == np.uint8
        X, y, shape = self._validated(X, y, reset=reset)
        check_classification_targets(y)
        if reset:
            self.input_shape_ = shape
            plain = self.preprocessor is None and self.input_ramp is None
            self.input_factor_ = 1 / 255 if bytes_in and plain else 1.0
            if bytes_in and 0 < np.max(self.epsilon) < 1:
                warnings.warn(
                    f"epsilon={self.epsilon} on uint8 data is less than one grey level of 255. "
                    "Pass epsilon in grey levels, or X / 255.",
                    UserWarning,
                    stacklevel=3,
                )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
            if (sample_weight < 0).any():
                raise ValueError(
                    "sample_weight must hold finite numbers >= 0, got a minimum of "
                    f"{sample_weight.min():g}."
                )
        X = X.reshape(len(X), *self.input_shape_)
        self._threat().check_data(X)
        team().check_same(lambda: self._fingerprint(X, y, sample_weight))
        return X, y, sample_weight

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
        generator = torch.Generator().manual_seed(seeds[0])
        self.classes_ = classes
        objective = get_objective(self.training).bound_to(self._attack())
        if not keep_module:
            layers, shape = self._make_front(X, y, weight)
            with own_randomness(seeds[1], device):
                network = self._make_network(generator, shape)
            if self._draws_weights:
                objective.initialize(network, generator)
            self.module_ = torch.nn.Sequential(*layers, network) if layers else network
        self.module_.to(device, getattr(torch, self.dtype))
        team().copy_first(self.module_)
        self._check_logits(X[:1])
        objective.check(self.module_, self._model().asarray(X[:1]), self._threat())
        self.net_ = self._make_net(device).configure(
            objective=objective,
            threat=self._threat(),
            schedule=constant
            if keep_module
            else resolve_schedule(self.epsilon_schedule, "epsilon_schedule", EPSILON_SCHEDULES),
            lr_schedule=resolve_schedule(self.lr_schedule, "lr_schedule", LR_SCHEDULES),
            max_grad_norm=self.max_grad_norm,
            averaging=copy.deepcopy(resolve_averaging(self.weight_averaging)),
            augmentation=self.augmentation,
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

    def _check_logits(self, X: np.ndarray) -> None:
        """Raise ValueError if the module does not map a sample to one logit per class."""
        model = self._model()
        logits = model.logits(model.asarray(X))
        if tuple(logits.shape) != (len(X), len(self.classes_)):
            raise ValueError(
                "module must map a batch of shape (n_samples, "
                f"{', '.join(map(str, self.input_shape_))}) to logits of shape (n_samples, "
                f"{len(self.classes_)}), got {tuple(logits.shape)} for one sample."
            )

    def _make_net(self, device: torch.device) -> RobustNet:
        optimizer = self.optimizer
        if not callable(optimizer):
            optimizer = OPTIMIZERS[optimizer]
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

    def _split(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[Batch, Batch | None]:
        if not self.early_stopping:
            return self._batch(X, y, weight), None
        rest, held_out = train_test_split(
            np.arange(len(y)),
            test_size=self.validation_fraction,
            stratify=y,
            random_state=team().seed(draw_seed(self.random_state)),
        )
        parts = (
            self._batch(X[i], y[i], None if weight is None else weight[i]) for i in (rest, held_out)
        )
        return next(parts), next(parts)

    def _batch(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None) -> Batch:
        """Return the data as tensors on the device; samples of weight 0 are left out."""
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        if self.class_weight is not None:
            weight = weight * compute_sample_weight(self.class_weight, y)
        keep = weight > 0
        if not keep.any():
            raise ValueError("sample_weight must have a positive entry, got zeros only.")
        if not keep.all():
            X, y, weight = X[keep], y[keep], weight[keep]
        model = self._model()
        # The mean weight is 1 once, over all data: dividing by the sum within a mini-batch would
        # cancel the weights there.
        return Batch(
            model.asarray(X),
            model.labels(self._encode(y)),
            model.asarray(weight / weight.mean()),
        )

    def _checkpoint(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
    ) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        return Checkpoint(self.checkpoint, self._fingerprint(X, y, weight))

    def _fingerprint(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> str:
        """Return what tells this training from another, wherever and however it runs."""
        free = ("checkpoint", "verbose", "device", "callbacks")
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in free}
        return fingerprint(parameters, X, y, weight)

    def _train(
        self, data: Batch, valid: Batch | None, epochs: int, checkpoint: Checkpoint | None = None
    ) -> None:
        seed = team().own_seed(int(torch.randint(2**31, (1,), generator=self.net_.generator)))
        try:
            with own_randomness(seed, data.X.device):  # dropout draws from the global generator
                self.net_.train(data, valid, epochs, checkpoint)
        finally:
            self.net_.optimizer_.zero_grad()  # the last batch's gradients are of no use to anyone
            self.module_.eval()
            losses = [row["train_loss"] for row in self.net_.history if "train_loss" in row]
            self.n_iter_ = len(losses)  # an interrupted epoch has no row of means
            self.loss_ = losses[-1] if losses else float("nan")

    def _warn_if_constant(self, data: Batch) -> None:
        """Say so if the last epoch predicted one class for everything: training has collapsed."""
        counts = self.net_.prediction_counts.double()
        team().average([counts])
        largest_class = torch.bincount(data.y).max() / len(data.y)
        if counts.max() >= 0.999 * counts.sum() > 0 and largest_class < 0.99:
            warnings.warn(
                "The network predicts one class for every training sample: training has "
                "collapsed to a constant output. "
                "Use epsilon_schedule='ramp', a smaller lr, more epochs, or a smaller epsilon.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _attack(self) -> PGD:
        return PGD(self.pgd_steps, self.step_size, random_start=self.random_start)

    # Persistence -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state:
            state.pop("module_", None)  # net_ holds the same object; two copies would drift apart
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "net_"):
            self.module_ = self.net_.module_
            if self.device != "auto" and not available(torch.device(self.device)):
                warnings.warn(
                    f"This estimator was fitted with device={self.device!r}, which torch does not "
                    "see here; it predicts on the CPU. Use set_params(device='auto') before fit.",
                    UserWarning,
                    stacklevel=2,
                )
