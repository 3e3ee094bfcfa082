"""Projected gradient descent, Algorithm 1 of Collins et al. (2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, namespace, per_feature, rows
from sklearn_robust._norms import NORMS
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import (
    check_bool,
    check_int,
    check_option,
    check_real,
    check_step_size,
)
from sklearn_robust.attacks._losses import Loss, get_loss
from sklearn_robust.attacks._model import DifferentiableModel
from sklearn_robust.attacks._points import Kept, to_unit_length, uphill
from sklearn_robust.attacks._search import Run, SearchAttack, check_targets, repeat

# All steps together must be able to cover this share of epsilon, or the attack is no attack.
_LEAST_REACH = 0.01


@dataclass(frozen=True)
class PGD(SearchAttack):
    r"""Projected gradient ascent on the loss, inside the threat model.

    .. math:: X_{t+1} = P_A(X_t + \alpha \, u_t), \qquad
              u_t = \arg\max_{\|u\| \le 1} \langle \nabla_X L(F(X_t), y), u \rangle

    With the defaults this is Algorithm 1 of [1]_: only samples that are classified correctly are
    attacked, from a uniform random start, with `n_steps` steps (signed ones under linf), and the
    last iterate is returned.

    Parameters
    ----------
    n_steps : int, default=10
        Steps k of one run: k forward passes and k gradients with respect to the input. One forward
        pass before the first run, and one between runs, tell which samples are right.
    step_size : float, array or None, default=None
        Length alpha of one step in the units of X. None: ``2.5 * epsilon / n_steps``.
    random_start : bool, default=True
        Start from a point drawn uniformly from the ball; otherwise from X.
    n_restarts : int, default=1
        Number of runs; each one attacks only the samples that are still classified correctly.
        More than one needs a random start.
    loss : {"cross_entropy", "margin", "dlr"} or Loss, default="cross_entropy"
        What is maximised.
    n_targets : int, default=0
        0: untargeted. Otherwise one run per restart towards each of the `n_targets` likeliest wrong
        classes (all of them if there are fewer), with the targeted form of the loss.
    momentum : float in [0, 1], default=0
        Steps follow ``m <- momentum * m + gradient / |gradient|_1`` [3]_.
    only_correct : bool, default=True
        Leave samples as they are which are misclassified already.
    keep : {"last", "fooling"}, default="last"
        Which iterate to return: the last one, as in the algorithm, or the first that is
        misclassified, which makes a stronger attack and ends once every sample has one.

    Raises
    ------
    ValueError
        If a parameter breaks its rule; by `perturb`, if the steps together cover less than 1 % of
        epsilon, or the model has no gradients or one class.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Algorithm 1.
    .. [2] A. Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018.
    .. [3] Y. Dong et al., "Boosting adversarial attacks with momentum", 2018, Algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> threat = attacks.ThreatModel(epsilon=0.5)
    >>> attacks.PGD().perturb(model, X, y, threat, np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    n_steps: int = 10
    step_size: Any = None
    random_start: bool = True
    n_restarts: int = 1
    loss: str | Loss = "cross_entropy"
    only_correct: bool = True
    keep: str = "last"
    n_targets: int = 0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_int(self.n_steps, "n_steps", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        check_targets(self.n_targets, self.loss)
        get_loss(self.loss)
        check_step_size(self.step_size)
        check_bool(self.random_start, "random_start")
        check_bool(self.only_correct, "only_correct")
        check_option(self.keep, "keep", ("last", "fooling"))
        check_real(self.momentum, "momentum", low=0, high=1)
        if self.n_restarts > 1 and not self.random_start:
            raise ValueError(
                "n_restarts > 1 needs random_start=True: without it every run is the same."
            )

    def check_reach(self, threat: ThreatModel) -> None:
        """Raise ValueError if all steps together cover next to nothing of epsilon."""
        if self.step_size is None or threat.moves is not None:
            return
        reach, radius = self.n_steps * np.max(self.step_size), np.max(threat.epsilon)
        if reach < _LEAST_REACH * radius:
            raise ValueError(
                f"step_size must let {self.n_steps} steps cover at least {_LEAST_REACH:.0%} of "
                f"epsilon={radius:g}, got {np.max(self.step_size):g}, which covers "
                f"{reach / radius:.2%}. Both are in the units of X; pass step_size=None."
            )

    def run(self, run: Run) -> Array:
        model, around = run.model, run.around
        step = 2.5 * run.threat.epsilon / self.n_steps if self.step_size is None else self.step_size
        step = per_feature(step, run.X)
        if self.step_size is None and run.threat.moves is not None:
            step = 2.5 * around.epsilon / self.n_steps
        X_adv = around.sample(run.generator) if self.random_start else run.X
        memory = namespace(run.X).zeros_like(run.X) if self.momentum else None
        fixed = (run.y, around, run.loss, step)
        if self.keep == "fooling":
            return self._first_fooling(model, (X_adv, memory), fixed)

        def move(moving: tuple, fixed: tuple) -> tuple:
            return self._move(model, moving, fixed)[0]

        # Of several runs each but the first has as many samples as are left.
        once = self.n_restarts == 1 and not self.n_targets
        kind = (type(self), self.momentum, id(run.threat.geometry)) if once else None
        return repeat(model, move, self.n_steps, (X_adv, memory), fixed, kind)[0]

    def _first_fooling(self, model: DifferentiableModel, moving: tuple, fixed: tuple) -> Array:
        kept = Kept(fixed[1].X, fixed[0])
        for _ in range(self.n_steps):
            X_adv = moving[0]
            moving, logits = self._move(model, moving, fixed)
            if kept.see(X_adv, logits):
                break
        return kept.best(moving[0])

    def _move(self, model: DifferentiableModel, moving: tuple, fixed: tuple) -> tuple[tuple, Array]:
        """Return the points and the memory after one step, and the logits before it."""
        (X_adv, memory), (y, around, loss, step) = moving, fixed
        logits, gradient = model.ascent(X_adv, y, loss)
        if self.momentum:
            gradient = memory = self.momentum * memory + _unit_l1(gradient)
        X_adv = around.project(X_adv + step * uphill(around, X_adv, gradient))
        return (X_adv, memory), logits


def _unit_l1(gradient: Array) -> Array:
    return to_unit_length(NORMS["l1"], rows(gradient)).reshape(gradient.shape)
