"""Which hyperparameters train best on any data? Candidates on eight data sets at three radii each.

A row is one training: data set, radius, network, candidate, seed. It has the accuracy on the test
samples, that under the ensemble `strong` at the training radius, and the seconds of the training.
The defaults are chosen by half of the data sets; the other half is run with `--held-out` alone, to
be looked at once, when the choice is made. A row that an earlier run has written is not run again
unless its candidate's hyperparameters have changed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from benchmarks._results import grouped, rows_table
from benchmarks._resume import ResultFile
from benchmarks._tasks import TASKS
from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.metrics import robust_score
from sklearn_robust.neural_network import make_recipe

CLASSES = {"cnn": RobustCNNClassifier, "fc": RobustFCClassifier}
GROUP = ("data", "epsilon", "network", "candidate")
BASELINE = "first defaults"
# The defaults when this benchmark was written, spelt out so that they stay what they were.
FIRST: dict[str, Any] = {
    "training": "pgd", "pgd_steps": 10, "step_size": None, "epsilon_schedule": "ramp",
    "batch_size": 128, "max_epochs": 10, "lr": 1e-3, "lr_schedule": "constant",
    "weight_averaging": None, "augmentation": None, "input_ramp": None, "early_stopping": False,
}  # fmt: skip
FIRST_NETWORKS: dict[str, dict[str, Any]] = {
    "cnn": {"filters": (32, 64), "kernel_size": 5, "downsampling": "pool", "dropout": 0.4,
            "hidden_layer_sizes": (1024,)},
    "fc": {"hidden_layer_sizes": (1024, 1024), "dropout": 0.0},
}  # fmt: skip


def proposal(parameters: dict[str, Any], network: str, epsilon: float) -> Any:
    """Return a network with some hyperparameters other than the library's defaults."""
    return CLASSES[network](epsilon=epsilon, **parameters)


def recipe(name: str, network: str, epsilon: float) -> Any:
    return make_recipe(name, network, epsilon=epsilon)


# Name -> (network, epsilon) -> unfitted classifier.
CANDIDATES: dict[str, Callable[[str, float], Any]] = {
    BASELINE: lambda network, epsilon: proposal(FIRST | FIRST_NETWORKS[network], network, epsilon),
    "defaults": partial(proposal, {}),
    "fast": partial(recipe, "fast"),
    "strong": partial(recipe, "strong"),
    "without a ramp": partial(proposal, {"input_ramp": None}),
    "at epsilon": partial(proposal, {"training": "pgd"}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--datasets", nargs="+", choices=tuple(TASKS), help="default: all of a half"
    )
    parser.add_argument("--held-out", action="store_true", help="run the other half of the data")
    parser.add_argument("--networks", nargs="+", default=list(CLASSES), choices=tuple(CLASSES))
    parser.add_argument("--seeds", type=int, default=3, help="number of them, from --seed on")
    parser.add_argument(
        "--candidates", nargs="*", default=list(CANDIDATES), choices=tuple(CANDIDATES)
    )
    parser.add_argument(
        "--propose",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "JSON"),
        help="a further candidate: hyperparameters that differ from the defaults",
    )
    parser.add_argument("--n-train", type=int, help="only so many training samples, for a trial")
    parser.add_argument("--n-test", type=int, help="only so many test samples")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    candidates = {name: CANDIDATES[name] for name in args.candidates}
    for name, text in args.propose:
        candidates[name] = partial(proposal, json.loads(text))
    about = {"n_train": args.n_train, "n_test": args.n_test, "device": args.device}
    result = ResultFile(args.output / "defaults.json", about, threads=torch.get_num_threads())
    names = datasets(args.datasets, args.held_out)
    seeds = range(args.seed, args.seed + args.seeds)
    wanted = list(plan(names, args.networks, candidates, seeds))
    for row in result.missing(wanted):
        case = {key: row[key] for key in (*GROUP, "seed")}
        clf = estimator(candidates, case).set_params(device=args.device)
        # A row of the same name by other hyperparameters is out of date.
        result.rows = [r for r in result.rows if not case.items() <= r.items()]
        result.add({**row, **measured(clf, case, args.n_train, args.n_test)})
        print(table(result.rows[-1:]).splitlines()[-1], flush=True)
    shown = [r for r in result.rows if any(w.items() <= r.items() for w in wanted)]
    print(f"\n{table(shown)}\n\n{comparison(shown)}")


def datasets(names: list[str] | None, held_out: bool) -> list[str]:
    """Return the data sets to run: without names, one half; those held out only if asked for.

    Raises ValueError if a data set is named that is of the other half.
    """
    half = [name for name, task in TASKS.items() if task.held_out == held_out]
    other = set(names or ()).difference(half)
    if other:
        raise ValueError(
            f"--datasets must be {'' if held_out else 'not '}held out, got {', '.join(other)}. "
            f"{'Leave out' if held_out else 'Pass'} --held-out, or name others."
        )
    return names or half


