"""A fitted classifier as its adversary meets it: one object that answers every question.

One family of classifiers a file; `make_target` finds the one that knows most, and `register_target`
adds to them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sklearn_robust.targets._methods import (
    RobustClassifierMixin,
    input_gradients as input_gradients,
    perturb as perturb,
    robust_score as robust_score,
)

if TYPE_CHECKING:  # what type checkers and editors see
    from sklearn_robust.targets._aimed import AimedTarget as AimedTarget
    from sklearn_robust.targets._bounded import (
        BoundedTarget as BoundedTarget,
        bounded_target as bounded_target,
    )
    from sklearn_robust.targets._differentiable import (
        DifferentiableTarget as DifferentiableTarget,
        differentiable_target as differentiable_target,
    )
    from sklearn_robust.targets._endings import as_logits as as_logits
    from sklearn_robust.targets._layers import AffineLayer as AffineLayer, as_layers as as_layers
    from sklearn_robust.targets._linear import (
        LinearTarget as LinearTarget,
        linear_target as linear_target,
    )
    from sklearn_robust.targets._lots import (
        TargetInLots as TargetInLots,
        make_target_in_lots as make_target_in_lots,
    )
    from sklearn_robust.targets._make import make_target as make_target
    from sklearn_robust.targets._network import (
        NetworkTarget as NetworkTarget,
        network_target as network_target,
    )
    from sklearn_robust.targets._registry import register_target as register_target
    from sklearn_robust.targets._subject import Subject as Subject
    from sklearn_robust.targets._target import (
        Attacked as Attacked,
        BlackBoxWarning as BlackBoxWarning,
        Target as Target,
        dense_rows as dense_rows,
    )

# Loaded on first use: who imports a linear model has no need of attacks yet.
_LAZY = {
    "AffineLayer": "_layers",
    "AimedTarget": "_aimed",
    "TargetInLots": "_lots",
    "make_target_in_lots": "_lots",
    "Attacked": "_target",
    "BlackBoxWarning": "_target",
    "BoundedTarget": "_bounded",
    "DifferentiableTarget": "_differentiable",
    "LinearTarget": "_linear",
    "NetworkTarget": "_network",
    "Subject": "_subject",
    "Target": "_target",
    "as_layers": "_layers",
    "as_logits": "_endings",
    "bounded_target": "_bounded",
    "dense_rows": "_target",
    "differentiable_target": "_differentiable",
    "linear_target": "_linear",
    "make_target": "_make",
    "network_target": "_network",
    "register_target": "_registry",
}

# These serve the packages above, and are not public here, as what is public in metrics is not.
_OURS = (
    "AffineLayer", "AimedTarget", "BlackBoxWarning", "TargetInLots", "as_layers", "as_logits",
    "dense_rows", "make_target_in_lots",
)  # fmt: skip

__all__ = [
    "RobustClassifierMixin",
    *(name for name in sorted(_LAZY) if name not in _OURS),
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            module = importlib.import_module(f"sklearn_robust.targets.{_LAZY[name]}")
            return getattr(module, name)
        raise AttributeError(f"module 'sklearn_robust.targets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
