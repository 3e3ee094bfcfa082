"""A module of somebody else as a module from samples to logits, whatever it ends in.

Softmax and sigmoids at the end change no decision, but hide from an adversary what is behind them:
where they are saturated their gradient is 0. They are seen through. A single output for two classes
becomes two logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklearn_robust.attacks import as_predicting
from sklearn_robust.preprocessing import CannotFollowError

_SQUASHES = ("softmax", "log_softmax", "sigmoid")
_VIEWS = ("squeeze", "unsqueeze", "view", "reshape", "flatten")
# By how many units in the last place softmax and sigmoid may be off, with a margin.
_OFF = 16


class Logits(nn.Module):
    """The scores that decide in a module: its output, before what keeps their order.

    Parameters
    ----------
    module : torch.nn.Module
    n_classes : int
    sees_through : bool
        Whether to take what softmax and sigmoids at the end are given.
    is_probability : bool
        Whether the output is a probability for want of anything behind it; then its logarithm is
        taken.
    cut : float, optional
        For a single output: above this the second of two classes is predicted.
    steepness : float, default=1.0
        How much larger an error of what decides may be in the units of the scores.
    """

    halves: Tensor
    shift: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        n_classes: int,
        sees_through: bool,
        is_probability: bool,
        cut: float | None = None,
        steepness: float = 1.0,
    ) -> None:
        super().__init__()
        self.module, self.sees_through, self.is_probability = module, sees_through, is_probability
        self.n_classes, self.cut, self.steepness = n_classes, cut, steepness
        like = next((t for t in module.parameters() if t.is_floating_point()), torch.zeros(()))
        halves, shift = [[-0.5], [0.5]], [(cut or 0.0) / 2, -(cut or 0.0) / 2]
        self.register_buffer("halves", like.new_tensor(halves), persistent=False)
        self.register_buffer("shift", like.new_tensor(shift), persistent=False)

    def forward(self, X: Tensor) -> Tensor:
        out = self._output(X)
        if self.is_probability:
            out = _logarithm(out, single=self.cut is not None)
        if self.cut is None:
            return out
        return nn.functional.linear(out.reshape(-1, 1), self.halves, self.shift)

    def _output(self, X: Tensor) -> Tensor:
        if not self.sees_through:
            return _first(self.module(X))
        if not torch.is_tensor(X):  # the bounds follow the module, and know what it ends in
            return _first(self.module(X)).scores
        with _Endings() as endings:
            out = _first(self.module(X))
        return endings.before(out)[0]

    @property
    def changes_output(self) -> bool:
        """Whether this is anything else than the module's own output."""
        return self.sees_through or self.is_probability or self.cut is not None

    def least(self, spacing: float) -> float:
        """Return the margin from which on squashed scores are told apart in some precision."""
        least = _OFF * spacing * self.steepness
        return least if self.cut is None or least < 0.1 else np.inf


def as_logits(
    module: nn.Module, X: Tensor, *, threshold: float | None = None, squashed: bool = False
) -> Logits:
    """Return a module as logits; what it ends in is tried on a few samples.

    Parameters
    ----------
    module : torch.nn.Module
    X : Tensor of shape (n_samples, ...)
        At least two samples, or ``.squeeze()`` means something else.
    threshold : float, optional
        Of a single output: the second of two classes is predicted above this. None: above one half
        if the output is seen to be a probability, else above 0.
    squashed : bool, default=False
        Whether the threshold is one of the sigmoid of the output.

    Raises
    ------
    CannotFollowError
        If the output is not (n_samples, n_classes), nor a number for each sample.
    """
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    endings = _Endings()
    with as_predicting(module), torch.inference_mode(False), torch.no_grad(), endings:
        out = _first(module(X.clone()))
    if not torch.is_tensor(out) or out.ndim not in (1, 2) or len(out) != len(X):
        found = tuple(out.shape) if torch.is_tensor(out) else type(out).__name__
        raise CannotFollowError(
            f"{type(module).__name__} maps {len(X)} samples to {found}, not to scores."
        )
    squashes = endings.before(out)[1]
    shares = bool(((out >= 0) & (out <= 1)).all())
    if out.ndim == 2 and out.shape[1] > 1:
        shares = shares and bool(((out.sum(1) - 1).abs() < 1e-3).all())
        return Logits(
            module,
            n_classes=out.shape[1],
            sees_through=bool(squashes),
            is_probability=shares and not squashes,
            steepness=out.shape[1],
        )
    if set(squashes) - {"sigmoid"}:  # softmax over a single class
        squashes = []
    if threshold is None:
        hidden = isinstance(module, torch.jit.ScriptModule) and shares
        threshold = 0.5 if squashes or hidden else 0.0
    plain = shares and not squashes and not squashed and 0 < threshold < 1
    return _single(module, len(squashes), plain, threshold, squashed)


