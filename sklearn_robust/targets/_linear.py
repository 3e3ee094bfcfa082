"""Classifiers whose scores are linear in the raw samples: everything is known exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_array

from sklearn_robust._linear_scores import class_scores, two_rows
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import LinearModel
from sklearn_robust.bounds import (
    BoundedLinearModel,
    linear_distances,
    worst_case_correct,
    worst_case_margins,
    worst_case_points,
)
from sklearn_robust.preprocessing import Affine, CannotFollowError, Samples, Sizes
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._differentiable import DifferentiableTarget, differentiable_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Attacked, Target, dense_rows, leaves_choice

# A piece of the samples, its worst points, and what they are computed from.
_COPIES = 8
# Roundings of a point of the set, and of what it is compared with, beside those of the scores.
_ROUNDINGS = 16


class LinearTarget(DifferentiableTarget):
    """A classifier with scores ``rows @ coef.T + intercept``, the largest of which is predicted.

    What is certified has a margin above all that rounding may do to the scores, so that
    ``predict`` is right at every number of the set that the machine knows. A sample that ties
    within that stays right under attack, and is not certified.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    rule : Affine
        From the rows to a score for each class, or for two classes to that of the second one
        alone, that of the first being 0.
    resolution : float, optional
        The spacing at 1 of the numbers in which the scores are computed, by default that of the
        samples.

    Attributes
    ----------
    coef : ndarray of shape (n_classes, n_values), or (1, n_values)
    intercept : ndarray of shape (n_classes,) or (1,)

    Examples
    --------
    A rule that is linear without saying so: the nearest of two means.

    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.neighbors import NearestCentroid
    >>> from sklearn_robust import robust_score
    >>> from sklearn_robust.metrics import certified_score
    >>> from sklearn_robust.targets import linear_target, register_target
    >>> class NearestMean(NearestCentroid):
    ...     pass
    >>> @register_target(NearestMean)
    ... def _(subject):
    ...     means = subject.classifier.centroids_
    ...     size, squares = abs(means).max(axis=0), np.ones(means.shape[1])  # rounded on the way
    ...     coef, intercept = 2 * means, -(means**2).sum(axis=1)
    ...     return linear_target(subject, coef, intercept, size=size, squares=squares)
    >>> X, y = load_wine(return_X_y=True)
    >>> X = X[:, :2]
    >>> clf = NearestMean().fit(X, y)
    >>> robust_score(clf, X, y, epsilon=0.1) == certified_score(clf, X, y, epsilon=0.1)
    True
    """

    kind = "exact"
    # Makes the same on the classifier's own input, and the sizes of what leads there.
    on_input: Callable[[], BoundedLinearModel] | None = None
    front_sizes: Sizes | None = None

    def __init__(
        self, subject: Subject, samples: Samples, rule: Affine, resolution: float | None = None
    ) -> None:
        self.rule, self.resolution = rule, resolution or subject.table.resolution
        self.coef, self.intercept = np.asarray(rule.matrix.T), rule.offset
        super().__init__(subject, samples, LinearModel(*two_rows(self.coef, self.intercept)))

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples are robust: exactly, if the choice of the attack is left open."""
        if not leaves_choice(attack):
            return super().attacked(threat, attack, among=among, **run)
        open_ = self._open(among)
        robust = np.zeros(len(self.clean), dtype=bool)
        for pick in self._pieces(open_):
            robust[pick] = self._worst_case(pick, threat)[1]
        return Attacked(robust, {"exact": len(open_) - int(robust.sum())}, "exact")

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        if not leaves_choice(attack):
            return super().perturbed(threat, attack, **run)
        rows = dense_rows(self.rows).copy()
        for pick in self._pieces(self._open(None)):
            rows[pick] = self._worst_case(pick, threat)[0]
        return self.samples.restore(rows, all_rows=True)

    def _pieces(self, index: np.ndarray) -> list[np.ndarray]:
        size = _COPIES * row_bytes(self.rows)
        return [index[piece] for piece in pieces(len(index), size)] if len(index) else []

    def _worst_case(self, pick: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
        """Return the worst points of some samples that are right, and which stay so there."""
        assert self.labels is not None
        known = self.coef, self.intercept, self.rows[pick], self.labels[pick], threat
        if threat.is_null:
            return dense_rows(self.rows[pick]), np.ones(len(pick), dtype=bool)
        worst = worst_case_points(*known)
        # The prediction decides where rounding leaves it open whether a margin is 0.
        return worst, worst_case_correct(*known) & (self.predict(worst) == self.labels[pick])

    @property
    def certificate_obstacle(self) -> str | None:
        return None

    def certificate(self, method: str) -> str:
        return "exact"

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are right by a margin that no rounding can turn."""
        assert self.labels is not None
        proven = np.zeros(len(self.clean), dtype=bool)
        for pick in self._pieces(self._open(among)):
            rows, labels = self.rows[pick], self.labels[pick]
            if threat.is_null:
                proven[pick] = True
                continue
            margins = worst_case_margins(self.coef, self.intercept, rows, labels, threat)
            proven[pick] = margins > self.rounding(rows, threat)
        return proven

    def rounding(self, rows: Any, threat: ThreatModel) -> np.ndarray:
        """Return by how much a difference of two scores may be off at points of the sets."""
        sizes = self.rule.sizes
        terms = abs(rows) @ sizes.matrix + (_reach(rows, threat) @ sizes.matrix + sizes.offset)
        # Each of two scores by as many halves of the spacing.
        off = (sizes.n_roundings + _ROUNDINGS) * self.resolution * terms.max(axis=1)
        return off + self._rounding_on_input(rows, threat)

    def _rounding_on_input(self, rows: Any, threat: ThreatModel) -> np.ndarray | float:
        """Return by how much squares are off that the classifier adds up of its own input."""
        if self.on_input is None or self.front_sizes is None:
            return 0.0
        model, sizes = self.on_input(), self.front_sizes
        if not np.any(model.squares):
            return 0.0
        reach = _reach(rows, threat) @ sizes.matrix
        terms = (abs(rows) @ sizes.matrix + (reach + sizes.offset + model.size)) ** 2
        n_roundings = 2 * (sizes.n_roundings + terms.shape[1] + _ROUNDINGS)
        return n_roundings * self.resolution * (terms * model.squares).sum(axis=1)

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        """Return the exact distance to the boundary; inf where the box holds no mistake."""
        assert self.labels is not None
        distance, right = np.zeros(len(self.clean)), np.flatnonzero(self.clean)
        distance[right] = linear_distances(
            self.coef, self.intercept, self.rows[right], self.labels[right], unit
        )
        return distance

    def distance_bounds(
        self, unit: ThreatModel, attack: Any = None, **run: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        distance = self.distances(unit, attack, **run)
        return distance, distance


def _reach(rows: Any, threat: ThreatModel) -> np.ndarray:
    """Return how far each feature may move, of all samples or of each of them."""
    if threat.moves is None:
        return np.broadcast_to(np.ravel(threat.epsilon), rows.shape[1:])
    return threat.radii(np.asarray(dense_rows(rows), dtype=np.float64))


def linear_target(
    subject: Subject,
    coef: np.ndarray,
    intercept: Any,
    *,
    resolution: float | None = None,
    size: Any = 0.0,
    squares: Any = 0.0,
) -> DifferentiableTarget:
    """Return the target of a classifier with scores ``Z @ coef.T + intercept`` on its own input Z.

    Behind affine transformers it is linear in the raw samples too, otherwise differentiable, and
    bounded where the transformers have bounds.

    Parameters
    ----------
    subject : Subject
    coef : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
    intercept : float or ndarray of shape (n_classes,) or (1,)
    resolution : float, optional
        The spacing at 1 of the numbers in which the scores are computed, by default that of the
        samples.
    size, squares
        Of what else is rounded on the way to the scores, see `bounds.BoundedLinearModel`.

    Raises
    ------
    CannotFollowError
        If what stands in front of the classifier cannot be followed.

    Examples
    --------
    See `LinearTarget`.
    """
    front, intercept = subject.front, np.broadcast_to(np.ravel(intercept), len(coef))
    bounded = partial(BoundedLinearModel, *two_rows(coef, intercept), size, squares)
    if not isinstance(front.block, Affine):
        return _behind_curves(subject, bounded)
    on_rows = front.block.then(Affine(coef.T, intercept))
    target = LinearTarget(subject, front.samples, on_rows, resolution)
    target.on_input, target.front_sizes = bounded, front.block.sizes
    return target


def _behind_curves(
    subject: Subject, bounded: Callable[[], BoundedLinearModel]
) -> DifferentiableTarget:
    """Return the target of a linear classifier behind a logarithm, or what else is not affine."""
    model = bounded()
    try:
        target = bounded_target(subject, model)
    except CannotFollowError:  # there are no bounds of what a transformer makes of a range
        return differentiable_target(subject, LinearModel(model.coef, model.intercept))
    assert isinstance(target, DifferentiableTarget)
    return target


def recognised_target(subject: Subject) -> Target | None:
    """Return the target of a classifier that turns out to be linear, None if it does not.

    Having ``coef_`` is not enough: the scores that it gives must be those of its
    ``decision_function``, and the highest one that of the predicted class. One-against-one SVMs
    have scores of pairs of classes, which for three classes are as many.
    """
    classifier = subject.classifier
    found = _coefficients(classifier)
    if found is None or subject.front.output.ndim != 2:
        return None
    resolution = _resolution(classifier, subject.front.output_for(classifier), *found)
    if resolution is None:
        return None
    return linear_target(subject, *found, resolution=max(resolution, subject.table.resolution))


def _coefficients(classifier: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what might be weights and intercepts, a row for each class, or one for two."""
    needed = ("coef_", "intercept_", "classes_", "decision_function")
    if not all(hasattr(classifier, name) for name in needed):
        return None
    coef = classifier.coef_
    coef = np.atleast_2d(coef.toarray() if sparse.issparse(coef) else np.asarray(coef, float))
    n_classes = len(classifier.classes_)
    if len(coef) != (1 if n_classes == 2 else n_classes):
        return None
    if n_classes > 2 and getattr(classifier, "decision_function_shape", None) == "ovo":
        return None
    return coef, np.broadcast_to(np.ravel(classifier.intercept_).astype(float), (len(coef),))


def _resolution(classifier: Any, Z: Any, coef: np.ndarray, intercept: np.ndarray) -> float | None:
    """Return the spacing of numbers by which the classifier's scores for `Z` are those of a rule.

    None: they are not, in single precision either, or others are predicted than they favour.
    """
    scores, predicted = classifier.decision_function(Z), classifier.predict(Z)
    if not np.isfinite(scores).all():
        return None
    Z = check_array(Z, accept_sparse="csr", dtype=[np.float64, np.float32])
    each, sizes = class_scores(coef, intercept, Z), Affine(coef.T, intercept).sizes
    ours = each[:, -len(coef) :]
    chosen = np.searchsorted(classifier.classes_, predicted)[:, None]
    behind = each.max(axis=1) - np.take_along_axis(each, chosen, axis=1)[:, 0]
    off = np.maximum(abs(ours - np.reshape(scores, ours.shape)).max(axis=1), behind / 2)
    terms = (abs(Z) @ sizes.matrix + sizes.offset).max(axis=1)
    fits = (
        float(np.finfo(dtype).eps)
        for dtype in (np.float64, np.float32)
        if (off <= sizes.n_roundings * np.finfo(dtype).eps * terms).all()
    )
    return next(fits, None)
