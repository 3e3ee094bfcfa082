"""What stands in front of a classifier: from raw samples of any kind to what it is given.

The raw samples become rows of floats, and the transformers a formula from these rows. Branches of a
ColumnTransformer that read nothing an adversary may move are computed once and follow the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.compose import ColumnTransformer

from sklearn_robust.preprocessing._blocks import Affine, Block, chained, joined
from sklearn_robust.preprocessing._columns import branches, encoded_columns, places
from sklearn_robust.preprocessing._follow import (
    CannotFollowError,
    follow_branch,
    follow_steps,
    named,
)
from sklearn_robust.preprocessing._samples import Samples, all_columns, dense, some_columns
from sklearn_robust.preprocessing._table import Table

Steps = list[tuple[str, Any]]


@dataclass(frozen=True)
class Frozen:
    """Branches of a ColumnTransformer whose output follows the sample.

    Attributes
    ----------
    values : callable
        From raw samples to their output, one beside the other.
    start : int
        Where that begins in the rows.
    """

    values: Callable[[Any], np.ndarray]
    start: int


@dataclass(frozen=True)
class Front:
    """Raw samples, and the formula from their rows to the input of a classifier.

    Attributes
    ----------
    samples : Samples
    block : Block
        From ``samples.rows`` to rows that the classifier is given, reshaped if it takes images.
    output : ndarray or sparse matrix
        What the classifier is given for the samples themselves.
    frozen : Frozen or None
        What is computed once of columns that nobody moves as numbers.
    """

    samples: Samples
    block: Block
    output: Any
    frozen: Frozen | None = None

    @property
    def is_affine(self) -> bool:
        return isinstance(self.block, Affine)

    def output_for(self, classifier: Any) -> Any:
        """Return `output` as a classifier that was fitted on a data frame takes it."""
        return named(self.output, classifier) if self.output.ndim == 2 else self.output

    def as_dense(self) -> Front:
        """Return the same front on dense rows, for what cannot work on sparse ones."""
        output = self.output.toarray() if sparse.issparse(self.output) else self.output
        return replace(self, samples=dense(self.samples), output=output)


def movable_columns(steps: Steps, table: Table, touched: np.ndarray | None = None) -> np.ndarray:
    """Return for each raw column whether an adversary can move it.

    Not those that hold no numbers or are encoded as categories, nor those not `touched` by the
    threat model.
    """
    movable = table.numeric.copy()
    if steps:
        movable &= ~encoded_columns(steps[0][1], table.raw)
    return movable if touched is None else movable & touched


def follow_front(steps: Steps, table: Table, touched: np.ndarray | None = None) -> Front:
    """Return the fitted transformers `steps` as a front.

    Parameters
    ----------
    steps : list of (name, transformer)
    table : Table
    touched : bool ndarray of shape (n_columns,), optional
        Which columns the adversary may move; others may go through any transformer. None: all.

    Raises
    ------
    CannotFollowError
        If a formula is unknown, or columns that hold no numbers are not in a branch of their own.
    """
    movable = movable_columns(steps, table, touched)
    known = table.numeric | table.boolean
    encoded = table.numeric & ~movable_columns(steps, table)
    split = bool(steps) and isinstance(steps[0][1], ColumnTransformer)
    n_columns = len(known)
    in_order = not split or np.array_equal(places(steps[0][1], table.raw), np.arange(n_columns))
    frozen: Frozen | None = None
    if known.all() and not encoded.any() and (movable.all() or not split) and in_order:
        samples, rest = all_columns(table, table.numeric), steps
        block: Block = Affine.identity(n_columns)
    elif split:
        samples, block, frozen = _follow_split(steps[0], table, known, movable)
        rest = steps[1:]
    else:
        raise CannotFollowError(
            f"step {steps[0][0] if steps else None!r}: X has columns that hold no numbers or are "
            "encoded as categories. Let a ColumnTransformer be the first step, so that they have a "
            "branch of their own."
        )
    tail, output = follow_steps(rest, block(samples.rows))
    front = Front(samples, chained([block, tail]), output, frozen)
    return front if front.is_affine else front.as_dense()


def _follow_split(
    step: tuple[str, ColumnTransformer], table: Table, known: np.ndarray, movable: np.ndarray
) -> tuple[Samples, Block, Frozen]:
    """Return samples and formula for a first step that treats columns differently."""
    name, transformer = step
    found = branches(transformer, table.raw)
    live = [movable[columns].any() for _, _, columns, _ in found]
    read = [item[2] for item, alive in zip(found, live, strict=True) if alive]
    carried = np.unique(np.concatenate([np.flatnonzero(movable), *read]))
    if not known[carried].all():
        raise CannotFollowError(f"step {name!r}: a branch reads numbers and other columns at once.")
    frozen = [item[0] for item, alive in zip(found, live, strict=True) if not alive]
    output, widths = _frozen_output(transformer, table.raw, frozen)
    samples = some_columns(table, carried, movable, output)
    parts: list[tuple[np.ndarray, Block, int]] = []
    start = len(carried) + 1
    for branch_name, branch, columns, weight in found:
        if branch_name in widths:  # its output, weighted already
            width = widths[branch_name]
            parts.append((np.arange(start, start + width), Affine.identity(width), width))
            start += width
            continue
        position = np.searchsorted(carried, columns)
        try:
            parts.append(follow_branch(branch_name, branch, position, weight, samples.rows))
        except CannotFollowError as error:
            raise CannotFollowError(f"step {name!r}: {error}") from None
    held = Frozen(lambda X: _frozen_output(transformer, X, frozen)[0], len(carried) + 1)
    return samples, joined(parts, samples.rows.shape[1]), held


def _frozen_output(
    transformer: ColumnTransformer, X: Any, names: list[str]
) -> tuple[np.ndarray, dict[str, int]]:
    """Return what some branches make of `X`, side by side, and how wide each of them is."""
    output = transformer.transform(X)
    output = np.asarray(output.toarray() if sparse.issparse(output) else output)
    kept = {name: output[:, transformer.output_indices_[name]] for name in names}
    together = np.hstack([np.zeros((len(output), 0)), *kept.values()]).astype(np.float64)
    return together, {name: part.shape[1] for name, part in kept.items()}
