"""Certificates of a torch module, method by method, on what the cheaper ones left open."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_robust._pieces import by_pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_finite
from sklearn_robust.attacks import copied, to_precision
from sklearn_robust.bounds._averages import as_one, networks_of
from sklearn_robust.bounds._branching import searched_margins
from sklearn_robust.bounds._evaluation import evaluation_error
from sklearn_robust.bounds._layers import UnsupportedLayerError
from sklearn_robust.bounds._margins import bound_batch, pass_bytes, passes
from sklearn_robust.bounds._methods import BranchAndBound, check_method, stages_of
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._regions import make_region


def certifiable(module: nn.Module, sample: Any) -> str | None:
    """Return None if there are bounds for the module, else a sentence that says why not.

    Costs a forward pass of one sample, and computes no bounds.

    Parameters
    ----------
    module : torch.nn.Module
    sample : array-like or Tensor of shape (1, ...)
        Only its shape matters.

    Returns
    -------
    obstacle : str or None

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.bounds import certifiable
    >>> layer, X = torch.nn.Linear(3, 2), torch.zeros(1, 3)
    >>> certifiable(torch.nn.Sequential(layer, torch.nn.ReLU()), X)
    >>> certifiable(torch.nn.Sequential(layer, torch.nn.Hardshrink()), X)
    "There are no bounds for Hardshrink (at '1'), which calls hardshrink."
    """
    try:
        _networks(_precise(module), sample)
    except UnsupportedLayerError as error:
        return error.reason
    return None


def certified_network(
    module: nn.Module,
    X: Any,
    y: Any,
    threat: ThreatModel,
    method: str | BranchAndBound = "auto",
    candidates: Any = None,
    *,
    spacing: float | None = None,
    least: float = 0.0,
) -> np.ndarray:
    r"""Return for each sample whether it is proven that every point of A(x_i) is classified as y_i.

    .. math:: \min_{x' \in A(x_i)} f_{y_i}(x') - f_j(x') > 0 \text{ for all } j \ne y_i

    for the module in eval mode, in float64, or evaluated in fewer bits.

    Parameters
    ----------
    module : torch.nn.Module
        From a batch to logits. It is copied, so that others may use it at the same time.
    X : array-like of shape (n_samples, ...)
        In the shape that the module takes.
    y : array-like of int, shape (n_samples,)
        Class indices; one that the module has no logit for is never certified.
    threat, method
        As in `certified_correct`.
    candidates : bool array of shape (n_samples,), optional
        Samples worth trying; all others come back as False.
    spacing : float, optional
        Of numbers at 1 in the precision in which the module predicts, as `spacing_of` says: margins
        must be larger than what rounding may do there. None: float64.
    least : float, default=0.0
        Margins must be larger than this, as where a function of logits decides in few bits.

    Returns
    -------
    certified : bool ndarray of shape (n_samples,)

    Raises
    ------
    UnsupportedLayerError
        If the module holds a layer without bounds; `certifiable` tells beforehand.
    ValueError
        If X leaves `threat.clip_values` or has NaN, or the module gives NaN at samples as they are.

    Examples
    --------
    >>> import torch
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import certified_network
    >>> module = torch.nn.Linear(2, 2, bias=False)
    >>> _ = module.weight.data.copy_(torch.tensor([[1., 0.], [0., 1.]]))
    >>> certified_network(module, [[0.9, 0.1], [0.6, 0.5]], [0, 0], ThreatModel(0.2))
    array([ True, False])
    """
    check_method(method)
    X, y = np.asarray(X), np.asarray(y)
    check_finite(X, "X")
    threat.check_data(X)
    certified = np.zeros(len(X), dtype=bool)
    if not len(X):
        return certified
    with torch.inference_mode(False), torch.no_grad():
        precise = _precise(module)
        networks = _networks(precise, X[:1])
        logits = _logits(precise, X, pass_bytes(networks, "ibp"))
        worth = (logits.argmax(1) == y) & np.isfinite(logits).all(1)
        worth &= True if candidates is None else np.asarray(candidates, dtype=bool)
        stages, budget = stages_of(method)
        for stage in stages:
            left = np.flatnonzero(worth & ~certified)
            if stage == "complete":
                networks = [Network(as_one(networks_of(precise)), _like(precise, X[:1]))]
            for part in passes(len(left), networks, stage):
                pick = left[part]
                x, labels = _like(precise, X[pick]), _like(precise, y[pick], torch.long)
                need = _needed(networks, x, labels, threat, spacing, least)
                if stage == "complete":
                    margins = searched_margins(networks[0], x, labels, threat, need, budget)
                else:
                    margins = bound_batch(networks, x, labels, threat, stage, settle=True)
                _check_sound(margins.cpu().numpy(), logits[pick], y[pick])
                proven = (margins > need).scatter(1, labels[:, None], True).all(1)
                certified[pick] = proven.cpu().numpy()
    return certified


def _needed(
    networks: list[Network],
    x: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    spacing: float | None,
    least: float,
) -> Tensor:
    """Return what margins must be larger than, (n, n_classes): `least`, and rounding."""
    need = x.new_full((len(x), networks[0].shapes[-1][0]), least)
    if spacing is None:
        return need
    error = evaluation_error(networks, make_region(x, threat), spacing)
    return need + error + error.gather(1, labels[:, None])


def _precise(module: nn.Module) -> nn.Module:
    """Return a frozen copy in float64 and eval mode."""
    return to_precision(copied(module), torch.float64).eval().requires_grad_(False)


def _networks(module: nn.Module, sample: Any) -> list[Network]:
    x = _like(module, sample)
    return [Network(part, x) for part in networks_of(module)]


def _like(module: nn.Module, x: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return an array as a tensor on the device of the module."""
    tensors = (*module.parameters(), *module.buffers())
    device = tensors[0].device if tensors else None
    x = x if torch.is_tensor(x) else np.array(x)  # a copy: x may be read-only
    return torch.as_tensor(x, dtype=dtype, device=device)


def _logits(module: nn.Module, X: np.ndarray, sample_bytes: float) -> np.ndarray:
    """Return the logits of all samples, none of them NaN."""
    shape = module(_like(module, X[:1])).shape[1:]
    logits = by_pieces(
        lambda part: module(_like(module, X[part])).cpu().numpy(), len(X), sample_bytes, shape
    )
    n_nan = int(np.isnan(logits).any(1).sum())
    if n_nan:
        raise ValueError(
            f"The model gives NaN for {n_nan} of {len(X)} samples as they are. There is nothing to "
            "certify: check its weights, and the scale of X."
        )
    return logits


def _check_sound(margins: np.ndarray, logits: np.ndarray, y: np.ndarray) -> None:
    """Raise RuntimeError if a bound is above the margin at the sample itself.

    Then the layers are not what they say. This catches an equivalent given to `register_layer` that
    computes something else.
    """
    clean = logits[np.arange(len(y)), y][:, None] - logits
    if (margins > clean).any():
        raise RuntimeError(
            f"A lower bound of the margin is {float((margins - clean).max()):.3g} above the margin "
            "at the sample itself. If a layer was added with register_layer, its equivalent does "
            "not compute what the layer does; otherwise this is a defect of the bounds."
        )
