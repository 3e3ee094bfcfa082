"""Do our robust accuracies survive other people's attacks? Ours and theirs on the same samples.

Trains small networks, standard and robust, and attacks the same test images with the library's
attacks and with those peers that are installed: torchattacks' AutoAttack as it comes (10 steps)
and with the 100 steps of its authors, foolbox's PGD, and on demand ART's AutoAttack (slow).
For each it prints the accuracy left, CPU time, and how often a sample passed through the network.
Networks and rows of an interrupted run are taken up again from the output folder, rows of ours only
if the attack still is what it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks._contenders import PEERS
from benchmarks._data import N_TRAIN, Split, add_data_home, mnist
from benchmarks._results import format_table, rows_table
from benchmarks._resume import ResultFile, checkpointed
from sklearn_robust import RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD, ThreatModel, TorchModel, evaluate, get_attack, predictor


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=200, help="test images (default: 200)")
    add_data_home(parser, "folder with the full MNIST, to train on 60,000 images")
    parser.add_argument("--attacks", nargs="*", default=DEFAULT_ATTACKS, choices=ATTACKS)
    parser.add_argument("--fresh", action="store_true", help="ignore what an earlier run left")


def run(args: argparse.Namespace) -> None:
    path = args.output / result_name(args.seed, args.samples)
    X_train, y_train, X, y = load(args)
    about = {"seed": args.seed, "n_samples": len(y), "n_train": len(y_train)}
    result = ResultFile(path, about, fresh=args.fresh, threads=torch.get_num_threads())
    names = [name for name in args.attacks if is_installed(name)]
    for case in CASES:
        module = trained(args, case, X_train, y_train)
        threat = ThreatModel(case.attacked_at, case.norm, (0, 1))
        plan = [{"case": case.name, "attack": n, "settings": settings(n)} for n in names]
        for wanted in result.missing(plan):
            name = wanted["attack"]
            attack, first = how(name)
            outdated = (case.name, name)  # by an attack that was set otherwise
            result.rows = [r for r in result.rows if (r["case"], r["attack"]) != outdated]
            result.add(wanted | measure(attack, module, X[:first], y[:first], threat))
            print(table(result.rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(result.rows))
    print("\n" + comparison(result.rows))


def settings(name: str) -> str:
    """Return what tells whether an earlier row still stands: our attacks change."""
    attack = name.removeprefix("ours: ")
    return repr(get_attack(attack)) if name in OURS else ""


def how(name: str) -> tuple[Callable, int | None]:
    """Return the attack of that name, and how many of the samples it is given; None: all."""
    return (OURS[name], None) if name in OURS else (PEERS[name].attack, PEERS[name].first)


def is_installed(name: str) -> bool:
    """Return whether the attack of that name can run; say what is missing if not."""
    peer = PEERS.get(name)
    if peer is None or importlib.util.find_spec(peer.module) is not None:
        return True
    print(f"{name} skipped, not installed: pip install {peer.package}", flush=True)
    return False


def result_name(seed: int, samples: int) -> str:
    """Return the file of a run; another seed means other networks and other samples."""
    return f"attack_strength_seed{seed}_{samples}.json"


def load(args: argparse.Namespace) -> Split:
    """Return images and labels to train on, and those to attack; images as rows."""
    X, y, X_test, y_test = mnist(args.data_home, shuffle=args.seed)
    return X, y, X_test[: args.samples], y_test[: args.samples]


def trained(args: argparse.Namespace, case: Case, X: np.ndarray, y: np.ndarray) -> nn.Module:
    """Return the case's network, from the checkpoints if it is there."""

    def train() -> nn.Module:
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
        )
        return model.fit(X, y).module_

    key = f"{case.architecture}-{case.norm}-{case.trained_at:g}-{len(y)}-{args.seed}"
    path = args.output / "checkpoints" / f"attack-strength-{key}.joblib".lower()
    return checkpointed(path, train, fresh=args.fresh)


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
    robust = clean & (right | ~inside)
    return {
        "n": len(y),
        "clean": clean.mean(),
        "robust": robust.mean(),
        "standing": "".join("01"[int(r)] for r in robust),  # sample by sample, to compare
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
        own = TorchModel(model, 10)
        chosen = PGD(40, keep="fooling") if name == "pgd" else get_attack(name)
        verdict = evaluate(own, images.numpy(), labels.numpy(), threat, chosen, predictor(own))
        return torch.as_tensor(verdict.X_adv)

    return attack


OURS = {f"ours: {name}": ours(name) for name in ("pgd", "auto", "strong")}
ATTACKS = [*OURS, *PEERS]
DEFAULT_ATTACKS = [*OURS, *(name for name, peer in PEERS.items() if peer.by_default)]


# Reporting ----------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Return the result as Markdown, a line for each network and attack."""
    heading = "network, radius | attack | n | robust % | CPU s | forwards | gradients"
    line = (
        "{case} | {attack} | {n} | {robust:.1%} | {cpu_seconds:.1f} | "
        "{forwards_per_sample:.0f} | {gradients_per_sample:.0f}"
    )
    return rows_table(sorted(rows, key=_place), heading, line)


def _place(row: dict[str, Any]) -> tuple[int, int]:
    """Return where a row stands in the table, whenever it was measured."""
    return [case.name for case in CASES].index(row["case"]), ATTACKS.index(row["attack"])


def comparison(rows: list[dict[str, Any]]) -> str:
    """Return a table of the differences that matter, in points on the samples both were given."""
    header = (
        *("network, radius", "auto - strong", "its cost", "strong - best peer", "best peer"),
        *("strong - all", "AutoAttack's cost"),
    )
    body = []
    for case in CASES:
        found = {row["attack"]: row for row in rows if row["case"] == case.name}
        peers = [found[name] for name in PEERS if name in found]
        strong, auto = found.get("ours: strong"), found.get("ours: auto")
        if strong is None or auto is None or not peers:
            continue
        best = max(peers, key=lambda row: ahead(strong, row))
        together = 100 * (strong["robust"] - all_together(found.values()).mean())
        shipped = found.get("torchattacks: AutoAttack")
        ratios = (
            row["cpu_seconds"] / strong["cpu_seconds"] if row else float("nan")
            for row in (auto, shipped)
        )
        share, cost = (f"{ratio:.2f}" for ratio in ratios)
        gaps = (f"{gap:+.1f}" for gap in (ahead(auto, strong), ahead(strong, best), together))
        first, second, third = gaps
        body.append((case.name, first, share, second, best["attack"], third, cost))
    return format_table(header, body)


def ahead(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return how many points more the first leaves standing, on the samples of both."""
    masks = [np.array(list(row["standing"])) == "1" for row in (one, other)]
    n = min(map(len, masks))
    return 100 * float(masks[0][:n].mean() - masks[1][:n].mean())


def all_together(rows: Iterable[dict[str, Any]]) -> np.ndarray:
    """Return which samples no attack broke; those that an attack was not given count as such."""
    masks = [np.array(list(row["standing"])) == "1" for row in rows]
    length = max(map(len, masks))
    return np.all([np.append(m, np.ones(length - len(m), dtype=bool)) for m in masks], axis=0)
