r"""Sums of products of kernels, one or several of them over the same centres.

.. math:: K_o(x, s) = \sum_t c_t \prod_{i \in t} f_i(q_{i,s}(x))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from sklearn_robust.bounds._kernels import Kernel


@dataclass(frozen=True)
class Term:
    """A factor times a product of kernels.

    Attributes
    ----------
    factor : float
    leaves : tuple of int
        Which kernels, of those of the sum; none: a constant.
    output : int
        Of which sum it is a part.
    """

    factor: float
    leaves: tuple[int, ...]
    output: int = 0


class KernelSum:
    """Sums of products of kernels.

    Parameters
    ----------
    leaves : sequence of Kernel
    terms : sequence of Term
    n_outputs : int
        How many sums there are. Their values for n_centres centres stand one after another.

    Examples
    --------
    A kernel that an inner product is added to:

    >>> import numpy as np
    >>> from sklearn_robust.bounds import KernelSum, PolynomialKernel, RBFKernel, Term
    >>> leaves = [RBFKernel(1.0), PolynomialKernel(1.0, 0.0, 1)]
    >>> kernel = KernelSum(leaves, [Term(1.0, (0,)), Term(0.5, (1,))])
    >>> kernel(np.array([[1.0]]), np.array([[1.0], [2.0]])).round(3)
    array([[1.5  , 1.368]])
    """

    def __init__(self, leaves: Sequence[Kernel], terms: Sequence[Term], n_outputs: int = 1) -> None:
        self.leaves, self.terms, self.n_outputs = list(leaves), list(terms), n_outputs

    @classmethod
    def of(cls, kernel: Kernel | KernelSum) -> KernelSum:
        """Return a kernel as a sum, as it is if it is one."""
        return kernel if isinstance(kernel, KernelSum) else cls([kernel], [Term(1.0, (0,))])

    @classmethod
    def joined(cls, kernels: Sequence[KernelSum]) -> KernelSum:
        """Return several sums as the outputs of one, in which equal kernels are one."""
        leaves: list[Kernel] = []
        terms = []
        for output, kernel in enumerate(kernels):
            at = []
            for leaf in kernel.leaves:
                known = (i for i, other in enumerate(leaves) if leaf.equals(other))
                at.append(next(known, len(leaves)))
                leaves += [leaf] * (at[-1] == len(leaves))
            terms += [Term(t.factor, tuple(at[i] for i in t.leaves), output) for t in kernel.terms]
        return cls(leaves, terms, len(kernels))

    def __call__(self, X: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the values, shape (n_samples, n_outputs * n_centres)."""
        found = [leaf(leaf.inner(X, centres)) for leaf in self.leaves]
        out = np.zeros((len(X), self.n_outputs, len(centres)))
        for term in self.terms:
            out[:, term.output] += term.factor * prod(found[i] for i in term.leaves)
        return out.reshape(len(X), self.n_outputs * len(centres))

    def pulled(self, X: np.ndarray, centres: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the gradients of ``sum weights_is K_s(x_i)``, in the shape of X."""
        inner = [leaf.inner(X, centres) for leaf in self.leaves]
        found = [leaf(q) for leaf, q in zip(self.leaves, inner, strict=True)]
        weights = weights.reshape(len(X), self.n_outputs, len(centres))
        each = [np.zeros(q.shape) for q in inner]
        for term in self.terms:
            for k, i in enumerate(term.leaves):
                others = (found[j] for n, j in enumerate(term.leaves) if n != k)
                each[i] += weights[:, term.output] * (term.factor * prod(others))
        gradient = np.zeros(X.shape)
        for leaf, q, w in zip(self.leaves, inner, each, strict=True):
            gradient += leaf.pulled(X, centres, w * leaf.slope(q))
        return gradient

    def own(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return K_o(x, x) for all samples, shape (n_samples, n_outputs), and its gradients."""
        squares = (X**2).sum(axis=1)
        at = [squares * (not leaf.of_distance) for leaf in self.leaves]
        found = [leaf(q) for leaf, q in zip(self.leaves, at, strict=True)]
        values, slopes = np.zeros((2, len(X), self.n_outputs))
        for term in self.terms:
            values[:, term.output] += term.factor * prod(found[i] for i in term.leaves)
            for k, i in enumerate(term.leaves):
                if not self.leaves[i].of_distance:
                    others = prod(found[j] for n, j in enumerate(term.leaves) if n != k)
                    slopes[:, term.output] += term.factor * others * self.leaves[i].slope(at[i])
        return values, 2 * slopes[:, :, None] * X[:, None]
