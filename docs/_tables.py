"""Tables of the pages, made from benchmarks/results, so that no figure is typed by hand."""

import json
import re
from collections import Counter
from pathlib import Path

from benchmarks import (
    adversarial_training,
    coverage as coverage_benchmark,
    quick,
    table1,
    tree_costs,
    trees,
)
from benchmarks._results import format_table

PROCESSOR = re.compile(r"\((R|TM)\)| (Processor|CPU).*$")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def _load(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def robust_accuracy():
    """Return the main job's table and how it was measured."""
    return quick.table(_load("quick")["rows"]).replace("\naccuracy", "\n\nAccuracy")


def linear():
    """Return Table 1 of the report beside ours."""
    return table1.render(_load("table1")["readings"])


def speed_of_attacks():
    """Return what one attack costs, beside other libraries'."""
    content = _load("attack_speed")
    header = [
        "model",
        "attack",
        "forward",
        "input gradient",
        "weight gradient",
        "ms",
        "x bare loop",
    ]
    body = [
        [r["model"], r["attack"], r["forwards"], r["input_backwards"], r["weight_backwards"],
         f"{r['milliseconds']:.1f}", f"{r['ratio_to_bare_loop']:.2f}"]
        for r in content["rows"]
    ]  # fmt: skip
    settings = content["settings"]
    note = (
        f"PGD with {settings['n_steps']} steps, linf, one batch of {settings['batch_size']} images "
        f"on {content['threads']} threads of {content['processor']}; passes per batch, medians of "
        f"{settings['repeats']} runs."
    )
    return f"{format_table(header, body)}\n\n{note}"


def speed_of_solver():
    """Return times of the exact solver, as the benchmark wrote them, without its summary."""
    return (RESULTS / "solver.md").read_text().partition("\n- ")[0]


def speed_of_training():
    """Return what the four models of the main job cost."""
    content = _load("quick")
    body = [
        [f"{r['architecture']} {r['training']}", f"{r['training_seconds']:.0f}",
         f"{r['evaluation_seconds']:.0f}"]
        for r in content["rows"]
    ]  # fmt: skip
    note = (
        f"Seconds on {content['cores']} cores of {content['processor']}: training on "
        f"{content['n_train']} images, attacking {content['n_test']}."
    )
    return f"{format_table(['model', 'training', 'attack'], body)}\n\n{note}"


def speed_of_trees():
    """Return what deciding samples of tree ensembles costs, beside Veritas."""
    content = _load("trees")
    note = (
        f"Shares in per cent of {content['samples']} samples, {content['trees']} trees each, CPU "
        f"time on one thread of {content['processor']} beside other work. Veritas: "
        f"{content['peer_samples']} of the samples, at most {content['seconds']:g} s for a class."
    )
    lines = "\n".join(
        f"- {part['line'][0].upper()}{part['line'][1:]}." for part in content["summary"]
    )
    return f"{trees.table(content['rows'])}\n\n{note}\n\n{lines}"


def costs_of_trees():
    """Return what distances of tree ensembles cost, and many rows."""
    content = _load("tree_costs")
    rows = content["rows"]
    note = (
        f"CPU time on one thread of {content['processor']} beside other work; distances of "
        f"{content['samples']} samples, {content['rows_judged']:,} rows."
    )
    parts = tree_costs.table_of_rows(rows), tree_costs.table(rows), tree_costs.summary(rows), note
    return "\n\n".join(parts)


def coverage():
    """Return which number each classifier gets."""
    content = _load("coverage")
    counts = Counter(row["data"] for row in content["rows"])
    data = ", ".join(f"{name} ({count} rows)" for name, count in counts.items())
    note = (
        f"Measured on {content['samples']} samples of {data}, in CPU time on one thread of "
        f"{content['processor']}, which had other work as well."
    )
    goals = "\n".join(f"- {line}" for line in coverage_benchmark.goals(content["rows"]))
    return f"{coverage_benchmark.table(content['rows'])}\n\n{note}\n\n{goals}"


def retraining():
    """Return what retraining on worst cases wins, by family and by data set."""
    content = _load("adversarial_training")
    rows = content["rows"]
    splits = len({row["split"] for row in rows})
    note = (
        f"Means over {splits} splits, 40 % of the samples held out; at most {content['rounds']} "
        f"rounds; linf at {content['share']:g} standard deviations of each feature."
    )
    return (
        f"{adversarial_training.family_table(rows)}\n\n"
        f"Gains in points. {note} Each data set by itself, accuracies in per cent:\n\n"
        f"{adversarial_training.table(rows)}"
    )


def provenance():
    """Return where every result file came from."""
    header = ["file", "date", "processor", "torch", "scikit-learn"]
    body = []
    for path in sorted([*RESULTS.glob("*.json"), *RESULTS.glob("report/*.json")]):
        content = json.loads(path.read_text())
        origin = content.get("provenance", content)
        if "packages" not in origin:
            continue
        packages = origin["packages"]
        body.append(
            [f"`{path.relative_to(RESULTS)}`", origin["date"],
             PROCESSOR.sub("", origin["processor"]), packages.get("torch", ""),
             packages["scikit-learn"]]
        )  # fmt: skip
    return format_table(header, body)


TABLES = (
    robust_accuracy,
    linear,
    speed_of_attacks,
    speed_of_solver,
    speed_of_training,
    speed_of_trees,
    costs_of_trees,
    coverage,
    retraining,
    provenance,
)


def write(folder):
    """Write each table into a file of its name, for the pages to include."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        (folder / f"{table.__name__}.md").write_text(table() + "\n")
