"""What attacks share: whom to attack, how often, at which class, and how to keep what is found."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from sklearn_robust._arrays import (
    Array,
    as_like,
    is_torch,
    namespace,
    replace_rows,
    sort_rows,
    works_ahead,
)
from sklearn_robust._norms import Norm
from sklearn_robust._threat import Neighbourhood
from sklearn_robust._validation import check_int
from sklearn_robust.attacks._losses import Loss, get_loss, is_right, without
from sklearn_robust.attacks._model import Model

Run = Callable[[Array, Array, Loss], Array]
Move = Callable[[tuple, tuple], tuple]


def search(
    model: Model,
    X: Array,
    y: Array,
    run: Run,
    *,
    loss: str | Loss,
    n_restarts: int = 1,
    n_targets: int = 0,
    only_correct: bool = True,
    logits: Array | None = None,
) -> Array:
    """Run an attack several times, each run on the samples that are still classified correctly.

    Parameters
    ----------
    model : Model
    X, y : arrays
        The clean samples and their class indices.
    run : callable
        Maps the samples to attack, their labels and the loss to the points it has found.
    loss : str or Loss
    n_restarts : int
    n_targets : int
        0: untargeted. Otherwise one run for each of so many wrong classes, most likely first; all
        of them if there are fewer.
    only_correct : bool
        Whether to leave alone what is misclassified as it is.
    logits : array, optional
        Those at `X`, if they are known.

    Returns
    -------
    X_adv : array in the shape of X
    """
    loss = get_loss(loss)
    if logits is None and only_correct:
        logits = model.logits(X)
    todo = is_right(logits, y) if only_correct else y == y
    plan = [
        aimed for aimed in losses(loss, model, X, y, n_targets, logits) for _ in range(n_restarts)
    ]
    if len(plan) == 1 and works_ahead(X):
        # Attacking some in vain costs less than waiting for the device to say whom to attack.
        return where_rows(todo, run(X, y, plan[0]), X)
    X_adv = X
    for number, aimed in enumerate(plan):
        if not todo.any():
            break
        if todo.all():
            found = X_adv = run(X, y, aimed)
        else:
            found = run(X[todo], y[todo], aimed.take(todo))
            X_adv = replace_rows(X_adv, todo, found)
        if number < len(plan) - 1:
            todo = replace_rows(todo, todo, is_right(model.logits(found), y[todo]))
    return X_adv


def repeat(
    model: Model, move: Move, n_steps: int, moving: tuple, fixed: tuple, kind: Hashable | None
) -> tuple:
    """Return `moving` after `n_steps` times ``moving = move(moving, fixed)``.

    Both are tuples of arrays, of objects that hold arrays, and of None. A model may have a method
    `repeat` that does it in a faster way, and knows the step again by `kind`: all else that decides
    what `move` does on it. None: there will hardly be another step of this shape.
    """
    faster = getattr(model, "repeat", None)
    if faster is not None and kind is not None:
        return faster(move, n_steps, moving, fixed, kind)
    for _ in range(n_steps):
        moving = move(moving, fixed)
    return moving


def losses(
    loss: Loss, model: Model, X: Array, y: Array, n_targets: int, logits: Array | None = None
) -> list[Loss]:
    """Return the loss, or aimed at the likeliest wrong class of each sample, the second, ..."""
    if n_targets == 0:
        return [loss]
    logits = model.logits(X) if logits is None else logits
    _, order = sort_rows(-without(logits, y))
    return [loss.at(order[:, rank]) for rank in range(min(n_targets, logits.shape[1] - 1))]


def check_targets(n_targets: Any, loss: str | Loss) -> None:
    """Raise ValueError unless `n_targets` is a count and, if > 0, the loss can be aimed."""
    check_int(n_targets, "n_targets", low=0)
    if n_targets:
        get_loss(loss).at(np.zeros(1, dtype=int))


def check_model(model: Any, attack: Any, *, n_targets: int = 0, gradients: bool = True) -> None:
    """Raise ValueError if the attack cannot work on this model."""
    name = type(attack).__name__
    if gradients and not hasattr(model, "ascent"):
        kind = getattr(model, "kind", type(model).__name__)  # one that counts says whose passes
        raise ValueError(
            f"{name} needs gradients with respect to the input, which {kind} does not give. Use an "
            "attack that needs scores only: Square(), or attack='auto'."
        )
    if model.n_classes == 1:  # training passes 0, not knowing the number
        raise ValueError(
            f"{name} needs a model with at least 2 classes, got n_classes=1: "
            + ("there is no class to aim at." if n_targets else "no input can be misclassified.")
        )


def spread(values: Array, like: Array) -> Array:
    """Return one value per sample, shaped so that it broadcasts against the samples `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def to_unit_length(norm: Norm, u: Array) -> Array:
    """Return each row of `u` divided by its length; zero stays zero."""
    length = norm.length(u)
    return u / (length + (length == 0))[:, None]


def where_rows(mask: Array, a: Array, b: Array) -> Array:
    """Return ``a[i]`` where ``mask[i]`` and ``b[i]`` elsewhere."""
    return namespace(a).where(spread(mask, a), a, b)


def copied(x: Array) -> Array:
    """Return a copy of `x`, where it may be a view."""
    return x.clone() if is_torch(x) else x.copy()


def mistakes(logits: Array, y: Array, margin: Array) -> Array | None:
    """Return which samples are misclassified, None for none; `margin` is `Margin` of the logits.

    Nearly always the margins say that none is, and then this costs one comparison.
    """
    if (margin < 0).all():
        return None
    wrong = ~is_right(logits, y)
    return wrong if wrong.any() else None


def full(like: Array, value: float) -> Array:
    """Return `value` once for each sample of `like`, in its dtype and on its device."""
    return namespace(like).zeros_like(like.reshape(len(like), -1)[:, 0]) + as_like(value, like)


class Kept:
    """Remembers for each sample the first point that was misclassified."""

    def __init__(self, X: Array, y: Array) -> None:
        self._y, self._kept = y, X
        self.found = y != y

    def see(self, X_adv: Array, logits: Array) -> bool:
        """Look at one point of each sample; return whether each sample has its point by now."""
        new = ~is_right(logits, self._y) & ~self.found
        if not new.any():
            return False
        self._kept = where_rows(new, X_adv, self._kept)
        self.found = self.found | new
        return bool(self.found.all())

    def best(self, otherwise: Array) -> Array:
        """Return the misclassified points, and `otherwise` where there is none."""
        return where_rows(self.found, self._kept, otherwise)


def uphill(around: Neighbourhood, X: Array, gradient: Array) -> Array:
    """Return the unit step of steepest ascent from `X`; under l1, of a feature that can move.

    An l1 step moves one feature. Where that stands at the end of its range the step leads nowhere,
    and the attack would never try another. Under the other norms all features move at once.
    """
    if around.is_pointed:
        gradient = around.inward(X, gradient)
    return around.direction(gradient)
