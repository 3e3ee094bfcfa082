"""Data to study robustness with."""

from sklearn_robust.datasets._bernoulli import BernoulliGenerator, make_modified_bernoulli
from sklearn_robust.datasets._mnist import load_mnist

__all__ = ["BernoulliGenerator", "load_mnist", "make_modified_bernoulli"]
