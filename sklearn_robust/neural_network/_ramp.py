r"""One threshold shared by all features, in front of a network: ``clip((x - a) / (b - a), 0, 1)``.

Whoever may move x by less than a does not reach the network through a feature at the end of its
range. An ordinary network has to learn that for each input of each unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import is_search
from sklearn_robust.bounds import Clamp, Scale, register_layer


class InputRamp(nn.Module):
    r"""``h(x) = clip((x - low) / (high - low), 0, 1)``.

    Parameters
    ----------
    low, high : float or array in the shape of a sample
        The knots, with low < high: the same for every feature, or its own for each.
    learnable : bool, default=False
        Whether training moves the knots; the width is kept positive as a softplus.

    Notes
    -----
    Where h is flat its gradient is 0, and an attack by gradients would stop there though the
    prediction can be changed from a few steps further on. An attack therefore sees, instead of the
    derivative, the slope of the chord from x to the far knot,

    .. math:: \frac{1}{b - \min(x, a)} \text{ for } x < b, \qquad
              \frac{1}{\max(x, b) - a} \text{ for } x > a,

    which is the derivative where h rises, and has its sign everywhere. h is monotone in each
    feature, so under linf a signed step along it is a step towards the end of the range of h(x)
    that the derivative behind the ramp asks for. Training and ``input_gradients`` use the true
    derivative.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.neural_network import InputRamp
    >>> InputRamp(0.25, 0.75)(torch.tensor([0.0, 0.125, 0.5, 1.0]))
    tensor([0.0000, 0.0000, 0.5000, 1.0000])
    """

    start: Tensor
    width: Tensor
    raw_width: Tensor
    guides_search = True  # its gradient is another where an attack asks for it

    def __init__(self, low: Any, high: Any, *, learnable: bool = False) -> None:
        super().__init__()
        ends = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        width = ends[1] - ends[0]
        start = torch.tensor(ends[0], dtype=torch.float32)
        if learnable:
            raw = width + np.log(-np.expm1(-width))  # whose softplus is the width
            self.start = nn.Parameter(start)
            self.raw_width = nn.Parameter(torch.tensor(raw, dtype=torch.float32))
        else:
            self.register_buffer("start", start)
            self.register_buffer("width", torch.tensor(width, dtype=torch.float32))
        self.learnable = learnable

    def knots(self) -> tuple[Tensor, Tensor]:
        """Return low and width."""
        return self.start, functional.softplus(self.raw_width) if self.learnable else self.width

    def forward(self, X: Tensor) -> Tensor:
        low, width = self.knots()
        h = ((X - low) / width).clamp(0, 1)
        if not is_search():
            return h
        with torch.no_grad():
            beyond = torch.maximum(low - X, X - (low + width)).clamp(min=0)
            slope = 1 / (width + beyond)
        return h.detach() + slope * (X - X.detach())

    def extra_repr(self) -> str:
        low, width = (v.detach() for v in self.knots())
        if low.ndim:
            return f"knots of each of {low.numel()} features, learnable={self.learnable}"
        ends = float(low), float(low + width)
        return f"low={ends[0]:.6g}, high={ends[1]:.6g}, learnable={self.learnable}"


def _as_known_layers(ramp: InputRamp) -> list[Any]:
    low, width = ramp.knots()
    return [Scale(1 / width, -low / width), Clamp(0.0, 1.0)]


register_layer(InputRamp, _as_known_layers)


def make_ramp(input_ramp: Any, threat: ThreatModel, X: np.ndarray) -> InputRamp:
    """Return the ramp meant by the hyperparameter, for data X.

    "fixed" and "learnable" place the knots one radius from the ends of the range of the data.
    """
    if not isinstance(input_ramp, str):
        knots = (np.asarray(end) for end in check_ramp(input_ramp))
        return InputRamp(*(end.reshape(X.shape[1:]) if end.ndim else end for end in knots))
    ends = (X.min(), X.max()) if threat.clip_values is None else threat.clip_values
    floor, ceiling = (float(np.min(ends[0])), float(np.max(ends[1])))
    radius = threat.largest
    low, high = floor + radius, ceiling - radius
    if low >= high:
        raise ValueError(
            f"input_ramp={input_ramp!r} needs a range of the data wider than 2 epsilon, got "
            f"[{floor:g}, {ceiling:g}] and epsilon={radius:g}. Pass input_ramp='auto', which "
            "leaves the ramp out then, or the knots (low, high)."
        )
    return InputRamp(low, high, learnable=input_ramp == "learnable")


def check_ramp(input_ramp: Any) -> Any:
    """Return the hyperparameter if it is one of its names or a pair of numbers low < high."""
    if isinstance(input_ramp, str) and input_ramp in ("auto", "fixed", "learnable"):
        return input_ramp
    message = (
        "input_ramp must be None, 'auto', 'fixed', 'learnable' or a pair (low, high) with low < "
        f"high, got {input_ramp!r}."
    )
    try:
        low, high = (np.asarray(end, dtype=float) for end in input_ramp)
    except (TypeError, ValueError):
        raise ValueError(message) from None
    for end, name in ((low, "low"), (high, "high")):
        if not np.isfinite(end).all():
            raise ValueError(f"{name} of input_ramp must be finite, got {end}.")
    if low.shape != high.shape or not np.all(low < high):
        raise ValueError(message)
    return low, high
