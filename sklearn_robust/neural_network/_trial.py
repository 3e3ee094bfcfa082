"""What a module must do before it is trained, tried on one sample."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from sklearn_robust._warnings import warn_user
from sklearn_robust.attacks import TorchModel, as_predicting, to_precision
from sklearn_robust.neural_network._device import own_randomness


def is_lazy(module: nn.Module) -> bool:
    """Return whether layers of the module have yet to see a sample to know their sizes."""
    return any(nn.parameter.is_lazy(t) for t in (*module.parameters(), *module.buffers()))


def materialize(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Let the lazy layers of a module, in place, take the sizes that samples of a shape imply."""
    if not is_lazy(module):
        return module
    flags = [(part, part.training) for part in module.modules()]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for part, training in flags:
        part.training = training
    return module


def check_module(module: nn.Module, X: Any, n_classes: int) -> None:
    """Raise ValueError unless the module maps a sample to one logit per class.

    Tried as it predicts, in its own precision and in float64, and as it trains.

    Parameters
    ----------
    module : torch.nn.Module
    X : ndarray of shape (1, ...)
    n_classes : int
    """
    refuse_scripts(module)
    one = f"on a batch of shape {X.shape}, one sample in the shape that X has"
    logits = _tried(module, X, one)
    _check_logits(logits, X.shape, n_classes)
    _tried(
        to_precision(copy.deepcopy(module), torch.float64),
        X,
        "in float64, in which predictions are computed",
        " Let it keep the precision of its input: no casts such as x.float().",
    )
    _check_training_output(module, X, n_classes)
    # Rounding in float32 is some 1e-7 for each term; logits that sum to 1 by chance are rare.
    if (logits >= 0).all() and abs(float(logits.sum()) - 1) < 1e-5:
        warn_user(
            "module seems to end in softmax: its output for a sample sums to 1. The loss takes "
            "logits, and hardly learns from probabilities. Leave the softmax out."
        )


def refuse_scripts(module: nn.Module) -> None:
    """Raise ValueError if the module holds TorchScript."""
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise ValueError(
                "module holds TorchScript, which cannot be pickled, nor its layers bounded: "
                f"{type(part).__name__}. Pass the torch.nn.Module that it was made from."
            )


def _tried(module: nn.Module, X: Any, where: str, remedy: str = "") -> Any:
    """Return what the module makes of X; raise ValueError if it fails, or changes X."""
    model = TorchModel(module, 0)
    try:
        given = model.asarray(X).clone()
        # Not `model.logits`, which hands the module a copy and refuses other outputs itself.
        with as_predicting(module), torch.no_grad():
            logits = module(given)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"module fails {where}: {error}.{remedy}") from error
    # torch counts changes in place; rectifiers make them without changing positive values.
    if given._version:
        raise ValueError(
            "module changes its input in place, which may be the caller's X. Let it compute "
            "x = x - 3 instead of x -= 3, and build its first layers with inplace=False."
        )
    return logits


def _check_logits(logits: Any, shape: tuple[int, ...], n_classes: int, when: str = "") -> None:
    if torch.is_tensor(logits) and logits.shape == (shape[0], n_classes):
        return
    found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
    raise ValueError(
        f"module must map a batch of shape (n_samples, {', '.join(map(str, shape[1:]))}) to logits "
        f"of shape (n_samples, {n_classes}), got {found} for one sample{when}."
    )


def _check_training_output(module: nn.Module, X: Any, n_classes: int) -> None:
    """Raise ValueError for outputs that a module has in training alone, as auxiliary heads are.

    Norms over a batch stay as they predict: one sample is no batch. Should anything else need more
    than a sample, training will tell.
    """
    trial = copy.deepcopy(module).train()
    for part in trial.modules():
        if isinstance(part, _NormBase):
            part.eval()
    try:
        given = TorchModel(trial, 0).asarray(X).clone()
        with torch.no_grad(), own_randomness(0, given.device):  # dropout draws
            logits = trial(given)
    except (RuntimeError, TypeError, ValueError):
        return
    _check_logits(logits, X.shape, n_classes, " in training mode. Switch off its auxiliary outputs")
