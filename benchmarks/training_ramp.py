"""Where a ramp in front of the network helps, and where it does not: four data sets.

Trains the same fully connected network with `input_ramp` None, "fixed" and "learnable" on data that
lie near the ends of their range and on data that do not: MNIST, the same images blurred,
scikit-learn's digits, and measurements of tumours. All values are in [0, 1].
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import minmax_scale

from benchmarks._data import BLUR, blurred, small_mnist
from benchmarks._results import provenance, rows_table, write_json
from sklearn_robust import RobustFCClassifier
from sklearn_robust.metrics import robust_score

RAMPS = (None, "fixed", "learnable")
N_IMAGES = 2000  # of MNIST, so that one run takes a minute or two


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=15)


def run(args: argparse.Namespace) -> None:
    rows = []
    for name, (X, y, epsilon) in datasets().items():
        between = float(np.mean(np.abs(X - 0.5) < 0.5 - epsilon))
        for ramp in RAMPS:
            seeds = range(args.seed, args.seed + args.n_seeds)
            found = [_measure(X, y, epsilon, ramp, args.epochs, seed) for seed in seeds]
            clean, robust = np.mean(found, axis=0)
            rows.append(
                {
                    "data": name,
                    "epsilon": epsilon,
                    "share_between": between,
                    "input_ramp": ramp,
                    "clean": clean,
                    "robust": robust,
                    "robust_of_seeds": [r for _, r in found],
                }
            )
    print(table(rows))
    where = {"seed": args.seed, "device": "cpu", "threads": torch.get_num_threads()}
    settings = {"n_seeds": args.n_seeds, "epochs": args.epochs, "blur": BLUR, "n_images": N_IMAGES}
    write_json(
        args.output / "training_ramp.json",
        {**provenance(**where), "settings": settings, "rows": rows},
    )


def datasets() -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Return X in [0, 1], y and the radius for each data set."""
    images, labels = (part[:N_IMAGES] for part in small_mnist())
    digits, digit_labels = load_digits(return_X_y=True)
    tumours, malignant = load_breast_cancer(return_X_y=True)
    return {
        "MNIST": (images, labels, 0.3),
        "MNIST, blurred": (blurred(images), labels, 0.3),
        "scikit-learn's digits": (digits / 16, digit_labels, 0.2),
        "breast cancer": (minmax_scale(tumours).clip(0, 1), malignant, 0.1),
    }


def _measure(
    X: np.ndarray, y: np.ndarray, epsilon: float, ramp: Any, epochs: int, seed: int
) -> tuple[float, float]:
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    clf = RobustFCClassifier(
        (128,), epsilon=epsilon, clip_values=(0, 1), pgd_steps=5, training="pgd", input_ramp=ramp,
        max_epochs=epochs, batch_size=64, lr=2e-3, lr_schedule="one-cycle", device="cpu",
        random_state=seed,
    ).fit(X_train, y_train)  # fmt: skip
    return clf.score(X_test, y_test), robust_score(clf, X_test, y_test, attack="auto")


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table, in percent."""
    heading = "data | epsilon | values between | input_ramp | clean | robust"
    line = "{data} | {epsilon:g} | {share_between:.0%} | {input_ramp} | {clean:.1%} | {robust:.1%}"
    return rows_table(rows, heading, line)
