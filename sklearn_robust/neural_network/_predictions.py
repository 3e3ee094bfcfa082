"""What a fitted network predicts, in float64 and in pieces, and how it is pickled."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator

from sklearn_robust._labels import check_seen, encode_labels
from sklearn_robust._pieces import by_pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust._warnings import warn_user
from sklearn_robust.attacks import TorchModel, is_in_precision, to_precision
from sklearn_robust.neural_network._device import (
    available,
    float32_resolves,
)
from sklearn_robust.neural_network._memory import sample_bytes
from sklearn_robust.neural_network._net import RobustNet
from sklearn_robust.neural_network._samples import read_samples


class Predictions(BaseEstimator):
    """The methods of a network classifier that need its module and no training."""

    classes_: np.ndarray
    module_: torch.nn.Module
    net_: RobustNet
    device: Any

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the logits, or their difference for two classes.

        Parameters
        ----------
        X : array-like
            Samples, as in `fit`.

        Returns
        -------
        scores : float64 ndarray of shape (n_samples, n_classes), (n_samples,) for two classes
        """
        logits = self._logits(self._read(X))
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class.

        Parameters
        ----------
        X : array-like
            Samples, as in `fit`.

        Returns
        -------
        probability : float64 ndarray of shape (n_samples, n_classes)
        """
        return softmax(self._logits(self._read(X)), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of each class, without underflow.

        Parameters
        ----------
        X : array-like
            Samples, as in `fit`.

        Returns
        -------
        log_probability : float64 ndarray of shape (n_samples, n_classes)
        """
        return log_softmax(self._logits(self._read(X)), axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted label of each sample.

        Parameters
        ----------
        X : array-like
            Samples, as in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        X = self._read(X)
        return self.classes_[self._predict_index(X)]

    def _read(self, X: Any) -> np.ndarray:
        """Return checked samples in the shape of the training data."""
        return read_samples(self, X)  # type: ignore[arg-type]

    def _encode(self, y: Any, n_samples: int) -> np.ndarray:
        """Return class indices; raise ValueError for labels that `fit` has not seen."""
        index = encode_labels(y, self.classes_, n_samples)
        check_seen(y, index, self.classes_)
        return index

    def _model(
        self,
        dtype: torch.dtype | None = None,
        *,
        threat: ThreatModel | None = None,
        X: Any = None,
    ) -> TorchModel:
        """Return the module as attacks see it, or a copy in another precision.

        That is `dtype`, or float64 where an attack on X under `threat` is finer than float32.
        """
        if dtype is None and threat is not None and not float32_resolves(threat, X):
            dtype = torch.float64
        module = self.module_
        if dtype is not None and not is_in_precision(module, dtype):
            module = to_precision(copy.deepcopy(module), dtype)
        return TorchModel(module, len(self.classes_))

    def _logits(self, X: np.ndarray) -> np.ndarray:
        """Return float64 logits: in float32 they would depend on a sample's neighbours."""
        model = self._model(torch.float64)

        def logits(piece: slice) -> np.ndarray:
            return model.logits(model.asarray(X[piece])).cpu().numpy()

        n_bytes = sample_bytes(model.module, model.asarray(X[:1])) if len(X) else 0
        return by_pieces(logits, len(X), n_bytes, (model.n_classes,), most=1024)

    def _predict_index(self, X: np.ndarray) -> np.ndarray:
        return self._logits(X).argmax(axis=1)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state and self.module_ is self.net_.module_:
            state.pop("module_")  # net_ holds the same object; two copies would drift apart
        elif "module_" in state:
            state["module_"] = _as_bytes(self.module_)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not hasattr(self, "net_"):
            return
        replaced = vars(self).get("module_")
        device = torch.device(self.net_.device)
        self.module_ = self.net_.module_ if replaced is None else _from_bytes(replaced, device)
        if self.device != "auto" and not available(torch.device(self.device)):
            warn_user(
                f"This estimator was fitted with device={self.device!r}, which torch does not "
                "see here; it predicts on the CPU. Use set_params(device='auto') before fit."
            )


def _as_bytes(module: torch.nn.Module) -> bytes:
    """Return a module so that it can be read where there is no such device, as skorch does."""
    file = io.BytesIO()
    torch.save(module, file)
    return file.getvalue()


def _from_bytes(content: bytes, device: torch.device) -> torch.nn.Module:
    # A pickle within a pickle: whoever reads the one trusts its source already.
    return torch.load(io.BytesIO(content), map_location=device, weights_only=False)
