r"""The tail of a weighted sum of independent signs, exactly or by quadrature, never by sampling.

.. math:: S = \sum_j w_j A_j, \qquad A_j = \pm 1, \qquad E A_j = m_j

Every population accuracy of a linear classifier in the modified Bernoulli model is such a tail.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

# Values closer than this share of sum |w_j| are one value: rounding alone may part them.
TIE = 1e-12
# Up to so many features are split into two halves of at most 2^20 sums each. More features have
# exact sums only if these fall on few values, which shows long before so many are reached.
_FEW_FEATURES = 40
_MANY_ATOMS = 2**15
# P(|S - ES| >= 8.6 |w|_2) <= 2 exp(-8.6^2 / 2) < 2e-16 by Hoeffding's inequality.
_WIDE = 8.6
_TOLERANCE = 1e-9
_MAX_WORK = 1e8  # frequencies times features: a second or two


class Tail(NamedTuple):
    """``P(S > t)`` and ``P(S >= t)``, and how far (estimated) either may be from the truth."""

    above: float
    at_least: float
    error: float


def signed_sum_tail(weights: np.ndarray, means: np.ndarray, threshold: float) -> Tail:
    r"""Return the probability that ``sum_j weights_j A_j`` exceeds (or reaches) `threshold`.

    Up to 40 weights, or any number of them whose sums take few values (weights on a lattice), are
    handled exactly, by meeting in the middle. Otherwise the characteristic function is inverted:
    there P(S > t) and P(S >= t) are not told apart, and an atom at the threshold counts half.

    Parameters
    ----------
    weights, means : ndarray of shape (n_features,)
        w_j, and m_j in [-1, 1].
    threshold : float

    Warns
    -----
    RuntimeWarning
        If the inversion stops with an estimated error above 1e-6.
    """
    scale = abs(weights).sum()
    sure = abs(means) >= 1
    threshold = threshold - float(weights[sure] @ means[sure])
    moving = ~sure & (weights != 0)
    weights, means = weights[moving], means[moving]
    order = np.argsort(abs(weights))  # equal weights side by side, where their sums coincide
    half = len(order) // 2
    limit = np.inf if len(order) <= _FEW_FEATURES else _MANY_ATOMS
    lower = _atoms(weights[order[:half]], means[order[:half]], scale, limit)
    upper = lower and _atoms(weights[order[half:]], means[order[half:]], scale, limit)
    if lower is None or upper is None:
        return _invert(weights, means, threshold)
    return _meet(lower, upper, threshold, TIE * scale)


def _atoms(
    weights: np.ndarray, means: np.ndarray, scale: float, limit: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the sorted values of the sum and their probabilities; None if they are too many."""
    values, mass = np.zeros(1), np.ones(1)
    for w, m in zip(weights, means, strict=True):
        values = np.concatenate([values - w, values + w])
        mass = np.concatenate([mass * (1 - m) / 2, mass * (1 + m) / 2])
        order = np.argsort(values, kind="stable")
        values, mass = values[order], mass[order]
        first = np.flatnonzero(np.diff(values, prepend=-np.inf) > TIE * scale / 100)
        values, mass = values[first], np.add.reduceat(mass, first)
        if len(values) > limit:
            return None
    return values, mass


def _meet(
    lower: tuple[np.ndarray, np.ndarray],
    upper: tuple[np.ndarray, np.ndarray],
    threshold: float,
    tie: float,
) -> Tail:
    """Return the tail of the sum of two independent variables given by their atoms."""
    values, mass = upper
    tail = np.append(np.cumsum(mass[::-1])[::-1], 0.0)  # tail[i] = P(upper >= values[i])
    needed = threshold - lower[0]
    above = lower[1] @ tail[np.searchsorted(values, needed + tie, side="right")]
    at_least = lower[1] @ tail[np.searchsorted(values, needed - tie, side="left")]
    return Tail(float(above), float(at_least), 0.0)


def _invert(weights: np.ndarray, means: np.ndarray, threshold: float) -> Tail:
    r"""Invert the characteristic function by the midpoint rule on Gil-Pelaez' integral.

    .. math:: P(S > t) = \frac12 + \frac1\pi \int_0^\infty \mathrm{Im}\big[e^{-iut} \varphi(u)\big]
                         \kappa(su) \frac{du}{u}, \qquad
              \varphi(u) = \prod_j (\cos w_j u + i m_j \sin w_j u)

    With step h the midpoint rule errs by at most P(|S - t| > 2 pi / h) [1]_, held below rounding
    here. phi of a discrete variable need not die out; kappa(v) = (1 + v^2 / 2) exp(-v^2 / 2),
    a smoothing of fourth order and width s, ends the integral. s is halved until that changes
    nothing any more.

    References
    ----------
    .. [1] R. B. Davies, "Numerical inversion of a characteristic function", Biometrika 1973.
    """
    length = float(np.linalg.norm(weights))
    weights, centred = weights / length, (threshold - float(weights @ means)) / length
    if abs(centred) >= _WIDE:
        return Tail(float(centred < 0), float(centred < 0), 1e-15)
    t, step = threshold / length, 2 * np.pi / (_WIDE + abs(centred))
    integrand, estimate, error = np.empty(0), np.nan, np.inf
    for smoothing in 0.01 * 0.5 ** np.arange(12):
        n_terms = int(9.5 / (smoothing * step)) + 1  # kappa(9.5) < 1e-17
        if np.isfinite(error) and (error <= _TOLERANCE or n_terms * len(weights) > _MAX_WORK):
            break
        u = (np.arange(n_terms) + 0.5) * step
        integrand = np.append(integrand, _integrand(u[len(integrand) :], weights, means, t))
        v = smoothing * u
        kappa = (1 + v**2 / 2) * np.exp(-(v**2) / 2)
        previous, estimate = estimate, 0.5 + step / np.pi * float(integrand @ kappa)
        error = float(abs(estimate - previous))
    if error > 1e-6:
        warnings.warn(
            f"The tail of the sum of {len(weights)} signs is known to about {error:.1g} only: it "
            "has heavy atoms at the threshold. A slightly different epsilon avoids them.",
            RuntimeWarning,
            stacklevel=3,
        )
    return Tail(*(float(np.clip(estimate, 0, 1)),) * 2, error)


def _integrand(u: np.ndarray, weights: np.ndarray, means: np.ndarray, t: float) -> np.ndarray:
    """Return ``Im[exp(-iut) phi(u)] / u``, in blocks that stay in the cache."""
    out = np.empty(len(u))
    block = max(1, 2**18 // len(weights))
    for start in range(0, len(u), block):
        part = slice(start, start + block)
        angle = np.outer(weights, u[part])
        factors = np.cos(angle) + 1j * (means[:, None] * np.sin(angle))
        out[part] = (np.prod(factors, axis=0) * np.exp(-1j * u[part] * t)).imag / u[part]
    return out
