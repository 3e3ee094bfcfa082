"""The least that an adversary of a table pays for a mistake, by bisection over the costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sklearn_robust._tabular import TabularThreat
from sklearn_robust.targets import AimedTarget, Target, TargetInLots, make_target_in_lots

_MOST_LEVELS = 1000
_DIGITS = 9  # to which sums of costs are told apart


@dataclass(frozen=True)
class LeastCosts:
    """A fitted classifier and samples, asked at every budget that some changes use up.

    Attributes
    ----------
    estimator, X, y, norm, clip_values, n_jobs
        As in `adversarial_distance`.
    threat : TabularThreat
    """

    estimator: Any
    X: Any
    y: Any
    threat: TabularThreat
    norm: str | None
    clip_values: Any
    n_jobs: int | None

    @cached_property
    def levels(self) -> np.ndarray:
        """What changes of some columns cost together, growing, without what costs nothing to do."""
        sums, free = {0.0}, False
        for change in self.threat.changes.values():
            free |= change.cost == 0
            sums |= {round(total + change.cost, _DIGITS) for total in sums}
            if len(sums) > _MOST_LEVELS:
                raise ValueError(
                    f"unit has changes of more than {_MOST_LEVELS} different costs together. Round "
                    "their costs."
                )
        limit = np.inf if self.threat.budget is None else self.threat.budget
        return np.array(sorted(total for total in sums if (total > 0 or free) and total <= limit))

    @cached_property
    def _clean(self) -> np.ndarray:
        return self._at(0).clean if len(self.levels) else self._made(self.threat).clean

    def _at(self, level: int) -> Target | AimedTarget | TargetInLots:
        return self._made(replace(self.threat, budget=float(self.levels[level])))

    def _made(self, threat: TabularThreat) -> Target | AimedTarget | TargetInLots:
        return make_target_in_lots(
            self.estimator, self.X, self.y, epsilon=threat, norm=self.norm,
            clip_values=self.clip_values,
        )  # fmt: skip

    def upper(self) -> np.ndarray:
        """Return the least cost of a mistake that was found; inf: none was."""

        def survive(target: Any, among: np.ndarray) -> np.ndarray:
            found = target.attacked(target.threat, "auto", among=among, n_jobs=self.n_jobs)
            robust: np.ndarray = found.robust
            return robust

        return self._first(survive)

    def lower(self) -> np.ndarray:
        """Return the least cost at which a mistake is not excluded; inf: all are."""

        def proven(target: Any, among: np.ndarray) -> np.ndarray:
            if target.certificate_obstacle is not None:
                return np.zeros(len(among), dtype=bool)
            found: np.ndarray = target.certified(target.threat, "auto", among=among)
            return found

        return self._first(proven)

    def _first(self, holds: Callable[[Any, np.ndarray], np.ndarray]) -> np.ndarray:
        """Return for each sample the least cost at which something no longer holds of it."""
        low = np.zeros(len(self._clean), dtype=np.intp)
        high = np.where(self._clean, len(self.levels), 0)
        while (open_ := low < high).any():
            middle = (low + high) // 2
            for level in np.unique(middle[open_]):
                among = open_ & (middle == level)
                kept = among & holds(self._at(int(level)), among)
                low[kept], high[among & ~kept] = level + 1, level
        least = np.append(self.levels, np.inf)[low]
        return np.where(self._clean, least, 0.0)
