"""A network as a member of others: its scores over boxes and balls, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_robust._arrays import to_numpy
from sklearn_robust._pieces import by_pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import Loss, TorchModel, copied, to_precision
from sklearn_robust.bounds._averages import mean_error, networks_of
from sklearn_robust.bounds._backward import minimum
from sklearn_robust.bounds._bounded import BoundedModel
from sklearn_robust.bounds._evaluation import evaluation_error
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._margins import passes
from sklearn_robust.bounds._network import Network, largest
from sklearn_robust.bounds._regions import STORED, Box, Region, make_region
from sklearn_robust.bounds._tightening import Tightening

_MOST = 1024  # samples of which scores are computed at a time


class NetworkGradients:
    """A torch module with gradients, on rows in numpy.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch to logits; a copy is used, in float64 where the module computes in that.
    shape : tuple of int
        Of a sample, as the module takes it.
    n_classes : int
    spacing : float, optional
        Of numbers at 1 in the precision in which it predicts; None: float64.
    """

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        n_classes: int,
        spacing: float | None = None,
    ) -> None:
        self.shape, self.n_classes, self.spacing = shape, n_classes, spacing
        self.module = copied(module).eval().requires_grad_(False)
        self._torch = TorchModel(self.module, n_classes)

    def asarray(self, X: Any) -> np.ndarray:
        return np.asarray(X, dtype=np.float64)

    def labels(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def _given(self, X: np.ndarray) -> Tensor:
        return self._torch.asarray(X.reshape(len(X), *self.shape))

    def logits(self, X: np.ndarray) -> np.ndarray:
        return by_pieces(
            lambda part: to_numpy(self._torch.logits(self._given(X[part]))).astype(np.float64),
            len(X), 0, (self.n_classes,), most=_MOST,
        )  # fmt: skip

    def ascent(
        self, X: np.ndarray, y: np.ndarray, loss: Any, leak: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        found = self._torch.ascent(self._given(X), self._torch.labels(y), _InNumpy(loss, y), leak)
        logits, gradient = (to_numpy(part).astype(np.float64) for part in found)
        return logits, gradient.reshape(X.shape)


class _InNumpy(Loss):
    """A loss that is told of arrays of numpy."""

    def __init__(self, loss: Any, y: np.ndarray) -> None:
        self.loss, self.y = loss, y

    def direction(self, logits: Any, y: Any) -> Tensor:
        return logits.new_tensor(self.loss.direction(to_numpy(logits).astype(np.float64), self.y))


class NetworkScores(NetworkGradients, BoundedModel):
    """A torch module with gradients and bounds, by lines around its activations (CROWN).

    Parameters
    ----------
    module, shape, n_classes, spacing
        As of `NetworkGradients`.
    least : float, default=0.0
        Margins count from this on.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_robust.bounds import NetworkScores
    >>> layer = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    >>> model = NetworkScores(layer, (2,), 2)
    >>> lower, upper = model.score_bounds(np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]]))
    >>> lower.round(5) + 0.0, upper.round(5) + 0.0
    (array([[ 0., -2.]]), array([[1., 0.]]))
    """

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int, ...],
        n_classes: int,
        spacing: float | None = None,
        least: float = 0.0,
    ) -> None:
        super().__init__(to_precision(copied(module), torch.float64), shape, n_classes, spacing)
        self.least = least
        one = self._given(np.zeros((1, *shape)))
        with torch.inference_mode(False), torch.no_grad():
            self.networks = [Network(part, one) for part in networks_of(self.module)]
        self._specs = _specs(n_classes, one)
        self._last: tuple[Any, np.ndarray] | None = None

    def score_bounds(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._ends(self._least(low, high))

    def set_bounds(self, X: np.ndarray, threat: ThreatModel) -> tuple[np.ndarray, np.ndarray]:
        return self._ends(self._least(X, X, threat))

    def _ends(self, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = self.n_classes
        return least[:, :k], -least[:, k : 2 * k]

    def box_margins(self, low: np.ndarray, high: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return self._leads(self._least(low, high), labels)

    def margins(self, X: np.ndarray, labels: np.ndarray, threat: ThreatModel) -> np.ndarray:
        return self._leads(self._least(X, X, threat), labels)

    def _leads(self, least: np.ndarray, labels: np.ndarray) -> np.ndarray:
        k = self.n_classes
        pairs = least[:, 2 * k :].reshape(-1, k, k) - self.least
        found = pairs[np.arange(len(labels)), labels]
        np.put_along_axis(found, labels[:, None], np.inf, axis=1)
        return found

    def _least(
        self, low: np.ndarray, high: np.ndarray, threat: ThreatModel | None = None
    ) -> np.ndarray:
        """Return lower bounds of scores, of what they are below 0, and of their differences.

        A combination asks for one class after the other; all are found at once, and kept.
        """
        key = low.tobytes(), high.tobytes(), threat and threat.key
        if self._last is None or self._last[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                parts = passes(len(low), self.networks, "crown")
                found = [self._bounded(low[part], high[part], threat) for part in parts]
            size = len(self._specs)
            self._last = key, np.concatenate([np.empty((0, size)), *found])
        return self._last[1]

    def _bounded(self, low: np.ndarray, high: np.ndarray, threat: ThreatModel | None) -> np.ndarray:
        region = self._region(low, high, threat)
        specs = self._specs.expand(len(low), -1, -1)
        works = [Tightening(n, region, intervals(n, region)) for n in self.networks]
        least = torch.stack([_least_of(work, specs, len(works)) for work in works]).mean(0)
        if len(works) > 1:
            size = torch.stack([largest(*work.boxes[-1]) for work in works]).amax(0)
            least = least - 2 * mean_error(len(works), self.networks[0].unit, size)[:, None]
        if self.spacing is not None:
            error = evaluation_error(self.networks, region, self.spacing)
            least = least - error @ self._specs.abs().T
        return least.nan_to_num(-torch.inf, neginf=-torch.inf).cpu().numpy()

    def _region(self, low: np.ndarray, high: np.ndarray, threat: ThreatModel | None) -> Region:
        lows, highs = self._given(low), self._given(high)
        if threat is not None:
            return make_region(lows, threat)
        # Points of the box may have been stored in float32, as those of other sets.
        widening = STORED * torch.maximum(lows.abs(), highs.abs())
        return Box(lows - widening, highs + widening)


def _least_of(work: Tightening, specs: Tensor, n_networks: int) -> Tensor:
    """Return lower bounds of linear functions of the output of one network."""
    network, region = work.network, work.region
    end = len(network.layers)

    def bound(stop: int) -> Tensor:
        return minimum(network, region, work.boxes, specs, end, stop)

    least = bound(network.last)
    if not network.last:
        return least
    least = torch.maximum(least, bound(0))
    work.run(specs, 1 / n_networks)
    return torch.maximum(least, bound(0))


def _specs(n_classes: int, like: Tensor) -> Tensor:
    """Return scores, the same below 0, and all differences, as functions of the output."""
    eye = torch.eye(n_classes, dtype=like.dtype, device=like.device)
    pairs = (eye[:, None] - eye).reshape(-1, n_classes)
    return torch.cat([eye, -eye, pairs])
