"""How a network classifier reads samples: their values, their shape, their labels, their threat."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted, validate_data

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import encode_labels
from sklearn_robust.neural_network._parameters import NetworkParameters
from sklearn_robust.neural_network._units import is_bytes, warn_of_scale

# float32, in which networks are trained and attacked, ends at 3e38; logits need some of it.
_LARGEST = 1e30


class NetworkReading(NetworkParameters):
    """The part of a network classifier that stands between a user's data and the network."""

    classes_: np.ndarray
    input_shape_: tuple[int, ...]
    _fitted_bytes: bool
    _fitted_top: float

    def _read(self, X: Any) -> np.ndarray:
        """Return checked samples in the shape of the training data."""
        check_is_fitted(self)
        as_bytes = is_bytes(X)
        X = self._validated(X, None, reset=False)[0].reshape(-1, *self.input_shape_)
        if hasattr(self, "_fitted_top"):  # not in pickles of earlier versions
            warn_of_scale(
                X,
                as_bytes=as_bytes,
                fitted_bytes=self._fitted_bytes,
                fitted_top=self._fitted_top,
            )
        return X

    def _encode(self, y: Any, n_samples: int) -> np.ndarray:
        """Return class indices; raise ValueError for labels that `fit` has not seen."""
        return encode_labels(y, self.classes_, n_samples)

    def _threat(
        self, epsilon: Any = None, norm: Any = None, clip_values: Any = "own"
    ) -> ThreatModel:
        """Return the estimator's threat model, parts of it replaced."""
        own_clip = isinstance(clip_values, str) and clip_values == "own"
        threat = ThreatModel.for_columns(
            getattr(self, "feature_names_in_", None),
            self.epsilon if epsilon is None else epsilon,
            self.norm if norm is None else norm,
            self.clip_values if own_clip else clip_values,
        )
        radius = float(np.max(threat.epsilon))
        if radius > _LARGEST:
            raise ValueError(
                f"epsilon must be <= {_LARGEST:g} for networks, got {radius:g}. Scale X."
            )
        return threat

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any, tuple[int, ...]]:
        """Return X as a float array of shape (n_samples, n_features), y, and a sample's shape."""
        if not hasattr(X, "shape") or (hasattr(X, "ndim") and X.ndim > 2):
            X = np.asarray(X)
        if is_bytes(X):
            X = np.asarray(X) if torch.is_tensor(X) else X
            X = X.astype(np.float32)  # exact, and half of float64
        shape = tuple(X.shape[1:])
        if len(shape) > 1:
            if not reset:
                self._check_layout(shape)
            X = X.reshape(len(X), -1)
        kwargs: dict[str, Any] = {"dtype": [np.float64, np.float32], "reset": reset}
        if y is None:
            X = validate_data(self, X, **kwargs)
        else:
            X, y = validate_data(self, X, y, **kwargs)
        return X, y, shape if len(shape) > 1 else X.shape[1:]

    def _check_layout(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for images with as many values as those of `fit` in another order."""
        fitted = self.input_shape_
        same_size = math.prod(shape) == math.prod(fitted)
        if len(fitted) > 1 and same_size and _without_ones(shape) != _without_ones(fitted):
            raise ValueError(
                f"X has samples of shape {shape}, but fit saw {fitted}. Bring the axes of X into "
                "that order."
            )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
