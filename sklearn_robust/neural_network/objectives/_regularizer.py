"""The regulariser that holds boxes tight and ReLU units balanced while epsilon rises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sklearn_robust.bounds._enclosure import Enclosure

_TOLERANCE = 0.5  # of both parts, as published


def box_regularizer(enclosure: Enclosure) -> Tensor:
    r"""Return the mean over the ReLU layers of (tightness + balance) / tau, with tau = 0.5 [1]_.

    .. math:: \max(0, \tau - \bar r_0 / \bar r_k) + \max(0, \tau - \min(a, 1/a))
              + \max(0, \tau - \min(b, 1/b))

    with r the half widths of the boxes at the input and before layer k, and a, b the ratios of
    active to inactive units in the sum of the centres and of their squared deviations.

    References
    ----------
    .. [1] Z. Shi et al., "Fast certified robust training with short warmup", NeurIPS 2021.
    """
    first = (enclosure.region.high - enclosure.region.low).mean()
    terms = []
    for low, high in enclosure.rectified():
        growth = first / (high - low).mean().clamp(min=1e-12)
        terms.append(functional.relu(_TOLERANCE - growth) + _imbalance(low, high))
    return torch.stack(terms).mean() / _TOLERANCE if terms else first.new_zeros(())


def _imbalance(low: Tensor, high: Tensor) -> Tensor:
    centre = (low + high) / 2
    active, inactive = (low > 0).to(centre), (high < 0).to(centre)
    spread = (centre - centre.mean()).square()
    total = centre.new_zeros(())
    for above, below in (
        ((centre * active).sum(), -(centre * inactive).sum()),
        ((spread * active).sum(), (spread * inactive).sum()),
    ):
        # A layer without active or without inactive units has no ratio; it counts nothing.
        known = (above > 0) & (below > 0)
        a, b = torch.where(known, above, 1.0), torch.where(known, below, 1.0)
        term = functional.relu(_TOLERANCE - torch.minimum(a / b, b / a))
        total = total + torch.where(known, term, 0.0)
    return total
