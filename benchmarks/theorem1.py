"""Theorem 1 of the report: how often its bound holds for the sample-mean classifier, how loosely.

For each (n, d, tau): train on fresh samples, take the exact error of what came out, and compare it
with the report's bound, with the sharper one and with the one at a chosen confidence.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks._linear import COLOURS
from benchmarks._results import provenance, rows_table, write_json
from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.linear_model import SampleMeanClassifier

LAWS: dict[str, tuple[int, Any]] = {
    "d = 100, tau = 0.1": (100, 0.1),
    "d = 50, tau = 0.2": (50, 0.2),
    "d = 100, tau 0.05 to 0.25": (100, (0.05, 0.25)),
    "d = 400, tau 0.02 to 0.2": (400, (0.02, 0.2)),
    "d = 100, tau 0 to 0.25": (100, (0.0, 0.25)),
}
SAMPLES = (1, 5, 20, 100, 1000)
KINDS = ("report", "sharp", "confidence")
CONFIDENCE = 0.95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=200, help="trainings per setting")


def run(args: argparse.Namespace) -> None:
    settings = [measure(name, n, args.repetitions, args.seed) for name in LAWS for n in SAMPLES]
    content = {
        "provenance": provenance(seeds=[args.seed], repetitions=args.repetitions),
        "settings": settings,
        "violated_promises": sum(s[k]["violated"] for s in settings for k in KINDS),
    }
    write_json(args.output / "theorem1.json", content)
    draw(settings, args.output / "theorem1.png")
    print(render(settings))
    print(f"\nPromises not kept: {content['violated_promises']} of {len(settings) * len(KINDS)}.")


def measure(name: str, n: int, repetitions: int, seed: int) -> dict[str, Any]:
    """Return the errors in one setting, and for each bound how often it held."""
    d, tau = LAWS[name]
    law = BernoulliGenerator(d, tau=tau, random_state=seed)
    errors = np.array([_error(law, n) for _ in range(repetitions)])
    setting = {
        "law": name,
        "n_samples": n,
        "mean_error": errors.mean(),
        "largest_error": errors.max(),
        "bayes_error": 1 - law.bayes_accuracy_,
    }
    for kind in KINDS:
        bound = law.error_bound(n, kind=kind, confidence=CONFIDENCE)
        held = float((errors <= bound.error).mean())
        setting[kind] = {
            "error": bound.error,
            "probability": bound.probability,
            "held": held,
            # A share below the promise by more than chance: three standard errors.
            "violated": held
            < bound.probability
            - 3 * np.sqrt(bound.probability * (1 - bound.probability) / repetitions),
        }
    return setting


def _error(law: BernoulliGenerator, n: int) -> float:
    """Return the exact error of the classifier trained on n fresh samples."""
    X, y = law.sample(n)
    signed = y[:, None] * X  # the same mean, and both classes present even for n = 1
    X, y = np.concatenate([signed, -signed]), np.repeat([1, -1], n)
    # The theorem counts a tie as an error: so does an adversary of no reach to speak of.
    return 1 - law.accuracy(SampleMeanClassifier().fit(X, y).coef_, epsilon=1e-9)


def render(settings: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    heading = "law | n | mean error | largest"
    line = "{law} | {n_samples} | {mean_error:.2g} | {largest_error:.2g}"
    for kind in KINDS:
        heading += f" | {kind}: bound | promised | held"
        line += f" | {{{kind}[error]:.4f}} | {{{kind}[probability]:.3f}} | {{{kind}[held]:.3f}}"
    return rows_table(settings, heading, line)


def brief(settings: list[dict[str, Any]]) -> str:
    """Return errors beside the bounds, without how often these held."""
    heading = f"law | n | mean error | largest | report | sharper | at confidence {CONFIDENCE:g}"
    line = "{law} | {n_samples} | {mean_error:.2g} | {largest_error:.2g}"
    line += "".join(f" | {{{kind}[error]:.3f}}" for kind in KINDS)
    return rows_table(settings, heading, line)


def draw(settings: list[dict[str, Any]], path: Path) -> None:
    """Draw error and bounds against n, one panel for each law."""
    fig = Figure(figsize=(13, 3.4), layout="constrained")
    axes = fig.subplots(1, len(LAWS), sharex=True, sharey=True)
    styles = [
        ("report", COLOURS[4], "--", "bound of the report"),
        ("sharp", COLOURS[3], "-.", "sharper bound"),
        ("confidence", COLOURS[2], "-", f"bound at confidence {CONFIDENCE}"),
    ]
    for ax, name in zip(axes, LAWS, strict=True):
        rows = [s for s in settings if s["law"] == name]
        n = [s["n_samples"] for s in rows]
        mean, largest = ([s[k] for s in rows] for k in ("mean_error", "largest_error"))
        ax.fill_between(n, mean, largest, color=COLOURS[1], alpha=0.25, linewidth=0)
        ax.plot(n, mean, "o-", color=COLOURS[1], markersize=3, label="error: mean to largest")
        for kind, colour, style, label in styles:
            ax.plot(n, [s[kind]["error"] for s in rows], style, color=colour, label=label)
        ax.set(xscale="log", yscale="log", xlabel="samples n", ylim=(1e-5, 1.5))
        ax.set_title(name.replace("tau", r"$\tau$"), fontsize=9)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("error probability")
    axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    fig.savefig(path, dpi=150)
