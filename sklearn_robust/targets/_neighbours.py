"""Classifiers that ask the nearest training rows: a geometric attack, and proofs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from sklearn_robust.attacks import BatchedSearch
from sklearn_robust.bounds import Distance, NearestNeighbour, NeighbourVotes, RadiusVotes
from sklearn_robust.targets._bounded import BoundedDifferentiableTarget, bounded_target
from sklearn_robust.targets._registry import register_target
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

# The Minkowski distances under the names that scikit-learn and scipy have for them.
_POWERS = {
    "euclidean": 2.0,
    "l2": 2.0,
    "sqeuclidean": 2.0,
    "manhattan": 1.0,
    "cityblock": 1.0,
    "l1": 1.0,
    "chebyshev": np.inf,
    "infinity": np.inf,
}


class NeighbourTarget(BoundedDifferentiableTarget):
    """Votes of nearest rows: attacks follow distances, the votes themselves have no slope."""

    def gradients(self) -> np.ndarray:
        raise TypeError(
            f"input_gradients cannot differentiate {type(self.estimator).__name__}: the votes of "
            "neighbours are piecewise constant."
        )


class RadiusTarget(NeighbourTarget):
    """Votes within a radius: where there are none, the classifier has no class for a sample."""

    # An outlier may be of no class, to which no gradient of a vote leads.
    _finally = BatchedSearch

    def _judge(self, rows: Any) -> np.ndarray:
        """Return the predicted classes; -1 for outliers that belong to none, or are refused."""
        raw = self.samples.restore(rows)
        try:
            predicted = np.ravel(np.asarray(self.estimator.predict(raw)))
        except ValueError as error:
            if len(rows) == 1 and "No neighbors found" in str(error):
                return np.array([-1])
            if len(rows) == 1:
                raise
            half = len(rows) // 2
            return np.concatenate([self._judge(rows[:half]), self._judge(rows[half:])])
        index = np.searchsorted(self.classes_, predicted).clip(None, len(self.classes_) - 1)
        return np.where(self.classes_[index] == predicted, index, -1)


@register_target(RadiusNeighborsClassifier)
def radius_target(subject: Subject) -> Target | None:
    """Return the target of a `RadiusNeighborsClassifier` under a Minkowski distance."""
    classifier: RadiusNeighborsClassifier = subject.classifier
    known = _votes_of(classifier, RadiusNeighborsClassifier)
    if known is None:
        return None
    distance, rows, unit = known
    label = np.ravel(np.asarray(classifier.outlier_label_, dtype=object))[0]
    outlier = next((k for k, c in enumerate(classifier.classes_) if c == label), None)
    votes = RadiusVotes(
        rows, np.asarray(classifier._y), len(classifier.classes_), float(classifier.radius),
        distance, unanimous=classifier.weights == "distance", unit=unit, outlier=outlier,
    )  # fmt: skip
    return bounded_target(subject, votes, RadiusTarget)


@register_target(KNeighborsClassifier)
def neighbours_target(subject: Subject) -> Target | None:
    """Return the target of a `KNeighborsClassifier` under a Minkowski distance, None of others."""
    classifier: KNeighborsClassifier = subject.classifier
    known = _votes_of(classifier, KNeighborsClassifier)
    if known is None:
        return None
    k = classifier.n_neighbors
    unanimous = k > 1 and classifier.weights == "distance"
    return _nearest_target(subject, known, np.asarray(classifier._y), k, unanimous)


@register_target(LabelPropagation)
@register_target(LabelSpreading)
def propagated_target(subject: Subject) -> Target | None:
    """Return the target of label propagation among neighbours, where each has one label.

    So has every row that had a label in `fit`, unless labels are softened.
    """
    classifier = subject.classifier
    shares = np.asarray(classifier.label_distributions_)
    if classifier.kernel != "knn" or not np.isin(shares, (0, 1)).all():
        return None
    known = Distance(2.0), *_rows_of(classifier.X_)
    return _nearest_target(subject, known, shares.argmax(axis=1), classifier.n_neighbors)


Known = tuple[Distance, np.ndarray, float]


def _nearest_target(
    subject: Subject, known: Known, labels: np.ndarray, k: int, unanimous: bool = False
) -> Target:
    """Return the target of the votes of the k nearest rows with some labels."""
    (distance, rows, unit), n_classes = known, len(subject.classifier.classes_)
    if k == 1 and distance.p == 2:
        one = NearestNeighbour(rows, labels, n_classes, unit=unit)
        return bounded_target(subject, one, NeighbourTarget)
    votes = NeighbourVotes(rows, labels, n_classes, k, distance, unanimous=unanimous, unit=unit)
    return bounded_target(subject, votes, NeighbourTarget)


def _votes_of(classifier: Any, cls: type) -> Known | None:
    """Return distance, training rows and their spacing where votes are those of `cls` itself."""
    distance = _distance(classifier)
    own = type(classifier).predict is cls.predict  # type: ignore[attr-defined]
    if distance is None or not own or not _plain(classifier):
        return None
    return distance, *_rows_of(classifier._fit_X)


def _plain(classifier: Any) -> bool:
    """Whether votes are weighted in a way that is known, for a single output."""
    named = isinstance(classifier.weights, str) and classifier.weights in ("uniform", "distance")
    return named and not getattr(classifier, "outputs_2d_", True)


def _distance(classifier: Any) -> Distance | None:
    """Return the distance that a classifier of neighbours goes by, None if it has no name here."""
    name = getattr(classifier, "effective_metric_", classifier.metric)
    params = getattr(classifier, "effective_metric_params_", None) or {}
    if params.get("w") is not None or not isinstance(name, str):
        return None
    p = params.get("p", classifier.p) if name == "minkowski" else _POWERS.get(name)
    return None if p is None or p < 1 else Distance(float(p))


def _rows_of(rows: Any) -> tuple[np.ndarray, float]:
    """Return training rows as an array, and the spacing at 1 of the numbers that hold them."""
    rows = rows.toarray() if sparse.issparse(rows) else np.asarray(rows)
    unit = np.finfo(rows.dtype if rows.dtype.kind == "f" else np.float64).eps
    return rows.astype(np.float64), float(unit)
