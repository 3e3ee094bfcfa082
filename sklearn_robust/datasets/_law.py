"""The parameters of the modified Bernoulli model, checked and drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_robust._validation import check_int, check_option


class Law(NamedTuple):
    """What a draw depends on."""

    tau: np.ndarray
    theta: np.ndarray
    generator: np.random.Generator  # of the samples; theta has a stream of its own


def make_law(n_features: Any, tau: Any, theta: Any, random_state: Any) -> Law:
    """Return the law that these parameters of `BernoulliGenerator` mean, or raise ValueError."""
    n_features = check_int(n_features, "n_features", low=1)
    signs, draws = _streams(random_state)
    return Law(_check_tau(tau, n_features), _check_theta(theta, n_features, signs), draws)


def _check_tau(tau: Any, n_features: int) -> np.ndarray:
    """Return tau as an array of shape (n_features,)."""
    rule = "a number, a pair (low, high) or one value per feature, all in [0, 0.5]"
    try:
        values = np.array(tau, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"tau must be {rule}, got {tau!r}.") from None
    if values.size == 0 or not ((values >= 0) & (values <= 0.5)).all():  # also NaN
        shown = f"values in [{values.min():g}, {values.max():g}]" if values.size else "none"
        raise ValueError(f"tau must be {rule}, got {shown}.")
    if values.ndim == 0:
        return np.full(n_features, float(values))
    if values.shape == (2,):
        return np.linspace(float(values[0]), float(values[1]), n_features)
    if values.shape != (n_features,):
        raise ValueError(
            f"tau has shape {values.shape} but n_features={n_features}. Pass one value per "
            "feature, or a pair (low, high)."
        )
    return values


def _check_theta(theta: Any, n_features: int, generator: np.random.Generator) -> np.ndarray:
    """Return theta as an array of shape (n_features,)."""
    if isinstance(theta, str):
        check_option(theta, "theta", ("random",))
        return 2.0 * generator.integers(0, 2, size=n_features) - 1
    values = np.array(theta, dtype=np.float64)
    if values.shape != (n_features,):
        raise ValueError(
            f"theta has shape {values.shape} but n_features={n_features}. Pass one sign per "
            "feature, or 'random'."
        )
    if (abs(values) != 1).any():
        raise ValueError(f"theta must hold -1 and +1 only, got {np.unique(values)[:5]}.")
    return values


def _streams(random_state: Any) -> list[np.random.Generator]:
    """Return one generator for theta and one for the draws, local to the caller."""
    if isinstance(random_state, np.random.Generator):
        return random_state.spawn(2)
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31))
    elif random_state is not None:
        random_state = check_int(random_state, "random_state", low=0)
    children = np.random.SeedSequence(random_state).spawn(2)
    return [np.random.default_rng(child) for child in children]
