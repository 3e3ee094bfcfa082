"""What happens around an epoch: means over batches, one line of progress, early stopping."""

from __future__ import annotations

import copy
from typing import Any

from skorch.callbacks import Callback, EpochScoring, EpochTimer, PassthroughScoring, ProgressBar
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


class CheckpointWriter(Callback):
    """Write a checkpoint after every epoch, where the net has one; the last callback of all."""

    def on_epoch_end(self, net: RobustNet, **kwargs: Any) -> None:
        if net.checkpoint is None:
            return
        try:
            net.checkpoint.save(net)
        except KeyboardInterrupt:  # not a callback's wish to stop, for which the net would take it
            raise Interrupted from None


def check_callbacks(callbacks: Any, *, validation: bool) -> None:
    """Raise ValueError for what is no list of callbacks that the net can serve."""
    if callbacks is not None and not isinstance(callbacks, list | tuple):
        raise ValueError(
            "callbacks must be None or a list of skorch callbacks, such as [EpochTimer()], got "
            f"{callbacks!r}."
        )
    for item in callbacks or []:
        callback = item[1] if isinstance(item, tuple) and len(item) == 2 else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"each of callbacks must be a skorch callback or (name, callback), got {item!r}."
            )
        if issubclass(kind, ScoringBase) and not _can_score(callback, validation):
            raise ValueError(
                f"callbacks cannot hold this {kind.__name__}: the net under the classifier has "
                "logits and no scores of scikit-learn's, and data held out only with "
                "early_stopping=True. Its history has losses and accuracies; for others, "
                "EpochScoring(function, on_train=True, use_caching=False), which calls "
                "function(net, data, None)."
            )


def _can_score(callback: Any, validation: bool) -> bool:
    """Return whether the callback needs no more than the net and the data that there are."""
    own = isinstance(callback, EpochScoring) and callable(callback.scoring)
    return own and not callback.use_caching and (callback.on_train or validation)


def default_callbacks(verbose: int, validation: bool) -> list[tuple[str, Callback]]:
    """Return what every net runs before the user's callbacks."""
    callbacks: list[tuple[str, Callback]] = [
        ("epoch_start", EpochStart()),
        ("epoch_timer", EpochTimer()),
    ]
    for part in ("train", "valid") if validation else ("train",):
        for mean in MEANS:
            name = f"{part}_{mean}"
            # No column of "best so far": a resumed training would not know the epochs before.
            scoring = PassthroughScoring(name, lower_is_better=None, on_train=part == "train")
            callbacks.append((name, scoring))
    if verbose > 1:
        # The notebook's own bar ends in an ImportError where ipywidgets is not installed.
        callbacks.append(("progress_bar", ProgressBar(detect_notebook=False)))
    if verbose:
        callbacks.append(("epoch_line", EpochLine()))
    return callbacks
