"""The question before the answer: a fitted classifier, raw samples, and what stands before it."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklearn_robust._arrays import on_host
from sklearn_robust._tabular import Moves, TabularThreat
from sklearn_robust._threat import ThreatModel
from sklearn_robust.preprocessing import (
    Front,
    Table,
    as_table,
    column_names,
    follow_front,
    is_frame,
    raw_domain,
)

Steps = list[tuple[str, Any]]


@dataclass(frozen=True)
class Subject:
    """A fitted classifier and raw samples; what a family of targets is made from.

    Attributes
    ----------
    estimator : classifier
        The whole of it, a pipeline perhaps: its ``predict`` judges.
    X : array-like
        Raw samples, as `estimator` takes them.
    y : array-like or None
        Their labels.
    raw_threat : ThreatModel
        In the units and columns of `X`, inside the domain of the transformers: a logarithm keeps
        the adversary from negative values.
    steps : list of (name, transformer)
        What stands before the last classifier.
    classifier : classifier
        The last one, which `register_target` is told of.
    known_classes : ndarray or None
        The labels that ``predict`` gives, sorted, where that are not the estimator's ``classes_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust.targets import Subject
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> subject = Subject.of(clf, X, y, epsilon=0.1)
    >>> subject.classifier, subject.front.is_affine
    (LogisticRegression(), True)
    """

    estimator: Any
    X: Any
    y: Any
    raw_threat: ThreatModel
    steps: Steps
    classifier: Any
    known_classes: Any = None

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        epsilon: Any = None,
        norm: str | None = None,
        clip_values: Any = "own",
    ) -> Subject:
        """Return the subject of a fitted estimator; raise TypeError if it is no classifier."""
        estimator, X, y = _in_numpy(estimator, X, y)
        if _is_module(estimator):
            wrapped = importlib.import_module("sklearn_robust.targets._module")
            estimator = wrapped.ModuleClassifier(estimator, X)
        else:
            check_is_fitted(estimator)
        steps, classifier = unwrap(estimator)
        if is_regressor(estimator):
            raise TypeError(
                f"{type(estimator).__name__} is a regressor, and robust_score, make_robust_scorer "
                "and all other measures here are for classifiers: cut y into classes and fit one, "
                "such as AdversarialLogisticRegression."
            )
        if not hasattr(estimator, "classes_") and not is_classifier(classifier):
            raise _without_classes(estimator)
        threat = _raw_threat(estimator, X, epsilon, norm, clip_values)
        subject = cls(estimator, X, y, threat, steps, classifier)
        domain = raw_domain(steps, subject.table) if steps else None
        return subject if domain is None else replace(subject, raw_threat=threat.within(*domain))

    @property
    def classes_(self) -> Any:
        """The labels that ``predict`` gives, sorted; raises TypeError if nobody knows them."""
        if self.known_classes is not None:
            return self.known_classes
        if not hasattr(self.estimator, "classes_"):
            raise _without_classes(self.estimator)
        return self.estimator.classes_

    @cached_property
    def table(self) -> Table:
        """The raw samples as a table, of as many columns as the estimator was fitted on."""
        table = as_table(self.X, self.raw_threat.moves)
        n_columns = len(table.numeric)
        expected = getattr(self.estimator, "n_features_in_", n_columns)
        if is_frame(self.X):  # which may have further columns
            if len(self.X):
                self.estimator.predict(self.X[:1])  # scikit-learn's own check of the names
        elif n_columns != expected:
            raise ValueError(
                f"X has {n_columns} features, but {type(self.estimator).__name__} is expecting "
                f"{expected} features as input."
            )
        return table

    @cached_property
    def front(self) -> Front:
        """What stands before the classifier; raises CannotFollowError where that is unknown."""
        return follow_front(self.steps, self.table, self.touched)

    def with_moves(self, moves: Moves) -> Subject:
        """Return the same for an adversary of a table who may do something else."""
        return replace(self, raw_threat=replace(self.raw_threat, moves=moves))

    @property
    def touched(self) -> np.ndarray | None:
        """Which raw columns the adversary may move; None if radii are given for another number."""
        n_columns, given = len(self.table.numeric), np.size(self.raw_threat.epsilon)
        return self.raw_threat.touched(n_columns) if given in (1, n_columns) else None


def _in_numpy(estimator: Any, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return all in numpy, where array API dispatch has an estimator work in another library.

    Attacks compute in numpy, and scikit-learn moves what was fitted elsewhere.
    """
    if not get_config()["array_api_dispatch"] or on_host(X) is X:
        return estimator, on_host(X), on_host(y)
    api = importlib.import_module("sklearn.utils._array_api")
    if hasattr(api, "move_estimator_to"):  # since 1.9, where its errors name it as the way
        estimator = api.move_estimator_to(estimator, np, "cpu")
    return estimator, on_host(X), on_host(y)


