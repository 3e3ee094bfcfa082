"""A classifier whose margins are bounded one sample at a time, over ball and box."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._bounded import BoundedModel


class OneByOne(BoundedModel):
    """A `BoundedModel` that bounds the margins of single samples."""

    @abstractmethod
    def least(
        self, x: np.ndarray, label: int, threat: ThreatModel
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds of the margins of one sample, and the point where one was seen least.

        Parameters
        ----------
        x : ndarray of shape (n_features,)
        label : int
        threat : ThreatModel

        Returns
        -------
        margins : ndarray of shape (n_classes,)
            inf for the class itself.
        point : ndarray of shape (n_features,)
        """

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        middle = (low + high) / 2
        half = np.nextafter(np.maximum(high - middle, middle - low), np.inf)
        half = np.where(high > low, half, 0.0)
        found = [
            self.least(x, int(y), ThreatModel(side))[0]
            for x, y, side in zip(middle, labels, half, strict=True)
        ]
        return np.array(found).reshape(len(low), self.n_classes)

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        found = [self.least(x, int(y), threat)[0] for x, y in zip(X, labels, strict=True)]
        return np.array(found).reshape(len(X), self.n_classes)

    def worst_points(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        """Return where a margin was least on the way to the bounds."""
        found = [self.least(x, int(y), threat)[1] for x, y in zip(X, labels, strict=True)]
        return threat.around(X).project(np.array(found).reshape(X.shape))
