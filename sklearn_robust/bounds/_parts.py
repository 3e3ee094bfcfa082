r"""Parts of threat sets on which some units have a sign, and bounds of margins over them.

On the part where ``s_i z_i >= 0`` for some inputs z_i of rectifiers, with ``s_i`` 1 or -1,

.. math:: m(x) \ge m(x) - \sum_i \beta_i s_i z_i \quad\text{for all}\quad \beta_i \ge 0,

and the right side is bounded backwards as m is [1]_. The bound is concave in the prices beta, and
with the lower slopes of the undecided units they are improved by gradient steps. Of z_i as it is
computed, rounded, one of both signs is true.

References
----------
.. [1] S. Wang et al., "Beta-CROWN: efficient bound propagation with per-neuron split constraints
   for neural network robustness verification", NeurIPS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._backward import Choices, lowest_stop, minimum, pull
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import BallAndBox, Region, make_region

# Of the slopes and of the prices.
_RATES, _RATE_FALLS = (0.25, 0.1), 0.95
# Until float64 has no number in between.
_HALVINGS = 60


class Parts(NamedTuple):
    """Parts of the sets of samples, each with a rival to hold the class against.

    Attributes
    ----------
    rows, rivals : Tensor of int64, shape (n,)
    signs : Tensor of int8, shape (n, n_units)
        1 and -1 for units with a sign, else 0.
    slopes, prices : Tensor of shape (n, n_units)
        The best known so far.
    least : Tensor of shape (n,)
        Lower bounds of the margins.
    """

    rows: Tensor
    rivals: Tensor
    signs: Tensor
    slopes: Tensor
    prices: Tensor
    least: Tensor

    def take(self, index: Tensor | slice) -> Parts:
        return Parts(*(t[index] for t in self))

    def kept(self) -> Parts:
        """Return a copy for keeping: thousands may be open, and any slopes and prices are valid."""
        copy = Parts(*(t.clone() for t in self))
        return copy._replace(slopes=copy.slopes.float(), prices=copy.prices.float())

    def like(self, x: Tensor) -> Parts:
        """Return the parts in the precision of x."""
        return self._replace(slopes=self.slopes.to(x), prices=self.prices.to(x))


class Found(NamedTuple):
    """What bounding some parts has found.

    Attributes
    ----------
    parts : Parts
    margins : Tensor of shape (n,)
        Of points of the sets of the samples, those where the bounds are attained.
    n_undecided : Tensor of shape (n,)
        How many units may have both signs in the part.
    """

    parts: Parts
    margins: Tensor
    n_undecided: Tensor


class Units:
    """The units whose signs are worth knowing, those of all rectifiers in a row.

    Those that read one input each are no matter: a box stays a box there.
    """

    def __init__(self, network: Network, boxes: Sequence[Interval]) -> None:
        self.network = network
        self.readers: dict[int, int] = {}
        for k in range(network.exact, len(network.layers)):
            node, layer = network.source(k), network.layers[k]
            if not layer.affine and layer.free_slopes(*boxes[node]) is not None:
                self.readers.setdefault(node, k)
        self.sizes = [math.prod(network.shapes[node]) for node in self.readers]
        self.n = sum(self.sizes)

    def by_layer(self, flat: Tensor) -> Choices:
        """Return values of all units, (n, n_units), for each layer that reads them."""
        parts = flat.split(self.sizes, dim=1)
        shapes = [self.network.shapes[node] for node in self.readers]
        return {
            k: part.unflatten(1, shape)
            for k, part, shape in zip(self.readers.values(), parts, shapes, strict=True)
        }

    def by_spec(self, flat: Tensor) -> Choices:
        """Return the same for one spec each."""
        return {k: part[:, None] for k, part in self.by_layer(flat).items()}

    def in_a_row(self, values: Choices) -> Tensor:
        """Return values given for each layer as (n, n_units)."""
        return torch.cat([values[k].flatten(1) for k in self.readers.values()], dim=1)

    def undecided(self, boxes: Sequence[Interval]) -> Tensor:
        """Return which units may have both signs in the boxes."""
        layers = self.network.layers
        return self.in_a_row(
            {k: layers[k].undecided(*boxes[node]) for node, k in self.readers.items()}
        )

    def slope_ranges(self, boxes: Sequence[Interval]) -> Interval:
        """Return the least and the largest slope of a lower line."""
        ranges = {
            k: self.network.layers[k].free_slopes(*boxes[node]) for node, k in self.readers.items()
        }
        least, most = ({k: r[end] for k, r in ranges.items()} for end in (0, 1))
        return self.in_a_row(least), self.in_a_row(most)


class Setting(NamedTuple):
    """Some parts as the bounds see them."""

    network: Network
    units: Units
    region: Region
    boxes: list[Interval]
    specs: Tensor

    def minimum(self, slopes: Tensor, prices: Tensor) -> Tensor:
        """Return bounds of the margins, (n,), for slopes and prices with a sign, (n, n_units)."""
        units, end = self.units, len(self.network.layers)
        return minimum(
            self.network, self.region, self.boxes, self.specs, end, 0,
            units.by_spec(slopes), units.by_spec(prices),
        )[:, 0]  # fmt: skip

    @property
    def empty(self) -> Tensor:
        """Which parts are empty for sure."""
        crossed = [(low > high).flatten(1).any(1) for low, high in self.boxes]
        return torch.stack(crossed).any(0)


class Problem:
    """The margins of some samples, to be bounded over parts of their sets.

    Parameters
    ----------
    network : Network
    X : Tensor of shape (n_samples, ...)
    y : Tensor of int64, shape (n_samples,)
    threat : ThreatModel
    boxes : list of (low, high)
        Of the whole sets, at each node.
    """

    def __init__(
        self,
        network: Network,
        X: Tensor,
        y: Tensor,
        threat: ThreatModel,
        boxes: Sequence[Interval],
    ) -> None:
        self.network, self.X, self.y, self.threat, self.boxes = network, X, y, threat, boxes
        self.units = Units(network, boxes)

    def whole(self, rows: Tensor, rivals: Tensor) -> Parts:
        """Return the whole sets of samples as parts."""
        blank = self.X.new_zeros(len(rows), self.units.n)
        boxes = [(low[rows], high[rows]) for low, high in self.boxes]
        lines = {
            k: self.network.layers[k].enclose(*boxes[node], 0.0).lower_slope
            for node, k in self.units.readers.items()
        }
        slopes = self.units.in_a_row(lines) if self.units.n else blank
        return Parts(
            rows,
            rivals,
            blank.to(torch.int8),
            slopes,
            blank,
            blank.new_full((len(rows),), -torch.inf),
        )

    def setting(self, parts: Parts) -> Setting:
        """Return the parts as the bounds see them."""
        region = make_region(self.X[parts.rows], self.threat, rounding=self.network.unit > 0)
        eye = torch.eye(self.network.shapes[-1][0], dtype=self.X.dtype, device=self.X.device)
        specs = (eye[self.y[parts.rows]] - eye[parts.rivals])[:, None]
        return Setting(self.network, self.units, region, self._boxes(parts), specs)

    def _boxes(self, parts: Parts) -> list[Interval]:
        """Return the boxes of the parts: those of the whole sets, cut at 0, and intervals."""
        network = self.network
        boxes = [(low[parts.rows], high[parts.rows]) for low, high in self.boxes]
        signs = self.units.by_layer(parts.signs)
        for node, k in self.units.readers.items():
            boxes[node] = cut(boxes[node], signs[k])
        for k in range(min(self.units.readers.values(), default=len(boxes)), len(network.layers)):
            low, high = network.interval(k, boxes)
            before = boxes[k + 1]
            boxes[k + 1] = torch.maximum(low, before[0]), torch.minimum(high, before[1])
        return boxes

    def bounded(self, parts: Parts, n_steps: int) -> Found:
        """Return better bounds of the parts, with slopes and prices from gradient steps."""
        setting = self.setting(parts)
        parts = _ascended(setting, parts, n_steps)
        empty = setting.empty
        least = parts.least.masked_fill(empty, torch.inf)
        undecided = self.units.undecided(setting.boxes) if self.units.n else empty[:, None] & False
        points = self.lowest(setting, parts)
        values = self.values(points)[-1]
        margins = (setting.specs[:, 0] * values).sum(1)
        return Found(parts._replace(least=least), margins, undecided.sum(1).masked_fill(empty, 0))

    def lowest(self, setting: Setting, parts: Parts) -> Tensor:
        """Return inputs where the linear functions below the margins are lowest."""
        network, region = setting.network, setting.region
        end = len(network.layers)
        stop = lowest_stop(network, region, end)
        by_spec = setting.units.by_spec
        reached = pull(
            network, setting.boxes, setting.specs, end, stop,
            by_spec(parts.slopes), by_spec(-parts.prices * parts.signs),
        )  # fmt: skip
        a = reached[stop].a[:, 0].flatten(1)
        if isinstance(region, BallAndBox):
            centres = region.X
            return self.threat.around(centres).furthest(-a.reshape(centres.shape))
        ends = region.low, region.high
        low, high = (self._prefix(end_, stop).flatten(1) for end_ in ends)
        pick = (a * low <= a * high).reshape(region.low.shape)
        return torch.where(pick, *ends)

    def _prefix(self, x: Tensor, stop: int) -> Tensor:
        for layer in self.network.layers[:stop]:
            x = layer.forward(x)
        return x

    def input_of(self, setting: Setting, z: Tensor) -> Tensor:
        """Return an input whose numbers behind the first layers, one for each, are about z."""
        region = setting.region
        stop = lowest_stop(setting.network, region, len(setting.network.layers))
        if not stop:
            return z.reshape(region.low.shape)
        below, above = (self._prefix(end, stop).flatten(1) for end in (region.low, region.high))
        rises = (above >= below).reshape(region.low.shape)
        low, high = (
            torch.where(rises, region.low, region.high),
            torch.where(rises, region.high, region.low),
        )
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            short = (self._prefix(middle, stop).flatten(1) < z).reshape(low.shape)
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return high

    def values(self, x: Tensor) -> list[Tensor]:
        """Return the numbers at each node."""
        network, values = self.network, [x]
        for k, layer in enumerate(network.layers):
            values.append(layer.forward(*(values[node] for node in network.sources[k])))
        return values


def cut(box: Interval, signs: Tensor) -> Interval:
    """Return the box where units have a sign: from 0 on, or up to 0."""
    low, high = box
    return (
        torch.where(signs > 0, low.clamp(min=0), low),
        torch.where(signs < 0, high.clamp(max=0), high),
    )


def _ascended(setting: Setting, parts: Parts, n_steps: int) -> Parts:
    """Return the parts with the best bounds that gradient steps have met."""
    least, most = setting.units.slope_ranges(setting.boxes)
    now = parts._replace(slopes=parts.slopes.clamp(least, most), prices=parts.prices.clone())
    best, free = now, [now.slopes, now.prices]
    optimizer = torch.optim.Adam(
        [{"params": [t], "lr": rate} for t, rate in zip(free, _RATES, strict=True)]
    )
    for _ in range(n_steps):
        with torch.enable_grad():
            value = _value(
                setting,
                now._replace(slopes=free[0].requires_grad_(), prices=free[1].requires_grad_()),
            )
            gradients = torch.autograd.grad(value.sum(), free)
        best = _better(best, now, value.detach())
        for t, gradient in zip(free, gradients, strict=True):
            t.grad = -gradient
        optimizer.step()
        with torch.no_grad():
            free[0].copy_(free[0].clamp(least, most))
            free[1].clamp_(min=0)
        for group in optimizer.param_groups:
            group["lr"] *= _RATE_FALLS
    with torch.no_grad():
        return _better(best, now, _value(setting, now))


def _value(setting: Setting, parts: Parts) -> Tensor:
    return setting.minimum(parts.slopes, -parts.prices * parts.signs)


def _better(best: Parts, now: Parts, value: Tensor) -> Parts:
    """Return `best`, with what gives a better bound now in its place."""
    better = value > best.least
    return best._replace(
        least=torch.where(better, value, best.least),
        slopes=torch.where(better[:, None], now.slopes.detach(), best.slopes),
        prices=torch.where(better[:, None], now.prices.detach(), best.prices),
    )
