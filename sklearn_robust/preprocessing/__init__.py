"""Transformers as formulas: how a change of the raw input arrives behind them, and its gradient."""

from sklearn_robust.preprocessing._blocks import Affine, Block, Clip, Elementwise
from sklearn_robust.preprocessing._follow import CannotFollowError, follow
from sklearn_robust.preprocessing._front import Front, follow_front
from sklearn_robust.preprocessing._registry import declare_derivative, register_transformer

__all__ = [
    "Affine",
    "Block",
    "CannotFollowError",
    "Clip",
    "Elementwise",
    "Front",
    "declare_derivative",
    "follow",
    "follow_front",
    "register_transformer",
]
