"""Averages of the weights over the course of a training, which predict instead of the last ones."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._validation import check_real


class WeightAveraging(ABC):
    """Keeps an average of a module's state; a subclass says how fast the average moves.

    Floating-point buffers (the statistics of batch norm) are averaged as the weights are, others
    are those of the last step.
    """

    _average: dict[str, Tensor] | None
    _steps: int

    def begin(self) -> None:
        self._average, self._steps = None, 0

    @abstractmethod
    def rate(self, progress: float) -> float | None:
        """Return how far the average moves towards the weights of this step; None: not yet."""

    def update(self, module: torch.nn.Module, progress: float) -> None:
        """Take in the weights after a step; `progress` in [0, 1] is that of the training."""
        rate = self.rate(progress)
        if rate is None:
            return
        self._steps += 1
        state = module.state_dict()
        with torch.no_grad():
            if self._average is None:
                self._average = {name: value.clone() for name, value in state.items()}
                return
            for name, value in state.items():
                if value.is_floating_point() or value.is_complex():
                    self._average[name].lerp_(value, rate)
                else:
                    self._average[name].copy_(value)

    def weights(self) -> dict[str, Tensor] | None:
        """Return the averaged state, None if there is none yet."""
        return self._average

    @contextmanager
    def applied(self, module: torch.nn.Module) -> Iterator[None]:
        """Let the module have the averaged state for a while."""
        if self._average is None:
            yield
            return
        own = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self._average)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def state(self) -> dict[str, Any]:
        return {"average": self._average, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        self._average, self._steps = state["average"], state["steps"]


@dataclass
class EMA(WeightAveraging):
    r"""Exponential moving average over steps, ``weight_averaging="ema"``.

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
              d_t = \min(d, (1 + t) / (10 + t))

    Parameters
    ----------
    decay : float in [0, 1), default=0.999
        An average over about ``1 / (1 - decay)`` steps.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import EMA
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> clf = RobustFCClassifier((16,), epsilon=0.3, lr=0.01, weight_averaging=EMA(0.9),
    ...                          random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    decay: float = 0.999
    _average: dict[str, Tensor] | None = field(default=None, init=False, repr=False)
    _steps: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_real(self.decay, "decay", low=0, high=1, open_high=True)

    def rate(self, progress: float) -> float:
        t = self._steps
        return 1 - min(self.decay, (1 + t) / (10 + t))


@dataclass
class SWA(WeightAveraging):
    """Mean of the weights over all steps from `start` on, ``weight_averaging="swa"``.

    Parameters
    ----------
    start : float in [0, 1), default=0.75
        Share of the training after which the mean begins.

    References
    ----------
    .. [1] P. Izmailov et al., "Averaging weights leads to wider optima and better generalization",
       UAI 2018; there with the weights after each epoch.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.neural_network import SWA
    >>> X, y = make_blobs(200, centers=[[-1, -1], [1, 1]], cluster_std=0.3, random_state=0)
    >>> clf = RobustFCClassifier((16,), epsilon=0.3, lr=0.01, weight_averaging=SWA(0.5),
    ...                          random_state=0)
    >>> clf.fit(X, y).robust_score(X, y) > 0.9
    True
    """

    start: float = 0.75
    _average: dict[str, Tensor] | None = field(default=None, init=False, repr=False)
    _steps: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        check_real(self.start, "start", low=0, high=1, open_high=True)

    def rate(self, progress: float) -> float | None:
        return None if progress < self.start else 1 / (self._steps + 1)


_AVERAGES: dict[str, type[WeightAveraging]] = {"ema": EMA, "swa": SWA}


def resolve_averaging(averaging: Any) -> WeightAveraging:
    """Return a fresh average, as the hyperparameter means it."""
    if isinstance(averaging, WeightAveraging):
        return copy.deepcopy(averaging)
    if isinstance(averaging, str) and averaging in _AVERAGES:
        return _AVERAGES[averaging]()
    raise ValueError(
        f"weight_averaging must be None, 'ema', 'swa' or an instance of EMA or SWA, got "
        f"{averaging!r}."
    )
