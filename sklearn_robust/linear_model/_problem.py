r"""The convex problem of exact adversarial training of a binary linear model; its certificate.

.. math:: F(w, b) = \sum_i c_i \, \phi(m_i, t) + \tfrac{\lambda}{2} \|w\|_2^2, \quad
          m_i = y_i (w \cdot x_i + b), \quad t = \|\epsilon \circ w\|_q,

with q dual to the adversary's norm p, weights c that sum to 1 and lambda = 1 / (C sum(s)).

For dual variables (a_i, s_i) with ``sum_i c_i a_i y_i = 0`` put ``g = sum c a y x`` and
``S = sum c s``. Then, as ``S t = max v . w`` over ``V = {S epsilon * u : ||u||_p <= 1}``,

.. math:: \min F \;\ge\; \sum_i c_i H(a_i, s_i) - \frac{1}{2 \lambda} \min_{v \in V} \|g - v\|^2 ,

one product with X^T and one projection. At the minimiser the two sides are equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from sklearn_robust._pieces import pieces
from sklearn_robust.linear_model._ellipsoids import dual_length, project
from sklearn_robust.linear_model._margin_losses import MarginLoss
from sklearn_robust.linear_model._solution import feature_scale

# Rows whose weighted copy is held at a time while a Hessian is summed up: it stays in the cache.
_CHUNK_VALUES = 2**17
# Relative imbalance of the dual variables of the two classes that is taken for rounding.
_BALANCED = 1e-13


class State:
    """A point (w, b) with what the problem says there; everything is in float64."""

    __slots__ = ("a", "b", "loss", "m", "s", "t", "value", "w")

    def __init__(self, problem: Problem, w: np.ndarray, b: float, m: np.ndarray | None = None):
        self.w, self.b = w, b
        self.m = problem.margins(w, b) if m is None else m
        self.t = problem.length(w)
        self.a, self.s = problem.loss.slopes(self.m, self.t)
        if problem.fit_intercept:
            self._centre(problem)
        self.loss = float(problem.c @ problem.loss.value(self.m, self.t))
        self.value = self.loss + 0.5 * problem.lam * float(w @ w)

    def _centre(self, problem: Problem) -> None:
        """Move b to its best value for this w, as far as a few Newton steps go.

        The certificate needs balanced dual variables; this costs little beside a product with X.
        """
        off = float(problem.cy @ self.a)
        for _ in range(4):
            if abs(off) <= _BALANCED * float(problem.c @ self.s):
                return
            curvature = float(problem.c @ problem.loss.curvatures(self.m, self.t)[0])
            step = off / curvature if curvature > 0 else 0.0
            moved = self.m + problem.y * step
            a, s = problem.loss.slopes(moved, self.t)
            new = float(problem.cy @ a)
            if not abs(new) < abs(off):
                return
            self.b, self.m, self.a, self.s, off = self.b + step, moved, a, s, new


@dataclass
class Problem:
    """Data of one problem; see the module for the notation."""

    X: Any  # float64, dense or CSR
    y: np.ndarray  # -1.0 and 1.0
    c: np.ndarray  # positive, sum 1
    radius: np.ndarray  # epsilon of each feature
    norm: str
    lam: float
    fit_intercept: bool
    loss: MarginLoss
    # What depends on X and c alone, shared by problems that differ in the rest.
    known: dict[str, np.ndarray] = field(default_factory=dict)
    cy: np.ndarray = field(init=False)
    n_passes: int = field(default=0, init=False)
    has_hessian: ClassVar[bool] = True  # what Newton's methods need

    def __post_init__(self) -> None:
        self.cy = self.c * self.y
        self._transposed = self.X.T
        if not self.radius.any():
            self.norm = "none"  # nothing to attack: smooth, whatever the norm

    def margins(self, w: np.ndarray, b: float) -> np.ndarray:
        """Return y (X w + b)."""
        self.n_passes += 1
        used = np.flatnonzero(w)
        if 4 * len(used) < len(w) and not sparse.issparse(self.X):
            return self.y * (self.X[:, used] @ w[used] + b)
        return self.y * (self.X @ w + b)

    def correlate(self, v: np.ndarray) -> np.ndarray:
        """Return X^T v."""
        self.n_passes += 1
        return self._transposed @ v

    def column_squares(self) -> np.ndarray:
        """Return the weighted mean square of each feature."""
        if "squares" not in self.known:
            if sparse.issparse(self.X):
                squares = self.X.power(2).T @ self.c
            else:
                squares = np.einsum("ij,ij,i->j", self.X, self.X, self.c, optimize=False)
            self.known["squares"] = squares
        return self.known["squares"]

    def smooth_value(self, m: np.ndarray, t: float, w: np.ndarray) -> float:
        """Return the objective that is minimised, at margins m, length t and weights w."""
        return float(self.c @ self.loss.smooth_value(m, t)) + 0.5 * self.lam * float(w @ w)

    def length(self, w: np.ndarray) -> Any:
        """Return t = ||epsilon * w||_q."""
        return dual_length(self.norm, self.radius * w)

    def push(self, s: np.ndarray) -> Any:
        """Return S, with which ``sum_i c_i s_i t`` has the slopes ``S * radius`` along w."""
        return float(self.c @ s)

    def lower_bound(self, state: State) -> tuple[float, float, np.ndarray, Any]:
        """Return bounds on the minimum of F and of its smooth form, with g and S at `state`.

        They come from the slopes at `state`; with C = inf they are -inf.
        """
        g, S = self.correlate(self.cy * state.a), self.push(state.s)
        if self.lam == 0:
            return -np.inf, -np.inf, g, S
        a, s = self._balanced(state)
        fair = g if a is state.a else self.correlate(self.cy * a)
        distance = self.distance(fair, self.push(s))
        cost = float(distance @ distance) / (2 * self.lam)
        if self.loss.smoothing == 0 and a is state.a:
            # At a point's own slopes the conjugate is an equality, and takes no logarithms.
            bound = state.loss + float(self.c @ (a * (state.m - state.t))) - cost
            return bound, bound, g, S
        bound = float(self.c @ self.loss.entropy(a, s)) - cost
        if self.loss.smoothing == 0:
            return bound, bound, g, S
        return bound, float(self.c @ self.loss.smooth_entropy(a, s)) - cost, g, S

    def distance(self, g: np.ndarray, S: Any) -> np.ndarray:
        """Return g minus its projection onto V."""
        return g - project(self.norm, g, S * self.radius)

    def feature_scale(self) -> np.ndarray:
        """Return `feature_scale` of this problem."""
        mean = self.correlate(self.c) if self.fit_intercept else 0.0
        return feature_scale(self.column_squares(), mean, self.radius)

    def subgradient(self, state: State, g: np.ndarray, S: Any) -> np.ndarray:
        """Return a subgradient of F by w at `state`, small where one is."""
        e, w = self.radius, state.w
        rest = self.lam * w - g
        if self.norm == "linf":
            pull = np.sign(rest) * np.maximum(abs(rest) - S * e, 0)
            rest = np.where(w == 0, pull, rest + S * e * np.sign(w))
        elif self.norm != "none" and state.t == 0:
            rest = rest + project(self.norm, -rest, S * e)
        elif self.norm == "l2":
            rest = rest + S * e**2 * w / state.t
        elif self.norm == "l1":
            tied = e * abs(w) >= state.t * (1 - 1e-9)
            share = np.where(tied, np.maximum(-rest * np.sign(w), 0), 0)
            total = np.sum(share[tied] / e[tied])
            rest = rest + np.sign(w) * share * (S / total if total > 0 else 1)
        return rest

    def _balanced(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Return (a, s) with ``sum c a y = 0``: one class is shrunk, which stays admissible.

        What is balanced to rounding is left alone: an intercept of any size that matters would
        change the bound by less than the sums below are rounded.
        """
        off = float(self.cy @ state.a)
        if not self.fit_intercept or abs(off) <= _BALANCED * float(self.c @ state.s):
            return state.a, state.s
        up, down = self.y > 0, self.y < 0
        plus, minus = float(self.c[up] @ state.a[up]), float(self.c[down] @ state.a[down])
        if plus <= 0 or minus <= 0:
            return np.zeros_like(state.a), np.zeros_like(state.s)
        least = min(plus, minus)
        factor = np.where(up, least / plus, least / minus)
        return state.a * factor, state.s * factor


def weighted_gram(X: Any, weight: np.ndarray) -> np.ndarray:
    """Return X^T diag(weight) X as a dense matrix, without a copy of X."""
    if sparse.issparse(X):
        return np.asarray((X.T @ sparse.diags_array(weight) @ X).toarray())
    rows = np.flatnonzero(weight)
    whole = len(rows) > 0.7 * len(weight)
    root = np.sqrt(weight)
    total = np.zeros((X.shape[1], X.shape[1]))
    most = max(64, _CHUNK_VALUES // max(1, X.shape[1]))
    for piece in pieces(len(weight) if whole else len(rows), 8 * X.shape[1], most=most):
        part = piece if whole else rows[piece]
        block = X[part] * root[part, None]
        total += block.T @ block
    return total
