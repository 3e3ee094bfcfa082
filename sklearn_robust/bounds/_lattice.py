"""Features that go in steps: where the least value of a polynomial lies on whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel

# By what share of a step scaled features may be off their places.
_OFF = 1e-9


@dataclass(frozen=True)
class Lattice:
    r"""The values :math:`o + s k`, k whole, of some features; up to sigma off by rounding.

    Attributes
    ----------
    whole : bool ndarray of shape (n_features,)
        Which features go in steps.
    origin, step : ndarray of shape (n_features,)
    sigma : ndarray of shape (n_features,)
        0 where a whole number is just that.
    """

    whole: np.ndarray
    origin: np.ndarray
    step: np.ndarray
    sigma: np.ndarray

    @classmethod
    def of(cls, threat: ThreatModel | None, blur: Any) -> Lattice | None:
        """Return the steps of a threat model, None if there are none.

        `blur` says how far knots may be from where they are said to be.
        """
        if threat is None or threat.moves is None or not threat.has_steps:
            return None
        moves = threat.moves
        origin, factor, slack, blur = (
            np.broadcast_to(v, moves.whole.shape)
            for v in (moves.origin, moves.factor, moves.slack, blur)
        )
        plain = (origin == 0) & (factor == 1)
        return cls(moves.whole, origin, abs(factor), np.where(plain, 0, 2 * slack) + blur)

    @property
    def _off(self) -> np.ndarray:
        plain = (self.origin == 0) & (self.step == 1) & (self.sigma == 0)
        return np.where(plain, 0.0, _OFF + self.sigma / self.step)[:, None]

    def within(
        self, piece: tuple[np.ndarray, np.ndarray], open_: tuple[Any, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the last k between ends, shape (n_samples, n_features, n_pieces).

        `open_` says of which ends that are whole themselves these do not count: where that is
        certain, as for numbers that are not scaled.
        """
        off = self._off
        first, last = (self._number(end) for end in piece)
        first, last = np.where(off, first - off, first), np.where(off, last + off, last)
        certain = off == 0
        first = np.where(open_[0] & certain, np.floor(first) + 1, np.ceil(first))
        last = np.where(open_[1] & certain, np.ceil(last) - 1, np.floor(last))
        return first, last

    def _number(self, values: np.ndarray) -> np.ndarray:
        return (values - self.origin[:, None]) / self.step[:, None]

    def near(
        self, valley: np.ndarray, first: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where the least value may lie, from where to where.

        A cubic falls and rises between its valley and the ends: the last steps count, and those
        beside the valley.
        """
        at = self._number(valley)
        k = np.stack([first, last, *(np.clip(f(at), first, last) for f in (np.floor, np.ceil))])
        place, sigma = self.origin[:, None] + self.step[:, None] * k, self.sigma[:, None]
        return place - sigma, place + sigma
