r"""The multinomial problem of exact adversarial training: an upper bound on the loss, certified.

The worst case of the multinomial loss maximises a convex function over the ball and has no closed
form. Bounding each pair of classes by its own worst case gives

.. math:: F(W, b) = \sum_i c_i \log \sum_k \exp(f_k(x_i) - f_{y_i}(x_i) + T_{k y_i})
          + \tfrac{\lambda}{2} \|W\|^2, \qquad T_{kl} = \|\epsilon \circ (w_k - w_l)\|_q,

convex, and the worst case itself for two classes.

**Certificate.** For any distributions p_i with ``sum_i c_i (p_i - onehot(y_i)) = 0`` and any u_kl
in the unit ball, u_kl = -u_lk,

.. math:: \min F \ge \sum_i c_i H(p_i) - \frac{1}{2 \lambda} \Big\| X^T (c (p - Y))
          + \Big(\sum_l P_{kl} \, \epsilon \circ u_{kl}\Big)_k \Big\|^2,

with H the entropy and P_kl the weight that p gives to k on samples of l, and to l on those of k.

Where all samples are predicted well, p is next to one-hot and F next to 0. What is kept of p is
therefore ``p - onehot(y)``, whose entry for the label is summed up from the others and not rounded
beside 1: bounds and gradients are then right relative to F, however small it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import entr, xlog1py

from sklearn_robust._norms import NORMS
from sklearn_robust._pieces import pieces
from sklearn_robust.linear_model._ellipsoids import project
from sklearn_robust.linear_model._solution import feature_scale

_SWEEPS = 20  # over the pairs, to fit u to the certificate
UNDERFLOW = 1e-290  # weights of a class below this are none


class Multinomial:
    """Data, and the formulas of the module's docstring."""

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        c: np.ndarray,
        radius: np.ndarray,
        norm: str,
        lam: float,
        fit_intercept: bool,
        n_classes: int,
    ) -> None:
        self.X, self.y, self.c, self.lam = X, y, c, lam
        self.radius, self.norm, self.fit_intercept = radius, norm, fit_intercept
        self.K = n_classes
        self.each = np.arange(len(y))
        self.share = np.bincount(y, c, minlength=n_classes)
        self.label = np.zeros((len(y), n_classes))
        self.label[self.each, y] = 1
        rows, columns = np.triu_indices(n_classes, 1)
        self.first, self.second = rows, columns
        # Rows are pairs, columns classes: w_k - w_l for all pairs is this matrix times W.
        self.pairs = np.zeros((len(rows), n_classes))
        self.pairs[np.arange(len(rows)), rows] = 1
        self.pairs[np.arange(len(rows)), columns] = -1
        self.attacked = bool(radius.any())
        # With an intercept nothing depends on where the features have their origin. At their mean,
        # large constants do not drown the rest.
        self.mean = X.T @ c if fit_intercept else np.zeros(X.shape[1])
        self.spreads = self._spreads()
        self.feature_scale = feature_scale(self.spreads + self.mean**2, self.mean, radius)
        self._matchings = _matchings(n_classes, rows, columns)

    def _spreads(self) -> np.ndarray:
        """Return the weighted mean square of each centred feature."""
        if sparse.issparse(self.X):
            return np.maximum(self.X.power(2).T @ self.c - self.mean**2, 0)
        spreads = np.zeros(len(self.mean))
        for part in pieces(len(self.y), 8 * len(spreads)):
            spreads += self.c[part] @ (self.X[part] - self.mean) ** 2
        return spreads

    def scores(self, W: np.ndarray) -> np.ndarray:
        """Return the scores of weights, without an intercept, of centred features."""
        return np.asarray(self.X @ W.T) - W @ self.mean

    def pull(self, residual: np.ndarray) -> np.ndarray:
        """Return the transpose of `scores`, shape (K, d)."""
        return np.asarray(self.X.T @ residual).T - np.outer(residual.sum(axis=0), self.mean)

    def z(self, W: np.ndarray) -> np.ndarray:
        """Return ``epsilon * (w_k - w_l)`` for each pair."""
        return (W[self.first] - W[self.second]) * self.radius

    def lengths(self, z: np.ndarray) -> np.ndarray:
        """Return T of each pair."""
        return NORMS[self.norm].dual_length(z)

    def table(self, per_pair: np.ndarray) -> np.ndarray:
        """Return values of pairs as a symmetric (K, K) matrix."""
        out = np.zeros((self.K, self.K))
        out[self.first, self.second] = out[self.second, self.first] = per_pair
        return out

    def exponents(self, scores: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Return ``f_k - f_y + T_ky`` of each sample and class."""
        return scores - scores[self.each, self.y][:, None] + self.table(T)[self.y]

    def value(self, exponents: np.ndarray, W: np.ndarray) -> tuple[float, np.ndarray]:
        """Return F, and ``p - Y`` with p the softmax of the exponents."""
        top = exponents.max(axis=1)  # >= 0, the label's own
        D = np.exp(exponents - top[:, None])
        D[self.each, self.y] = 0
        others = D @ np.ones(self.K)  # faster than a sum over short rows
        total = np.exp(-top) + others
        loss = float(self.c @ np.where(top > 0, top + np.log(total), np.log1p(others)))
        D /= total[:, None]
        D[self.each, self.y] = -others / total
        return loss + 0.5 * self.lam * float((W**2).sum()), D

    def residual(self, D: np.ndarray) -> np.ndarray:
        """Return ``c (p - Y)``."""
        return D * self.c[:, None]

    def flows(self, D: np.ndarray) -> np.ndarray:
        """Return (K, K): the weight that p gives to each class on samples of each label (rows)."""
        flows = self.label.T @ self.residual(D)
        np.fill_diagonal(flows, 0)
        return flows

    def pair_sums(self, per_sample: np.ndarray) -> np.ndarray:
        """Return, for each pair, the sum of values for one class over the samples of the other."""
        sums = self.label.T @ per_sample
        return sums[self.first, self.second] + sums[self.second, self.first]

    def pair_weights(self, D: np.ndarray) -> np.ndarray:
        """Return P of each pair."""
        return self.pair_sums(self.residual(D))

    def spread(self, per_pair: np.ndarray) -> np.ndarray:
        """Return (n_pairs, d) values summed by class, with the sign of the class in the pair."""
        return self.pairs.T @ per_pair

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the projection of each pair's point onto the unit ball of the adversary."""
        return NORMS[self.norm].project(points)

    def balance(self, D: np.ndarray) -> np.ndarray:
        """Return ``p - Y`` for distributions near p with ``sum c (p - Y) = 0``.

        All samples of a label are moved towards it by the same share, which multiplies ``p - Y``.
        The factors are the stationary distribution of the chain with the rates `flows`.
        """
        if not self.fit_intercept:
            return D
        factor = stationary(self.flows(D))
        return D * (factor / max(factor.max(), np.finfo(float).tiny))[self.y][:, None]

    def lower_bound(self, D: np.ndarray, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the certificate's bound and the u it was found with, fitted from the given one."""
        D = self.balance(D)
        rest = self.pull(self.residual(D))
        if self.attacked:
            u, rest = self.fit(rest, self.pair_weights(D), u)
        return float(self.c @ self._entropy(D)) - float((rest**2).sum()) / (2 * self.lam), u

    def _entropy(self, D: np.ndarray) -> np.ndarray:
        """Return the entropy of each p."""
        p = D.copy()
        p[self.each, self.y] = 0
        others = p.sum(axis=1).clip(0, 1)
        return entr(p).sum(axis=1) - xlog1py(1 - others, -others)

    def fit(
        self, rest: np.ndarray, weights: np.ndarray, u: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add the pairs' pulls to `rest`, with u such that little is left; return u and the rest.

        Pairs without a class in common move at once, each to its best value.
        """
        reach = weights[:, None] * self.radius
        v = reach * u
        rest = rest + self.spread(v)
        best = float((rest**2).sum())
        for _ in range(_SWEEPS):
            for some in self._matchings:
                k, other = self.first[some], self.second[some]
                target = v[some] - (rest[k] - rest[other]) / 2
                new = self._project(target, reach[some])
                rest[k] += new - v[some]
                rest[other] -= new - v[some]
                v[some] = new
            now = float((rest**2).sum())
            if now > 0.9 * best:
                break
            best = now
        return np.divide(v, reach, out=u.copy(), where=reach > 0), rest

    def _project(self, points: np.ndarray, axes: np.ndarray) -> np.ndarray:
        if self.norm == "linf":
            return points.clip(-axes, axes)
        return np.array([project(self.norm, g, e) for g, e in zip(points, axes, strict=True)])


def stationary(rates: np.ndarray) -> np.ndarray:
    """Return x >= 0 with ``sum_l x_l rates_lk = x_k sum_l rates_kl`` for each k, up to a factor.

    By the elimination of Grassmann, Taksar and Heyman (1985), which subtracts nothing: each entry
    is right relative to itself. Zero where underflow has cut the classes apart.
    """
    A, x = rates.copy(), np.zeros(len(rates))
    for k in range(len(A) - 1, 0, -1):
        leaving = A[k, :k].sum()
        if leaving < UNDERFLOW:
            return x
        A[:k, k] /= leaving
        A[:k, :k] += np.outer(A[:k, k], A[k, :k])
    x[0] = 1
    for k in range(1, len(A)):
        x[k] = x[:k] @ A[:k, k]
    return x if np.isfinite(x).all() else np.zeros(len(x))


def _matchings(n_classes: int, first: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Return the pairs as a round-robin tournament: no class appears twice in one of its rounds."""
    odd = n_classes - 1 + n_classes % 2
    position = {(k, other): i for i, (k, other) in enumerate(zip(first, second, strict=True))}
    rounds = []
    for r in range(odd):
        games = []
        for k in range(n_classes):
            # In an odd field k meets r - k; where that is k itself, it meets the one beyond.
            other = (r - k) % odd if k < odd else None
            if other == k:
                other = odd if n_classes > odd else None
            if other is not None and k < other:
                games.append(position[k, other])
        rounds.append(np.array(games, dtype=np.intp))
    return rounds
