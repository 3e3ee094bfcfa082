"""What displays share: where to draw, how samples become pictures, and one sample in one panel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from scipy import sparse

from sklearn_robust._images import channels_last, check_image_shape, image_shape as as_image
from sklearn_robust._validation import check_option, in_order
from sklearn_robust.preprocessing import as_table, column_names, is_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PanelOptions(TypedDict, total=False):
    """What `plot` of a display made of panels takes, for those that draw at once to pass on."""

    ax: Axes | np.ndarray | None
    figure: Figure | None
    scale: str
    title: str | None


class SampleOptions(PanelOptions, total=False):
    """The same, and how samples become pictures."""

    image_shape: tuple[int, ...] | None
    unit: Any


RED, BLUE = "tab:red", "tab:blue"
SCALES = ("sample", "row", "figure")
# More features than this are drawn without their names.
_MOST_NAMES = 40
# So many panels take half a minute to draw, and nobody can see them.
_MOST_SAMPLES = 100


def single_axes(ax: Axes | None) -> tuple[Figure, Axes]:
    """Return `ax` and its figure, or new ones."""
    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(layout="constrained")
    return ax.figure, ax  # type: ignore[return-value]


def grid_of_axes(
    ax: Any, figure: Any, shape: tuple[int, int], size: tuple[float, float], title: str | None
) -> tuple[Figure, np.ndarray]:
    """Return a figure and axes of that shape: those given, or within `ax` or `figure`, or new."""
    figure, axes = _grid(ax, figure, shape, size)
    if title is not None:
        figure.suptitle(title)
    return figure, axes


def _grid(
    ax: Any, figure: Any, shape: tuple[int, int], size: tuple[float, float]
) -> tuple[Figure, np.ndarray]:
    if shape[1] > _MOST_SAMPLES:
        raise ValueError(
            f"X must hold at most {_MOST_SAMPLES} samples, each of which is drawn in a column, got "
            f"{shape[1]}. Pass a few of them, such as X[:10]."
        )
    if isinstance(ax, np.ndarray | list | tuple):
        axes = np.array(ax, dtype=object)
        if axes.shape != shape:
            raise ValueError(
                f"ax must be one Axes or an array of {shape[0]} x {shape[1]} Axes, got an array of "
                f"shape {axes.shape}."
            )
        return axes[0, 0].figure, axes
    if ax is not None:
        ax.set_axis_off()
        if ax.get_subplotspec() is None:
            return ax.figure, _within(ax, shape)
        return ax.figure, ax.get_subplotspec().subgridspec(*shape).subplots(squeeze=False)
    if figure is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*shape, squeeze=False)


def _within(ax: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return axes over those that belong to no grid: whoever placed them chose where."""
    from matplotlib.gridspec import GridSpec

    left, bottom, right, top = ax.get_position().extents
    cells = GridSpec(*shape, left=left, bottom=bottom, right=right, top=top)
    places = [cells[i].get_position(ax.figure) for i in range(shape[0] * shape[1])]
    return np.array([ax.figure.add_axes(place) for place in places], dtype=object).reshape(shape)


class Rows:
    """Samples as numbers to draw: which columns, in which units, in which shape.

    Of a DataFrame only columns of numbers can be drawn. Dividing by `unit` makes features of
    different units comparable; a gradient is per unit, so that it is multiplied.
    """

    def __init__(self, X: Any, image_shape: tuple[int, ...] | None, unit: Any) -> None:
        self.names: np.ndarray | None = None
        self._columns: Any = slice(None)
        columns = column_names(X)
        if columns is not None:
            table = as_table(X)
            self._columns = np.flatnonzero(table.numeric | table.boolean)
            columns = [columns[k] for k in self._columns]
            self.names = np.asarray(columns, dtype=str)
        self._unit: Any = 1.0
        if unit is not None:
            self._unit = np.asarray(in_order(unit, columns, "unit"), dtype=np.float64)
            if columns is not None and self._unit.shape == (X.shape[1],):
                self._unit = self._unit[self._columns]
            if not (np.isfinite(self._unit) & (self._unit > 0)).all():
                raise ValueError(f"unit must hold finite numbers > 0, got {unit!r}.")
        self._shape = image_shape
        self.samples = self.of(X)

    def of(self, X: Any) -> np.ndarray:
        """Return samples in units."""
        return shaped(self._select(X) / self._unit, self._shape)

    def of_gradients(self, gradients: Any) -> np.ndarray:
        """Return gradients by samples in units."""
        return shaped(self._select(gradients) * self._unit, self._shape)

    def _select(self, X: Any) -> np.ndarray:
        if is_frame(X):
            return as_table(X).floats(self._columns)
        X = X.toarray() if sparse.issparse(X) else np.asarray(X)
        return np.asarray(X[:, self._columns], dtype=np.float64)


