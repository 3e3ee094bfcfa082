"""Pictures of adversarial examples: the samples, what they became, and the difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from sklearn_robust.inspection._panels import (
    PanelOptions,
    Rows,
    SampleOptions,
    draw_sample,
    draw_signed,
    finish_panels,
    grid_of_axes,
    limits,
    panel_size,
)
from sklearn_robust.metrics import perturb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class AdversarialExamplesDisplay:
    """Three rows: samples, their perturbed versions, and the difference; labels above each.

    Above a sample stands what the model predicts for it, above its perturbed version what it
    predicts there, in red where that is wrong. In the difference white is 0, red +, blue -.

    Use `from_estimator`, or `from_predictions` for points that are there already.

    Parameters
    ----------
    X, X_adv : array of shape (n_samples, ...)
        Rows of features, or images (h, w), (c, h, w) or (h, w, c).
    y : array of shape (n_samples,), optional
        The true labels.
    y_pred, y_pred_adv : array of shape (n_samples,), optional
        What the model predicts for X and for X_adv.
    feature_names : array of str, optional
        Written beside the bars of rows of features.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    ax_ : ndarray of Axes, shape (3, n_samples)

    See Also
    --------
    sklearn_robust.perturb : The adversarial batch as an array.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.inspection import AdversarialExamplesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=2000).fit(X, y)
    >>> display = AdversarialExamplesDisplay.from_estimator(
    ...     clf, X[:4], y[:4], epsilon=1.0, clip_values=(0, 16), image_shape=(8, 8)
    ... )
    >>> display.ax_.shape
    (3, 4)
    """

    def __init__(
        self,
        X: np.ndarray,
        X_adv: np.ndarray,
        *,
        y: Any = None,
        y_pred: Any = None,
        y_pred_adv: Any = None,
        feature_names: np.ndarray | None = None,
    ) -> None:
        self.X = X
        self.X_adv = X_adv
        self.y = y
        self.y_pred = y_pred
        self.y_pred_adv = y_pred_adv
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        epsilon: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
        attack: Any = "auto",
        random_state: Any = 0,
        **drawing: Unpack[SampleOptions],
    ) -> AdversarialExamplesDisplay:
        """Attack a fitted classifier at a few samples and draw what was found.

        Parameters
        ----------
        estimator : classifier
            What `sklearn_robust.perturb` takes.
        X, y : array-like
            A few samples, in raw units, and their labels.
        epsilon, norm, clip_values, attack, random_state
            See `sklearn_robust.perturb`.
        **drawing
            `image_shape` and `unit` of `from_predictions`; `ax`, `figure`, `scale` and `title` of
            `plot`.

        Returns
        -------
        display : AdversarialExamplesDisplay
        """
        X_adv = perturb(
            estimator,
            X,
            y,
            epsilon=epsilon,
            norm=norm,
            clip_values=clip_values,
            attack=attack,
            random_state=random_state,
        )
        return cls.from_predictions(
            X,
            X_adv,
            y=y,
            y_pred=estimator.predict(X),
            y_pred_adv=estimator.predict(X_adv),
            **drawing,
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        X_adv: Any,
        *,
        y: Any = None,
        y_pred: Any = None,
        y_pred_adv: Any = None,
        image_shape: tuple[int, ...] | None = None,
        unit: Any = None,
        **drawing: Unpack[PanelOptions],
    ) -> AdversarialExamplesDisplay:
        """Draw points found elsewhere.

        Parameters
        ----------
        X, X_adv : array-like of shape (n_samples, ...)
        y, y_pred, y_pred_adv : array-like of shape (n_samples,), optional
        image_shape : (h, w), (c, h, w) or (h, w, c), optional
            Shape in which to draw a sample. None: as X has it, rows as square images if their
            number of features is a square and at least 64; (n_features,): as bars.
        unit : float or array of shape (n_features,), optional
            Divides samples and differences, such as ``X.std(axis=0)`` for features of different
            units.
        **drawing
            What `plot` takes.

        Returns
        -------
        display : AdversarialExamplesDisplay
        """
        if np.shape(X) != np.shape(X_adv):
            raise ValueError(
                f"X_adv must have the shape of X, {np.shape(X)}, got {np.shape(X_adv)}."
            )
        rows = Rows(X, image_shape, unit)
        display = cls(
            rows.samples,
            rows.of(X_adv),
            y=y,
            y_pred=y_pred,
            y_pred_adv=y_pred_adv,
            feature_names=rows.names,
        )
        return display.plot(**drawing)

    def plot(
        self,
        ax: Axes | np.ndarray | None = None,
        *,
        figure: Figure | None = None,
        scale: str = "figure",
        title: str | None = None,
    ) -> AdversarialExamplesDisplay:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array of Axes of shape (3, n_samples), optional
            One Axes is the area in which to draw all panels. None: new ones.
        figure : matplotlib Figure or SubFigure, optional
            Where to make new axes.
        scale : {"figure", "sample"}, default="figure"
            Whether all differences share a colour scale, symmetric about 0, or each has its own.
        title : str, optional
            Above all panels.

        Returns
        -------
        self : object
        """
        difference = self.X_adv - self.X
        tops = limits([difference], scale)[0]
        shape = (3, len(self.X))
        width, height = panel_size(self.X.shape[1:], *shape)
        self.figure_, self.ax_ = grid_of_axes(ax, figure, shape, (width, height + 0.5), title)
        low = min(self.X.min(), self.X_adv.min())
        high = max(self.X.max(), self.X_adv.max())
        for column, x, x_adv, delta, limit in zip(
            self.ax_.T, self.X, self.X_adv, difference, tops, strict=True
        ):
            draw_sample(column[0], x, low, high)
            draw_sample(column[1], x_adv, low, high)
            draw_signed(column[2], delta, limit)
        self._write_labels(self.ax_[0], self.y_pred)
        self._write_labels(self.ax_[1], self.y_pred_adv)
        finish_panels(self.ax_, ["input", "perturbed", "difference"], self.feature_names)
        return self

    def _write_labels(self, row: np.ndarray, predicted: Any) -> None:
        if predicted is None:
            return
        truth = predicted if self.y is None else self.y
        for panel, label, right in zip(row, np.asarray(predicted), np.asarray(truth), strict=True):
            colour = "black" if label == right else "tab:red"
            panel.set_title(str(label), fontsize="medium", color=colour)
