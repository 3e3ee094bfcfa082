"""The private skorch net: when the objective, the attack and the callbacks run."""

from __future__ import annotations

import copy
import math
import warnings
from contextlib import nullcontext
from typing import Any, NoReturn

import torch
from skorch import NeuralNet
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_robust._fit_tasks import FitTask
from sklearn_robust._threat import ThreatModel
from sklearn_robust.neural_network._augmentation import Augmentation
from sklearn_robust.neural_network._averaging import WeightAveraging
from sklearn_robust.neural_network._batches import Batch, Batches, TrainingData
from sklearn_robust.neural_network._checkpoint import Checkpoint, generator_in_state
from sklearn_robust.neural_network._device import available, products_in
from sklearn_robust.neural_network._graphs import StepGraphs
from sklearn_robust.neural_network._parallel import team
from sklearn_robust.neural_network._schedules import Schedule, constant, rates_kept
from sklearn_robust.neural_network.objectives import (
    BatchLoss,
    TrainingContext,
    TrainingObjective,
    count_right,
    cross_entropy,
)

# Batches between two transfers of losses and counts from a device that works ahead of the host.
_FLUSH_EVERY = 32


class TrainingStopped(Exception):
    """A callback ended the training; not the user's Ctrl-C."""


class Interrupted(BaseException):
    """The user's Ctrl-C, in a place where a KeyboardInterrupt means `TrainingStopped`."""


