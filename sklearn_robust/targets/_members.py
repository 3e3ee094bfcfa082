"""The members of a combination, each as a target of its own on the samples of the whole."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline

from sklearn_robust.preprocessing import Affine, CannotFollowError, register_transformer
from sklearn_robust.targets._registry import find_target
from sklearn_robust.targets._subject import Subject, unwrap
from sklearn_robust.targets._target import Target


class Taken(TransformerMixin, BaseEstimator):
    """Some columns, in any order and number, as a transformer."""

    def __init__(self, columns: Any, n_features_in_: int) -> None:
        self.columns, self.n_features_in_ = columns, n_features_in_

    def transform(self, X: Any) -> Any:
        return np.asarray(X)[:, self.columns]

    def __sklearn_is_fitted__(self) -> bool:
        return True


@register_transformer(Taken)
def _(transformer: Taken) -> Affine:
    return Affine.selection(transformer.columns, transformer.n_features_in_)


def member_subject(subject: Subject, member: Any, columns: Any = None) -> Subject:
    """Return a member of ``subject.classifier`` on the same samples, behind the same transformers.

    Parameters
    ----------
    subject : Subject
    member : classifier
        Fitted, on what the whole was fitted on.
    columns : ndarray of int, optional
        The columns of its input that it is given.
    """
    inner, classifier = unwrap(member)
    steps = list(subject.steps)
    if columns is not None:
        steps.append(("columns", Taken(columns, subject.classifier.n_features_in_)))
    whole = Pipeline([*steps, ("member", member)]) if steps else member
    found = replace(subject, estimator=whole, y=None, steps=[*steps, *inner], classifier=classifier)
    found.__dict__["table"] = subject.table
    if len(found.steps) == len(subject.steps):
        found.__dict__["front"] = subject.front
    return found


def member_target(subject: Subject, member: Any, columns: Any = None) -> Target:
    """Return the target of a member; raise CannotFollowError if it is known by scores alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that the whole has taken off
        found = find_target(member_subject(subject, member, columns))
    if found is None:
        raise CannotFollowError(
            f"of its member {type(unwrap(member)[1]).__name__} the scores alone are known."
        )
    ours, theirs = subject.front.as_dense().samples, found.samples
    columns = [np.arange(0) if s.columns is None else s.columns for s in (ours, theirs)]
    n, shape = len(ours.rows), theirs.rows.shape
    same = ours.rows.shape == (n, math.prod(shape[1:])) and np.array_equal(*columns)
    if not same:
        raise CannotFollowError("its members read columns that the others do not.")
    return found


def classifier_input(subject: Subject) -> Any:
    """Return what the classifier of a subject is given for the samples, dense.

    In the precision of the samples: a member that computes in fewer bits may take no other.
    """
    output = subject.front.output
    dtype = getattr(subject.X, "dtype", None)
    if dtype in (np.float16, np.float32):
        output = subject.X
        for _, step in subject.steps:
            output = step.transform(output)
    output = output.toarray() if sparse.issparse(output) else output
    return replace(subject.front, output=output).output_for(subject.classifier)
