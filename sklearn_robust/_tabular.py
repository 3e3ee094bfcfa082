"""Adversaries that tables have: which columns change, which way, how far and in which steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, as_like, is_torch, namespace, per_feature
from sklearn_robust._validation import check_bool, check_real

# A share of a whole number is taken to so many digits: 0.29 of 100 are 29.
_DIGITS = 1e-12


@dataclass(frozen=True)
class Change:
    r"""How far the values of a column may go.

    .. math:: x' - x \in [\mathrm{low}, \mathrm{high}] \text{, times } |x| \text{ if relative}

    Parameters
    ----------
    low : float
        The largest decrease as a number <= 0; 0: the column never falls.
    high : float
        The largest increase, >= 0; 0: it never rises.
    relative : bool, default=False
        Whether both are shares of the value's size: 0.1 is a tenth of it. A value of 0 stays.
    whole : bool, default=False
        Whether the column holds whole numbers, and goes on doing so.
    cost : float, default=1.0
        What any change of it costs of the budget.

    Raises
    ------
    ValueError
        If a parameter breaks its rule.

    Examples
    --------
    >>> from sklearn_robust import Change
    >>> Change(-1, 5, whole=True)  # one visit less, or up to five more
    Change(low=-1, high=5, relative=False, whole=True, cost=1.0)
    """

    low: float
    high: float
    relative: bool = False
    whole: bool = False
    cost: float = 1.0

    def __post_init__(self) -> None:
        check_real(self.low, "low", high=0)
        check_real(self.cost, "cost", low=0)
        check_real(self.high, "high", low=0)
        check_bool(self.relative, "relative")
        check_bool(self.whole, "whole")


@dataclass(frozen=True)
class Flip:
    """That a column of categories may hold others.

    Of categories that a OneHotEncoder, OrdinalEncoder or TargetEncoder reads, or the classifier
    itself (`CategoricalNB`, gradient boosting on categories), and of booleans in a data frame.

    Parameters
    ----------
    to : sequence, optional
        The categories that it may be changed to. None: all that the encoder or the classifier was
        fitted on.
    cost : float, default=1.0
        What a change costs of the budget.

    Raises
    ------
    ValueError
        If a parameter breaks its rule.

    Examples
    --------
    >>> from sklearn_robust import Flip
    >>> Flip(["Bern", "Basel"], cost=2)
    Flip(to=('Bern', 'Basel'), cost=2)
    """

    to: Any = None
    cost: float = 1.0

    def __post_init__(self) -> None:
        check_real(self.cost, "cost", low=0)
        if self.to is None:
            return
        if isinstance(self.to, str) or not isinstance(self.to, Iterable):
            raise ValueError(f"to must be None or a list of categories, got {self.to!r}.")
        object.__setattr__(self, "to", tuple(self.to))


@dataclass(frozen=True)
class TabularThreat:
    """What an adversary may do to the columns of a table; takes the place of a radius, `epsilon`.

    Columns that are not named stay as they are. What holds for all values of a column, such as
    that none is negative, are its `clip_values`.

    Parameters
    ----------
    changes : dict
        From a column, by its name in a data frame or its position in an array, to a pair
        ``(low, high)`` in the units of the column, or a `Change` that says more, or for categories
        a `Flip`.
    budget : float, optional
        What all changes of a row may cost together: with a cost of 1 each, how many columns are
        changed at most. None: no limit.

    Raises
    ------
    ValueError
        If a change breaks its rule, or is none.

    Examples
    --------
    An adversary who earns up to a tenth more and is visited up to three times less:

    >>> import pandas as pd
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust import Change, TabularThreat, perturb, robust_score
    >>> X = pd.DataFrame({"income": [20.0, 30.0, 60.0, 80.0], "visits": [9, 7, 5, 6]})
    >>> y = [0, 0, 1, 1]
    >>> clf = LogisticRegression(C=0.1).fit(X, y)
    >>> threat = TabularThreat(
    ...     {"income": Change(0, 0.1, relative=True), "visits": Change(-3, 0, whole=True)}
    ... )
    >>> perturb(clf, X, y, epsilon=threat)
       income  visits
    0    22.0       6
    1    33.0       4
    2    60.0       5
    3    80.0       6
    >>> robust_score(clf, X, y, epsilon=threat)
    1.0
    """

    changes: Mapping[Any, Any]
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_real(self.budget, "budget", low=0)
        if not isinstance(self.changes, Mapping):
            raise ValueError(
                "changes must be a dict from columns to (low, high), a Change or a Flip, got "
                f"{self.changes!r}."
            )
        object.__setattr__(self, "changes", {k: _change(k, v) for k, v in self.changes.items()})

    def on(self, columns: Any, n_columns: int) -> Moves:
        """Return the same for columns in their order, by name if they have `columns` for names."""
        known = list(range(n_columns)) if columns is None else list(columns)
        odd = [key for key in self.changes if key not in known]
        if odd:
            what = "columns of X" if columns is not None else f"positions from 0 to {n_columns - 1}"
            raise ValueError(f"changes must be of {what}, not so for {odd[:10]}.")
        stays = Change(0, 0)
        given = [self.changes.get(key, stays) for key in known]
        every = [stays if isinstance(change, Flip) else change for change in given]
        flips = {k: change for k, change in enumerate(given) if isinstance(change, Flip)}
        return Moves(
            np.array([-float(change.low) for change in every]),
            np.array([float(change.high) for change in every]),
            np.array([change.relative for change in every], dtype=bool),
            np.array([change.whole for change in every], dtype=bool),
            cost=np.array([float(change.cost) for change in every]),
            budget=np.inf if self.budget is None else float(self.budget),
            flips=flips,
        )


def _change(column: Any, given: Any) -> Change | Flip:
    """Return what is said of a column as a `Change`, or a `Flip`."""
    if isinstance(given, Change | Flip):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"changes[{column!r}] must be (low, high), a Change or a Flip, got {given!r}."
        )
    try:
        return Change(*given)
    except ValueError as error:
        raise ValueError(f"changes[{column!r}]: {error}") from None


@dataclass(frozen=True)
class Moves:
    r"""A `TabularThreat` on columns in their order, as arrays of shape (n_columns,).

    Columns may be seen scaled, as ``factor * x + origin``: what is said of x holds all the same.

    Attributes
    ----------
    down, up : float ndarray
        How far a value x may fall, and rise, >= 0.
    relative, whole : bool ndarray
        As of a `Change`.
    origin, factor : float or float ndarray
        How columns are seen.
    slack : float or float ndarray
        How much further they may go as they are seen: what rounding may add.
    cost : float or float ndarray
        Of any change of a column, of the budget.
    budget : float
    flips : dict from int to Flip
        Columns of categories.
    """

    down: np.ndarray
    up: np.ndarray
    relative: np.ndarray
    whole: np.ndarray
    origin: Any = 0.0
    factor: Any = 1.0
    slack: Any = 0.0
    cost: Any = 1.0
    budget: float = np.inf
    flips: Mapping[int, Flip] = field(default_factory=dict)

    @property
    def is_box(self) -> bool:
        """Whether numbers move each by itself, and nothing else does."""
        cost = np.broadcast_to(self.cost, self.down.shape)[self.moving].sum()
        return not self.flips and bool(self.budget >= cost)

    @property
    def moving(self) -> np.ndarray:
        """Which columns may change, shape (n_columns,)."""
        return (self.down > 0) | (self.up > 0)

    def sides(self, X: Array, multiple: float) -> tuple[Array, Array]:
        """Return how far values may fall and rise in a multiple of the threat, in the form of `X`.

        Computed in float64, so that whole numbers do not depend on the precision of X.
        """
        xp, wide = namespace(X), X.double() if is_torch(X) else np.asarray(X, dtype=np.float64)
        factor, slack = per_feature(self.factor, wide), per_feature(self.slack, wide)
        raw = abs((wide - per_feature(self.origin, wide)) / factor)
        whole, turned = self._in(self.whole, wide), factor < 0
        raw = xp.where(whole, xp.round(raw), raw)  # as scaling may have left it beside its place
        size = xp.where(self._in(self.relative, wide), raw, as_like(1, wide))
        down, up = (multiple * per_feature(side, wide) * size for side in (self.down, self.up))
        sides = xp.where(turned, up, down), xp.where(turned, down, up)
        steps = (xp.where(whole, xp.floor(far * (1 + _DIGITS)), far) for far in sides)
        first, second = (as_like(abs(factor) * far + slack, X) for far in steps)
        return first, second

    @staticmethod
    def _in(mask: np.ndarray, x: Array) -> Array:
        return per_feature(mask, x) > 0

    def settled(self, values: np.ndarray, columns: Any = slice(None)) -> np.ndarray:
        """Return rows, of some columns, with the nearest whole numbers in columns of these."""
        whole = self.whole[columns]
        if not whole.any():
            return values
        flat = values.reshape(len(values), -1)
        nearest = np.where(whole, np.rint(flat), flat).astype(values.dtype, copy=False)
        return nearest.reshape(values.shape)

    def check_spared(self, columns: np.ndarray) -> None:
        """Raise ValueError if a column moves that is to be left alone, by a mask."""
        if (wrong := np.flatnonzero(columns & self.moving)).size:
            raise ValueError(
                "changes must leave columns alone that hold no numbers but words or booleans, or "
                f"are encoded as categories; not so for columns {wrong.tolist()[:10]}."
            )

    def taken(self, columns: np.ndarray, n_rest: int) -> Moves:
        """Return the same for some columns, in their order, and others after them that stay."""
        rest = np.zeros(n_rest)
        down, up = (np.append(side[columns], rest) for side in (self.down, self.up))
        relative, whole = (
            np.append(mask[columns], rest > 0) for mask in (self.relative, self.whole)
        )
        cost = np.append(np.broadcast_to(self.cost, self.down.shape)[columns], rest)
        return Moves(down, up, relative, whole, cost=cost, budget=self.budget)

    def seen(self, index: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> Moves:
        """Return the same for columns ``scale * x[index] + offset`` of those that are seen now."""
        live = scale != 0
        origin, factor, slack = (
            np.broadcast_to(v, self.down.shape)[index]
            for v in (self.origin, self.factor, self.slack)
        )
        return Moves(
            self.down[index] * live, self.up[index] * live, self.relative[index],
            self.whole[index], scale * origin + offset, np.where(live, scale * factor, 1.0),
            abs(scale) * slack, np.broadcast_to(self.cost, self.down.shape)[index], self.budget,
        )  # fmt: skip

    def widened(self, slack: np.ndarray) -> Moves:
        """Return the same for columns that go further by some amount, those that stay as well.

        Where moves are shares of a value that is off by as much, these are off as well.
        """
        share = np.where(self.relative, np.maximum(self.down, self.up), 0.0)
        return replace(self, slack=self.slack + (1 + share) * slack)
