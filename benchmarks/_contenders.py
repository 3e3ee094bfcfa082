"""What the library is compared with: bare loops, attacks of other libraries, and how to time them.

An attack of another library maps (model, images, labels, threat) to the images it has found, called
as its manual says; images have the shape (n, 1, 28, 28).
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_robust.attacks import ThreatModel

# Timing -------------------------------------------------------------------------------------------


def now(device: str) -> float:
    """Return the time when the device has done what it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def median_seconds(
    contenders: dict[str, Callable[[], Any]], repeats: int, device: str
) -> dict[str, float]:
    """Return the median seconds of each, after a warm-up, taking turns."""
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    for turn in range(repeats + 1):
        for who, work in contenders.items():
            start = now(device)
            work()
            if turn:
                seconds[who].append(now(device) - start)
    return {who: statistics.median(s) for who, s in seconds.items()}


@contextmanager
def counted_passes(module: nn.Module) -> Iterator[dict[str, int]]:
    """Count the samples that go forward, and backward to input and to weights, for a while."""
    last = [m for m in module.modules() if isinstance(m, nn.Linear)][-1]
    counts = {"forwards": 0, "backwards": 0, "weight_backwards": 0}
    sizes = [0]  # of the batches that went forward

    def add(kind: str, n: int) -> None:
        counts[kind] += n

    def on_forward(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        n = len(output)
        sizes.append(n)
        add("forwards", n)
        if output.requires_grad:
            output.register_hook(lambda grad: add("backwards", n))

    handles = [
        last.register_forward_hook(on_forward),
        last.weight.register_hook(lambda grad: add("weight_backwards", sizes[-1])),
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def products_of_matrices(precision: str) -> Iterator[None]:
    """Let torch round what enters products of matrices on CUDA, or not, for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


# PGD, linf, in [0, 1] -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Steps:
    """Number and size of the steps of PGD, and its radius."""

    n: int
    epsilon: float

    @property
    def size(self) -> float:
        """The library's default step."""
        return 2.5 * self.epsilon / self.n


Perturb = Callable[[Tensor, Tensor], Tensor]


def bare_pgd(module: nn.Module, steps: Steps, forward: Any = None) -> Perturb:
    """Return the loop that one would write by hand; `forward` is the module, compiled perhaps."""
    forward = module if forward is None else forward

    def perturb(X: Tensor, y: Tensor) -> Tensor:
        for p in module.parameters():
            p.requires_grad_(False)
        low, high = (X - steps.epsilon).clamp_(0, 1), (X + steps.epsilon).clamp_(0, 1)
        X_adv = low + (high - low) * torch.rand_like(X)
        for _ in range(steps.n):
            X_adv.requires_grad_()
            loss = nn.functional.cross_entropy(forward(X_adv), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, X_adv)
            X_adv = X_adv.detach().add_(gradient.sign_(), alpha=steps.size)
            X_adv = torch.max(torch.min(X_adv, high), low)
        for p in module.parameters():
            p.requires_grad_(True)
        return X_adv

    return perturb


def torchattacks_pgd(module: nn.Module, steps: Steps) -> Perturb:
    import torchattacks

    settings = {"eps": steps.epsilon, "alpha": steps.size, "steps": steps.n}
    return torchattacks.PGD(module, random_start=True, **settings)


def foolbox_pgd(module: nn.Module, steps: Steps) -> Perturb:
    import foolbox

    model = foolbox.PyTorchModel(module, bounds=(0, 1), device=_device(module))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=steps.size, steps=steps.n, random_start=True)
    wrong = foolbox.criteria.Misclassification
    return lambda X, y: attack.run(model, X, wrong(y), epsilon=steps.epsilon)


def art_pgd(module: nn.Module, steps: Steps) -> Perturb:
    from art.attacks.evasion import ProjectedGradientDescent

    attack = ProjectedGradientDescent(
        art_classifier(module, (1, 28, 28)), eps=steps.epsilon, eps_step=steps.size,
        max_iter=steps.n, num_random_init=1, batch_size=10_000, verbose=False,
    )  # fmt: skip
    return lambda X, y: torch.as_tensor(attack.generate(X.cpu().numpy(), y.cpu().numpy()))


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def art_classifier(module: nn.Module, shape: tuple[int, ...], optimizer: Any = None) -> Any:
    """Return ART's view of a classifier of ten classes of samples in [0, 1]."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        module, nn.CrossEntropyLoss(), shape, 10, optimizer, clip_values=(0, 1),
        device_type="cpu" if _device(module).type == "cpu" else "gpu",
    )  # fmt: skip


def installed(makers: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what can be made with the libraries that are installed; say which are not."""
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name} left out: {error}")
    return found


# Standard ensembles -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """An attack of another library.

    Attributes
    ----------
    attack : callable
    module, package : str
        What it imports, and what pip calls that.
    first : int, optional
        Attack no more than the first so many samples: what it costs is out of proportion.
    by_default : bool
    """

    attack: Callable
    module: str
    package: str
    first: int | None = None
    by_default: bool = True


def by_torchattacks(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel
) -> Tensor:
    import torchattacks

    settings = {"norm": _torchattacks_norm(threat), "eps": threat.epsilon, "n_classes": 10}
    return torchattacks.AutoAttack(model, seed=0, **settings)(images, labels).detach()


def by_torchattacks_100(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel
) -> Tensor:
    """Run the same four attacks with the number of steps of the paper."""
    import torchattacks

    common = {"norm": _torchattacks_norm(threat), "eps": threat.epsilon, "seed": 0}
    parts = [
        torchattacks.APGD(model, steps=100, **common),
        torchattacks.APGDT(model, steps=100, n_classes=10, **common),
        torchattacks.FAB(model, steps=100, multi_targeted=True, n_classes=10, **common),
        torchattacks.Square(model, n_queries=5000, **common),
    ]
    return torchattacks.MultiAttack(parts)(images, labels).detach()


def _torchattacks_norm(threat: ThreatModel) -> str:
    return {"linf": "Linf", "l2": "L2"}[threat.norm]


def by_art(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
    logging.disable(logging.WARNING)
    from art.attacks.evasion import AutoAttack

    attack = AutoAttack(
        art_classifier(model, (1, 28, 28)),
        norm={"linf": np.inf, "l2": 2}[threat.norm],
        eps=threat.epsilon,
        eps_step=threat.epsilon / 4,
        batch_size=len(images),
    )
    X_adv = attack.generate(images.numpy(), np.eye(10, dtype=np.float32)[labels.numpy()])
    logging.disable(logging.NOTSET)
    return torch.as_tensor(X_adv)


def by_foolbox(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    attacks = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}
    attack = attacks[threat.norm](steps=100).repeat(5)
    torch.manual_seed(0)  # foolbox draws from the global generator
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(bounded, images, labels, epsilons=threat.epsilon)[1].detach()


PEERS = {
    "torchattacks: AutoAttack": Peer(by_torchattacks, "torchattacks", "torchattacks"),
    "torchattacks: AutoAttack, 100 steps": Peer(
        by_torchattacks_100, "torchattacks", "torchattacks", first=200
    ),
    "foolbox: PGD 100 x 5": Peer(by_foolbox, "foolbox", "foolbox"),
    "ART: AutoAttack": Peer(
        by_art,
        "art",
        "adversarial-robustness-toolbox multiprocess",
        first=100,
        by_default=False,
    ),
}
