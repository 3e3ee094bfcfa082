"""The adversary's ball, scaled by feature: lengths in the dual norm and projections onto it."""

from __future__ import annotations

import numpy as np

from sklearn_robust._norms import NORMS


def dual_length(norm: str, ew: np.ndarray) -> float:
    """Return the length of ``ew = epsilon * w`` in the norm dual to the adversary's."""
    return 0.0 if norm == "none" else float(NORMS[norm].dual_length(ew[None])[0])


def project(norm: str, g: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the nearest point to g of ``{axes * u : ||u||_p <= 1}``, p the adversary's norm."""
    if norm == "linf":
        return g.clip(-axes, axes)
    if norm == "none":
        return np.zeros_like(g)
    v, on = np.zeros_like(g), axes > 0
    solve, unit = _project_l2 if norm == "l2" else _project_l1, axes.max(initial=0)
    if unit > 0:  # the formulas below square: in units of the set they neither over- nor underflow
        v[on] = unit * solve(g[on] / unit, axes[on] / unit)
    return v


def _project_l2(g: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Nearest point of an ellipsoid: ``g a^2 / (a^2 + mu)`` for the one mu that lies on it."""
    if np.sum((g / axes) ** 2) <= 1:
        return g
    if np.ptp(axes) == 0:
        return g * (axes[0] / np.sqrt(g @ g))
    # f(mu) = |a g / (a^2 + mu)| falls and 1/f is nearly linear: Newton on it from the left
    # increases monotonically to the root. Stopping early keeps a valid bound: v is scaled inside.
    # No entry alone may be longer than 1, which bounds the root from below.
    mu = max(0.0, float((axes * (abs(g) - axes)).max()))
    for _ in range(50):
        u = axes * g / (axes**2 + mu)
        length = np.sqrt(u @ u)
        if length <= 1 + 1e-14:
            break
        mu += (length - 1) * length**2 / np.sum(u**2 / (axes**2 + mu))
    u = axes * g / (axes**2 + mu)
    return axes * u / max(1.0, np.sqrt(u @ u))


def _project_l1(g: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Nearest point of a weighted l1 ball: ``max(|g| - mu / a, 0)`` for the one mu on it."""
    magnitude = abs(g)
    if np.sum(magnitude / axes) <= 1:
        return g
    order = np.argsort(-magnitude * axes)
    total = np.cumsum(magnitude[order] / axes[order])
    inverse = np.cumsum(1 / axes[order] ** 2)
    mu = (total - 1) / inverse
    reached = np.flatnonzero(mu < (magnitude * axes)[order])
    last = reached[-1] if len(reached) else 0  # beside a huge g the 1 is lost in rounding
    return np.sign(g) * np.maximum(magnitude - mu[last] / axes, 0)
