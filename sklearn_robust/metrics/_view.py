"""A fitted classifier, pipelines included, as an adversary of its raw input sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_robust._validation import truth_columns
from sklearn_robust.attacks import LinearModel, ScoreModel
from sklearn_robust.attacks._losses import Loss
from sklearn_robust.attacks._model import DifferentiableModel, Model
from sklearn_robust.metrics._linear import as_linear
from sklearn_robust.metrics._samples import (
    Samples,
    all_columns,
    as_table,
    numeric_columns,
    some_columns,
)
from sklearn_robust.preprocessing import Affine, Block, CannotFollowError
from sklearn_robust.preprocessing._blocks import Rule, chained, guide, joined, pull
from sklearn_robust.preprocessing._follow import (
    branches,
    follow_branch,
    follow_steps,
    named,
    places,
)

Steps = list[tuple[str, Any]]


@dataclass(frozen=True)
class View:
    """What is known of a classifier on its raw input.

    Attributes
    ----------
    estimator : classifier
    samples : Samples
    model : Model
        The door, on ``samples.rows``; with `ascent` unless only scores are known.
    linear : (coef, intercept) or None
        The classifier's scores as a linear function of ``samples.rows``.
    obstacle : str or None
        Why only scores are known.
    """

    estimator: Any
    samples: Samples
    model: Model
    linear: tuple[np.ndarray, np.ndarray] | None = None
    obstacle: str | None = None

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the class indices of the estimator's own predictions."""
        predicted = np.asarray(self.estimator.predict(self.samples.restore(rows)))
        return np.searchsorted(self.estimator.classes_, predicted)


def is_network(estimator: Any) -> bool:
    """Whether `estimator` is a fitted network of this library."""
    return all(hasattr(estimator, name) for name in ("module_", "classes_", "input_shape_"))


def unwrap(estimator: Any) -> tuple[Steps, Any]:
    """Return the transformers in front of the last classifier, and that classifier."""
    steps: Steps = []
    while True:
        if isinstance(estimator, Pipeline):
            steps += _flat(estimator.steps[:-1])
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):  # a search over hyperparameters
            estimator = estimator.best_estimator_
        else:
            return steps, estimator


def _flat(steps: Steps) -> Steps:
    """Return the steps that do something, those of a Pipeline in their place."""
    out: Steps = []
    for name, step in steps:
        if isinstance(step, FrozenEstimator):
            step = step.estimator
        if isinstance(step, Pipeline):
            out += _flat(step.steps)
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            out.append((name, step))
    return out


def look(estimator: Any, X: Any, epsilon: Any = None) -> View:
    """Return how the fitted `estimator` is seen on its raw input `X`.

    Raises
    ------
    TypeError
        If it can be followed neither by formulas nor by its scores.
    """
    check_is_fitted(estimator)
    if not hasattr(estimator, "classes_"):
        raise TypeError(f"{type(estimator).__name__} is no classifier: it has no classes_.")
    X = as_table(X)
    n_features = getattr(estimator, "n_features_in_", X.shape[1])
    if X.shape[1] != n_features and not hasattr(X, "iloc"):  # which may have further columns
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{n_features} features as input."
        )
    numeric, truths = numeric_columns(X), truth_columns(X)
    if hasattr(X, "iloc") and len(X):
        estimator.predict(X.iloc[:1])  # scikit-learn's own check of the names
    encoded = _encoded_columns(unwrap(estimator)[0], X)
    movable = numeric & ~encoded
    if np.ndim(epsilon) and np.size(epsilon) == len(movable):
        movable &= np.ravel(epsilon) > 0
    try:
        return _followed(estimator, X, numeric, truths, encoded, movable)
    except CannotFollowError as error:
        return _by_scores(estimator, X, numeric & ~encoded, str(error))


def _followed(
    estimator: Any,
    X: Any,
    numeric: np.ndarray,
    truths: np.ndarray,
    encoded: np.ndarray,
    movable: np.ndarray,
) -> View:
    """Return the view through formulas; raise CannotFollowError where there is none."""
    steps, final = unwrap(estimator)
    split = bool(steps) and isinstance(steps[0][1], ColumnTransformer)
    in_order = not split or np.array_equal(places(steps[0][1], X), np.arange(X.shape[1]))
    known = numeric | truths
    if known.all() and not encoded.any() and (movable.all() or not split) and in_order:
        samples = all_columns(X, numeric)
        front: Block = Affine.identity(X.shape[1])
        rest = steps
    elif split:
        samples, front = _follow_first(steps[0], X, known, movable)
        rest = steps[1:]
    else:
        name = steps[0][0] if steps else None
        raise CannotFollowError(
            f"step {name!r}: X has columns that hold no numbers or are encoded as categories. "
            "Let a ColumnTransformer be the first step, so that they have a branch of their own."
        )
    block, Z = follow_steps(rest, front(samples.rows))
    block = chained([front, block])
    if is_network(final):
        return View(estimator, samples, _torch_model(block, final))
    linear = as_linear(final, named(Z, final)) if Z.ndim == 2 else None
    if linear is None:
        name = type(final).__name__
        raise CannotFollowError(f"{name} is neither a network of this library nor linear.")
    if isinstance(block, Affine):
        coef = np.asarray(linear.coef @ block.matrix.T)
        intercept = linear.intercept + linear.coef @ block.offset
        model: Model = LinearModel(*two_rows(coef, intercept))
        return View(estimator, samples, model, linear=(coef, intercept))
    return View(estimator, samples, _Behind(block, LinearModel(*two_rows(*linear[:2]))))


