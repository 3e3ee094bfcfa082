r"""Projected gradient descent, Algorithm 1 of the report, for every norm and with restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn_robust._arrays import Array, namespace, per_feature, replace_rows
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int, check_option, check_step_size
from sklearn_robust.attacks._losses import Loss, get_loss, is_right
from sklearn_robust.attacks._model import DifferentiableModel


@dataclass(frozen=True)
class PGD:
    r"""Projected gradient ascent on the loss, inside the threat model.

    .. math:: X_{t+1} = P_A(X_t + \alpha \, u_t), \qquad
              u_t = \arg\max_{\|u\| \le 1} \langle \nabla_X L(F(X_t), y), u \rangle

    With the defaults this is Algorithm 1 of [1]_: only samples that are classified correctly are
    attacked, from a uniform random start, with `n_steps` steps (signed ones under linf), and the
    last iterate is returned.

    Parameters
    ----------
    n_steps : int, default=10
        Steps k. Costs k forward passes and k gradients with respect to the input.
    step_size : float, array or None, default=None
        Length alpha of one step in the units of X. None: ``2.5 * epsilon / n_steps``.
    random_start : bool, default=True
        Start from a point drawn uniformly from the ball; otherwise from X.
    n_restarts : int, default=1
        Number of runs; each one attacks only the samples that are still classified correctly.
        More than one needs a random start.
    loss : {"cross_entropy", "margin"} or Loss, default="cross_entropy"
        What is maximised.
    only_correct : bool, default=True
        Leave samples as they are which are misclassified already.
    keep : {"last", "fooling"}, default="last"
        Which iterate to return: the last one, as in the algorithm, or the first that is
        misclassified, which costs one more forward pass and makes a stronger attack.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Algorithm 1.
    .. [2] A. Madry et al., "Towards deep learning models resistant to adversarial attacks", 2018.

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

    def __post_init__(self) -> None:
        check_int(self.n_steps, "n_steps", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        get_loss(self.loss)
        if self.step_size is not None:
            check_step_size(self.step_size)
        check_option(self.keep, "keep", ("last", "fooling"))
        if self.n_restarts > 1 and not self.random_start:
            raise ValueError(
                "n_restarts > 1 needs random_start=True: without it every run is the same."
            )

    def perturb(
        self,
        model: DifferentiableModel,
        X: Array,
        y: Array,
        threat: ThreatModel,
        generator: Any,
        logits: Array | None = None,
    ) -> Array:
        """Return the adversarial batch, in the shape of `X`.

        Parameters
        ----------
        model : DifferentiableModel
        X : array of shape (n_samples, ...)
            Samples in the units of `threat`; left unchanged.
        y : array of shape (n_samples,)
            Class indices.
        threat : ThreatModel
        generator : numpy.random.Generator or torch.Generator
            Source of the random starts, on the device of X.
        logits : array of shape (n_samples, n_classes), optional
            The logits at `X` if they are known already, which saves a forward pass.
        """
        if threat.is_null or not len(X):
            return X
        if self.only_correct:
            todo = is_right(model.logits(X) if logits is None else logits, y)
        else:
            todo = y == y
        X_adv = X
        for restart in range(self.n_restarts):
            if not todo.any():
                break
            if todo.all():
                found = X_adv = self._run(model, X, y, threat, generator)
            else:
                found = self._run(model, X[todo], y[todo], threat, generator)
                X_adv = replace_rows(X_adv, todo, found)
            if restart < self.n_restarts - 1:
                todo = replace_rows(todo, todo, is_right(model.logits(found), y[todo]))
        return X_adv

    def _run(
        self, model: DifferentiableModel, X: Array, y: Array, threat: ThreatModel, generator: Any
    ) -> Array:
        around, loss = threat.around(X), get_loss(self.loss)
        step = self.step_size
        if step is None:
            step = 2.5 * threat.epsilon / self.n_steps
        step = per_feature(step, X)
        X_adv = around.sample(generator) if self.random_start else X
        watch = _FirstFooling(X, y) if self.keep == "fooling" else None
        for _ in range(self.n_steps):
            logits, gradient = model.ascent(X_adv, y, loss)
            if watch is not None:
                watch.see(X_adv, logits)
            X_adv = around.project(X_adv + step * around.direction(gradient))
        return X_adv if watch is None else watch.best(X_adv)


class _FirstFooling:
    """Remembers for each sample the first iterate that was misclassified."""

    def __init__(self, X: Array, y: Array) -> None:
        self._y, self._kept = y, X
        self._found = y != y

    def see(self, X_adv: Array, logits: Array) -> None:
        new = ~is_right(logits, self._y) & ~self._found
        self._kept = self._choose(new, X_adv, self._kept)
        self._found = self._found | new

    def best(self, X_adv: Array) -> Array:
        return self._choose(self._found, self._kept, X_adv)

    @staticmethod
    def _choose(mask: Array, a: Array, b: Array) -> Array:
        return namespace(a).where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b)
