"""Pictures of input gradients, for images and for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from sklearn_robust.inspection._panels import (
    PanelOptions,
    Rows,
    SampleOptions,
    by_name,
    draw_sample,
    draw_signed,
    finish_panels,
    grid_of_axes,
    limits,
    panel_size,
)
from sklearn_robust.metrics import input_gradients

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class InputGradientDisplay:
    r"""A row of samples above one row of input gradients per model: white 0, red +, blue -.

    Drawn is :math:`\nabla_x L(F(x), y)`, the gradient of the loss with respect to the sample: red
    where more of a pixel makes the model less sure of the label y, blue where it makes it surer.
    Channels of colour images are averaged. Rows of features are drawn as signed bars.

    Use `from_estimator`, or `from_predictions` for gradients that are there already.

    Parameters
    ----------
    X : array of shape (n_samples, ...)
        The samples: rows of features, or images (h, w), (c, h, w) or (h, w, c).
    gradients : dict of str to array in the shape of X
        Title of a row and its gradients.
    feature_names : array of str, optional
        Written beside the bars of rows of features.

    Attributes
    ----------
    figure_ : matplotlib Figure or SubFigure
    ax_ : ndarray of Axes, shape (1 + number of models, n_samples)
        First the samples, then a row per model.

    See Also
    --------
    sklearn_robust.input_gradients : The gradients as an array.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.inspection import InputGradientDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=2000).fit(X, y)
    >>> display = InputGradientDisplay.from_estimator(clf, X[:4], y[:4], image_shape=(8, 8))
    >>> display.ax_.shape
    (2, 4)
    """

    def __init__(
        self,
        X: np.ndarray,
        gradients: Mapping[str, np.ndarray],
        *,
        feature_names: np.ndarray | None = None,
    ) -> None:
        self.X = X
        self.gradients = gradients
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        **drawing: Unpack[SampleOptions],
    ) -> InputGradientDisplay:
        """Compute the gradients of one or several fitted models and draw them.

        Parameters
        ----------
        estimator : classifier or dict of str to classifier
            What `sklearn_robust.input_gradients` takes; a dict's keys become the titles of rows.
        X : array-like
            A few samples, as the estimator takes them.
        y : array-like, optional
            Labels whose loss is differentiated. None: those that each model predicts.
        **drawing
            `image_shape` and `unit` of `from_predictions`; `ax`, `figure`, `scale` and `title` of
            `plot`.

        Returns
        -------
        display : InputGradientDisplay
        """
        gradients = {
            name: input_gradients(model, X, y) for name, model in by_name(estimator).items()
        }
        return cls.from_predictions(X, gradients, **drawing)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        gradients: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        unit: Any = None,
        **drawing: Unpack[PanelOptions],
    ) -> InputGradientDisplay:
        """Draw gradients computed elsewhere.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        gradients : array-like in the shape of X, or dict of str to array-like
            A dict's keys become the titles of rows.
        image_shape : (h, w), (c, h, w) or (h, w, c), optional
            Shape in which to draw a sample. None: as X has it, rows as square images if their
            number of features is a square and at least 64; (n_features,): as bars.
        unit : float or array of shape (n_features,), optional
            Size of the step in each feature that the gradient is to be per, such as
            ``X.std(axis=0)`` for features of different units. Samples are divided by it.
        **drawing
            What `plot` takes.

        Returns
        -------
        display : InputGradientDisplay

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_robust.inspection import InputGradientDisplay
        >>> X, gradients = np.ones((2, 3, 3)), np.zeros((2, 3, 3))
        >>> InputGradientDisplay.from_predictions(X, {"mine": gradients}).ax_.shape
        (2, 2)
        """
        rows = Rows(X, image_shape, unit)
        if not isinstance(gradients, Mapping):
            gradients = {"gradient": gradients}
        for name, gradient in gradients.items():
            if np.shape(gradient) != np.shape(X):
                raise ValueError(
                    f"gradients[{name!r}] must have the shape of X, {np.shape(X)}, got "
                    f"{np.shape(gradient)}."
                )
        chosen = {name: rows.of_gradients(g) for name, g in gradients.items()}
        display = cls(rows.samples, chosen, feature_names=rows.names)
        return display.plot(**drawing)

    def plot(
        self,
        ax: Axes | np.ndarray | None = None,
        *,
        figure: Figure | None = None,
        scale: str = "sample",
        title: str | None = None,
    ) -> InputGradientDisplay:
        """Draw the panels.

        Parameters
        ----------
        ax : Axes or array of Axes of shape (1 + number of models, n_samples), optional
            One Axes is the area in which to draw all panels. None: new ones.
        figure : matplotlib Figure or SubFigure, optional
            Where to make new axes.
        scale : {"sample", "row", "figure"}, default="sample"
            What shares a colour scale, symmetric about 0: each panel has its own, all of a model
            have one, or all models have one, which shows whose gradients are larger.
        title : str, optional
            Above all panels.

        Returns
        -------
        self : object
        """
        tops = limits(list(self.gradients.values()), scale)
        shape = (1 + len(self.gradients), len(self.X))
        size = panel_size(self.X.shape[1:], *shape)
        self.figure_, self.ax_ = grid_of_axes(ax, figure, shape, size, title)
        for panel, x in zip(self.ax_[0], self.X, strict=True):
            draw_sample(panel, x, self.X.min(), self.X.max())
        for row, gradients, top in zip(self.ax_[1:], self.gradients.values(), tops, strict=True):
            for panel, gradient, limit in zip(row, gradients, top, strict=True):
                draw_signed(panel, gradient, limit)
        finish_panels(self.ax_, ["input", *self.gradients], self.feature_names)
        return self