def _follow_first(
    step: tuple[str, ColumnTransformer], X: Any, known: np.ndarray, movable: np.ndarray
) -> tuple[Samples, Block]:
    """Return samples and formula for a first step that treats columns differently.

    A branch that reads no movable column is computed once; its output follows the sample.
    """
    name, transformer = step
    found = branches(transformer, X)
    live = [movable[columns].any() for _, _, columns, _ in found]
    read = [item[2] for item, alive in zip(found, live, strict=True) if alive]
    carried = np.unique(np.concatenate([np.flatnonzero(movable), *read]))
    if not known[carried].all():
        raise CannotFollowError(f"step {name!r}: a branch reads numbers and other columns at once.")
    output = transformer.transform(X)
    output = np.asarray(output.toarray() if hasattr(output, "toarray") else output)
    kept = [transformer.output_indices_[item[0]] for item in found]
    frozen = [output[:, s] for s, alive in zip(kept, live, strict=True) if not alive]
    rest = np.hstack([np.zeros((len(output), 0)), *frozen]).astype(np.float64)
    samples = some_columns(X, carried, movable[carried], rest)
    parts: list[tuple[np.ndarray, Block, int]] = []
    start = len(carried) + 1
    for (branch_name, branch, columns, weight), alive in zip(found, live, strict=True):
        if not alive:  # its output, weighted already
            width = kept[[item[0] for item in found].index(branch_name)]
            n_out = width.stop - width.start
            parts.append((np.arange(start, start + n_out), Affine.identity(n_out), n_out))
            start += n_out
            continue
        position = np.searchsorted(carried, columns)
        try:
            parts.append(follow_branch(branch_name, branch, position, weight, samples.rows))
        except CannotFollowError as error:
            raise CannotFollowError(f"step {name!r}: {error}") from None
    return samples, joined(parts, samples.rows.shape[1])


def _by_scores(estimator: Any, X: Any, movable: np.ndarray, obstacle: str) -> View:
    """Return the view of a classifier that answers and says no more."""
    if not any(hasattr(estimator, name) for name in ("decision_function", "predict_proba")):
        raise TypeError(
            f"{type(estimator).__name__} cannot be followed ({obstacle}), and it has neither "
            "decision_function nor predict_proba for an attack that needs scores only."
        )
    if movable.all():
        samples = all_columns(X, movable)
    else:
        columns = np.flatnonzero(movable)
        nothing = np.zeros((len(X), 0))
        samples = some_columns(X, columns, np.ones(len(columns), dtype=bool), nothing)
    score = _RawScores(ScoreModel.of(estimator).score, samples)
    return View(estimator, samples, ScoreModel(score, len(estimator.classes_)), obstacle=obstacle)


@dataclass(frozen=True)
class _RawScores:
    """Scores of rows; an object and not a closure, so that it travels to other processes."""

    score: Callable
    samples: Samples

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self.score(self.samples.restore(rows))


_STEEP = 1e100  # whose square is a number too


class _Behind:
    """A linear classifier behind a differentiable block."""

    def __init__(self, block: Block, linear: LinearModel) -> None:
        self.block, self.linear, self.n_classes = block, linear, linear.n_classes
        self.asarray, self.labels = linear.asarray, linear.labels

    def logits(self, X: np.ndarray) -> np.ndarray:
        return self.linear.logits(self.block(X))

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, gradient = self._back(X, y, loss, guide)
        # A derivative may be infinite in places, as that of a square root is at 0.
        return logits, np.nan_to_num(gradient, posinf=_STEEP, neginf=-_STEEP)

    def derivative(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._back(X, y, loss, pull)

    def _back(
        self, X: np.ndarray, y: np.ndarray, loss: Loss, rule: Rule
    ) -> tuple[np.ndarray, np.ndarray]:
        logits, gradient = self.linear.ascent(self.block(X), y, loss)
        return logits, rule(self.block, X, gradient)


def two_rows(coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of weights for each of two classes where scikit-learn keeps one for both."""
    if len(coef) > 1:
        return coef, intercept
    return np.vstack([0 * coef, coef]), np.append(0.0, intercept)


def _torch_model(block: Block, network: Any) -> DifferentiableModel:
    """Return the door to a network behind a block, as one torch module in float64.

    Raw units can differ by decades between columns, which is more than float32 resolves.
    """
    from sklearn_robust.neural_network._preprocessing import behind

    return cast(DifferentiableModel, behind(block, network))


def _encoded_columns(steps: Steps, X: Any) -> np.ndarray:
    """Return for each raw column whether the first step encodes it as categories."""
    encoded = np.zeros(X.shape[1], dtype=bool)
    if not steps:
        return encoded
    first = steps[0][1]
    if isinstance(first, ColumnTransformer):
        for _, branch, columns, _ in branches(first, X):
            encoded[columns] |= _encodes(branch)
    else:
        encoded[:] = _encodes(first)
    return encoded


def _encodes(transformer: Any) -> bool:
    if isinstance(transformer, Pipeline):
        return any(_encodes(step) for _, step in transformer.steps)
    return not isinstance(transformer, str | None) and get_tags(transformer).input_tags.categorical
