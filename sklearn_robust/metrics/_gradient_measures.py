r"""How readable input gradients are, one number per sample: sparse, aligned with the image, smooth.

All measures ignore the length of a gradient. A gradient that is zero has none of these properties:
its value is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from sklearn_robust._arrays import rows
from sklearn_robust._validation import check_finite, check_int, check_real


def gini_sparsity(gradients: Any) -> np.ndarray:
    r"""Return the Gini index of the magnitudes: 0 if all are equal, near 1 if one holds all.

    .. math:: G(g) = \frac{\sum_i (2 i - d - 1) a_i}{d \sum_i a_i}, \qquad
              a = \text{sorted}(|g|), \quad a_1 \le \dots \le a_d

    Parameters
    ----------
    gradients : array-like of shape (n_samples, ...)

    Returns
    -------
    gini : ndarray of shape (n_samples,)
        In [0, 1 - 1/d]; a gradient of independent normal numbers has about 0.41.

    References
    ----------
    .. [1] P. Chalasani et al., "Concise explanations of neural networks using adversarial
       training", ICML 2020, section 4.1.

    Examples
    --------
    >>> from sklearn_robust.metrics import gini_sparsity
    >>> gini_sparsity([[1, -1, 1, 1], [0, 0, 0, 7]])
    array([0.  , 0.75])
    """
    magnitudes = np.sort(np.abs(_of_size_one(_as_rows(gradients))), axis=1)
    d = magnitudes.shape[1]
    with np.errstate(invalid="ignore"):  # 0 / 0 is the promised NaN
        return magnitudes @ (2.0 * np.arange(1, d + 1) - d - 1) / (d * magnitudes.sum(1))


def effective_complexity(gradients: Any, *, share: float = 0.1) -> np.ndarray:
    r"""Return how many features count: :math:`\#\{j : |g_j| > share \cdot \max_k |g_k|\}`.

    Parameters
    ----------
    gradients : array-like of shape (n_samples, ...)
    share : float in [0, 1], default=0.1

    Returns
    -------
    complexity : float ndarray of shape (n_samples,)

    Examples
    --------
    >>> from sklearn_robust.metrics import effective_complexity
    >>> effective_complexity([[1, -1, 0.5, 0.05]])
    array([3.])
    """
    check_real(share, "share", low=0, high=1)
    magnitudes = np.abs(_as_rows(gradients))
    largest = magnitudes.max(1)
    return np.where(largest > 0, (magnitudes > share * largest[:, None]).sum(1), np.nan)


def gradient_alignment(X: Any, gradients: Any, *, cosine: bool = True) -> np.ndarray:
    r"""Return how much of a sample its gradient points along, sign ignored.

    .. math:: \alpha(x) = \frac{|\langle x, g \rangle|}{\|g\|_2}, \qquad
              |\cos(x, g)| = \frac{\alpha(x)}{\|x\|_2}

    The alignment of [1]_ is taken with the gradient of the winning score; here `gradients` are
    whatever is passed, by default those of the loss.

    Parameters
    ----------
    X, gradients : array-like of shape (n_samples, ...)
    cosine : bool, default=True
        Whether to divide by the length of the sample: alignment alone grows with it.

    Returns
    -------
    alignment : ndarray of shape (n_samples,)

    References
    ----------
    .. [1] C. Etmann et al., "On the connection between adversarial robustness and saliency map
       interpretability", ICML 2019, definition 2.

    Examples
    --------
    >>> from sklearn_robust.metrics import gradient_alignment
    >>> gradient_alignment([[3.0, 4.0]], [[-0.6, -0.8]])
    array([1.])
    """
    x, g = _as_rows(X), _of_size_one(_as_rows(gradients))
    _check_same_shape(x, g)
    with np.errstate(invalid="ignore", divide="ignore"):
        alignment = np.abs((x * g).sum(1)) / np.linalg.norm(g, axis=1)
        return alignment / np.linalg.norm(x, axis=1) if cosine else alignment


def ink_energy(
    X: Any, gradients: Any, *, threshold: float | None = None, width: int = 1
) -> np.ndarray:
    r"""Return the share of the gradient's magnitude that lies on or next to strokes.

    .. math:: \frac{\sum_{p \in M} |g_p|}{\sum_p |g_p|}, \qquad
              M = \{p : \max_{\|q - p\|_\infty \le width} x_q > threshold\}

    Parameters
    ----------
    X, gradients : array-like of shape (n_samples, h, w) or (n_samples, channels, h, w)
        Bright strokes on a dark background; invert X otherwise.
    threshold : float, optional
        Pixels above it are strokes. None: the middle between the smallest and the largest value of
        X.
    width : int, default=1
        How far from a stroke counts as next to it, in pixels, diagonals included.

    Returns
    -------
    energy : ndarray of shape (n_samples,)
        A gradient that knows nothing of the image has the share of M in the image's area.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.metrics import ink_energy
    >>> X = np.zeros((1, 5, 5))
    >>> X[0, 0, 0] = 1
    >>> ink_energy(X, np.ones((1, 5, 5)))  # 4 of 25 pixels
    array([0.16])
    """
    check_int(width, "width", low=0)
    x, g = _as_images(X, "X"), _as_images(gradients, "gradients")
    _check_same_shape(x, g)
    if threshold is None:
        threshold = (x.min() + x.max()) / 2
    ink = x > check_real(threshold, "threshold")
    if width:
        ink = ndimage.binary_dilation(ink, np.ones((1, 1, 3, 3), dtype=bool), iterations=width)
    magnitudes = np.abs(_of_size_one(g))
    with np.errstate(invalid="ignore"):
        return (magnitudes * ink).sum((1, 2, 3)) / magnitudes.sum((1, 2, 3))


def gradient_smoothness(gradients: Any) -> np.ndarray:
    r"""Return the correlation of neighbouring pixels: 1 for smooth gradients, 0 for noise.

    .. math:: \frac{\sum_{p \sim q} g_p g_q}{\tfrac12 \sum_{p \sim q} (g_p^2 + g_q^2)}

    over all pairs of pixels that share an edge. The mean is not taken off, so that a constant
    gradient is as smooth as can be; strokes that alternate in sign have a negative value.

    Parameters
    ----------
    gradients : array-like of shape (n_samples, h, w) or (n_samples, channels, h, w)

    Returns
    -------
    smoothness : ndarray of shape (n_samples,)
        In [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.metrics import gradient_smoothness
    >>> gradient_smoothness(np.array([[[1.0, 1.0]], [[1.0, -1.0]]]))
    array([ 1., -1.])
    """
    g = _of_size_one(_as_images(gradients, "gradients"))
    pairs = ((g[..., 1:, :], g[..., :-1, :]), (g[..., 1:], g[..., :-1]))
    with np.errstate(invalid="ignore"):
        products = sum((a * b).sum((1, 2, 3)) for a, b in pairs)
        return products / sum((a**2 + b**2).sum((1, 2, 3)) / 2 for a, b in pairs)


def _as_rows(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 2:
        raise ValueError(
            f"X and gradients must hold one sample per row, got shape {values.shape}. "
            "Reshape a single sample with x[None]."
        )
    check_finite(values, "X and gradients")
    return rows(values)


def _of_size_one(g: np.ndarray) -> np.ndarray:
    """Return each gradient over its largest entry, so that no square of it leaves the range."""
    largest = np.abs(g).max(axis=tuple(range(1, g.ndim)), keepdims=True)
    return g / np.where(largest > 0, largest, 1.0)


def _as_images(values: Any, name: str) -> np.ndarray:
    """Return images as (n_samples, channels, h, w)."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (3, 4):
        raise ValueError(
            f"{name} must hold images, (n_samples, h, w) or (n_samples, channels, h, w), got shape "
            f"{values.shape}. Reshape rows of pixels, or pass image_shape."
        )
    check_finite(values, name)
    return values if values.ndim == 4 else values[:, None]


def _check_same_shape(x: np.ndarray, g: np.ndarray) -> None:
    if x.shape != g.shape:
        raise ValueError(f"gradients must have the shape of X, {x.shape}, got {g.shape}.")
