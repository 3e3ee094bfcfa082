"""Training data: the weights of samples, tensors, and how an epoch cuts them into batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_class_weight

from sklearn_robust._labels import encode_labels
from sklearn_robust._validation import check_real
from sklearn_robust.attacks import TorchModel


class Batch(NamedTuple):
    """Samples, class indices and weights (mean 1 over the training data), on one device."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor


class TrainingData(NamedTuple):
    """All samples as passed, bytes or floats, which a batch at a time become those of a model.

    Attributes
    ----------
    samples : Tensor of shape (n_samples, ...)
    y, weight : Tensor of shape (n_samples,)
    dtype : torch.dtype
        Precision of the model's input.
    """

    samples: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    dtype: torch.dtype

    @property
    def X(self) -> torch.Tensor:
        """All samples as the model takes them; a copy, unless they were passed so."""
        return self.samples.to(self.dtype)

    @property
    def device(self) -> torch.device:
        return self.samples.device

    def take(self, pick: Any) -> Batch:
        """Return some samples, by slice or index."""
        return Batch(self.samples[pick].to(self.dtype), self.y[pick], self.weight[pick])


class Batches:
    """Slices of tensors that lie on the device already: cheaper than skorch's DataLoader.

    With `join_one`, a single sample that is left at the end joins the batch before it: batch norm
    cannot be trained on one.
    """

    def __init__(
        self,
        data: TrainingData,
        batch_size: int,
        generator: torch.Generator | None = None,
        replays: int = 1,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
        join_one: bool = False,
    ) -> None:
        self.data, self.batch_size, self.generator = data, batch_size, generator
        self.replays, self.change = replays, change
        starts = range(0, len(data.y), batch_size)
        joins = join_one and len(starts) > 1 and len(data.y) % batch_size == 1
        self.starts = starts[:-1] if joins else starts

    def __len__(self) -> int:
        return self.replays * len(self.starts)

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.data.y)
        order = None
        if self.generator is not None and self.batch_size < n:
            order = torch.randperm(n, generator=self.generator).to(self.data.device)
        for start in self.starts:
            stop = n if start == self.starts[-1] else start + self.batch_size
            pick = slice(start, stop)
            batch = self.data.take(pick if order is None else order[pick])
            if self.change is not None:
                batch = batch._replace(X=self.change(batch.X))
            for _ in range(self.replays):
                yield batch


def held_out_apart(y: np.ndarray, fraction: float, seed: int) -> list[np.ndarray]:
    """Return the indices of samples to train on and of those held out, a fraction by class."""
    return train_test_split(np.arange(len(y)), test_size=fraction, stratify=y, random_state=seed)


def check_batch_size(size: Any, name: str) -> None:
    """Raise ValueError for what is no number of samples, and not -1 for all."""
    whole = isinstance(size, Integral) and not isinstance(size, bool)
    if not whole or (size < 1 and size != -1):
        raise ValueError(
            f"{name} must be 'auto', an integer >= 1, or -1 for all samples at once, got {size!r}."
        )


def check_class_weight(class_weight: Any, name: str) -> None:
    """Raise ValueError unless it is "balanced" or gives each label a weight >= 0."""
    if isinstance(class_weight, dict):
        for label, weight in class_weight.items():
            check_real(weight, f"{name}[{label!r}]", low=0)
    elif not isinstance(class_weight, str) or class_weight != "balanced":
        raise ValueError(
            f"{name} must be None, 'balanced' or a dict from label to weight, got {class_weight!r}."
        )


def weights_with_classes(
    y: np.ndarray, sample_weight: np.ndarray | None, class_weight: Any, classes: np.ndarray
) -> np.ndarray:
    """Return the weights of samples, those of their classes included."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    if class_weight is None:
        return weight
    index = encode_labels(y, classes, len(y))
    if isinstance(class_weight, str):
        return weight * _balance(index, weight)
    # Here y need not have all classes.
    return weight * compute_class_weight(class_weight, classes=classes, y=y)[index]


def as_batch(
    model: TorchModel,
    X: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
    mean_weight: float | None = None,
) -> TrainingData:
    """Return data as tensors on the device of a model; samples of weight 0 are left out.

    Weights are divided by their mean over all data, which is `mean_weight` if these are a part of
    them: dividing by the sum within a mini-batch would cancel the weights there.
    """
    keep = weight > 0
    if not keep.any():
        raise ValueError("sample_weight must have a positive entry, got zeros only.")
    if not keep.all():
        X, index, weight = X[keep], index[keep], weight[keep]
    weight = weight / (mean_weight or weight.mean())
    weights = model.asarray(weight)
    samples = _as_passed(X).to(weights.device)
    return TrainingData(samples, model.labels(index), weights, weights.dtype)


def _as_passed(X: np.ndarray) -> torch.Tensor:
    """Return samples as a tensor of the same numbers, in the same memory where that is possible."""
    X = X if min(X.strides, default=0) >= 0 else X.copy()  # torch knows no negative strides
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes
        return torch.from_numpy(X)


def _balance(index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return for each sample what gives all classes the same total, 0 in classes without weight."""
    totals = np.bincount(index, weight)
    share = (np.count_nonzero(totals) * totals)[index]
    return np.divide(weight.sum(), share, out=np.zeros(len(index)), where=share > 0)
