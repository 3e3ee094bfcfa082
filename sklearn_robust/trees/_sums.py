"""How far sums of floats may be off, and where runs of equal numbers begin."""

from __future__ import annotations

import numpy as np


def summing_error(n_terms: int, magnitude: float) -> float:
    r"""Return a bound of the error of a sum of floats, added up in any order.

    .. math:: |fl(\sum t_i) - \sum t_i| \le \frac{n u}{1 - n u} \sum |t_i|, \quad u = 2^{-53}

    (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 4.2). Twice u, and ten
    terms more, pay for the denominator, for the rounding of `magnitude` itself, and for terms that
    are differences or products of two floats.
    """
    return (n_terms + 10) * 2.0**-52 * float(magnitude)


def starts(sorted_values: np.ndarray) -> np.ndarray:
    """Return where each run of equal values begins.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.trees._sums import starts
    >>> starts(np.array([3, 3, 5, 8, 8]))
    array([0, 2, 3])
    """
    differs = np.ones(len(sorted_values), dtype=bool)
    differs[1:] = sorted_values[1:] != sorted_values[:-1]
    return np.flatnonzero(differs)
