r"""What the strongest adversary does to a linear classifier: exact for every norm and box.

With scores f_k(x) = w_k . x + b_k, the label y against a rival j has over the threat set A(x) the
margin

.. math:: \min_{x' \in A(x)} f_y(x') - f_j(x')
          = f_y(x) - f_j(x) - \max_{x' \in A(x)} (w_j - w_y) \cdot (x' - x),

a linear function over ball and box, whose maximiser is known in closed form. Without a box the
second term is the dual norm ``||epsilon * (w_j - w_y)||`` and does not depend on x.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._arrays import as_floats
from sklearn_robust._linear_scores import class_scores, two_rows
from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel

# Arrays in the size of the samples that are made of them, for pieces to count.
_COPIES = 5


def worst_case_margins(
    coef: np.ndarray, intercept: np.ndarray, X: Any, y: np.ndarray, threat: ThreatModel
) -> np.ndarray:
    """Return min over rivals j != y_i and over A(x_i) of ``f_y - f_j``.

    Arrays are taken as they are: `threat.check_data(X)` is for the caller to do.

    Parameters
    ----------
    coef : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        A single row belongs to class 1 and the score of class 0 is 0, as in scikit-learn.
    intercept : ndarray of shape (n_classes,), (1,) or scalar
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        A sparse X stays sparse unless it is clipped.
    y : ndarray of int, shape (n_samples,)
        Index of the label of each sample.
    threat : ThreatModel

    Returns
    -------
    margins : ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import worst_case_margins
    >>> coef, X = np.array([[1., -2.]]), np.array([[1., 0.], [0., 1.]])
    >>> worst_case_margins(coef, 0.0, X, np.array([1, 0]), ThreatModel(0.2)).round(3)
    array([0.4, 1.4])
    """
    margins = np.full(len(y), np.inf)
    for mine, _, margin in _margins_by_rival(coef, intercept, X, y, threat):
        margins[mine] = np.minimum(margins[mine], margin)
    return margins


def worst_case_correct(
    coef: np.ndarray, intercept: np.ndarray, X: Any, y: np.ndarray, threat: ThreatModel
) -> np.ndarray:
    """Return for each sample whether every point of A(x_i) is predicted as y_i.

    Equal scores go to the class with the lower index, as in scikit-learn's ``predict``, so that
    with epsilon 0 this is ``predict(X) == y`` to the bit.

    Parameters
    ----------
    coef, intercept, X, y, threat
        As in `worst_case_margins`.

    Returns
    -------
    correct : bool ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import worst_case_correct
    >>> coef, X = np.array([[1., -2.]]), np.array([[1., 0.], [0., 1.]])
    >>> worst_case_correct(coef, 0.0, X, np.array([1, 0]), ThreatModel(0.4))
    array([False,  True])
    """
    correct = np.ones(len(y), dtype=bool)
    for mine, rival, margin in _margins_by_rival(coef, intercept, X, y, threat):
        wins_ties = y[mine] < rival
        correct[mine] &= np.where(wins_ties, margin >= 0, margin > 0)
    return correct


def worst_case_points(
    coef: np.ndarray, intercept: np.ndarray, X: Any, y: np.ndarray, threat: ThreatModel
) -> np.ndarray:
    """Return a point of A(x_i) at which the margin is as small as `worst_case_margins` says.

    For two classes it maximises every decreasing loss; for more, it is the point closest to (or
    furthest beyond) a decision boundary.

    Parameters
    ----------
    coef, intercept, X, y, threat
        As in `worst_case_margins`.

    Returns
    -------
    X_adv : ndarray of shape (n_samples, n_features)
        Dense, as a perturbation touches every feature.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import worst_case_points
    >>> coef, X = np.array([[1., -2.]]), np.array([[1., 0.], [0., 1.]])
    >>> worst_case_points(coef, 0.0, X, np.array([1, 0]), ThreatModel(0.2))
    array([[0.8, 0.2],
           [0.2, 0.8]])
    """
    best = np.full(len(y), np.inf)
    chosen = np.zeros(len(y), dtype=np.intp)
    for mine, rival, margin in _margins_by_rival(coef, intercept, X, y, threat):
        better = margin < best[mine]
        rows = np.flatnonzero(mine)[better]
        best[rows], chosen[rows] = margin[better], rival
    weights = two_rows(coef)[0]
    X = as_floats(X)
    out = np.empty(X.shape, dtype=X.dtype)
    for part in _dense_pieces(X):
        pull = weights[chosen[part]] - weights[y[part]]
        out[part] = threat.around(_dense(X[part])).furthest(pull)
    return out


def linear_distances(
    coef: np.ndarray, intercept: np.ndarray, X: Any, y: np.ndarray, unit: ThreatModel
) -> np.ndarray:
    r"""Return the distance of each sample to the nearest point where a rival's score ties.

    .. math:: \min_{j \ne y} \min \{ \|u\| : (f_y - f_j)(x + \epsilon \circ u) \le 0 \}

    Parameters
    ----------
    coef, intercept, X, y
        As in `worst_case_margins`; X dense if it is clipped.
    unit : ThreatModel
        The norm, the valid range, and in `epsilon` the unit of distance: 1.0 for the units of X.

    Returns
    -------
    distance : ndarray of shape (n_samples,)
        0 where the sample is misclassified, inf where the valid range holds no mistake.
    """
    weights = two_rows(coef)[0]
    distance = np.full(len(y), np.inf)
    for mine, rival, gap in _margins_by_rival(coef, intercept, X, y, unit.scaled(0)):
        pull = weights[rival] - weights[y[mine]]
        found = np.empty(len(gap))
        if unit.is_everywhere_alike:
            found[:] = unit.geometry.shortest(pull * np.ravel(unit.epsilon), gap)
        else:
            samples = X[mine]
            for part in _dense_pieces(samples):
                around = unit.around(_dense(samples[part]))
                found[part] = around.distance(pull[part], gap[part])
        # A tie goes to the class with the lower index, and is a mistake only where that is not y.
        found[(gap < 0) | ((gap == 0) & (y[mine] > rival))] = 0
        distance[mine] = np.minimum(distance[mine], found)
    return distance


def _margins_by_rival(
    coef: np.ndarray, intercept: np.ndarray, X: Any, y: np.ndarray, threat: ThreatModel
) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Yield, for each class as rival, (samples of other classes, the class, their margins)."""
    _check_indices(y, 2 if len(coef) == 1 else len(coef), X.shape[0])
    # Scores as a whole and by the expression of scikit-learn's decision_function: computed in
    # pieces they could differ in the last bit, and with them a tie.
    scores = class_scores(coef, intercept, X)
    weights = two_rows(coef)[0]
    own = scores[np.arange(len(y)), y]
    for rival in range(len(weights)):
        mine = y != rival
        clean = own[mine] - scores[mine, rival]
        yield mine, rival, clean - worst_case_drops(weights, rival, X, y, threat)[mine]


