"""Weights of linear models against the class bias of their features: Figure 2 of Collins et al."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sklearn_robust._validation import check_int
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection._law import law_for
from sklearn_robust.inspection._panels import by_name, single_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class WeightDisplay:
    r"""Weights of linear models, signed and at length 1, against the class bias of the features.

    Drawn is :math:`\theta_j w_j / \|w\|_2` against :math:`\tau_j` of the modified Bernoulli model,
    with the threshold below which training gives no weight as a vertical line.

    Use `from_estimator`, or pass weights that are there already.

    Parameters
    ----------
    tau : array of shape (n_features,)
        Class bias.
    weights : dict of str to array of shape (n_features,)
        Signed weights by name of the model.
    thresholds : dict of str to float, optional
        Where each model's threshold is; models without one are left out.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    points_ : dict of str to Line2D
        By name of the model.
    threshold_lines_ : dict of str to Line2D

    See Also
    --------
    sklearn_robust.BernoulliGenerator.threshold : What is predicted, and under which assumptions.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Figure 2.

    Examples
    --------
    >>> from sklearn_robust import AdversarialLogisticRegression, BernoulliGenerator
    >>> from sklearn_robust.inspection import WeightDisplay
    >>> law = BernoulliGenerator(20, tau=(0, 0.25), random_state=0)
    >>> clf = AdversarialLogisticRegression(epsilon=0.2).fit(*law.sample(2000))
    >>> display = WeightDisplay.from_estimator(clf, law)
    >>> display.thresholds
    {'AdversarialLogisticRegression': 0.1}
    """

    def __init__(
        self,
        tau: np.ndarray,
        weights: Mapping[str, np.ndarray],
        *,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.tau = tau
        self.weights = weights
        self.thresholds = {} if thresholds is None else thresholds

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        generator: BernoulliGenerator,
        *,
        thresholds: Mapping[str, float] | None = None,
        n_samples: int | None = None,
        ax: Axes | None = None,
    ) -> WeightDisplay:
        """Draw the weights of one or several fitted linear models.

        Parameters
        ----------
        estimator : classifier or dict of str to classifier
            With `coef_`, fitted to data of `generator`; a dict's keys become the names.
        generator : BernoulliGenerator
            The law behind the data.
        thresholds : dict of str to float, optional
            None: for each `AdversarialLogisticRegression` with epsilon > 0 under linf, what
            `BernoulliGenerator.threshold` predicts; for no other model.
        n_samples : int, optional
            How many samples the models were fitted to. With ``solver="pgd"`` the threshold depends
            on the penalty, 1 / (C n_samples); None leaves it out, as for endless data.
        ax : matplotlib Axes, optional
            None: a new one.

        Returns
        -------
        display : WeightDisplay
        """
        models = by_name(estimator)
        weights = {name: signed_weights(m, generator) for name, m in models.items()}
        if thresholds is None:
            if n_samples is not None:
                check_int(n_samples, "n_samples", low=1)
            laws = {name: law_for(m, generator, n_samples) for name, m in models.items()}
            thresholds = {name: value for name, value in laws.items() if value is not None}
        return cls(generator.tau_, weights, thresholds=thresholds).plot(ax)

    def plot(self, ax: Axes | None = None, *, markersize: float = 4) -> WeightDisplay:
        """Draw the points and thresholds.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: a new one.
        markersize : float, default=4
            In points.

        Returns
        -------
        self : object
        """
        self.figure_, self.ax_ = single_axes(ax)
        self.points_: dict[str, Line2D] = {}
        self.threshold_lines_: dict[str, Line2D] = {}
        self.ax_.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        for name, weights in self.weights.items():
            label = name if len(self.weights) > 1 else "_"  # matplotlib leaves "_" out of legends
            (points,) = self.ax_.plot(self.tau, weights, "o", markersize=markersize, label=label)
            self.points_[name] = points
            if name in self.thresholds:
                self._draw_threshold(name, self.thresholds[name], points.get_color())
        self.ax_.set(xlabel=r"class bias $\tau_j$", ylabel=r"$\theta_j w_j$, $\|w\|_2 = 1$")
        if len(self.weights) > 1 or self.thresholds:
            self.ax_.legend()
        return self

    def _draw_threshold(self, name: str, value: float, colour: Any) -> None:
        label = rf"$\tau^* = {value:.3f}$"
        self.threshold_lines_[name] = self.ax_.axvline(
            value, color=colour, linestyle="--", linewidth=1.2, label=label
        )


def signed_weights(model: Any, generator: BernoulliGenerator) -> np.ndarray:
    """Return the weights of a fitted linear model, times theta and at Euclidean length 1."""
    check_is_fitted(model)
    if not hasattr(model, "coef_"):
        raise ValueError(
            f"estimator must be a fitted linear classifier with coef_, got {type(model).__name__}. "
            "Of a pipeline whose other steps leave the features as they are, pass pipeline[-1]."
        )
    coef, theta = np.asarray(model.coef_), generator.theta_
    if coef.size != theta.size:
        raise ValueError(
            f"estimator must be a linear classifier of two classes and {theta.size} features, as "
            f"generator has, got coef_ of shape {coef.shape}."
        )
    weights, length = coef.ravel() * theta, np.linalg.norm(coef)
    return weights / length if length > 0 else weights
