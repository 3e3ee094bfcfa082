"""Lower bounds of the margins of a network over a threat model, by methods of rising cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_option
from sklearn_robust.bounds._activations import LeakyReLU
from sklearn_robust.bounds._propagation import Interval, Network
from sklearn_robust.bounds._regions import Region, make_region

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")

# Bytes that the linear functions of one pass may take; a few copies of them are alive at a time.
MEMORY = 2**25
# Multiplications per sample and layer that "crown" may spend on bounds of its units: about a second
# of one core. Only wide layers behind large convolutions ask for more.
AFFORDABLE = 2**33

_ALPHA_STEPS = 20
_ALPHA_RATE = 0.25


def margin_bounds(
    module: torch.nn.Module,
    X: Tensor,
    y: Tensor,
    threat: ThreatModel,
    method: str = "crown-ibp",
    *,
    rounding: bool = True,
) -> Tensor:
    r"""Return lower bounds of the margins ``f_y - f_j`` over all points that the adversary has.

    .. math:: m_{ij} \le \min_{x' \in A(x_i)} f_{y_i}(x') - f_j(x')

    Where all entries of row i but that of y_i are positive, no attack within the threat model can
    change the prediction. Differentiable with respect to the module's parameters and `X`, where
    these ask for gradients; ``cross_entropy(-m, y)`` is the loss of certified training.

    Parameters
    ----------
    module : torch.nn.Module
        An ``nn.Sequential`` of layers that the bounds know, see `register_layer`, from a batch in
        the shape of `X` to logits. Layers act as in eval mode, whatever the module's mode is.
    X : Tensor of shape (n_samples, ...)
        Samples, in the precision and on the device of the module.
    y : Tensor of int64, shape (n_samples,)
        Class indices.
    threat : ThreatModel
        For linf the set is a box, the clip box included. For l2 and l1 the linear functions of the
        input are minimised over ball and clip box exactly.
    method : {"ibp", "crown-ibp", "crown", "alpha-crown"}, default="crown-ibp"
        "ibp" costs two forward passes; the last affine layers act on the differences of logits.
        "crown-ibp" pushes each margin backwards through lines around the activations, as wide as
        interval bounds say: about two backward passes per class. "crown" first tightens, layer by
        layer, the bounds of units of which intervals cannot tell whether they are active, at a
        backward pass for each, for as many units of a layer as about 1e10 multiplications per
        sample allow. "alpha-crown" then improves the lower lines by gradient steps. Each is at
        least as tight as those before it.
    rounding : bool, default=True
        Move the bounds outwards by what rounding can do, in the computation of the bounds and in
        that of the network in the same precision. Training may do without.

    Returns
    -------
    margins : Tensor of shape (n_samples, n_classes)
        The entry of the true class is 0.

    Raises
    ------
    UnsupportedLayerError
        If the module holds a layer without bounds; the message names it.

    References
    ----------
    .. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training
       verifiably robust models", 2018, equations (5) to (8).
    .. [2] H. Zhang et al., "Efficient neural network robustness certification with general
       activation functions", NeurIPS 2018, theorem 3.2.
    .. [3] H. Zhang et al., "Towards stable and efficient training of verifiably robust neural
       networks", ICLR 2020 (CROWN-IBP).
    .. [4] K. Xu et al., "Fast and complete: enabling complete verification with rapid and massively
       parallel incomplete verifiers", ICLR 2021 (alpha-CROWN).

    Examples
    --------
    ``f = (|x|, 0.25)`` as a ReLU network, over [-1, 1]: ``|x| - 0.25`` is -0.25 at least.

    >>> import torch
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import margin_bounds
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    >>> with torch.no_grad():
    ...     for p, v in zip(net.parameters(), ([[1.], [-1.]], [0., 0.], [[1., 1.], [0., 0.]],
    ...                                        [0., .25])):
    ...         _ = p.copy_(torch.tensor(v))
    >>> X, y = torch.tensor([[0.0]]), torch.tensor([0])
    >>> margin_bounds(net, X, y, ThreatModel(1.0), "ibp").detach().numpy().round(3)
    array([[ 0.  , -0.25]], dtype=float32)
    """
    check_option(method, "method", METHODS)
    if not len(X):
        return X.new_zeros(0, Network(module, X.new_zeros(1, *X.shape[1:])).shapes[-1][0])
    network = Network(module, X, rounding=rounding)
    wants_gradients = torch.is_grad_enabled() and (
        X.requires_grad or any(p.requires_grad for p in module.parameters())
    )
    size = len(X) if wants_gradients else batch_size(network, method)
    parts = [
        bound_batch(network, X[i : i + size], y[i : i + size], threat, method)
        for i in range(0, len(X), size)
    ]
    return torch.cat(parts)


def batch_size(network: Network, method: str) -> int:
    """Return how many samples to bound at a time."""
    specs = 1 if method == "ibp" else network.shapes[-1][0]
    return max(1, MEMORY // (8 * 4 * specs * network.widest))


def bound_batch(
    network: Network,
    X: Tensor,
    y: Tensor,
    threat: ThreatModel,
    method: str,
    *,
    settle: bool = False,
) -> Tensor:
    """Return the bounds for one batch; `settle` stops improving what is certified already."""
    region = make_region(X, threat, rounding=network.unit > 0)
    boxes = network.intervals(region)
    specs = difference_specs(y, network.shapes[-1][0], X)
    end = len(network.layers)
    margins = network.minimum(region, boxes, specs, end, network.last)
    if method == "ibp" or not network.last:
        return margins
    if method in ("crown", "alpha-crown"):
        margins = torch.maximum(margins, network.minimum(region, boxes, specs, end))
        boxes = tighten(network, region, boxes)
    margins = torch.maximum(margins, network.minimum(region, boxes, specs, end))
    if method == "alpha-crown":
        pick = torch.arange(len(X), device=X.device)
        if settle:
            pick = pick[((margins > 0).sum(1) < margins.shape[1] - 1)]
        if len(pick):
            region = make_region(X[pick], threat, rounding=network.unit > 0)
            boxes = [(low[pick], high[pick]) for low, high in boxes]
            best = _with_best_slopes(network, region, boxes, specs[pick])
            margins = margins.index_copy(0, pick, torch.maximum(margins[pick], best))
    return margins


def difference_specs(y: Tensor, n_classes: int, like: Tensor) -> Tensor:
    """Return a of shape (n, n_classes, n_classes) with ``<a[i, j], f> = f_y - f_j``."""
    eye = torch.eye(n_classes, dtype=like.dtype, device=like.device)
    return eye[y][:, None, :] - eye


def tighten(network: Network, region: Region, boxes: Sequence[Interval]) -> list[Interval]:
    """Return the boxes made tighter by backward passes where that is affordable, in order."""
    tight = list(boxes[: network.first + 1])
    for k in range(network.first, len(network.layers)):
        layer = network.layers[k]
        if not layer.affine and k > network.first and network.layers[k - 1].affine:
            tight[k] = network.refine(region, tight, k, MEMORY, AFFORDABLE)
        low, high = network.interval(k, *tight[k])
        tight.append((torch.maximum(low, boxes[k + 1][0]), torch.minimum(high, boxes[k + 1][1])))
    return tight


def _with_best_slopes(
    network: Network, region: Region, boxes: Sequence[Interval], specs: Tensor
) -> Tensor:
    """Return bounds after gradient ascent on the lower slopes, free for each unit and spec."""
    ranges: dict[int, tuple[Tensor, Tensor]] = {}
    slopes: dict[int, Tensor] = {}
    for k, layer in enumerate(network.layers):
        if isinstance(layer, LeakyReLU) and k >= network.exact:
            low, high = (t.detach() for t in boxes[k])
            ranges[k] = tuple(t[:, None] for t in layer.free_slopes(low, high))  # type: ignore[assignment]
            start = layer.enclose(low, high, 0.0).lower_slope[:, None]
            slopes[k] = start.expand(-1, specs.shape[1], *low.shape[1:]).clone()
    fixed: list[Any] = [(low.detach(), high.detach()) for low, high in boxes]
    end = len(network.layers)
    best = network.minimum(region, boxes, specs, end)
    if not slopes:
        return best
    chosen = {k: s.clone() for k, s in slopes.items()}
    top = best.detach()
    optimizer = torch.optim.Adam(list(slopes.values()), lr=_ALPHA_RATE)
    for step in range(_ALPHA_STEPS):
        with torch.enable_grad():
            free = {k: s.requires_grad_() for k, s in slopes.items()}
            value = network.minimum(region, fixed, specs, end, 0, free)
            gradients = torch.autograd.grad(value.sum(), list(free.values()))
        with torch.no_grad():
            better = value > top
            top = torch.maximum(top, value.detach())
            for (k, s), g in zip(slopes.items(), gradients, strict=True):
                pick = better.reshape(*better.shape, *(1,) * (s.ndim - 2))
                chosen[k] = torch.where(pick, s.detach(), chosen[k])
                s.grad = -g
        if step + 1 < _ALPHA_STEPS:
            _projected_step(optimizer, slopes, ranges)
    return torch.maximum(best, network.minimum(region, boxes, specs, end, 0, chosen))


def _projected_step(
    optimizer: torch.optim.Optimizer,
    slopes: dict[int, Tensor],
    ranges: dict[int, tuple[Tensor, Tensor]],
) -> None:
    optimizer.step()
    with torch.no_grad():
        for k, (least, most) in ranges.items():
            slopes[k].copy_(slopes[k].clamp(least, most))
    for group in optimizer.param_groups:
        group["lr"] *= 0.95
