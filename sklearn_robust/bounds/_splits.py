r"""Which unit of a part to split: the one whose two halves have the best bounds, of a few.

The gap between the margin at the point where its bound is attained and the bound itself is

.. math:: m(x) - \underline m = \sum_i |a_i| \, |g(z_i) - \ell_i(z_i)|

over the undecided units i, whose lines :math:`\ell_i` the bound went through with coefficients a_i.
The units with the largest terms, and those with the largest that there may be [1]_, are tried [2]_.

References
----------
.. [1] R. Bunel et al., "Branch and bound for piecewise linear neural network verification", JMLR
   2020 (BaBSR).
.. [2] A. De Palma et al., "Improved branch and bound for neural network verification via Lagrangian
   decomposition", 2021 (filtered smart branching).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sklearn_robust.bounds._backward import pull
from sklearn_robust.bounds._parts import Parts, Problem, Setting

# Units that are tried by each of the two measures.
_TRIED = 4


def halves(problem: Problem, parts: Parts, need: Tensor) -> Parts:
    """Return both halves of each part, those above 0 first, shape (2 n,).

    Parameters
    ----------
    problem : Problem
    parts : Parts
        With undecided units.
    need : Tensor of shape (n,)
        Bounds above this are as good as any.
    """
    unit = _best(problem, parts, _candidates(problem, parts), need)
    return _split(parts, unit[:, None])


def _split(parts: Parts, units: Tensor) -> Parts:
    """Return each part halved by each of its `units`, (n, k): all upper halves, all lower ones."""
    n, k = units.shape
    each = torch.arange(n, device=units.device).repeat_interleave(k)
    both = parts.take(each)
    signs = [both.signs.scatter(1, units.reshape(-1, 1), sign) for sign in (1, -1)]
    doubled = Parts(*(torch.cat((t, t)) for t in both))
    return doubled._replace(signs=torch.cat(signs))


def _candidates(problem: Problem, parts: Parts) -> Tensor:
    """Return the units worth trying, (n, k); some may be decided where few are left."""
    setting = problem.setting(parts)
    undecided = problem.units.undecided(setting.boxes)
    n_tried = min(_TRIED, undecided.shape[1])
    chosen = [
        gap.masked_fill(~undecided, -torch.inf).topk(n_tried, dim=1).indices
        for gap in _gaps(problem, setting, parts)
    ]
    return torch.cat(chosen, dim=1)


def _gaps(problem: Problem, setting: Setting, parts: Parts) -> tuple[Tensor, Tensor]:
    """Return what the lines around each unit cost at the lowest point, and at the most."""
    network, units = setting.network, setting.units
    slopes, prices = units.by_spec(parts.slopes), units.by_spec(-parts.prices * parts.signs)
    values = problem.values(problem.lowest(setting, parts))
    here, most = {}, {}
    for node, k in units.readers.items():
        layer, (low, high), z = network.layers[k], setting.boxes[node], values[node]
        end = len(network.layers)
        a = pull(network, setting.boxes, setting.specs, end, k + 1, slopes, prices)[k + 1].a[:, 0]
        lines, lower = layer.enclose(low, high, 0.0), slopes[k][:, 0]
        # How far the layer is above its lower line, and below the upper one.
        above, *ends = (layer.forward(at) - lower * at for at in (z, low, high))
        below = lines.upper_slope * z + lines.upper - layer.forward(z)
        here[k] = a.abs() * torch.where(a > 0, above, below)
        most[k] = a.abs() * torch.where(a > 0, torch.minimum(*ends), lines.upper)
    return units.in_a_row(here), units.in_a_row(most)


def _best(problem: Problem, parts: Parts, units: Tensor, need: Tensor) -> Tensor:
    """Return the unit of each part whose halves are best, (n,)."""
    tried = _split(parts, units)
    setting = problem.setting(tried)
    least, most = problem.units.slope_ranges(setting.boxes)
    slopes = tried.slopes.clamp(least, most)
    value = setting.minimum(slopes, -tried.prices * tried.signs)
    value = value.masked_fill(setting.empty, torch.inf).reshape(2, *units.shape)
    gains = torch.minimum(value, need[:, None]) - parts.least[:, None]
    gains = gains.nan_to_num(0.0).clamp(min=0)
    worth = gains.sum(0)
    # A half of a decided unit is all that there was.
    decided = parts.signs.gather(1, units) != 0
    decided |= ~problem.units.undecided(problem.setting(parts).boxes).gather(1, units)
    best = worth.masked_fill(decided, -1.0).argmax(1)
    return units.gather(1, best[:, None])[:, 0]
