r"""Interval bounds forwards, linear bounds backwards, through a flat list of layers.

Forwards (interval bound propagation), a box [c - r, c + r] becomes under ``W z + b``

.. math:: [W c + b - |W| r, \; W c + b + |W| r]

Backwards (CROWN), ``<a, z_k>`` is pushed below linear functions of earlier layers: exactly through
an affine layer, and through a nonlinear one by the line that the sign of each a_i asks for,

.. math:: \langle a, g(z) \rangle \ge \langle a_+ s_{lo} + a_- s_{up}, z \rangle
          + \langle a_+, t_{lo} \rangle + \langle a_-, t_{up} \rangle

until a set is reached on which linear functions can be minimised.

Rounding. A sum of n products is off by at most gamma_n times the sum of their absolute values, in
any order of summation [3]_. Every bound is moved outwards by several times that, so that it covers
its own rounding *and* that of evaluating the network in the same precision. It does not cover
convolutions by Winograd's method or TF32, so certificates are computed in float64.

References
----------
.. [1] S. Gowal et al., "On the effectiveness of interval bound propagation", 2018.
.. [2] H. Zhang et al., "Efficient neural network robustness certification with general activation
   functions", NeurIPS 2018.
.. [3] N. Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_robust.bounds._activations import Lines
from sklearn_robust.bounds._layers import Conv, Dense, Reshape, Scale, flatten
from sklearn_robust.bounds._regions import BallAndBox, Box, Region
from sklearn_robust.bounds._windows import refine_by_place, window_products, windows_start

Interval = tuple[Tensor, Tensor]


class Network:
    """The flat list of layers of a module, with the shapes between them.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor of shape (n_samples, ...)
        Only the shape of a sample matters.
    rounding : bool
        Move every bound outwards by the rounding error.

    Attributes
    ----------
    layers : list
    shapes : list of tuple
        ``shapes[k]`` is that of a sample where it enters layer k; the last one is the output's.
    exact : int
        Up to the input of this layer every number depends on one input only: a box stays a box.
    first, last : int
        The first nonlinear layer, and the first layer after the last one (0 and 0 if none).
    """

    def __init__(self, module: torch.nn.Module, X: Tensor, *, rounding: bool = True) -> None:
        self.layers = flatten(module)
        self.unit = torch.finfo(X.dtype).eps if rounding else 0.0
        self.shapes = [tuple(X.shape[1:])]
        with torch.no_grad():
            x = X[:1]
            for layer in self.layers:
                _check_axes(layer, self.shapes[-1])
                x = layer.forward(x)
                self.shapes.append(tuple(x.shape[1:]))
        nonlinear = [k for k, layer in enumerate(self.layers) if not layer.affine]
        self.first, self.last = (nonlinear[0], nonlinear[-1] + 1) if nonlinear else (0, 0)
        pointwise = [_is_pointwise(layer) for layer in self.layers]
        self.exact = pointwise.index(False) if False in pointwise else len(pointwise)
        self._reach: Tensor | None = None

    @property
    def widest(self) -> int:
        """The largest number of values between two layers."""
        return max(map(math.prod, self.shapes))

    def products(self, k: int) -> int:
        """Return the multiplications that bounding one unit of the input of layer k costs."""
        start = windows_start(self, k)
        if start is not None:
            return window_products(self, k, start)
        total = 0
        for layer, out in zip(self.layers[:k], self.shapes[1:], strict=False):
            if isinstance(layer, Dense | Conv):
                places = math.prod(out[1:]) if isinstance(layer, Conv) else 1
                total += layer.weight.numel() * places
        return total

    # Forwards ------------------------------------------------------------------------------------

    def interval(self, k: int, low: Tensor, high: Tensor) -> Interval:
        """Return the box that layer k makes of a box."""
        layer = self.layers[k]
        if not layer.affine or not layer.terms:
            return layer.forward(low), layer.forward(high)
        centre, radius = layer.forward((low + high) / 2), layer.absolute((high - low) / 2)
        if self.unit:
            radius = radius + self._rounding(k, low, high, centre)
        return centre - radius, centre + radius

    def intervals(self, region: Region) -> list[Interval]:
        """Return the box at the input of every layer and at the output."""
        boxes = [(region.low, region.high)]
        for k in range(len(self.layers)):
            if k == self.first > 0 and isinstance(region, BallAndBox):
                boxes[k] = self._within_ball(region, boxes[k])
            boxes.append(self.interval(k, *boxes[k]))
        return boxes

    def _within_ball(self, region: BallAndBox, box: Interval) -> Interval:
        """Return the tighter of `box` and the dual norm's bound at the first nonlinear layer."""
        low, high = region.X - region.widening, region.X + region.widening
        for k in range(self.first):
            low, high = self.interval(k, low, high)
        if self._reach is None:
            self._reach = self._ball_reach(region)
        # The rows of a product of matrices have a rounding error of their own.
        reach = self._reach + 1e6 * self.unit * (box[1] - box[0])
        return torch.maximum(box[0], low - reach), torch.minimum(box[1], high + reach)

    def _ball_reach(self, region: BallAndBox, size: int = 1024) -> Tensor:
        """Return how far each input of the first nonlinear layer moves over the unclipped ball."""
        kernels = self._kernel_reach(region)
        if kernels is not None:
            return kernels
        shape = self.shapes[self.first]
        n = math.prod(shape)
        like = region.X
        parts = []
        for start in range(0, n, size):
            rows = torch.arange(start, min(start + size, n), device=like.device)
            a = torch.nn.functional.one_hot(rows, n).to(like).reshape(-1, *shape)
            for k in reversed(range(self.first)):
                a = self.layers[k].transpose(a, self.shapes[k])
            parts.append(region.ball_reach(a))
        return torch.cat(parts).reshape(shape)

    def _kernel_reach(self, region: BallAndBox) -> Tensor | None:
        """Return `_ball_reach` where a single convolution stands first, else None.

        A place's linear function is its kernel, or a part of it at the border, which reaches less.
        """
        prefix = self.layers[: self.first]
        where = [k for k, layer in enumerate(prefix) if isinstance(layer, Conv)]
        plain = all(
            isinstance(layer, Conv | Reshape)
            or (isinstance(layer, Scale) and (layer.scale.ndim == 0 or where[:1] < [k]))
            for k, layer in enumerate(prefix)
        )
        if len(where) != 1 or not plain:
            return None
        reach = region.widest_reach(prefix[where[0]].weight)[:, None, None]
        reach = reach.expand(1, *self.shapes[where[0] + 1])
        for k, layer in enumerate(prefix):
            if isinstance(layer, Scale):
                reach = layer.scale.to(reach).abs() * reach
            elif k > where[0]:
                reach = layer.forward(reach)
        return reach[0]

    def _rounding(self, k: int, low: Tensor, high: Tensor, like: Tensor) -> Tensor:
        """Return the rounding error of layer k on a box, for each of its outputs."""
        return 2 * (self.layers[k].terms + 8) * self.unit * self._magnitude(k, low, high, like)

    def _magnitude(self, k: int, low: Tensor, high: Tensor, like: Tensor) -> Tensor:
        """Return at least ``|W| |z| + |b|`` for every z in the box."""
        largest = torch.maximum(low.abs(), high.abs()).flatten(1).amax(1)
        size = self.layers[k].gain().to(like) * largest.reshape(-1, *(1,) * (like.ndim - 1))
        bias = self.layers[k].bias()
        size = size if bias is None else size + bias.to(like).abs()
        return size + torch.finfo(like.dtype).tiny  # products below the normal range

    # Backwards -----------------------------------------------------------------------------------

    def minimum(
        self,
        region: Region,
        boxes: Sequence[Interval],
        a: Tensor,
        start: int,
        stop: int = 0,
        slopes: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Return lower bounds of ``<a[i, s], z>`` over region i, shape (n, specs).

        Parameters
        ----------
        region : Region
        boxes : list of (low, high)
            The box at the input of each layer, up to `start`.
        a : Tensor of shape (n, specs, ...)
            In the shape of the input of layer `start`, where z lives.
        start, stop : int
            Go backwards from the input of layer `start` to that of layer `stop`, and take the
            minimum over the region if `stop` is 0, else over the box there.
        slopes : dict, optional
            For layers with a choice of lower slopes, those to use for each spec.
        """
        zero = a.new_zeros(a.shape[:2])
        return self.descend(region, boxes, a, zero, zero, start, stop, slopes)

    def descend(
        self,
        region: Region,
        boxes: Sequence[Interval],
        a: Tensor,
        constant: Tensor,
        error: Tensor,
        start: int,
        stop: int = 0,
        slopes: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Return lower bounds of ``<a, z> + constant``, known up to `error`; see `minimum`."""
        if region.is_box:
            stop = max(stop, min(self.exact, start))
        for k in reversed(range(stop, start)):
            layer = self.layers[k]
            if not layer.affine:
                lines, shape = layer.enclose(*boxes[k], self.unit), self.shapes[k]
                own = (slopes or {}).get(k)
                a, constant, error = self.cross(k, a, constant, error, boxes[k], lines, shape, own)
                continue
            size = self.rounding_size(k, boxes[k], a[:, 0])
            size = None if size is None else size.expand(-1, *self.shapes[k + 1])
            constant, error = self.collect(a, layer.bias(), constant, error, size)
            back = layer.transpose(a.flatten(0, 1), self.shapes[k])
            a = back.reshape(*a.shape[:2], *self.shapes[k])
        return self.settle(a, constant, error, Box(*boxes[stop]) if stop else region)

    def settle(self, a: Tensor, constant: Tensor, error: Tensor, region: Region) -> Tensor:
        """Return the minimum over a region of linear functions of its points."""
        least = region.minimum(a)
        value = constant + least
        if not self.unit:
            return value
        size = self._weigh(a.abs(), torch.maximum(region.low.abs(), region.high.abs()))
        n = math.prod(a.shape[2:])
        return (
            value - error - (4 * (n + 8) * size + 64 * (constant.abs() + least.abs())) * self.unit
        )

    def rounding_size(self, k: int, box: Interval, like: Tensor) -> Tensor | None:
        """Return what, times |a|, bounds the rounding of a step back through affine layer k."""
        layer = self.layers[k]
        if not self.unit or not layer.terms:
            return None
        n = layer.terms + math.prod(self.shapes[k + 1]) + 8
        return 4 * n * self.unit * self._magnitude(k, *box, like)

    def collect(
        self, a: Tensor, bias: Tensor | None, constant: Tensor, error: Tensor, size: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return constant and error after a step back through an affine layer."""
        if bias is not None:
            constant = constant + self._weigh(a, bias.to(a).expand(a.shape[2:]))
        return constant, error if size is None else error + self._weigh(a.abs(), size)

    def cross(
        self,
        k: int,
        a: Tensor,
        constant: Tensor,
        error: Tensor,
        box: Interval,
        lines: Lines,
        shape: tuple[int, ...],
        slopes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return a, constant and error after a step back through nonlinear layer k.

        `shape` is that of the layer's input, as far as `lines` see it.
        """
        up, down = a.clamp(min=0), a.clamp(max=0)
        constant = constant + self._weigh(up, lines.lower) + self._weigh(down, lines.upper)
        if self.unit:
            # Slopes lie in [0, 1]: each term is at most |z| plus the intercept.
            largest = torch.maximum(box[0].abs(), box[1].abs()).flatten(1).amax(1)
            intercepts = torch.maximum(lines.lower.abs(), lines.upper.abs())
            size = intercepts + largest.reshape(-1, *(1,) * (intercepts.ndim - 1))
            n = math.prod(self.shapes[k + 1]) + 8
            error = error + 4 * n * self.unit * self._weigh(up - down, size)
        up = up * (lines.lower_slope[:, None] if slopes is None else slopes)
        down = down * lines.upper_slope[:, None]
        if lines.lower_at is None or lines.upper_at is None:
            return up + down, constant, error
        plane = up.new_zeros(*up.shape[:3], math.prod(shape[1:]))
        for part, at in ((up, lines.lower_at), (down, lines.upper_at)):
            index = at.flatten(2)[:, None].expand(-1, up.shape[1], -1, -1)
            plane = plane.scatter_add(3, index, part.flatten(3))
        return plane.reshape(*up.shape[:2], *shape), constant, error

    @staticmethod
    def _weigh(a: Tensor, v: Tensor) -> Tensor:
        """Return ``<a[i, s], v[i]>`` (or ``<a[i, s], v>``), shape (n, specs)."""
        v = v.flatten(1)[:, :, None] if v.ndim == a.ndim - 1 else v.flatten()[:, None]
        return (a.flatten(2) @ v)[:, :, 0]

    def refine(
        self, region: Region, boxes: Sequence[Interval], k: int, memory: int, limit: int
    ) -> Interval:
        """Return the box at the input of layer k, made tighter where layer k is undecided.

        `memory` is the number of bytes that the linear functions of one pass may take, `limit` the
        number of multiplications per sample; where they do not suffice for all undecided units,
        those whose lines leave the largest gap come first.
        """
        start = windows_start(self, k)
        affordable = limit // max(1, 2 * self.products(k))
        if start is not None:
            enough = affordable >= math.prod(self.shapes[k])
            return refine_by_place(self, region, boxes, k, start) if enough else boxes[k]
        low, high = boxes[k]
        flat_low, flat_high = low.flatten(1), high.flatten(1)
        undecided = self.layers[k].undecided(low, high).flatten(1)
        count = min(affordable, int(undecided.sum(1).max()))
        if not count:
            return low, high
        gap = torch.where(undecided, torch.minimum(flat_high, -flat_low), -torch.inf)
        chosen = gap.detach().topk(count, dim=1).indices
        size = max(1, memory // (2 * len(low) * self.widest * low.element_size()))
        for index in chosen.split(size, dim=1):
            a, constant, error, below = self._units(k, index, boxes)
            least = self.descend(
                region,
                boxes,
                torch.cat((a, -a), dim=1),
                torch.cat((constant, -constant), dim=1),
                torch.cat((error, error), dim=1),
                below,
            )
            new_low, new_high = least[:, : index.shape[1]], -least[:, index.shape[1] :]
            new_low = torch.maximum(flat_low.gather(1, index), new_low)
            new_high = torch.minimum(flat_high.gather(1, index), new_high)
            flat_low = flat_low.scatter(1, index, new_low)
            flat_high = flat_high.scatter(1, index, new_high)
        return flat_low.reshape(low.shape), flat_high.reshape(low.shape)

    def _units(
        self, k: int, index: Tensor, boxes: Sequence[Interval]
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return units of the input of layer k as a, constant, error, and of which layer's input.

        `index` of shape (n, specs) says which units.
        """
        zero = boxes[k][0].new_zeros(index.shape)
        layer = self.layers[k - 1]
        if isinstance(layer, Dense) and len(self.shapes[k]) == 1:
            # Rows of the weights: what a product with unit vectors would give, at no cost.
            bias, size = layer.bias(), self.rounding_size(k - 1, boxes[k - 1], boxes[k][0])
            error = zero if size is None else size.gather(1, index)
            return layer.weight[index], zero if bias is None else bias[index], error, k - 1
        a = torch.nn.functional.one_hot(index, math.prod(self.shapes[k])).to(zero)
        return a.reshape(*index.shape, *self.shapes[k]), zero, zero, k


def interval_bounds(
    module: torch.nn.Module, lower: Tensor, upper: Tensor, *, rounding: bool = True
) -> Interval:
    r"""Return bounds of a network's outputs over boxes of inputs, by interval propagation.

    .. math:: [c - r, c + r] \mapsto [W c + b - |W| r, \; W c + b + |W| r]

    through affine layers; monotone layers act on both ends [1]_. Differentiable with respect to
    the module's parameters and the box. Layers act as in eval mode, whatever the module's mode is.

    Parameters
    ----------
    module : torch.nn.Module
        An ``nn.Sequential`` of layers that the bounds know, see `register_layer`.
    lower, upper : Tensor of shape (n_samples, ...)
        Ends of the boxes, in the precision and on the device of the module.
    rounding : bool, default=True
        Move the bounds outwards by what rounding can do. Training may do without.

    Returns
    -------
    lower, upper : Tensor of shape (n_samples, n_outputs)

    Raises
    ------
    UnsupportedLayerError
        If the module holds a layer without bounds; the message names it.

    References
    ----------
    .. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training
       verifiably robust models", 2018, equations (5) and (6).

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import interval_bounds
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    >>> lower, upper = interval_bounds(layer, torch.zeros(1, 2), torch.ones(1, 2))
    >>> round(lower.item(), 3), round(upper.item(), 3)
    (-2.0, 1.0)
    """
    network = Network(module, lower, rounding=rounding)
    return network.intervals(Box(lower, upper))[-1]


def _is_pointwise(layer: Any) -> bool:
    return isinstance(layer, Reshape | Scale) or getattr(layer, "elementwise", False)


def _check_axes(layer: Any, shape: tuple[int, ...]) -> None:
    if isinstance(layer, Scale) and layer.scale.ndim not in (0, len(shape)):
        raise ValueError(
            f"A layer scales {layer.scale.ndim} axes of samples of shape {shape}. Batch norm over "
            "vectors takes samples of shape (n_features,), over images (channels, height, width)."
        )
