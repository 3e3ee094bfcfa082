"""Tables 2 and 3 and Figures 1 and 3 of the report: CNN and FC, standard and robust.

A cell is one training: architecture, epsilon (0 is standard training), whether the adversary is
clipped to [0, 1], protocol, seed and number of training images. Each cell saves every epoch and
writes its own JSON after every score, so that a run that was killed goes on where it was and a
finished cell is not run again. Each cell is scored by the report's own PGD (100 steps of 0.01) on
`--n-pgd` test images and by the strongest ensemble on `--n-strong` of them.

The full protocol trains with 100 steps of 0.01. The reduced one takes 10 steps of a quarter of
epsilon, the library's default step; everything else is the same, but that "reduced-bfloat16" has
fewer bits in its products; "full-bfloat16" is the full one with these. What that changes is
measured by `--protocol full reduced reduced-bfloat16 --robust-only --n-train 3000 --n-seeds 3`:
the same trainings on a subset by all, compared seed by seed. "every-other" is "reduced-bfloat16"
with only each second batch attacked, as in the report's linear experiment.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks._data import SHAPE, load
from benchmarks._figures import draw
from benchmarks._report_cells import (
    PROTOCOLS,
    add_report_arguments,
    cells,
    evaluate,
    known,
    trained,
)
from benchmarks._results import cost, format_table, rows_table

FULL = ("full", "full-bfloat16")  # the report's own protocol, the first that was run

# What the report prints in percent: standard training's (clean, robust), robust training's.
PRINTED: dict[str, dict[float, tuple[tuple[float, float], tuple[float, float]]]] = {
    "cnn": {
        0.1: ((99.1, 59.4), (99.5, 96.7)),
        0.2: ((99.1, 0.06), (99.1, 95.2)),
        0.3: ((99.1, 0.00), (99.0, 93.0)),
    },
    "fc": {
        0.1: ((97.8, 10.4), (98.7, 90.2)),
        0.2: ((97.8, 0.00), (98.7, 81.6)),
        0.3: ((97.8, 0.00), (97.1, 48.1)),
    },
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_report_arguments(parser)


def run(args: argparse.Namespace) -> None:
    folder = args.output / "report"
    folder.mkdir(parents=True, exist_ok=True)
    X_train, y_train, X_test, y_test = load(args)
    data = X_train.reshape(-1, *SHAPE), y_train, X_test.reshape(-1, *SHAPE), y_test
    if not args.figures_only:
        paths = {cell: folder / f"{cell.name}.json" for cell in cells(args)}
        for path in paths.values():
            known(args, path, len(y_test))  # before hours of training
        for cell, path in paths.items():
            evaluate(args, cell, path, *data)
        found = read(folder)
        for architecture in args.architecture:
            print("\n" + table(found, architecture))
        print("\n" + protocols_table(found))
    for number, architecture in ((1, "cnn"), (3, "fc")):
        if architecture in args.architecture and 0.3 in args.epsilon and not args.robust_only:
            figure(args, number, architecture, data)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the contents of every cell in a folder."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def table(results: list[dict[str, Any]], architecture: str) -> str:
    """Return one architecture's table: ours by the report's PGD and the ensemble, and its own.

    The cells trained on all images; a smaller training where there is no larger one of its kind.
    """
    results = [r for r in results if r["architecture"] == architecture]
    most: dict[tuple[float, bool], int] = {}
    for r in results:
        kind = (r["epsilon"], r["clip"])
        most[kind] = max(most.get(kind, 0), r["n_train"])
    shown = [r for r in results if r["n_train"] == most[r["epsilon"], r["clip"]]]
    heading = "network | protocol | clean | theirs | PGD-100 | theirs | ensemble"
    line = (
        "{training} {epsilon:g}, {adversary} | {protocol}, {epochs} epochs, seed {seed} | "
        "{clean:.2%} | {their_clean:.1f} | {pgd:.2%} ({n_pgd}) | {their_pgd} | "
        "{strong:.1%} of {pgd_where_strong:.1%} ({n_strong})"
    )
    return rows_table(_scores(shown), heading, line)


def headline(results: list[dict[str, Any]]) -> str:
    """Return of each kind of network trained on all images the one nearest to the full protocol.

    Of standard networks at the smallest radius only: at the others nothing is left.
    """
    protocols = [*FULL, *PROTOCOLS, "standard"]
    nearest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for r in sorted(results, key=lambda r: (-protocols.index(r["protocol"]), -r["seed"])):
        if r["n_train"] == 60_000:
            nearest[r["architecture"], r["epsilon"], r["clip"]] = r
    rows = (r for r in _scores(list(nearest.values())) if r["robust"] or r["epsilon"] == 0.1)
    return rows_table(
        sorted(rows, key=lambda r: r["architecture"]),
        "network | clean | theirs | PGD-100 | theirs | ensemble",
        "{name} {training} {epsilon:g}, {adversary} | {clean:.2%} | {their_clean:.1f} | "
        "{pgd:.2%} | {their_pgd} | {strong:.1%} of {pgd_where_strong:.1%} ({n_strong})",
    )


def _scores(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each score of each network, with what the report prints beside it."""
    results = sorted(
        results, key=lambda r: (r["epsilon"] > 0, r["clip"], r["epsilon"], r["protocol"], r["seed"])
    )
    rows = []
    for result in results:
        robust = result["epsilon"] > 0
        for score in result["scores"]:
            printed = PRINTED[result["architecture"]].get(score["epsilon"])
            theirs = printed[robust] if printed else (np.nan, np.nan)
            own = {
                "name": result["architecture"].upper(),
                "robust": robust,
                "training": "robust" if robust else "standard",
                "adversary": _adversary(score["clip"]),
                "their_clean": theirs[0],
                "their_pgd": f"{theirs[1]:.2f}".removesuffix("0"),
            }
            rows.append({**result, **score, **own})
    return rows


