"""What changes in the course of a training: functions from progress in [0, 1] to a factor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sklearn_robust._validation import check_option, check_real

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Ramp:
    """0 until `start`, 1 from `end` on, linear between: how epsilon rises.

    Parameters
    ----------
    start, end : float
        Shares of the training, with 0 <= start < end <= 1.

    Examples
    --------
    >>> from sklearn_robust.neural_network import Ramp
    >>> ramp = Ramp(0.05, 0.45)
    >>> ramp(0.0), ramp(0.25), ramp(1.0)
    (0.0, 0.5, 1.0)
    """

    start: float = 0.0
    end: float = 0.3

    def __post_init__(self) -> None:
        check_real(self.start, "start", low=0, high=1)
        check_real(self.end, "end", low=0, high=1)
        if self.start >= self.end:
            raise ValueError(f"start must be below end, got {self.start:g} and {self.end:g}.")

    def __call__(self, progress: float) -> float:
        return min(max((progress - self.start) / (self.end - self.start), 0.0), 1.0)


@dataclass(frozen=True)
class OneCycle:
    r"""Half a cosine from `first` up to 1 at `peak`, and one from there down to `last` at the end.

    Parameters
    ----------
    peak : float, default=0.3
        Share of the training at which the learning rate is `lr`, in (0, 1).
    first, last : float
        Learning rate at the beginning and at the end in units of `lr`.

    References
    ----------
    .. [1] L. Smith, N. Topin, "Super-convergence: very fast training of neural networks using
       large learning rates", 2018.

    Examples
    --------
    >>> from sklearn_robust.neural_network import OneCycle
    >>> cycle = OneCycle(peak=0.5, first=0.1, last=0.0)
    >>> [round(cycle(p), 3) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """

    peak: float = 0.3
    first: float = 0.04
    last: float = 1e-4

    def __post_init__(self) -> None:
        check_real(self.peak, "peak", low=0, high=1, open_low=True, open_high=True)
        check_real(self.first, "first", low=0, high=1)
        check_real(self.last, "last", low=0, high=1)

    def __call__(self, progress: float) -> float:
        if progress < self.peak:
            return _cosine(self.first, 1.0, progress / self.peak)
        return _cosine(1.0, self.last, (progress - self.peak) / (1 - self.peak))


@dataclass(frozen=True)
class MultiStep:
    """Multiplied by `factor` at each of the milestones.

    Parameters
    ----------
    milestones : sequence of float
        Shares of the training.
    factor : float, default=0.1

    Examples
    --------
    >>> from sklearn_robust.neural_network import MultiStep
    >>> steps = MultiStep((0.5, 0.75), factor=0.5)
    >>> steps(0.4), steps(0.5), steps(0.9)
    (1.0, 0.5, 0.25)
    """

    milestones: Sequence[float] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        for milestone in self.milestones:
            check_real(milestone, "each of milestones", low=0, high=1)
        check_real(self.factor, "factor", low=0, high=1, open_low=True)

    def __call__(self, progress: float) -> float:
        return float(self.factor ** sum(progress >= m for m in self.milestones))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def constant(progress: float) -> float:
    return 1.0


EPSILON_SCHEDULES: dict[str, Schedule] = {"ramp": Ramp(), "constant": constant}
LR_SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "one-cycle": OneCycle(),
    "multi-step": MultiStep(),
}


def resolve_schedule(schedule: Any, name: str, known: dict[str, Schedule]) -> Schedule:
    """Return the function meant by the hyperparameter `name`: one of `known`, or a callable."""
    return schedule if callable(schedule) else known[check_option(schedule, name, known)]


@contextmanager
def rates_kept(net: Any) -> Iterator[None]:
    """Let a net's learning rates go on where skorch begins a training, between two `partial_fit`.

    It makes the schedulers of torch anew there, and each makes a step.
    """
    groups, callbacks = net.optimizer_.param_groups, [c for _, c in net.callbacks_]
    rates = [group["lr"] for group in groups]
    schedulers = [(c, getattr(c, "lr_scheduler_", None)) for c in callbacks]
    yield
    if not net.history:
        return
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    for callback, scheduler in schedulers:
        if scheduler is not None and scheduler.optimizer is net.optimizer_:
            callback.lr_scheduler_ = scheduler
