"""Tables and pictures of the threshold benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks._linear import COLOURS, EPSILONS
from benchmarks._results import rows_table
from sklearn_robust.inspection import ThresholdDisplay, WeightDisplay

LOSS_TITLES = {
    "logistic": "logistic loss",
    "hinge": "hinge loss (SVM)",
    "squared_hinge": "squared hinge loss",
    "squared": "squared loss",
}


def render(content: dict[str, Any]) -> str:
    """Return all tables in Markdown."""
    parts = [
        "Threshold tau*, predicted and measured (mean over data sets ± standard error).",
        grid_table(content["grid"]),
        "The whole population, d = 12: which features have weight.",
        _population_table(content["population"]),
        "Sample size (d = 100, exact training): misplaced are the features with weight below "
        "epsilon / 2 or without it above.",
        sample_size_table(content["sample_size"]),
        "The report's protocol (d = 100): distance of its weights to those that minimise the "
        "equal mixture (both at length 1), and their kink.",
        adam_table(content["adam"]),
        "Other losses (d = 100, exact training).",
        loss_table(content["losses"]),
    ]
    return "\n\n".join(parts)


def _with_measured(row: dict[str, Any], cell: dict[str, float] | None = None) -> dict[str, Any]:
    """Return a row with the prediction and the measurement of its `cell`, as they are shown."""
    cell = row if cell is None else cell
    return {
        **row,
        "law": cell["predicted"],
        "shown": f"{cell['measured']:.4f} ± {cell['standard_error']:.4f}",
        "deviation": f"{100 * (cell['measured'] / cell['predicted'] - 1):+.1f} %",
    }


def grid_table(grid: list[dict[str, Any]]) -> str:
    rows = [
        {**row, **{kind: _with_measured({}, row[kind]) for kind in ("exact", "mixed")}}
        for row in grid
    ]
    heading = "d | epsilon | exact: measured | deviation | mixed: law | measured | deviation"
    line = (
        "{n_features} | {epsilon} | {exact[shown]} | {exact[deviation]} | {mixed[law]:.4f} | "
        "{mixed[shown]} | {mixed[deviation]}"
    )
    return rows_table(rows, heading, line)


def _population_table(rows: list[dict[str, Any]]) -> str:
    found = []
    for r in rows:
        first = r["smallest_active"]
        shown = "none" if first is None else f"{first:.4f}"
        found.append({**r, "title": LOSS_TITLES[r["loss"]], "first": shown})
    heading = "loss | epsilon | law | largest tau without weight | smallest with"
    line = "{title} | {epsilon} | {predicted:.4f} | {largest_inactive:.4f} | {first}"
    return rows_table(found, heading, line)


def sample_size_table(rows: list[dict[str, Any]]) -> str:
    heading = "epsilon | n | data sets | measured | deviation | misplaced, % | expected, %"
    line = (
        "{epsilon} | {n_samples} | {n_seeds} | {shown} | {deviation} | "
        "{misplaced:.1%} | {misplaced_expected:.1%}"
    )
    return rows_table((_with_measured(r, r["exact"]) for r in rows), heading, line)


def adam_table(rows: list[dict[str, Any]]) -> str:
    heading = "epsilon | iterations of Adam | distance | law | measured | deviation"
    line = "{epsilon} | {iterations} | {distance:.3f} | {predicted:.4f} | {shown} | {deviation}"
    return rows_table(map(_with_measured, rows), heading, line)


def loss_table(rows: list[dict[str, Any]]) -> str:
    found = (
        {**_with_measured(r), "title": LOSS_TITLES[r["loss"]]} for r in rows if r["epsilon"] > 0
    )
    heading = "loss | epsilon | law | measured | deviation"
    return rows_table(found, heading, "{title} | {epsilon} | {law:.4f} | {shown} | {deviation}")


def draw_law(content: dict[str, Any], path: Path) -> None:
    """Draw predicted against measured thresholds, and what a finite sample does to them."""
    fig = Figure(figsize=(10, 8), layout="constrained")
    axes = fig.subplots(2, 2)
    _draw_grid(axes[0, 0], content["grid"], "exact")
    _draw_grid(axes[0, 1], content["grid"], "mixed")
    _draw_blur(axes[1, 0], [r for r in content["sample_size"] if r["epsilon"] == 0.1])
    _draw_misplaced(axes[1, 1], content["sample_size"])
    axes[0, 0].set_title(r"exact training: $\tau^* = \epsilon / 2$")
    axes[0, 1].set_title("half clean, half adversarial loss")
    axes[1, 0].set_title(r"who gets weight (exact, d = 100, $\epsilon = 0.1$)")
    axes[1, 1].set_title("wrong side of the threshold (exact, d = 100)")
    fig.savefig(path, dpi=150)


def _draw_grid(ax: Axes, grid: list[dict[str, Any]], kind: str) -> None:
    sizes = sorted({row["n_features"] for row in grid})
    for k, d in enumerate(sizes):
        rows = [row for row in grid if row["n_features"] == d]
        colour = COLOURS[k + 1]
        shift = 0.006 * (k - (len(sizes) - 1) / 2)
        predicted, measured, error = (
            np.array([r[kind][key] for r in rows])
            for key in ("predicted", "measured", "standard_error")
        )
        display = ThresholdDisplay(
            np.array([r["epsilon"] for r in rows]), predicted, measured, standard_error=error
        )
        display.plot(
            ax,
            label=f"d = {d}",
            color=colour,
            law_color="0.6" if kind == "exact" else colour,
            shift=shift,
        )
    ax.set(xlabel=r"$\epsilon$", ylabel=r"threshold $\tau^*$", xticks=EPSILONS, ylim=(0, 0.27))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, title=r"measured ($\pm$ 2 s.e.); line: law", loc="upper left")


def _draw_blur(ax: Axes, rows: list[dict[str, Any]]) -> None:
    for k, row in enumerate(rows[:: max(1, (len(rows) - 1) // 2)]):
        tau, colour = np.array(row["tau"]), COLOURS[k + 1]
        # Five neighbouring features together, to see the share and not its steps.
        groups = (np.mean(np.reshape(v, (-1, 5)), axis=1) for v in (tau, row["share_active"]))
        ax.plot(tau, row["share_expected"], color=colour, linewidth=1)
        ax.plot(*groups, "o", color=colour, markersize=4)
        ax.plot([], [], "o-", color=colour, markersize=4, label=f"n = {row['n_samples']:,}")
    ax.axvline(0.05, color="0.3", linestyle="--", linewidth=1, label=r"$\epsilon / 2$")
    ax.set(xlabel=r"class bias $\tau_j$", ylabel="share of data sets with weight")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, title="points: measured (groups of 5); line: S11", loc="lower right")


def _draw_misplaced(ax: Axes, rows: list[dict[str, Any]]) -> None:
    for k, epsilon in enumerate(sorted({r["epsilon"] for r in rows})):
        part = [r for r in rows if r["epsilon"] == epsilon]
        n = [r["n_samples"] for r in part]
        label = rf"$\epsilon = {epsilon}$"
        ax.plot(n, [r["misplaced_expected"] for r in part], color=COLOURS[k + 1], linewidth=1)
        ax.plot(n, [r["misplaced"] for r in part], "o", color=COLOURS[k + 1], label=label)
    ax.set(xscale="log", yscale="log", xlabel="samples n", ylabel="share of features")
    ax.grid(alpha=0.3, which="both")
    ax.legend(frameon=False, title="points: measured; line: S11", loc="lower left")


def draw_losses(content: dict[str, Any], path: Path) -> None:
    """Draw weights against class bias, a row for each loss and a column for each epsilon."""
    rows = content["losses"]
    names = list(dict.fromkeys(r["loss"] for r in rows))
    epsilons = sorted({r["epsilon"] for r in rows})
    fig = Figure(figsize=(12, 8), layout="constrained")
    axes = fig.subplots(len(names), len(epsilons), sharex=True, sharey="col")
    for row in rows:
        i, j = names.index(row["loss"]), epsilons.index(row["epsilon"])
        ax, name = axes[i, j], row["loss"]
        ax.set_prop_cycle(color=[COLOURS[1 if j else 0]])
        thresholds = {name: row["predicted"]} if j else None
        display = WeightDisplay(np.array(row["tau"]), {name: row["weights"]}, thresholds=thresholds)
        display.plot(ax, markersize=2)
        if i == 0:
            title = rf"robust, $\epsilon = {row['epsilon']}$" if j else "standard training"
            ax.set_title(title, fontsize=10)
        if j == 0:
            ax.set_ylabel(f"{LOSS_TITLES[name]}\n{ax.get_ylabel()}")
        else:
            ax.set_ylabel("")
        if i < len(names) - 1:
            ax.set_xlabel("")
    fig.savefig(path, dpi=150)
