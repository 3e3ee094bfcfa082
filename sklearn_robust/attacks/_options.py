"""From what a caller says about an attack to the attack."""

from __future__ import annotations

from typing import Any

from sklearn_robust.attacks._ensemble import get_attack
from sklearn_robust.attacks._pgd import PGD
from sklearn_robust.attacks._verdict import Attack


def choose_attack(
    attack: Any,
    *,
    n_steps: int | None = None,
    step_size: Any = None,
    n_restarts: int | None = None,
    gradients: bool = True,
) -> Attack:
    """Return the attack meant by a name or an object, and by the options of "pgd".

    Parameters
    ----------
    attack : str or an attack
        As in `get_attack`.
    n_steps, step_size, n_restarts
        Of `PGD`, with 40 steps and one run unless they say otherwise; given with "auto", they
        choose "pgd".
    gradients : bool, default=True
        Whether the model gives gradients.
    """
    options = {"n_steps": n_steps, "step_size": step_size, "n_restarts": n_restarts}
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(attack, str) and (attack == "pgd" or (attack == "auto" and given and gradients)):
        return PGD(**{"n_steps": 40, "keep": "fooling", **given})
    if given:
        raise ValueError(
            f"{', '.join(given)} can be given with attack='pgd' only, got attack={attack!r}. Pass "
            "attack='pgd', or an attack with its own settings, such as attacks.APGD(n_steps=100)."
        )
    return get_attack(attack, gradients=gradients)
