r"""Auto-PGD: projected gradient ascent that finds its own step size, for every norm."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn_robust._arrays import Array, namespace, replace_rows, rows, sort_rows, take_rows
from sklearn_robust._validation import check_int, check_real
from sklearn_robust.attacks._losses import Loss, get_loss, is_right
from sklearn_robust.attacks._model import DifferentiableModel
from sklearn_robust.attacks._points import full, spread, uphill, where_rows
from sklearn_robust.attacks._search import Run, SearchAttack, check_targets

# Constants of the papers: [1], section 4, and [2], Algorithm 1.
_MOMENTUM = 0.75
_ENOUGH_PROGRESS = 0.75
_FIRST_PERIOD, _PERIOD_SHRINKS, _LEAST_PERIOD = 0.22, 0.03, 0.06
_L1_PERIOD, _L1_FIRST_SHARE, _L1_SPARSER = 0.04, 0.2, 1.5
_L1_STABLE, _L1_STEP_SHRINKS, _L1_STEP_RANGE = 0.95, 1.5, 10.0
# Finished samples are dropped once they are this share of the batch: copying costs little then.
_DROP_SHARE = 0.2


@dataclass(frozen=True)
class APGD(SearchAttack):
    r"""Auto-PGD, which has no parameter but its budget.

    Under linf and l2, Algorithm 1 of [1]_: steps with momentum, begun at length ``2 * epsilon``,

    .. math:: z = P_A(x_t + \eta u_t), \qquad
              x_{t+1} = P_A(x_t + 0.75 (z - x_t) + 0.25 (x_t - x_{t-1}))

    At checkpoints, a sample whose loss rose too seldom or whose best has not changed goes back to
    that best point and halves its step. Under l1, [2]_: steps move the share of features with
    the largest gradients, a share that follows the sparsity of the best point.

    Each run ends for a sample as soon as it is misclassified.

    Parameters
    ----------
    n_steps : int, default=100
        Steps of one run; each costs a forward pass and a gradient, and a run one more forward pass.
        One before the first run tells which samples are right.
    loss : {"cross_entropy", "margin", "dlr"} or Loss, default="cross_entropy"
    n_targets : int, default=0
        0: untargeted. Otherwise one run per restart towards each of the likeliest wrong classes, of
        which there may be fewer, with the targeted form of the loss.
    n_restarts : int, default=1
        Runs from different random starts, each on the samples still classified correctly.
    leak : float in [0, 1], default=0
        Slope that units which are off or full have in the gradient, see `DiversePGD`. 0 is the
        papers' attack; 0.01 often finds more in networks that are robust.

    Raises
    ------
    ValueError
        If a parameter breaks its rule; by `perturb`, if the model has no gradients or one class.

    References
    ----------
    .. [1] F. Croce, M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of
       diverse parameter-free attacks", ICML 2020.
    .. [2] F. Croce, M. Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image
       classifiers", ICML 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y = np.array([[1., 0.]]), np.array([1])
    >>> attacks.APGD(10).perturb(model, X, y, attacks.ThreatModel(0.2), np.random.default_rng(0))
    array([[0.8, 0.2]])
    """

    n_steps: int = 100
    loss: str | Loss = "cross_entropy"
    n_targets: int = 0
    n_restarts: int = 1
    leak: float = 0.0

    def __post_init__(self) -> None:
        check_int(self.n_steps, "n_steps", low=1)
        check_int(self.n_restarts, "n_restarts", low=1)
        check_real(self.leak, "leak", low=0, high=1)
        get_loss(self.loss)
        check_targets(self.n_targets, self.loss)

    def run(self, run: Run) -> Array:
        climb = _SparseClimb if run.around.is_pointed else _Climb
        return climb(run, self.n_steps).run(run.model, self.leak)


class _Climb:
    """One run on one batch: arrays with one row per sample that is still being attacked."""

    _rows: tuple[str, ...] = (
        "X",
        "y",
        "index",
        "x",
        "previous",
        "gradient",
        "height",
        "best",
        "best_gradient",
        "best_height",
        "step",
        "n_rises",
        "best_at_check",
        "just_halved",
        "done",
    )

    def __init__(self, run: Run, n_steps: int) -> None:
        X, y = self.X, self.y = run.X, run.y
        self.threat, self.loss, self.n_steps = run.threat, run.loss, n_steps
        self.around = run.around
        self.x = self.previous = self.best = self.around.sample(run.generator)
        self.gradient = self.best_gradient = namespace(X).zeros_like(X)
        self.height = self.best_height = self.best_at_check = full(X, -float("inf"))
        self.step, self.n_rises = full(X, 2.0), full(X, 0.0)
        self.just_halved, self.done = y != y, y != y
        self.index = (y == y).reshape(-1).cumsum(0) - 1
        self.result, self.moving = self.x, False
        self.period = self.first_period()

    def run(self, model: DifferentiableModel, leak: float) -> Array:
        """Return for each sample the first misclassified point, or that of the highest loss."""
        since_check = 0
        for _ in range(self.n_steps):
            logits, gradient = model.ascent(self.x, self.y, self.loss, leak)
            self.see(logits, gradient)
            self.drop_done()
            if not len(self.x):
                return self.result
            if since_check == self.period:
                self.adapt()
                since_check = 0
            self.move()
            since_check += 1
        self.see(model.logits(self.x), self.gradient)
        found = where_rows(self.done, self.result[self.index], self.best)
        return replace_rows(self.result, self.index, found)

    def see(self, logits: Array, gradient: Array) -> None:
        """Note what was found at the point `x`."""
        xp = namespace(logits)
        height = self.loss.height(logits, self.y)
        self.n_rises = self.n_rises + (height > self.height)
        better = height > self.best_height
        self.best = where_rows(better, self.x, self.best)
        self.best_gradient = where_rows(better, gradient, self.best_gradient)
        self.best_height = xp.where(better, height, self.best_height)
        self.height, self.gradient = height, gradient
        new = ~is_right(logits, self.y) & ~self.done
        if new.any():
            self.result = replace_rows(self.result, self.index[new], self.x[new])
            self.done = self.done | new

    def drop_done(self) -> None:
        n_done = int(self.done.sum())
        if n_done < len(self.done) and n_done <= _DROP_SHARE * len(self.done):
            return
        keep = ~self.done
        for name in self._rows:
            setattr(self, name, getattr(self, name)[keep])
        self.loss, self.around = self.loss.take(keep), self.threat.around(self.X)

    def first_period(self) -> int:
        return max(int(_FIRST_PERIOD * self.n_steps), 1)

    def adapt(self) -> None:
        """Halve the step where the climb has stalled, and go back to the best point there."""
        stalled = self.n_rises <= _ENOUGH_PROGRESS * self.period
        stuck = ~self.just_halved & (self.best_at_check >= self.best_height)
        halve = stalled | stuck
        self.step = namespace(self.step).where(halve, self.step / 2, self.step)
        self.go_back(halve)
        self.just_halved, self.best_at_check = halve, self.best_height
        self.n_rises = self.n_rises * 0
        shortest = max(int(_LEAST_PERIOD * self.n_steps), 1)
        self.period = max(self.period - max(int(_PERIOD_SHRINKS * self.n_steps), 1), shortest)

    def go_back(self, mask: Array) -> None:
        self.x = where_rows(mask, self.best, self.x)
        self.gradient = where_rows(mask, self.best_gradient, self.gradient)
        self.height = namespace(self.height).where(mask, self.best_height, self.height)

    def move(self) -> None:
        around, x = self.around, self.x
        u = uphill(around, x, self.gradient)
        z = around.project(x + spread(self.step, x) * around.epsilon * u)
        share = _MOMENTUM if self.moving else 1.0
        self.x = around.project(x + share * (z - x) + (1 - share) * (x - self.previous))
        self.previous, self.moving = x, True


class _SparseClimb(_Climb):
    """The run under l1, where how many features a step moves matters as much as its length."""

    _rows = (*_Climb._rows, "share", "n_moved")

    def __init__(self, run: Run, n_steps: int) -> None:
        super().__init__(run, n_steps)
        self.step = full(self.X, 1.0)
        self.share = full(self.X, _L1_FIRST_SHARE)
        self.n_moved = full(self.X, float(rows(self.X).shape[1]))

    def first_period(self) -> int:
        return max(int(_L1_PERIOD * self.n_steps), 1)

    def adapt(self) -> None:
        """Follow the sparsity of the best point; where that is stable, shorten the step."""
        xp = namespace(self.X)
        n_moved = (rows(self.best - self.X) != 0).sum(1) + 0 * self.share
        sparser = n_moved < _L1_STABLE * self.n_moved
        self.share = n_moved / rows(self.X).shape[1] / _L1_SPARSER
        shorter = (self.step / _L1_STEP_SHRINKS).clip(1 / _L1_STEP_RANGE, None)
        self.step = xp.where(sparser, full(self.X, 1.0), shorter)
        self.n_moved = n_moved
        self.go_back(sparser)

    def move(self) -> None:
        around, x = self.around, self.x
        pull = rows(around.inward(x, self.gradient) * around.epsilon)
        magnitude = abs(pull)
        sorted_, _ = sort_rows(magnitude)
        n_features = magnitude.shape[1]
        n_moved = _to_index(self.share * n_features).clip(1, n_features)
        threshold = take_rows(sorted_, (n_features - n_moved)[:, None])
        sign = namespace(pull).sign(pull) * (magnitude >= threshold)
        length = around.threat.geometry.length(sign)
        u = sign * (self.step / (length + (length == 0)))[:, None]
        self.previous = x
        self.x = around.project(x + around.epsilon * u.reshape(x.shape))


def _to_index(values: Array) -> Array:
    """Return the integer part of the values, as indices."""
    return values.long() if hasattr(values, "long") else values.astype(int)
