"""Lower bounds of the margins of a network over a threat model, by methods of rising cost."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_option
from sklearn_robust.bounds._averages import mean_error, networks_of
from sklearn_robust.bounds._backward import minimum
from sklearn_robust.bounds._intervals import intervals
from sklearn_robust.bounds._layers import Interval
from sklearn_robust.bounds._network import Network, largest
from sklearn_robust.bounds._regions import Region, make_region
from sklearn_robust.bounds._slopes import minimum_with_best_slopes
from sklearn_robust.bounds._tightening import Tightening

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")

# Bytes beyond which a pass leaves a processor's cache and is slower.
_CACHE = 2**25
# Where a certificate is all that is asked for: shares of what is affordable, spent one after the
# other on what is still open. Many samples that can be certified need the first only.
_ROUNDS = (1 / 8, 3 / 8, 1 / 2)


def margin_bounds(
    module: torch.nn.Module,
    X: Tensor,
    y: Tensor,
    threat: ThreatModel,
    method: str = "crown-ibp",
    *,
    rounding: bool = True,
) -> Tensor:
    r"""Return lower bounds of the margins ``f_y - f_j`` over all points that the adversary has.

    .. math:: m_{ij} \le \min_{x' \in A(x_i)} f_{y_i}(x') - f_j(x')

    Where all entries of row i but that of y_i are positive, no attack within the threat model can
    change the prediction. Differentiable with respect to the module's parameters and `X`, where
    these ask for gradients; ``cross_entropy(-m, y)`` is the loss of certified training.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch in the shape of `X` to logits. Its forward pass is followed to the layers and
        functions of torch that the bounds know, sums and concatenations of branches included; see
        `register_layer` for others, and `register_average` for the mean of several modules. Layers
        act as in eval mode, whatever the module's mode is.
    X : Tensor of shape (n_samples, ...)
        Samples, in the precision and on the device of the module.
    y : Tensor of int64, shape (n_samples,)
        Class indices.
    threat : ThreatModel
        For linf the set is a box, the clip box included. For l2 and l1 the linear functions of the
        input are minimised over ball and clip box exactly.
    method : {"ibp", "crown-ibp", "crown", "alpha-crown"}, default="crown-ibp"
        "ibp" costs two forward passes; the last affine layers act on the differences of logits.
        "crown-ibp" pushes each margin backwards through lines around the activations, as wide as
        interval bounds say: about two backward passes per class. "crown" first tightens, layer by
        layer, the bounds of units of which intervals cannot tell whether they are active, at a
        backward pass for each, for as many units of a layer as about 1e10 multiplications per
        sample allow. "alpha-crown" then improves the lower lines by gradient steps. Each is at
        least as tight as those before it.
    rounding : bool, default=True
        Move the bounds outwards by what rounding can do, in the computation of the bounds and in
        that of the network in the same precision. Training may do without.

    Returns
    -------
    margins : Tensor of shape (n_samples, n_classes)
        The entry of the true class is 0.

    Raises
    ------
    UnsupportedLayerError
        If the module holds a layer without bounds; the message names it.

    References
    ----------
    .. [1] S. Gowal et al., "On the effectiveness of interval bound propagation for training
       verifiably robust models", 2018, equations (5) to (8).
    .. [2] H. Zhang et al., "Efficient neural network robustness certification with general
       activation functions", NeurIPS 2018, theorem 3.2.
    .. [3] H. Zhang et al., "Towards stable and efficient training of verifiably robust neural
       networks", ICLR 2020 (CROWN-IBP).
    .. [4] K. Xu et al., "Fast and complete: enabling complete verification with rapid and massively
       parallel incomplete verifiers", ICLR 2021 (alpha-CROWN).

    Examples
    --------
    ``f = (|x|, 0.25)`` as a ReLU network, over [-1, 1]: ``|x| - 0.25`` is -0.25 at least.

    >>> import torch
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import margin_bounds
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    >>> with torch.no_grad():
    ...     for p, v in zip(net.parameters(), ([[1.], [-1.]], [0., 0.], [[1., 1.], [0., 0.]],
    ...                                        [0., .25])):
    ...         _ = p.copy_(torch.tensor(v))
    >>> X, y = torch.tensor([[0.0]]), torch.tensor([0])
    >>> margin_bounds(net, X, y, ThreatModel(1.0), "ibp").detach().numpy().round(3)
    array([[ 0.  , -0.25]], dtype=float32)
    """
    check_option(method, "method", METHODS)
    if not len(X):
        one = X.new_zeros(1, *X.shape[1:])
        return X.new_zeros(0, Network(networks_of(module)[0], one).shapes[-1][0])
    networks = [Network(part, X, rounding=rounding) for part in networks_of(module)]
    wants_gradients = torch.is_grad_enabled() and (
        X.requires_grad or any(p.requires_grad for p in module.parameters())
    )
    if wants_gradients:
        return bound_batch(networks, X, y, threat, method)
    parts = passes(len(X), networks, method)
    return torch.cat([bound_batch(networks, X[part], y[part], threat, method) for part in parts])


def passes(n_samples: int, networks: list[Network], method: str) -> Iterator[slice]:
    """Yield the samples to bound at a time."""
    sample_bytes = pass_bytes(networks, method)
    # The gradient steps of alpha-CROWN keep what they compute at every layer.
    kept = sum(len(network.layers) for network in networks) if method == "alpha-crown" else 1
    return pieces(n_samples, kept * sample_bytes, most=max(1, _CACHE // sample_bytes))


def pass_bytes(networks: list[Network], method: str) -> int:
    """Return what a pass through all networks needs for one sample: a few copies of a layer's."""
    specs = 1 if method == "ibp" else networks[0].shapes[-1][0]
    return 8 * 4 * specs * sum(network.widest for network in networks)


def bound_batch(
    networks: list[Network],
    X: Tensor,
    y: Tensor,
    threat: ThreatModel,
    method: str,
    *,
    settle: bool = False,
) -> Tensor:
    """Return the bounds of the networks' mean for one batch.

    `settle` stops improving what is certified already.
    """
    batch = _Batch(networks, X, y, threat)
    if method != "ibp" and any(network.last for network in networks):
        batch.improve()
        if method in ("crown", "alpha-crown"):
            for share in _ROUNDS if settle else (1.0,):
                batch.narrow(settle)
                batch.tighten(share)
        if method == "alpha-crown":
            batch.narrow(settle)
            batch.choose_slopes(settle)
    return batch.margins()


def tightened_batch(
    network: Network, X: Tensor, y: Tensor, threat: ThreatModel
) -> tuple[Tensor, list[Interval]]:
    """Return the bounds of "crown" for one batch, and the boxes at all nodes that they rest on."""
    batch = _Batch([network], X, y, threat)
    batch.improve()
    batch.tighten(1.0)
    return batch.margins(), batch.parts[0].work.boxes


def difference_specs(y: Tensor, n_classes: int, like: Tensor) -> Tensor:
    """Return a of shape (n, n_classes, n_classes) with ``<a[i, j], f> = f_y - f_j``."""
    eye = torch.eye(n_classes, dtype=like.dtype, device=like.device)
    return eye[y][:, None, :] - eye


class _Part:
    """What is known of one network's share in the margins of a batch.

    `least` has the bounds of all samples and rivals; `work` the boxes of those still worked on.
    """

    def __init__(self, network: Network, X: Tensor, region: Region) -> None:
        self.network = network
        self.work = Tightening(network, region, intervals(network, region))
        self.least = X.new_full((len(X), network.shapes[-1][0]), -torch.inf)
        self.largest_logit = largest(*self.work.boxes[-1])

    def bound(self, specs: Tensor, stop: int) -> Tensor:
        """Return bounds of the specs, pushed backwards to the input of layer `stop`."""
        end = len(self.network.layers)
        return minimum(self.network, self.work.region, self.work.boxes, specs, end, stop)

    def with_best_slopes(self, specs: Tensor, settle: bool) -> Tensor:
        """Return bounds of the specs with lower lines improved by gradient steps."""
        work = self.work
        return minimum_with_best_slopes(self.network, work.region, work.boxes, specs, settle=settle)

    def record(self, where: tuple[Tensor, Tensor], value: Tensor) -> None:
        """Keep the better of what is known and these bounds."""
        self.least = self.least.index_put(where, torch.maximum(self.least[where], value))


class _Batch:
    """The margins of one batch, as far as they are known, and what is still worked on.

    `rows` are the samples worked on, and `rivals` the classes that each of them is held against.
    """

    def __init__(self, networks: list[Network], X: Tensor, y: Tensor, threat: ThreatModel) -> None:
        self.X, self.y, self.threat = X, y, threat
        self.unit = networks[0].unit
        self.n_classes = networks[0].shapes[-1][0]
        self.rows = torch.arange(len(X), device=X.device)
        order = torch.arange(self.n_classes, device=X.device).expand(len(X), -1)
        self.rivals = order[order != y[:, None]].reshape(len(X), self.n_classes - 1)
        region = make_region(X, threat, rounding=self.unit > 0)
        self.parts = [_Part(network, X, region) for network in networks]
        # The last affine layers act on the differences of logits, the others on the box.
        self._record([part.bound(self._specs(), part.network.last) for part in self.parts])

    @property
    def least(self) -> Tensor:
        """Bounds for all samples and rivals: the mean of the networks' own."""
        if len(self.parts) == 1:
            return self.parts[0].least
        mean = torch.stack([part.least for part in self.parts]).mean(0)
        size = torch.stack([part.largest_logit for part in self.parts]).amax(0)
        return mean - mean_error(len(self.parts), self.unit, size)[:, None]

    def margins(self) -> Tensor:
        """Return the bounds, 0 for the true class."""
        return self.least.scatter(1, self.y[:, None], 0.0)

    def improve(self) -> None:
        """Bound the margins backwards, down to the input, with the boxes as they are."""
        self._record([part.bound(self._specs(), 0) for part in self.parts])

    def tighten(self, share: float) -> None:
        """Spend that share of what is affordable on the boxes, then `improve`."""
        if len(self.rows):
            for part in self.parts:
                part.work.run(self._specs(), share / len(self.parts))
            self.improve()

    def choose_slopes(self, settle: bool) -> None:
        """Improve the lower lines by gradient steps."""
        if len(self.rows):
            # One network's bound cannot tell when the mean is certified.
            settle = settle and len(self.parts) == 1
            self._record([part.with_best_slopes(self._specs(), settle) for part in self.parts])

    def narrow(self, settle: bool) -> None:
        """Leave what is certified, and the rivals that each sample is certified against."""
        if not settle:
            return
        # NaN is not certified.
        value = self.least[self.rows[:, None], self.rivals].nan_to_num(
            -torch.inf, neginf=-torch.inf
        )
        n_open = (value <= 0).sum(1)
        keep = n_open.nonzero()[:, 0]
        if len(keep) < len(self.rows):
            self.rows = self.rows[keep]
            region = make_region(self.X[self.rows], self.threat, rounding=self.unit > 0)
            for part in self.parts:
                part.work = part.work.take(keep, region)
        most = int(n_open.max()) if len(n_open) else 0
        hardest = value[keep].topk(most, dim=1, largest=False).indices
        self.rivals = self.rivals[keep].gather(1, hardest)

    def _specs(self) -> Tensor:
        all_ = difference_specs(self.y[self.rows], self.n_classes, self.X)
        return all_.gather(1, self.rivals[:, :, None].expand(-1, -1, all_.shape[2]))

    def _record(self, values: list[Tensor]) -> None:
        for part, value in zip(self.parts, values, strict=True):
            part.record((self.rows[:, None], self.rivals), value)
