"""Data to study robustness with."""

from sklearn_robust.datasets._mnist import load_mnist

__all__ = ["load_mnist"]
