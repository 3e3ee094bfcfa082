"""One cell of the report's Tables 2 and 3: its training and its scores, both resumable."""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from benchmarks._data import add_data_home, source
from benchmarks._every_kth import Every
from benchmarks._results import provenance, write_json
from benchmarks._resume import earlier_rows
from benchmarks._trained import resumable, training_cost
from sklearn_robust.attacks import PGD
from sklearn_robust.metrics import perturb
from sklearn_robust.neural_network import make_recipe

ARCHITECTURES = ("cnn", "fc")
EPSILONS = (0.1, 0.2, 0.3)
PROTOCOLS: dict[str, dict[str, Any]] = {
    "full": {"pgd_steps": 100, "step_size": 0.01},
    "full-bfloat16": {"pgd_steps": 100, "step_size": 0.01, "dtype": "bfloat16"},
    "reduced": {"pgd_steps": 10, "step_size": None},
    "reduced-bfloat16": {"pgd_steps": 10, "step_size": None, "dtype": "bfloat16"},
    "every-other": {
        "pgd_steps": 10,
        "step_size": None,
        "dtype": "bfloat16",
        "training": Every(2),
    },
}
REPORT_PGD = PGD(n_steps=100, step_size=0.01, keep="fooling")


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
    n_train: int | None = None

    @property
    def name(self) -> str:
        kind = f"eps{self.epsilon:g}-{'clipped' if self.clip else 'free'}-{self.protocol}"
        kind = kind if self.epsilon else "standard"
        data = self.data.replace(" ", "-") + (f"-n{self.n_train}" if self.n_train else "")
        return f"{self.architecture}-{kind}-{data}-{self.epochs}epochs-seed{self.seed}"

    @property
    def box(self) -> tuple[float, float] | None:
        return (0.0, 1.0) if self.clip else None

    @property
    def threats(self) -> list[tuple[float, bool]]:
        """The radii and boxes to score at: a standard network's are those of all the others."""
        if self.epsilon:
            return [(self.epsilon, self.clip)]
        return [(epsilon, clip) for clip in (False, True) for epsilon in EPSILONS]


class StopAfter(Callback):
    """Interrupt a training when it would begin the epoch after `epochs`, to be gone on with later.

    The protocol's rate and epsilon are constant, so that the first epochs of a longer training are
    those of a shorter one.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) > self.epochs:
            raise KeyboardInterrupt


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which networks, trained how, are meant."""
    add_data_home(parser)
    parser.add_argument("--protocol", nargs="+", default=["full"], choices=tuple(PROTOCOLS))
    parser.add_argument("--architecture", nargs="+", default=["cnn", "fc"], choices=ARCHITECTURES)
    parser.add_argument(
        "--epsilon",
        nargs="*",
        type=float,
        default=list(EPSILONS),
        help="radii to train at; none: standard training only",
    )
    parser.add_argument(
        "--clip",
        nargs="+",
        default=["free", "clipped"],
        choices=("free", "clipped"),
        help="the report does not clip to [0, 1]; most of the literature does",
    )
    parser.add_argument("--robust-only", action="store_true", help="no standard training")
    parser.add_argument(
        "--figures-only", action="store_true", help="train what is missing and draw, score nothing"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--stop-after",
        type=int,
        help="score the robust networks (without any, the standard ones) after so many of the "
        "epochs, as cells of their own; training can go on later",
    )
    parser.add_argument("--n-seeds", type=int, default=1, help="from --seed on")
    parser.add_argument("--n-train", type=int, help="train on so many images of a permutation")
    parser.add_argument("--n-test", type=int, help="only so many test images, for a trial")
    parser.add_argument("--n-pgd", type=int, help="test images for PGD; default: all")
    parser.add_argument("--n-strong", type=int, default=1000, help="images for the ensemble")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def cells(args: argparse.Namespace) -> list[Cell]:
    """Return the cells asked for: each architecture's standard training first."""
    if args.stop_after is not None and not 1 <= args.stop_after <= args.epochs:
        raise ValueError(
            f"--stop-after must be from 1 to the {args.epochs} --epochs, got {args.stop_after}."
        )

    def cell(architecture: str, epsilon: float, clip: bool, protocol: str, seed: int) -> Cell:
        early = epsilon or not args.epsilon  # standard training beside robust one is cheap
        epochs = (args.stop_after if early else None) or args.epochs
        return Cell(architecture, epsilon, clip, protocol, seed, epochs, source(args), args.n_train)

    out = []
    for architecture in args.architecture:
        for seed in range(args.seed, args.seed + args.n_seeds):
            if not args.robust_only:
                out.append(cell(architecture, 0.0, False, args.protocol[0], seed))
            out += [
                cell(architecture, epsilon, clip == "clipped", protocol, seed)
                for protocol in args.protocol
                for clip in args.clip
                for epsilon in args.epsilon
            ]
    return out


