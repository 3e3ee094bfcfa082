"""Which number each classifier gets: exact, from both sides, or from above alone, and how fast.

Every classifier of scikit-learn, and those of XGBoost, LightGBM, skorch and imbalanced-learn where
they are installed, bare and behind a scaler, on three data sets at three radii. Beside what an
attack leaves and what is proven stands what other ways leave, which no proof may exceed: 200 random
points of each set, copies of other samples in it, a fine grid over two columns, Veritas for trees.
Rows of an interrupted run are taken up again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from benchmarks import _coverage_references as references
from benchmarks._classifiers import FRONTS, make, names, predictor
from benchmarks._results import format_table
from benchmarks._resume import ResultFile
from sklearn_robust.metrics import evaluate_robustness

DATA = {"iris": load_iris, "wine": load_wine, "breast-cancer": load_breast_cancer}
RADII = (0.05, 0.1, 0.2)  # in standard deviations of each feature
WIDE = 0.5  # where two columns move only
POINTS = 200  # of each set, drawn at random
# Whose every distance is a call of Python: on one data set, and without references.
SLOW = {"KNeighborsClassifier with a function": ("bare",)}
# The measures of the table.
MOST_SECONDS, MOST_ABOVE, ENOUGH, MANY = 5.0, 0.01, 0.9, 30
NEEDS_TWO = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=150, help="of each data set")
    parser.add_argument("--names", nargs="*", help="of the classifiers; all by default")
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=list(DATA))
    parser.add_argument("--fresh", action="store_true", help="measure all rows again")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    about = {
        "samples": args.samples, "seed": args.seed, "radii": list(RADII), "points": POINTS,
        "grid": references.GRID,
    }  # fmt: skip
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
    print(table(file.rows), *goals(file.rows), sep="\n")


def measured(data: str, classifier: str, front: str, *, samples: int, seed: int) -> dict[str, Any]:
    """Return one row: what is known of a classifier at each radius."""
    row: dict[str, Any] = {"data": data, "classifier": classifier, "front": front}
    X, y = _prepared(data, classifier, seed)
    # Codes of categories are not moved, and one radius for all columns spares them.
    spread = 1.0 if classifier == "CategoricalNB" else X.std(axis=0).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clf = make(classifier, front, seed).fit(X, y)
            few = X[:samples], y[:samples]
            start = time.process_time()  # the machine may have other work
            report = evaluate_robustness(
                clf, *few, RADII, unit=spread, diagnostics=False, random_state=seed
            )
            row["seconds"] = round(time.process_time() - start, 3)
            row |= _known(report)
            if classifier not in SLOW:
                row |= _references(clf, X, *few, spread, seed)
        except Exception as error:
            return {**row, "failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return row


def _prepared(data: str, classifier: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a data set as a classifier takes it, in random order."""
    X, y = DATA[data](return_X_y=True)
    if classifier in NEEDS_TWO:
        y = (y > 0).astype(int)
    if classifier == "CategoricalNB":
        X = np.round(X / X.std(axis=0))
    if classifier.startswith(("skorch", "torch")):
        X = X.astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(y))
    return X[order], y[order]


def _known(report: Any) -> dict[str, Any]:
    """Return what a report says, at each radius."""
    results = report.radii
    certified = [None if np.isnan(r.certified) else round(r.certified, 4) for r in results]
    return {
        "kind": _kind([r.attacked_is for r in results], report.certificate),
        "clean": round(results[0].clean, 4),
        "attacked": [round(r.attacked, 4) for r in results],
        "certified": certified,
    }


def _references(
    clf: Any, X: np.ndarray, few: np.ndarray, labels: np.ndarray, spread: Any, seed: int
) -> dict[str, Any]:
    """Return what other ways find, at each radius or at the largest."""
    predict = predictor(clf)
    if "Categorical" in repr(clf):  # whose codes nobody moves
        return {"sampled": [round(float((predict(few) == labels).mean()), 4)] * len(RADII)}
    sampled, copied = [], []
    for radius in RADII:
        drawn = references.random_points(few, radius * spread, POINTS, seed)
        near = references.copies(few, X, radius * spread)
        sampled.append(round(references.surviving(predict, labels, drawn), 4))
        copied.append(round(references.surviving(predict, labels, near), 4))
    found = {"sampled": sampled, "copied": copied}
    found["two_columns"] = references.on_a_grid(clf, predict, few, labels, WIDE * spread)
    if (veritas := references.by_veritas(clf, few, labels, RADII[-1] * spread)) is not None:
        found["veritas"] = veritas
    return found


