"""Networks that another library predicts with: followed here, judged by its own ``predict``."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_finite
from sklearn_robust.attacks import TorchModel, as_predicting, to_precision
from sklearn_robust.bounds import spacing_of
from sklearn_robust.preprocessing import CannotFollowError, is_frame
from sklearn_robust.targets._endings import Logits, as_logits
from sklearn_robust.targets._network import NetworkTarget, in_float64, module_behind
from sklearn_robust.targets._subject import Subject

# Whoever predicts through a loader draws from torch's global generator, which others use too.
_GLOBAL_GENERATOR = threading.Lock()
# Samples on which it is tried what a module ends in.
_TRIED = 64


class ForeignTarget(NetworkTarget):
    """A network whose estimator predicts in a precision of its own.

    Parameters
    ----------
    subject : Subject
    samples : Samples
    module : torch.nn.Module
        From ``samples.rows`` to logits.
    logits : Logits
        The part of it that is the estimator's.
    spacing : float
        Of numbers at 1 in the precision in which the estimator predicts.
    obstacle : str, optional
        Why what it predicts is not what its logits say.
    """

    def __init__(
        self,
        subject: Subject,
        samples: Any,
        module: nn.Module,
        logits: Logits,
        spacing: float,
        obstacle: str | None = None,
    ) -> None:
        super().__init__(subject, samples, module)
        self._live, self._spacing, self._least = logits.module, spacing, logits.least(spacing)
        self._own_obstacle = obstacle

    def _judge(self, rows: np.ndarray) -> np.ndarray:
        with as_predicting(self._live), _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
            return super()._judge(rows)

    @property
    def certificate_obstacle(self) -> str | None:  # type: ignore[override]
        """A sentence that names what there are no bounds for; None if there are for all."""
        return self._own_obstacle or super().certificate_obstacle

    def _evaluation(self) -> dict[str, Any]:
        return {"spacing": self._spacing, "least": self._least}


def foreign_target(
    subject: Subject,
    module: nn.Module,
    *,
    indices: bool,
    table: bool = False,
    obstacle: str | None = None,
    **decision: Any,
) -> ForeignTarget:
    """Return the target of a classifier that predicts by the scores of a torch module.

    Parameters
    ----------
    subject : Subject
    module : torch.nn.Module
        On what stands before it. Behind transformers it is followed in float64 if it computes in
        that, else in its own precision.
    indices : bool
        Whether ``predict`` gives class indices, whatever the labels are.
    table : bool, default=False
        Whether samples are always rows of a table, as scikit-learn takes them.
    obstacle : str, optional
        As in `ForeignTarget`.
    **decision
        `threshold` and `squashed` of `as_logits`.

    Raises
    ------
    CannotFollowError
        If the samples are no array of numbers, or the output holds no scores.
    """
    front = subject.front.as_dense() if subject.steps or table else None
    read = read_array(subject.X) if front is None else np.asarray(front.output)
    given = TorchModel(module, 0).asarray(some_of(read))
    logits = as_logits(module, given, **decision)
    if indices:
        subject = replace(subject, known_classes=np.arange(logits.n_classes))
    spacing = max(spacing_of(module), _spacing_of_values(subject.X))
    if front is None:
        samples = ArraySamples(read, given.dtype)
        return ForeignTarget(subject, samples, logits, logits, spacing, obstacle)
    with torch.inference_mode(False):  # or the weights could not be differentiated
        whole = module_behind(front, logits, read.shape[1:])
        exact = in_float64(whole, front.samples.rows[:1])
        whole = to_precision(whole, given.dtype) if exact is None else exact
    return ForeignTarget(subject, front.samples, whole, logits, spacing, obstacle)


class ArraySamples:
    """Samples of any shape as an array in the precision in which a module takes them."""

    columns = None  # all are in the rows, in their order

    def __init__(self, X: np.ndarray, dtype: torch.dtype) -> None:
        # numpy has no bfloat16.
        kind = {torch.float64: np.float64, torch.float16: np.float16}.get(dtype, np.float32)
        self.rows = X.astype(kind)
        check_finite(self.rows, "X")

    def threat(self, raw: ThreatModel) -> ThreatModel:
        return raw

    def restore(self, rows: np.ndarray, *, all_rows: bool = False) -> np.ndarray:
        return rows.astype(self.rows.dtype, copy=False)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        return values


def read_array(X: Any) -> np.ndarray:
    """Return samples of any shape as an array of numbers."""
    if torch.is_tensor(X):
        X = X.detach().cpu().numpy()
    if is_frame(X) or not hasattr(X, "__array__"):
        raise CannotFollowError(f"X is a {type(X).__name__}, and no array.")
    X = np.asarray(X)
    if X.ndim < 2 or X.dtype.kind not in "fiub":
        raise CannotFollowError(f"X is an array of {X.dtype} of shape {X.shape}.")
    return X


def some_of(X: np.ndarray) -> np.ndarray:
    """Return a few samples, never one alone."""
    n = min(len(X), _TRIED)
    return X[np.arange(max(n, 2)) % n] if n else np.zeros((2, *X.shape[1:]))


def _spacing_of_values(X: Any) -> float:
    """Return the spacing at 1 of the coarsest floats that samples come in."""
    kinds = [X.dtype] if hasattr(X, "dtype") else list(getattr(X, "dtypes", []))
    names = [str(kind).lower().rpartition(".")[2] for kind in kinds]
    known = [np.finfo(name).eps for name in names if name in ("float16", "float32")]
    return float(max(known, default=np.finfo(np.float64).eps))
