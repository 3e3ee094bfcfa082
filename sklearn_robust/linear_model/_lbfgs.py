r"""L-BFGS for the exact problem: for many non-zero weights, where a Hessian would cost too much.

scipy's L-BFGS-B needs a smooth function under simple bounds. Each adversary has its variables:

- linf: ``w = u - v`` with u, v >= 0 and ``t = e . (u + v)``;
- l1: ``w = t v / e`` with ``|v| <= 1`` and t > 0. The product is not jointly convex, but for fixed
  t > 0 the problem in v is, so a stationary point is the minimum. At t = 0 the gradient by v
  vanishes, whence a lower bound on t, far below where it starts;
- l2: w itself, started away from zero, where alone t has a kink.

The variables of each feature are scaled by a power of the curvature along it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from sklearn_robust.linear_model._monitor import Monitor
from sklearn_robust.linear_model._problem import Problem, State

# Iterations between two checks of the gap, each of which costs as much as one iteration.
_CHECK_EVERY = 10
_MEMORY = 15


class Split:
    """linf adversary (and none): w = u - v."""

    def __init__(self, problem: Problem, scale: np.ndarray, start: np.ndarray) -> None:
        self.problem, self.scale = problem, scale
        self.bounds: list[tuple[float | None, float | None]] = [(0, None)] * (2 * len(scale))

    def pack(self, w: np.ndarray, t: Any) -> np.ndarray:
        w = w / self.scale
        return np.concatenate([np.maximum(w, 0), np.maximum(-w, 0)])

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        u, v = x.reshape(2, -1)
        # Where both are positive t is more than ||e w||_1: an upper bound, closed at the minimum.
        return self.scale * (u - v), self.problem.length(self.scale * (u + v))

    def gradient(self, x: np.ndarray, gw: np.ndarray, gt: Any) -> np.ndarray:
        push = gt * self.problem.radius
        return np.concatenate([self.scale * (push + gw), self.scale * (push - gw)])


class Polar:
    """l1 adversary: w = t v / e, and t; features with radius 0 are as they are."""

    def __init__(self, problem: Problem, scale: np.ndarray, start: np.ndarray) -> None:
        self.on = problem.radius > 0
        self.inverse = 1 / np.where(self.on, problem.radius, 1 / scale)
        self.unit = float(np.median(1 / self.inverse[self.on] * scale[self.on]))
        self.bounds: list[tuple[float | None, float | None]] = [
            (-1.0, 1.0) if on else (None, None) for on in self.on
        ] + [(1e-6 * (problem.length(start) or self.unit) / self.unit, None)]

    def pack(self, w: np.ndarray, t: float) -> np.ndarray:
        factor = np.where(self.on, t if t > 0 else 1.0, 1.0)
        return np.append(w / (self.inverse * factor), t / self.unit)

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        t = float(x[-1]) * self.unit
        return self.inverse * x[:-1] * np.where(self.on, t, 1.0), t

    def gradient(self, x: np.ndarray, gw: np.ndarray, gt: float) -> np.ndarray:
        t, by_v = float(x[-1]) * self.unit, self.inverse * gw
        along = float(by_v[self.on] @ x[:-1][self.on]) + gt
        return np.append(by_v * np.where(self.on, t, 1.0), along * self.unit)


class Plain:
    """l2 adversary, or none: w."""

    def __init__(self, problem: Problem, scale: np.ndarray, start: np.ndarray) -> None:
        self.problem, self.scale = problem, scale
        self.bounds: list[tuple[float | None, float | None]] = [(None, None)] * len(scale)

    def pack(self, w: np.ndarray, t: float) -> np.ndarray:
        return w / self.scale

    def unpack(self, x: np.ndarray) -> tuple[np.ndarray, float]:
        w = self.scale * x
        return w, self.problem.length(w)

    def gradient(self, x: np.ndarray, gw: np.ndarray, gt: float) -> np.ndarray:
        w, t = self.unpack(x)
        return self.scale * (gw + (gt * self.problem.radius**2 * w / t if t > 0 else 0))


_VARIABLES: dict[str, Callable[[Problem, np.ndarray, np.ndarray], Split | Polar | Plain]] = {
    "linf": Split,
    "l1": Polar,
    "l2": Plain,
    "none": Plain,
}


def lbfgs(problem: Problem, state: State, monitor: Monitor, max_iter: int) -> State:
    """Minimise from `state` until `monitor` is satisfied, progress ends or `max_iter` rounds."""
    variables = _VARIABLES[problem.norm](problem, _scale(problem, state), state.w)
    last: list[Any] = [state, 0]

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        w, t = variables.unpack(x[:-1])
        m = problem.margins(w, x[-1])
        a, s = problem.loss.slopes(m, t)
        gw = problem.lam * w - problem.correlate(problem.cy * a)
        gb = -float(problem.cy @ a) if problem.fit_intercept else 0.0
        gx = variables.gradient(x[:-1], gw, problem.push(s))
        return problem.smooth_value(m, t, w), np.append(gx, gb)

    def look(intermediate_result: Any) -> None:
        last[1] += 1
        if last[1] % _CHECK_EVERY == 0:
            x = intermediate_result.x
            last[0] = State(problem, variables.unpack(x[:-1])[0], float(x[-1]))
            monitor.check(last[0])
            if monitor.stop:
                raise StopIteration

    result = minimize(
        function,
        np.append(variables.pack(state.w, state.t), state.b),
        jac=True,
        method="L-BFGS-B",
        bounds=[*variables.bounds, (None, None)],
        callback=look,
        options={
            "maxiter": max_iter,
            "maxfun": 4 * max_iter,
            "ftol": 0.0,
            "gtol": 0.0,
            "maxcor": _MEMORY,
        },
    )
    if not monitor.stop:
        last[0] = State(problem, variables.unpack(result.x[:-1])[0], float(result.x[-1]))
        monitor.check(last[0])
    return last[0]


def _scale(problem: Problem, state: State) -> np.ndarray:
    """Return curvature^(-1/4) of F along each feature, within three decades.

    The power -1/2 would give all features the same curvature, but then t, to which all of them
    contribute, outweighs them: -1/4 took fewer iterations on dense, sparse and unscaled data.
    """
    mm = problem.c * problem.loss.curvatures(state.m, state.t)[0]
    if sparse.issparse(problem.X):
        squares = problem.X.multiply(problem.X).T @ mm
    else:
        squares = np.einsum("ij,ij,i->j", problem.X, problem.X, mm, optimize=False)
    curvature = squares + problem.lam
    top = curvature.max()
    return np.maximum(curvature, 1e-12 * top) ** -0.25 if top > 0 else np.ones(len(curvature))
