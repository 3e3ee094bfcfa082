"""A fitted classifier as its adversary meets it: one object that answers every question.

The base class knows a classifier by its scores alone. A family that can be followed further
overrides what it knows better: `_differentiable`, `_linear`, `_network`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_robust._arrays import to_numpy
from sklearn_robust._labels import encode_labels
from sklearn_robust._pieces import by_pieces, piece_bytes, pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import warn_user
from sklearn_robust.attacks import (
    AttackEnsemble,
    BatchedSearch,
    DirectAttack,
    Model,
    Square,
    Verdict,
    evaluate,
    get_attack,
    reaching,
    towards,
)
from sklearn_robust.preprocessing import Samples
from sklearn_robust.targets._attacked import Attacked as Attacked
from sklearn_robust.targets._subject import Subject

# What a sample weighs while it is judged: itself, restored, transformed, and scored.
_COPIES = 8
# What is kept of a sample that is attacked: itself, where it has been moved, and what batches hold.
_FOUND = 4
# Attacks by name that stand for whatever scores alone can find.
_BY_SCORES = ("auto", "strong", "square")
# Samples among which those of other classes are sought.
_MOST_CANDIDATES = 2000
# Features up to which a search in rounds of many points finds what one by one would.
_FEW = 32
_QUERIES = 1000


class BlackBoxWarning(UserWarning):
    """The robustness of a classifier was measured through its scores alone.

    An attack that sees no formulas finds less than one that does: the accuracy it leaves is an
    upper bound of the robust accuracy, and often a loose one. Given as long as the caller leaves
    the choice of the attack to the library; ``attack="square"`` says that scores are meant.
    """


class Target:
    """A fitted classifier and samples, known by its scores alone.

    Parameters
    ----------
    subject : Subject
    samples : Samples
        The raw samples as rows.
    model : Model
        What attacks see, on ``samples.rows``.
    obstacle : str
        Why no more is known.

    Attributes
    ----------
    rows : ndarray or sparse matrix
        The samples as attacks see them.
    labels : ndarray of int or None
        Class indices; -1 for a label that was not seen in ``fit``, which is a mistake.
    threat : ThreatModel
        On `rows`, at the radius that the target was made with.
    kind : str
        What the accuracy under attack is: "exact", or an upper bound from a "white box" or a "black
        box".

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn_robust.targets import make_target
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = KNeighborsClassifier(metric="canberra").fit(X, y)
    >>> target = make_target(clf, X, y, epsilon=0.1)
    >>> target.kind
    'black box'
    >>> target.obstacle
    'KNeighborsClassifier is of no family that has formulas or bounds.'
    """

    kind = "black box"
    # Whether samples are held as they were passed, and floats are made of a piece of them alone.
    keeps_samples = False
    # Trees and neighbours cost less per sample the more samples they are asked for at once.
    batch_size = 1024

    def __init__(self, subject: Subject, samples: Samples, model: Model, obstacle: str) -> None:
        self.estimator, self.classes_ = subject.estimator, subject.classes_
        self.samples, self.model, self.obstacle = samples, model, obstacle
        self.rows = samples.rows
        self.threat = samples.threat(subject.raw_threat)
        self.threat.check_data(self.rows)
        n = self.rows.shape[0]
        self.labels = None if subject.y is None else encode_labels(subject.y, self.classes_, n)

    def predict(self, rows: Any) -> np.ndarray:
        """Return the class indices of the estimator's own predictions for some rows."""
        return by_pieces(
            lambda piece: self._judge(rows[piece]), rows.shape[0], _COPIES * row_bytes(rows),
            dtype=np.intp, most=self._most,
        )  # fmt: skip

    # Samples judged at a time at the most.
    _most: int | None = None

    def _judge(self, rows: Any) -> np.ndarray:
        predicted = np.ravel(np.asarray(self.estimator.predict(self.samples.restore(rows))))
        return np.searchsorted(self.classes_, predicted)

    @cached_property
    def predicted(self) -> np.ndarray:
        """The class index that is predicted for each sample, shape (n_samples,)."""
        return self.predict(self.rows)

    @cached_property
    def clean(self) -> np.ndarray:
        """Whether each sample is classified correctly as it is, shape (n_samples,)."""
        return self.predicted == self.labels

    def check(self, attack: Any = "auto") -> None:
        """Refuse what cannot be measured, and warn of what is measured loosely.

        Raises
        ------
        ValueError
            If the scores of a sample are NaN or infinite.

        Warns
        -----
        BlackBoxWarning
            If only the scores are known and the choice of the attack is left to the library, or the
            scores do not decide.
        """
        scores, name = self._scores(), type(self.estimator).__name__
        bad = ~np.isfinite(scores).all(axis=1)
        if bad.any():
            raise ValueError(
                f"{name} gives NaN or infinite scores for {int(bad.sum())} of {len(bad)} samples. "
                "There is no robustness to measure: check the model."
            )
        if len(scores) and (other := scores.argmax(axis=1) != self.predicted).any():
            warn_user(
                f"{name} predicts another class than its scores favour for {int(other.sum())} of "
                f"{len(other)} samples, as one with a threshold of its own does. The attack "
                "follows the scores, which overstates robustness. Measure the classifier inside.",
                BlackBoxWarning,
            )
        if leaves_choice(attack):
            warn_user(
                f"{name} is attacked through its scores alone, which overstates its robustness: "
                f"{self.obstacle} Pass attack='square' if that is meant.",
                BlackBoxWarning,
            )

    def _scores(self) -> np.ndarray:
        model, n = self.model, self.rows.shape[0]
        return by_pieces(
            lambda piece: to_numpy(model.logits(model.asarray(self.rows[piece]))),
            n, _COPIES * row_bytes(self.rows), (model.n_classes,),
        )  # fmt: skip

    def attacked(
        self, threat: ThreatModel, attack: Any = "auto", *, among: Any = None, **run: Any
    ) -> Attacked:
        """Return which samples survive.

        Parameters
        ----------
        threat : ThreatModel
            On `rows`, such as ``target.threat.scaled(2)``.
        attack : str or an attack, default="auto"
        among : bool ndarray of shape (n_samples,), optional
            Samples worth attacking; the others come back as False.
        **run
            `seed`, `n_jobs` and `verbose` of `sklearn_robust.attacks.evaluate`.
        """
        robust = np.zeros(len(self.clean), dtype=bool)
        broken: dict[str, int] = {}
        for lot, verdict in self._evaluated(threat, attack, self._open(among), **run):
            robust[lot] = verdict.robust
            for record in verdict.records:
                broken[record.name] = broken.get(record.name, 0) + record.n_broken
        return Attacked(robust, broken, "white box" if self._has_gradients else "black box")

    @property
    def _has_gradients(self) -> bool:
        return hasattr(self.model, "ascent")

    def perturbed(self, threat: ThreatModel, attack: Any = "auto", **run: Any) -> Any:
        """Return the points that `attacked` judges, in the container of the raw samples.

        Misclassified samples come back as they are; where no mistake is found, the point is that of
        the last attack.
        """
        rows = dense_rows(self.rows).copy()
        for lot, verdict in self._evaluated(threat, attack, self._open(None), **run):
            rows[lot] = verdict.X_adv
        return self.samples.restore(rows, all_rows=True)

    def _open(self, among: np.ndarray | None) -> np.ndarray:
        """Return the indices of the samples that are right, among some."""
        return np.flatnonzero(self.clean if among is None else self.clean & among)

    def _evaluated(
        self,
        threat: ThreatModel,
        attack: Any,
        open_: np.ndarray,
        *,
        seed: int = 0,
        aim: int | None = None,
        **run: Any,
    ) -> Iterator[tuple[np.ndarray, Verdict]]:
        """Yield some of the samples, by index, and what was found of them, until all have been.

        The points found are as large as the samples, and held for so many at a time only. With a
        class to `aim` at, by index, samples are robust until they are taken for it.
        """
        assert self.labels is not None
        chosen, n_bytes = self._chosen(attack, aim), _FOUND * row_bytes(self.rows)
        model, labels, judge = self.model, self.labels, reaching(self.predict, aim)
        if aim is not None:
            model, labels = towards(model, aim), np.zeros_like(labels)
        lots = [open_[piece] for piece in pieces(len(open_), n_bytes)] or [open_]
        for number, lot in enumerate(lots):
            verdict = evaluate(
                model, dense_rows(self.rows[lot]), labels[lot], threat, chosen,
                judge, clean=np.ones(len(lot), dtype=bool), seed=seed + number,
                batch_size=self.batch_size, **run,
            )  # fmt: skip
            yield lot, verdict

    def _chosen(self, attack: Any, aim: int | None = None) -> Any:
        """Return the attack meant; a black box is first moved towards samples of other classes."""
        if self._has_gradients:
            return get_attack(attack)
        chosen = get_attack(attack, gradients=False)
        if not isinstance(attack, str) or attack not in _BY_SCORES:
            return chosen
        known = self._candidates(aim)
        members: tuple[Any, ...] = getattr(chosen, "attacks", (chosen,))
        first, *others = members
        if isinstance(first, BatchedSearch):
            if self.rows.shape[1] > _FEW:  # many features: one change after another leads further
                others = [Square(_QUERIES, start=DirectAttack(**known)), *others]
            return AttackEnsemble([replace(first, **known), *others])
        return AttackEnsemble([replace(first, start=DirectAttack(**known)), *others])

    def _candidates(self, aim: int | None = None) -> dict[str, Any]:
        """Return some of the samples and their classes, towards which an attack may move others."""
        n = self.rows.shape[0]
        most = int(min(n, _MOST_CANDIDATES, max(1, piece_bytes() // row_bytes(self.rows))))
        spread = np.linspace(0, n - 1, most).round().astype(np.intp)
        classes = self.predicted[spread]
        return {
            "candidates": dense_rows(self.rows[spread]),
            "classes": classes if aim is None else classes == aim,
        }

    @property
    def certificate_obstacle(self) -> str | None:
        """Why `certified` can prove nothing; None if it can. Known before any work."""
        return self.obstacle

    def certificate(self, method: str) -> str:
        """Return what `certified` is, for a report: the method of the bounds, or exact."""
        return method

    def certified(self, threat: ThreatModel, method: Any, *, among: Any = None) -> np.ndarray:
        """Return which samples are proven robust, shape (n_samples,).

        Parameters
        ----------
        threat : ThreatModel
            On `rows`.
        method : str
            Of the bound, where there is a choice.
        among : bool ndarray, optional
            Samples worth trying; the others come back as False.

        Raises
        ------
        TypeError
            If `certificate_obstacle` says so.
        """
        raise TypeError(
            f"{type(self.estimator).__name__} cannot be certified: {self.certificate_obstacle} Use "
            "robust_score for an upper bound."
        )

    def distances(self, unit: ThreatModel, attack: Any = None, **run: Any) -> np.ndarray:
        """Return how far each sample is from a mistake, in units of the radius of `unit`.

        `run` has options of the search, as of `attacked`.
        """
        raise TypeError(
            f"adversarial_distance needs gradients, and {type(self.estimator).__name__} has none: "
            f"{self.obstacle} Use robust_score with attack='square' at the radii of interest."
        )

    def distance_bounds(
        self, unit: ThreatModel, attack: Any = None, **run: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return between which bounds each distance lies; 0 where nothing is proven."""
        upper = self.distances(unit, attack, **run)
        return np.zeros_like(upper), upper

    def member_model(self) -> Any:
        """Return a model in numpy, on `rows` made flat, for combinations that hold this."""
        return self.model

    def gradients(self) -> np.ndarray:
        """Return the gradients of the cross-entropy with respect to the raw samples."""
        raise TypeError(
            f"input_gradients cannot differentiate {type(self.estimator).__name__}: {self.obstacle}"
        )


def dense_rows(rows: Any) -> np.ndarray:
    """Return rows as an attack needs them: dense, as it moves zeros too, and floats for bytes."""
    rows = rows.toarray() if sparse.issparse(rows) else rows
    return rows.astype(np.float32) if rows.dtype == np.uint8 else rows  # exact


def leaves_choice(attack: Any) -> bool:
    """Whether the choice of the attack is left to the library."""
    return isinstance(attack, str) and attack in ("auto", "strong")