class RobustNet(NeuralNet):
    """A skorch net whose loss comes from an objective; `configure` before the first epoch."""

    module_: torch.nn.Module
    _good: dict[str, Any]

    def configure(
        self,
        *,
        objective: TrainingObjective,
        threat: ThreatModel,
        schedule: Schedule,
        planned_epochs: int,
        generator: torch.Generator,
        noise: torch.Generator,
        dtype: str = "float32",
        lr_schedule: Schedule = constant,
        max_grad_norm: float | None = None,
        averaging: WeightAveraging | None = None,
        augmentation: Augmentation | None = None,
    ) -> RobustNet:
        """Set what skorch's constructor, which inspects its own signature, does not take.

        `generator` shuffles, on the CPU; `noise` serves attack and augmentation, on the device of
        the data.
        """
        self.objective, self.threat, self.schedule = objective, threat, schedule
        self.planned_epochs, self.lr_schedule = planned_epochs, lr_schedule
        self.max_grad_norm, self.averaging = max_grad_norm, averaging
        self.augmentation = augmentation
        self.generator, self.noise, self.dtype = generator, noise, dtype
        self.graphs: StepGraphs | None = None
        self.task: FitTask | None = None
        self.base_rates = [group["lr"] for group in self.optimizer_.param_groups]
        self.batches_per_epoch = 1
        self.begin_epoch()
        return self

    def train(
        self,
        data: TrainingData,
        valid: TrainingData | None,
        epochs: int,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Run `epochs` epochs, less those that `checkpoint` holds already.

        Ctrl-C leaves the net as it is after the last finished batch, a loss that is not finite as
        it was after the last finished epoch; the latter raises FloatingPointError.
        """
        self.objective.begin()
        self.interrupted = False
        if self.averaging is not None:
            self.averaging.begin()
        with rates_kept(self):
            self.notify("on_train_begin", X=data, y=None)
        self.checkpoint = checkpoint
        finished = checkpoint is not None and checkpoint.resume(self)
        done = 0 if checkpoint is None else len(self.history)
        self._keep_good()
        trouble = None
        try:
            if not finished:
                self.fit_loop((data, valid), epochs=epochs - done)
        except TrainingStopped:
            pass
        except FloatingPointError as error:
            trouble = error
        except (KeyboardInterrupt, Interrupted):
            self.objective.begin()  # which may have moved the weights
            self.interrupted = True
            warnings.warn(
                f"Training interrupted in epoch {len(self.history)}; the model keeps what it has "
                "learnt until then.",
                stacklevel=2,
            )
            checkpoint = None  # it keeps the last finished epoch, to go on from there
        except BaseException:
            self.objective.begin()
            raise
        if trouble is None and not finished and self.averaging is not None:
            self.module_.load_state_dict(self.averaging.weights() or self.module_.state_dict())
        self.notify("on_train_end", X=data, y=None)
        team().copy_first(self.module_)
        if trouble is not None:
            self.module_.load_state_dict(self._good)
        elif checkpoint is not None and not finished:
            checkpoint.save(self, finished=True)
        self._forget()
        if trouble is not None:
            raise trouble

    def _keep_good(self) -> None:
        """Remember the weights of a finished epoch."""
        self._good = copy.deepcopy(self.module_.state_dict())

    def _forget(self) -> None:
        """Drop what only a training in progress needs."""
        self.objective.begin()
        if self.averaging is not None:
            self.averaging.begin()
        self._good, self.checkpoint = {}, None

    @property
    def progress(self) -> float:
        """Share of the planned training that is done, at most 1."""
        epochs_done = len(self.history) - 1 + self.batches_done / self.batches_per_epoch
        return min(epochs_done / self.planned_epochs, 1.0)

    def current_context(self, weight: torch.Tensor) -> TrainingContext:
        """Return what an objective is told at this point of the epsilon schedule."""
        share = min(float(self.schedule(self.progress)), 1.0)
        threat = self.threat if share >= 1 else self.threat.scaled(share)
        return TrainingContext(threat, self.noise, share, weight, self.graphs)

    def predicting_weights(self) -> dict[str, torch.Tensor]:
        """Return the weights that would predict if training ended here."""
        averaged = None if self.averaging is None else self.averaging.weights()
        return self.module_.state_dict() if averaged is None else averaged

    def go_on_with(
        self, module: torch.nn.Module, threat: ThreatModel, lr: float, lr_schedule: Schedule
    ) -> None:
        """Take over what may change between two calls of `partial_fit`."""
        if self.lr_schedule is not constant:
            self._scale_rates(1.0)
        self.threat, self.lr_schedule = threat, lr_schedule
        if module is not self.module_:  # another one was put into its place
            self.module, self.module_ = module, module
            self.initialize_optimizer()
            self.base_rates = [group["lr"] for group in self.optimizer_.param_groups]
        if lr != self.lr:
            self.set_params(lr=lr)
            self.base_rates = [lr for _ in self.optimizer_.param_groups]

    def begin_epoch(self) -> None:
        """Forget the counts of the epoch before."""
        self.batches_done = 0

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("module")  # the same object as module_, which skorch stores as bytes
        for name in ("generator", "noise"):
            state[name] = state[name].get_state().numpy().tobytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = {name: state.pop(name) for name in ("generator", "noise")}
        if not available(torch.device(state["device"])):
            state["device"] = "cpu"  # before skorch says the same, in several warnings
        super().__setstate__(state)
        self.module = self.module_
        device = next(self.module_.parameters(), torch.zeros(())).device
        self.generator = generator_in_state(torch.device("cpu"), states["generator"])
        self.noise = generator_in_state(device, states["noise"])

    def get_default_callbacks(self) -> list[Any]:
        return []  # skorch's own score and print; the estimator passes what it wants

    # skorch's hooks, in the order in which they run -------------------------------------------

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        return X

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Batches:
        n = len(dataset.y)
        size = n if self.batch_size == -1 else min(self.batch_size, n)
        if not training:
            return Batches(dataset, size)
        change = None if self.augmentation is None else self._augmented
        normed = any(isinstance(m, _BatchNorm) for m in self.module_.modules())
        if normed and size == 1:
            raise ValueError(
                f"Batch norm cannot be trained on batches of 1 sample, got n_samples={n} and "
                f"batch_size={self.batch_size}. Pass more, or a network without batch norm."
            )
        batches = Batches(dataset, size, self.generator, self.objective.replays, change, normed)
        self.batches_per_epoch = len(batches)
        return batches

    def _augmented(self, X: torch.Tensor) -> torch.Tensor:
        assert self.augmentation is not None
        return self.augmentation(X, self.noise)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as stop:
            # skorch's EarlyStopping speaks in this way; a Ctrl-C hardly ever falls in here.
            if method_name != "on_epoch_end":
                raise
            raise TrainingStopped(str(stop)) from None

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        super().on_epoch_end(net, **kwargs)
        self._set_training(False)  # callbacks may look at the module
        for name, value in self.objective.notes().items():
            self.history.record(name, value)
        if not all(bool(p.isfinite().all()) for p in self.module_.parameters()):
            self._diverged("A weight became infinite or NaN")
        self._keep_good()

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Run over all batches; the numbers for the history leave the device a few at a time."""
        if iterator is None:
            return
        every = 1 if iterator.data.device.type == "cpu" else _FLUSH_EVERY
        waiting: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = []
        averaged = nullcontext()
        if not training and self.averaging is not None:
            averaged = self.averaging.applied(self.module_)  # type: ignore[assignment]
        with averaged:
            for batch in iterator:
                self.notify("on_batch_begin", batch=batch, training=training)
                step = step_fn(batch, **fit_params)
                row = self.history[-1]["batches"][-1]
                row[f"{prefix}_batch_size"] = len(batch.X)
                waiting.append((row, step.pop("means")))
                if len(waiting) == every:
                    self._record(prefix, waiting)
                self.notify("on_batch_end", batch=batch, training=training, **step)
        self._record(prefix, waiting)
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        progress = self.progress
        if self.lr_schedule is not constant:  # otherwise the rate is the callbacks' to change
            self._scale_rates(self.lr_schedule(progress))
        step = super().train_step(batch, **fit_params)
        self.batches_done += 1
        if self.averaging is not None:
            self.averaging.update(self.module_, progress)
        return step

    def _scale_rates(self, factor: float) -> None:
        for group, rate in zip(self.optimizer_.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        batch, share = team().share(batch)
        context = self.current_context(batch.weight)
        with products_in(self.dtype, self.module_, batch.X.device):
            result = self.objective.loss(self.module_, batch.X, batch.y, context)
        loss = (result.losses * batch.weight).mean()
        if result.penalty is not None:
            loss = loss + result.penalty
        loss.backward()
        self.objective.after_backward(self.module_)
        team().average_gradients(self.module_, share)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_grad_norm)
        return _step(loss, result, batch.y, share)

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        self._set_training(False)
        batch, share = team().share(batch)
        noise = torch.Generator(batch.X.device)
        noise.manual_seed(team().own_seed(0))  # the same attack in every epoch
        context = TrainingContext(self.threat, noise, 1.0, batch.weight, self.graphs)
        with torch.no_grad():
            result = self.objective.validation_loss(self.module_, batch.X, batch.y, context)
            loss = (result.losses * batch.weight).mean()
        return _step(loss, result, batch.y, share)

    def _record(
        self, prefix: str, waiting: list[tuple[dict[str, Any], dict[str, torch.Tensor]]]
    ) -> None:
        """Write means over batches into their rows; one transfer from the device for all."""
        if not waiting:
            return
        flat = [value.to(torch.float64) for _, means in waiting for value in means.values()]
        values = iter(torch.stack(flat).tolist())
        for row, means in waiting:
            row.update({f"{prefix}_{name}": next(values) for name in means})
        losses = [row[f"{prefix}_loss"] for row, _ in waiting]
        waiting.clear()
        if prefix == "train" and not all(map(math.isfinite, losses)):
            bad = next(value for value in losses if not math.isfinite(value))
            self._diverged(f"The training loss became {bad}")

    def _diverged(self, what: str) -> NoReturn:
        raise FloatingPointError(
            f"{what} in epoch {len(self.history)}; the model keeps the weights of the last "
            "finished epoch. Use a smaller lr, max_grad_norm=10, epsilon_schedule='ramp', or more "
            "bits, such as dtype='float64'."
        )


def _step(loss: torch.Tensor, result: BatchLoss, y: torch.Tensor, share: float) -> dict[str, Any]:
    """Return what callbacks see of a batch and, still on the device, what the history keeps."""
    means = {"loss": loss.detach(), "adversarial_accuracy": count_right(result.logits, y) / len(y)}
    if result.clean_logits is not None:
        means["clean_loss"] = cross_entropy(result.clean_logits, y).mean()
        means["clean_accuracy"] = count_right(result.clean_logits, y) / len(y)
    team().average(means.values(), share)
    return {"loss": means["loss"], "y_pred": result.logits, "means": means}
