"""A report on one classifier over several radii: attacks from above, proofs from below."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._tabular import TabularThreat
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_real, draw_seed, listed
from sklearn_robust.bounds import BranchAndBound, check_method
from sklearn_robust.metrics._diagnostics import AttackSetting, Finding, diagnose
from sklearn_robust.metrics._report import RadiusResult, RobustnessReport
from sklearn_robust.targets import AimedTarget, Target, TargetInLots, make_target_in_lots

Asked = Target | AimedTarget | TargetInLots

_SHARES = (0.25, 0.5, 1.0)  # of radii by column


def evaluate_robustness(
    estimator: Any,
    X: Any,
    y: Any,
    epsilons: Any,
    *,
    unit: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    target_classes: Any = None,
    certify: bool = True,
    method: str | BranchAndBound = "auto",
    diagnostics: bool = True,
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> RobustnessReport:
    """Hold a fitted classifier against attacks and proofs at several radii, and check the attacks.

    A sample that is broken at one radius is broken at every larger one, and one that is certified
    at a radius is certified at every smaller one, so that each radius only works on what is open.

    Parameters
    ----------
    estimator : classifier
        Fitted; what `robust_score` takes, pipelines included.
    X, y : array-like
        Samples in raw units, and their labels.
    epsilons : float, iterable of float, Series or dict by column, or TabularThreat
        Radii in the units of X. A Series or a dict holds one radius for each column, by name; the
        report then goes over a quarter, half and all of it, or over what `unit` is given for. So it
        does over a `TabularThreat`.
    unit : float, array of shape (n_features,), Series, dict or TabularThreat, optional
        Radii by column, of which `epsilons` are multiples. None: `epsilons` are radii themselves.
    norm, clip_values, attack, random_state, n_jobs, verbose
        As in `robust_score`.
    target_classes : label or array-like of shape (n_samples,), optional
        The class that each sample is to be taken for, or one for all, as in `perturb`. Then a
        sample survives where it is right and is not taken for that class; proofs are of more, that
        it is not taken for any other. None: any mistake counts.
    certify : bool, default=True
        Whether to prove lower bounds, where the estimator has them: linear classifiers exactly,
        networks by bounds. What has none is said before any attack, and the report does without.
    method : str or BranchAndBound, default="auto"
        "auto", "ibp", "crown-ibp", "crown", "alpha-crown" or "complete". See
        `sklearn_robust.bounds.certified_correct`.
    diagnostics : bool, default=True
        Whether to look for signs of a false sense of security, on at most 200 samples at the
        median radius. Not of a `TabularThreat`: they are signs that balls show.

    Returns
    -------
    report : RobustnessReport

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `epsilons` holds no radius or one below 0, and as in `robust_score` and `perturb`.
    TypeError
        If the estimator is no classifier.

    Warns
    -----
    BlackBoxWarning
        As in `robust_score`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import evaluate_robustness
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = (X - X.mean(0)) / X.std(0)
    >>> report = evaluate_robustness(LogisticRegression().fit(X, y), X, y, [0.05, 0.1])
    >>> [round(r.attacked, 3) for r in report.radii], [r.gap for r in report.radii]
    ([0.96, 0.924], [0.0, 0.0])
    """
    unit, radii = _unit_and_radii(epsilons, unit)
    check_method(method)
    seed = draw_seed(random_state)
    target = make_target_in_lots(
        estimator, X, y, epsilon=unit, norm=norm, clip_values=clip_values,
        target_classes=target_classes,
    )  # fmt: skip
    looks = diagnostics and target.threat.moves is None  # signs of balls, not of tables
    obstacle = target.certificate_obstacle if certify else "not asked for"
    target.check(attack)
    threats = [target.threat.scaled(radius) for radius in radii]
    run = {"seed": seed, "n_jobs": n_jobs, "verbose": verbose}
    falls = _attack_growing(target, threats, attack, run)
    proofs = _certify_shrinking(target, threats, falls, method) if obstacle is None else None
    return RobustnessReport(
        estimator=type(estimator).__name__,
        radii=tuple(
            _at_radius(target, radius, fall, None if proofs is None else proofs[k])
            for k, (radius, fall) in enumerate(zip(radii, falls, strict=True))
        ),
        findings=_findings(target, threats, falls, seed) if looks else (),
        n_samples=len(target.clean),
        norm=target.threat.norm,
        clip_values=target.threat.clip_values,
        attack=str(attack) if target_classes is None else f"{attack}, towards chosen classes",
        certificate=_certificate(target, obstacle, method),
        seed=seed,
        unit=_name_of(unit),
    )


def _unit_and_radii(epsilons: Any, unit: Any) -> tuple[Any, list[float]]:
    """Return radii by column, or 1, and the multiples of them that the report goes over."""
    by_name = isinstance(epsilons, Mapping | TabularThreat) or hasattr(epsilons, "reindex")
    if by_name and unit is not None:
        raise ValueError(
            "epsilons must be multiples of unit, got radii by column too. Pass these as unit alone."
        )
    unit, epsilons = (epsilons, _SHARES) if by_name else (1.0 if unit is None else unit, epsilons)
    radii = sorted({check_real(e, "each of epsilons", low=0) for e in listed(epsilons)})
    if not radii:
        raise ValueError("epsilons must hold at least one radius, got none.")
    return unit, radii


def _name_of(unit: Any) -> str:
    """Return what radii are multiples of, as a report names it."""
    if isinstance(unit, TabularThreat):
        return "changes"
    return "X" if np.ndim(unit) == 0 and not isinstance(unit, Mapping) and unit == 1 else "unit"


@dataclass(frozen=True)
class _Fall:
    """What is left at one radius and what that is, how many each attack broke, and seconds."""

    alive: np.ndarray
    broken_by: dict[str, int]
    kind: str
    seconds: float


def _attack_growing(
    target: Asked, threats: list[ThreatModel], attack: Any, run: dict[str, Any]
) -> list[_Fall]:
    """Attack at growing radii, each time what is still right."""
    falls = [_Fall(target.clean, {}, "exact", 0.0)]
    for threat in threats:
        start, before = time.perf_counter(), falls[-1]
        attacked = target.attacked(threat, attack, among=before.alive, **run)
        broken = dict(before.broken_by)
        for name, n in attacked.broken_by.items():
            broken[name] = broken.get(name, 0) + n
        seconds = time.perf_counter() - start
        falls.append(_Fall(attacked.robust, broken, attacked.kind, seconds))
    return falls[1:]


def _certify_shrinking(
    target: Asked, threats: list[ThreatModel], falls: list[_Fall], method: Any
) -> list[tuple[np.ndarray, float]]:
    """Return who is proven, and seconds, for each radius: what holds at one, holds below it."""
    proven, results = np.zeros(len(target.clean), dtype=bool), []
    for threat, fall in zip(reversed(threats), reversed(falls), strict=True):
        start = time.perf_counter()
        proven = proven | target.certified(threat, method, among=fall.alive & ~proven)
        results.append((proven, time.perf_counter() - start))
    return results[::-1]


def _at_radius(
    target: Asked, epsilon: float, fall: _Fall, proof: tuple[np.ndarray, float] | None
) -> RadiusResult:
    attacked = float(fall.alive.mean())
    certified = float("nan") if proof is None else float(proof[0].mean())
    exact = "exact" in (target.kind, fall.kind)
    return RadiusResult(
        epsilon=epsilon,
        clean=float(target.clean.mean()),
        attacked=attacked,
        attacked_is=fall.kind,
        certified=certified,
        certified_is="none" if proof is None else "exact" if exact else "certified",
        gap=attacked - certified,
        broken_by=fall.broken_by,
        attack_seconds=fall.seconds,
        certify_seconds=0.0 if proof is None else proof[1],
    )


def _certificate(target: Asked, obstacle: str | None, method: Any) -> str:
    if obstacle is None:
        return target.certificate(str(method))
    return obstacle if obstacle == "not asked for" else f"none: {obstacle}"


def _findings(
    asked: Asked, threats: list[ThreatModel], falls: list[_Fall], seed: int
) -> tuple[Finding, ...]:
    """Look for signs of gradient masking, on samples that are right.

    A search that ended has seen all there is.
    """
    target = asked.target if isinstance(asked, AimedTarget) else asked
    if not hasattr(target.model, "ascent") and all(fall.kind == "exact" for fall in falls):
        return ()
    right, threat = np.flatnonzero(target.clean), threats[len(threats) // 2]
    return tuple(diagnose(AttackSetting.of(target, right, threat, seed)))
