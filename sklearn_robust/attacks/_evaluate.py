"""Holding a model against attacks: the clean point is a candidate, survivors are attacked."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from sklearn_robust._arrays import (
    Array,
    as_floats,
    make_generator,
    rows,
    spacing,
    to_numpy,
)
from sklearn_robust._jobs import delayed, parallel, with_progress
from sklearn_robust._norms import NORMS, Norm, register_norm
from sklearn_robust._pieces import pieces, row_bytes
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import warn_user
from sklearn_robust.attacks._losses import has_nan
from sklearn_robust.attacks._model import CountingModel, Model
from sklearn_robust.attacks._verdict import (
    Attack,
    AttackRecord,
    GradientMaskingWarning,
    Predict,
    Verdict,
)

# Without counts: said of every batch of samples and every radius, it is shown once.
_MASKED = (
    "The gradient of the model is exactly zero at samples that no attack has broken: gradient "
    "masking, as by rounding or saturated units. Attacks with gradients cannot see there; 'auto' "
    "and 'strong' search with queries, and their accuracy is an upper bound as loose as for a "
    "black box."
)


def evaluate(
    model: Model,
    X: np.ndarray,
    y: np.ndarray,
    threat: ThreatModel,
    attack: Attack,
    predict: Predict,
    *,
    clean: np.ndarray | None = None,
    seed: int = 0,
    batch_size: int = 256,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Verdict:
    """Attack the samples that `predict` gets right and let `predict` judge what was found.

    Parameters
    ----------
    model : Model
        What the attack sees.
    X : ndarray of shape (n_samples, ...)
        Left unchanged, whatever the model does to its input.
    y : ndarray of shape (n_samples,)
        Class indices.
    threat : ThreatModel
    attack : Attack or AttackEnsemble
        The attacks of an ensemble run one after another, each on what the former left correct.
    predict : callable
        Maps samples to class indices. The judge may compute in a higher precision than `model`.
    clean : bool ndarray of shape (n_samples,), optional
        Which samples `predict` gets right as they are, if that is known already.
    seed : int
        Each batch draws from its own generator, made from the seed and the batch's number.
    batch_size : int
        Samples attacked at a time, fewer if they are so large that they exceed scikit-learn's
        ``working_memory``. Results depend on it, but not on `n_jobs`.
    n_jobs : int, optional
        Batches attacked at a time, see `joblib.Parallel`. None: 1.
    verbose : int
        1 or more: show a progress bar.

    Returns
    -------
    verdict : Verdict

    Raises
    ------
    ValueError
        If X lies outside the threat's clip_values, the attack does not suit the model, or the model
        gives NaN at samples of X as they are.
    RuntimeError
        If the attack returns a point outside the threat model.

    Warns
    -----
    RuntimeWarning
        If the model gives NaN under attack. Such samples count as broken.
    GradientMaskingWarning
        If its gradient is exactly zero at samples that no attack has broken.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> X, y, threat = np.array([[1., 0.], [3., 0.]]), np.array([1, 1]), attacks.ThreatModel(0.5)
    >>> predict = attacks.predictor(model)
    >>> verdict = attacks.evaluate(model, X, y, threat, attacks.PGD(20), predict)
    >>> verdict.clean, verdict.robust
    (array([ True,  True]), array([False,  True]))
    """
    X = as_floats(X)
    threat.check_data(X)
    X_adv = np.array(X)
    if clean is None:
        clean = predict(X_adv) == y
        np.copyto(X_adv, X)  # a classifier may write into what it is given
    _check_scores(model, X, np.flatnonzero(clean), batch_size)
    state = _State(X_adv, clean.copy(), np.full(len(y), -1), *np.zeros((2, len(y)), dtype=bool))
    records = []
    for stage, member in enumerate(getattr(attack, "attacks", (attack,))):
        survivors = np.flatnonzero(state.robust)
        batches = _batches(survivors, X, batch_size)
        work = (
            delayed(_attack_batch)(
                model,
                (X[batch], y[batch]),
                (threat, threat.geometry),
                member,
                batch_seed(seed, stage, number),
            )
            for number, batch in enumerate(batches)
        )
        done = parallel(n_jobs)(work)
        label = f"{stage + 1}. {type(member).__name__}"
        results = []
        for batch, result in zip(
            batches, with_progress(done, len(batches), label, verbose), strict=True
        ):
            broken = mistaken(predict, result.X_adv, y[batch], result.nan)
            moved = rows(result.X_adv != X[batch]).any(axis=1)
            state.take(batch, result, broken, moved, stage)
            results.append(result)
        records.append(_record(member, len(survivors), (state.broken_by == stage).sum(), results))
    state.warn()
    return state.verdict(clean, records)


@dataclass
class _State:
    """What is known of each sample so far."""

    X_adv: np.ndarray
    robust: np.ndarray
    broken_by: np.ndarray
    nan: np.ndarray
    masked: np.ndarray

    def take(
        self,
        batch: np.ndarray,
        result: _BatchResult,
        broken: np.ndarray,
        moved: np.ndarray,
        stage: int,
    ) -> None:
        """Note what an attack has done to a batch; what it did not move stays where it was."""
        self.X_adv[batch[moved]], self.nan[batch] = result.X_adv[moved], result.nan
        self.robust[batch], self.broken_by[batch[broken]] = ~broken, stage
        if result.masked is not None:
            self.masked[batch] = result.masked

    def warn(self) -> None:
        if self.nan.any():
            warn_user(
                f"The model gave NaN under attack for {self.nan.sum()} of {len(self.nan)} samples; "
                "they count as misclassified. Its logits overflow: use a higher precision, or "
                "check the model.",
                RuntimeWarning,
            )
        if (self.masked & self.robust).any():
            warn_user(_MASKED, GradientMaskingWarning)

    def verdict(self, clean: np.ndarray, records: list[AttackRecord]) -> Verdict:
        return Verdict(
            self.X_adv,
            clean,
            self.robust,
            tuple(records),
            self.broken_by,
            int(self.nan.sum()),
            self.masked,
        )


def _record(
    attack: Attack, n_attacked: int, n_broken: int, results: list[_BatchResult]
) -> AttackRecord:
    return AttackRecord(
        attack,
        n_attacked=n_attacked,
        n_broken=int(n_broken),
        seconds=sum(r.seconds for r in results),
        n_forwards=sum(r.n_forwards for r in results),
        n_gradients=sum(r.n_gradients for r in results),
    )


def _batches(samples: np.ndarray, X: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return the samples, given by index, in batches of a bounded size."""
    parts = pieces(len(samples), row_bytes(X), most=batch_size)
    return [samples[part] for part in parts]