def shaped(samples: np.ndarray, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """Return `samples` with each in `image_shape`; None: as they are, rows as `_images` has them.

    (n,) keeps rows as rows: features drawn as bars.
    """
    given = samples.shape[1:]
    if image_shape is not None:
        shape = check_image_shape(image_shape, math.prod(given))
    else:
        shape = given if len(given) > 1 else as_image(given) or given
    if not 1 <= len(shape) <= 3:
        raise ValueError(
            "A sample to draw must be a row of features, (h, w), (c, h, w) or (h, w, c), got the "
            f"shape {shape}. Pass image_shape=..., and X with a row per sample."
        )
    return samples.reshape(len(samples), *shape)


def by_name(models: Any) -> dict[str, Any]:
    """Return models by name: a mapping as it is, one model under the name of its class."""
    return dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}


def panel_size(shape: tuple[int, ...], n_rows: int, n_columns: int) -> tuple[float, float]:
    """Return the size in inches of a figure with so many panels of samples of that shape."""
    if len(shape) > 1:
        return 0.9 * n_columns + 1.1, 0.95 * n_rows + 0.3
    height = 0.17 * min(shape[0], _MOST_NAMES) + 0.3
    return 1.5 * n_columns + 1.8, max(1.2, height) * n_rows + 0.3


def limits(values: list[np.ndarray], scale: str) -> list[np.ndarray]:
    """Return for each row of panels what the ends of each panel's colour scale stand for.

    Parameters
    ----------
    values : list of ndarray of shape (n_samples, ...)
        One entry per row.
    scale : {"sample", "row", "figure"}
        Whether a panel, a row or all rows share a scale.
    """
    check_option(scale, "scale", SCALES)
    tops = [abs(v).reshape(len(v), -1).max(1) for v in values]
    if scale == "row":
        tops = [np.full_like(top, top.max()) for top in tops]
    elif scale == "figure":
        tops = [np.full_like(top, max(map(np.max, tops))) for top in tops]
    return [np.where(top > 0, top, 1.0) for top in tops]


def signed_picture(sample: np.ndarray) -> np.ndarray:
    """Return one signed number per pixel: the mean over channels."""
    return sample if sample.ndim < 3 else sample.mean(_channel_axis(sample.shape))


def _channel_axis(shape: tuple[int, ...]) -> int:
    """Return where the channels are: first as in torch, unless only the last axis can be one."""
    return 2 if channels_last(shape) else 0


def draw_sample(ax: Axes, sample: np.ndarray, low: float, high: float) -> None:
    """Draw a sample: features as grey bars, an image in grey or colours from `low` to `high`."""
    if sample.ndim == 1:
        ax.barh(np.arange(len(sample)), sample, color="0.4", height=0.8)
        _zero_line(ax)
        return
    picture = sample
    if sample.ndim == 3:
        channels_last = np.moveaxis(sample, _channel_axis(sample.shape), -1)
        colours = channels_last.shape[-1] == 3
        picture = channels_last if colours else channels_last.mean(-1)
    if picture.ndim == 3:
        picture = ((picture - low) / (high - low if high > low else 1)).clip(0, 1)
        ax.imshow(picture)
    else:
        ax.imshow(picture, cmap="gray", vmin=low, vmax=high)


def draw_signed(ax: Axes, values: np.ndarray, limit: float) -> None:
    """Draw signed values: white 0, red positive, blue negative, strongest at +-limit."""
    picture = signed_picture(values)
    if picture.ndim == 1:
        colours = np.where(picture > 0, RED, BLUE)
        ax.barh(np.arange(len(picture)), picture, color=colours, height=0.8)
        ax.set_xlim(-1.05 * limit, 1.05 * limit)
        _zero_line(ax)
    else:
        ax.imshow(picture, cmap="bwr", vmin=-limit, vmax=limit)


def _zero_line(ax: Axes) -> None:
    ax.axvline(0, color="0.7", linewidth=0.6, zorder=0)


def finish_panels(axes: np.ndarray, titles: list[str], names: np.ndarray | None) -> None:
    """Take off ticks, write the title of each row, and the names of features beside bars."""
    bars = not axes[0, 0].images
    for ax in axes.ravel():
        ax.set(xticks=[], yticks=[])
        if bars:
            ax.invert_yaxis()
    for row, title in zip(axes, titles, strict=True):
        row[0].set_ylabel(title)
        if bars and names is not None and len(names) <= _MOST_NAMES:
            row[0].set_yticks(np.arange(len(names)), names, fontsize="small")
