r"""How far the nearest mistake is: the fast minimum-norm attack, one run for every epsilon."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sklearn_robust._arrays import Array, as_floats, namespace, rows, to_numpy
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_int, check_real
from sklearn_robust.attacks._evaluate import mistaken
from sklearn_robust.attacks._losses import Loss, Margin, has_nan, is_right
from sklearn_robust.attacks._model import DifferentiableModel
from sklearn_robust.attacks._points import full, to_unit_length, where_rows
from sklearn_robust.attacks._search import Run, SearchAttack, check_model, check_targets, losses

# A ball grows or shrinks by this share at first, [1]_, section 3, and by a hundredth of it at last.
_GROWTH, _LAST_SHARE = 0.05, 0.01
# Halvings of the segment to a mistake: after the search there is little left to gain.
_BISECTIONS = 10
# How far beyond a mistake of the model to look for one of the judge, as a share of its distance.
_NUDGES = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
_TINY = 1e-12


@dataclass(frozen=True)
class FMN(SearchAttack):
    r"""Fast minimum-norm attack: gradient steps inside a ball that follows the boundary.

    .. math:: \min_{x'} \|x' - x\| \quad\text{s.t.}\quad \max_{j \ne y} F_j(x') \ge F_y(x')

    The ball around a sample shrinks whenever the point in it is misclassified and grows when it is
    not, by a factor that tends to 1 [1]_; the nearest mistake seen is kept and at last drawn in
    along its segment. One run serves every epsilon.

    Nothing is random. As an attack on a threat model it looks for a mistake within its epsilon.

    Parameters
    ----------
    n_steps : int, default=100
        Steps of one run; each costs a forward pass and a gradient.
    n_targets : int, default=4
        One run towards each of so many wrong classes, the likeliest first; there may be fewer.
        0: a single run towards whichever class is likeliest on the way.
    leak : float in [0, 1], default=0.01
        Slope that units which are off or full have in the gradient, see `DiversePGD`; 0 is the
        paper's attack.

    Raises
    ------
    ValueError
        If a parameter breaks its rule; by `perturb` and `nearest`, if the model has no gradients or
        one class.

    References
    ----------
    .. [1] M. Pintor, F. Roli, W. Brendel, B. Biggio, "Fast minimum-norm adversarial attacks through
       adaptive norm constraints", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> unit = attacks.ThreatModel(1.0, norm="l2")
    >>> distance, _ = attacks.FMN().nearest(model, X, y, unit)
    >>> distance.round(3)  # |x1 - 2 x2| / sqrt(5)
    array([0.447])
    """

    n_steps: int = 100
    n_targets: int = 4
    leak: float = 0.01

    def __post_init__(self) -> None:
        check_int(self.n_steps, "n_steps", low=1)
        check_real(self.leak, "leak", low=0, high=1)
        check_targets(self.n_targets, "margin")

    def run(self, run: Run) -> Array:
        approach = _Approach(run.model, run.X, run.y, run.threat, run.loss, self.leak)
        approach.run(self.n_steps)
        # A mistake outside may still be one where it enters the ball.
        return approach.around.project(approach.X_adv)

    def nearest(
        self, model: DifferentiableModel, X: Array, y: Array, unit: ThreatModel
    ) -> tuple[Array, Array]:
        """Return the distance of each sample to the nearest mistake found, and that mistake.

        Parameters
        ----------
        model, X, y
            As in `PGD.perturb`.
        unit : ThreatModel
            The norm, the valid range, and in `epsilon` the unit of distance, which may differ by
            feature.

        Returns
        -------
        distance : array of shape (n_samples,)
            0 where the sample is misclassified, inf where no mistake was found.
        X_adv : array in the shape of X
        """
        check_model(model, self)
        best, X_adv = full(X, math.inf), X
        for loss in losses(Margin(), model, X, y, self.n_targets):
            approach = _Approach(model, X, y, unit, loss, self.leak)
            approach.run(self.n_steps)
            approach.draw_in()
            closer = approach.best < best
            best = namespace(X).where(closer, approach.best, best)
            X_adv = where_rows(closer, approach.X_adv, X_adv)
        return best, X_adv


class _Approach:
    """One run on one batch, in units u of the ball: ``X_adv = X + epsilon * u``.

    `best` and `X_adv` are the distance to the nearest mistake so far, inf for none, and its place.
    """

    def __init__(
        self,
        model: DifferentiableModel,
        X: Array,
        y: Array,
        unit: ThreatModel,
        loss: Loss,
        leak: float,
    ) -> None:
        self.model, self.X, self.y, self.loss, self.leak = model, X, y, loss, leak
        self.norm, self.around = unit.geometry, unit.around(X)
        self.best, self.X_adv = full(X, math.inf), X

    def run(self, n_steps: int) -> None:
        """Take the steps."""
        where, x = namespace(self.X).where, self.X
        radius = full(self.X, _TINY)
        for number in range(n_steps):
            logits, gradient = self.model.ascent(x, self.y, self.loss, self.leak)
            wrong = self.see(x, logits)
            # Nothing found yet: go as far as it would be if the model were linear.
            slope = self.norm.dual_length(rows(gradient * self.around.epsilon))
            ahead = -self.loss.value(logits, self.y) / slope.clip(_TINY, None)
            growth = _decay(_GROWTH, number / n_steps)
            # A little further than that: on the boundary itself, rounding decides.
            ahead = (1 + growth) * (self.norm.length(self.around.to_unit(x)) + ahead)
            known = where(wrong, (1 - growth) * self.best, (1 + growth) * radius)
            radius = where(self.best < math.inf, namespace(x).minimum(known, self.best), ahead)
            radius = radius.clip(_TINY, None)
            x = self.move(x, gradient, radius, _decay(1.0, number / n_steps))
        self.see(x, self.model.logits(x))

    def move(self, x: Array, gradient: Array, radius: Array, share: float) -> Array:
        """Return `x` after a step of that share of the radius, inside the ball of that radius."""
        around = self.around
        if around.is_box:
            u = rows(around.direction(gradient))
        else:
            # Not the steepest step: under l1 that is a single feature.
            u = to_unit_length(self.norm, rows(around.inward(x, gradient) * around.epsilon))
        step = around.epsilon * ((share * radius)[:, None] * u).reshape(x.shape)
        return around.project(x + step, radius)

    def see(self, x: Array, logits: Array) -> Array:
        """Keep the mistakes that are nearer than those before; return where there is a mistake."""
        wrong = ~is_right(logits, self.y)
        distance = self.norm.length(self.around.to_unit(x))
        nearer = wrong & (distance < self.best)
        self.best = namespace(x).where(nearer, distance, self.best)
        self.X_adv = where_rows(nearer, x, self.X_adv)
        return wrong

    def draw_in(self) -> None:
        """Bisect the segment between each sample and its mistake, which ball and box contain."""
        where, u = namespace(self.X).where, self.around.to_unit(self.X_adv)
        right, wrong = full(self.X, 0.0), full(self.X, 1.0)
        for _ in range(_BISECTIONS):
            middle = (right + wrong) / 2
            x = self.around.from_unit(middle[:, None] * u)
            mistake = self.see(x, self.model.logits(x))
            right, wrong = where(mistake, right, middle), where(mistake, middle, wrong)


def _decay(first: float, done: float) -> float:
    """Return what falls from `first` to a hundredth of it as half a cosine."""
    return first * (_LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * done)) / 2)


def nearest_mistakes(
    model: DifferentiableModel,
    X: np.ndarray,
    y: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    unit: ThreatModel,
    *,
    attack: FMN | None = None,
    batch_size: int = 256,
) -> tuple[np.ndarray, np.ndarray]:
    """Return an upper bound of each sample's distance to the nearest mistake, and the mistake.

    Parameters
    ----------
    model : DifferentiableModel
    X : ndarray of shape (n_samples, ...)
    y : ndarray of int, shape (n_samples,)
    predict : callable
        Maps samples to class indices; decides, whatever the precision of `model`.
    unit : ThreatModel
        The norm, the valid range, and in `epsilon` the unit of distance: 1.0 for the units of X.
    attack : FMN, optional
    batch_size : int

    Returns
    -------
    distance : ndarray of shape (n_samples,)
        0 where the sample is misclassified, inf where no mistake was found. The accuracy under
        attack at any epsilon, in these units, is at most ``mean(distance > epsilon)``.
    X_adv : ndarray in the shape of X

    Raises
    ------
    ValueError
        If X leaves the valid range of `unit`, or the model has no gradients or one class.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, predict = np.array([[1., 0.], [0., 1.]]), np.array([1, 1]), attacks.predictor(model)
    >>> distance, X_adv = attacks.nearest_mistakes(model, X, y, predict, attacks.ThreatModel(1.0))
    >>> distance.round(3)  # |x1 - 2 x2| / (1 + 2); the second is misclassified
    array([0.333, 0.   ])
    """
    X = as_floats(X)
    unit.check_data(X)
    attack = FMN() if attack is None else attack
    distance, X_adv = np.where(predict(X) == y, np.inf, 0.0), np.array(X)
    todo = np.flatnonzero(distance)
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        found = attack.nearest(model, model.asarray(X[batch]), model.labels(y[batch]), unit)[1]
        X_adv[batch] = _judged(model, to_numpy(found), (X[batch], y[batch]), predict, unit)
    moved = (X_adv != X).reshape(len(X), -1).any(axis=1)
    distance[moved] = unit.size(X_adv[moved], X[moved])
    return distance, X_adv


def _judged(
    model: DifferentiableModel,
    found: np.ndarray,
    data: tuple[np.ndarray, np.ndarray],
    predict: Callable,
    unit: ThreatModel,
) -> np.ndarray:
    """Return the points that `predict` too gets wrong, pushed outwards if need be, else X.

    On the boundary the sign of a margin is rounding: the attack's may differ from the judge's.
    """
    X, y = data
    X_adv = np.array(X)
    for nudge in _NUDGES:
        doubtful = (X_adv == X).reshape(len(X), -1).all(axis=1)
        if not doubtful.any():
            break
        around = unit.around(X[doubtful])
        further = around.from_unit((1 + nudge) * around.to_unit(found[doubtful]))
        nan = to_numpy(has_nan(model.logits(model.asarray(further))))
        wrong = mistaken(predict, further, y[doubtful], nan)
        X_adv[np.flatnonzero(doubtful)[wrong]] = further[wrong]
    return X_adv
