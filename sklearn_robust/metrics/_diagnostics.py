"""Signs of gradient masking: checks for a false sense of security.

Each check is a function from an `AttackSetting` to a `Finding`; to add one, write it and list it in
`CHECKS`.

References
----------
.. [1] A. Athalye, N. Carlini, D. Wagner, "Obfuscated gradients give a false sense of security",
   ICML 2018, section 3.1.
.. [2] N. Carlini et al., "On evaluating adversarial robustness", 2019.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklearn_robust._arrays import rows, to_numpy
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import ScaleWarning
from sklearn_robust.attacks import (
    PGD,
    AttackEnsemble,
    GradientMaskingWarning,
    Margin,
    Square,
    WhereMasked,
    evaluate,
    get_attack,
)
from sklearn_robust.targets import Target, TargetInLots, dense_rows

MAX_SAMPLES = 200
# A difference of accuracies counts when it exceeds this share and the chance of MAX_SAMPLES draws.
TOLERANCE = 0.03


@dataclass(frozen=True)
class AttackSetting:
    """What an attack works on: the model it sees, who judges, and some of the data.

    Attributes
    ----------
    model : Model
    predict : callable
        From samples to class indices.
    X : ndarray of shape (n_samples, ...)
        Only samples that are classified correctly.
    y : ndarray of shape (n_samples,)
        Class indices.
    threat : ThreatModel
    seed : int
    """

    model: Any
    predict: Callable[[np.ndarray], np.ndarray]
    X: np.ndarray
    y: np.ndarray
    threat: ThreatModel
    seed: int

    @classmethod
    def of(
        cls, target: Target | TargetInLots, index: np.ndarray, threat: ThreatModel, seed: int
    ) -> AttackSetting:
        """Return the setting of at most `MAX_SAMPLES` of a target's samples."""
        if len(index) > MAX_SAMPLES:
            index = np.random.default_rng(seed).choice(index, MAX_SAMPLES, replace=False)
        if isinstance(target, TargetInLots):
            target, index = target.only(index), np.arange(len(index))
        assert target.labels is not None
        X, y = dense_rows(target.rows[index]), target.labels[index]
        return cls(target.model, target.predict, X, y, threat, seed)

    def only(self, chosen: np.ndarray) -> AttackSetting:
        """Return the setting of some of the samples, by a mask."""
        return replace(self, X=self.X[chosen], y=self.y[chosen])

    @property
    def differentiable(self) -> bool:
        """Whether attacks with gradients can be run at all."""
        return hasattr(self.model, "ascent")

    def spread(self) -> float:
        """Return the range of the values that may move: that of the box where it is finite."""
        flat = self.X.reshape(len(self.X), -1)
        movable = np.broadcast_to(np.ravel(self.threat.epsilon) > 0, flat.shape[1:])
        low, high = flat.min(0), flat.max(0)
        if self.threat.clip_values is not None:
            floor, ceiling = map(np.ravel, self.threat.clip_values)
            low = np.where(np.isfinite(floor), floor, low)
            high = np.where(np.isfinite(ceiling), ceiling, high)
        return float(high[movable].max() - low[movable].min()) if movable.any() else 0.0

    def accuracy(self, attack: Any, threat: ThreatModel | None = None) -> float:
        """Return the share of the samples that survive an attack."""
        return float(self.survivors(attack, threat).mean())

    def survivors(self, attack: Any, threat: ThreatModel | None = None) -> np.ndarray:
        """Return which samples survive an attack."""
        threat = self.threat if threat is None else threat
        data = self.X, self.y, threat
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GradientMaskingWarning)  # a check of its own says so
            warnings.simplefilter("ignore", ScaleWarning)  # some checks go far on purpose
            return evaluate(self.model, *data, attack, self.predict, seed=self.seed).robust


@dataclass(frozen=True)
class Finding:
    """The result of one check, in the `findings` of a `RobustnessReport`.

    Attributes
    ----------
    check : str
        Name of the check.
    fired : bool
        Whether it found a reason to distrust the accuracy under attack.
    value : float
        What was measured; NaN if the check does not apply.
    message : str
        What was measured, in words, and what to do about it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import evaluate_robustness
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> report = evaluate_robustness(clf, X, y, 100.0)
    >>> [(finding.check, round(finding.value, 1)) for finding in report.findings if finding.fired]
    [('epsilon in the wrong units', 12.8)]
    """

    check: str
    fired: bool
    value: float
    message: str


def diagnose(setting: AttackSetting) -> list[Finding]:
    """Run every check on `setting`."""
    if not len(setting.y) or setting.threat.is_null:
        return []
    return [finding for check in CHECKS if (finding := check(setting)) is not None]


def epsilon_in_the_wrong_units(setting: AttackSetting) -> Finding:
    """Compare epsilon with the range of the data."""
    spread = setting.spread()
    ratio = float(np.max(setting.threat.epsilon)) / spread if spread else np.inf
    # Between a thousandth and the whole of the range lies every radius used for any data set; the
    # whole is the length of a change by the range in every feature.
    diagonal = float(setting.threat.geometry.length(np.ones((1, setting.X[0].size)))[0])
    fired = not 1e-3 <= ratio <= diagonal
    return Finding(
        "epsilon in the wrong units", fired, ratio,
        f"epsilon is {ratio:.2g} times the range of the data, {spread:.4g}. Give it in the units "
        "of X as passed, before any scaling inside the model.",
    )  # fmt: skip


