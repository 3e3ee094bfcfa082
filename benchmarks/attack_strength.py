"""Do our robust accuracies survive other people's attacks? Ours and theirs on the same samples.

Trains small networks, standard and robust, and attacks the same test images with the library's
attacks and with those peers that are installed: torchattacks' AutoAttack as it comes (10 steps)
and with the 100 steps of its authors, foolbox's PGD, and on demand ART's AutoAttack (slow).
For each it prints the accuracy left, CPU time, and how often a sample passed through the network.
Networks and rows of an interrupted run are taken up again from the output folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import nn

from benchmarks._results import earlier_rows, format_table, provenance, write_json
from sklearn_robust import RobustNeuralNetClassifier, load_mnist
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel, evaluate, get_attack, predictor

N_TRAIN = 4000


@dataclass(frozen=True)
class Case:
    """A network, how it is trained and at which radius it is attacked."""

    architecture: str
    norm: str
    trained_at: float
    attacked_at: float
    epochs: int

    @property
    def name(self) -> str:
        training = f"trained at {self.trained_at:g}" if self.trained_at else "standard"
        return f"{self.architecture} {training}, {self.norm} {self.attacked_at:g}"


CASES = (
    Case("CNN", "linf", 0.0, 0.1, 10),
    Case("CNN", "linf", 0.3, 0.3, 30),
    Case("FC", "linf", 0.1, 0.1, 20),
    Case("CNN", "l2", 1.5, 1.5, 10),
)
ABSENT = "not installed: pip install {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=200, help="test images (default: 200)")
    parser.add_argument(
        "--data-home", type=Path, help="folder with the full MNIST, to train on 60,000 images"
    )
    parser.add_argument("--peers", nargs="*", default=DEFAULT_PEERS, choices=list(PEERS))
    parser.add_argument("--fresh", action="store_true", help="ignore what an earlier run left")


def run(args: argparse.Namespace) -> None:
    path = args.output / result_name(args.seed, args.samples)
    train, (X, y) = load(args)
    about = {"seed": args.seed, "n_samples": len(y), "n_train": len(train[1])}
    rows = [] if args.fresh else earlier_rows(path, about)
    for case in CASES:
        module = trained(args, case, *train)
        threat = ThreatModel(case.attacked_at, case.norm, (0, 1))
        for name, attack in {**OURS, **{peer: PEERS[peer] for peer in args.peers}}.items():
            if any((row["case"], row["attack"]) == (case.name, name) for row in rows):
                continue
            package = PACKAGES.get(name.partition(":")[0])
            if package and importlib.util.find_spec(package[0]) is None:
                print(f"{name} skipped, {ABSENT.format(package[1])}", flush=True)
                continue
            row = {"case": case.name, "attack": name, **measure(attack, module, X, y, threat)}
            rows.append(row)
            print(f"{case.name}: {name}: {row['robust']:.3f} in {row['seconds']:.0f} s", flush=True)
            write_json(path, {**provenance(threads=torch.get_num_threads(), **about), "rows": rows})
    print("\n" + table(rows))
    print("\n" + summary(rows))


def result_name(seed: int, samples: int) -> str:
    """Return the file of a run; another seed means other networks and other samples."""
    return f"attack_strength_seed{seed}_{samples}.json"


def load(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return (X, y) to train on and (X, y) to attack; images as rows."""
    if args.data_home is not None:
        (X, y), (X_test, y_test) = (
            load_mnist(part, data_home=args.data_home) for part in ("train", "test")
        )
    else:
        X, y = load_mnist("5k")
        order = np.random.default_rng(args.seed).permutation(len(y))
        X_test, y_test = X[order[N_TRAIN:]], y[order[N_TRAIN:]]
        X, y = X[order[:N_TRAIN]], y[order[:N_TRAIN]]
    X, X_test = (a.reshape(len(a), -1) for a in (X, X_test))
    return (X, y), (X_test[: args.samples], y_test[: args.samples])


def trained(args: argparse.Namespace, case: Case, X: np.ndarray, y: np.ndarray) -> nn.Module:
    """Return the case's network, from the checkpoints if it is there."""
    folder = args.output / "checkpoints"
    folder.mkdir(exist_ok=True)
    key = f"{case.architecture}-{case.norm}-{case.trained_at:g}-{len(y)}-{args.seed}"
    path = folder / f"attack-strength-{key}.joblib".lower()
    if path.exists() and not args.fresh:
        return joblib.load(path)
    model = RobustNeuralNetClassifier(
        {"CNN": cnn, "FC": fully_connected}[case.architecture],
        epsilon=case.trained_at,
        norm=case.norm,
        clip_values=(0, 1),
        pgd_steps=5,
        # Sixty thousand images need fewer passes over them.
        max_epochs=case.epochs if len(y) <= N_TRAIN else max(case.epochs // 5, 3),
        device="cpu",
        random_state=args.seed,
    ).fit(X, y)
    joblib.dump(model.module_, path)
    return model.module_


def cnn(n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 100),
        nn.ReLU(),
        nn.Linear(100, n_classes),
    )


def fully_connected(n_classes: int) -> nn.Module:
    widths = (784, 256, 256)
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_classes))


# Measuring ----------------------------------------------------------------------------------------


