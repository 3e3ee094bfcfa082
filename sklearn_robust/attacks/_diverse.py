r"""PGD from starts that are spread out in the outputs of the model rather than in its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sklearn_robust._arrays import Array, random_uniform
from sklearn_robust._validation import check_int, check_real
from sklearn_robust.attacks._losses import Loss, get_loss
from sklearn_robust.attacks._points import Kept, uphill
from sklearn_robust.attacks._search import Run, SearchAttack


class _Outputs(Loss):
    """``<w, z>`` for one direction w per sample, drawn when the first logits are seen."""

    name = "outputs"

    def __init__(self, generator: Any) -> None:
        self._generator, self._w = generator, None

    def direction(self, logits: Array, y: Array) -> Array:
        if self._w is None:
            self._w = 2 * random_uniform(logits, self._generator) - 1
        return self._w


@dataclass(frozen=True)
class DiversePGD(SearchAttack):
    r"""PGD with restarts that begin far apart in what the model says.

    Each run first takes `n_start_steps` steps of length epsilon up ``<w, F(x)>``, with w drawn from
    :math:`[-1, 1]^K` [1]_, then `n_steps` steps up the loss, whose length falls from epsilon to 0
    as half a cosine. Random points of the ball mostly look alike to a network, and its gradient
    leads from all of them to the same place; these starts find what one long run does not.

    The gradients pass through rectifiers that are off, and through hardtanh and ReLU6 where they
    are full, as if these had the slope `leaks` there: in a network that is robust most units are
    off all over the ball, and its plain gradient does not see what would switch them on. Whether a
    point is a mistake is never judged by that.

    Parameters
    ----------
    n_steps : int, default=20
        Steps on the loss in one run.
    n_restarts : int, default=5
        Runs, each on the samples still classified correctly.
    n_start_steps : int, default=5
        Steps of one run before that. A run costs a forward pass and a gradient for each step, and
        one forward pass; one before the first run tells which samples are right.
    loss : {"margin", "cross_entropy", "dlr"} or Loss, default="margin"
    leaks : tuple of float in [0, 1], default=(0.003, 0.01)
        Slopes that the runs use in turn. ``(0.0,)``: plain gradients.

    Raises
    ------
    ValueError
        If a parameter breaks its rule; by `perturb`, if the model has no gradients or one class.

    References
    ----------
    .. [1] Y. Tashiro, Y. Song, S. Ermon, "Diversity can be transferred: output diversification for
       white- and black-box attacks", NeurIPS 2020.
    .. [2] Y. Guo, Q. Li, H. Chen, "Backpropagating linearly improves transferability of adversarial
       examples", NeurIPS 2020, for slopes in the backward pass alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, threat = np.array([[1., 0.]]), np.array([1]), attacks.ThreatModel(0.2)
    >>> attacks.DiversePGD().perturb(model, X, y, threat, np.random.default_rng(0))
    array([[0.8, 0.2]])
    """

    n_steps: int = 20
    n_restarts: int = 5
    n_start_steps: int = 5
    loss: str | Loss = "margin"
    leaks: tuple[float, ...] = (0.003, 0.01)

    def __post_init__(self) -> None:
        check_int(self.n_steps, "n_steps", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        check_int(self.n_start_steps, "n_start_steps", low=0)
        get_loss(self.loss)
        if not self.leaks:
            raise ValueError("leaks must hold at least one slope, got none. Plain: leaks=(0.0,).")
        for leak in self.leaks:
            check_real(leak, "leaks", low=0, high=1)

    def run(self, run: Run) -> Array:
        around, kept = run.around, Kept(run.X, run.y)
        leak = self.leaks[run.number % len(self.leaks)]
        x, outputs = around.sample(run.generator), _Outputs(run.generator)
        for number in range(self.n_start_steps + self.n_steps):
            goal = outputs if number < self.n_start_steps else run.loss
            logits, gradient = run.model.ascent(x, run.y, goal, leak)
            if kept.see(x, logits):
                return kept.best(x)
            length = self._length(number)
            x = around.project(x + length * around.epsilon * uphill(around, x, gradient))
        kept.see(x, run.model.logits(x))
        return kept.best(x)

    def _length(self, number: int) -> float:
        done = max(number - self.n_start_steps, 0) / self.n_steps
        return (1 + math.cos(math.pi * done)) / 2
