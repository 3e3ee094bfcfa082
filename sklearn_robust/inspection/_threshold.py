"""Thresholds of robust training over epsilon: what the law predicts, and what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from sklearn_robust._validation import check_int, check_real, listed
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection._law import law_for, measured_threshold
from sklearn_robust.inspection._panels import single_axes
from sklearn_robust.inspection._weights import signed_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ThresholdDisplay:
    r"""The class bias :math:`\tau^*` below which a feature gets no weight, against epsilon.

    Points are measured, the line is the law (:math:`\epsilon / 2` for exact training; for
    ``solver="pgd"`` with its penalty), bars are two standard errors.

    Use `from_estimator`, or pass thresholds that are there already.

    Parameters
    ----------
    epsilon : array of shape (n_radii,)
    predicted, measured : array of shape (n_radii,)
    standard_error : array of shape (n_radii,), optional
        Of `measured`, over data sets.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    line_ : Line2D
        What is predicted.
    points_ : Line2D
        What was measured.

    See Also
    --------
    sklearn_robust.BernoulliGenerator.threshold : What is predicted, and under which assumptions.

    Examples
    --------
    >>> from sklearn_robust import AdversarialLogisticRegression, BernoulliGenerator
    >>> from sklearn_robust.inspection import ThresholdDisplay
    >>> law = BernoulliGenerator(50, tau=(0, 0.25), random_state=0)
    >>> display = ThresholdDisplay.from_estimator(
    ...     AdversarialLogisticRegression(), law, [0.2, 0.4], n_samples=5000
    ... )
    >>> bool(abs(display.measured - display.predicted).max() < 0.02)
    True
    """

    def __init__(
        self,
        epsilon: np.ndarray,
        predicted: np.ndarray,
        measured: np.ndarray,
        *,
        standard_error: np.ndarray | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.predicted = predicted
        self.measured = measured
        self.standard_error = standard_error

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        generator: BernoulliGenerator,
        epsilons: float | Iterable[float],
        *,
        n_samples: int = 10_000,
        n_repeats: int = 1,
        ax: Axes | None = None,
    ) -> ThresholdDisplay:
        """Train at every radius on data of a known law, measure the thresholds and draw them.

        Where some weights are exactly 0 the threshold is measured by counting them, else by
        fitting a kink; see the documentation page on the threshold law.

        Parameters
        ----------
        estimator : AdversarialLogisticRegression
            Cloned for each fit, with its `epsilon` replaced. Under linf.
        generator : BernoulliGenerator
            With evenly spaced class biases from 0 on; each repeat draws `n_samples` from it.
        epsilons : float or iterable of float
            Radii > 0.
        n_samples : int, default=10000
        n_repeats : int, default=1
            Data sets; from two on the display has standard errors.
        ax : matplotlib Axes, optional
            None: a new one.

        Returns
        -------
        display : ThresholdDisplay
        """
        check_int(n_repeats, "n_repeats", low=1)
        check_int(n_samples, "n_samples", low=1)
        radii = [check_real(e, "each of epsilons", low=0, open_low=True) for e in listed(epsilons)]
        models = [clone(estimator).set_params(epsilon=radius) for radius in radii]
        predicted = [law_for(model, generator, n_samples) for model in models]
        if not radii or None in predicted:
            raise ValueError(
                "The law is known for AdversarialLogisticRegression(norm='linf') at one radius or "
                f"more, got {estimator!r} and {len(radii)} radii."
            )
        measured = np.empty((n_repeats, len(radii)))
        for row in measured:
            X, y = generator.sample(n_samples)
            for i, model in enumerate(models):
                weights = signed_weights(model.fit(X, y), generator)
                row[i] = measured_threshold(weights, generator.tau_)
        error = None if n_repeats == 1 else measured.std(axis=0, ddof=1) / np.sqrt(n_repeats)
        display = cls(
            np.array(radii), np.array(predicted), measured.mean(axis=0), standard_error=error
        )
        return display.plot(ax)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        label: str = "measured",
        color: Any = None,
        law_color: Any = "0.6",
        shift: float = 0.0,
    ) -> ThresholdDisplay:
        """Draw line and points.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: a new one.
        label : str, default="measured"
            Of the points in the legend.
        color, law_color : color, optional
            Of the points, and of the line.
        shift : float, default=0.0
            Moves the points along epsilon, so that several displays can share an Axes.

        Returns
        -------
        self : object
        """
        self.figure_, self.ax_ = single_axes(ax)
        (self.line_,) = self.ax_.plot(self.epsilon, self.predicted, color=law_color, linewidth=1)
        bars = None if self.standard_error is None else 2 * np.asarray(self.standard_error)
        container = self.ax_.errorbar(
            np.asarray(self.epsilon) + shift,
            self.measured,
            bars,
            fmt="o",
            markersize=4,
            color=color,
            label=label,
        )
        self.points_ = container.lines[0]
        self.ax_.set(xlabel=r"$\epsilon$", ylabel=r"threshold $\tau^*$", ylim=(0, None))
        self.ax_.legend(title="line: law")
        return self
