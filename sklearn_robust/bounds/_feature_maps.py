r"""How far the feature maps of positive kernels move: ``K(x, s) = <phi(x), phi(s)>``.

.. math:: |\phi(x) - \phi(x_0)|^2 = K(x, x) + K(x_0, x_0) - 2 K(x, x_0)

which is :math:`2 (f(0) - f(q))` for a kernel of the distance and :math:`|x - x_0|^2` for the inner
product. Of a product of kernels the map is the product of the maps, of a sum their union.
"""

from __future__ import annotations

from math import prod

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import EPS, enclosing_box
from sklearn_robust.bounds._kernel_sums import KernelSum
from sklearn_robust.bounds._kernels import Kernel, PolynomialKernel


def drifts(kernel: KernelSum, x: np.ndarray, threat: ThreatModel) -> np.ndarray:
    """Return the largest ``|phi(x') - phi(x)|^2`` of each sum over the set around a sample.

    Parameters
    ----------
    kernel : KernelSum
        Of kernels of the distance and of powers of ``gamma x . s + coef0``, with gamma > 0 and
        coef0 >= 0, and of factors >= 0.
    x : ndarray of shape (n_features,)
    threat : ThreatModel

    Returns
    -------
    drifts : ndarray of shape (n_outputs,)
        Rounding included.
    """
    low, high = (end[0] for end in enclosing_box(x[None], threat))
    move = np.maximum(high - x, x - low)
    largest = float((np.maximum(abs(low), abs(high)) ** 2).sum())
    known = [_move(leaf, move, threat, largest) for leaf in kernel.leaves]
    out = np.zeros(kernel.n_outputs)
    for term in kernel.terms:
        own = [known[i] for i in term.leaves]
        length = sum(
            d * prod(size for m, (_, size) in enumerate(own) if m != k)
            for k, (d, _) in enumerate(own)
        )
        out[term.output] += term.factor * length**2
    return out * (1 + 64 * (len(x) + 64) * EPS)


def _move(
    leaf: Kernel, move: np.ndarray, threat: ThreatModel, largest: float
) -> tuple[float, float]:
    """Return how far the map of a kernel moves, and its largest length."""
    metric = np.broadcast_to(1.0 if leaf.metric is None else leaf.metric, move.shape)
    q = float((metric * move**2).sum())
    if threat.norm in ("l2", "l1"):
        q = min(q, float((metric * np.ravel(threat.epsilon) ** 2).max()) * (1 + 8 * EPS))
    if leaf.of_distance:
        f, end = (float(leaf(np.array(number))) for number in (0.0, q))
        return float(np.sqrt(2 * max(f - end, 0.0) + 8 * EPS * f)), float(np.sqrt(f))
    assert isinstance(leaf, PolynomialKernel)
    size = float(np.sqrt(leaf.gamma * largest + leaf.coef0))
    step = float(np.sqrt(leaf.gamma * q))
    return leaf.degree * size ** (leaf.degree - 1) * step, size**leaf.degree
