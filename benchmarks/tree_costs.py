"""Tree ensembles: what distances cost beside verdicts, and how many rows a second are bounded.

Distances are exact to 1e-6. Beside them stand verdicts of the same samples: at the middle radius of
the setting, and just below each one's own distance, where the question is hardest. "rows" takes a
data set of cover types' size: a first bound of all rows at once, and what deciding them exactly
costs. All times are those of the CPU on one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from benchmarks._results import rows_table
from benchmarks._resume import ResultFile
from benchmarks._tree_case import Case, timed
from benchmarks._tree_settings import SETTINGS, covtype_like, make_model
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import BoundedForest, decide, distances, read_forest

DISTANCES = (
    ("iris", "forest", "linf"),
    ("breast cancer", "forest", "linf"),
    ("breast cancer", "forest", "l2"),
    ("breast cancer", "forest", "l1"),
    ("breast cancer", "random trees", "linf"),
    ("breast cancer", "boosting", "linf"),
    ("breast cancer", "bins", "linf"),
    ("breast cancer", "votes", "linf"),
    ("wine", "forest", "linf"),
    ("wine", "forest", "l2"),
    ("wine", "bins", "l1"),
    ("digits", "forest", "linf"),
    ("digits", "bins", "linf"),
    ("census-like", "bins of categories", "linf"),
    ("covtype-like", "forest", "linf"),
    ("covtype-like", "bins", "linf"),
)
RADII = (0.2, 0.1, 0.3)
HEADING = "data | model | norm | ms: distance | verdict there | verdict at {} | open"
LINE = (
    "{data} | {model} | {norm} | {distance:.1f} | {there:.1f} | {middle:.1f} at {radius:g} "
    "| {open:.0%}"
)
ROWS_HEADING = "radius | proven at first | rows a second | robust | open | s for all rows"
ROWS_LINE = (
    "{radius:g} | {first:.1%} | {per_second:,.0f} | {robust:.1%} | {open:.2%} | {seconds:.1f}"
)
_BELOW = 1 - 1e-6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--trees", type=int, default=100, help="of each model (%(default)s)")
    parser.add_argument("--samples", type=int, default=20, help="of distances (%(default)s)")
    parser.add_argument("--rows", type=int, default=10_000, help="to decide (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="measure again")


def run(args: argparse.Namespace) -> None:
    """Measure distances and rows; write tree_costs.json."""
    about = {name: getattr(args, name) for name in ("seed", "trees", "samples")}
    about["rows_judged"] = args.rows
    result = ResultFile(args.output / "tree_costs.json", about, fresh=args.fresh, threads=1)
    with threadpool_limits(1):
        for wanted in result.missing(_plan(args)):
            measured = _many_rows if wanted["what"] == "rows" else _distances
            result.add({**wanted, **measured(args, wanted)})
            print(result.rows[-1], flush=True)
    print("\n\n".join(made(result.rows) for made in (table, table_of_rows, summary)))


def _plan(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for radius in RADII if "covtype-like" in args.data else ():
        yield {"what": "rows", "radius": radius}
    for data, model, norm in DISTANCES:
        if data in args.data:
            yield {"what": "distance", "data": data, "model": model, "norm": norm}


def _distances(args: argparse.Namespace, wanted: dict[str, Any]) -> dict[str, Any]:
    setting = SETTINGS[wanted["data"]]
    X, X_test, y, y_test = setting.split(args.seed)
    model = make_model(wanted["model"], args.trees, args.seed).fit(X, y)
    case = Case(setting, model, X_test[: args.samples], y_test[: args.samples], setting.unit(X))
    pick, radii = case.right, setting.radii[wanted["norm"]]
    radius = radii[len(radii) // 2]
    unit = ThreatModel(case.unit, wanted["norm"], setting.clip_values)
    about = case.forest, case.read, case.X[pick], case.labels[pick]
    (lower, upper, _), seconds = timed(partial(distances, *about, unit))
    _, middle = timed(partial(decide, *about, unit.scaled(radius)))
    there = 0.0
    for i, far in zip(pick, upper, strict=True):
        if np.isfinite(far):
            one = slice(i, i + 1)
            sample = case.X[one], case.labels[one], unit.scaled(far * _BELOW)
            there += timed(partial(decide, case.forest, case.read, *sample))[1]
    n = max(len(pick), 1)
    return {
        "radius": radius,
        "distance": 1e3 * seconds / n,
        "there": 1e3 * there / n,
        "middle": 1e3 * middle / n,
        "open": float((lower < upper * (1 - 2e-6)).mean()),
    }


def _many_rows(args: argparse.Namespace, wanted: dict[str, Any]) -> dict[str, Any]:
    X, y = covtype_like(args.seed, 2 * args.rows)
    n = args.rows
    model = HistGradientBoostingClassifier(max_iter=args.trees, random_state=args.seed)
    forest, bounds = read_forest(model.fit(X[:n], y[:n])), []
    X_test, labels = X[n:], np.searchsorted(model.classes_, y[n:])
    threat = ThreatModel(wanted["radius"] * X[:n].std(axis=0))
    first = BoundedForest(forest)
    low, high = X_test - threat.epsilon, X_test + threat.epsilon
    first.box_margins(low[:200], high[:200], labels[:200])  # makes tables, once for all radii
    for _ in range(3):
        margins, seconds = timed(partial(first.box_margins, low, high, labels))
        bounds.append(seconds)
    found, seconds = timed(partial(decide, forest, model.predict, X_test, labels, threat))
    return {
        "first": float((margins.min(axis=1) > 0).mean()),
        "per_second": n / float(np.median(bounds)),
        "robust": float(found.proven.mean()),
        "open": float((~found.proven & ~found.broken).mean()),
        "seconds": seconds,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the distances."""
    mine = [row for row in rows if row["what"] == "distance"]
    return rows_table(mine, HEADING.format("a radius"), LINE)


def table_of_rows(rows: list[dict[str, Any]]) -> str:
    """Return what many rows cost."""
    return rows_table([row for row in rows if row["what"] == "rows"], ROWS_HEADING, ROWS_LINE)


def summary(rows: list[dict[str, Any]]) -> str:
    """Return how distances compare with verdicts."""
    mine = [row for row in rows if row["what"] == "distance"]
    parts = []
    for name, key in (("just below it", "there"), ("at the middle radius", "middle")):
        ratio = np.array([row["distance"] / row[key] for row in mine])
        parts.append(f"{np.median(ratio):.2g} (up to {ratio.max():.2g}) times a verdict {name}")
    return f"A distance costs, as the median of {len(mine)} settings, {' and '.join(parts)}."
