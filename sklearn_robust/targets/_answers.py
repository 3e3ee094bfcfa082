"""What a member of a combination answers when it is asked, as a response with bounds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust._linear_scores import two_rows
from sklearn_robust.bounds import (
    BoundedLinearModel,
    Difference,
    Elementwise,
    Linear,
    Response,
    Rounded,
    Scores,
    Shares,
    Softmax,
    Votes,
)
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets._bounded import bounded_target
from sklearn_robust.targets._linear import LinearTarget
from sklearn_robust.targets._members import classifier_input, member_subject, member_target
from sklearn_robust.targets._registry import find_target
from sklearn_robust.targets._subject import Subject

_DIGITS = 1e-9  # to which an answer is what the formula says
_SPACINGS = 1000  # the same of an answer that was computed in fewer bits


def scores_of_member(subject: Subject, member: Any, columns: Any = None) -> Response:
    """Return the scores of a member, the highest of which is that of the class it predicts."""
    target = member_target(subject, member, columns)
    if not isinstance(target, LinearTarget):
        return Scores(target.member_model())
    if target.resolution > subject.table.resolution:
        raise CannotFollowError(f"{type(member).__name__} has scores of single precision.")
    if target.on_input is not None:
        inner = member_subject(subject, member, columns)
        return Scores(bounded_target(inner, target.on_input()).model)
    size = abs(np.asarray(target.rows)).max(axis=0, initial=0.0)
    whole = BoundedLinearModel(*two_rows(target.coef, target.intercept), size)
    whole.resolution = subject.table.resolution
    return Scores(whole)


def scores_on_input(subject: Subject) -> Any:
    """Return the model of a classifier that is given numbers, with bounds if there are any."""
    found = find_target(subject)
    if found is None:
        name = type(subject.classifier).__name__
        raise CannotFollowError(f"of {name} the scores alone are known.")
    if isinstance(found, LinearTarget):
        plain = partial(BoundedLinearModel, *two_rows(found.coef, found.intercept))
        return bounded_target(subject, (found.on_input or plain)()).model
    return found.member_model()


def votes(subject: Subject, member: Any, columns: Any = None) -> Response:
    """Return 1 for the class that a member predicts, and 0 for its others."""
    return Votes(scores_of_member(subject, member, columns))


def probabilities(subject: Subject, member: Any, columns: Any = None) -> Response:
    """Return the `predict_proba` of a member."""
    asked = _forest_of(member) if isinstance(member, DecisionTreeClassifier) else member
    scores = scores_of_member(subject, asked, columns)
    expected = _asked(member.predict_proba, subject, columns)
    n_classes = expected.shape[1]
    shares = Shares(sigmoids(scores, n_classes))
    spacing = _spacing(scores)
    for answer in (Softmax(scores), scores, shares):
        if _agrees(answer, subject, expected, spacing):
            return Rounded(answer, spacing) if spacing else answer
    raise CannotFollowError(
        f"the probabilities of {type(member).__name__} are no known function of its scores."
    )


def _forest_of(tree: DecisionTreeClassifier) -> RandomForestClassifier:
    """Return a forest of a tree, twice: read with its shares, where a tree alone has labels."""
    forest = RandomForestClassifier(n_estimators=2)
    forest.estimators_, forest.classes_ = [tree, tree], tree.classes_
    forest.n_classes_, forest.n_outputs_ = tree.n_classes_, tree.n_outputs_
    forest.n_features_in_ = tree.n_features_in_
    return forest


def decisions(subject: Subject, member: Any, columns: Any = None) -> Response:
    """Return the `decision_function` of a member, of one value if it has two classes."""
    scores = scores_of_member(subject, member, columns)
    expected = _asked(member.decision_function, subject, columns)
    answer = Difference(scores) if expected.shape[1] == 1 else scores
    if _agrees(answer, subject, expected, _spacing(scores)):
        return answer
    raise CannotFollowError(
        f"the decisions of {type(member).__name__} are no known function of its scores."
    )


def binary_answer(subject: Subject, member: Any) -> tuple[Response, float]:
    """Return what a binary member says for its second class, and from where on that is a yes."""
    if type(member).__name__ == "_ConstantPredictor":
        return Constant(np.array([float(member.y_[0])])), 0.0
    if hasattr(member, "decision_function"):
        return decisions(subject, member), 0.0
    return Linear([(probabilities(subject, member), np.array([[0.0], [1.0]]))]), 0.5


def sigmoids(scores: Response, n_values: int) -> Response:
    """Return the logistic function of each score."""
    return Elementwise(scores, [expit] * n_values, [_slope] * n_values, [True] * n_values)


def _slope(x: np.ndarray) -> np.ndarray:
    return expit(x) * expit(-x)


class Constant(Response):
    """The same values everywhere."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def values(self, X: np.ndarray) -> np.ndarray:
        return np.tile(self.value, (len(X), 1))

    def ends(self, region: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.values(region.low), self.values(region.low)

    def pull(self, X: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        return np.zeros(X.shape)


def _asked(method: Callable, subject: Subject, columns: Any) -> np.ndarray:
    Z = classifier_input(subject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that the whole has taken off
        answer = np.asarray(method(Z if columns is None else np.asarray(Z)[:, columns]))
    return answer.reshape(len(answer), -1)


def _spacing(scores: Response) -> float:
    """Return the spacing at 1 of the numbers that a network answers in, 0 for float64."""
    return getattr(getattr(scores, "model", None), "spacing", None) or 0.0


def _agrees(answer: Response, subject: Subject, expected: np.ndarray, spacing: float) -> bool:
    """Whether a response gives at the samples what the member says."""
    ours = answer.values(np.asarray(subject.front.as_dense().samples.rows, dtype=np.float64))
    spacing = max(spacing, subject.table.resolution)
    slack = max(_DIGITS, _SPACINGS * spacing) * (1 + abs(expected).max(initial=0.0))
    return ours.shape == expected.shape and np.allclose(ours, expected, rtol=0, atol=slack)
