"""Modules that return the mean of several networks' logits, taken apart into these networks.

The mean's least margin is at least the mean of the networks' least margins, each over the whole
threat set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sklearn_robust.bounds._translation import check_hooks

_NETWORKS: dict[type[nn.Module], Callable[[Any], Sequence[nn.Module]]] = {}


def register_average(
    module_type: type[nn.Module], networks: Callable[[Any], Sequence[nn.Module]]
) -> None:
    """Teach the bounds a module that returns the mean of the outputs of other modules.

    It may stand alone, or last in an ``nn.Sequential``.

    Parameters
    ----------
    module_type : type
        A subclass of ``torch.nn.Module``.
    networks : callable
        Maps a module of that type to the modules, each from a batch in the shape that the module
        takes to logits, whose mean it returns in eval mode. They may share parameters. A module
        that is no mean at the moment maps to itself alone. Nothing is checked before a module is
        bounded, and `certified_correct` raises RuntimeError where a bound contradicts what the
        module computes.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import margin_bounds, register_average
    >>> class Ensemble(torch.nn.Module):
    ...     def __init__(self, *networks):
    ...         super().__init__()
    ...         self.networks = torch.nn.ModuleList(networks)
    ...     def forward(self, X):
    ...         return torch.stack([network(X) for network in self.networks]).mean(0)
    >>> register_average(Ensemble, lambda ensemble: list(ensemble.networks))
    >>> networks = [torch.nn.Linear(3, 2) for _ in range(2)]
    >>> X, y, threat = torch.rand(4, 3), torch.tensor([0, 1, 0, 1]), ThreatModel(0.1)
    >>> margins = margin_bounds(Ensemble(*networks), X, y, threat)
    >>> each = [margin_bounds(network, X, y, threat) for network in networks]
    >>> torch.allclose(margins, (each[0] + each[1]) / 2, atol=1e-5)
    True
    """
    _NETWORKS[module_type] = networks


def networks_of(module: nn.Module) -> list[nn.Module]:
    """Return the networks whose mean `module` is in eval mode; itself if it is no mean."""
    known = next((cls for cls in type(module).__mro__ if cls in _NETWORKS), None)
    if known is not None and type(module).forward is known.forward:
        parts = _NETWORKS[known](module)
        if list(parts) == [module]:  # for the time being
            return [module]
        check_hooks(module, type(module).__name__)
        return [part for network in parts for part in networks_of(network)]
    if type(module) is nn.Sequential and len(module):
        *front, last = module
        parts = networks_of(last)
        if parts != [last]:
            check_hooks(module, type(module).__name__)
            return [nn.Sequential(*front, part) for part in parts]
    return [module]


class _Mean(nn.Module):
    """The mean of the outputs of several networks."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.networks
        total: Tensor = sum((network(x) for network in others), first(x))
        return total / len(self.networks)


def as_one(networks: Sequence[nn.Module]) -> nn.Module:
    """Return a module that is the mean of several networks, what they begin with only once.

    Its bounds know that all networks get the same input, and cost more.
    """
    if len(networks) == 1:
        return networks[0]
    tails = [list(part) if type(part) is nn.Sequential else [part] for part in networks]
    front = []
    while all(len(tail) > 1 and tail[0] is tails[0][0] for tail in tails):
        front.append(tails[0][0])
        tails = [tail[1:] for tail in tails]
    return nn.Sequential(*front, _Mean([nn.Sequential(*tail) for tail in tails]))


def mean_error(n: int, unit: float, size: Tensor) -> Tensor:
    """Return what rounding can do to a mean of n numbers no larger than `size`, ours and theirs."""
    return 4 * (n + 8) * unit * size
