r"""How far a network that is evaluated in fewer bits may be from the exact one.

Bounds are computed in float64; an estimator that predicts in float32 rounds its own way. With u the
unit roundoff, n the number of terms and e the error of what goes in, an affine layer is off by no
more than

.. math:: |W| e + \frac{n u}{1 - n u} (|W| (|z| + e) + |b|)

in whatever order it sums [1]_; what a nonlinear layer makes of an error, it says itself.

References
----------
.. [1] N. Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklearn_robust.bounds._averages import mean_error
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import Region

# What the operations around a sum may add: a batch norm is a handful of them.
_OPERATIONS = 16
# The error itself is computed in float64.
_OUTWARDS = 1.001
# Spacing at 1 of what float32 products are cut to where torch is allowed to, by the name it has.
_CUT = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}


def spacing_of(module: nn.Module) -> float:
    """Return the spacing of numbers at 1 in the precision in which a module computes.

    That of its coarsest tensor, or of TF32 and bfloat16 where torch may use these for float32. A
    module without tensors computes in the precision of its input, float32.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    spacing : float

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import spacing_of
    >>> spacing_of(torch.nn.Linear(2, 2)) == 2**-23, spacing_of(torch.nn.Linear(2, 2).double())
    (True, 2.220446049250313e-16)
    """
    tensors = (*module.parameters(), *module.buffers())
    floats = [t for t in tensors if t.is_floating_point() or t.is_complex()]
    spacing = max((torch.finfo(t.dtype).eps for t in floats), default=torch.finfo(torch.float).eps)
    if not any(t.dtype in (torch.float32, torch.complex64) for t in floats):
        return spacing
    cut = _CUT[torch.get_float32_matmul_precision()]
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    on_device = any(t.device.type == "cuda" for t in floats)
    if on_device and convolves and torch.backends.cudnn.allow_tf32:
        cut = max(cut, _CUT["high"])
    return max(spacing, cut)


def evaluation_error(networks: Sequence[Network], region: Region, spacing: float) -> Tensor:
    """Return how far outputs, (n, n_outputs), may be off when a network is evaluated.

    Parameters
    ----------
    networks : list of Network
        Whose mean is meant.
    region : Region
        Where the inputs are; they are rounded to the precision of the evaluation too.
    spacing : float
        Of numbers at 1 in that precision.
    """
    boxes = [intervals(network, region) for network in networks]
    parts = [_error(*both, spacing) for both in zip(networks, boxes, strict=True)]
    error = torch.stack(parts).mean(0)
    if len(parts) > 1:
        size = torch.stack([_size(box[-1]) for box in boxes]).amax(0)
        error = error + mean_error(len(parts), spacing, size + error)
    return _OUTWARDS * error


def _error(network: Network, boxes: Sequence[Interval], spacing: float) -> Tensor:
    errors = [spacing * _size(boxes[0])]
    for k in range(len(network.layers)):
        step = _behind_affine if network.layers[k].affine else _behind_nonlinear
        errors.append(step(network, k, boxes, errors, spacing))
    return errors[-1]


def _behind_affine(
    network: Network, k: int, boxes: Sequence[Interval], errors: Sequence[Tensor], spacing: float
) -> Tensor:
    layer, nodes = network.layers[k], network.sources[k]
    error = layer.absolute(*(errors[node] for node in nodes))
    if not layer.terms:
        return error
    size = layer.absolute(*(_size(boxes[node]) + errors[node] for node in nodes))
    bias = layer.bias_size()
    size = size if bias is None else size + bias.to(size)
    off = (layer.terms + _OPERATIONS) * spacing / 2
    gamma = off / (1 - off) if off < 1 else math.inf
    return error + gamma * (size + torch.finfo(size.dtype).tiny)


def _behind_nonlinear(
    network: Network, k: int, boxes: Sequence[Interval], errors: Sequence[Tensor], spacing: float
) -> Tensor:
    layer, node = network.layers[k], network.source(k)
    moved = layer.spread(errors[node], *boxes[node])
    off = (layer.inexact + 1) * (_size(boxes[k + 1]) + moved) + layer.inexact_at_zero
    return moved + spacing * off


def _size(box: Interval) -> Tensor:
    return torch.maximum(box[0].abs(), box[1].abs())