def _adversary(clip: bool) -> str:
    return "in [0, 1]" if clip else "not clipped"


def protocols_table(results: list[dict[str, Any]]) -> str:
    """Return each protocol minus the full one, in points, wherever both were run.

    Where the full one was run in bfloat16 only, that stands for it. The mean over seeds, and half
    of its 95 % interval from Student's distribution.
    """
    settings = ("architecture", "epsilon", "clip", "n_train", "epochs", "n_pgd", "n_test", "data")
    groups: dict[tuple[Any, ...], dict[str, dict[int, dict[str, Any]]]] = {}
    for r in results:
        if r["protocol"] in PROTOCOLS:
            group = groups.setdefault((*(r[key] for key in settings), cost(r)[1]), {})
            group.setdefault(r["protocol"], {})[r["seed"]] = r
    body = []
    for key, group in sorted(groups.items()):
        full = next((name for name in FULL if name in group), None)
        for other in PROTOCOLS:
            seeds = sorted(group.get(full, {}).keys() & group.get(other, {}).keys())
            if other == full or not seeds:
                continue
            more, less = (
                np.array([_row(group[kind][seed]) for seed in seeds]) for kind in (full, other)
            )
            name, epsilon, clip, images, *_ = key
            network = f"{name.upper()} {epsilon:g}, {_adversary(clip)}, {images:,} images"
            network += f", {len(seeds)} seeds" * (len(seeds) > 1)
            (clean, pgd, minutes), (_, _, full_minutes) = less.mean(0), more.mean(0)
            body.append(
                (network, f"{other} for {full}", f"{clean:.1f}", f"{pgd:.1f}",
                 *(_difference(values) for values in (less - more)[:, :2].T),
                 f"{minutes:.1f} for {full_minutes:.1f}")
            )  # fmt: skip
    header = ("network", "protocol", "clean", "PGD-100", "clean - full", "PGD-100 - full")
    return format_table((*header, "minutes"), body)


def _row(result: dict[str, Any]) -> tuple[float, float, float]:
    pgd = result["scores"][0]["pgd"]
    return 100 * result["clean"], 100 * pgd, float(cost(result)[0])


def _difference(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():+.1f} ± {reach:.1f}"


def figure(args: argparse.Namespace, number: int, architecture: str, data: Any) -> None:
    """Draw the report's figure from the first models at epsilon 0.3."""
    X_train, y_train, X_test, y_test = data
    of_kind = [c for c in cells(args) if c.architecture == architecture]
    standard = next(c for c in of_kind if not c.epsilon)
    robust = next(c for c in of_kind if c.epsilon == 0.3)
    models = {
        name: trained(args, cell, X_train, y_train)
        for name, cell in (("standard", standard), ("robust", robust))
    }
    kind = robust.protocol + ("-clipped" if robust.clip else "")
    kind += f"-n{args.n_train}" if args.n_train else ""
    path = args.output / f"report-figure{number}-{kind}.png"
    draw(path, architecture.upper(), models, X_test[:1000], y_test[:1000])
    print(f"wrote {path}")
