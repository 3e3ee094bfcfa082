"""The networks of this library as targets, on samples of any shape and dtype that they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._tabular import Moves
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_whole
from sklearn_robust.neural_network._base import BaseRobustClassifier
from sklearn_robust.preprocessing import as_table, boolean_columns, column_names, is_frame
from sklearn_robust.targets import NetworkTarget, Subject, network_target, register_target


@register_target(BaseRobustClassifier)
def _(subject: Subject) -> NetworkTarget:
    """Return the target of a network: as it reads its samples, or behind what stands before it."""
    network = subject.classifier
    if subject.steps:
        return network_target(subject, network.module_, network.input_shape_)
    return OwnNetworkTarget(subject)


class OwnNetworkTarget(NetworkTarget):
    """A network of this library on its own input."""

    keeps_samples = True

    def __init__(self, subject: Subject) -> None:
        self._network = subject.classifier
        samples: Any = SamplesAsRead(self._network, subject.X, subject.raw_threat.moves)
        threat = samples.threat(subject.raw_threat)
        model = self._network._model(threat=threat, X=samples.rows)
        super().__init__(subject, samples, model.module)

    def _judge(self, rows: np.ndarray) -> np.ndarray:
        return self._network._predict_index(self.threat.settled(rows))


class SamplesAsRead:
    """Raw samples in the shape and precision in which a network reads them, and back."""

    columns = None  # all are in the rows, in their order

    def __init__(self, network: Any, X: Any, moves: Moves | None = None) -> None:
        self.raw, self.rows, self.moves = X, network._read(X), moves
        self._fixed = boolean_columns(X)

    def threat(self, raw: ThreatModel) -> ThreatModel:
        """Return the threat model on `rows`, in the same units."""
        if self.moves is not None:
            whole = np.flatnonzero(self.moves.whole)
            values = np.asarray(self.rows).reshape(len(self.rows), -1)[:, whole]
            check_whole(values, whole, column_names(self.raw))
        return raw.sparing(self._fixed)

    def restore(self, rows: np.ndarray, *, all_rows: bool = False) -> Any:
        """Return samples in the container and the shape of the raw ones."""
        values = rows.reshape(len(rows), *np.shape(self.raw)[1:])
        if not is_frame(self.raw):
            if self.moves is None:
                return values
            values = self.moves.settled(values)
            if np.asarray(self.raw).dtype.kind not in "iu":
                return values
        return as_table(self.raw, self.moves).of(values, all_rows=all_rows)

    def scatter(self, values: np.ndarray) -> np.ndarray:
        """Return values by entry of `rows` in the shape of the raw samples."""
        values = values.reshape(np.shape(self.raw))
        return values * ~self._fixed if self._fixed.any() else values