def plan(
    names: Iterable[str],
    networks: Iterable[str],
    candidates: dict[str, Callable[..., Any]],
    seeds: Iterable[int],
) -> Iterator[dict[str, Any]]:
    """Yield what names each row; first all candidates of one seed, so that they can be compared."""
    for seed, data in product(seeds, names):
        for epsilon, network, candidate in product(TASKS[data].radii, networks, candidates):
            if network == "cnn" and not TASKS[data].images:
                continue
            row = {"data": data, "epsilon": epsilon, "network": network, "candidate": candidate}
            row["seed"] = seed
            yield {**row, "parameters": plain(estimator(candidates, row).get_params(deep=False))}


def estimator(candidates: dict[str, Callable[..., Any]], row: dict[str, Any]) -> Any:
    """Return the unfitted classifier of a row."""
    clf = candidates[row["candidate"]](row["network"], row["epsilon"])
    return clf.set_params(clip_values=(0, 1), random_state=row["seed"])


def plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return hyperparameters as JSON gives them back: other objects by their repr."""
    kept = (str, bool, int, float, type(None))
    return {k: v if isinstance(v, kept) else repr(v) for k, v in parameters.items()}


def measured(
    clf: Any, row: dict[str, Any], n_train: int | None, n_test: int | None
) -> dict[str, Any]:
    """Train a classifier and return its accuracies, and what the training cost."""
    X, y, X_test, y_test = TASKS[row["data"]].split(row["seed"])
    X, y, X_test, y_test = X[:n_train], y[:n_train], X_test[:n_test], y_test[:n_test]
    wall, process = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(X, y)
    seconds, process_seconds = time.perf_counter() - wall, time.process_time() - process
    return {
        "clean": clf.score(X_test, y_test),
        "robust": robust_score(clf, X_test, y_test, epsilon=row["epsilon"], attack="strong"),
        "seconds": seconds,
        "process_seconds": process_seconds,
        "epochs": clf.n_iter_,
        "warned": any(issubclass(w.category, ConvergenceWarning) for w in caught),
        "n_test": len(y_test),
    }


def means(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return means over seeds, by data set, radius, network and candidate."""
    return {
        key: {
            **{k: np.mean([r[k] for r in group]) for k in ("clean", "robust", "seconds")},
            "lowest": min(r["robust"] for r in group),
            "highest": max(r["robust"] for r in group),
            "seeds": len(group),
            "warned": sum(r["warned"] for r in group),
        }
        for key, group in grouped(rows, *GROUP).items()
    }


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return a line for each training, means over its seeds, accuracies in per cent."""
    found = [
        {**dict(zip(GROUP, key, strict=True)), **row} for key, row in sorted(means(rows).items())
    ]
    heading = "data | epsilon | network | candidate | clean | robust | of seeds | seconds | warned"
    line = (
        "{data} | {epsilon} | {network} | {candidate} | {clean:.1%} | {robust:.1%} | "
        "{lowest:.3f} to {highest:.3f} ({seeds}) | {seconds:.1f} | {warned}"
    )
    return rows_table(found, heading, line)


def comparison(rows: Iterable[dict[str, Any]]) -> str:
    """Return each candidate less the first defaults, in points, where both were run."""
    found = means(rows)
    body = []
    for candidate in dict.fromkeys(key[-1] for key in found):
        pairs = {
            key[:-1]: (row, found[*key[:-1], BASELINE])
            for key, row in found.items()
            if key[-1] == candidate and (*key[:-1], BASELINE) in found
        }
        if candidate == BASELINE or not pairs:
            continue
        robust = {key: 100 * (a["robust"] - b["robust"]) for key, (a, b) in pairs.items()}
        worst = min(robust, key=lambda key: robust[key])
        body.append(
            {
                "candidate": candidate,
                "cells": len(pairs),
                "robust": np.mean(list(robust.values())),
                "least": f"{robust[worst]:+.1f} ({worst[0]}, {worst[1]:g}, {worst[2]})",
                "clean": np.mean([100 * (a["clean"] - b["clean"]) for a, b in pairs.values()]),
                "least_clean": min(100 * (a["clean"] - b["clean"]) for a, b in pairs.values()),
                "time": sum(a["seconds"] for a, _ in pairs.values())
                / sum(b["seconds"] for _, b in pairs.values()),
            }
        )
    heading = "candidate | settings | robust, mean | least | clean, mean | least | x time"
    line = (
        "{candidate} | {cells} | {robust:+.1f} | {least} | {clean:+.1f} | {least_clean:+.1f} | "
        "{time:.2f}"
    )
    return rows_table(body, heading, line)
