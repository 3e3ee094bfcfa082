"""The tasks of a fit, as callbacks of scikit-learn follow them: from its version 1.9 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an earlier scikit-learn: there is no `set_callbacks`, and nothing to tell

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """In the place of scikit-learn's, which is not there."""

    def with_callbacks(method: Any) -> Any:
        return method


__all__ = ["CallbackSupportMixin", "FitTask", "with_callbacks"]

State = Callable[[], dict[str, Any]] | None


class FitTask:
    """A task of a fit, and the data that its callbacks are told of.

    A method `fit` makes one for itself, under `with_callbacks`, before it changes the estimator.

    Parameters
    ----------
    estimator : estimator
        One that inherits from `CallbackSupportMixin`.
    X, y : array-like
        As passed to `fit`.
    sample_weight : array-like or None
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        begin = getattr(estimator, "_init_callback_context", None)
        self.context = None if begin is None else begin(max_subtasks=0)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}

    def begin(self, n_parts: int) -> None:
        """Tell that the task begins, and of how many parts it is."""
        if self.context is not None:
            self.context.max_subtasks = n_parts
            self.context.call_on_fit_task_begin(**self.told)

    def extend(self, n_parts: int) -> None:
        """Tell that so many more parts are to come."""
        if self.context is not None:
            self.context.max_subtasks += n_parts

    def end(self, state: State = dict) -> bool:
        """Tell that the task has ended; return whether a callback asks to stop.

        `state` returns what a copy of the estimator needs to predict as it would now; None: it
        cannot yet.
        """
        if self.context is None:
            return False
        return self.context.call_on_fit_task_end(**self.told, reconstruction_attributes=state)

    def part(self, name: str) -> FitTask:
        """Return a part of the task, which has not begun."""
        part = FitTask.__new__(FitTask)
        part.context = self.context and self.context.subcontext(task_name=name)
        part.told = self.told
        return part

    @contextmanager
    def handed_to(self, estimator: Any) -> Iterator[None]:
        """Let the fit of another estimator be this task, for callbacks that go on to the next."""
        if self.context is None:
            yield
        else:
            with self.context.propagate_callback_context(estimator):
                yield
