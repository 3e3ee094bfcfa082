"""The network classifiers as estimators of scikit-learn: `fit`, `partial_fit`, and what they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin

from sklearn_robust._fit_tasks import CallbackSupportMixin, FitTask, with_callbacks
from sklearn_robust._validation import draw_seed
from sklearn_robust.attacks import PGD, to_precision
from sklearn_robust.neural_network._batches import (
    TrainingData,
    as_batch,
    held_out_apart,
    weights_with_classes,
)
from sklearn_robust.neural_network._build import join, make_front, make_net
from sklearn_robust.neural_network._checkpoint import Checkpoint, fingerprint
from sklearn_robust.neural_network._checks import check_partial
from sklearn_robust.neural_network._collapse import has_collapsed, warn_of_collapse
from sklearn_robust.neural_network._device import (
    own_randomness,
    resolve_device,
    training_dtype,
    warn_of_resolution,
    warn_of_speed,
    weight_dtype,
)
from sklearn_robust.neural_network._graphs import StepGraphs
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._parameters import NetworkParameters
from sklearn_robust.neural_network._plan import TrainingPlan, make_plan
from sklearn_robust.neural_network._predictions import Predictions
from sklearn_robust.neural_network._samples import read_training_data
from sklearn_robust.neural_network._shifts import network_alone
from sklearn_robust.neural_network._trial import check_module
from sklearn_robust.neural_network._unchanged import unchanged_unless_trained
from sklearn_robust.neural_network.objectives import TrainingObjective, get_objective
from sklearn_robust.targets import RobustClassifierMixin


class BaseRobustClassifier(
    CallbackSupportMixin,
    RobustClassifierMixin,
    ClassifierMixin,
    Predictions,
    NetworkParameters,
    ABC,
):
    """Everything the network classifiers share; a subclass says how its module is made.

    That is ``_make_network(self, generator, shape)``, which returns a fresh module from a batch of
    samples of that shape to logits. It draws weights from `generator`, or as torch does: its global
    generator is seeded by `random_state` for the while. Hyperparameters of a subclass stand in its
    constructor, which takes those below as ``**shared``.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import math
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust.neural_network import BaseRobustClassifier
    >>> class Linear(BaseRobustClassifier):
    ...     def __init__(self, bias=True, **shared):
    ...         super().__init__(**shared)
    ...         self.bias = bias
    ...
    ...     def _make_network(self, generator, shape):
    ...         flat = torch.nn.Flatten()
    ...         head = torch.nn.Linear(math.prod(shape), len(self.classes_), self.bias)
    ...         return torch.nn.Sequential(flat, head)
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = Linear(epsilon=0.5, bias=False, max_epochs=20, random_state=0)
    >>> clf.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.8
    True
    """

    @abstractmethod
    def _make_network(self, generator: torch.Generator, shape: tuple[int, ...]) -> torch.nn.Module:
        """Return a fresh module from a batch of samples of that shape, as floats, to logits."""

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BaseRobustClassifier:
        """Train on (X, y) for `max_epochs` epochs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), (n_samples, h, w) or (n_samples, c, h, w)
            Float or uint8; in the units of `epsilon`. uint8 is divided by 255 inside the model if
            it looks like grey levels: images with a value above 32, or rows most of whose features
            reach that far, of which a warning tells if their number is not that of a square image.
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
        task = FitTask(self, X, y, sample_weight)
        warm = self.warm_start and hasattr(self, "net_")
        with unchanged_unless_trained(self):
            X, y, weight = self._prepared(X, y, sample_weight, reset=not warm)
            if warm and not np.array_equal(np.unique(y), self.classes_):
                raise ValueError(
                    "warm_start=True needs the classes of the first fit, "
                    f"{self.classes_.tolist()}, got {np.unique(y).tolist()}."
                )
            plan = make_plan(self, X, whole=True)
            task.begin(plan.epochs)
            first = plan.at_full_epsilon() if warm else plan
            self._fit(X, y, weight, first, task, keep_module=warm)
            collapsed = has_collapsed(self, X, y, weight)
            if collapsed and not warm and plan.has_steps(len(y)):
                plan = plan.gentler()
                warn_of_collapse(
                    f"It is trained once more, with lr={plan.lr:g} and a longer rise of epsilon."
                )
                task.extend(plan.epochs)
                self._fit(X, y, weight, plan, task, keep_module=False)
                collapsed = has_collapsed(self, X, y, weight)
        if collapsed:
            warn_of_collapse("Use a smaller lr, more epochs, or a smaller epsilon.")
        task.end()
        return self

    def _fit(
        self,
        X: Any,
        y: Any,
        weight: Any,
        plan: TrainingPlan,
        task: FitTask,
        *,
        keep_module: bool,
    ) -> None:
        """Train by a plan from the beginning, or from the weights that there are."""
        self._start(X, y, weight, np.unique(y), plan, keep_module=keep_module)
        data, valid = self._split(X, y, weight)
        self.net_.task = task
        try:
            self._train(data, valid, plan.epochs, self._checkpoint(X, y, weight, plan))
        finally:
            self.net_.task = None

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> BaseRobustClassifier:
        """Train for one epoch on (X, y), going on from where the model is.

        Between two calls `epsilon`, `norm`, `clip_values` and `lr` may change; the network and the
        method of training stay those of the first.

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
        first = not hasattr(self, "net_")
        check_partial(self)
        with unchanged_unless_trained(self):
            X, y, weight = self._prepared(X, y, sample_weight, reset=first)
            if first:
                known = np.unique(y if classes is None else classes)
                plan = make_plan(self, X, whole=False)
                self._start(X, y, weight, known, plan, keep_module=False)
            elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise ValueError(
                    "classes must be those of the first call to partial_fit, "
                    f"{self.classes_.tolist()}, got {np.unique(classes).tolist()}."
                )
            # All calls share the unit of the first, or weights would cancel within each.
            batch = self._batch(X, y, weight, getattr(self, "_mean_weight", None))
            if not first:
                plan = make_plan(self, X, whole=False)
                self.net_.go_on_with(self.module_, self._threat(), plan.lr, plan.lr_schedule)
            self._train(batch, None, 1, going_on=True)
        return self

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return checked samples in their own shape, labels, and weights; check the parameters."""
        X, y, weight = read_training_data(self, X, y, sample_weight, reset=reset)
        team().check_same(lambda: self._fingerprint(X, y, weight))
        self._check_parameters()
        return X, y, weight

    def _start(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        classes: np.ndarray,
        plan: TrainingPlan,
        *,
        keep_module: bool,
    ) -> None:
        """Make module and net; the random numbers of the whole fit come from `random_state`."""
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, got one class: "
                f"{classes.tolist()}."
            )
        seed = team().seed(draw_seed(self.random_state))
        seeds = np.random.SeedSequence(seed).generate_state(3).tolist()
        generator, device = torch.Generator().manual_seed(seeds[0]), resolve_device(self.device)
        self.classes_ = classes
        weights = self._weights(y, weight)
        self._mean_weight = float(weights[weights > 0].mean()) if weights.any() else 1.0
        attack = PGD(self.pgd_steps, self.step_size, random_start=self.random_start)
        objective = get_objective(self.training).bound_to(attack)
        if not keep_module:
            self.module_ = self._make_module(X, y, weight, objective, generator, seeds[1])
        dtype = training_dtype(self.dtype, self._threat(), X)
        warn_of_speed(dtype, device)
        if self.preprocessor is None and self.input_ramp_ is None:  # which see X with all bits
            warn_of_resolution(dtype, self._threat(), X)
        to_precision(self.module_, weight_dtype(dtype), device)
        team().copy_first(self.module_)
        check_module(self.module_, X[:1], len(classes))
        with network_alone(self.module_):
            objective.check(self.module_, self._model().asarray(X[:1]), self._threat())
        noise = torch.Generator(device).manual_seed(team().own_seed(seeds[2]))
        self.net_ = make_net(self, objective, generator, noise, dtype=dtype, plan=plan)
        self._remember_adversary(self._threat(), str(self.training))

    def _make_module(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray | None,
        objective: TrainingObjective,
        generator: torch.Generator,
        seed: int,
    ) -> torch.nn.Module:
        """Return a fresh module, from samples as they are to logits."""
        layers, shape, transformer = make_front(self, objective, X, y, weight)
        if transformer is not None:
            self.preprocessor_ = transformer
        with own_randomness(seed, resolve_device(self.device)):
            network = self._make_network(generator, shape)
        module = join(self, layers, network, shape)
        if self._draws_weights:  # a ramp has none, but an objective may heed that it is there
            objective.initialize(network if self.input_ramp_ is None else module, generator)
        return module

    def _split(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None
    ) -> tuple[TrainingData, TrainingData | None]:
        if not self.early_stopping:
            return self._batch(X, y, weight), None
        seed = team().seed(draw_seed(self.random_state))
        parts = (
            self._batch(X[i], y[i], None if weight is None else weight[i])
            for i in held_out_apart(y, self.validation_fraction, seed)
        )
        return next(parts), next(parts)

    def _weights(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
        """Return the weights of samples, those of their classes included."""
        return weights_with_classes(y, sample_weight, self.class_weight, self.classes_)

    def _batch(
        self,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        mean_weight: float | None = None,
    ) -> TrainingData:
        """Return the data as tensors on the device; samples of weight 0 are left out."""
        weight = self._weights(y, sample_weight)
        return as_batch(self._model(), X, self._encode(y, len(X)), weight, mean_weight)

    def _checkpoint(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None, plan: TrainingPlan
    ) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        again = "-again" if plan.repeats else ""
        return Checkpoint(self.checkpoint, self._fingerprint(X, y, weight) + again)

    def _fingerprint(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> str:
        """Return what tells this training from another, wherever and however it runs."""
        free = ("checkpoint", "verbose", "device", "cuda_graphs", "callbacks")
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in free}
        return fingerprint(parameters, X, y, weight)

    def _train(
        self,
        data: TrainingData,
        valid: TrainingData | None,
        epochs: int,
        checkpoint: Checkpoint | None = None,
        *,
        going_on: bool = False,
    ) -> None:
        seed = team().own_seed(int(torch.randint(2**31, (1,), generator=self.net_.generator)))
        replays = self.cuda_graphs and self.net_.threat.moves is None  # whose ends are each batch's
        self.net_.graphs = (self.net_.graphs or StepGraphs()) if replays else None
        try:
            # Dropout draws from the global generator.
            with own_randomness(seed, data.device), network_alone(self.module_):
                self.net_.train(data, valid, epochs, checkpoint)
        finally:
            if not going_on:  # the next call of partial_fit can use them
                self.net_.graphs = None
            self.net_.optimizer_.zero_grad()  # the last batch's gradients are of no use to anyone
            losses = [row["train_loss"] for row in self.net_.history if "train_loss" in row]
            self.n_iter_ = len(losses)  # an interrupted epoch has no row of means
            self.loss_ = losses[-1] if losses else float("nan")
            self._settle(data.take(slice(1)).X)

    def _settle(self, X: torch.Tensor) -> None:
        """Leave the module as it predicts: what layers compute from weights carries no history."""
        self.module_.eval()
        with torch.no_grad():
            self.module_(X)
