"""Pictures of input gradients: the report's figure, for images and for tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_robust._validation import check_option
from sklearn_robust.metrics import input_gradients

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class InputGradientDisplay:
    """A row of samples above one row of input gradients per model: white 0, red +, blue -.

    Use `from_estimator`, or pass gradients that are there already.

    Parameters
    ----------
    X : ndarray of shape (n_samples, h, w), (n_samples, c, h, w) or (n_samples, n_features)
        The samples. Images are drawn as images, rows of features as bars.
    gradients : dict of str to ndarray in the shape of X
        Title of a row and its gradients.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : ndarray of Axes, shape (1 + number of models, n_samples)
        First the samples, then a row per model.

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

    def __init__(self, X: np.ndarray, gradients: Mapping[str, np.ndarray]) -> None:
        self.X, self.gradients = X, gradients

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        **kwargs: Any,
    ) -> InputGradientDisplay:
        """Compute the gradients of one or several fitted models and plot them.

        Parameters
        ----------
        estimator : classifier or dict of str to classifier
            What `sklearn_robust.input_gradients` takes; a dict's keys become the titles of rows.
        X : array-like
            A few samples.
        y : array-like, optional
            Labels whose loss is differentiated. None: those that each model predicts.
        image_shape : tuple, optional
            Shape in which to draw a sample. None: as X has it.
        **kwargs
            For `plot`.
        """
        models = estimator if isinstance(estimator, Mapping) else {_name(estimator): estimator}
        samples = np.asarray(X)
        shape = (len(samples), *(samples.shape[1:] if image_shape is None else image_shape))
        gradients = {
            name: input_gradients(model, X, y).reshape(shape) for name, model in models.items()
        }
        return cls(samples.reshape(shape), gradients).plot(**kwargs)

    def plot(
        self, *, figure: Figure | None = None, scale: str = "sample", title: str | None = None
    ) -> InputGradientDisplay:
        """Draw into `figure`, or a new one.

        Parameters
        ----------
        figure : matplotlib Figure or SubFigure, optional
        scale : {"sample", "row"}, default="sample"
            What shares a colour scale: each picture has its own, or a row has one.
        title : str, optional
        """
        check_option(scale, "scale", ("sample", "row"))
        n, n_rows = len(self.X), 1 + len(self.gradients)
        if figure is None:
            import matplotlib.pyplot as plt

            figure = plt.figure(figsize=(0.9 * n + 1.1, 0.95 * n_rows + 0.3), layout="constrained")
        self.figure_ = figure
        self.ax_ = figure.subplots(n_rows, n, squeeze=False)
        if title is not None:
            figure.suptitle(title)
        for ax, x in zip(self.ax_[0], self.X, strict=True):
            _draw_sample(ax, x)
        self.ax_[0, 0].set_ylabel("input")
        for row, (name, gradients) in zip(self.ax_[1:], self.gradients.items(), strict=True):
            top = np.abs(gradients).max()
            for ax, gradient in zip(row, gradients, strict=True):
                _draw_gradient(ax, gradient, np.abs(gradient).max() if scale == "sample" else top)
            row[0].set_ylabel(name)
        for ax in self.ax_.ravel():
            ax.set(xticks=[], yticks=[])
        return self


def _name(estimator: Any) -> str:
    return type(estimator).__name__


def _draw_sample(ax: Axes, x: np.ndarray) -> None:
    if x.ndim == 1:
        ax.bar(np.arange(len(x)), x, color="0.3", width=1)
        return
    # Channels come first in torch and last in matplotlib; one channel is a grey picture.
    picture = x if x.ndim == 2 else x[0] if len(x) == 1 else np.moveaxis(x, 0, -1)
    ax.imshow(picture, cmap="gray")


def _draw_gradient(ax: Axes, gradient: np.ndarray, top: float) -> None:
    if gradient.ndim == 1:
        colours = np.where(gradient > 0, "tab:red", "tab:blue")
        ax.bar(np.arange(len(gradient)), gradient, color=colours, width=1)
        ax.axhline(0, color="0.7", linewidth=0.5)
        return
    picture = gradient if gradient.ndim == 2 else gradient.mean(0)
    limit = top if top > 0 else 1.0
    ax.imshow(picture, cmap="bwr", vmin=-limit, vmax=limit)
