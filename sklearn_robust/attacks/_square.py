r"""Square: random search that needs only the scores of a classifier, for any shape of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn_robust._arrays import Array, as_like, namespace, replace_rows, rows
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int, check_option, check_real
from sklearn_robust.attacks._losses import Loss, Margin, is_right
from sklearn_robust.attacks._model import Model
from sklearn_robust.attacks._patches import Patches, choose_patches
from sklearn_robust.attacks._search import check_model, search, spread, to_unit_length, where_rows

# Queries, out of 10,000, after which the changed share is halved [1]_, section 3.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Finished samples are dropped once they are this share of the batch: copying costs little then.
_DROP_SHARE = 0.1


@dataclass(frozen=True)
class Square:
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
    >>> square, threat = attacks.Square(n_queries=20), attacks.ThreatModel(epsilon=0.5)
    >>> square.perturb(model, X, y, threat, np.random.default_rng(0))
    array([[0.5, 0.5]])
    """

    n_queries: int = 5000
    initial_share: float = 0.8
    n_restarts: int = 1
    image_shape: Any = "auto"

    def __post_init__(self) -> None:
        check_int(self.n_queries, "n_queries", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        check_real(self.initial_share, "initial_share", low=0, high=1, open_low=True)
        if isinstance(self.image_shape, str):
            check_option(self.image_shape, "image_shape", ("auto",))

    def perturb(
        self, model: Model, X: Array, y: Array, threat: ThreatModel, generator: Any
    ) -> Array:
        """Return the adversarial batch: misclassified where one was found, else of least margin.

        Parameters as in `PGD.perturb`; `model` needs no gradients.
        """
        check_model(model, self, gradients=False)
        if threat.is_null or not len(X):
            return X
        patches = choose_patches(self.image_shape, tuple(X.shape[1:]))
        walk = _Corners if threat.norm == "linf" else _Spending

        def run(X: Array, y: Array, loss: Loss) -> Array:
            return self._run(model, X, y, walk(threat, patches, generator))

        return search(model, X, y, run, loss="margin", n_restarts=self.n_restarts)

    def _run(self, model: Model, X: Array, y: Array, walk: _Walk) -> Array:
        xp, margin = namespace(X), Margin()
        result, index = X, (y == y).reshape(-1).cumsum(0) - 1
        walk.enter(X)
        x = walk.start()
        logits = model.logits(x)
        height, done = margin.value(logits, y), ~is_right(logits, y)
        for query in range(1, self.n_queries):
            if int(done.sum()) > _DROP_SHARE * len(done) or done.all():
                result = replace_rows(result, index, walk.finish(x))
                keep = ~done
                X, y, index, x, height, done = (a[keep] for a in (X, y, index, x, height, done))
                if not len(X):
                    return result
                walk.enter(X)
            new = walk.step(x, self._share(query))
            logits = model.logits(new)
            wrong, value = ~is_right(logits, y), margin.value(logits, y)
            better = ((value > height) | wrong) & ~done
            x, height = where_rows(better, new, x), xp.where(better, value, height)
            done = done | wrong
        return replace_rows(result, index, walk.finish(x))

    def _share(self, query: int) -> float:
        """Return the share of the features to change in this query."""
        elapsed = query / self.n_queries * 10_000
        return self.initial_share / 2 ** sum(elapsed > at for at in _HALVINGS)


class _Walk:
    """How candidates are made under one norm."""

    def __init__(self, threat: ThreatModel, patches: Patches, generator: Any) -> None:
        self.threat, self.patches, self.generator = threat, patches, generator

    def enter(self, X: Array) -> None:
        """Turn to the clean samples `X`."""
        self.X, self.around = X, self.threat.around(X)

    def start(self) -> Array:
        """Return the first candidates."""
        raise NotImplementedError

    def step(self, x: Array, share: float) -> Array:
        """Return the next candidates, from the best points `x` so far."""
        raise NotImplementedError

    def finish(self, x: Array) -> Array:
        """Return the points without the rounding that many steps may have added."""
        return self.around.project(x)


class _Corners(_Walk):
    """linf: each feature at one end of its range."""

    def enter(self, X: Array) -> None:
        super().enter(X)
        self.top = self.around.project(X + self.around.epsilon)
        self.bottom = self.around.project(X - self.around.epsilon)

    def start(self) -> Array:
        return self._ends(self.patches.stripes(self.X, self.generator))

    def step(self, x: Array, share: float) -> Array:
        where = namespace(x).where
        inside = self.patches.draw(self.X, share, self.generator)
        signs = self.patches.signs(self.X, self.generator)
        new = where(inside, self._ends(signs), x)
        # A patch that stands there already would waste the query; its opposite does not.
        same = rows(new == x).all(1)
        return where(spread(same, x) & inside, self._ends(-signs), new)

    def _ends(self, signs: Array) -> Array:
        return namespace(signs).where(signs > 0, self.top, self.bottom)


class _Spending(_Walk):
    """l2 and l1: a length to be spent, moved between patches."""

    def start(self) -> Array:
        signs = self.patches.stripes(self.X, self.generator)
        return self.around.project(self.X + self.around.epsilon * signs)

    def step(self, x: Array, share: float) -> Array:
        where, zero = namespace(x).where, as_like(0, x)
        norm, power = self.threat.geometry, 2 if self.threat.norm == "l2" else 1
        u = self.around.to_unit(x)
        bump = rows(self.patches.bump(self.X, share, self.generator))
        gains, gives = bump > 0, rows(self.patches.draw(self.X, share, self.generator))
        bump = bump * rows(self.patches.signs(self.X, self.generator))
        both = gains | gives
        unspent = (1 - norm.length(u) ** power).clip(0, None)
        amount = (unspent + norm.length(where(both, u, zero)) ** power) ** (1 / power)
        new = to_unit_length(
            norm, to_unit_length(norm, bump) + to_unit_length(norm, where(gains, u, zero))
        )
        return self.around.from_unit(where(both, zero, u) + amount[:, None] * new)
