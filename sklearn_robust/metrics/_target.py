"""A fitted classifier and its data in the form that attacks, judges and certificates share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import encode_labels, truth_columns
from sklearn_robust.bounds import certified_correct, worst_case_correct, worst_case_points
from sklearn_robust.bounds._linear import linear_distances
from sklearn_robust.metrics._evaluation import threat_of
from sklearn_robust.metrics._view import View, is_network, look, unwrap


@dataclass(frozen=True)
class Target:
    """What is attacked.

    Attributes
    ----------
    model : Model
        What attacks see; a DifferentiableModel if it has `ascent`.
    predict : callable
        The judge: from samples to class indices.
    X : ndarray
        Samples as `model` and `predict` take them.
    y : ndarray of shape (n_samples,)
        Class indices.
    threat : callable
        From a radius to the threat model on `X`.
    exact : callable or None
        From a threat model to the samples that are robust, where that is known exactly.
    distance : callable or None
        From a threat model as unit to the exact distance of each sample to a mistake.
    certify : callable or None
        From (threat model, candidates, method) to the samples proven robust.
    obstacle : str
        Why `certify` is None.
    view : View or None
        Where these come from; None for a network of this library by itself.
    """

    model: Any
    predict: Callable[[np.ndarray], np.ndarray]
    X: np.ndarray
    y: np.ndarray
    threat: Callable[[Any], ThreatModel]
    exact: Callable[[ThreatModel], np.ndarray] | None
    distance: Callable[[ThreatModel], np.ndarray] | None
    certify: Callable[[ThreatModel, np.ndarray, str], np.ndarray] | None
    obstacle: str = ""
    view: View | None = None


def target_of(
    estimator: Any, X: Any, y: Any, norm: str | None, clip_values: Any, epsilon: Any = 1.0
) -> Target:
    """Return the fitted `estimator` and (X, y) as a target; parameters as in `robust_score`.

    Columns where `epsilon` is 0 may go through any transformer.
    """
    steps, final = unwrap(estimator)
    raw = threat_of(estimator, X, 1.0, norm, clip_values)
    if not steps and is_network(final):
        return _network(final, X, y, raw)
    view = look(estimator, X, epsilon)
    labels = encode_labels(y, estimator.classes_, len(view.samples.rows))

    def threat(epsilon: Any) -> ThreatModel:
        return view.samples.threat(epsilon, raw.norm, raw.clip_values)

    threat(epsilon).check_data(view.samples.rows)
    exact, distance = _exactly(view, labels)
    certify: Any = None
    if exact is not None:
        certify = _by_exact(exact)
    elif hasattr(view.model, "module"):
        certify = _by_bounds(view.model.module, view.samples.rows, labels)
    return Target(
        view.model, view.predict, view.samples.rows, labels, threat, exact, distance, certify,
        view.obstacle or "it is neither linear nor a network", view,
    )  # fmt: skip


def _network(network: Any, X: Any, y: Any, raw: ThreatModel) -> Target:
    spared, samples = truth_columns(X), network._read(X)
    labels = encode_labels(y, network.classes_, len(samples))
    raw.sparing(spared).check_data(samples)

    def certify(threat: ThreatModel, candidates: np.ndarray, method: str) -> np.ndarray:
        return certified_correct(
            network, samples, network.classes_[labels], threat, method, candidates=candidates
        )

    return Target(
        network._model(), network._predict_index, samples, labels,
        lambda epsilon: ThreatModel(epsilon, raw.norm, raw.clip_values).sparing(spared),
        None, None, certify,
    )  # fmt: skip


def _exactly(view: View, labels: np.ndarray) -> tuple[Any, Any]:
    """Return `exact` and `distance` of a target, None where its scores are not linear."""
    if view.linear is None:
        return None, None
    known = (*view.linear, view.samples.rows, labels)

    def exact(threat: ThreatModel) -> np.ndarray:
        # The prediction decides where rounding leaves it open whether a margin is 0.
        worst = worst_case_points(*known, threat)
        return worst_case_correct(*known, threat) & (view.predict(worst) == labels)

    return exact, lambda unit: linear_distances(*known, unit)


def _by_exact(exact: Callable[[ThreatModel], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda threat, candidates, method: exact(threat) & candidates


def _by_bounds(module: Any, rows: np.ndarray, labels: np.ndarray) -> Callable[..., np.ndarray]:
    def certify(threat: ThreatModel, candidates: np.ndarray, method: str) -> np.ndarray:
        return certified_correct(module, rows, labels, threat, method, candidates=candidates)

    return certify
