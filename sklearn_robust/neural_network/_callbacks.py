"""What happens around an epoch: means over batches, one line of progress, early stopping."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

from skorch.callbacks import (
    Callback,
    EpochScoring,
    EpochTimer,
    LRScheduler,
    PassthroughScoring,
    ProgressBar,
)
from skorch.callbacks.scoring import ScoringBase

from sklearn_robust.neural_network._net import Interrupted, RobustNet, TrainingStopped

MEANS = ("loss", "clean_loss", "clean_accuracy", "adversarial_accuracy")


class EpochStart(Callback):
    """Tell the net that an epoch begins."""

    def on_epoch_begin(self, net: RobustNet, **kwargs: Any) -> None:
        net.begin_epoch()


class EpochLine(Callback):
    """Print one line per epoch: losses and accuracies on the training batches, radius, seconds."""

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        row = net.history[-1]
        text = f"epoch {row['epoch']:>3}"
        if "train_clean_loss" in row:  # not every objective looks at the samples themselves
            text += (
                f"  clean loss {row['train_clean_loss']:.4f}"
                f"  clean acc {row['train_clean_accuracy']:.4f}"
            )
        text += f"  adversarial acc {row['train_adversarial_accuracy']:.4f}"
        if "valid_adversarial_accuracy" in row:
            if "valid_clean_accuracy" in row:
                text += f"  valid clean {row['valid_clean_accuracy']:.4f}"
            text += f"  valid adversarial {row['valid_adversarial_accuracy']:.4f}"
        print(f"{text}  {row['dur']:.1f} s", flush=True)


class BestSoFar(Callback):
    """Write for each mean whether this epoch's is the best so far, as skorch's `Checkpoint` asks.

    It looks at the history alone, which a resumed training has from its beginning.
    """

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        for name in (f"{part}_{mean}" for part in _parts(validation=True) for mean in MEANS):
            if name in net.history[-1]:
                *before, now = (row[name] for row in net.history if name in row)
                sign = 1 if name.endswith("loss") else -1
                best = all(sign * now < sign * value for value in before)
                net.history.record(f"{name}_best", best)


class EarlyStopping(Callback):
    """Stop when the robust validation accuracy has not risen for some epochs; keep the best.

    Both begin once epsilon rises no more: what is validated, at the full epsilon, tells nothing
    before. An accuracy of 0 is not a best one.
    """

    def __init__(self, patience: int, tol: float) -> None:
        self.patience, self.tol = patience, tol

    def on_train_begin(self, net: RobustNet, **kwargs: Any) -> None:
        self.best_, self.waited_ = 0.0, 0
        self.weights_: dict[str, Any] | None = None

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        if net.schedule(net.progress) < net.schedule(1.0):
            return
        score = float(net.history[-1, "valid_adversarial_accuracy"])
        self.waited_ += 1
        if score > self.best_ + self.tol:
            self.waited_ = 0
        if score > self.best_:
            self.best_ = score
            self.weights_ = copy.deepcopy(net.predicting_weights())
        if self.waited_ >= self.patience:
            raise TrainingStopped

    def on_train_end(self, net: RobustNet, **kwargs: Any) -> None:
        if self.weights_ is not None:
            net.module_.load_state_dict(self.weights_)
        self.weights_ = None

    def training_state(self) -> dict[str, Any]:
        return {"best": self.best_, "waited": self.waited_, "weights": self.weights_}

    def restore_training_state(self, state: dict[str, Any]) -> None:
        self.best_, self.waited_, self.weights_ = state["best"], state["waited"], state["weights"]


class EpochTasks(Callback):
    """Tell scikit-learn's callbacks of each epoch, as a part of the task that the net has.

    The classifier that they are given predicts as it would if the training ended here.
    """

    def on_epoch_begin(self, net: RobustNet, **kwargs: Any) -> None:
        self.part_ = None if net.task is None else net.task.part("epoch")
        if self.part_ is not None:
            self.part_.begin(0)

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        part, self.part_ = self.part_, None
        if part is not None and part.end(partial(_as_trained, net)):
            raise TrainingStopped


def _as_trained(net: RobustNet) -> dict[str, Any]:
    """Return what a copy of the classifier needs to predict as if the training ended here."""
    module = copy.deepcopy(net.module_)
    module.load_state_dict(net.predicting_weights())
    losses = [row["train_loss"] for row in net.history]
    return {"module_": module.eval(), "n_iter_": len(losses), "loss_": losses[-1]}


class CheckpointWriter(Callback):
    """Write a checkpoint after every epoch, where the net has one; the last callback of all."""

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        if net.checkpoint is None:
            return
        try:
            net.checkpoint.save(net)
        except KeyboardInterrupt:  # not a callback's wish to stop, for which the net would take it
            raise Interrupted from None


def check_callbacks(callbacks: Any, *, validation: bool, lr_schedule: Any) -> None:
    """Raise ValueError for what is no list of callbacks that the net can serve."""
    if callbacks is not None and not isinstance(callbacks, list | tuple):
        raise ValueError(
            "callbacks must be None or a list of skorch callbacks, such as [EpochTimer()], got "
            f"{callbacks!r}."
        )
    given = [_without_name(item) for item in callbacks or []]
    known = _columns(given, validation)
    for callback in given:
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"each of callbacks must be a skorch callback or (name, callback), got {callback!r}"
                "."
            )
        if issubclass(kind, ScoringBase) and not _can_score(callback, validation):
            raise ValueError(
                f"callbacks cannot hold this {kind.__name__}: the net under the classifier has "
                "logits and no scores of scikit-learn's, and data held out only with "
                "early_stopping=True. Its history has losses and accuracies; for others, "
                "EpochScoring(function, on_train=True, use_caching=False), which calls "
                "function(net, data, None)."
            )
        if issubclass(kind, LRScheduler) and not (
            isinstance(lr_schedule, str) and lr_schedule in ("auto", "constant")
        ):
            raise ValueError(
                f"callbacks cannot hold this {kind.__name__} beside lr_schedule={lr_schedule!r}, "
                "which sets the learning rate at every step. Use lr_schedule='constant'."
            )
        _check_monitor(callback, kind, known)


def _without_name(item: Any) -> Any:
    return item[1] if isinstance(item, tuple) and len(item) == 2 else item


def _can_score(callback: Any, validation: bool) -> bool:
    """Return whether the callback needs no more than the net and the data that there are."""
    own = isinstance(callback, EpochScoring) and callable(callback.scoring)
    return own and not callback.use_caching and (callback.on_train or validation)


def _parts(validation: bool) -> tuple[str, ...]:
    return ("train", "valid") if validation else ("train",)


def _columns(callbacks: Sequence[Any], validation: bool) -> set[str]:
    """Return the columns of means in the history, with those that the user's scorings write."""
    own = {f"{part}_{mean}" for part in _parts(validation) for mean in MEANS}
    for callback in callbacks:
        if isinstance(callback, EpochScoring):
            own.add(callback.name or getattr(callback.scoring, "__name__", ""))
    return own | {f"{name}_best" for name in own}


