"""Linear classifiers behind splines and bins of single columns: sums over the raw columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._linear_scores import two_rows
from sklearn_robust.bounds import Polynomials, SmoothSumModel, SumModel
from sklearn_robust.preprocessing import (
    CannotFollowError,
    ColumnPieces,
    all_columns,
    column_pieces,
    dense,
    movable_columns,
)
from sklearn_robust.targets._bounded import combined_target
from sklearn_robust.targets._linear import _coefficients, _resolution
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Target

# Of the terms of a sum of splines, beside those of the formula.
_TERMS = 8
# Points at which the sums are held against the classifier's own scores, and how close they must be:
# a step that is taken a little off its place is another number, which here nobody is to meet.
_N_CHECKED, _DIGITS = 200, 1e-6


def column_target(subject: Subject) -> Target | None:
    """Return the target of a linear classifier whose inputs are functions of one column each.

    None for other classifiers.

    Raises
    ------
    CannotFollowError
        If a step is no such function, or some columns hold no numbers.
    """
    found, table = _coefficients(subject.classifier), subject.table
    if found is None or not subject.steps:
        return None
    movable = movable_columns(subject.steps, table)
    if not table.numeric.all() or not movable.all():
        raise CannotFollowError("some columns hold no numbers, or are encoded as categories.")
    samples = dense(all_columns(table, movable))
    rows = np.asarray(samples.rows, dtype=np.float64)
    outputs = column_pieces(subject.steps, table.raw, rows)
    given = table.raw
    for _, step in subject.steps:
        given = step.transform(given)
    resolution = _resolution(subject.classifier, given, *found)
    if len(outputs) != found[0].shape[1] or resolution is None:
        return None
    resolution = max(resolution, table.resolution)
    model = _sum_of(*two_rows(*found), outputs, rows.shape[1], resolution)
    target = combined_target(subject, model, samples)
    model.resolution = resolution
    _check_scores(target, subject)
    return target


def _check_scores(target: Target, subject: Subject) -> None:
    """Raise CannotFollowError if the sums are not the classifier's scores, off the samples too."""
    rows = target.rows[:_N_CHECKED]
    rng, spread = np.random.default_rng(0), np.ptp(target.rows, axis=0)
    mixed = rng.permuted(rows, axis=0) + rng.normal(size=rows.shape) * spread / 2
    if target.threat.clip_values is not None:
        mixed = mixed.clip(*target.threat.clip_values)
    mixed = np.where(target.threat.touched(rows.shape[1]), target.threat.settled(mixed), rows)
    decisions = np.asarray(subject.estimator.decision_function(target.samples.restore(mixed)))
    ours = target.model.logits(mixed)
    ours = ours[:, 1] - ours[:, 0] if decisions.ndim == 1 else ours
    slack = _DIGITS * (1 + abs(decisions).max(initial=0.0))
    if not np.allclose(ours, decisions, rtol=0, atol=slack):
        raise CannotFollowError("its scores are not the sums that its columns say.")


def _sum_of(
    coef: np.ndarray, intercept: np.ndarray, outputs: list[ColumnPieces], n: int, resolution: float
) -> SumModel:
    """Return the scores as sums over the raw columns."""
    columns = [[k for k, own in enumerate(outputs) if own.source == j] for j in range(n)]
    parts = [_of_one(coef[:, mine], [outputs[k] for k in mine]) for mine in columns]
    longest = max(len(centres) for _, centres, _ in parts)
    knots = np.full((n, longest + 1), np.inf)
    centres, terms = np.zeros((n, longest)), np.zeros((len(coef), n, longest, 4))
    for j, (own_knots, own_centres, own) in enumerate(parts):
        width = len(own_centres)
        knots[j, : width + 1], centres[j, :width], terms[:, j, :width] = own_knots, own_centres, own
    size = _TERMS * abs(coef) @ np.array([own.size for own in outputs])
    blur = np.zeros(n)
    np.maximum.at(blur, [own.source for own in outputs], [own.blur for own in outputs])
    cls = SmoothSumModel if terms[..., 1:].any() else SumModel
    return cls(intercept, Polynomials(knots, centres, terms), size, resolution * blur)


def _of_one(coef: np.ndarray, outputs: list[ColumnPieces]) -> tuple[Any, Any, np.ndarray]:
    """Return knots, centres and terms of weighted outputs of one raw column."""
    bent = [own for own in outputs if not own.is_line]
    first = (bent or [ColumnPieces.identity(0)])[0]
    if any(not np.array_equal(own.knots, first.knots) for own in bent):
        raise CannotFollowError("a column goes through splines or bins with different knots.")
    terms = np.zeros((len(coef), len(first.centres), 4))
    for weight, own in zip(coef.T, outputs, strict=True):
        if own.is_line:
            offset, slope = own.coef[0, :2]
            line = np.zeros((len(first.centres), 4))
            line[:, 0], line[:, 1] = offset + slope * (first.centres - own.centres[0]), slope
            terms += weight[:, None, None] * line
        else:
            terms += weight[:, None, None] * own.coef
    return first.knots, first.centres, terms
