"""Is a checkout of the library slower than another? Both at the same small work, in turns.

Times attacks, scores, training and the linear solver of two checkouts, such as the last release and
what is to be the next, by the clock and by the time of the process, and prints medians and ratios.
Each library stays loaded in a process of its own; a turn is one piece of work by one and at once by
the other, the first to go alternating, so that what else the machine does falls on both. A ratio is
the median of those of the turns; beside that of the process stand its quartiles. Takes two minutes
on an idle machine; writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _ratio_work
from benchmarks._results import rows_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    here = Path(__file__).parents[1]
    parser.add_argument("--before", type=Path, required=True, help="folder with sklearn_robust")
    parser.add_argument("--after", type=Path, default=here, help="default: this checkout")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--work", nargs="+", default=list(_ratio_work.WORK), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS, OpenMP and torch")


def run(args: argparse.Namespace) -> None:
    rows = []
    with Worker(args.before, args.threads) as before, Worker(args.after, args.threads) as after:
        for name in args.work:
            rows.append({"name": name, **compared(name, before, after, args.turns)})
            print(table(rows).splitlines()[-1], flush=True)
    print("\n" + table(rows))


class Worker:
    """A process that has loaded the library of a checkout and does work on demand.

    Raises RuntimeError if the folder has no library, or if the work fails with it.
    """

    def __init__(self, checkout: Path, threads: int) -> None:
        self.checkout = checkout.resolve()
        own = {"PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": str(threads)}
        # -P: not the scripts beside the work, but PYTHONPATH comes first.
        self.process = subprocess.Popen(
            [sys.executable, "-P", _ratio_work.__file__],
            env=os.environ | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        library = self.answer()
        if Path(library).parents[1] != self.checkout:
            self.process.communicate()
            raise RuntimeError(f"{checkout} has no sklearn_robust: {library} was imported.")

    def seconds(self, name: str) -> list[float]:
        """Return the seconds of the clock and of the process that a piece of work takes."""
        print(name, file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> Any:
        """Return what the process says next."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the work failed with the library of {self.checkout}, see above.")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()


def compared(name: str, before: Worker, after: Worker, turns: int) -> dict[str, float]:
    """Return median milliseconds of both, and ratios, after to before: below 1 is faster."""
    found: dict[Worker, list[list[float]]] = {before: [], after: []}
    for turn in range(turns + 1):
        for worker in (before, after)[:: -1 if turn % 2 else 1]:
            found[worker].append(worker.seconds(name))
    # Of shape (turns, 2): by the clock and by the process. The first turn may load libraries.
    old, new = (np.array(seconds[1:]) for seconds in found.values())
    low, middle, high = np.quantile(new / old, [0.25, 0.5, 0.75], axis=0)
    return {
        "before": 1000 * np.median(old[:, 1]),
        "after": 1000 * np.median(new[:, 1]),
        "wall": middle[0],
        "cpu": middle[1],
        "low": low[1],
        "high": high[1],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return a line for each piece of work."""
    heading = "work | before, CPU ms | after, CPU ms | ratio, wall | ratio, CPU | quartiles"
    line = "{name} | {before:.0f} | {after:.0f} | {wall:.2f} | {cpu:.2f} | {low:.2f} to {high:.2f}"
    return rows_table(rows, heading, line)