def _check_monitor(callback: Any, kind: type, known: set[str]) -> None:
    """Raise ValueError if the callback would look for a mean that the history does not have."""
    default = inspect.signature(kind).parameters.get("monitor")
    monitor = getattr(callback, "monitor", default and default.default)
    if not isinstance(monitor, str) or not monitor.startswith(("train_", "valid_")):
        return
    if monitor not in known:
        raise ValueError(
            f"callbacks cannot hold this {kind.__name__}: it watches {monitor!r}, which the "
            "history will not have. Pass early_stopping=True for the means over data held out, or "
            f"monitor= one of {', '.join(sorted(known))}."
        )


def training_callbacks(own: Any, verbose: int, stopping: tuple[int, float] | None) -> list[Any]:
    """Return what a net runs, copies of the user's own callbacks behind what they may look at.

    Parameters
    ----------
    own : list of skorch callbacks or None
    verbose : int
    stopping : (int, float) or None
        The patience and the tolerance of early stopping; None: without, and without validation.
    """
    callbacks: list[Any] = [("epoch_start", EpochStart()), ("epoch_timer", EpochTimer())]
    for part in _parts(stopping is not None):
        for mean in MEANS:
            name = f"{part}_{mean}"
            # skorch's own column of "best so far" would not know the epochs before an interruption.
            scoring = PassthroughScoring(name, lower_is_better=None, on_train=part == "train")
            callbacks.append((name, scoring))
    callbacks.append(("best", BestSoFar()))
    if verbose > 1:
        # The notebook's own bar ends in an ImportError where ipywidgets is not installed.
        callbacks.append(("progress_bar", ProgressBar(detect_notebook=False)))
    if verbose:
        callbacks.append(("epoch_line", EpochLine()))
    if stopping is not None:
        callbacks.append(("early_stopping", EarlyStopping(*stopping)))
    callbacks.append(("epoch_tasks", EpochTasks()))
    return [*callbacks, *(copy.deepcopy(own) or []), ("checkpoint", CheckpointWriter())]
