"""Retraining any classifier on its own worst cases: what it wins and costs, on five tables.

For each data set, family and split, the classifier is fitted plainly, then by
`AdversarialTrainingClassifier`. Both are scored on samples that no fit has seen, clean and by the
strongest attack that the library chooses for the family, at the radius of training: a share of each
feature's standard deviation.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from benchmarks._data import load_three_or_eight
from benchmarks._results import format_table
from benchmarks._resume import ResultFile
from sklearn_robust import AdversarialTrainingClassifier, robust_score

Row = dict[str, Any]
SHARE = 0.2  # of a standard deviation


def load_above_median(*, return_X_y: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the diabetes data with the question whether progression is above its median."""
    X, y = load_diabetes(return_X_y=return_X_y)
    return X, y > np.median(y)


DATA: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "diabetes, above median": load_above_median,
    "digits 3 and 8": load_three_or_eight,
}
FAMILIES: dict[str, Callable[[int], Any]] = {
    "RandomForest": lambda seed: RandomForestClassifier(50, random_state=seed),
    "HistGradientBoosting": lambda seed: HistGradientBoostingClassifier(
        max_iter=30, random_state=seed
    ),
    "SVC": lambda seed: SVC(),
    "MLP": lambda seed: MLPClassifier((32,), max_iter=500, random_state=seed),
    "5 neighbours": lambda seed: KNeighborsClassifier(),
    "LogisticRegression": lambda seed: LogisticRegression(max_iter=1000),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--splits", type=int, default=3, help="of each data set, at random")
    parser.add_argument("--rounds", type=int, default=3, help="of retraining at the most")
    parser.add_argument("--only", nargs="+", choices=tuple(FAMILIES), default=list(FAMILIES))


def run(args: argparse.Namespace) -> None:
    # A network that has not converged is part of the comparison, on both sides.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    about = {"share": SHARE, "rounds": args.rounds}
    results = ResultFile(args.output / "adversarial_training.json", about)
    plan = [
        {"data": data, "family": family, "split": split}
        for split in range(args.splits)
        for data in DATA
        for family in args.only
    ]
    for cell in results.missing(plan):
        results.add({**cell, **measure(**cell, n_rounds=args.rounds)})
        print(results.rows[-1], flush=True)
    print(table(results.rows))


def measure(data: str, family: str, split: int, n_rounds: int) -> Row:
    """Return accuracies of one family on one split of one data set, before and after."""
    X, y = DATA[data](return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, stratify=y, random_state=split)
    spread = X.std(axis=0)
    moving = spread > 0
    X, X_test = (Z[:, moving] / spread[moving] for Z in (X, X_test))
    row: Row = {"n_test": len(y_test)}
    for name, rounds in (("before", 0), ("after", n_rounds)):
        begin = time.process_time()
        clf = AdversarialTrainingClassifier(FAMILIES[family](split), SHARE, n_rounds=rounds)
        clf.fit(X, y)
        row[f"{name}_fit_seconds"] = time.process_time() - begin
        row[f"{name}_clean"] = clf.score(X_test, y_test)
        row[f"{name}_robust"] = robust_score(clf, X_test, y_test)
    return {**row, "mistakes": clf.n_mistakes_, "n_train": len(y)}


def table(rows: list[Row]) -> str:
    """Return, in Markdown, means over the splits in %, and the smallest and largest gain."""
    body = []
    for family in dict.fromkeys(row["family"] for row in rows):
        for data in dict.fromkeys(row["data"] for row in rows):
            mine = [r for r in rows if (r["family"], r["data"]) == (family, data)]
            gains = [_gain(row, "robust") for row in mine]
            means = [
                f"{100 * statistics.mean(r[name] for r in mine):.1f}"
                for name in ("before_clean", "before_robust", "after_clean", "after_robust")
            ]
            body.append([family, data, *means, f"{min(gains):+.1f} to {max(gains):+.1f}"])
    header = ["family", "data", "clean", "robust", "retrained: clean", "robust", "gain by split"]
    return format_table(header, body)


def by_family(rows: list[Row]) -> list[Row]:
    """Return for each family its mean gains in points, and how often robust accuracy rose."""
    out = []
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        robust = [_gain(row, "robust") for row in mine]
        out.append(
            {
                "family": family,
                "clean": statistics.mean(_gain(row, "clean") for row in mine),
                "robust": statistics.mean(robust),
                "rose": sum(gain > 0 for gain in robust),
                "fell": sum(gain < 0 for gain in robust),
                "fits": len(mine),
            }
        )
    return out


def family_table(rows: list[Row]) -> str:
    """Return the summary of families in Markdown."""
    body = [
        [
            row["family"],
            f"{row['clean']:+.1f}",
            f"{row['robust']:+.1f}",
            f"{row['rose']} / {row['fell']} of {row['fits']}",
        ]
        for row in by_family(rows)
    ]
    return format_table(["family", "clean", "robust", "robust rose / fell"], body)


def _gain(row: Row, kind: str) -> float:
    return 100 * (row[f"after_{kind}"] - row[f"before_{kind}"])
