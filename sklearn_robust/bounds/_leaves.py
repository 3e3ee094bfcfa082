r"""Parts of which all units are decided: prices from a program, and where it is attained.

On such a part the network is affine, and the margin's least value is that of

.. math:: \min_{x \in A} \langle c, x \rangle + d
          \quad\text{s.t.}\quad s_i (\langle w_i, x \rangle + b_i) \ge 0

linear under linf and l1. Its multipliers are the prices; the bound that they prove is computed
apart, rounding included, so that nothing depends on the solver. Where no x meets the constraints,
a dear slack variable makes the program feasible, and prices large enough prove that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from sklearn_robust.bounds._backward import Functional, lowest_stop, pull
from sklearn_robust.bounds._parts import Parts, Problem, Setting
from sklearn_robust.bounds._regions import BallAndBox

# What the slack costs, times what the margin may change over the set.
_COSTS = (1e1, 1e3, 1e5)


class Leaf(NamedTuple):
    """What a program has found: a bound, and the margin at a point of the set."""

    least: float
    margin: float


class _Rows(NamedTuple):
    """The program: objective and constraints ``A x + b >= 0`` on x of node `stop`."""

    c: np.ndarray
    A: np.ndarray
    b: np.ndarray


def solved(problem: Problem, part: Parts, need: float) -> Leaf:
    """Return a bound of one part, (1,), whose units are all decided, as good as rounding allows."""
    setting = problem.setting(part)
    units = part.signs[0].nonzero()[:, 0]
    least, margin = float(part.least), np.inf
    if not len(units):  # nothing to price
        return Leaf(least, margin)
    rows = _program(setting, part, units)
    if isinstance(setting.region, BallAndBox) and setting.region.threat.norm != "l1":
        prices = _ascended(setting, part, units)
        return Leaf(max(least, _proven(setting, part, units, prices)), margin)
    for cost in _COSTS:
        answer = _solve(setting, rows, cost)
        if answer is None:
            break
        prices, x, slack = answer
        least = max(least, _proven(setting, part, units, prices))
        if slack <= 1e-9:
            margin = _margin_at(problem, setting, part, x)
        if least > need or slack <= 1e-9:
            break
    return Leaf(least, margin)


def _program(setting: Setting, part: Parts, units: Tensor) -> _Rows:
    """Return margin and constraints as affine functions of what the bounds end at."""
    network = setting.network
    stop = lowest_stop(network, setting.region, len(network.layers))
    c, d = _at_stop(pull(network, setting.boxes, setting.specs, len(network.layers), stop)[stop])
    A, b, first = [np.zeros((0, c.shape[1]))], [np.zeros(0)], 0
    for node, size in zip(setting.units.readers, setting.units.sizes, strict=True):
        own = units[(units >= first) & (units < first + size)] - first
        if len(own):
            a = torch.nn.functional.one_hot(own, size).to(setting.specs)
            a = a.reshape(1, -1, *network.shapes[node])
            rows, constants = _at_stop(pull(network, setting.boxes, a, node, stop)[stop])
            A.append(rows)
            b.append(constants)
        first += size
    signs = part.signs[0, units].double().cpu().numpy()
    return _Rows(np.r_[c[0], d], signs[:, None] * np.vstack(A), signs * np.concatenate(b))


def _at_stop(f: Functional) -> tuple[np.ndarray, np.ndarray]:
    return f.a[0].flatten(1).cpu().numpy(), f.constant[0].cpu().numpy()


def _solve(
    setting: Setting, rows: _Rows, cost: float
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return prices, a point, and the slack that it needs; None where the solver fails.

    Every row is measured in what it may change over the set.
    """
    region = setting.region
    low, high = (end[0].flatten().cpu().numpy() for end in _ends(setting))
    half, middle = (high - low) / 2, (low + high) / 2
    c, A = rows.c[:-1] * half, rows.A * half
    size = np.abs(c).sum() + np.finfo(float).tiny
    sizes = np.abs(A).sum(axis=1) + np.finfo(float).tiny
    need = -(rows.A @ middle + rows.b) / sizes
    A, c = A / sizes[:, None], c / size
    if not all(np.isfinite(part).all() for part in (A, c, need)):  # overflow
        return None
    n, one = len(half), np.ones((len(A), 1))
    costs, lowest = np.r_[c, cost], np.r_[-np.ones(n), 0.0]
    A_ub, b_ub = np.hstack([-A, -one]), -need
    highest = np.r_[np.ones(n), np.inf]
    if isinstance(region, BallAndBox):
        # u = p - q, and sum (p + q) is at most what half sides of the hull measure the ball in.
        centre = (region.X[0].flatten().cpu().numpy() - middle) / np.where(half > 0, half, 1)
        radii = half / np.maximum(
            region.epsilon.expand_as(region.X)[:1].flatten().cpu().numpy(), np.finfo(float).tiny
        )
        costs = np.r_[c, -c, cost]
        A_ub = np.vstack([np.hstack([-A, A, -one]), np.r_[radii, radii, 0.0]])
        b_ub = np.r_[A @ centre - need, 1.0]
        lowest, highest = np.zeros(2 * n + 1), np.r_[1 - centre, 1 + centre, np.inf]
    done = linprog(costs, A_ub, b_ub, bounds=np.column_stack([lowest, highest]), method="highs-ds")
    if done.status != 0:
        return None
    u = done.x[:n] if len(done.x) == n + 1 else centre + done.x[:n] - done.x[n : 2 * n]
    prices = -done.ineqlin.marginals[: len(A)] * size / sizes
    return prices.clip(0, None), middle + half * u.clip(-1, 1), float(done.x[-1])


def _ends(setting: Setting) -> tuple[Tensor, Tensor]:
    stop = lowest_stop(setting.network, setting.region, len(setting.network.layers))
    return setting.boxes[stop]


def _priced(part: Parts, units: Tensor, prices: Tensor) -> Tensor:
    """Return prices of some units of a part, with their signs, (1, n_units)."""
    flat = torch.zeros_like(part.slopes)
    return flat.index_put((torch.zeros_like(units), units), -prices * part.signs[0, units])


def _proven(setting: Setting, part: Parts, units: Tensor, prices: np.ndarray) -> float:
    """Return what the prices prove."""
    signed = _priced(part, units, part.slopes.new_tensor(prices))
    return float(setting.minimum(_slopes(setting, part), signed).nan_to_num(-torch.inf))


def _slopes(setting: Setting, part: Parts) -> Tensor:
    return part.slopes.clamp(*setting.units.slope_ranges(setting.boxes))


def _margin_at(problem: Problem, setting: Setting, part: Parts, z: np.ndarray) -> float:
    """Return the margin at the input whose numbers at the program's node are z."""
    x = problem.input_of(setting, setting.boxes[0][0].new_tensor(z))
    return float((setting.specs[:, 0] * problem.values(x)[-1]).sum())


def _ascended(setting: Setting, part: Parts, units: Tensor) -> np.ndarray:
    """Return prices by a quasi-Newton method, for norms whose programs are not linear."""
    slopes = _slopes(setting, part)

    def cost(prices: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            free = part.slopes.new_tensor(prices).requires_grad_()
            value = setting.minimum(slopes, _priced(part, units, free))[0]
            gradient = torch.autograd.grad(value, free)[0]
        return -float(value), -gradient.cpu().numpy()

    start = part.prices[0, units].cpu().numpy()
    bounds = [(0, None)] * len(start)
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x)
