"""Tables for any classifier: each row that flips can make of a sample is judged by itself.

What is left of the budget then moves the numbers beside. Classifiers that know no budgets are asked
for each largest choice of columns that it buys: together these hold all that the adversary can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sklearn_robust._pieces import pieces
from sklearn_robust._tabular import Moves
from sklearn_robust._threat import ThreatModel
from sklearn_robust.preprocessing import as_table
from sklearn_robust.targets._categories import flip_values
from sklearn_robust.targets._choices import KEEP, Variants
from sklearn_robust.targets._subject import Subject
from sklearn_robust.targets._target import Attacked, Target, dense_rows

# What is made of a row while it is judged.
_COPIES = 8
_KINDS = ("exact", "white box", "black box")

# Which rows of a target, given by a mask, stay right; and where some that did not are kept.
Ask = Callable[[Target, ThreatModel, np.ndarray], np.ndarray]
Keep = Callable[[np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class _Pairs:
    """Samples, and a variant of each."""

    sample: np.ndarray
    variant: np.ndarray


@dataclass
class _Broken:
    """Rows at which samples are mistaken: categories, and numbers where these were moved."""

    robust: np.ndarray
    values: np.ndarray
    broken_by: dict[str, int] = field(default_factory=lambda: {"flips": 0})

    def note(self, samples: np.ndarray, values: np.ndarray, by: str) -> np.ndarray:
        """Note broken variants by their samples; return the first one of each that is new."""
        new, first = np.unique(samples, return_index=True)
        fresh = self.robust[new]
        self.robust[new] = False
        self.values[new[fresh]] = values[first[fresh]]
        self.broken_by[by] = self.broken_by.get(by, 0) + int(fresh.sum())
        return first[fresh]


class VariantsTarget(Target):
    """A classifier whose adversary flips categories, or has a budget that it does not know.

    A sample is robust where all its variants are, and proven where all of them are proven.

    Parameters
    ----------
    subject : Subject
    plain : Target
        The same samples for an adversary who flips nothing.
    make : callable
        From a subject without flips to its target.
    takes_budgets : bool
        Whether that target knows budgets.
    """

    def __init__(
        self,
        subject: Subject,
        plain: Target,
        make: Callable[[Subject], Target],
        takes_budgets: bool,
    ) -> None:
        super().__init__(subject, plain.samples, plain.model, plain.obstacle)
        moves = subject.raw_threat.moves
        assert moves is not None
        self.kind, self._plain, self._subject, self._make = plain.kind, plain, subject, make
        found = [flip_values(subject, column, flip) for column, flip in moves.flips.items()]
        self._columns = list(moves.flips)
        self._values = [values for values, _, _ in found]
        self._current = np.stack(
            [np.zeros(len(self.rows), np.intp), *(now for *_, now in found)], axis=1
        )[:, 1:]
        self._variants = Variants.of(moves, [n for _, n, _ in found], takes_budgets)
        self._moving = np.flatnonzero(moves.moving)

    def check(self, attack: Any = "auto") -> None:
        self._plain.check(attack)

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples survive flips, and moves of numbers beside them."""
        kinds = ["exact"]

        def ask(target: Target, own: ThreatModel, among: np.ndarray) -> np.ndarray:
            found = target.attacked(own, attack, among=among, **run)
            kinds.append(found.kind)
            return found.robust

        found = self._search(threat, self._open(among), ask)
        return Attacked(found.robust, found.broken_by, max(kinds, key=_KINDS.index))

    @property
    def certificate_obstacle(self) -> str | None:
        return self._plain.certificate_obstacle

    def certificate(self, method: str) -> str:
        return self._plain.certificate(method)

    def certified(self, threat: ThreatModel, method: str, *, among: Any = None) -> np.ndarray:
        """Return which samples are proven in all their variants."""
        if self.certificate_obstacle is not None:
            return super().certified(threat, method, among=among)

        def ask(target: Target, own: ThreatModel, among: np.ndarray) -> np.ndarray:
            return target.certified(own, method, among=among)

        return self._search(threat, self._open(among), ask).robust

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        """Return mistaken rows where `attacked` finds any, and others as they are."""
        numbers = np.zeros((0, 0))

        def ask(target: Target, own: ThreatModel, among: np.ndarray) -> np.ndarray:
            nonlocal numbers
            target.clean = among
            X_adv = target.perturbed(own, attack, **run)
            numbers = as_table(X_adv).floats(self._moving, missing=True)
            return self._judged(X_adv) == target.labels

        rows = dense_rows(self.rows).copy()
        places = self._places()

        def keep(samples: np.ndarray, first: np.ndarray) -> None:
            rows[np.ix_(samples, places)] = numbers[first]

        found = self._search(threat, self._open(None), ask, keep)
        raw = self.samples.restore(rows, all_rows=True)
        return self._with_values(raw, found.values)

    def _places(self) -> np.ndarray:
        """Return where in the rows the numbers are that move."""
        columns = self.samples.columns
        return self._moving if columns is None else np.searchsorted(columns, self._moving)

    def _search(
        self,
        threat: ThreatModel,
        open_: np.ndarray,
        ask: Ask,
        keep: Keep | None = None,
    ) -> _Broken:
        """Return which samples survive all that is asked of their variants.

        `keep` is told which samples an answer has broken, and at which of its rows.
        """
        robust = np.zeros(len(self.clean), dtype=bool)
        robust[open_] = True
        found = _Broken(robust, self._current.copy())
        if not threat.epsilon:
            return found
        n_flips = (self._variants.codes != KEEP).sum(axis=1)
        for n in range(1, n_flips.max() + 1):  # few flips break most samples
            for pairs in self._pairs(open_, found, np.flatnonzero(n_flips == n)):
                wrong = self._judged(self._raw(pairs)) != self._labels[pairs.sample]
                found.note(pairs.sample[wrong], self._filled(pairs)[wrong], "flips")
        every = np.unique(np.concatenate([*self._variants.parts, np.zeros(0, np.intp)]))
        for pairs in self._pairs(open_, found, every) if len(every) else ():
            self._moved(pairs, threat, found, ask, keep)
        return found

    def _moved(
        self, pairs: _Pairs, threat: ThreatModel, found: _Broken, ask: Ask, keep: Keep | None
    ) -> None:
        """Note which of some variants are broken where numbers move as well."""
        held: dict[bool, Target] = {}
        values = self._filled(pairs)
        for moves, part in zip(self._variants.moves, self._variants.parts, strict=True):
            among = np.isin(pairs.variant, part) & found.robust[pairs.sample]
            if not among.any():
                continue
            if moves.is_box not in held:
                # Of some choice of columns, all may move that any of them moves.
                whole = self._variants.whole if moves.is_box else moves
                held[moves.is_box] = self._target(pairs, whole)
            target = held[moves.is_box]
            raw = replace(self._subject.raw_threat, moves=moves)
            own = target.samples.threat(raw).scaled(float(threat.epsilon))
            wrong = np.flatnonzero(among & ~ask(target, own, among))
            first = wrong[found.note(pairs.sample[wrong], values[wrong], "numbers")]
            if keep is not None:
                keep(pairs.sample[first], first)

    def _pairs(self, open_: np.ndarray, found: _Broken, part: np.ndarray) -> Iterator[_Pairs]:
        """Yield some variants of samples that are open still, as many as memory is meant for."""
        n_bytes = _COPIES * 8 * len(self._subject.table.numeric)
        for piece in pieces(len(open_), n_bytes * max(1, len(part))):
            samples = open_[piece]
            samples = samples[found.robust[samples]]
            # A flip to what is there is none.
            new = self._variants.codes[part] != self._current[samples][:, None]
            every = np.argwhere(new.all(axis=2))
            for some in pieces(len(every), n_bytes):
                pick = every[some][found.robust[samples[every[some][:, 0]]]]
                if len(pick):
                    yield _Pairs(samples[pick[:, 0]], part[pick[:, 1]])

    def _target(self, pairs: _Pairs, moves: Moves) -> Target:
        """Return the target of variants that flips alone do not break."""
        labels = self._labels[pairs.sample]
        subject = replace(
            self._subject.with_moves(moves), X=self._raw(pairs), y=self.classes_[labels]
        )
        target = self._make(subject)
        target.predicted = labels  # as they have been judged
        return target

    def _filled(self, pairs: _Pairs) -> np.ndarray:
        codes = self._variants.codes[pairs.variant]
        return np.where(codes == KEEP, self._current[pairs.sample], codes)

    def _raw(self, pairs: _Pairs) -> Any:
        """Return raw rows of samples with other categories."""
        table, none = self._subject.table, np.zeros(0, dtype=np.intp)
        raw = table.replaced(pairs.sample, none, np.zeros((len(pairs.sample), 0)))
        return self._with_values(raw, self._filled(pairs))

    def _with_values(self, raw: Any, values: np.ndarray) -> Any:
        new = {column: (self._values[k], values[:, k]) for k, column in enumerate(self._columns)}
        return self._subject.table.with_labels(raw, new) if new else raw

    def _judged(self, raw: Any) -> np.ndarray:
        predicted = np.ravel(np.asarray(self.estimator.predict(raw)))
        return np.searchsorted(self.classes_, predicted)

    @property
    def _labels(self) -> np.ndarray:
        assert self.labels is not None
        return self.labels

    def gradients(self) -> np.ndarray:
        return self._plain.gradients()

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        raise ValueError("unit must be a radius, as distances are those of a norm.")

    def _evaluated(self, *known: Any, **run: Any) -> Any:
        raise ValueError("target_classes know no flips and no budget. Leave them out.")
