"""Which number each classifier gets: exact, from both sides, or from above alone, and how fast.

Every classifier of scikit-learn, and those of XGBoost, LightGBM, skorch and imbalanced-learn where
they are installed, bare and behind a scaler, on three data sets at three radii. Beside what an
attack leaves and what is proven stands what 200 random points of each set leave, which no proof may
exceed. Rows of an interrupted run are taken up again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from benchmarks._classifiers import FRONTS, make, names
from benchmarks._results import format_table
from benchmarks._resume import ResultFile
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.metrics import evaluate_robustness

DATA = {"iris": load_iris, "wine": load_wine, "breast-cancer": load_breast_cancer}
RADII = (0.05, 0.1, 0.2)  # in standard deviations of each feature
POINTS = 200  # of each set, drawn at random
# Whose every distance is a call of Python, and whose every answer solves for a mode.
SLOW = {"KNeighborsClassifier with a function": ("bare",), "GaussianProcessClassifier": FRONTS}
FEW = "KNeighborsClassifier with a function"
NEEDS_TWO = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=150, help="of each data set")
    parser.add_argument("--names", nargs="*", help="of the classifiers; all by default")
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=list(DATA))
    parser.add_argument("--fresh", action="store_true", help="measure all rows again")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    about = {"samples": args.samples, "seed": args.seed, "radii": list(RADII), "points": POINTS}
    file = ResultFile(args.output / "coverage.json", about, fresh=args.fresh, threads=args.threads)
    plan = [
        {"data": data, "classifier": name, "front": front}
        for data in args.data
        for name in args.names or names()
        for front in FRONTS
        if name not in SLOW or (data == "iris" and front in SLOW[name])
    ]
    for wanted in file.missing(plan):
        row = measured(**wanted, samples=args.samples, seed=args.seed)
        print(row, flush=True)
        file.add(row)
    print(table(file.rows))


def measured(data: str, classifier: str, front: str, *, samples: int, seed: int) -> dict[str, Any]:
    """Return one row: what is known of a classifier at each radius."""
    row: dict[str, Any] = {"data": data, "classifier": classifier, "front": front}
    X, y = DATA[data](return_X_y=True)
    if classifier in NEEDS_TWO:
        y = (y > 0).astype(int)
    if classifier == "CategoricalNB":
        X = np.round(X / X.std(axis=0))
    if classifier.startswith("skorch"):
        X = X.astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(y))
    X, y = X[order], y[order]
    # Codes of categories are not moved, and one radius for all columns spares them.
    spread = 1.0 if classifier == "CategoricalNB" else X.std(axis=0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clf = make(classifier, front, seed).fit(X, y)
            X, y = X[:samples], y[:samples]
            start = time.perf_counter()
            report = evaluate_robustness(
                clf, X, y, RADII, unit=spread, diagnostics=False, random_state=seed
            )
        except Exception as error:
            return {**row, "failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        row["seconds"] = round(time.perf_counter() - start, 3)
        row["sampled"] = [round(_sampled(clf, X, y, r * spread, seed), 4) for r in RADII]
    results = report.radii
    row["kind"] = _kind([r.attacked_is for r in results], report.certificate)
    row["clean"] = round(results[0].clean, 4)
    row["attacked"] = [round(r.attacked, 4) for r in results]
    row["certified"] = [None if np.isnan(r.certified) else round(r.certified, 4) for r in results]
    return row


def _kind(attacked: list[str], certificate: str) -> str:
    """Return the kind of the least that is known at the radii."""
    order = ("black box", "white box", "both sides", "exact")
    found = min(attacked, key=lambda kind: order.index(kind) if kind in order else 0)
    if found != "exact" and not certificate.startswith("none"):
        return f"{found}, certified"
    return found


def _sampled(clf: Any, X: np.ndarray, y: np.ndarray, epsilon: Any, seed: int) -> float:
    """Return the accuracy at random corners of each set, and at other samples moved into it."""
    if getattr(clf, "classes_", np.zeros(0)).dtype.kind not in "iuf" or not len(X):
        return float("nan")
    if "Categorical" in repr(clf):  # whose codes nobody moves
        return float((clf.predict(X) == y).mean())
    rng, around = np.random.default_rng(seed), ThreatModel(epsilon).around(X)
    points = [X]
    for k in range(POINTS):
        others, signs = X[rng.permutation(len(X))], rng.choice([-1.0, 1.0], size=X.shape)
        points.append(around.project(others) if k % 4 == 0 else around.furthest(signs))
    # Many at once, as some classifiers answer a thousand rows as fast as one.
    predicted = clf.predict(np.concatenate(points).astype(X.dtype))
    return float((predicted.reshape(len(points), -1) == y).all(axis=0).mean())


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return a line for each classifier: its kinds, and the means over the data sets."""
    header = [
        "classifier", "kind", "behind a scaler", "clean", "attacked", "certified", "decided",
        "seconds",
    ]  # fmt: skip
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["classifier"], []).append(row)
    return format_table(header, [_line(name, own) for name, own in grouped.items()])


def _line(name: str, rows: list[dict[str, Any]]) -> list[str]:
    good = [row for row in rows if "kind" in row]
    kinds = [
        ", or ".join(sorted({row.get("kind", "fails") for row in rows if row["front"] == front}))
        or "not measured"
        for front in FRONTS
    ]
    if not good:
        return [f"`{name}`", *kinds, "", "", "", "", ""]
    middle = [row["attacked"][1] for row in good], [row["certified"][1] for row in good]
    proven = [value for value in middle[1] if value is not None]
    certified = f"{np.mean(proven):.2f}" if proven else "none"
    return [
        f"`{name}`",
        *kinds,
        f"{np.mean([row['clean'] for row in good]):.2f}",
        f"{np.mean(middle[0]):.2f}",
        certified,
        f"{np.mean([decided(row) for row in good]):.0%}",
        f"{np.median([row['seconds'] for row in good]):.1f}",
    ]


def decided(row: dict[str, Any]) -> float:
    """Return for what share of the samples, over the radii, both sides agree."""
    proven = [0.0 if value is None else value for value in row["certified"]]
    return 1 - float(np.mean(np.array(row["attacked"]) - np.array(proven)))
