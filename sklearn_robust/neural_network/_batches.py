"""Training data as tensors, and how an epoch cuts them into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """Samples, class indices and weights (mean 1 over the training data), on one device."""

    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor


class Batches:
    """Slices of tensors that lie on the device already: cheaper than skorch's DataLoader.

    With `join_one`, a single sample that is left at the end joins the batch before it: batch norm
    cannot be trained on one.
    """

    def __init__(
        self,
        data: Batch,
        batch_size: int,
        generator: torch.Generator | None,
        replays: int = 1,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
        join_one: bool = False,
    ) -> None:
        self.data, self.batch_size, self.generator = data, batch_size, generator
        self.replays, self.change = replays, change
        starts = range(0, len(data.X), batch_size)
        joins = join_one and len(starts) > 1 and len(data.X) % batch_size == 1
        self.starts = starts[:-1] if joins else starts

    def __len__(self) -> int:
        return self.replays * len(self.starts)

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.data.X)
        order = None
        if self.generator is not None and self.batch_size < n:
            order = torch.randperm(n, generator=self.generator).to(self.data.X.device)
        for start in self.starts:
            stop = n if start == self.starts[-1] else start + self.batch_size
            pick = slice(start, stop)
            batch = Batch(*(t[pick if order is None else order[pick]] for t in self.data))
            if self.change is not None:
                batch = batch._replace(X=self.change(batch.X))
            for _ in range(self.replays):
                yield batch
