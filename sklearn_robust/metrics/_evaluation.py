"""Attacking a fitted classifier, pipelines included, in the units of its raw input."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._arrays import to_numpy
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import draw_seed, encode_labels
from sklearn_robust.attacks import evaluate
from sklearn_robust.attacks._options import choose_attack
from sklearn_robust.bounds._linear import worst_case_correct, worst_case_points
from sklearn_robust.metrics._view import View, look, unwrap

# Trees and neighbours cost less per sample the more samples they are asked for at once.
_SCORES_BATCH = 1024


class BlackBoxWarning(UserWarning):
    """The robustness of a classifier was measured through its scores alone.

    An attack that sees no formulas finds less than one that does: the accuracy it leaves is an
    upper bound of the robust accuracy, and often a loose one. Given as long as the caller leaves
    the choice of the attack to the library; ``attack="square"`` says that scores are meant.
    """


@dataclass(frozen=True)
class Attacked:
    """What an adversary of the raw input achieved.

    Attributes
    ----------
    clean, robust : bool ndarray of shape (n_samples,)
        Whether each sample is classified correctly as it is, and under attack.
    view : View
    rows : ndarray
        The attacked samples, in the form of ``view.samples.rows``.
    """

    clean: np.ndarray
    robust: np.ndarray
    view: View
    rows: np.ndarray


def attack_estimator(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    epsilon: Any,
    norm: str | None,
    clip_values: Any,
    attack: Any,
    n_steps: int | None,
    step_size: Any,
    n_restarts: int | None,
    random_state: Any,
    n_jobs: int | None,
    verbose: int,
) -> Attacked:
    """Attack any fitted classifier but a bare network; parameters as in `robust_score`."""
    threat = threat_of(estimator, X, epsilon, norm, clip_values)
    seed = draw_seed(random_state)
    view = look(estimator, X, threat.epsilon)
    samples = view.samples
    labels = encode_labels(y, estimator.classes_, len(samples.rows))
    on_rows = samples.threat(threat.epsilon, threat.norm, threat.clip_values)
    on_rows.check_data(samples.rows)
    check_scores(view, stacklevel=4)
    if view.linear is not None and _is_ours(attack):
        choose_attack(attack, n_steps=n_steps, step_size=step_size, n_restarts=n_restarts)
        return _exactly(view, labels, on_rows)
    gradients = hasattr(view.model, "ascent")
    chosen = choose_attack(
        attack, n_steps=n_steps, step_size=step_size, n_restarts=n_restarts, gradients=gradients
    )
    warn_of_scores_alone(view, attack, stacklevel=4)
    verdict = evaluate(
        view.model,
        samples.rows,
        labels,
        on_rows,
        chosen,
        view.predict,
        seed=seed,
        batch_size=256 if gradients else _SCORES_BATCH,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    return Attacked(verdict.clean, verdict.robust, view, verdict.X_adv)


def threat_of(
    estimator: Any, X: Any, epsilon: Any, norm: str | None, clip_values: Any
) -> ThreatModel:
    """Return the threat model with the estimator's own values where none are given.

    A classifier behind transformers has its own values in other units, which are not taken.
    """
    steps, final = unwrap(estimator)
    # Another library's epsilon is something else: a tolerance, or the width of a loss.
    ours = final if hasattr(final, "robust_score") else None
    own = None if steps else ours
    if epsilon is None:
        epsilon = getattr(own, "_own_epsilon", getattr(own, "epsilon", None))
        if epsilon is None:
            whose = "a classifier behind transformers has its own in their units" if steps else (
                f"{type(estimator).__name__} has none of its own"
            )  # fmt: skip
            raise ValueError(f"epsilon must be given, in the units of X: {whose}.")
    if isinstance(clip_values, str) and clip_values == "own":
        clip_values = getattr(own, "clip_values", None)
    norm = getattr(ours, "norm", "linf") if norm is None else norm
    return ThreatModel.for_columns(getattr(X, "columns", None), epsilon, norm, clip_values)


def _exactly(view: View, labels: np.ndarray, threat: ThreatModel) -> Attacked:
    """Return the worst case of linear scores, which the estimator's predictions must confirm."""
    assert view.linear is not None
    coef, intercept = view.linear
    rows = view.samples.rows
    clean = view.predict(rows) == labels
    robust = clean & worst_case_correct(coef, intercept, rows, labels, threat)
    worst = worst_case_points(coef, intercept, rows, labels, threat)
    worst[~clean] = rows[~clean]
    # Decides where rounding leaves it open whether a margin is 0.
    robust &= view.predict(worst) == labels
    return Attacked(clean, robust, view, worst)


def _is_ours(attack: Any) -> bool:
    """Whether the choice of the attack is left to the library."""
    return isinstance(attack, str) and attack in ("auto", "strong")


def warn_of_scores_alone(view: View, attack: Any, *, stacklevel: int) -> None:
    """Say that a classifier without gradients will look better than it is."""
    if not hasattr(view.model, "ascent") and _is_ours(attack):
        warnings.warn(
            f"{type(view.estimator).__name__} is attacked through its scores alone, which "
            f"overstates its robustness: {view.obstacle} Pass attack='square' if that is meant.",
            BlackBoxWarning,
            stacklevel=stacklevel,
        )


def check_scores(view: View, *, stacklevel: int) -> None:
    """Raise an error for scores that are no numbers, and say where they do not decide."""
    scores = _scores(view)
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{type(view.estimator).__name__} gives NaN or infinite scores for {int(bad.sum())} of "
            f"{len(bad)} samples. There is no robustness to measure: check the model."
        )
    if view.obstacle is None or not len(scores):
        return
    other = scores.argmax(axis=1) != view.predict(view.samples.rows)
    if other.any():
        warnings.warn(
            f"{type(view.estimator).__name__} predicts another class than its scores favour for "
            f"{int(other.sum())} of {len(other)} samples, as one with a threshold of its own does. "
            "The attack follows the scores, which overstates robustness. Measure the classifier "
            "inside.",
            BlackBoxWarning,
            stacklevel=stacklevel,
        )


def _scores(view: View) -> np.ndarray:
    model = view.model
    return to_numpy(model.logits(model.asarray(view.samples.rows)))
