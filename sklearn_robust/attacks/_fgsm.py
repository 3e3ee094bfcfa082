"""A single step along the gradient: the fast gradient sign method, under every norm."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn_robust._arrays import Array
from sklearn_robust.attacks._losses import Loss, get_loss
from sklearn_robust.attacks._search import Run, SearchAttack


@dataclass(frozen=True)
class FGSM(SearchAttack):
    r"""Fast gradient sign method: one step to the far end of the threat set.

    .. math:: X_{adv} = \arg\max_{x' \in A(x)} \langle \nabla_x L(F(x), y), x' \rangle

    which is ``x + epsilon * sign(gradient)`` under linf [1]_ and exact for a linear model.
    Costs a forward pass, which tells which samples are right, then another one and a gradient.

    Parameters
    ----------
    loss : {"cross_entropy", "margin", "dlr"} or Loss, default="cross_entropy"

    Raises
    ------
    ValueError
        If the loss is unknown; by `perturb`, if the model has no gradients or one class.

    References
    ----------
    .. [1] I. Goodfellow et al., "Explaining and harnessing adversarial examples", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> attacks.FGSM().perturb(model, X, y, attacks.ThreatModel(0.5), np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    loss: str | Loss = "cross_entropy"

    def __post_init__(self) -> None:
        get_loss(self.loss)

    def run(self, run: Run) -> Array:
        _, gradient = run.model.ascent(run.X, run.y, run.loss)
        return run.around.furthest(gradient)
