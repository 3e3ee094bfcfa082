"""Many samples, a lot of them at a time: what is made of them in floats is as large as a lot."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import warn_user
from sklearn_robust.preprocessing import is_frame, stack_frames
from sklearn_robust.targets._aimed import AimedTarget
from sklearn_robust.targets._make import make_target
from sklearn_robust.targets._target import Attacked, Target

# What a target makes of a sample: it in floats, and what the steps of a pipeline make of it.
_COPIES = 8
_KINDS = ("exact", "white box", "black box")

Asked = Target | AimedTarget


class TargetInLots:
    """A fitted classifier, and samples of which a `Target` is made for a lot at a time.

    It answers what a target answers. Targets are made anew for every question, as holding them
    would hold all samples several times in floats.

    Parameters
    ----------
    make : callable
        From a slice or an array of indices to the target of these samples.
    lots : list of slice
        All samples, in their order.
    """

    def __init__(self, make: Callable[[Any], Asked], lots: list[slice]) -> None:
        self._make, self._lots = make, lots
        self.threat = make(slice(0, 1)).threat
        self.n_samples = lots[-1].stop

    @cached_property
    def _survey(self) -> list[tuple[str, str | None, Any]]:
        """For each lot what kind it is of, why nothing can be proven, and what is predicted."""
        found = []
        for target in map(self._make, self._lots):
            found.append((target.kind, target.certificate_obstacle, _inner(target).predicted))
        return found

    def _targets(self) -> Iterator[tuple[int, slice, Asked]]:
        """Yield the number of each lot, its samples, and its target, which is not asked twice."""
        for number, lot in enumerate(self._lots):
            target = self._make(lot)
            if "_survey" in self.__dict__:
                _inner(target).predicted = self._survey[number][2]
            yield number, lot, target

    def _own(self, target: Asked, threat: ThreatModel) -> ThreatModel:
        """Return a threat model of the first lot on the rows of another one.

        They are other rows where only one of the two could be followed.
        """
        mine, theirs = self.threat.epsilon, target.threat.epsilon
        if threat.moves is not None:
            return target.threat.scaled(float(threat.epsilon) / float(theirs))
        if np.shape(mine) == np.shape(theirs):
            return threat
        size = float(np.max(mine))
        return target.threat.scaled(float(np.max(threat.epsilon)) / size if size else 0.0)

    @property
    def kind(self) -> str:
        """The least that is known of a lot."""
        return max((kind for kind, *_ in self._survey), key=_KINDS.index)

    @property
    def certificate_obstacle(self) -> str | None:
        """Why one of the lots cannot be certified; None if all can."""
        return next((obstacle for _, obstacle, _ in self._survey if obstacle is not None), None)

    @property
    def model(self) -> Any:
        """What attacks see of one sample; each lot has a model of its own."""
        return self.only(np.arange(1)).model

    def only(self, index: np.ndarray) -> Target:
        """Return the target of some of the samples."""
        return _inner(self._make(index))

    @cached_property
    def clean(self) -> np.ndarray:
        """Whether each sample is classified correctly as it is, shape (n_samples,)."""
        return np.concatenate([target.clean for _, _, target in self._targets()])

    def check(self, attack: Any = "auto") -> None:
        """Refuse what cannot be measured, and warn once of what is measured loosely."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _, _, target in self._targets():
                target.check(attack)
        for message, category in dict.fromkeys((str(w.message), w.category) for w in caught):
            warn_user(message, category)

    def attacked(
        self,
        threat: ThreatModel,
        attack: Any = "auto",
        *,
        among: Any = None,
        seed: int = 0,
        **run: Any,
    ) -> Attacked:
        """Return which samples survive, as `Target.attacked` does."""
        robust, broken, kinds = np.zeros(self.n_samples, dtype=bool), dict[str, int](), ["exact"]
        for number, lot, target in self._targets():
            mine = None if among is None else among[lot]
            own = self._own(target, threat)
            found = target.attacked(own, attack, among=mine, seed=seed + number, **run)
            robust[lot] = found.robust
            kinds.append(found.kind)
            for name, n in found.broken_by.items():
                broken[name] = broken.get(name, 0) + n
        return Attacked(robust, broken, max(kinds, key=_KINDS.index))

    def perturbed(
        self, threat: ThreatModel, attack: Any = "auto", *, seed: int = 0, **run: Any
    ) -> Any:
        """Return the points that `attacked` judges, in the container of the raw samples."""
        parts = (
            (target.perturbed(self._own(target, threat), attack, seed=seed + number, **run), lot)
            for number, lot, target in self._targets()
        )
        return _joined(parts, self.n_samples)

    def certificate(self, method: str) -> str:
        """Return what `certified` is, for a report: that of a lot of which least is known."""
        kinds = [kind for kind, *_ in self._survey]
        return self._make(self._lots[kinds.index(self.kind)]).certificate(method)

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are proven robust, shape (n_samples,)."""
        proven = np.zeros(self.n_samples, dtype=bool)
        for _, lot, target in self._targets():
            mine = None if among is None else among[lot]
            proven[lot] = target.certified(self._own(target, threat), method, among=mine)
        return proven

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        """Return how far each sample is from a mistake, in units of the radius of `unit`."""
        found = [
            target.distances(self._own(target, unit), attack, **run)
            for target in (self.only(_all(lot)) for lot in self._lots)
        ]
        return np.concatenate(found)

    def distance_bounds(
        self, unit: ThreatModel, attack: Any = None, **run: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return between which bounds each distance lies."""
        found = [
            target.distance_bounds(self._own(target, unit), attack, **run)
            for target in (self.only(_all(lot)) for lot in self._lots)
        ]
        lower, upper = zip(*found, strict=True)
        return np.concatenate(lower), np.concatenate(upper)

    def gradients(self) -> np.ndarray:
        """Return the gradients of the cross-entropy with respect to the raw samples."""
        parts = ((self.only(_all(lot)).gradients(), lot) for lot in self._lots)
        return _joined(parts, self.n_samples)


