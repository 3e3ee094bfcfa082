r"""The threat model: the set from which the adversary may choose its input.

.. math:: A(x) = \{x + \epsilon \circ u : \|u\| \le 1\} \cap [\mathrm{low}, \mathrm{high}]

The radius epsilon is one number or one per feature (0: the adversary cannot touch it), in the
units of X as passed. Everything below works on u, so that the formulas on the unit ball serve both.
Of a `TabularThreat` radius and box depend on the row: epsilon multiplies what each column may do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._arrays import (
    Array,
    namespace,
    per_feature,
    rows,
    spacing,
    to_numpy,
)
from sklearn_robust._neighbourhood import Neighbourhood
from sklearn_robust._norms import NORMS, Norm
from sklearn_robust._tabular import Moves, TabularThreat
from sklearn_robust._validation import (
    check_clip_values,
    check_epsilon,
    check_in_range,
    check_norm,
    check_spared,
    check_whole,
    in_order,
    rounding,
)


@dataclass(frozen=True)
class ThreatModel:
    """Ball and box around each sample; checked when made.

    Parameters
    ----------
    epsilon : float or array of shape (n_features,) or of one sample's shape
        Radius in the units of X; an array scales the ball by feature.
    norm : {"linf", "l2", "l1"}, default="linf"
    clip_values : None or (low, high), default=None
        Valid range of the data, each a scalar or one value per feature. None: no box. A feature
        whose ends are equal stays where it is.
    moves : Moves, optional
        What each column may do, see `for_columns`; epsilon is a multiple of it, the norm "linf".

    Raises
    ------
    ValueError
        If a value is out of range, or goes by names or columns: see `for_columns`.

    Examples
    --------
    >>> from sklearn_robust.attacks import ThreatModel
    >>> ThreatModel([0.1, 0.2], clip_values=(0, 1)).scaled(2).epsilon
    array([0.2, 0.4])
    """

    epsilon: Any
    norm: str = "linf"
    clip_values: Any = None
    moves: Moves | None = None

    def __post_init__(self) -> None:
        epsilon, clip_values = _in_order(None, self.epsilon, self.clip_values)
        object.__setattr__(self, "epsilon", check_epsilon(epsilon))
        object.__setattr__(self, "norm", check_norm(self.norm))
        clip_values = check_clip_values(clip_values)
        if self.moves is not None and clip_values is not None:
            clip_values = _in_steps(self.moves, *clip_values)
        object.__setattr__(self, "clip_values", clip_values)

    @classmethod
    def for_columns(
        cls,
        columns: Any,
        epsilon: Any,
        norm: str = "linf",
        clip_values: Any = None,
        n_columns: int | None = None,
    ) -> ThreatModel:
        """Return a threat model, values by name in it brought into the order of `columns`.

        `columns` are the names of the columns of X, None if it has none; `n_columns` says how many
        there are. With it, `epsilon` may be a `TabularThreat`; what knows balls alone leaves it
        out, and a ValueError is raised for one.
        """
        moves = None
        if isinstance(epsilon, TabularThreat) and n_columns is not None:
            epsilon, moves = 1.0, epsilon.on(columns, n_columns)
        epsilon, clip_values = _in_order(columns, epsilon, clip_values)
        return cls(epsilon, norm, clip_values, moves)

    @property
    def is_null(self) -> bool:
        """Whether the adversary can change nothing at all."""
        return not np.any(self.epsilon) or (self.moves is not None and not self.moves.moving.any())

    @property
    def is_everywhere_alike(self) -> bool:
        """Whether the sets of all rows have the same form, as balls have without a box."""
        return self.clip_values is None and self.moves is None

    @property
    def key(self) -> tuple:
        """What tells threat models apart, to look up answers by."""
        moves = {} if self.moves is None else vars(self.moves)
        kept = [value for name, value in moves.items() if name != "flips"]
        parts = [self.epsilon, *(self.clip_values or ()), *kept]
        return self.norm, *(np.asarray(part).tobytes() for part in parts)

    @property
    def has_steps(self) -> bool:
        """Whether some features move in steps, so that the set is more than box and ball."""
        return self.moves is not None and bool((self.moves.whole & self.moves.moving).any())

    @property
    def has_budget(self) -> bool:
        """Whether what features may do depends on what others do, other than by a ball."""
        return self.moves is not None and not self.moves.is_box

    @property
    def largest(self) -> float:
        """The largest radius, of a table for values of 1."""
        most = 1.0 if self.moves is None else max(self.moves.down.max(), self.moves.up.max())
        return float(np.max(self.epsilon) * most)

    def check_trainable(self, X: Any, names: Any = None) -> None:
        """Raise ValueError unless each value of X has a range of its own, as training needs.

        Flips and budgets tie columns together. `names` are those of the columns, for messages.
        """
        if self.moves is None:
            return
        if self.norm != "linf":
            raise ValueError(f"norm must be left out with a TabularThreat, got {self.norm!r}.")
        if self.moves.flips:
            raise ValueError(
                "epsilon must have no Flip in training, as flips are of a column before its "
                "encoder. Leave it out here, and pass it to robust_score."
            )
        if self.has_budget:
            raise ValueError(
                "epsilon must have no budget in training. Leave it out, which trains against more "
                "than the adversary can do, and pass it to robust_score."
            )
        whole = np.flatnonzero(self.moves.whole & self.moves.moving)
        values = X[:, whole] if X.ndim == 2 else X.reshape(len(X), -1)[:, whole]
        check_whole(values.toarray() if sparse.issparse(values) else values, whole, names)

    def reach_at(self, size: np.ndarray) -> np.ndarray:
        """Return how far each feature may move where values have that size, by feature."""
        if self.moves is None:
            return np.broadcast_to(np.ravel(self.epsilon), size.shape)
        most = np.maximum(self.moves.down, self.moves.up) * float(self.epsilon)
        return np.where(self.moves.relative, most * size, most)

    def touched(self, n_features: int) -> np.ndarray:
        """Return which features have a radius of their own above 0, or share one."""
        if self.moves is not None:
            return self.moves.moving
        return np.broadcast_to(
            (np.ravel(self.epsilon) > 0) | (np.ndim(self.epsilon) == 0), n_features
        )

    def sides(self, X: Array) -> tuple[Array, Array]:
        """Return how far each feature may fall and rise, in a form that broadcasts against `X`."""
        if self.moves is not None:
            return self.moves.sides(X, float(self.epsilon))
        radius = per_feature(self.epsilon, X)
        return radius, radius

    def radii(self, X: Array) -> Array:
        """Return the larger of the two sides."""
        down, up = self.sides(X)
        return up if down is up else namespace(X).maximum(down, up)

    def limits(self, X: Array) -> tuple[Array, Array] | None:
        """Return the ends of the box in which the ball around each row lies, None if of none."""
        clip = self.clip_values
        ends = None if clip is None else tuple(per_feature(v, X) for v in clip)
        if self.moves is None:
            return ends
        (down, up), xp = self.sides(X), namespace(X)
        low, high = X - down, X + up
        if ends is not None:
            low, high = xp.maximum(low, ends[0]), xp.minimum(high, ends[1])
        return low, high

    @property
    def geometry(self) -> Norm:
        """The norm's formulas on the unit ball."""
        return NORMS[self.norm]

    def scaled(self, factor: float) -> ThreatModel:
        """Return the same threat with epsilon multiplied by `factor`."""
        return replace(self, epsilon=self.epsilon * factor)

    def settled(self, X: np.ndarray) -> np.ndarray:
        """Return rows of the set with the nearest whole numbers in columns that hold these."""
        return X if self.moves is None else self.moves.settled(X)

    def around(self, X: Array) -> Neighbourhood:
        """Return the sets A(x_i) for the rows of `X`, ready to project onto."""
        return Neighbourhood(self, X)

    def within(self, low: np.ndarray, high: np.ndarray) -> ThreatModel:
        """Return the same threat in a box that is no larger than these ends by feature."""
        if self.clip_values is not None:
            low = np.maximum(np.ravel(self.clip_values[0]), low)
            high = np.minimum(np.ravel(self.clip_values[1]), high)
        return replace(self, clip_values=(low, high))

    def sparing(self, features: np.ndarray) -> ThreatModel:
        """Return the same threat with radius 0 and no box for some features, given by a mask.

        One number as epsilon is meant for what may move; given per feature it must be 0 there.
        """
        if not features.any():
            return self
        if self.moves is not None:
            self.moves.check_spared(features)
            return self._without_box(features)
        epsilon = np.broadcast_to(np.ravel(self.epsilon), features.shape)
        if np.ndim(self.epsilon):
            check_spared(epsilon, features)
        return replace(self._without_box(features), epsilon=np.where(features, 0.0, epsilon))

    def _without_box(self, features: np.ndarray) -> ThreatModel:
        """Return the same threat with no box for some features."""
        if self.clip_values is None:
            return self
        ends = zip(self.clip_values, (-np.inf, np.inf), strict=True)
        clip = tuple(np.where(features, end, np.ravel(bound)) for bound, end in ends)
        return replace(self, clip_values=clip)

    def check_data(self, X: Array) -> None:
        """Raise ValueError if `X` has values outside `clip_values` or does not fit epsilon."""
        check_epsilon(self.epsilon, int(np.prod(X.shape[1:])))
        if self.moves is not None and len(self.moves.down) != int(np.prod(X.shape[1:])):
            raise ValueError(
                f"changes were made for {len(self.moves.down)} columns but X has "
                f"{int(np.prod(X.shape[1:]))} features."
            )
        if self.clip_values is not None:
            check_in_range(X, self.clip_values)

    def size(self, X_adv: Array, X: Array) -> np.ndarray:
        """Return how far each ``X_adv[i]`` is from ``X[i]`` in units of epsilon (1: on the sphere).

        A change in a feature with epsilon 0 counts as inf. Computed in float64.
        """
        x = rows(_precise(X))
        delta = rows(_precise(X_adv)) - x
        down, up = self.sides(x)
        epsilon = up if down is up else np.where(delta < 0, down, up)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(delta == 0, 0.0, delta / epsilon)
        return self.geometry.length(u)

    def contains(self, X_adv: Array, X: Array) -> np.ndarray:
        """Return for each sample whether ``X_adv[i]`` lies in ball and box.

        The slack is what rounding alone can add: a few units in the last place of the values of X
        for every coordinate that moved, as X + delta is stored in the precision of `X_adv`.
        """
        resolution = 4 * spacing(X_adv)
        a, b = rows(_precise(X_adv)), rows(_precise(X))
        moved = abs(a - b)
        ulp = resolution * (abs(b) + moved) * (moved > 0)
        inside = self.size(b + np.sign(a - b) * (moved - ulp).clip(0), b) <= 1 + resolution
        if self.clip_values is not None:
            low, high = (np.ravel(v) for v in self.clip_values)
            slack = rounding(low, high, X_adv)
            inside &= ((a >= low - slack) & (a <= high + slack)).all(1)
        return inside


