"""Networks that several benchmarks measure, each trained once: the main job's and the recipes'."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from benchmarks._data import N_TRAIN, SHAPE, mnist, source
from benchmarks._resume import checkpointed
from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.neural_network import make_recipe

EPSILON = 0.3
KINDS = tuple(
    (architecture, kind) for architecture in ("CNN", "FC") for kind in ("standard", "robust")
)
# How the report's networks are trained in minutes.
TRAINING = {
    "step_size": None, "epsilon_schedule": "ramp", "batch_size": 64, "max_epochs": 6, "lr": 3e-3,
    "lr_schedule": "one-cycle",
}  # fmt: skip
PGD_STEPS = {"CNN": 5, "FC": 10}
DEFAULTS = {"CNN": RobustCNNClassifier, "FC": RobustFCClassifier}


def main_job_data(data_home: Path | None, seed: int) -> tuple[np.ndarray, ...]:
    """Return 4,000 images and labels to train on and 1,000 to test on, as images."""
    X, y, X_test, y_test = mnist(data_home)
    if data_home is not None:
        pick, test = (
            np.random.default_rng(seed).choice(len(labels), n, replace=False)
            for labels, n in ((y, N_TRAIN), (y_test, 1000))
        )
        X, y, X_test, y_test = X[pick], y[pick], X_test[test], y_test[test]
    return X.reshape(-1, *SHAPE), y, X_test.reshape(-1, *SHAPE), y_test


def main_job_network(
    args: argparse.Namespace, architecture: str, training: str, X: np.ndarray, y: np.ndarray
) -> tuple[Any, float]:
    """Return a trained model and the seconds it took, from its checkpoint if there is one."""
    data = "5k" if args.data_home is None else "full"
    name = f"quick-{architecture}-{training}-{data}-seed{args.seed}"
    path = args.output / "checkpoints" / f"{name}.joblib"
    common = {"device": args.device, "random_state": args.seed, "verbose": 1}
    if training == "defaults":
        model = DEFAULTS[architecture](epsilon=EPSILON, clip_values=(0, 1), **common)
    else:
        model = make_recipe(
            "report",
            architecture.lower(),
            epsilon=EPSILON if training == "robust" else 0.0,
            pgd_steps=PGD_STEPS[architecture],
            **common,
            **TRAINING,
        )

    def train() -> dict[str, Any]:
        print(f"{architecture} {training}: training on {len(y)} images", flush=True)
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
        return {"model": model, "seconds": seconds, "parameters": model.get_params()}

    content = checkpointed(path, train, fresh=args.fresh)
    if content["parameters"] != model.get_params():
        content = checkpointed(path, train, fresh=True)
    return content["model"], content["seconds"]


def recipe_network(
    args: argparse.Namespace, parameters: dict[str, Any], X: np.ndarray, y: np.ndarray
) -> tuple[str, Any]:
    """Return a name for the training that `args` and `parameters` describe, and its classifier.

    What is trained already, in whole or in part, comes from its checkpoint.
    """
    parts = ["training", args.recipe, args.architecture, f"eps{args.epsilon:g}"]
    parts += [f"{key}-{value}" for key, value in sorted(parameters.items())]
    text = "-".join([*parts, source(args).split()[-1], f"seed{args.seed}"])
    name = "".join(c if c.isalnum() or c in "-._" else "_" for c in text)
    print(f"{name}: training on {len(y)} images", flush=True)
    clf = make_recipe(
        args.recipe,
        args.architecture,
        epsilon=args.epsilon,
        random_state=args.seed,
        **resumable(args, name),
        **parameters,
    )
    return name, clf.fit(X.reshape(-1, *SHAPE), y)


def resumable(args: argparse.Namespace, name: str, **callbacks: Callback) -> dict[str, Any]:
    """Return the hyperparameters of a training that goes on from its last finished epoch."""
    return {
        "device": args.device,
        "checkpoint": args.output / "checkpoints" / name,
        "callbacks": [("process_time", ProcessTime()), *callbacks.items()],
        "verbose": 1,
    }


def training_cost(history: Any) -> dict[str, float]:
    """Return the seconds of a training, those of interrupted runs included.

    On a machine with other work, the time of the process says more than that of the clock.
    """
    return {
        "training_seconds": sum(row["dur"] for row in history),
        "training_process_seconds": sum(row["process_time"] for row in history),
    }


class ProcessTime(Callback):
    """Write into history how long the process computed in an epoch, on how many threads."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.start = time.process_time()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        net.history.record("process_time", time.process_time() - self.start)
        net.history.record("threads", torch.get_num_threads())
