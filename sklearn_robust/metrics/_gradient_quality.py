"""The measures of a model's gradients over many samples, beside what chance would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse, stats

from sklearn_robust._images import image_shape as as_image
from sklearn_robust._validation import check_level, draw_seed
from sklearn_robust.metrics._gradient_measures import (
    effective_complexity,
    gini_sparsity,
    gradient_alignment,
    gradient_smoothness,
    ink_energy,
)
from sklearn_robust.preprocessing import as_table, is_frame
from sklearn_robust.targets import input_gradients

if TYPE_CHECKING:
    import pandas as pd

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]

_ANY: dict[str, Measure] = {
    "gini": lambda X, g: gini_sparsity(g),
    "complexity": lambda X, g: effective_complexity(g),
    "cosine": gradient_alignment,
}
_IMAGES: dict[str, Measure] = {
    "ink": ink_energy,
    "smoothness": lambda X, g: gradient_smoothness(g),
}


@dataclass(frozen=True)
class GradientQuality:
    """What `gradient_quality` found.

    Attributes
    ----------
    values : dict of str to ndarray of shape (n_samples,)
        Each measure of each sample; NaN where the gradient is zero.
    shuffled : dict of str to ndarray of shape (n_samples,)
        The same with each sample given the gradient of another one: what a gradient has that does
        not depend on its image.
    random : dict of str to ndarray of shape (n_samples,)
        The same with gradients of independent normal numbers.
    n_samples, n_zero : int
        Samples, and those among them whose gradient is zero.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_robust import AdversarialLogisticRegression
    >>> from sklearn_robust.metrics import gradient_quality
    >>> X, y = load_wine(return_X_y=True)
    >>> X = scale(X)
    >>> robust, standard = (
    ...     gradient_quality(AdversarialLogisticRegression(epsilon).fit(X, y), X, y)
    ...     for epsilon in (0.3, 0.0)
    ... )
    >>> {name: round(v, 2) for name, v in robust.effect(standard, "gini").items()}
    {'difference': 0.22, 'low': 0.21, 'high': 0.23, 'cohen_d': 3.98}
    """

    values: dict[str, np.ndarray]
    shuffled: dict[str, np.ndarray]
    random: dict[str, np.ndarray]
    n_samples: int
    n_zero: int

    def interval(self, measure: str, *, confidence_level: float = 0.95) -> tuple[float, float]:
        """Return Student's interval of a measure's mean over the samples; the level in (0, 1)."""
        check_level(confidence_level)
        return _interval(self.values[measure], confidence_level)

    def effect(self, other: GradientQuality, measure: str) -> dict[str, float]:
        """Return how much larger a measure is here than in `other`, on the same samples.

        Returns
        -------
        effect : dict
            "difference" of the means with its 95 % interval "low", "high", paired by sample, and
            "cohen_d", the difference in units of the pooled standard deviation.
        """
        ours, theirs = self.values[measure], other.values[measure]
        if ours.shape != theirs.shape:
            raise ValueError(
                f"effect compares the same samples, got {len(ours)} here and {len(theirs)} in "
                "other."
            )
        both = ~np.isnan(ours) & ~np.isnan(theirs)
        ours, theirs = ours[both], theirs[both]
        low, high = _interval(ours - theirs, 0.95)
        spread = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
        difference = float((ours - theirs).mean())
        return {
            "difference": difference,
            "low": low,
            "high": high,
            "cohen_d": float(difference / spread) if spread > 0 else float("nan"),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas DataFrame, a row for each measure."""
        import pandas as pd

        return pd.DataFrame(self.rows()).set_index("measure")

    def rows(self) -> list[dict[str, Any]]:
        """Return a dict for each measure: its mean, 95 % interval, and the means by chance."""
        out = []
        for name, values in self.values.items():
            low, high = self.interval(name)
            out.append(
                {
                    "measure": name,
                    "mean": _mean(values),
                    "low": low,
                    "high": high,
                    "shuffled": _mean(self.shuffled[name]),
                    "random": _mean(self.random[name]),
                }
            )
        return out

    def __repr__(self) -> str:
        lines = [
            f"GradientQuality of {self.n_samples} samples, {self.n_zero} with zero gradient",
            f"{'':12}{'mean':>9}{'95 % interval':>20}{'shuffled':>10}{'random':>9}",
        ]
        for row in self.rows():
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]"
            lines.append(
                f"{row['measure']:12}{row['mean']:9.3f}{interval:>20}{row['shuffled']:10.3f}"
                f"{row['random']:9.3f}"
            )
        return "\n".join(lines)