def _is_module(estimator: Any) -> bool:
    """Return whether this is a torch module that says nothing of predictions."""
    torch = sys.modules.get("torch")
    if torch is None or hasattr(type(estimator), "predict"):
        return False
    return isinstance(estimator, torch.nn.Module)


def _without_classes(estimator: Any) -> TypeError:
    return TypeError(f"{type(estimator).__name__} is no classifier: it has no classes_.")


def _inside(estimator: Any) -> Any:
    """Return the classifier that an estimator hands its samples to as they are, None if none."""
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if isinstance(estimator, Pipeline):
        return None if _flat(estimator.steps[:-1]) else estimator.steps[-1][1]
    # A search over hyperparameters, or what trains one classifier again and again.
    return getattr(estimator, "best_estimator_", getattr(estimator, "_retrained", None))


def _own_threat(estimator: Any) -> Any:
    """Return the threat model that an estimator was made for, in units of its X; None if none."""
    while estimator is not None:
        if (own := getattr(estimator, "_own_threat", None)) is not None:
            return own
        estimator = _inside(estimator)
    return None


def unwrap(estimator: Any) -> tuple[Steps, Any]:
    """Return the transformers in front of the last classifier, and that classifier."""
    steps: Steps = []
    while True:
        if isinstance(estimator, Pipeline):
            steps += _flat(estimator.steps[:-1])
            estimator = estimator.steps[-1][1]
        elif (inner := _inside(estimator)) is not None:
            estimator = inner
        elif getattr(estimator, "refit", True) is False and hasattr(estimator, "cv_results_"):
            raise TypeError(
                f"{type(estimator).__name__} was fitted with refit=False and holds no classifier. "
                "Use refit=True, or fit one with its best_params_."
            )
        else:
            return steps, estimator


def _flat(steps: Steps) -> Steps:
    """Return the steps that do something in `predict`, those of a Pipeline in their place."""
    out: Steps = []
    for name, step in steps:
        if isinstance(step, FrozenEstimator):
            step = step.estimator
        if isinstance(step, Pipeline):
            out += _flat(step.steps)
        elif step is None or (isinstance(step, str) and step == "passthrough"):
            continue
        elif hasattr(step, "fit_resample") and not hasattr(step, "transform"):
            continue  # a sampler of imbalanced-learn changes the data of `fit` only
        else:
            out.append((name, step))
    return out


def _raw_threat(estimator: Any, X: Any, epsilon: Any, norm: Any, clip_values: Any) -> ThreatModel:
    """Return the threat model in raw units, with the estimator's own values where none are given.

    A classifier behind transformers has its own values in other units, which are not taken; nor is
    what another library calls epsilon: a tolerance, or the width of a loss.
    """
    steps, classifier = unwrap(estimator)
    own = _own_threat(estimator)
    if epsilon is None:
        if own is None:
            whose = "a classifier behind transformers has its own in their units" if steps else (
                f"{type(estimator).__name__} has none of its own"
            )  # fmt: skip
            raise ValueError(f"epsilon must be given, in the units of X: {whose}.")
        epsilon = own.epsilon
    if isinstance(clip_values, str) and clip_values == "own":
        clip_values = None if own is None else own.clip_values
    given = norm
    if norm is None:
        known = own or getattr(classifier, "_own_threat", None)
        norm = "linf" if known is None else known.norm
    names = column_names(X)
    if isinstance(epsilon, TabularThreat) and norm != "linf":
        if given is not None:
            raise ValueError(f"norm must be left out with a TabularThreat, got {norm!r}.")
        norm = "linf"
    n_columns = math.prod(np.shape(X)[1:]) if names is None else len(names)
    return ThreatModel.for_columns(names, epsilon, norm, clip_values, n_columns)
