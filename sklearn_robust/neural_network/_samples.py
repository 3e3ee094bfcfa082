"""How a network classifier reads samples: their values, their shape, the units they are in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_robust._arrays import on_host
from sklearn_robust._images import image_shape
from sklearn_robust._norms import NORMS
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_sample_weight, value_range
from sklearn_robust._warnings import ScaleWarning, warn_user
from sklearn_robust.neural_network._parameters import NetworkParameters
from sklearn_robust.neural_network._plan import is_auto

# Of two lots of the same data one may well reach twice as far as the other; not 25 times.
_FAR = 25
# Bytes up to this are counts, codes or 0 and 1 rather than grey levels from 0 to 255.
_DARK = 32


def read_samples(classifier: NetworkParameters, X: Any) -> np.ndarray:
    """Return checked samples in the shape of the training data."""
    check_is_fitted(classifier)
    as_bytes = is_bytes(X)
    X = _validated(classifier, X, None, reset=False)[0].reshape(-1, *classifier.input_shape_)
    if hasattr(classifier, "_fitted_top"):  # not in pickles of earlier versions
        _warn_of_scale(
            X,
            as_bytes=as_bytes,
            fitted_bytes=classifier._fitted_bytes,
            fitted_top=classifier._fitted_top,
        )
    return X


def read_training_data(
    classifier: NetworkParameters, X: Any, y: Any, sample_weight: Any, *, reset: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return checked samples in their own shape, labels, and weights.

    With `reset` the classifier takes over what later samples are held against: their shape, whether
    they are grey levels of type uint8, and how far their values go.
    """
    as_bytes = is_bytes(X)
    X, y, shape = _validated(classifier, X, y, reset=reset)
    check_classification_targets(y)
    if reset:
        ramp = None if is_auto(classifier.input_ramp) else classifier.input_ramp
        plain = classifier.preprocessor is None and ramp is None
        as_bytes = as_bytes and _are_grey_levels(X, shape, classifier, scaled=plain)
        classifier.input_shape_ = shape
        classifier.input_factor_ = 1 / 255 if as_bytes and plain else 1.0
        classifier._fitted_bytes, classifier._fitted_top = as_bytes, _top(X)
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, X)
    X = X.reshape(len(X), *classifier.input_shape_)
    threat = classifier._threat()
    threat.check_trainable(X, getattr(classifier, "feature_names_in_", None))
    threat.check_data(X)
    if reset:
        _warn_of_epsilon(threat, X, as_bytes=as_bytes)
    return X, y, sample_weight


def is_bytes(X: Any) -> bool:
    """Return whether X holds numbers of type uint8, as images on a disk do."""
    if hasattr(X, "iloc"):
        return all(dtype == np.uint8 for dtype in getattr(X, "dtypes", [None]))
    return str(getattr(X, "dtype", None)) in ("uint8", "torch.uint8")


def _validated(
    classifier: NetworkParameters, X: Any, y: Any, *, reset: bool
) -> tuple[Any, Any, tuple[int, ...]]:
    """Return X as floats or bytes of shape (n_samples, n_features), y, and a sample's shape."""
    X, y = on_host(X), on_host(y)
    if not hasattr(X, "shape") or (hasattr(X, "ndim") and X.ndim > 2):
        X = np.asarray(X)
    kinds: list[type] = [np.float64, np.float32]
    if is_bytes(X):
        X = np.asarray(X)
        kinds.append(np.uint8)  # a quarter of float32: a batch at a time becomes that
    shape = tuple(X.shape[1:])
    if len(shape) > 1:
        if not reset:
            _check_layout(shape, classifier.input_shape_)
        X = X.reshape(len(X), -1)
    kwargs: dict[str, Any] = {"dtype": kinds, "reset": reset}
    if y is None:
        X = validate_data(classifier, X, **kwargs)
    else:
        X, y = validate_data(classifier, X, y, **kwargs)
    return X, y, shape if len(shape) > 1 else X.shape[1:]


def _check_layout(shape: tuple[int, ...], fitted: tuple[int, ...]) -> None:
    """Raise ValueError for images with as many values as those of `fit` in another order."""
    same_size = math.prod(shape) == math.prod(fitted)
    if len(fitted) > 1 and same_size and _without_ones(shape) != _without_ones(fitted):
        raise ValueError(
            f"X has samples of shape {shape}, but fit saw {fitted}. Bring the axes of X into "
            "that order."
        )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _are_grey_levels(
    X: np.ndarray, shape: tuple[int, ...], classifier: NetworkParameters, *, scaled: bool
) -> bool:
    """Return whether bytes are grey levels from 0 to 255, and not counts, codes or 0 and 1.

    Images with a value above 32 are. So are rows if most features that are ever > 0 reach that far,
    which a table of counts with flags beside them does not; it is said if they are to be `scaled`.
    """
    tops = X.max(axis=0)
    declared = None if classifier.preprocessor is not None else classifier.image_shape
    if image_shape(shape, declared) is not None:
        return bool(tops.max() > _DARK)
    if not tops.any() or np.mean(tops[tops > 0] > _DARK) < 0.5:
        return False
    if scaled:
        warn_user(
            "X is of type uint8 and is taken for grey levels: the network divides it by 255. If "
            "it holds other numbers, pass X.astype(float); if images, pass them in their shape."
        )
    return True


def _warn_of_epsilon(threat: ThreatModel, X: np.ndarray, *, as_bytes: bool) -> None:
    """Warn if the radius is nothing to grey levels, or lets all samples of X meet in a point."""
    largest = np.max(threat.epsilon)
    if largest == 0 or threat.moves is not None:
        return
    low, high = value_range(X)
    if largest < 1 and (as_bytes or _are_whole_from_0_to_255(X, low, high)):
        warn_user(
            f"epsilon={threat.epsilon} is less than one grey level of X, whose values go from 0 to "
            "255. Pass epsilon in grey levels, or X / 255."
        )
    half = (high - low) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(half > 0, half / np.ravel(threat.epsilon), 0.0)
    if half.any() and NORMS[threat.norm].length(steps[None])[0] <= 1:
        warn_user(
            f"epsilon={threat.epsilon} is so large that the adversary can move every sample of X "
            "to one common point, and no classifier is more robust than a constant. epsilon is in "
            f"the units of X, whose values lie in [{low.min():.6g}, {high.max():.6g}]."
        )


def _are_whole_from_0_to_255(X: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    if low.min() != 0 or high.max() != 255:
        return False
    parts = (X[piece] for piece in pieces(len(X), row_bytes(X)))
    return all(np.array_equal(part, np.rint(part)) for part in parts)


def _top(X: np.ndarray) -> float:
    """Return the largest absolute value of X, 0 if it is empty."""
    return max(float(X.max(initial=0)), -float(X.min(initial=0)))


def _warn_of_scale(X: np.ndarray, *, as_bytes: bool, fitted_bytes: bool, fitted_top: float) -> None:
    """Warn if the values of X go much further than those of `fit`, or bytes became fractions."""
    top = _top(X)
    if top > _FAR * fitted_top > 0:
        seen, remedy = f"{fitted_top:.6g}", "Divide X as it was divided for fit"
    elif fitted_bytes and not as_bytes and 0 < top <= 1 < fitted_top:
        seen, remedy = f"{fitted_top:.6g} of type uint8", "Pass X as uint8, or times 255"
    else:
        return
    warn_user(
        f"X has values up to {top:.6g}, where fit saw values up to {seen}: it seems to be in other "
        f"units. {remedy}.",
        ScaleWarning,
    )