def _in_steps(moves: Moves, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of a box with those of columns of whole numbers at the next such numbers.

    Where there is none between them, whatever is there stays.
    """
    whole = moves.whole & (np.ravel(moves.factor) == 1) & (np.ravel(moves.origin) == 0)
    low, high = (np.broadcast_to(np.ravel(end), whole.shape) for end in (low, high))
    inner = np.ceil(low), np.floor(high)
    whole = whole & (inner[0] <= inner[1])
    return np.where(whole, inner[0], low), np.where(whole, inner[1], high)


def _in_order(columns: Any, epsilon: Any, clip_values: Any) -> tuple[Any, Any]:
    """Return epsilon and clip_values with each Series in the order of the columns."""
    if isinstance(clip_values, tuple | list) and len(clip_values) == 2:
        ends = zip(clip_values, (-np.inf, np.inf), strict=True)
        clip_values = tuple(in_order(bound, columns, "clip_values", end) for bound, end in ends)
    if isinstance(epsilon, TabularThreat):
        raise ValueError(
            "epsilon must be a radius here, got a TabularThreat. It is for robust_score, perturb, "
            "certified_score, evaluate_robustness and make_robust_scorer; networks, "
            "AdversarialLogisticRegression(solver='exact') and AdversarialTrainingClassifier train "
            "against it."
        )
    return in_order(epsilon, columns, "epsilon"), clip_values


def _precise(x: Array) -> np.ndarray:
    return to_numpy(x).astype(np.float64, copy=False)
