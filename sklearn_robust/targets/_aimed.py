"""A classifier whose adversary wants one chosen class for each sample, and not just any mistake."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_robust._labels import encode_labels
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import warn_user
from sklearn_robust.targets._target import (
    Attacked,
    BlackBoxWarning,
    Target,
    dense_rows,
    leaves_choice,
)


class AimedTarget:
    """A target, and the class that each of its samples is to be taken for.

    A sample is robust where it is right and no point of its set is given that class. Of two classes
    there is one to be taken for, and all is as it is without a choice.

    Parameters
    ----------
    target : Target
    target_classes : label or array-like of shape (n_samples,)
        In the user's own labels; one for all samples, or one for each.

    Raises
    ------
    ValueError
        If a class is unknown, or is the sample's own.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_robust.targets import make_target
    >>> from sklearn_robust.targets._aimed import AimedTarget
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> aimed = AimedTarget(make_target(clf, X, y, epsilon=0.5), (y + 1) % 3)
    >>> attacked = aimed.attacked(aimed.threat, seed=0)
    >>> attacked.kind, attacked.robust.mean().round(2)
    ('white box', np.float64(0.75))
    """

    def __init__(self, target: Target, target_classes: Any) -> None:
        self.target, self.threat, self.clean = target, target.threat, target.clean
        self.aims = _encoded(target, target_classes)
        self.is_free = len(target.classes_) == 2
        gradients = target._has_gradients
        self.kind = target.kind if self.is_free else "white box" if gradients else "black box"
        self.certificate_obstacle = target.certificate_obstacle

    def check(self, attack: Any = "auto") -> None:
        """Refuse what cannot be measured, and warn of what is measured loosely."""
        target = self.target
        if self.is_free or target._has_gradients:
            target.check(attack)
            return
        target.check("square" if leaves_choice(attack) else attack)
        if leaves_choice(attack):
            warn_user(
                f"{type(target.estimator).__name__} is led to the chosen classes through its "
                "scores alone, which overstates its robustness. Pass attack='square' if that is "
                "meant.",
                BlackBoxWarning,
            )

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples are right and are not taken for their classes."""
        if self.is_free:
            return self.target.attacked(threat, attack, among=among, **run)
        open_ = self.target._open(among)
        robust = np.zeros(len(self.clean), dtype=bool)
        broken: dict[str, int] = {}
        for lot, verdict in self._evaluated(threat, attack, open_, run):
            robust[lot] = verdict.robust
            for record in verdict.records:
                broken[record.name] = broken.get(record.name, 0) + record.n_broken
        return Attacked(robust, broken, self.kind)

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        """Return points that are taken for the chosen classes, in the container of the samples.

        Samples that are mistaken for another class are led there too; where that is not found, the
        point is that of the last attack.
        """
        target = self.target
        if self.is_free:
            return target.perturbed(threat, attack, **run)
        rows = dense_rows(target.rows).copy()
        for lot, verdict in self._evaluated(threat, attack, np.arange(len(rows)), run):
            rows[lot] = verdict.X_adv
        return target.samples.restore(rows, all_rows=True)

    def _evaluated(self, threat: ThreatModel, attack: Any, open_: np.ndarray, run: Any) -> Any:
        """Yield some of the samples, by index, and what was found of them, class by class."""
        away = open_[self.target.predicted[open_] != self.aims[open_]]
        for index in np.unique(self.aims[away]):
            mine = away[self.aims[away] == index]
            yield from self.target._evaluated(threat, attack, mine, aim=int(index), **run)

    def certificate(self, method: str) -> str:
        whole = self.target.certificate(method)
        return whole if self.is_free else f"{whole}, that no other class is reached"

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are proven: where no class can be reached, the chosen one cannot."""
        return self.target.certified(threat, method, among=among)


def _encoded(target: Target, target_classes: Any) -> np.ndarray:
    """Return the index of the class that each sample is to be taken for."""
    n, classes = target.rows.shape[0], target.classes_
    given = np.asarray(target_classes)
    given = np.full(n, given[()]) if given.ndim == 0 else given
    if given.shape != (n,):
        raise ValueError(
            "target_classes must be one label, or one for each sample, here "
            f"{n}, got shape {given.shape}."
        )
    try:
        aims = encode_labels(given, classes, n)
    except ValueError:
        aims = np.full(n, -1)
    if (aims < 0).any():
        unknown = np.unique(given[aims < 0]).tolist()[:10]
        raise ValueError(
            f"target_classes must be of the classes {classes.tolist()[:10]}, got {unknown}."
        )
    if (own := aims == target.labels).any():
        raise ValueError(
            f"target_classes must differ from y, and is the sample's own label for {int(own.sum())}"
            f" of {n} samples, the first of them number {int(own.argmax())}. Leave these out."
        )
    return aims
