"""One training on many processes: each takes its share of every batch, gradients are averaged.

torch's DistributedDataParallel counts one forward pass through its wrapper per backward pass; the
attack makes many more, with the parameters frozen. So the average is taken here, in the open:
between the backward pass and the update of the weights, by one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed as dist, nn
from torch.nn.modules.batchnorm import _NormBase

if TYPE_CHECKING:
    from sklearn_robust.neural_network._batches import Batch


class Alone:
    """A training in one process; `Group` answers the same questions for several."""

    rank, size = 0, 1

    def seed(self, seed: int) -> int:
        """Return the first process's seed, for what all processes must draw alike."""
        return seed

    def own_seed(self, seed: int) -> int:
        """Return this process's seed, for what belongs to its samples: noise and dropout."""
        return seed

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """Return this process's part of a batch and the weight of its means, 1 over all."""
        return batch, 1.0

    def average(self, tensors: Iterable[Tensor], weight: float | None = None) -> None:
        """Replace tensors by their mean over processes, in place; None: equal weights."""

    def average_gradients(self, module: nn.Module, weight: float) -> None:
        """Replace gradients by their mean, and the running statistics of batch norm by theirs."""

    def copy_first(self, module: nn.Module) -> None:
        """Give the module in every process the state of that in the first."""

    def check_same(self, describe: Callable[[], str]) -> None:
        """Raise ValueError if processes describe their parameters and data differently."""


class Group(Alone):
    """The processes of torch's default group; each method is a step that all of them take."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def seed(self, seed: int) -> int:
        seeds: list[Any] = [seed]
        dist.broadcast_object_list(seeds, src=0)
        return seeds[0]

    def own_seed(self, seed: int) -> int:
        return seed + self.rank

    def share(self, batch: Batch) -> tuple[Batch, float]:
        n = len(batch.X)
        low, high = (n * r // self.size for r in (self.rank, self.rank + 1))
        # A batch smaller than the group leaves some without samples. They take one that does not
        # count, so that every process makes the same steps.
        pick = slice(low, high) if low < high else slice(0, 1)
        return type(batch)(*(part[pick] for part in batch)), (high - low) / n

    def average(self, tensors: Iterable[Tensor], weight: float | None = None) -> None:
        tensors = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
        if not tensors:
            return
        message = torch.cat([t.detach().reshape(-1) for t in tensors])
        message *= 1 / self.size if weight is None else weight
        dist.all_reduce(message)
        parts = message.split([t.numel() for t in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def average_gradients(self, module: nn.Module, weight: float) -> None:
        self.average([p.grad for p in module.parameters() if p.grad is not None], weight)
        self.average(
            statistic
            for part in module.modules()
            if isinstance(part, _NormBase)
            for statistic in (part.running_mean, part.running_var)
            if statistic is not None
        )

    def copy_first(self, module: nn.Module) -> None:
        for value in module.state_dict().values():
            dist.broadcast(value, src=0)

    def check_same(self, describe: Callable[[], str]) -> None:
        descriptions: list[Any] = [None] * self.size
        dist.all_gather_object(descriptions, describe())
        others = [r for r in range(self.size) if descriptions[r] != descriptions[0]]
        if others:
            raise ValueError(
                "data_parallel needs the same parameters, X, y and sample_weight in every process, "
                f"but those of {others} differ from those of process 0. Pass all the data to each: "
                "the library gives it its share of every batch."
            )


_ALONE = Alone()
_TEAM: ContextVar[Alone | None] = ContextVar("team", default=None)


def team() -> Alone:
    """Return who trains together here and now."""
    return _TEAM.get() or _ALONE


@contextmanager
def data_parallel() -> Iterator[None]:
    r"""Train networks on all processes of torch's default process group together.

    Every process calls the same `fit` or `partial_fit`, with the same data. Of each batch B it
    attacks and learns from its own share :math:`B_r`, and all update their weights with

    .. math:: \sum_r \frac{|B_r|}{|B|} \nabla \Big( \frac{1}{|B_r|} \sum_{i \in B_r} w_i \, \ell_i
              \Big) = \nabla \frac{1}{|B|} \sum_{i \in B} w_i \, \ell_i,

    what one process would have used: `batch_size`, `lr`, schedules, history, early stopping and
    the fitted estimator mean the same and are the same in every process. Launch the processes with
    ``torchrun``, and call ``torch.distributed.init_process_group()`` first; on GPUs, after
    ``torch.cuda.set_device(local_rank)``.

    Up to rounding the result is that of one process where a sample's loss depends on the sample
    alone, and nothing random on the process: with ``random_start=False``, without dropout, and not
    with a method that always draws its starts ("trades", "fgsm", "free"). Otherwise each process
    draws noise of its own: another draw, reproducible with the same number of processes. What is
    computed over a batch as a whole is computed over each share, as torch's own
    DistributedDataParallel does it: batch norm (running statistics are averaged), the regulariser
    of certified training, weight perturbation, the probe of ``training="fgsm"``.

    `checkpoint` is refused, since a file of one process does not hold the random states of the
    others. Only the thread that enters the context is affected; workers of joblib train alone.

    Raises
    ------
    RuntimeError
        If there is no process group.

    Examples
    --------
    With a group of one process, which changes nothing:

    >>> import tempfile
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import data_parallel
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = RobustFCClassifier((32,), epsilon=1.0, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.distributed.init_process_group(
    ...         "gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1
    ...     )
    ...     with data_parallel():
    ...         score = clf.fit(X, y).score(X, y)
    ...     torch.distributed.destroy_process_group()
    >>> score > 0.9
    True
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "data_parallel needs a process group. Call torch.distributed.init_process_group() "
            "first, and launch the script with `torchrun --nproc-per-node=N script.py`."
        )
    token = _TEAM.set(Group())
    try:
        yield
    finally:
        _TEAM.reset(token)
