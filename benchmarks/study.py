"""A small study on data that scikit-learn ships: choosing epsilon by robust accuracy in raw units.

For each data set and model a grid search over the training radius is scored, by cross-validation,
at fixed radii in the units of the data, and refitted at the radius that scores best at one of them.
The curves show, on held-out data, what each training radius costs in clean accuracy and wins under
attack.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks._data import load_three_or_eight
from benchmarks._results import format_table, provenance, write_json
from sklearn_robust import (
    AdversarialLogisticRegression,
    RobustFCClassifier,
    make_robust_scorer,
    robust_score,
)
from sklearn_robust.attacks import PGD

# Shares of the unit: the training radii that are tried, and those at which models are scored.
TRAINED = (0.0, 0.05, 0.1, 0.2, 0.4)
SCORED = (0.05, 0.1, 0.2)
TARGET = 0.1
# In the search and, longer, after it; the worst case of linear models is exact.
ATTACKS: dict[str, tuple[Any, Any]] = {
    "AdversarialLogisticRegression": ("auto", "auto"),
    "RobustFCClassifier": (PGD(10, keep="fooling"), PGD(50, keep="fooling")),
}
MODELS = tuple(ATTACKS)


def to_unit(X: np.ndarray) -> np.ndarray:
    """Return grey levels of 0 to 16 as shares of white."""
    return X / 16


@dataclass(frozen=True)
class Task:
    """One data set: its loader, the unit in which radii are given, and the linear model's front."""

    name: str
    load: Callable[..., Any]
    unit: str
    front: Any
    """Makes the unit 1 for the linear classifier behind it."""

    def raw_unit(self, X: np.ndarray) -> Any:
        """Return the raw radius meant by a share of 1: one number, or one per feature."""
        return 16.0 if self.unit == "white" else X.std(axis=0)


TASKS = (
    Task("breast cancer", load_breast_cancer, "standard deviation", StandardScaler()),
    Task("wine", load_wine, "standard deviation", StandardScaler()),
    Task("digits 3 and 8", load_three_or_eight, "white", FunctionTransformer(to_unit)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epochs", type=int, default=20, help="of each network")
    parser.add_argument("--n-jobs", type=int, default=None, help="fits at a time")


def run(args: argparse.Namespace) -> None:
    # Radii at which a network learns nothing are part of the curve.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    rows = []
    for task in TASKS:
        for model in MODELS:
            rows.append(study(task, model, args.seed, args.epochs, args.n_jobs))
            print(f"{task.name}, {model}: picked {rows[-1]['picked']}", flush=True)
    content = {
        "provenance": provenance(seed=args.seed, epochs=args.epochs),
        "trained": TRAINED,
        "scored": (0.0, *SCORED),
        "target": TARGET,
        "rows": rows,
    }
    write_json(args.output / "study.json", content)
    draw(rows, args.output / "study.png")
    print(table(rows))


def study(task: Task, model: str, seed: int, epochs: int, n_jobs: int | None) -> dict[str, Any]:
    """Return the grid search over the training radius, and held-out accuracies of every radius."""
    X, y = task.load(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    unit = task.raw_unit(X)
    estimator, parameter, values = candidates(task, model, unit, seed, epochs)
    searched, held_out = ATTACKS[model]
    scoring = {f"{s:g}": make_robust_scorer(s * unit, attack=searched) for s in (0.0, *SCORED)}
    search = GridSearchCV(
        estimator, {parameter: values}, scoring=scoring, refit=f"{TARGET:g}", cv=3, n_jobs=n_jobs
    ).fit(X, y)
    curves = []
    for value in values:
        fitted = clone(estimator).set_params(**{parameter: value}).fit(X, y)
        radii = (0.0, *SCORED)
        curves.append(
            [robust_score(fitted, X_test, y_test, epsilon=s * unit, attack=held_out) for s in radii]
        )
    return {
        "data": task.name,
        "unit": task.unit,
        "model": model,
        "cross_validated": {s: search.cv_results_[f"mean_test_{s}"] for s in scoring},
        "held_out": curves,
        "picked": TRAINED[search.best_index_],
    }


def candidates(
    task: Task, model: str, unit: Any, seed: int, epochs: int
) -> tuple[Any, str, list[Any]]:
    """Return an estimator, the name of its radius, and the values to try.

    A classifier behind a transformer has its radius in the units behind it; a network with the
    transformer inside has it in raw units. Both are scored in raw units.
    """
    if model == "AdversarialLogisticRegression":
        pipe = make_pipeline(task.front, AdversarialLogisticRegression(C=10.0))
        name = "adversariallogisticregression__epsilon"
        return pipe, name, list(TRAINED)
    network = RobustFCClassifier(
        (32,), preprocessor=clone(task.front), max_epochs=epochs, pgd_steps=5, lr=0.01,
        training="pgd", lr_schedule="constant", batch_size=128, random_state=seed,
    )  # fmt: skip
    return network, "epsilon", [share * unit for share in TRAINED]


def table(rows: list[dict[str, Any]]) -> str:
    """Return, in Markdown, standard training beside the radius picked, on held-out data."""
    at = (0.0, *SCORED).index(TARGET)
    body = []
    for row in rows:
        chosen = TRAINED.index(row["picked"])
        standard, robust = row["held_out"][0], row["held_out"][chosen]
        body.append(
            [row["data"], row["model"], f"{row['picked']:g}"]
            + [f"{100 * v:.1f}" for v in (standard[0], standard[at], robust[0], robust[at])]
        )
    header = ["data", "model", "picked radius", "standard: clean", "standard: attacked",
              "picked: clean", "picked: attacked"]  # fmt: skip
    return format_table(header, body)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw held-out accuracy against the training radius, a line for each radius of attack."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(len(MODELS), len(TASKS), sharex=True, sharey=True)
    colours = colormaps["viridis"](np.linspace(0, 0.85, 1 + len(SCORED)))
    for row, axis in zip(rows, axes.T.ravel(), strict=True):
        for column, (share, colour) in enumerate(zip((0.0, *SCORED), colours, strict=True)):
            values = [100 * curve[column] for curve in row["held_out"]]
            label = "clean" if share == 0 else f"attacked at {share:g}"
            axis.plot(TRAINED, values, "o-", color=colour, markersize=3, label=label)
        axis.axvline(row["picked"], color="0.6", linestyle=":", zorder=0)
        axis.set_title(f"{row['data']}\n{row['model']}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("training radius (share of the unit)")
    for axis in axes[:, 0]:
        axis.set_ylabel("accuracy (%)")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
