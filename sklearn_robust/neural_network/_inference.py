"""What a fitted network answers: predictions; pickling."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from sklearn_robust.attacks import TorchModel
from sklearn_robust.neural_network._net import RobustNet
from sklearn_robust.neural_network._reading import NetworkReading
from sklearn_robust.neural_network._setup import available, chunks
from sklearn_robust.targets import RobustClassifierMixin


class NetworkInference(RobustClassifierMixin, NetworkReading):
    """The part of a network classifier that reads samples and needs no training."""

    module_: torch.nn.Module
    net_: RobustNet

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

    def _model(self, dtype: torch.dtype | None = None) -> TorchModel:
        """Return the door to the module, or to a copy of it in another precision."""
        module = self.module_
        if dtype is not None and any(p.dtype != dtype for p in module.parameters()):
            module = copy.deepcopy(module).to(dtype)
        return TorchModel(module, len(self.classes_))

    def _logits(self, X: np.ndarray) -> np.ndarray:
        """Return float64 logits: in float32 they would depend on a sample's neighbours."""
        model = self._model(torch.float64)
        parts = [model.logits(model.asarray(X[pick])).cpu().numpy() for pick in chunks(len(X))]
        return np.concatenate(parts)

    def _predict_index(self, X: np.ndarray) -> np.ndarray:
        return self._logits(X).argmax(axis=1)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state:
            state.pop("module_", None)  # net_ holds the same object; two copies would drift apart
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "net_"):
            self.module_ = self.net_.module_
            if self.device != "auto" and not available(torch.device(self.device)):
                warnings.warn(
                    f"This estimator was fitted with device={self.device!r}, which torch does not "
                    "see here; it predicts on the CPU. Use set_params(device='auto') before fit.",
                    UserWarning,
                    stacklevel=2,
                )
