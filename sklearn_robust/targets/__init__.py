"""A fitted classifier as its adversary meets it: one object that answers every question.

One family of classifiers a file; `make_target` finds the one that knows most, and `register_target`
adds to them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sklearn_robust.targets._methods import (
    RobustClassifierMixin,
    input_gradients,
    perturb,
    robust_score,
)

if TYPE_CHECKING:  # what type checkers and editors see
    from sklearn_robust.targets._differentiable import DifferentiableTarget as DifferentiableTarget
    from sklearn_robust.targets._linear import LinearTarget as LinearTarget
    from sklearn_robust.targets._network import NetworkTarget as NetworkTarget
    from sklearn_robust.targets._registry import (
        make_target as make_target,
        register_target as register_target,
    )
    from sklearn_robust.targets._subject import Subject as Subject
    from sklearn_robust.targets._target import (
        Attacked as Attacked,
        BlackBoxWarning as BlackBoxWarning,
        Target as Target,
    )

# Loaded on first use: who imports a linear model has no need of attacks yet.
_LAZY = {
    "Attacked": "_target",
    "BlackBoxWarning": "_target",
    "DifferentiableTarget": "_differentiable",
    "LinearTarget": "_linear",
    "NetworkTarget": "_network",
    "Subject": "_subject",
    "Target": "_target",
    "make_target": "_registry",
    "register_target": "_registry",
}

__all__ = [
    "RobustClassifierMixin",
    "input_gradients",
    "perturb",
    "robust_score",
    *sorted(_LAZY),
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            module = importlib.import_module(f"sklearn_robust.targets.{_LAZY[name]}")
            return getattr(module, name)
        raise AttributeError(f"module 'sklearn_robust.targets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
