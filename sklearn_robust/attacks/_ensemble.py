"""Several attacks as one, and the combinations that the library uses by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sklearn_robust._arrays import Array, replace_rows, rows
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks._apgd import APGD
from sklearn_robust.attacks._batched import BatchedSearch
from sklearn_robust.attacks._diverse import DiversePGD
from sklearn_robust.attacks._fgsm import FGSM
from sklearn_robust.attacks._losses import is_right
from sklearn_robust.attacks._masked import WhereMasked
from sklearn_robust.attacks._minimum_norm import FMN
from sklearn_robust.attacks._model import Model
from sklearn_robust.attacks._pgd import PGD
from sklearn_robust.attacks._points import where_rows
from sklearn_robust.attacks._square import Square
from sklearn_robust.attacks._verdict import Attack


class AttackEnsemble:
    """The worst of several attacks for each sample; each runs only on what the former left.

    Parameters
    ----------
    attacks : iterable of attacks
        In the order in which they run: cheap ones first.

    Raises
    ------
    ValueError
        If there is no attack among them, or something without a method `perturb`; by `perturb`, if
        a member raises it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> both = attacks.AttackEnsemble([attacks.FGSM(), attacks.Square(n_queries=20)])
    >>> both.perturb(model, X, y, attacks.ThreatModel(0.5), np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    def __init__(self, attacks: Iterable[Attack]) -> None:
        self.attacks = tuple(attacks)
        if not self.attacks:
            raise ValueError("attacks must hold at least one attack, got none.")
        for attack in self.attacks:
            if not hasattr(attack, "perturb"):
                raise ValueError(f"attacks must hold objects with a perturb method, got {attack!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.attacks)!r})"

    def perturb(
        self, model: Model, X: Array, y: Array, threat: ThreatModel, generator: Any
    ) -> Array:
        """Return the adversarial batch: for each sample the point of the first attack to break it.

        Parameters
        ----------
        model, X, y, threat, generator
            As in `PGD.perturb`.

        Returns
        -------
        X_adv : array in the shape of X
            Where none does, the point of the last attack that has moved the sample.
        """
        X_adv, todo = X, is_right(model.logits(X), y)
        for attack in self.attacks:
            if not todo.any():
                break
            found = attack.perturb(model, X[todo], y[todo], threat, generator)
            moved = (rows(found) != rows(X[todo])).any(1)
            X_adv = replace_rows(X_adv, todo, where_rows(moved, found, X_adv[todo]))
            todo = replace_rows(todo, todo, is_right(model.logits(found), y[todo]))
        return X_adv


def auto() -> AttackEnsemble:
    """Return the fast part of the standard combination: 75 gradients for a robust sample.

    Four runs from diverse starts, then one towards each of the three likeliest rivals; at last
    1,000 queries for samples at which the gradient is exactly zero, if there are any.
    """
    return AttackEnsemble(
        [
            DiversePGD(10, n_restarts=4, n_start_steps=1),
            APGD(10, "margin", n_targets=3, leak=0.01),
            WhereMasked(Square(1000)),
        ]
    )


def strong() -> AttackEnsemble:
    """Return the standard combination, which begins with its fast part.

    About 360 gradients and 1,200 further forward passes for a robust sample: more and longer runs
    from diverse starts, some of them with plain gradients, the boundary from outside, and a search
    that needs no gradients.
    """
    return AttackEnsemble(
        [
            *auto().attacks,
            DiversePGD(20, n_restarts=10, n_start_steps=1, leaks=(0.003, 0.01, 0.0)),
            FMN(20, n_targets=4),
            Square(1200, inside=0),
        ]
    )


ATTACKS: dict[str, Callable[[], Attack]] = {
    "fgsm": FGSM,
    "pgd": lambda: PGD(40, keep="fooling"),
    "apgd": APGD,
    "diverse": DiversePGD,
    "fmn": FMN,
    "square": Square,
    "auto": auto,
    "strong": strong,
}


def get_attack(attack: str | Attack, *, gradients: bool = True) -> Attack:
    """Return the attack of that name, or `attack` itself if it is one.

    Parameters
    ----------
    attack : {"auto", "strong", "fgsm", "pgd", "apgd", "diverse", "fmn", "square"} or an attack
    gradients : bool, default=True
        Whether the model gives gradients. Where it does not, "auto" is `BatchedSearch`, and
        "strong" that and then `Square` with 5000 queries.

    Returns
    -------
    attack : Attack

    Raises
    ------
    ValueError
        If the name is unknown, or the object has no method `perturb`, or is a class.

    Examples
    --------
    >>> from sklearn_robust.attacks import get_attack
    >>> [type(member).__name__ for member in get_attack("strong", gradients=False).attacks]
    ['BatchedSearch', 'Square']
    >>> [type(member).__name__ for member in get_attack("auto").attacks]
    ['DiversePGD', 'APGD', 'WhereMasked']
    """
    if not isinstance(attack, str):
        if isinstance(attack, type) or not hasattr(attack, "perturb"):
            raise ValueError(
                f"attack must be a name or an object with a perturb method, such as PGD(), "
                f"got {attack!r}."
            )
        return attack
    if attack not in ATTACKS:
        known = ", ".join(map(repr, ATTACKS))
        raise ValueError(
            f"attack must be one of {known}, or an attack with settings of its own, such as "
            f"PGD(n_steps=100), got {attack!r}."
        )
    if not gradients and attack in ("auto", "strong"):
        fast = BatchedSearch()
        return fast if attack == "auto" else AttackEnsemble([fast, Square(5000)])
    return ATTACKS[attack]()
