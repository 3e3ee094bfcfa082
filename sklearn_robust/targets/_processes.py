"""Gaussian processes: their kernels as sums of products, and how they tell classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process import GaussianProcessClassifier, kernels

from sklearn_robust.bounds import (
    Kernel,
    KernelScores,
    KernelSum,
    KernelVotes,
    MaternKernel,
    PolynomialKernel,
    Process,
    ProcessShares,
    RationalQuadraticKernel,
    RBFKernel,
    Term,
)
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

# Products into which a kernel is taken apart, at the most.
_MOST_TERMS = 16
# A factor and the kernels that it multiplies.
_Product = tuple[float, list[Kernel]]


class _Scores(KernelScores):
    """Sums of kernels of a process, which computes them in the precision that it is given."""

    double = double_inside = False


class _Votes(KernelVotes):
    """Votes between pairs of classes; where there are ties, probabilities decide."""

    double = double_inside = decides = False


@register_target(GaussianProcessClassifier)
def process_target(subject: Subject) -> Target | None:
    """Return the target of a Gaussian process, None if its kernel is not known.

    Two classes are told apart by the sign of a sum of kernels, more by votes or by shares.
    """
    classifier = subject.classifier
    two = len(classifier.classes_) == 2
    members = [classifier.base_estimator_] if two else classifier.base_estimator_.estimators_
    found = [_kernel_sum(member.kernel_) for member in members]
    sums = [kernel for kernel in found if kernel is not None]
    if len(sums) < len(members):
        return None
    if two:
        return bounded_target(subject, _of_two(members[0], sums[0]))
    if classifier.multi_class == "one_vs_one":
        return bounded_target(subject, _pairs(members, sums, len(classifier.classes_)))
    return bounded_target(subject, _one_vs_rest(members, sums))


def _of_two(member: Any, kernel: KernelSum) -> KernelScores:
    weights = np.vstack([np.zeros(len(member.y_train_)), member.y_train_ - member.pi_])
    return _Scores(kernel, _rows(member), weights, np.zeros(2))


def _one_vs_rest(members: list[Any], sums: list[KernelSum]) -> ProcessShares:
    processes = []
    for member, kernel in zip(members, sums, strict=True):
        own = member.kernel_.diag(member.X_train_[:1])[0]
        noise = float(own - kernel.own(_rows(member)[:1])[0][0, 0])
        weights = member.y_train_ - member.pi_
        processes.append(Process(kernel, noise, weights, member.W_sr_, member.L_))
    return ProcessShares(_rows(members[0]), processes)


def _pairs(members: list[Any], sums: list[KernelSum], n_classes: int) -> KernelVotes:
    """Return the votes of processes that have seen the rows of two classes each."""
    every, which = np.unique(np.vstack([_rows(m) for m in members]), axis=0, return_inverse=True)
    weights = np.zeros((len(members), len(members), len(every)))
    ends = np.cumsum([len(member.y_train_) for member in members])[:-1]
    for k, (member, own) in enumerate(zip(members, np.split(which.ravel(), ends), strict=True)):
        np.add.at(weights[k, k], own, member.pi_ - member.y_train_)  # 1 is the second of the pair
    flat = weights.reshape(len(members), -1)
    return _Votes(KernelSum.joined(sums), every, flat, np.zeros(len(members)), n_classes, False)


def _rows(member: Any) -> np.ndarray:
    return np.asarray(member.X_train_, dtype=np.float64)


def _kernel_sum(kernel: Any) -> KernelSum | None:
    """Return a kernel between different points as a sum of products, None if it is not known."""
    products = _products(kernel)
    if products is None or _multiplies_noise(kernel) or len(products) > _MOST_TERMS:
        return None
    leaves: list[Kernel] = []
    terms = []
    for factor, own in products:
        own = _merged(own)
        terms.append(Term(factor, tuple(range(len(leaves), len(leaves) + len(own)))))
        leaves += own
    return KernelSum(leaves, terms)


def _products(kernel: Any) -> list[_Product] | None:
    """Return a kernel, multiplied out; a class of its own may mean another function."""
    cls = type(kernel)
    if cls is kernels.WhiteKernel:  # 0 between different points
        return []
    if cls is kernels.ConstantKernel:
        return [(float(kernel.constant_value), [])]
    if cls in (kernels.Sum, kernels.Product):
        first, second = _products(kernel.k1), _products(kernel.k2)
        if first is None or second is None or len(first) * len(second) > _MOST_TERMS**2:
            return None
        return first + second if cls is kernels.Sum else _multiplied(first, second)
    if cls is kernels.Exponentiation:
        return _power(kernel)
    leaf = _leaf(kernel)
    return None if leaf is None else [(1.0, [leaf])]


def _multiplies_noise(kernel: Any, inside: bool = False) -> bool:
    """Whether noise is multiplied by what changes with a point, so that it is no constant."""
    cls = type(kernel)
    if cls is kernels.WhiteKernel:
        return inside
    if cls is kernels.Exponentiation:
        return _multiplies_noise(kernel.kernel, inside or not kernel.is_stationary())
    if cls is kernels.Product:
        inside = inside or not kernel.is_stationary()
    own = (kernel.k1, kernel.k2) if cls in (kernels.Sum, kernels.Product) else ()
    return any(_multiplies_noise(k, inside) for k in own)


def _multiplied(first: list[_Product], second: list[_Product]) -> list[_Product]:
    return [(a * b, [*f, *g]) for a, f in first for b, g in second]


def _power(kernel: Any) -> list[_Product] | None:
    products, exponent = _products(kernel.kernel), kernel.exponent
    if products is None or exponent != int(exponent) or exponent < 1:
        return None
    if len(products) ** int(exponent) > _MOST_TERMS:
        return None
    out = products
    for _ in range(int(exponent) - 1):
        out = _multiplied(out, products)
    return out


def _leaf(kernel: Any) -> Kernel | None:
    cls = type(kernel)
    if cls is kernels.DotProduct:
        return PolynomialKernel(1.0, float(kernel.sigma_0) ** 2, 1)
    if cls is kernels.RationalQuadratic:
        return RationalQuadraticKernel(float(kernel.alpha), float(kernel.length_scale))
    if cls is kernels.RBF or (cls is kernels.Matern and kernel.nu == np.inf):
        gammas = 0.5 / np.square(np.ravel(kernel.length_scale).astype(np.float64))
        if (gammas == gammas[0]).all():
            return RBFKernel(float(gammas[0]))
        return RBFKernel(1.0, gammas)
    if cls is kernels.Matern and kernel.nu in (0.5, 1.5, 2.5):
        # One length for all features is a weight for each: the matrix of distances is scaled.
        return MaternKernel(kernel.nu, np.ravel(kernel.length_scale).astype(np.float64) ** -2.0)
    return None


def _merged(leaves: list[Kernel]) -> list[Kernel]:
    """Return the factors of a product, those that multiply to one kernel as one."""
    out: list[Kernel] = []
    for leaf in leaves:
        for k, other in enumerate(out):
            both = _one(leaf, other)
            if both is not None:
                out[k] = both
                break
        else:
            out.append(leaf)
    return out


def _one(a: Kernel, b: Kernel) -> Kernel | None:
    if isinstance(a, RBFKernel) and isinstance(b, RBFKernel):
        if a.metric is None and b.metric is None:
            return RBFKernel(a.gamma + b.gamma)
        parts = [leaf.gamma * (1.0 if leaf.metric is None else leaf.metric) for leaf in (a, b)]
        return RBFKernel(1.0, np.asarray(parts[0] + parts[1]))
    if isinstance(a, PolynomialKernel) and isinstance(b, PolynomialKernel) and a.coef0 == b.coef0:
        return PolynomialKernel(1.0, a.coef0, a.degree + b.degree)
    return None