class Counting(nn.Module):
    """A network for images, (n, 1, 28, 28), that counts the samples that pass through it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for p in self.parameters():
            p.requires_grad_(False)
        self.n_forwards = self.n_gradients = 0
        self.eval()

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        self.n_forwards += len(X)
        logits = self.module(X.flatten(1))
        if logits.requires_grad:
            logits.register_hook(self._count_gradient)
        return logits

    def _count_gradient(self, gradient: torch.Tensor) -> None:
        # A gradient of one class at a time comes back for the samples it was asked for.
        self.n_gradients += int(gradient.abs().sum(1).gt(0).sum())


def measure(
    attack: Callable, module: nn.Module, X: np.ndarray, y: np.ndarray, threat: ThreatModel
) -> dict[str, Any]:
    """Return accuracies and cost of one attack; the network's word decides on what it returns."""
    counting = Counting(module)
    images, labels = torch.as_tensor(X).reshape(-1, 1, 28, 28), torch.as_tensor(y)
    with torch.no_grad():
        clean = (module(images.flatten(1)).argmax(1) == labels).numpy()
    start, start_cpu = time.perf_counter(), time.process_time()
    X_adv = attack(counting, images, labels, threat)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    with torch.no_grad():
        right = (module(X_adv.flatten(1)).argmax(1) == labels).numpy()
    # What lies outside ball or box counts for nothing; a thousandth is left to others' rounding.
    flat = X_adv.flatten(1).numpy()
    inside = threat.scaled(1.001).contains(flat, X)
    return {
        "clean": clean.mean(),
        "robust": (clean & (right | ~inside)).mean(),
        "outside": int((~inside).sum()),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "forwards_per_sample": counting.n_forwards / len(y),
        "gradients_per_sample": counting.n_gradients / len(y),
    }


def ours(name: str) -> Callable:
    def attack(
        model: Counting, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
    ) -> torch.Tensor:
        door = TorchModel(model, 10)

        chosen = PGD(40, keep="fooling") if name == "pgd" else get_attack(name)
        verdict = evaluate(door, images.numpy(), labels.numpy(), threat, chosen, predictor(door))
        return torch.as_tensor(verdict.X_adv)

    return attack


def by_torchattacks(
    model: Counting, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
    import torchattacks

    settings = {"norm": _torchattacks_norm(threat), "eps": threat.epsilon, "n_classes": 10}
    return torchattacks.AutoAttack(model, seed=0, **settings)(images, labels).detach()


def by_torchattacks_100(
    model: Counting, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
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
    model: Counting, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
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
    model: Counting, images: torch.Tensor, labels: torch.Tensor, threat: ThreatModel
) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox

    attacks = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}
    attack = attacks[threat.norm](steps=100).repeat(5)
    torch.manual_seed(0)  # foolbox draws from the global generator
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(bounded, images, labels, epsilons=threat.epsilon)[1].detach()


OURS = {f"ours: {name}": ours(name) for name in ("pgd", "auto", "strong")}
PEERS = {
    "torchattacks: AutoAttack": by_torchattacks,
    "torchattacks: AutoAttack, 100 steps": by_torchattacks_100,
    "foolbox: PGD 100 x 5": by_foolbox,
    "ART: AutoAttack": by_art,
}
DEFAULT_PEERS = [name for name in PEERS if not name.startswith("ART")]
# What each needs: the module, and what pip calls it.
PACKAGES = {
    "torchattacks": ("torchattacks", "torchattacks"),
    "foolbox": ("foolbox", "foolbox"),
    "ART": ("art", "adversarial-robustness-toolbox multiprocess"),
}


# Reporting ----------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Return the result as Markdown, a line for each network and attack."""
    header = ("network, radius", "attack", "robust %", "CPU s", "forwards", "gradients")
    body = [
        (
            row["case"],
            row["attack"],
            f"{100 * row['robust']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['forwards_per_sample']:.0f}",
            f"{row['gradients_per_sample']:.0f}",
        )
        for row in sorted(rows, key=_place)
    ]
    return format_table(header, body)


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Return where a row stands in the table, whenever it was measured."""
    cases = [case.name for case in CASES]
    return cases.index(row["case"]), [*OURS, *PEERS].index(row["attack"])


def summary(rows: list[dict[str, Any]]) -> str:
    """Return, for each network, the gap to the strongest peer and to the full combination."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        found = {row["attack"]: row for row in rows if row["case"] == case}
        peers = [found[name] for name in PEERS if name in found]
        strong, auto = found.get("ours: strong"), found.get("ours: auto")
        if strong is None or auto is None:
            continue
        gap = 100 * (auto["robust"] - strong["robust"])
        share = auto["cpu_seconds"] / strong["cpu_seconds"]
        line = f"{case}: auto {gap:+.1f} points from strong at {share:.2f} of its time"
        if peers:
            best = min(peers, key=lambda row: row["robust"])
            gap = 100 * (strong["robust"] - best["robust"])
            line += f"; strong {gap:+.1f} points from {best['attack']}"
        if "torchattacks: AutoAttack" in found:
            ratio = found["torchattacks: AutoAttack"]["cpu_seconds"] / strong["cpu_seconds"]
            line += f", torchattacks takes {ratio:.1f} x its time"
        lines.append(line)
    return "\n".join(lines)
