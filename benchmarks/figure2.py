"""Figure 2 of the report: weights against class bias, after standard and after robust training.

One figure for the report's protocol and one for the exact solver, each with the threshold that the
law predicts for that kind of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks._linear import (
    COLOURS,
    EPSILONS,
    N_SAMPLES,
    train_exact,
    train_report,
    unit,
)
from benchmarks._results import format_table, provenance, write_json
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.inspection import WeightDisplay
from sklearn_robust.inspection._law import measured_threshold

TAU_MAX = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=N_SAMPLES)


def run(args: argparse.Namespace) -> None:
    law = BernoulliGenerator(tau=(0.0, TAU_MAX), random_state=args.seed)
    X, y = law.sample(args.samples)
    # What attacks on every second iteration settle at: as much clean as adversarial loss.
    protocols = {
        "report": (train_report, {e: law.threshold(e, clean_share=0.5) for e in EPSILONS}),
        "exact": (train_exact, {e: law.threshold(e) for e in EPSILONS}),
    }
    results = {}
    for name, (train, predicted) in protocols.items():
        weights = {e: unit(train(X, y, e)[0]) * law.theta_ for e in (0.0, *EPSILONS)}
        results[name] = {
            "weights": {str(e): w for e, w in weights.items()},
            "predicted": list(predicted.values()),
            "measured": [measured_threshold(weights[e], law.tau_) for e in EPSILONS],
        }
        draw(law.tau_, weights, predicted, name, args.output / f"figure2_{name}.png")
    content = {
        "provenance": provenance(seeds=[args.seed], n_samples=args.samples, n_features=100),
        "epsilons": EPSILONS,
        "tau": law.tau_,
        "results": results,
    }
    write_json(args.output / "figure2.json", content)
    print(render(results))


def render(results: dict[str, Any]) -> str:
    """Return predicted and measured thresholds as a Markdown table."""
    body = [
        [epsilon]
        + [f"{results[name][key][i]:.3f}" for name in results for key in ("predicted", "measured")]
        for i, epsilon in enumerate(EPSILONS)
    ]
    header = ["epsilon", "report's protocol: law", "measured", "exact training: law", "measured"]
    return "Thresholds tau* (one data set).\n\n" + format_table(header, body)


def draw(
    tau: np.ndarray,
    weights: dict[float, np.ndarray],
    predicted: dict[float, float],
    name: str,
    path: Path,
) -> None:
    """Draw one panel for standard training and one for each epsilon."""
    fig = Figure(figsize=(9.5, 5.6), layout="constrained")
    axes = fig.subplots(2, 3, sharex=True, sharey=True)
    kind = "report's protocol" if name == "report" else "exact solver"
    for ax, (epsilon, w) in zip(axes.flat, weights.items(), strict=True):
        title = rf"robust training, $\epsilon = {epsilon}$" if epsilon else "standard training"
        ax.set_prop_cycle(color=[COLOURS[1 if epsilon else 0]])
        thresholds = {title: predicted[epsilon]} if epsilon else None
        WeightDisplay(tau, {title: w}, thresholds=thresholds).plot(ax, markersize=3)
        ax.set_title(title, fontsize=10)
        ax.label_outer()
    fig.suptitle(f"Weights of a linear model against class bias ({kind})", fontsize=11)
    fig.savefig(path, dpi=150)
