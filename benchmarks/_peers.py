"""Attacks of other libraries, called as their manuals say, on the network that counts passes.

Each maps (model, images, labels, threat) to the images it has found, shape (n, 1, 28, 28).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel


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
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
    import torchattacks

    settings = {"norm": _torchattacks_norm(threat), "eps": threat.epsilon, "n_classes": 10}
    return torchattacks.AutoAttack(model, seed=0, **settings)(images, labels).detach()


def by_torchattacks_100(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
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


def by_art(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
    logging.disable(logging.WARNING)
    from art.attacks.evasion import AutoAttack
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0, 1),
        device_type="cpu",
    )
    attack = AutoAttack(
        classifier,
        norm={"linf": np.inf, "l2": 2}[threat.norm],
        eps=threat.epsilon,
        eps_step=threat.epsilon / 4,
        batch_size=len(images),
    )
    X_adv = attack.generate(images.numpy(), np.eye(10, dtype=np.float32)[labels.numpy()])
    logging.disable(logging.NOTSET)
    return torch.as_tensor(X_adv)


def by_foolbox(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
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
