"""Thresholds of single precision as statements on doubles."""

from __future__ import annotations

from typing import Any

import numpy as np


def float32_threshold(t: Any, *, strict: bool = False) -> np.ndarray:
    """Return the largest doubles T for which ``float32(T) <= t``, or ``< t`` if strict.

    Half-way between two numbers of single precision rounding goes to the even one.
    """
    t = np.asarray(t, dtype=np.float64)
    a = _below32(t) if strict else floor32(t).astype(np.float32)
    with np.errstate(over="ignore"):
        b = np.nextafter(a, np.float32(np.inf)).astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        a64 = a.astype(np.float64)
        middle = np.where(finite, a64 / 2 + np.where(finite, b, 0.0) / 2, a64)
        return np.where(middle.astype(np.float32) <= a, middle, np.nextafter(middle, -np.inf))


def floor32(t: np.ndarray) -> np.ndarray:
    """Return the largest numbers of single precision up to t, as doubles."""
    with np.errstate(over="ignore"):
        a = t.astype(np.float32)
        return np.where(a > t, np.nextafter(a, np.float32(-np.inf)), a).astype(np.float64)


def _below32(t: np.ndarray) -> np.ndarray:
    """Return the largest numbers of single precision below t."""
    with np.errstate(over="ignore"):
        a = t.astype(np.float32)
        return np.where(a >= t, np.nextafter(a, np.float32(-np.inf)), a).astype(np.float32)
