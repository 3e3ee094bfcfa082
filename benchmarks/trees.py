"""Tree ensembles, decided exactly: how many samples, at what cost, next to Veritas and a black box.

Each model is trained on one half of a data set; the first samples of the other are judged. Radii
are in standard deviations of each column, or in the values of images. Times are those of the CPU
on one thread: of a sample judged alone, points being confirmed by the trees as they were read,
and the mean of all at once with the model's own predictions. Veritas gets the same trees as doubles
and a limit of time for each rival class, and its conversion is not counted; beside it, "ours" is
the mean of the same samples. The black box is the search by scores alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from benchmarks._results import rows_table
from benchmarks._resume import ResultFile
from benchmarks._tree_case import Case
from benchmarks._tree_settings import SETTINGS, Setting, make_model

HEADING = (
    "data, model | norm, radius | clean / robust | open | ms: median / mean / max "
    "| Veritas: open, ms (ours) | black box"
)
LINE = (
    "{data}, {model} | {norm} {epsilon:g} | {clean:.1%} / {robust:.1%} | {open:.1%} "
    "| {median:.1f} / {mean:.1f} / {max:.0f} | {veritas} | {black_box}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="leave out the larger data")
    parser.add_argument("--data", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--models", nargs="+", help="some of the models alone")
    parser.add_argument("--trees", type=int, default=100, help="of each model (%(default)s)")
    parser.add_argument("--samples", type=int, default=100, help="to judge (%(default)s)")
    parser.add_argument("--peer-samples", type=int, default=30, help="for Veritas (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of Veritas for a class")
    parser.add_argument(
        "--black-box", nargs="*", choices=SETTINGS, default=["iris"],
        help="data on which the black box is run, at the middle radius: for minutes",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="measure again")


def run(args: argparse.Namespace) -> None:
    """Judge all samples; write trees.json and trees.png."""
    names = ("seed", "trees", "samples", "peer_samples", "seconds")
    about = {name: getattr(args, name) for name in names}
    result = ResultFile(args.output / "trees.json", about, fresh=args.fresh, threads=1)
    with threadpool_limits(1):
        for name in args.data:
            setting = SETTINGS[name]
            if setting.quick or not args.quick:
                _run(args, name, setting, result)
    print("\n" + table(result.rows))
    for line in summary(result.rows):
        print(line)
    result.write(summary=[{"line": line} for line in summary(result.rows)])
    draw(result.rows, args.output / "trees.png")


def _run(args: argparse.Namespace, name: str, setting: Setting, result: ResultFile) -> None:
    data = None
    for model_name in setting.models:
        if args.models and model_name not in args.models:
            continue
        missing = list(result.missing(_plan(name, model_name, setting)))
        if not missing:
            continue
        data = setting.split(args.seed) if data is None else data
        X, X_test, y, y_test = data
        model = make_model(model_name, args.trees, args.seed).fit(X, y)
        case = Case(setting, model, X_test[: args.samples], y_test[: args.samples], setting.unit(X))
        for wanted in missing:
            result.add({**wanted, **case.measured(args, wanted)})
            print(table(result.rows[-1:]).splitlines()[-1], flush=True)


def _plan(name: str, model: str, setting: Setting) -> Iterator[dict[str, Any]]:
    for norm, radii in setting.radii.items():
        for epsilon in radii:
            yield {"data": name, "model": model, "norm": norm, "epsilon": epsilon}


def table(rows: list[dict[str, Any]]) -> str:
    return rows_table([shown(row) for row in rows], HEADING, LINE)


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with text where it may have no number."""
    beside = "{veritas_open:.0%}, {veritas_ms:.1f} ({ours_ms:.1f})"
    return {
        **row,
        "veritas": beside.format(**row) if "veritas_ms" in row else "",
        "black_box": f"{row['black_box']:.1%}" if "black_box" in row else "",
    }


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Return how the times compare with Veritas, as geometric means over settings."""
    lines = [
        f"decided {1 - np.mean([row['open'] for row in rows]):.2%} of the samples of {len(rows)} "
        f"settings; mean of the means {np.mean([row['mean'] for row in rows]):.1f} ms"
    ]
    for name, binary in (("two classes", True), ("more classes", False)):
        mine = [r for r in rows if r.get("veritas_ms") and (r["classes"] == 2) == binary]
        if mine:
            ratio = np.exp(np.mean([np.log(r["veritas_ms"] / r["ours_ms"]) for r in mine]))
            lines.append(
                f"{name}: Veritas takes {ratio:.2g} times as long and disagrees on "
                f"{sum(r['disagree'] for r in mine)} samples, {len(mine)} settings"
            )
    return lines


def draw(rows: list[dict[str, Any]], path: Any) -> None:
    """Draw the milliseconds of a sample against those of Veritas."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for name, binary in (("two classes", True), ("more classes", False)):
        mine = [r for r in rows if r.get("veritas_ms") and (r["classes"] == 2) == binary]
        axes.loglog([r["veritas_ms"] for r in mine], [r["ours_ms"] for r in mine], "o", label=name)
    ends = np.array([0.05, 3000])
    axes.loglog(ends, ends, color="0.6", linewidth=1)
    axes.set(xlabel="Veritas, CPU ms a sample", ylabel="this library, CPU ms a sample")
    axes.legend()
    figure.savefig(path, dpi=150)
