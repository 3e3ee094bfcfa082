"""Tables of what is measured of input gradients: a row for each model."""

from __future__ import annotations

from typing import Any

from benchmarks._results import format_table, rows_table


def beyond_table(rows: list[dict[str, Any]]) -> str:
    """Return for each model the share of its gradients that no adversary in [0, 1] can follow."""
    found = ({**row, "half": 1.96 * row["error"]} for row in rows)
    heading = "model | epsilon | out of reach in [0, 1], %"
    return rows_table(found, heading, "{model} | {epsilon:g} | {share:.1%} ± {half:.1%}")


def overview(contents: list[dict[str, Any]]) -> str:
    """Return networks of several results in a row each: accuracies, and means of the measures.

    All are trained on the same images.
    """
    measures = ("gini", "cosine", "ink")
    body = []
    for content in contents:
        mean = {(r["model"], r["epsilon"], r["measure"]): r["mean"] for r in content["rows"]}
        beyond = {(r["model"], r["epsilon"]): r["share"] for r in content["out_of_reach"]}
        for row in content["accuracies"]:
            model, epsilon = key = row["model"], row["epsilon"]
            clipped = epsilon > 0 and content["clip"] == "clipped"
            body.append(
                ((model, clipped, epsilon), f"{100 * row['clean']:.1f}",
                 f"{100 * row['pgd']:.1f}" if "pgd" in row else "",
                 *(f"{mean[(*key, m)]:.2f}" for m in measures), f"{100 * beyond[key]:.0f} %")
            )  # fmt: skip
    header = ("network", "clean", "PGD-100", *map(_title, measures), "out of reach in [0, 1]")
    return format_table(header, [(_name(*key), *rest) for key, *rest in sorted(set(body))])


def _name(model: str, clipped: bool, epsilon: float) -> str:
    adversary = "in [0, 1]" if clipped else "not clipped"
    return f"{model.upper()} {epsilon:g}, {adversary}" if epsilon else f"{model.upper()} standard"


def _title(measure: str) -> str:
    """Return a measure's name as the pages say it."""
    return {"ink": "on strokes"}.get(measure, measure)


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
    return format_table(("Cohen's d of", "against", *map(_title, measures)), body)


def sanity_table(rows: list[dict[str, Any]]) -> str:
    """Return the rank correlation by the number of layers drawn anew."""
    correlations = [key for key in (rows[0] if rows else ()) if key.startswith("rank_correlation")]
    heading = ["model", "epsilon", "layers drawn anew", *correlations, _title("ink")]
    line = ["{model}", "{epsilon:g}", "{layers_drawn_anew}"]
    line += [f"{{{key}:.3f}}" for key in (*correlations, "ink")]
    return rows_table(rows, " | ".join(heading).replace("_", " "), " | ".join(line))
