r"""Square: random search that needs only the scores of a classifier, for any shape of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._arrays import Array, namespace, random_uniform, replace_rows, rows
from sklearn_robust._validation import check_int, check_option, check_real
from sklearn_robust.attacks._losses import Margin
from sklearn_robust.attacks._model import Model
from sklearn_robust.attacks._patches import Patches, choose_patches
from sklearn_robust.attacks._points import (
    copied,
    full,
    mistakes,
    spread,
    to_unit_length,
    where_rows,
)
from sklearn_robust.attacks._search import Run, SearchAttack

# Queries, out of 10,000, after which the changed share is halved [1]_, section 3.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Shares of the first guess's distance that are tried next: mistakes may lie well inside the set.
_SHRUNK = (0.5, 0.25, 0.1)
_BISECTIONS = 20  # after which a millionth of epsilon may be left unspent


@dataclass(frozen=True)
class Square(SearchAttack):
    r"""Random search over local changes, kept when they bring the sample closer to a mistake.

    Under linf [1]_, Algorithm 2: a random square of the image is moved to one end of its range
    (``+epsilon`` or ``-epsilon``, one sign per channel). Under l2 and l1, after Algorithm 3: all
    that the perturbation spends on two random squares is spent on one of them, with more in the
    middle. The side of the squares shrinks as the search goes on. Data that are not images use
    random subsets of the features in place of squares.

    Only scores are needed: it finds what attacks with gradients cannot see, and serves trees and
    neighbours as well as networks.

    Parameters
    ----------
    n_queries : int, default=5000
        Forward passes for each sample; it stops when the sample is misclassified.
    initial_share : float in (0, 1], default=0.8
        Share of the features changed at first.
    n_restarts : int, default=1
    image_shape : "auto", (h, w), (c, h, w) or None, default="auto"
        Shape of a sample. None: features have no order. "auto": the shape of X; of rows of
        features, those whose number is a square, 64 or more, are square images.
    inside : float in [0, 1], default=0.1
        Share of the queries under linf that move a square to a random place inside its range, and
        not to an end of it; if > 0, the first guess is also tried at a half, a quarter and a tenth
        of its distance. Trees, neighbours and kernels may err inside the set and nowhere on its
        corners. 0: as in [1]_.
    start : attack, optional
        Its points are tried beside the first guess; `DirectAttack` knows where other classes are.

    Raises
    ------
    ValueError
        If a parameter breaks its rule; by `perturb`, if the samples do not have `image_shape` or
        the model has one class.

    References
    ----------
    .. [1] M. Andriushchenko et al., "Square attack: a query-efficient black-box adversarial attack
       via random search", ECCV 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> square, threat = attacks.Square(20, inside=0), attacks.ThreatModel(epsilon=0.5)
    >>> square.perturb(model, X, y, threat, np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    n_queries: int = 5000
    initial_share: float = 0.8
    n_restarts: int = 1
    image_shape: Any = "auto"
    inside: float = 0.1
    start: SearchAttack | None = None
    needs_gradients = False

    def __post_init__(self) -> None:
        check_int(self.n_queries, "n_queries", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        check_real(self.initial_share, "initial_share", low=0, high=1, open_low=True)
        check_real(self.inside, "inside", low=0, high=1)
        if not isinstance(self.start, SearchAttack | None):
            raise ValueError(
                f"start must be None or an attack of this library, such as DirectAttack(), got "
                f"{self.start!r}."
            )
        if isinstance(self.image_shape, str):
            check_option(self.image_shape, "image_shape", ("auto",))

    def run(self, run: Run) -> Array:
        around = run.around
        patches = choose_patches(self.image_shape, tuple(run.X.shape[1:]))
        walk = (_Corners if around.is_box else _Spending)(run, patches)
        first = None if self.start is None else self.start.run(run)
        # Many steps may have added rounding.
        return around.project(self._walked(run.model, run.y, walk, first))

    def _walked(self, model: Model, y: Array, walk: _Walk, first: Array | None) -> Array:
        margin = Margin()
        result, index = walk.X, (y == y).reshape(-1).cumsum(0) - 1
        logits = model.logits(walk.start())
        height = margin.value(logits, y)
        wrong = mistakes(logits, y, height)
        for query in range(1, self.n_queries):
            if wrong is not None:
                result = replace_rows(result, index[wrong], walk.points()[wrong])
                keep = ~wrong
                y, index, height = y[keep], index[keep], height[keep]
                if not len(y):
                    return result
                walk.take(keep)
            known = first[index] if first is not None and query == 1 else None
            logits = model.logits(self._candidates(walk, query, known))
            value = margin.value(logits, y)
            wrong = mistakes(logits, y, value)
            # On a plateau, as those of trees and neighbours, one walks on.
            better = value >= height if wrong is None else (value >= height) | wrong
            walk.accept(better)
            height = namespace(value).where(better, value, height)
        return replace_rows(result, index, walk.points())

    def _candidates(self, walk: _Walk, query: int, known: Array | None) -> Array:
        if known is not None:
            return walk.offer(known)
        if self.inside and 2 <= query < 2 + len(_SHRUNK):
            return walk.offer(walk.shrunk(_SHRUNK[query - 2]))
        return walk.propose(self._share(query), self.inside)

    def _share(self, query: int) -> float:
        """Return the share of the features to change in this query."""
        elapsed = query / self.n_queries * 10_000
        return self.initial_share / 2 ** sum(elapsed > at for at in _HALVINGS)


class _Walk:
    """The best points so far, and how candidates are made from them, under one norm.

    `x` holds those points.
    """

    x: Array

    def __init__(self, run: Run, patches: Patches) -> None:
        self.threat, self.patches, self.generator = run.threat, patches, run.generator
        # Places are drawn on the host: nothing then waits for the device.
        lot = random_uniform(rows(run.X)[:1, 0], run.generator)[0]
        self.places = np.random.default_rng(int(2**53 * lot))
        self._set(run.X)

    def _set(self, X: Array) -> None:
        self.X, self.around = X, self.threat.around(X)

    def _inside(self, X: Array) -> Array:
        return X.reshape(len(X), *self.patches.shape)

    def start(self) -> Array:
        """Return the first points."""
        raise NotImplementedError

    def offer(self, points: Array) -> Array:
        """Make some points the next candidates, and return them."""
        raise NotImplementedError

    def shrunk(self, factor: float) -> Array:
        """Return points at a fraction of the distance of the best ones."""
        return self.X + factor * (self.points() - self.X)

    def propose(self, share: float, inside: float) -> Array:
        """Return the next candidates, which differ from the best points in about that share.

        `inside` is how likely they are not as far out as possible.
        """
        raise NotImplementedError

    def accept(self, better: Array) -> None:
        """Make the candidates of those samples the best points."""
        raise NotImplementedError

    def points(self) -> Array:
        """Return the best points."""
        return self.x.reshape(self.X.shape)

    def take(self, keep: Array) -> None:
        """Go on with those samples only."""
        self._set(self.X[keep])
        self.x = self.x[keep]


class _Corners(_Walk):
    """In a box: each feature at one end of its range; a candidate is written over the best."""

    def _set(self, X: Array) -> None:
        super()._set(X)
        self.top = self._inside(self.around.project(X + self.around.epsilon))
        self.bottom = self._inside(self.around.project(X - self.around.epsilon))

    def start(self) -> Array:
        signs = self.patches.stripes(self.top, self.generator)
        self.x = namespace(signs).where(signs > 0, self.top, self.bottom)
        return self.points()

    def offer(self, points: Array) -> Array:
        self.at, self.old, self.new = (...,), self.x, self._inside(points)
        self.x = copied(self.new)
        return points

    def propose(self, share: float, inside: float) -> Array:
        where = namespace(self.x).where
        self.at = self.patches.draw(share, self.places)
        top, bottom, self.old = self.top[self.at], self.bottom[self.at], copied(self.x[self.at])
        up = self.patches.signs(top, self.generator) > 0
        new = where(up, top, bottom)
        # A patch that stands there already would waste the query; its opposite does not.
        same = rows(new == self.old).all(1)
        new = where(spread(same, new), where(up, bottom, top), new)
        if inside and self.places.random() < inside:
            middle = self._inside(self.X)[self.at]
            new = middle + self.places.random() * (new - middle)
        self.new = new
        self.x[self.at] = self.new
        return self.points()

    def accept(self, better: Array) -> None:
        self.x[self.at] = where_rows(better, self.new, self.old)


class _Spending(_Walk):
    """In any other ball: a length to be spent, moved between patches."""

    def start(self) -> Array:
        X = self._inside(self.X)
        signs = namespace(X).broadcast_to(self.patches.stripes(X, self.generator), X.shape)
        self.x = self.around.project(self.X + self.around.epsilon * signs.reshape(self.X.shape))
        return self.x

    def offer(self, points: Array) -> Array:
        self.new = points
        return points

    def propose(self, share: float, inside: float) -> Array:
        norm, u = self.threat.geometry, self._inside(self.around.to_unit(self.x))
        gains, gives = (self.patches.draw(share, self.places) for _ in range(2))
        kept, rest = u[gains], copied(u)
        rest[gains] = 0
        given = self._alone(gives, rest[gives])
        rest[gives] = 0
        bump = self.patches.bump(kept) * self.patches.signs(kept, self.generator)
        bump, kept = self._alone(gains, bump), self._alone(gains, kept)
        new = to_unit_length(norm, to_unit_length(norm, bump) + to_unit_length(norm, kept))
        amount = self._amount(rows(u), rows(rest), (kept, given), new)
        self.new = self.around.from_unit(rows(rest) + amount[:, None] * new)
        return self.new

    def _alone(self, at: tuple[Any, ...], part: Array) -> Array:
        """Return rows that are 0 but for a patch: lengths may depend on which features move."""
        u = namespace(part).zeros_like(self._inside(self.X))
        u[at] = part
        return rows(u)

    def _amount(self, u: Array, rest: Array, taken: tuple[Array, Array], new: Array) -> Array:
        """Return what takes ``rest + amount * new`` to the sphere.

        With a p-norm that is what `u`, of which the rest is left, has not spent and has spent on
        what was taken. Otherwise bisection finds it; `new` has length 1 and features of its own.
        """
        length, p = self.threat.geometry.length, self.around.power
        if p is not None:
            unspent = (1 - length(u) ** p).clip(0, None)
            return (unspent + sum(length(part) ** p for part in taken)) ** (1 / p)
        where, low, high = namespace(u).where, full(u, 0.0), full(u, 1.0)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            fits = length(rest + middle[:, None] * new) <= 1
            low, high = where(fits, middle, low), where(fits, high, middle)
        return low

    def accept(self, better: Array) -> None:
        self.x = where_rows(better, self.new, self.x)