def _single(
    module: nn.Module, n_sigmoids: int, plain: bool, threshold: float, squashed: bool
) -> Logits:
    """Return a single output, behind some sigmoids or a plain probability, as two logits."""
    cuts = _cuts(threshold, int(squashed) + n_sigmoids)
    if n_sigmoids and not np.isfinite(cuts[-1]):  # a sigmoid of a sigmoid may be above any output
        n_sigmoids, cuts = 0, cuts[: 1 + squashed]
    if not np.isfinite(cuts[-1]):
        raise CannotFollowError(f"a threshold of {threshold} leaves one class only.")
    return Logits(
        module,
        n_classes=2,
        sees_through=n_sigmoids > 0,
        is_probability=plain,
        cut=float(logit(threshold)) if plain else cuts[-1],
        steepness=float(np.prod([1 / (cut * (1 - cut)) for cut in cuts[:-1]])),
    )


def _cuts(threshold: float, n_sigmoids: int) -> list[float]:
    """Return the threshold, and what it is before each of some sigmoids; NaN: it has no place."""
    cuts = [threshold]
    for _ in range(n_sigmoids):
        cuts.append(float(logit(cuts[-1])) if 0 < cuts[-1] < 1 else np.nan)
    return cuts


class _Endings(TorchFunctionMode):
    """Notes what softmax and sigmoids are given while a module computes.

    Views of what they return count as what they return.
    """

    def __init__(self) -> None:
        super().__init__()
        # By identity, with the tensor itself, so that no other takes its place.
        self._given: dict[int, tuple[Tensor, Tensor, int, list[str]]] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        out = function(*args, **options)
        name, x = getattr(function, "__name__", ""), args[0] if args else None
        if not torch.is_tensor(x) or not torch.is_tensor(out) or out is x:
            return out
        if name in _SQUASHES and (name == "sigmoid" or _over_classes(x, *args[1:2], **options)):
            self._note(out, x, [name])
        elif name in _VIEWS and (known := self._given.get(id(x))) is not None:
            self._note(out, function(known[1], *args[1:], **options), known[3])
        return out

    def _note(self, out: Tensor, given: Tensor, names: list[str]) -> None:
        self._given[id(out)] = (out, given, given._version, names)

    def before(self, out: Tensor) -> tuple[Tensor, list[str]]:
        """Return the scores whose order an output has, and what was applied to them, last first."""
        names: list[str] = []
        while (known := self._given.get(id(out))) is not None and known[1]._version == known[2]:
            out = known[1]
            names += known[3]
        return out, names


def _over_classes(x: Tensor, dim: Any = None, **options: Any) -> bool:
    dim = options.get("dim", dim)
    return x.ndim == 2 and dim in (None, 1, -1)


def _first(out: Any) -> Any:
    """Return the output that counts where there are several."""
    return out[0] if isinstance(out, tuple | list) else out


def _logarithm(share: Tensor, *, single: bool) -> Tensor:
    tiny = torch.finfo(share.dtype).tiny
    log = share.clamp_min(tiny).log()
    return log - (1 - share).clamp_min(tiny).log() if single else log