def gradient_quality(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    image_shape: tuple[int, ...] | None = None,
    random_state: Any = 0,
) -> GradientQuality:
    """Measure how sparse, aligned with the image and smooth a model's input gradients are.

    The measures are `gini_sparsity`, `effective_complexity`, the cosine of `gradient_alignment`
    and, for images, `ink_energy` and `gradient_smoothness`; each stands beside its value for
    gradients of other samples and for random ones, because none means anything alone.

    Parameters
    ----------
    estimator : classifier
        Fitted; what `input_gradients` takes.
    X : array-like
        Samples as the estimator takes them.
    y : array-like of shape (n_samples,), optional
        Labels whose loss is meant. None: the predicted ones.
    image_shape : (h, w) or (channels, h, w), optional
        Shape of an image if the rows of X hold flattened ones. None: rows are square images if
        their number of features is a square and at least 64; (n_features,): they are no images.
    random_state : int, Generator, RandomState or None, default=0
        For the two baselines.

    Returns
    -------
    quality : GradientQuality

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If there are fewer than 2 samples, `image_shape` does not hold the values of one, or y has
        labels that were not seen in fit.
    TypeError
        If the library cannot differentiate the estimator.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.metrics import gradient_quality
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=5000).fit(X, y)
    >>> quality = gradient_quality(clf, X[:200], y[:200], image_shape=(8, 8))
    >>> sorted(quality.values)
    ['complexity', 'cosine', 'gini', 'ink', 'smoothness']
    >>> low, high = quality.interval("gini")
    >>> print(f"{low:.2f} {high:.2f}")
    0.54 0.55
    """
    gradients = np.asarray(input_gradients(estimator, X, y), dtype=np.float64)
    samples, gradients = _numbers(X, gradients)
    n = len(samples)
    if n < 2:
        raise ValueError(f"gradient_quality needs at least 2 samples to compare, got {n}.")
    shape = as_image(samples.shape[1:], image_shape)
    if shape is not None:
        samples, gradients = (a.reshape(n, *shape) for a in (samples, gradients))
    measures = {**_ANY, **({} if shape is None else _IMAGES)}
    rng = np.random.default_rng(draw_seed(random_state))
    order = rng.permutation(n)
    others = np.empty_like(gradients)
    others[order] = gradients[np.roll(order, 1)]  # nobody keeps its own
    noise = rng.normal(size=gradients.shape)

    def measured(g: np.ndarray) -> dict[str, np.ndarray]:
        return {name: measure(samples, g) for name, measure in measures.items()}

    return GradientQuality(
        values=measured(gradients),
        shuffled=measured(others),
        random=measured(noise),
        n_samples=n,
        n_zero=int((gradients.reshape(n, -1) == 0).all(1).sum()),
    )


def _numbers(X: Any, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return samples as numbers, and the gradients by them: the numeric columns of a table."""
    if not is_frame(X) and not sparse.issparse(X):
        return np.asarray(X, dtype=np.float64), gradients
    table = as_table(X)
    columns = np.flatnonzero(table.numeric)
    return table.floats(columns), gradients[:, columns]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _interval(values: np.ndarray, confidence_level: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return float("nan"), float("nan")
    reach = stats.t.ppf((1 + confidence_level) / 2, len(known) - 1) * stats.sem(known)
    return float(known.mean() - reach), float(known.mean() + reach)
