"""A tree model behind transformers of single columns, as trees on the rows that attacks see."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust.preprocessing import (
    CannotFollowError,
    Samples,
    all_columns,
    dense,
    monotone_sources,
    movable_columns,
    some_columns,
)
from sklearn_robust.targets._categories import declared_categories
from sklearn_robust.targets._subject import Steps, Subject
from sklearn_robust.trees import (
    Forest,
    NotMonotoneError,
    Through,
    float32_threshold,
    inputs_of,
    missing_ways,
    raw_thresholds,
)

_LARGEST_HALF = float(np.finfo(np.float16).max)


def follow_trees(subject: Subject, forest: Forest) -> tuple[Samples, Forest]:
    """Return the samples as rows, and the trees of the classifier on these rows.

    Rows hold the columns that can move, the number of the sample, and what the trees are given that
    is made from the other columns, categories as codes.

    Raises
    ------
    CannotFollowError
        If a transformer mixes columns or may turn the order of values round.
    """
    table = subject.table
    if not subject.steps and is_single(table.raw):
        # Rows of doubles are rounded before the model sees them.
        forest = forest.with_thresholds(float32_threshold(forest.threshold))
    try:
        movable, sources = _sources(subject, forest)
        fixed = sources < 0
        if movable.all() and not fixed.any():
            samples = dense(all_columns(table, movable, missing=True))
            return samples, _restated(subject, samples, forest, (sources, fixed))
        Z = inputs_of(subject.classifier, _transformed(subject.steps, table.raw))
        carried = np.flatnonzero(movable)
        samples = some_columns(table, carried, movable, Z[:, fixed], missing=True)
        place = np.searchsorted(carried, sources)
        place[fixed] = len(carried) + 1 + np.arange(fixed.sum())
        return samples, _restated(subject, samples, forest, (place, fixed))
    except NotMonotoneError as error:
        raise CannotFollowError(str(error)) from None


def _changes(subject: Subject) -> bool:
    """Whether what the trees are given is not the rows: transformed, or columns are rounded."""
    raw, coarse = subject.table.raw, subject.table.resolution > float(np.finfo(np.float64).eps)
    return bool(subject.steps) or (coarse and not is_single(raw) and not sparse.issparse(raw))


def is_single(raw: Any) -> bool:
    """Whether samples are an array in single precision, in which points are rounded."""
    return isinstance(raw, np.ndarray) and raw.dtype == np.float32


def _sources(subject: Subject, forest: Forest) -> tuple[np.ndarray, np.ndarray]:
    """Return which raw columns move, and which of them each feature of the trees is made from.

    What a category is made from does not move.
    """
    movable = movable_columns(subject.steps, subject.table, subject.touched)
    sources = monotone_sources(subject.steps, subject.table, movable)
    category = declared_categories(subject.classifier, forest.n_features)
    category[forest.feature[forest.category_row >= 0]] = True
    movable[sources[category & (sources >= 0)]] = False
    return movable, np.where((sources >= 0) & movable[sources], sources, -1)


def _transformed(steps: Steps, X: Any) -> Any:
    for _, step in steps:
        X = step.transform(X)
    return X


def _restated(
    subject: Subject, samples: Samples, forest: Forest, layout: tuple[np.ndarray, np.ndarray]
) -> Forest:
    (place, fixed), rows = layout, samples.rows
    if not _changes(subject) or not len(rows):
        same = np.array_equal(place, np.arange(rows.shape[1]))
        return forest if same else forest.restated(place, rows.shape[1])
    clip = samples.threat(subject.raw_threat).clip_values
    low, high = (-np.inf, np.inf) if clip is None else clip
    if getattr(subject.table.raw, "dtype", None) == np.float16:
        low, high = np.maximum(low, -_LARGEST_HALF), np.minimum(high, _LARGEST_HALF)
    # fmin and fmax pass by what is missing, and a column of nothing else may be anywhere.
    least, largest = (np.nan_to_num(end.reduce(rows)) for end in (np.fmin, np.fmax))
    low, high = np.minimum(low, least), np.maximum(high, largest)

    def inputs(some: np.ndarray) -> np.ndarray:
        return inputs_of(subject.classifier, _transformed(subject.steps, samples.restore(some)))

    source = np.where(fixed, -1, place)
    through = Through(inputs, rows[0], source, least, largest, low, high)
    missing = missing_ways(forest, through) if np.isnan(rows).any() else None
    return forest.restated(place, rows.shape[1], raw_thresholds(forest, through), missing)