def make_target_in_lots(
    estimator: Any, X: Any, y: Any = None, *, target_classes: Any = None, **threat: Any
) -> Asked | TargetInLots:
    """Return what answers for a fitted classifier and samples: a target, or one in lots.

    Parameters
    ----------
    estimator, X, y
        As in `make_target`.
    target_classes : label or array-like of shape (n_samples,), optional
        The class that each sample is to be taken for; None: any mistake counts.
    **threat
        `epsilon`, `norm` and `clip_values` of `make_target`.
    """

    def make(part: Any) -> Asked:
        whole = isinstance(part, slice) and part == slice(None)
        some = (lambda values: values) if whole else (lambda values: _part(values, part))
        target = make_target(estimator, some(X), None if y is None else some(y), **threat)
        if target_classes is None:
            return target
        shared = np.ndim(target_classes) == 0
        return AimedTarget(target, target_classes if shared else some(target_classes))

    lots = _lots(X)
    if len(lots) > 1 and not _inner(make(slice(0, 1))).keeps_samples:
        _check_lengths(X, y, target_classes)
        return TargetInLots(make, lots)
    return make(slice(None))


def _lots(X: Any) -> list[slice]:
    """Return the lots of some samples: one, unless they are dense and large."""
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) < 2 or sparse.issparse(X):
        return [slice(None)]
    return list(pieces(shape[0], _COPIES * 8 * math.prod(shape[1:])))


def _inner(target: Asked) -> Target:
    """Return a target without the classes that are chosen."""
    return target.target if isinstance(target, AimedTarget) else target


def _check_lengths(X: Any, *others: Any) -> None:
    n = X.shape[0]
    for values in others:
        if values is not None and np.ndim(values) and len(values) != n:
            raise ValueError(f"X has {n} samples but there are {len(values)} labels.")


def _part(values: Any, index: Any) -> Any:
    """Return some samples or labels in the container in which they came."""
    if not is_frame(values):
        return np.asarray(values)[index]
    import narwhals as nw

    return nw.from_native(values, eager_only=True)[index].to_native()


def _all(lot: slice) -> np.ndarray:
    return np.arange(lot.start, lot.stop)


def _joined(parts: Iterator[tuple[Any, slice]], n_samples: int) -> Any:
    """Return arrays or data frames one below the other; of arrays no second copy is made."""
    out, frames = np.zeros(0), []
    for values, lot in parts:
        if is_frame(values):
            frames.append(values)
            continue
        if lot.start == 0:
            out = np.empty((n_samples, *values.shape[1:]), values.dtype)
        out[lot] = values
    if not frames:
        return out
    return stack_frames(frames)
