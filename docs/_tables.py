"""Tables of the pages, made from benchmarks/results, so that no figure is typed by hand."""

import json
import re
from collections import Counter
from pathlib import Path

from benchmarks import (
    _gradient_tables,
    _threshold_report,
    _training_tables,
    adversarial_training,
    attack_every,
    attack_strength,
    coverage as coverage_benchmark,
    quick,
    report,
    solver,
    table1,
    theorem1,
    training_numerics,
    training_speed,
    tree_costs,
    trees,
    why_cnn,
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


def attacks_compared():
    """Return what each attack leaves of four networks, and what it costs."""
    rows = _load(attack_strength.result_name(seed=3, samples=1000).removesuffix(".json"))["rows"]
    return attack_strength.table(rows)


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
    """Return times of the exact solver, without the summary."""
    return solver.to_markdown(_load("solver")).partition("\n- ")[0]


def speed_of_training():
    """Return what the models of the main job cost."""
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
    return f"{trees.table(content['rows'])}\n\n{note}"


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


def report_cnn():
    """Return every score of every CNN trained by the protocol of Collins et al. (2019)."""
    return report.table(report.read(RESULTS / "report"), "cnn")


def report_fc():
    """Return every score of every fully connected network trained by that protocol."""
    return report.table(report.read(RESULTS / "report"), "fc")


def protocols():
    """Return what reduced protocols give beside the full one."""
    return report.protocols_table(report.read(RESULTS / "report"))


def _of_gradients(name):
    """Return all that was measured of the gradients of the networks of one result."""
    found = _load(f"interpretability-{name}")
    parts = [
        _gradient_tables.table(found["rows"]).rpartition("\n")[0],
        _gradient_tables.claims_table(found["effects"]),
        _gradient_tables.sanity_table(found["sanity"]),
    ]
    if "out_of_reach" in found:
        parts.append(_gradient_tables.beyond_table(found["out_of_reach"]))
    return "\n\n".join(parts)


def gradients_cnn_not_clipped():
    """Return measures of the gradients of CNNs whose adversary may leave [0, 1]."""
    return _of_gradients("reduced-bfloat16-cnn-MNIST")


def gradients_cnn_clipped():
    """Return measures of the gradients of CNNs whose adversary is kept in [0, 1]."""
    return _of_gradients("reduced-bfloat16-clipped-cnn-MNIST")


def gradients_fc():
    """Return measures of the gradients of fully connected networks."""
    return _of_gradients("reduced-bfloat16-fc-MNIST")


def gradients_recipes_cnn():
    """Return measures of the gradients of the recipes' CNNs."""
    return _of_gradients("recipes-cnn-MNIST")


def gradients_recipes_fc():
    """Return measures of the gradients of the recipes' fully connected networks."""
    return _of_gradients("recipes-fc-MNIST")


def gradients_small_trainings():
    """Return measures and effects of networks trained on 4,000 images, both adversaries."""
    found = [_load(f"interpretability-reduced-{clip}MNIST-n4000") for clip in ("", "clipped-")]
    free, clipped = (_gradient_tables.claims_table(content["effects"]) for content in found)
    return (
        f"{_gradient_tables.overview(found)}\n\nEffects, not clipped:\n\n{free}\n\n"
        f"Effects, clipped to [0, 1]:\n\n{clipped}"
    )


def attack_every_linear():
    """Return what linear models reach if only each k-th iteration is attacked."""
    return attack_every.linear_table(_load("attack_every")["linear"])


def attack_every_networks():
    """Return what networks reach if only each k-th batch is attacked."""
    return attack_every.network_table(_load("attack_every")["rows"])


def why_cnns():
    """Return the networks that differ in one thing each."""
    return why_cnn.table(_load("why_cnn")["rows"])


def trainings():
    """Return every training by a recipe on all of MNIST."""
    return _training_tables.summary(RESULTS)


def training_passes():
    """Return passes and rates of all trainers on a CPU."""
    return training_speed.table(_load("training_speed")["rows"])


def training_passes_cuda():
    """Return passes and rates of all trainers on a GPU."""
    return training_speed.table(_load("training_speed_cuda")["rows"])


def numerics():
    """Return how well attacks in each precision do."""
    return training_numerics.table(_load("training_numerics")["rows"])


def threshold_grid():
    """Return thresholds by the law and measured ones."""
    return _threshold_report.grid_table(_load("threshold")["grid"])


def threshold_sample_size():
    """Return what finite samples do to the threshold."""
    return _threshold_report.sample_size_table(_load("threshold")["sample_size"])


def threshold_adam():
    """Return how far iterations of Adam are from the minimiser."""
    return _threshold_report.adam_table(_load("threshold")["adam"])


def threshold_losses():
    """Return thresholds of other losses."""
    return _threshold_report.loss_table(_load("threshold")["losses"])


def bounds_of_theorem_1():
    """Return errors of the sample-mean classifier beside its bounds."""
    return theorem1.brief(_load("theorem1")["settings"])


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
    attacks_compared,
    speed_of_attacks,
    speed_of_solver,
    speed_of_training,
    speed_of_trees,
    costs_of_trees,
    coverage,
    retraining,
    report_cnn,
    report_fc,
    protocols,
    gradients_cnn_not_clipped,
    gradients_cnn_clipped,
    gradients_fc,
    gradients_recipes_cnn,
    gradients_recipes_fc,
    gradients_small_trainings,
    attack_every_linear,
    attack_every_networks,
    why_cnns,
    trainings,
    training_passes,
    training_passes_cuda,
    numerics,
    threshold_grid,
    threshold_sample_size,
    threshold_adam,
    threshold_losses,
    bounds_of_theorem_1,
    provenance,
)


def write(folder):
    """Write each table into a file of its name, for the pages to include."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        (folder / f"{table.__name__}.md").write_text(table() + "\n")