def _kind(attacked: list[str], certificate: str) -> str:
    """Return the kind of the least that is known at the radii."""
    order = ("black box", "white box", "both sides", "exact")
    found = min(attacked, key=lambda kind: order.index(kind) if kind in order else 0)
    if found != "exact" and not certificate.startswith("none"):
        return f"{found}, certified"
    return found


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return a line for each classifier: its kinds, and the means over the data sets."""
    header = [
        "classifier", "kind", "behind a scaler", "clean / attacked / certified", "decided", "above",
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
        return [f"`{name}`", *kinds, "", "", "", ""]
    middle = [row["attacked"][1] for row in good], [row["certified"][1] for row in good]
    proven = [value for value in middle[1] if value is not None]
    certified = f"{np.mean(proven):.2f}" if proven else "none"
    return [
        f"`{name}`",
        *kinds,
        f"{np.mean([row['clean'] for row in good]):.2f} / {np.mean(middle[0]):.2f} / {certified}",
        f"{np.mean([decided(row) for row in good]):.0%}",
        f"{100 * max(above(row) for row in good):.1f}",
        f"{np.median([row['seconds'] for row in good]):.1f}",
    ]


def decided(row: dict[str, Any]) -> float:
    """Return for what share of the samples, over the radii, both sides agree."""
    proven = [0.0 if value is None else value for value in row["certified"]]
    return 1 - float(np.mean(np.array(row["attacked"]) - np.array(proven)))


def above(row: dict[str, Any]) -> float:
    """Return by how much attacked accuracy exceeds a reference, at the most; 0: it never does."""
    attacked = np.array(row["attacked"])
    others = [row[key] for key in ("sampled", "copied") if key in row]
    gaps = [float((attacked - other).max()) for other in others]
    if "two_columns" in row:
        gaps.append(row["two_columns"]["attacked"] - row["two_columns"]["grid"])
    if "veritas" in row:
        gaps.append(row["veritas"]["disagree"] / max(row["veritas"]["samples"], 1))
    return max([0.0, *gaps])


def goals(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return a sentence for each measure of the table: whether it is met, and what misses it."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["classifier"], []).append(row)
    good = {name: [r for r in own if "kind" in r] for name, own in grouped.items()}
    good = {name: own for name, own in good.items() if own}
    shares = {name: float(np.mean([decided(r) for r in own])) for name, own in good.items()}
    many = sum(share >= ENOUGH for share in shares.values())
    below = {name: share for name, share in shares.items() if share < ENOUGH}
    failed = [name for name, own in grouped.items() if any("failed" in r for r in own)]
    black = {name: "" for name, own in good.items() if any(_is_black(row) for row in own)}
    return [
        f"Decided for {ENOUGH:.0%} of the samples or more: {many} of {len(good)} classifiers "
        f"(goal: {MANY}); the others: {_listed(below, '{:.0%}')}.",
        f"Above a reference by more than {100 * MOST_ABOVE:.0f} point, in points: "
        + _listed(_worst(good, lambda r: 100 * above(r), 100 * MOST_ABOVE), "{:.1f}") + ".",
        f"More than {MOST_SECONDS:.0f} s for a report: "
        + _listed(_worst(good, lambda r: r["seconds"], MOST_SECONDS), "{:.1f} s") + ".",
        "Attacked accuracy above 20 % where nothing is certified: "
        + _listed(_worst(good, _unproven, 0.2), "{:.0%}") + ".",
        f"A black box: {_listed(black)}.",
        f"Failed: {', '.join(failed) or 'none'}.",
    ]  # fmt: skip


def _is_black(row: dict[str, Any]) -> bool:
    return row["kind"] == "black box"


def _unproven(row: dict[str, Any]) -> float:
    """Return the largest attacked accuracy at a radius where nothing is certified."""
    pairs = zip(row["attacked"], row["certified"], strict=True)
    return max((attacked for attacked, proven in pairs if not proven), default=0.0)


def _worst(
    good: dict[str, list[dict[str, Any]]], measure: Callable[[dict[str, Any]], float], most: float
) -> dict[str, float]:
    """Return the classifiers that exceed a measure on some data set, and by how much."""
    worst = {name: max(measure(row) for row in own) for name, own in good.items()}
    return {name: value for name, value in worst.items() if value > most + 1e-9}


def _listed(found: dict[str, Any], value: str = "") -> str:
    parts = (f"`{name}` {value.format(v)}".strip() for name, v in found.items())
    return ", ".join(parts) or "none"