def _check_scores(model: Model, X: np.ndarray, samples: np.ndarray, batch_size: int) -> None:
    """Raise ValueError if there is NaN before any attack."""
    parts = (model.asarray(X[batch]) for batch in _batches(samples, X, batch_size))
    n_nan = sum(int(has_nan(model.logits(part)).sum()) for part in parts)
    if n_nan:
        raise ValueError(
            f"The model gives NaN for {n_nan} of {len(samples)} samples as they are. There is no "
            "robustness to measure: check its weights, and the scale of X."
        )


def mistaken(predict: Predict, X: np.ndarray, y: np.ndarray, nan: np.ndarray) -> np.ndarray:
    """Return where `predict` is wrong; NaN counts as that, and a predictor might not take it."""
    wrong = nan.copy()
    if not nan.all():
        wrong[~nan] = predict(X[~nan]) != y[~nan]
    return wrong


def predictor(model: Model) -> Predict:
    """Return the judge for `evaluate` that takes `model` at its word.

    Parameters
    ----------
    model : Model

    Returns
    -------
    predict : callable
        Maps samples of shape (n_samples, ...) to the classes of the largest logits, (n_samples,).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_robust import attacks
    >>> model = attacks.LinearModel(np.array([[-1., 2.], [1., -2.]]), np.zeros(2))
    >>> attacks.predictor(model)(np.array([[1., 0.], [0., 1.]]))
    array([1, 0])
    """

    def predict(X: np.ndarray) -> np.ndarray:
        return to_numpy(model.logits(model.asarray(X))).argmax(axis=1)

    return predict


@dataclass(frozen=True)
class _BatchResult:
    X_adv: np.ndarray
    nan: np.ndarray
    masked: np.ndarray | None  # None: no gradient was taken at all of them
    seconds: float
    n_forwards: int
    n_gradients: int


def _attack_batch(
    model: Model,
    data: tuple[np.ndarray, np.ndarray],
    set_: tuple[ThreatModel, Norm],
    attack: Attack,
    seed: int,
) -> _BatchResult:
    threat, norm = set_
    if norm.name not in NORMS:
        register_norm(norm)  # in a worker process, where nobody has
    # One argument: joblib's dask backend puts bare arrays on a single worker, and they are lost
    # with it; a tuple travels with the task, which can then be given to another.
    X, y = data
    start = time.perf_counter()
    counted = CountingModel(model)
    x = model.asarray(X.copy())  # not X itself, into which a model might write
    found = attack.perturb(counted, x, model.labels(y), threat, make_generator(seed, x))
    seconds = time.perf_counter() - start
    inside = threat.contains(found, model.asarray(X))
    if not inside.all():
        raise RuntimeError(
            f"{type(attack).__name__} returned {int((~inside).sum())} points outside the "
            "threat model. This is a defect of the attack, or of a model that writes into the X "
            "it is given."
        )
    found_in_set = _in_set(found, threat, X)
    # The judge may compute in a higher precision, and not see the NaN that the attack has met.
    nan = to_numpy(has_nan(model.logits(found)))
    masked = counted.zero_gradient
    if masked is not None:
        masked = to_numpy(masked) if len(masked) == len(X) else None
    return _BatchResult(found_in_set, nan, masked, seconds, counted.n_forwards, counted.n_gradients)


def _in_set(found: Array, threat: ThreatModel, X: np.ndarray) -> np.ndarray:
    """Return points in the precision of X; the model's, if lower, may round them out of the set."""
    coarse = spacing(found) > spacing(X)
    found = to_numpy(found).astype(X.dtype, copy=False)
    if coarse:
        return threat.around(X).project(found)
    limits = threat.limits(X)
    return found if limits is None else np.clip(found, *limits)


def batch_seed(seed: int, stage: int, number: int) -> int:
    """Return the seed of one batch of one attack."""
    return int(np.random.SeedSequence((seed, stage, number)).generate_state(1)[0])
