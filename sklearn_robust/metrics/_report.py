"""What a report on a classifier holds over several radii, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_robust.metrics._diagnostics import Finding
from sklearn_robust.metrics._report_html import report_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class RadiusResult:
    """What is known at one radius; accuracies are shares of all samples.

    Attributes
    ----------
    epsilon : float
        The radius, or the multiple of the radii by column.
    clean : float
        Accuracy without an adversary.
    attacked : float
        Accuracy at the worst points found: an upper bound of the robust accuracy.
    attacked_is : {"exact", "white box", "black box"}
        What that number is: the robust accuracy itself, or what an attack along gradients or
        thresholds, or through scores alone, has left of it.
    certified : float
        Share of samples proven robust: a lower bound; NaN if nothing could be certified.
    certified_is : {"exact", "certified", "none"}
        What that one is: the robust accuracy itself, a proven bound, or nothing.
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
    attacked_is: str
    certified: float
    certified_is: str
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
    unit : {"X", "unit", "changes"}
        What epsilon is in: the units of X, or multiples of the `unit` that was passed or of the
        changes of a `TabularThreat`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import evaluate_robustness
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> evaluate_robustness(clf, X, y, [0.1, 0.2], diagnostics=False)
    Robustness of LogisticRegression on 150 samples (linf, not clipped)
      attack: auto; certificate: exact; seed 0
        epsilon    clean  attacked  certified     gap  attacked is  broken by
            0.1   0.9733    0.9267     0.9267  0.0000        exact  exact 7
            0.2   0.9733    0.8667     0.8667  0.0000        exact  exact 16
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
    unit: str = "X"

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

    def plot(self, ax: Axes | None = None) -> Any:
        """Draw accuracy against epsilon; between certified and attacked lies what is not known.

        See `sklearn_robust.inspection.RobustnessCurveDisplay.from_report`, which is returned.
        """
        import sklearn_robust  # which loads its displays, and matplotlib, on first use

        return sklearn_robust.inspection.RobustnessCurveDisplay.from_report(self, ax=ax)

    def _repr_html_(self) -> str:
        """Return the report as a table for notebooks."""
        return report_html(self)

    def __repr__(self) -> str:
        clip = "not clipped" if self.clip_values is None else "clipped to the valid range"
        lines = [
            f"Robustness of {self.estimator} on {self.n_samples} samples ({self.norm}, {clip})",
            f"  attack: {self.attack}; certificate: {self.certificate}; seed {self.seed}",
            f"  {'epsilon':>9} {'clean':>8} {'attacked':>9} {'certified':>10} {'gap':>7}"
            f"  {'attacked is':>11}  broken by",
        ]
        for r in self.radii:
            certified = "-" if np.isnan(r.certified) else f"{r.certified:.4f}"
            gap = "-" if np.isnan(r.gap) else f"{r.gap:.4f}"
            broken = ", ".join(f"{name} {n}" for name, n in r.broken_by.items() if n)
            lines.append(
                f"  {r.epsilon:>9.4g} {r.clean:>8.4f} {r.attacked:>9.4f} {certified:>10} {gap:>7}"
                f"  {r.attacked_is:>11}  {broken}"
            )
        fired = [f for f in self.findings if f.fired]
        if self.findings:
            lines.append(f"  diagnostics: {len(fired)} of {len(self.findings)} fired")
        lines += [f"  ! {f.check}: {f.message}" for f in fired]
        return "\n".join(lines)
