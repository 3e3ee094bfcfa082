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
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import entr

from sklearn_robust.linear_model._problem import dual_length, feature_scale, project

_SWEEPS = 20  # over the pairs, to fit u to the certificate


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
        self.X, self.XT, self.y, self.c, self.lam = X, X.T, y, c, lam
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
        self._matchings = _matchings(n_classes, rows, columns)

    def column_squares(self) -> np.ndarray:
        """Return the weighted mean square of each feature."""
        if sparse.issparse(self.X):
            return self.X.power(2).T @ self.c
        return np.einsum("ij,ij,i->j", self.X, self.X, self.c, optimize=False)

    def feature_scale(self) -> np.ndarray:
        """Return `feature_scale` of this problem."""
        mean = self.XT @ self.c if self.fit_intercept else 0.0
        return feature_scale(self.column_squares(), mean, self.radius)

    def z(self, W: np.ndarray) -> np.ndarray:
        """Return ``epsilon * (w_k - w_l)`` for each pair."""
        return (W[self.first] - W[self.second]) * self.radius

    def lengths(self, z: np.ndarray) -> np.ndarray:
        """Return T of each pair."""
        if self.norm == "linf":
            return abs(z).sum(axis=1)
        return np.array([dual_length(self.norm, row) for row in z])

    def table(self, per_pair: np.ndarray) -> np.ndarray:
        """Return values of pairs as a symmetric (K, K) matrix."""
        out = np.zeros((self.K, self.K))
        out[self.first, self.second] = out[self.second, self.first] = per_pair
        return out

    def exponents(self, scores: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Return ``f_k - f_y + T_ky`` of each sample and class."""
        return scores - scores[self.each, self.y][:, None] + self.table(T)[self.y]

    def value(self, exponents: np.ndarray, W: np.ndarray) -> tuple[float, np.ndarray]:
        """Return F, and the softmax of the exponents."""
        top = exponents.max(axis=1)
        p = np.exp(exponents - top[:, None])
        total = p.sum(axis=1)
        p /= total[:, None]
        loss = float(self.c @ (top + np.log(total)))
        return loss + 0.5 * self.lam * float((W**2).sum()), p

    def residual(self, p: np.ndarray) -> np.ndarray:
        """Return ``c (p - Y)``."""
        return (p - self.label) * self.c[:, None]

    def pair_sums(self, per_sample: np.ndarray) -> np.ndarray:
        """Return, for each pair, the sum of values for one class over the samples of the other."""
        sums = self.label.T @ per_sample
        return sums[self.first, self.second] + sums[self.second, self.first]

    def pair_weights(self, p: np.ndarray) -> np.ndarray:
        """Return P of each pair."""
        return self.pair_sums(p * self.c[:, None])

    def spread(self, per_pair: np.ndarray) -> np.ndarray:
        """Return (n_pairs, d) values summed by class, with the sign of the class in the pair."""
        return self.pairs.T @ per_pair

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the projection of each pair's point onto the unit ball of the adversary."""
        if self.norm == "linf":
            return points.clip(-1, 1)
        one = np.ones(points.shape[1])
        return np.array([project(self.norm, row, one) for row in points])

    def balance(self, p: np.ndarray) -> np.ndarray:
        """Return distributions near p with ``sum c p`` the shares of the classes.

        p is mixed with one distribution common to all samples, with the least weight that serves.
        """
        if not self.fit_intercept:
            return p
        excess = self.c @ p - self.share
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(excess > 0, excess / (self.share + excess), 0.0)
        theta = min(1.0, float(needed.max()) * (1 + 1e-12) + 1e-15)
        if theta <= 1e-15:
            return p
        common = np.maximum(self.share - (1 - theta) / theta * excess, 0)
        return (1 - theta) * p + theta * common / common.sum()

    def lower_bound(self, p: np.ndarray, u: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the certificate's bound and the u it was found with, fitted from the given one."""
        p = self.balance(p)
        rest = np.asarray(self.XT @ self.residual(p)).T
        if self.attacked:
            u, rest = self.fit(rest, self.pair_weights(p), u)
        entropy = float(self.c @ entr(p).sum(axis=1))
        return entropy - float((rest**2).sum()) / (2 * self.lam), u

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