def randomised_output(setting: AttackSetting) -> Finding:
    """Ask twice for the same logits."""
    x = setting.model.asarray(setting.X)
    first, second = (to_numpy(setting.model.logits(x)) for _ in range(2))
    share = float((np.abs(first - second).max(1) > 0).mean())
    return Finding(
        "randomised output", share > 0, share,
        f"{share:.0%} of the samples get other logits when asked twice. Attack the expectation "
        "over the randomness, or fix the random state of the model.",
    )  # fmt: skip


def vanishing_gradients(setting: AttackSetting) -> Finding | None:
    """Count samples whose gradient is 0, or whose cross-entropy leaves none in floating point."""
    if not setting.differentiable:
        return None
    x, labels = setting.model.asarray(setting.X), setting.model.labels(setting.y)
    logits, gradient = setting.model.ascent(x, labels, Margin())
    logits, gradient = to_numpy(logits), rows(to_numpy(gradient))
    flat = ~gradient.any(axis=1)
    gap = -Margin().value(logits.astype(np.float64), setting.y)
    # 1 - p_y, the factor of the gradient of the cross-entropy, is below the smallest step of its
    # precision at 1: other tools see a gradient of exactly 0.
    saturated = gap > -np.log(np.finfo(logits.dtype).eps)
    share = float((flat | saturated).mean())
    return Finding(
        "vanishing gradients", share > 0.1, share,
        f"{flat.mean():.0%} of the samples have a gradient of 0 and {saturated.mean():.0%} have "
        "logits so far apart that the cross-entropy has none in floating point. Attack without "
        "gradients (Square), or through a smooth approximation of the model.",
    )  # fmt: skip


def black_box_beats_white_box(setting: AttackSetting) -> Finding | None:
    """Let Square search where an attack with gradients found nothing."""
    if not setting.differentiable:
        return None
    auto = get_attack("auto").attacks  # type: ignore[attr-defined]
    with_gradients = [attack for attack in auto if not isinstance(attack, WhereMasked)]
    survived = setting.survivors(AttackEnsemble(with_gradients))
    if not survived.any():
        return None
    left = setting.only(survived)
    broken = (1 - left.accuracy(Square(500))) * survived.mean()
    return Finding(
        "black-box beats white-box", bool(broken > TOLERANCE), float(broken),
        "Square, which sees no gradients, breaks samples that attacks along the gradient do not: "
        f"{broken:.1%} of all. The gradients mislead; trust the combination only.",
    )  # fmt: skip


def robust_at_any_radius(setting: AttackSetting) -> Finding | None:
    """Attack with a radius as large as the data: nothing but a constant survives that."""
    spread = setting.spread()
    radius = float(setting.threat.geometry.length(np.full((1, setting.X[0].size), spread))[0])
    movable = np.asarray(setting.threat.epsilon) > 0
    if not spread or not movable.all():
        return None
    wide = ThreatModel(radius, setting.threat.norm, setting.threat.clip_values)
    attack = PGD(20, keep="fooling") if setting.differentiable else Square(500)
    share = setting.accuracy(attack, wide)
    # A sample may be turned into any other, but a class that covers nearly everything may stay.
    chance = np.bincount(setting.y).max() / len(setting.y)
    fired = bool(share > max(0.1, 0.5 * chance))
    return Finding(
        "robust at any radius", fired, share,
        f"{share:.0%} of the samples survive a radius of {radius:.4g}, the size of the data "
        "themselves. The attack does not work on this model.",
    )  # fmt: skip


def more_steps_help_the_model(setting: AttackSetting) -> Finding | None:
    """Compare a few steps with many: the longer attack must not do worse."""
    if not setting.differentiable:
        return None
    few, many = (setting.accuracy(PGD(steps)) for steps in (5, 40))
    rise = many - few
    return Finding(
        "accuracy rises with more steps", rise > TOLERANCE, rise,
        f"PGD with 40 steps leaves {many:.1%}, with 5 steps {few:.1%}. The loss surface misleads "
        "the attack; use several attacks and restarts.",
    )  # fmt: skip


def accuracy_rises_with_epsilon(setting: AttackSetting) -> Finding | None:
    """Attack at growing radii, each from scratch: accuracy must fall."""
    if not setting.differentiable:
        return None
    factors = (0.5, 1.0, 1.5, 2.0)
    curve = [setting.accuracy(PGD(10), setting.threat.scaled(f)) for f in factors]
    rise = float(np.max(np.diff(curve)))
    shown = ", ".join(f"{share:.1%} at {f:g}" for f, share in zip(factors, curve, strict=True))
    return Finding(
        "accuracy rises with epsilon", rise > TOLERANCE, rise,
        f"Accuracy under PGD-10 at multiples of epsilon: {shown}. It must fall; where it rises, "
        "the attack gets lost.",
    )  # fmt: skip


CHECKS: tuple[Callable[[AttackSetting], Finding | None], ...] = (
    epsilon_in_the_wrong_units,
    randomised_output,
    vanishing_gradients,
    black_box_beats_white_box,
    robust_at_any_radius,
    more_steps_help_the_model,
    accuracy_rises_with_epsilon,
)
