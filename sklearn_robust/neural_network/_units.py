"""Warnings where epsilon or X look as if they were in other units than the data of `fit`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from sklearn_robust._norms import NORMS
from sklearn_robust._threat import ThreatModel

# Of two lots of the same data one may well reach twice as far as the other; not 25 times.
_FAR = 25


def is_bytes(X: Any) -> bool:
    """Return whether X holds numbers of type uint8, as images on a disk do."""
    if hasattr(X, "iloc"):
        return all(dtype == np.uint8 for dtype in getattr(X, "dtypes", [None]))
    return str(getattr(X, "dtype", None)) in ("uint8", "torch.uint8")


def warn_of_epsilon(threat: ThreatModel, X: np.ndarray, *, as_bytes: bool) -> None:
    """Warn if the radius is nothing to grey levels, or lets all samples of X meet in a point."""
    largest = np.max(threat.epsilon)
    if largest == 0:
        return
    flat = X.reshape(len(X), -1)
    low, high = flat.min(axis=0), flat.max(axis=0)
    if largest < 1 and (as_bytes or _grey_levels(flat, low, high)):
        _warn(
            f"epsilon={threat.epsilon} is less than one grey level of X, whose values go from 0 to "
            "255. Pass epsilon in grey levels, or X / 255."
        )
    half = (high - low) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(half > 0, half / np.ravel(threat.epsilon), 0.0)
    if half.any() and NORMS[threat.norm].length(steps[None])[0] <= 1:
        _warn(
            f"epsilon={threat.epsilon} is so large that the adversary can move every sample of X "
            "to one common point, and no classifier is more robust than a constant. epsilon is in "
            f"the units of X, whose values lie in [{low.min():.6g}, {high.max():.6g}]."
        )


def _grey_levels(flat: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    return bool(low.min() == 0 and high.max() == 255 and np.array_equal(flat, np.rint(flat)))


def warn_of_scale(X: np.ndarray, *, as_bytes: bool, fitted_bytes: bool, fitted_top: float) -> None:
    """Warn if the values of X go much further than those of `fit`, or bytes became fractions."""
    top = np.abs(X).max(initial=0.0)
    if top > _FAR * fitted_top > 0:
        seen, remedy = f"{fitted_top:.6g}", "Divide X as it was divided for fit"
    elif fitted_bytes and not as_bytes and 0 < top <= 1 < fitted_top:
        seen, remedy = f"{fitted_top:.6g} of type uint8", "Pass X as uint8, or times 255"
    else:
        return
    _warn(
        f"X has values up to {top:.6g}, where fit saw values up to {seen}: it seems to be in other "
        f"units. {remedy}."
    )


def _warn(message: str) -> None:
    # Past this function, its caller here, and the estimator's reader, to fit or predict's caller.
    warnings.warn(message, UserWarning, stacklevel=5)