def worst_case_drops(
    weights: np.ndarray, rival: int, X: Any, y: np.ndarray, threat: ThreatModel
) -> np.ndarray:
    """Return how much the adversary takes off ``f_y - f_rival`` at each sample, >= 0."""
    pulls = weights[rival] - weights
    if threat.is_everywhere_alike:
        return threat.geometry.dual_length(pulls * np.ravel(threat.epsilon))[y]
    drops = np.empty(len(y))
    for part in _dense_pieces(X):
        x, pull = _dense(X[part]), pulls[y[part]]
        moved = threat.around(x).furthest(pull) - x
        drops[part] = (moved * pull).sum(axis=1)
    return drops.clip(0, None)  # rounding only


def _check_indices(y: np.ndarray, n_classes: int, n_samples: int) -> None:
    y = np.asarray(y)
    whole = y.shape == (n_samples,) and y.dtype.kind in "iub"
    if not whole or (len(y) and not 0 <= y.min() <= y.max() < n_classes):
        raise ValueError(
            f"y must hold the index of each sample's class, {n_samples} integers from 0 to "
            f"{n_classes - 1}, got {y!r}."
        )


def _dense_pieces(X: Any) -> Iterator[slice]:
    return pieces(X.shape[0], 8 * _COPIES * X.shape[1])


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X
