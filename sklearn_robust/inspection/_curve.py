"""Accuracy against epsilon: what was attacked, what was proven, and how sure the shares are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
from scipy.stats import beta

from sklearn_robust._validation import check_level, check_option
from sklearn_robust.inspection._panels import by_name, single_axes
from sklearn_robust.metrics import RobustnessReport, evaluate_robustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class CurveOptions(TypedDict, total=False):
    """What `RobustnessCurveDisplay.plot` takes, for those that draw at once to pass on."""

    ax: Axes | None
    confidence_level: float | None


@dataclass(frozen=True)
class RobustnessCurve:
    """Accuracies of one model at growing radii; shares of all samples.

    Attributes
    ----------
    epsilon : ndarray of shape (n_radii,)
        In ascending order, from 0 if the clean accuracy is known.
    attacked : ndarray of shape (n_radii,)
        Accuracy under attack: an upper bound of the robust accuracy.
    certified : ndarray of shape (n_radii,), optional
        Share proven robust: a lower bound.
    n_samples : int, optional
        How many samples the shares are of; needed for intervals.

    Examples
    --------
    Figures found elsewhere:

    >>> import numpy as np
    >>> from sklearn_robust.inspection import RobustnessCurve, RobustnessCurveDisplay
    >>> curve = RobustnessCurve(np.array([0.0, 0.1, 0.2]), np.array([0.98, 0.9, 0.75]))
    >>> RobustnessCurveDisplay({"published": curve}, norm="linf").plot().ax_.get_xlabel()
    'epsilon (linf)'
    """

    epsilon: np.ndarray
    attacked: np.ndarray
    certified: np.ndarray | None = None
    n_samples: int | None = None

    @classmethod
    def from_report(cls, report: RobustnessReport) -> RobustnessCurve:
        """Return the curve of a report of `sklearn_robust.evaluate_robustness`."""
        clean = report.radii[0].clean
        start = [] if report.radii[0].epsilon == 0 else [(0.0, clean, clean)]
        rows = [*start, *((r.epsilon, r.attacked, r.certified) for r in report.radii)]
        epsilon, attacked, certified = np.array(rows).T
        # Where nothing was certified at any radius there is no lower curve to draw.
        known = not np.isnan([r.certified for r in report.radii]).any()
        return cls(epsilon, attacked, certified if known else None, report.n_samples)


class RobustnessCurveDisplay:
    """Accuracy against the radius of the adversary, for one or several models.

    A solid line is the accuracy under attack, a dashed one the certified accuracy; the truth lies
    in the shaded band between them. Bars are confidence intervals of the shares, as if the samples
    had been drawn from a population (Clopper and Pearson [1]_): they say nothing about attacks
    that were not tried.

    Use `from_estimator`, `from_report` or `from_predictions`.

    Parameters
    ----------
    curves : dict of str to RobustnessCurve
    norm : str, optional
        Of the adversary; named on the axis.
    unit : {"X", "unit", "changes"}, default="X"
        What the radii are in, as in `sklearn_robust.metrics.RobustnessReport`.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    attacked_lines_ : dict of str to Line2D
        By name of the model.
    certified_lines_ : dict of str to Line2D
        Of those models that have a certificate.

    See Also
    --------
    sklearn_robust.evaluate_robustness : The numbers, and diagnostics of the attack.

    References
    ----------
    .. [1] C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in
       the case of the binomial", Biometrika 1934.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_robust.inspection import RobustnessCurveDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegression().fit(scale(X), y)
    >>> display = RobustnessCurveDisplay.from_estimator(clf, scale(X), y, [0.05, 0.1])
    >>> display.attacked_lines_["LogisticRegression"].get_ydata().round(2)
    array([0.99, 0.96, 0.92])
    """

    def __init__(
        self,
        curves: Mapping[str, RobustnessCurve],
        *,
        norm: str | None = None,
        unit: str = "X",
    ) -> None:
        self.curves = curves
        self.norm, self.unit = norm, check_option(unit, "unit", ("X", "unit", "changes"))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        epsilons: Any,
        *,
        unit: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
        attack: Any = "auto",
        certify: bool = True,
        method: str = "auto",
        random_state: Any = 0,
        n_jobs: int | None = None,
        **drawing: Unpack[CurveOptions],
    ) -> RobustnessCurveDisplay:
        """Evaluate one or several fitted classifiers at several radii and draw the curves.

        Parameters
        ----------
        estimator : classifier or dict of str to classifier
            A dict's keys become the names in the legend.
        X, y : array-like
            Samples in raw units, and their labels.
        epsilons : float, iterable of float, Series or dict by column, or TabularThreat
            Radii in the units of X, or multiples of `unit`; 0 is added.
        unit, norm, clip_values, attack, certify, method, random_state, n_jobs
            See `sklearn_robust.evaluate_robustness`.
        **drawing
            `ax` and `confidence_level`, see `plot`.

        Returns
        -------
        display : RobustnessCurveDisplay
        """
        if isinstance(epsilons, Iterator):
            epsilons = list(epsilons)  # which every model is asked at
        reports = {
            name: evaluate_robustness(
                model,
                X,
                y,
                epsilons,
                unit=unit,
                norm=norm,
                clip_values=clip_values,
                attack=attack,
                certify=certify,
                method=method,
                diagnostics=False,
                random_state=random_state,
                n_jobs=n_jobs,
            )
            for name, model in by_name(estimator).items()
        }
        return cls.from_report(reports, **drawing)

    @classmethod
    def from_report(cls, report: Any, **drawing: Unpack[CurveOptions]) -> RobustnessCurveDisplay:
        """Draw one or several reports of `sklearn_robust.evaluate_robustness`.

        Parameters
        ----------
        report : RobustnessReport or dict of str to RobustnessReport
            A dict's keys become the names in the legend. All of one norm and unit.
        **drawing
            `ax` and `confidence_level`, see `plot`.

        Returns
        -------
        display : RobustnessCurveDisplay
        """
        reports = dict(report) if isinstance(report, Mapping) else {report.estimator: report}
        for what in ("norm", "unit"):
            found = sorted({getattr(r, what) for r in reports.values()})
            if len(found) != 1:
                raise ValueError(
                    f"report must hold reports of one {what}, got {', '.join(found)}: their radii "
                    f"cannot share an axis. Draw one display for each {what}."
                )
        curves = {name: RobustnessCurve.from_report(r) for name, r in reports.items()}
        first = next(iter(reports.values()))
        return cls(curves, norm=first.norm, unit=first.unit).plot(**drawing)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        epsilons: Any,
        *,
        certified: Any = None,
        norm: str | None = None,
        name: str = "classifier",
        **drawing: Unpack[CurveOptions],
    ) -> RobustnessCurveDisplay:
        """Draw predictions at adversarial points found elsewhere.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
        y_pred : array-like of shape (n_radii, n_samples)
            What the classifier predicts at the points found for each radius. A sample counts as
            broken from the least radius at which it is misclassified on, since the larger set
            holds the smaller one's points.
        epsilons : array-like of shape (n_radii,)
            Strictly ascending; begin with 0 and the predictions for the samples themselves to show
            the clean accuracy.
        certified : bool array-like of shape (n_radii, n_samples), optional
            Which samples are proven robust.
        norm : str, optional
        name : str, default="classifier"
        **drawing
            `ax` and `confidence_level`, see `plot`.

        Returns
        -------
        display : RobustnessCurveDisplay

        Examples
        --------
        >>> from sklearn_robust.inspection import RobustnessCurveDisplay
        >>> display = RobustnessCurveDisplay.from_predictions(
        ...     [0, 1, 1], [[0, 1, 1], [0, 0, 1]], [0.0, 0.1]
        ... )
        >>> display.attacked_lines_["classifier"].get_ydata().round(2)
        array([1.  , 0.67])
        """
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        radii = np.asarray(epsilons, dtype=np.float64)
        if y_pred.shape != (len(radii), len(y_true)):
            raise ValueError(
                f"y_pred must have one row for each of the {len(radii)} epsilons and one column "
                f"for each of the {len(y_true)} samples, got the shape {y_pred.shape}."
            )
        if (np.diff(radii) <= 0).any():
            raise ValueError(f"epsilons must be strictly ascending, got {radii.tolist()}.")
        if certified is not None and np.shape(certified) != y_pred.shape:
            raise ValueError(
                f"certified must have the shape of y_pred, {y_pred.shape}, a row for each of the "
                f"epsilons and a column for each sample, got the shape {np.shape(certified)}."
            )
        standing = np.logical_and.accumulate(y_pred == y_true)
        proven = None if certified is None else (np.asarray(certified) & standing).mean(1)
        curve = RobustnessCurve(radii, standing.mean(1), proven, len(y_true))
        return cls({name: curve}, norm=norm).plot(**drawing)

    def plot(
        self, ax: Axes | None = None, *, confidence_level: float | None = 0.95
    ) -> RobustnessCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: a new one.
        confidence_level : float in (0, 1) or None, default=0.95
            Of the intervals; None: no intervals.

        Returns
        -------
        self : object
        """
        if confidence_level is not None:
            check_level(confidence_level)
        self.figure_, self.ax_ = single_axes(ax)
        self.attacked_lines_: dict[str, Line2D] = {}
        self.certified_lines_: dict[str, Line2D] = {}
        for name, curve in self.curves.items():
            self._draw(name, curve, confidence_level)
        self.ax_.set(xlabel=self._axis(), ylabel="accuracy", ylim=(-0.02, 1.02))
        self.ax_.legend()
        return self

    def _axis(self) -> str:
        if self.unit == "changes":
            return "multiples of the changes"
        norm = "" if self.norm is None else f" ({self.norm})"
        return f"epsilon{norm}" if self.unit == "X" else f"epsilon, multiples of unit{norm}"

    def _draw(self, name: str, curve: RobustnessCurve, level: float | None) -> None:
        prefix = f"{name}, " if len(self.curves) > 1 else ""
        label = f"{prefix}under attack"
        (line,) = self.ax_.plot(curve.epsilon, curve.attacked, marker="o", ms=4, label=label)
        self.attacked_lines_[name] = line
        _draw_interval(self.ax_, curve, curve.attacked, level, line.get_color())
        if curve.certified is None:
            return
        colour, label = line.get_color(), f"{prefix}certified"
        (lower,) = self.ax_.plot(
            curve.epsilon, curve.certified, "--", marker="s", ms=4, color=colour, label=label
        )
        self.certified_lines_[name] = lower
        _draw_interval(self.ax_, curve, curve.certified, level, colour)
        self.ax_.fill_between(
            curve.epsilon, curve.certified, curve.attacked, color=colour, alpha=0.15, lw=0
        )


def _draw_interval(
    ax: Axes, curve: RobustnessCurve, shares: np.ndarray, level: float | None, colour: Any
) -> None:
    if level is None or curve.n_samples is None:
        return
    low, high = binomial_interval(shares, curve.n_samples, level)
    ax.vlines(curve.epsilon, low, high, color=colour, linewidth=1, alpha=0.6)


def binomial_interval(
    shares: np.ndarray, n_samples: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the Clopper-Pearson interval of a probability from shares of `n_samples`."""
    hits, tail = np.round(np.asarray(shares) * n_samples), (1 - level) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, beta.ppf(tail, hits, n_samples - hits + 1), 0.0)
        high = np.where(hits < n_samples, beta.ppf(1 - tail, hits + 1, n_samples - hits), 1.0)
    return low, high