def trained(args: argparse.Namespace, cell: Cell, X: np.ndarray, y: np.ndarray) -> Any:
    """Return the cell's model; what its checkpoints hold is not trained again."""
    if cell.n_train:
        if cell.n_train > len(y):
            raise ValueError(f"--n-train must be at most {len(y)}, got {cell.n_train}.")
        pick = np.random.default_rng(0).permutation(len(y))[: cell.n_train]
        X, y = X[pick], y[pick]
    whole = replace(cell, epochs=args.epochs)
    clf = make_recipe(
        "report",
        cell.architecture,
        epsilon=cell.epsilon,
        clip_values=cell.box,
        max_epochs=whole.epochs,
        random_state=cell.seed,
        **resumable(args, f"report-{whole.name}", stop=StopAfter(cell.epochs)),
        **(PROTOCOLS[cell.protocol] if cell.epsilon else {}),
    )
    with warnings.catch_warnings():
        if cell.epochs < args.epochs:
            warnings.filterwarnings("ignore", "Training interrupted")
        clf.fit(X, y)
    if clf.n_iter_ > cell.epochs:
        raise ValueError(
            f"--stop-after must not be less than the {clf.n_iter_} epochs that {whole.name} has "
            f"been trained for, got {cell.epochs}."
        )
    return clf


def known(args: argparse.Namespace, path: Path, n_test: int) -> tuple[dict[str, int], list[Any]]:
    """Return how many images a cell is scored on, and the scores that `path` holds already."""
    n_pgd = min(args.n_pgd or n_test, n_test)
    about = {"n_test": n_test, "n_pgd": n_pgd, "n_strong": min(args.n_strong, n_pgd)}
    return about, earlier_rows(path, about, "scores")


def evaluate(
    args: argparse.Namespace,
    cell: Cell,
    path: Path,
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
) -> None:
    """Train and score a cell, and write `path` after each score; what it holds is not repeated."""
    about, scores = known(args, path, len(y_test))
    done = [(score["epsilon"], score["clip"]) for score in scores]
    left = [threat for threat in cell.threats if threat not in done]
    if not left:
        print(f"{cell.name}: done", flush=True)
        return
    print(f"{cell.name}: training", flush=True)
    clf = trained(args, cell, X, y)
    history = clf.net_.history[: cell.epochs]  # a training stopped early has begun one more
    content = {
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
        "n_train": cell.n_train or len(y),
        **about,
        **training_cost(history),
        "clean": clf.score(X_test, y_test),
        "scores": scores,
    }
    for epsilon, clip in left:
        content["scores"].append(scored(clf, cell, epsilon, clip, X_test, y_test, **about))
        write_json(path, content)


def scored(
    clf: Any,
    cell: Cell,
    epsilon: float,
    clip: bool,
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_pgd: int,
    n_strong: int,
    n_test: int,
) -> dict[str, Any]:
    """Return the accuracy under the report's PGD, and what the ensemble leaves of it.

    Subsets are the first of a fixed permutation, because the first test images of MNIST are harder
    than the rest. The ensemble attacks the samples of its subset that PGD left standing.
    """
    start, process = time.perf_counter(), time.process_time()
    order = np.random.default_rng(0).permutation(n_test)[:n_pgd]
    X, y = X[order], y[order]
    threat: dict[str, Any] = {
        "epsilon": epsilon,
        "clip_values": (0.0, 1.0) if clip else None,
        "random_state": cell.seed,
    }
    stands = clf.predict(perturb(clf, X, y, attack=REPORT_PGD, **threat)) == y
    after = stands[:n_strong].copy()
    open_ = np.flatnonzero(after)
    if len(open_):
        X_adv = perturb(clf, X[open_], y[open_], attack="strong", **threat)
        after[open_] = clf.predict(X_adv) == y[open_]
    score = {
        "epsilon": epsilon,
        "clip": clip,
        "pgd": float(stands.mean()),
        "pgd_where_strong": float(stands[:n_strong].mean()),
        "strong": float(after.mean()),
        "seconds": time.perf_counter() - start,
        "process_seconds": time.process_time() - process,
    }
    print("  epsilon {epsilon:g}: PGD {pgd:.4f}, ensemble {strong:.4f}".format(**score), flush=True)
    return score
