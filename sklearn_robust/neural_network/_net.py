"""The private skorch net: when the objective, the attack and the callbacks run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from skorch import NeuralNet

from sklearn_robust._threat import ThreatModel
from sklearn_robust.neural_network._objectives import Objective, count_right, cross_entropy


class Batch(NamedTuple):
    """Samples, class indices and weights (mean 1 over the training data), on one device."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor


class Batches:
    """Slices of tensors that lie on the device already: cheaper than skorch's DataLoader."""

    def __init__(self, data: Batch, batch_size: int, generator: torch.Generator | None) -> None:
        self.data, self.batch_size, self.generator = data, batch_size, generator

    def __len__(self) -> int:
        return -(-len(self.data.X) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.data.X)
        order = None
        if self.generator is not None and self.batch_size < n:
            order = torch.randperm(n, generator=self.generator).to(self.data.X.device)
        for start in range(0, n, self.batch_size):
            pick = slice(start, start + self.batch_size)
            yield Batch(*(t[pick if order is None else order[pick]] for t in self.data))


class TrainingStopped(Exception):
    """A callback ended the training; not the user's Ctrl-C."""


class RobustNet(NeuralNet):
    """A skorch net whose loss comes from an objective; `configure` before the first epoch."""

    def configure(
        self,
        *,
        objective: Objective,
        threat: ThreatModel,
        schedule: Callable[[float], float],
        planned_epochs: int,
        generator: torch.Generator,
        noise: torch.Generator,
    ) -> RobustNet:
        """Set what skorch's constructor, which inspects its own signature, does not take.

        `generator` shuffles, on the CPU; `noise` serves the attack, on the device of the data.
        """
        self.objective, self.threat, self.schedule = objective, threat, schedule
        self.planned_epochs = planned_epochs
        self.generator, self.noise = generator, noise
        return self

    def train(self, data: Batch, valid: Batch | None, epochs: int) -> None:
        """Run `epochs` epochs; Ctrl-C leaves the net as it is after the last finished batch."""
        self.notify("on_train_begin", X=data, y=None)
        try:
            self.fit_loop((data, valid), epochs=epochs)
        except TrainingStopped:
            pass
        except KeyboardInterrupt:
            warnings.warn(
                f"Training interrupted in epoch {len(self.history)}; the model keeps what it has "
                "learnt until then.",
                stacklevel=2,
            )
        self.notify("on_train_end", X=data, y=None)

    def current_threat(self) -> ThreatModel:
        """Return the threat model at this point of the epsilon schedule."""
        epochs_done = len(self.history) - 1 + self.batches_done / self.batches_per_epoch
        factor = self.schedule(min(epochs_done / self.planned_epochs, 1.0))
        return self.threat if factor >= 1 else self.threat.scaled(factor)

    def begin_epoch(self) -> None:
        """Forget the counts of the epoch before."""
        self.batches_done = 0
        self.prediction_counts = torch.zeros((), dtype=torch.long)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("module")  # the same object as module_, which skorch stores as bytes
        for name in ("generator", "noise"):
            state[name] = state[name].get_state().numpy().tobytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = {name: state.pop(name) for name in ("generator", "noise")}
        super().__setstate__(state)
        self.module = self.module_
        device = next(self.module_.parameters(), torch.zeros(())).device
        self.generator = _restore_generator(torch.device("cpu"), states["generator"])
        self.noise = _restore_generator(device, states["noise"])

    def get_default_callbacks(self) -> list[Any]:
        return []  # skorch's own score and print; the estimator passes what it wants

    # skorch's hooks, in the order in which they run -------------------------------------------

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        return X

    def get_iterator(self, dataset: Batch, training: bool = False) -> Batches:
        n = len(dataset.X)
        size = n if self.batch_size == -1 else min(self.batch_size, n)
        batches = Batches(dataset, size, self.generator if training else None)
        if training:
            self.batches_per_epoch = len(batches)
        return batches

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as stop:
            # skorch's EarlyStopping speaks in this way; a Ctrl-C hardly ever falls in here.
            if method_name != "on_epoch_end":
                raise
            raise TrainingStopped(str(stop)) from None

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, torch.Tensor]:
        self._set_training(True)
        threat = self.current_threat()
        result = self.objective.loss(self.module_, batch.X, batch.y, threat, self.noise)
        loss = (result.losses * batch.weight).mean()
        loss.backward()
        self.batches_done += 1
        self._record("train", batch, result.clean_logits, result.logits)
        return {"loss": loss, "y_pred": result.logits}

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, torch.Tensor]:
        self._set_training(False)
        noise = torch.Generator(batch.X.device).manual_seed(0)  # the same attack in every epoch
        with torch.no_grad():
            result = self.objective.loss(self.module_, batch.X, batch.y, self.threat, noise)
            loss = (result.losses * batch.weight).mean()
        self._record("valid", batch, result.clean_logits, result.logits)
        return {"loss": loss, "y_pred": result.logits}

    def _record(
        self, prefix: str, batch: Batch, clean_logits: torch.Tensor, logits: torch.Tensor
    ) -> None:
        """Record means over the batch; one transfer from the device for all of them."""
        n = len(batch.y)
        clean_loss = cross_entropy(clean_logits, batch.y).mean()
        right, held = count_right(clean_logits, batch.y), count_right(logits, batch.y)
        values = torch.stack((clean_loss, right / n, held / n)).tolist()
        names = ("clean_loss", "clean_accuracy", "adversarial_accuracy")
        for name, value in zip(names, values, strict=True):
            self.history.record_batch(f"{prefix}_{name}", value)
        if prefix == "train":
            counts = torch.bincount(clean_logits.argmax(1), minlength=clean_logits.shape[1])
            self.prediction_counts = self.prediction_counts.to(counts.device) + counts


def _restore_generator(device: torch.device, state: bytes) -> torch.Generator:
    """Return a generator in the stored state; another kind of device starts from a seed in it."""
    generator = torch.Generator(device)
    buffer = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    if generator.get_state().shape == buffer.shape:
        return generator.set_state(buffer)
    return generator.manual_seed(int.from_bytes(state[:8], "little"))
