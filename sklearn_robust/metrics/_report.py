"""A report on one classifier over several radii: clean, attacked, certified, and by whom."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_option, check_real, draw_seed, listed
from sklearn_robust.attacks import evaluate
from sklearn_robust.attacks._options import choose_attack
from sklearn_robust.metrics._diagnostics import Finding, Suspect, diagnose
from sklearn_robust.metrics._evaluation import check_scores, warn_of_scores_alone
from sklearn_robust.metrics._report_html import report_html
from sklearn_robust.metrics._target import Target, target_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sklearn_robust.inspection import RobustnessCurveDisplay

# At one radius: who is left standing, how many each attack broke, seconds; who is proven, seconds.
_Attacked = tuple[np.ndarray, dict[str, int], float]
_Proof = tuple[np.ndarray | None, float]


@dataclass(frozen=True)
class RadiusResult:
    """What is known at one radius; accuracies are shares of all samples.

    Attributes
    ----------
    epsilon : float
    clean : float
        Accuracy without an adversary.
    attacked : float
        Accuracy at the worst points found: an upper bound of the robust accuracy.
    certified : float
        Share of samples proven robust: a lower bound; NaN if nothing could be certified.
    gap : float
        attacked - certified: what is not known.
    broken_by : dict of str to int
        How many samples each attack broke first, at this radius or a smaller one.
    attack_seconds, certify_seconds : float
        Spent at this radius alone.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import evaluate_robustness
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> (at,) = evaluate_robustness(clf, X, y, 0.2).radii
    >>> round(at.clean, 3), round(at.attacked, 3), at.gap, at.broken_by
    (0.973, 0.867, 0.0, {'exact': 16})
    """

    epsilon: float
    clean: float
    attacked: float
    certified: float
    gap: float
    broken_by: dict[str, int]
    attack_seconds: float
    certify_seconds: float


@dataclass(frozen=True)
class RobustnessReport:
    """What `evaluate_robustness` found.

    Attributes
    ----------
    estimator : str
    radii : tuple of RadiusResult
        In the order of growing epsilon.
    findings : tuple of Finding
        One per diagnostic; those with ``fired`` are reasons to distrust the attacked accuracy.
    n_samples : int
    norm : str
    clip_values : None or (low, high)
    attack : str
    certificate : str
        How the lower bound was computed, or why there is none.
    seed : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import evaluate_robustness
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> evaluate_robustness(clf, X, y, [0.1, 0.2], diagnostics=False)
    Robustness of LogisticRegression on 150 samples (linf, not clipped)
      attack: exact; certificate: exact; seed 0
        epsilon    clean  attacked  certified     gap  by
            0.1   0.9733    0.9267     0.9267  0.0000  exact 7
            0.2   0.9733    0.8667     0.8667  0.0000  exact 16
    """

    estimator: str
    radii: tuple[RadiusResult, ...]
    findings: tuple[Finding, ...]
    n_samples: int
    norm: str
    clip_values: Any
    attack: str
    certificate: str
    seed: int

    def to_frame(self) -> pd.DataFrame:
        """Return one row per radius as a pandas DataFrame; needs pandas."""
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas. Install it, or read `radii`.") from None
        rows = []
        for radius in self.radii:
            row = {k: v for k, v in vars(radius).items() if k != "broken_by"}
            rows.append({**row, **{f"broken by {k}": v for k, v in radius.broken_by.items()}})
        return pd.DataFrame(rows).set_index("epsilon")

    def plot(self, ax: Axes | None = None) -> RobustnessCurveDisplay:
        """Draw accuracy against epsilon; between certified and attacked lies what is not known.

        See `sklearn_robust.inspection.RobustnessCurveDisplay.from_report`.
        """
        from sklearn_robust.inspection import RobustnessCurveDisplay

        return RobustnessCurveDisplay.from_report(self, ax=ax)

    def _repr_html_(self) -> str:
        """Return the report as a table for notebooks."""
        return report_html(self)

    def __repr__(self) -> str:
        clip = "not clipped" if self.clip_values is None else "clipped to the valid range"
        lines = [
            f"Robustness of {self.estimator} on {self.n_samples} samples ({self.norm}, {clip})",
            f"  attack: {self.attack}; certificate: {self.certificate}; seed {self.seed}",
            f"  {'epsilon':>9} {'clean':>8} {'attacked':>9} {'certified':>10} {'gap':>7}  by",
        ]
        for r in self.radii:
            certified = "-" if np.isnan(r.certified) else f"{r.certified:.4f}"
            gap = "-" if np.isnan(r.gap) else f"{r.gap:.4f}"
            broken = ", ".join(f"{name} {n}" for name, n in r.broken_by.items() if n)
            lines.append(
                f"  {r.epsilon:>9.4g} {r.clean:>8.4f} {r.attacked:>9.4f} {certified:>10} {gap:>7}"
                f"  {broken}"
            )
        fired = [f for f in self.findings if f.fired]
        if self.findings:
            lines.append(f"  diagnostics: {len(fired)} of {len(self.findings)} fired")
        lines += [f"  ! {f.check}: {f.message}" for f in fired]
        return "\n".join(lines)


def evaluate_robustness(
    estimator: Any,
    X: Any,
    y: Any,
    epsilons: float | Iterable[float],
    *,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    certify: bool = True,
    method: str = "auto",
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
    epsilons : float or iterable of float
        Radii in the units of X.
    norm, clip_values, attack, random_state, n_jobs, verbose
        As in `robust_score`; a classifier whose scores are linear is always attacked exactly.
    certify : bool, default=True
        Whether to prove lower bounds, where the estimator has them: linear classifiers exactly,
        networks by bounds. Classifiers known by their scores alone have none.
    method : {"auto", "ibp", "crown-ibp", "crown", "alpha-crown"}, default="auto"
        See `sklearn_robust.bounds.certified_correct`.
    diagnostics : bool, default=True
        Whether to look for signs of a false sense of security, on at most 200 samples at the
        median radius.

    Returns
    -------
    report : RobustnessReport

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If `epsilons` holds no radius or one below 0, and as in `robust_score`.
    TypeError
        If the library can follow neither the estimator's formulas nor its scores.
    UnsupportedLayerError
        If a network holds a layer without bounds; ``certify=False`` does without them.

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
    radii = sorted({check_real(e, "each of epsilons", low=0) for e in listed(epsilons)})
    if not radii:
        raise ValueError("epsilons must hold at least one radius, got none.")
    check_option(method, "method", ("auto", "ibp", "crown-ibp", "crown", "alpha-crown"))
    target = target_of(estimator, X, y, norm, clip_values)
    chosen = choose_attack(attack, gradients=hasattr(target.model, "ascent"))
    if target.view is not None:
        check_scores(target.view, stacklevel=3)
        warn_of_scores_alone(target.view, attack, stacklevel=3)
    seed = draw_seed(random_state)
    clean = target.predict(target.X) == target.y
    threats = [target.threat(radius) for radius in radii]
    attacked = _attack_growing(target, threats, clean, chosen, seed, n_jobs, verbose)
    proofs, certificate = _certify_shrinking(
        target, threats, [alive for alive, *_ in attacked], method if certify else None
    )
    middle = threats[len(threats) // 2]
    suspect = Suspect(target.model, target.predict, target.X[clean], target.y[clean], middle, seed)
    return RobustnessReport(
        estimator=type(estimator).__name__,
        radii=tuple(map(partial(_at_radius, clean), radii, attacked, proofs)),
        findings=tuple(diagnose(suspect)) if diagnostics else (),
        n_samples=len(target.y),
        norm=threats[0].norm,
        clip_values=threats[0].clip_values,
        attack="exact" if target.exact is not None else str(attack),
        certificate=certificate,
        seed=seed,
    )


def _at_radius(
    clean: np.ndarray, epsilon: float, attacked: _Attacked, proof: _Proof
) -> RadiusResult:
    alive, broken_by, attack_seconds = attacked
    proven, certify_seconds = proof
    share = float("nan") if proven is None else float(proven.mean())
    return RadiusResult(
        epsilon=epsilon,
        clean=float(clean.mean()),
        attacked=float(alive.mean()),
        certified=share,
        gap=float(alive.mean()) - share,
        broken_by=broken_by,
        attack_seconds=attack_seconds,
        certify_seconds=certify_seconds,
    )


def _attack_growing(
    target: Target,
    threats: list[ThreatModel],
    clean: np.ndarray,
    attack: Any,
    seed: int,
    n_jobs: int | None,
    verbose: int,
) -> list[_Attacked]:
    """Return survivors, counts by attack and seconds for radii in growing order."""
    alive, broken_by = clean, {}
    results: list[_Attacked] = []
    for threat in threats:
        start, alive = time.perf_counter(), alive.copy()
        if target.exact is not None:
            robust = target.exact(threat) & alive
            broken_by = {"exact": int((clean & ~robust).sum())}
            alive = robust
        else:
            open_ = np.flatnonzero(alive)
            if not len(open_):
                results.append((alive, broken_by, 0.0))
                continue
            verdict = evaluate(
                target.model, target.X[open_], target.y[open_], threat, attack, target.predict,
                seed=seed, n_jobs=n_jobs, verbose=verbose,
            )  # fmt: skip
            alive[open_] = verdict.robust
            for record in verdict.records:
                name = _name(record.attack)
                broken_by = {**broken_by, name: broken_by.get(name, 0) + record.n_broken}
        results.append((alive, broken_by, time.perf_counter() - start))
    return results


def _certify_shrinking(
    target: Target, threats: list[ThreatModel], alive: list[np.ndarray], method: str | None
) -> tuple[list[_Proof], str]:
    """Return proven samples and seconds for each radius, and how they were proven."""
    if method is None:
        return [(None, 0.0)] * len(threats), "not asked for"
    if target.certify is None:
        return [(None, 0.0)] * len(threats), f"none: {target.obstacle}"
    proven, results = np.zeros(len(target.y), dtype=bool), []
    for threat, survivors in zip(reversed(threats), reversed(alive), strict=True):
        start = time.perf_counter()
        proven = proven | target.certify(threat, survivors & ~proven, method)
        results.append((proven, time.perf_counter() - start))
    return results[::-1], "exact" if target.exact is not None else method


def _name(attack: Any) -> str:
    """Return the class of an attack and what tells it from others of its class."""
    name, loss = type(attack).__name__, getattr(attack, "loss", None)
    targets = getattr(attack, "n_targets", None)
    parts = [str(getattr(loss, "name", loss)) if loss else "", f"{targets} targets" * bool(targets)]
    steps = getattr(attack, "n_steps", None)
    parts.append(f"{steps} steps" if steps else "")
    told = ", ".join(part for part in parts if part)
    return f"{name} ({told})" if told else name
