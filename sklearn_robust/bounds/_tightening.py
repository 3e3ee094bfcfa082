"""Boxes of the layers in between, made tighter by linear bounds where that pays.

A nonlinear layer is enclosed by lines over the box of its input; the tighter the box, the closer
the lines. Each undecided unit costs two backward passes of its own, so a budget decides how many
are worth it, and the gap that a unit leaves in the margins decides which.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sklearn_robust._pieces import pieces
from sklearn_robust.bounds._backward import Functional, functional, minimum, pull
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region
from sklearn_robust.bounds._windows import refine_by_place, window_products, windows_start

# Bytes that the linear functions of one pass may take: small enough for a processor's cache, and a
# hundred times what starting a pass costs.
_CACHE = 2**23
# Multiplications per sample and layer that bounds of its units may take: about a second of one
# core. Only wide layers behind large convolutions ask for more.
AFFORDABLE = 2**33


class Tightening:
    """The boxes of one batch, which become tighter with every round.

    Parameters
    ----------
    network : Network
    region : Region
    boxes : list of (low, high)
        From intervals, one for each node.
    """

    def __init__(self, network: Network, region: Region, boxes: Sequence[Interval]) -> None:
        self.network, self.region, self.boxes = network, region, list(boxes)
        layers = network.layers
        exact = max(network.exact, network.source(network.first)) if layers else 0
        # The nonlinear layer that reads a node. Where no affine layer comes before, and up to
        # `exact`, boxes from intervals are tight already.
        self._reader = {
            network.source(k): k
            for k in reversed(range(network.first, len(layers)))
            if not layers[k].affine
            if network.source(k) > exact and layers[network.source(k) - 1].affine
        }
        self._done = {
            node: torch.zeros_like(boxes[node][0], dtype=torch.bool) for node in self._reader
        }

    def take(self, keep: Tensor, region: Region) -> Tightening:
        """Return the state for the samples `keep`, an index; `region` is theirs."""
        part = Tightening(
            self.network, region, [(low[keep], high[keep]) for low, high in self.boxes]
        )
        part._done = {node: done[keep] for node, done in self._done.items()}
        return part

    def run(self, specs: Tensor, share: float = 1.0) -> None:
        """Tighten one layer after another.

        Parameters
        ----------
        specs : Tensor of shape (n, specs, n_outputs)
            The functions of the output that matter: units that leave a wide gap there come first.
        share : float
            Of the multiplications that are affordable, what to spend now. Layers that are bounded
            place by place are bounded at once or not at all: the layers after them need it first.
        """
        for k in range(self.network.first, len(self.network.layers)):
            node = self.network.source(k)
            if self._reader.get(node) == k:
                self.boxes[node] = self._refined(node, specs, share)
            low, high = self.network.interval(k, self.boxes)
            before = self.boxes[k + 1]
            self.boxes[k + 1] = torch.maximum(low, before[0]), torch.minimum(high, before[1])

    def _refined(self, node: int, specs: Tensor, share: float) -> Interval:
        network, (low, high) = self.network, self.boxes[node]
        undecided = network.layers[self._reader[node]].undecided(low, high)
        start = windows_start(network, node)
        if start is not None:
            cost = 2 * window_products(network, node, start) * math.prod(network.shapes[node])
            if self._done[node].all() or cost > AFFORDABLE:
                return low, high
            self._done[node] = torch.ones_like(self._done[node])
            return refine_by_place(network, self.region, self.boxes, node, start, undecided)
        open_ = (undecided & ~self._done[node]).flatten(1)
        affordable = int(share * AFFORDABLE) // max(1, 2 * network.products(node))
        count = min(affordable, int(open_.sum(1).max()))
        if not count:
            return low, high
        worth = torch.where(open_, self._worth(node, specs).flatten(1), -torch.inf)
        chosen = worth.topk(count, dim=1).indices
        self._done[node] = self._done[node].flatten(1).scatter(1, chosen, True).reshape(low.shape)
        return self._bound_units(node, chosen)

    def _worth(self, node: int, specs: Tensor) -> Tensor:
        """Return for each unit of a node the gap that its lines leave in the specs, roughly.

        The distance of the lines in the middle of the box, times how much of it is asked for.
        """
        network, (low, high) = self.network, self.boxes[node]
        k = self._reader[node]
        layer = network.layers[k]
        if not layer.pointwise:
            return high - low
        lines = layer.enclose(low, high, 0.0)
        slope = lines.upper_slope - lines.lower_slope
        gap = slope * (low + high) / 2 + lines.upper - lines.lower
        f = pull(network, self.boxes, specs, len(network.layers), k + 1)[k + 1]
        return gap * f.a.abs().sum(1)

    def _bound_units(self, node: int, index: Tensor) -> Interval:
        """Return the box at a node with the units `index`, (n, count), tighter."""
        low, high = (t.flatten(1) for t in self.boxes[node])
        per_unit = 2 * len(low) * self.network.widest * low.element_size()
        for piece in pieces(index.shape[1], per_unit, most=max(1, _CACHE // per_unit)):
            part = index[:, piece]
            f, below = self._units(node, part)
            both = Functional(
                torch.cat((f.a, -f.a), dim=1),
                torch.cat((f.constant, -f.constant), dim=1),
                torch.cat((f.error, f.error), dim=1),
            )
            least = minimum(self.network, self.region, self.boxes, both, below)
            new_low, new_high = least[:, : part.shape[1]], -least[:, part.shape[1] :]
            low = low.scatter(1, part, torch.maximum(low.gather(1, part), new_low))
            high = high.scatter(1, part, torch.minimum(high.gather(1, part), new_high))
        shape = self.boxes[node][0].shape
        return low.reshape(shape), high.reshape(shape)

    def _units(self, node: int, index: Tensor) -> tuple[Functional, int]:
        """Return units of a node as functions, and of which node."""
        network, k = self.network, node - 1
        zero = self.boxes[node][0].new_zeros(index.shape)
        rows = network.layers[k].rows(index) if len(network.shapes[node]) == 1 else None
        if rows is not None:
            # Rows of the weights: what a product with unit vectors would give, at no cost.
            bias, error = network.layers[k].bias(), network.step_error(k, self.boxes)
            constant = zero if bias is None else bias[index]
            error = zero if error is None else zero + error
            return Functional(rows, constant, error), network.source(k)
        a = torch.nn.functional.one_hot(index, math.prod(network.shapes[node])).to(zero)
        return functional(a.reshape(*index.shape, *network.shapes[node])), node
