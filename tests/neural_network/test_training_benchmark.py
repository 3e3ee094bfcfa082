"""The benchmark of training: what it leaves out changes no result, and its table is complete."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import _training_tables, training, training_numerics
from benchmarks._results import cost
from sklearn_robust import RobustFCClassifier
from sklearn_robust.metrics import certified_score, robust_score
from sklearn_robust.neural_network import make_recipe


def test_leaving_out_what_is_settled_changes_no_result(digits):
    X, y = digits[0] / digits[0].max(), digits[1]
    clf = RobustFCClassifier(
        (32,), training="ibp", epsilon=0.05, clip_values=(0, 1), max_epochs=20, random_state=0
    ).fit(X, y)  # fmt: skip
    test = training.Settled(clf, X, y, 0.05)
    # Deterministic, so that leaving samples out cannot change what happens to the others.
    attack = training.get_attack("fgsm")
    found = test.attack(attack)
    assert found["accuracy"] == pytest.approx(robust_score(clf, X, y, attack=attack))
    clean_mistakes = round(len(y) * (1 - clf.score(X, y)))
    assert 0 < found["attacked"] == len(y) - test.proven.sum() - clean_mistakes
    assert test.proven.mean() == pytest.approx(certified_score(clf, X, y, method="ibp"))
    proof = training.by_proof(test, None)
    assert proof["accuracy"] == pytest.approx(certified_score(clf, X, y, method="auto"))
    assert not (test.proven & test.broken).any()


def of_recipe(*names):
    """Return the hyperparameters of a recipe as the benchmark writes them."""
    parameters = make_recipe(*names).get_params(deep=False)
    return {k: _training_tables.plain(v) for k, v in parameters.items() if k != "checkpoint"}


def test_a_hyperparameter_that_an_earlier_version_lacked_was_off():
    earlier = of_recipe("certified", "cnn")
    del earlier["batch_norm"], earlier["shift_average"]
    content = {"recipe": "certified", "architecture": "cnn", "parameters": earlier}
    assert _training_tables.changes(content) == [
        "shift_average=0"
    ]  # batch norm is off in the recipe too


def test_summary_has_the_means_over_seeds_and_leaves_gaps_where_one_lacks(tmp_path):
    for seed, pgd in ((0, 0.9), (1, 0.92)):
        content = {
            "recipe": "fast", "architecture": "fc", "n_test": 100, "clean": 0.98,
            "training_process_seconds": 90 + 60 * seed,
            "parameters": {**of_recipe("fast", "fc"), "max_epochs": 3, "lr": 0.5},
            "pgd": {"accuracy": pgd}, **({"ensemble": {"accuracy": 0.8}} if seed else {}),
        }  # fmt: skip
        path = tmp_path / f"training-fast-fc-eps0.3-MNIST-seed{seed}.json"
        path.write_text(json.dumps(content))
    row = _training_tables.summary(tmp_path).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "fast fc 0.3, lr=0.5, 3 epochs, 100 images, 2 seeds"
    assert cells[1:] == ["2.0", "98.00", "91.00", "-", "-"]


def test_a_training_on_a_gpu_counts_the_time_of_the_clock():
    content = {"training_seconds": 60, "training_process_seconds": 90}
    assert cost(content) == ("1.5", "CPU")
    assert cost({**content, "gpu": "NVIDIA H200"}) == ("1.0", "H200")


def test_what_the_page_says_of_the_gpu_is_what_was_measured():
    root = Path(__file__).parents[2]
    content = json.loads((root / "benchmarks/results/training_speed_cuda.json").read_text())
    page = " ".join((root / "docs/performance.md").read_text().split())
    assert content["gpu"] == "NVIDIA H200"
    rates = {(r["network"], r["trainer"]): r["examples_per_second"] for r in content["rows"]}
    networks = {name for name, _ in rates}

    def ratios(ours, theirs):
        found = [rates[name, ours] / rates[name, theirs] for name in networks]
        return min(found), max(found)

    graphs = "this library, CUDA graphs"
    low, high = ratios(graphs, "bare loop")
    assert f"our loop trains {low:.1f} to {high:.1f} times as many examples as a bare loop" in page
    low, high = ratios(graphs, "ART")
    assert f"and {low:.0f} to {high:.0f} times as many as ART's trainer" in page
    low, high = ratios("bare loop", "this library")
    assert f"Without graphs it takes {low:.1f} to {high:.1f} times as long" in page
    passes = (100 + 2) / (content["settings"]["n_steps"] + 2)
    seconds = 10 * 60_000 * passes / rates["CNN of the report", graphs]
    assert f"takes its CNN about {seconds / 60:.0f} minutes" in page
    for precision in ("bfloat16", "all in TF32"):
        faster = rates["CNN of the report", f"{graphs}, {precision}"]
        assert 1.2 < faster / rates["CNN of the report", graphs] < 1.34


def test_what_the_page_says_of_other_trainers_is_what_was_measured():
    root = Path(__file__).parents[2]
    content = json.loads((root / "benchmarks/results/training_speed.json").read_text())
    page = " ".join((root / "docs/performance.md").read_text().split())
    rates = {(r["network"], r["trainer"]): r["examples_per_second"] for r in content["rows"]}
    networks = list(dict.fromkeys(name for name, _ in rates))

    def times(ours, theirs):
        return [f"{rates[name, ours] / rates[name, theirs]:.1f}" for name in networks]

    plain, coarse = "this library", "this library, bfloat16"
    fc, small, cnn = times(plain, "ART")
    assert f"in float32: {fc} times (FC), {small} (small CNN) and {cnn} (the CNN of Coll" in page
    assert "with bfloat16 {}, {} and {}.".format(*times(coarse, "ART")) in page
    beside, faster = times(plain, "torchattacks"), times(coarse, "torchattacks")
    said = f"torchattacks** {min(beside)} to {max(beside)} times, {min(faster)} to {max(faster)}"
    assert said in page
    compiled = rates["FC 2 x 512", "bare loop"] / rates["FC 2 x 512", "bare loop, compiled"]
    assert compiled == pytest.approx(1.25, abs=0.05)


@pytest.mark.parametrize("network", ["CNN 0.1", "CNN 0.2", "CNN 0.3", "FC 0.3"])
def test_what_is_certified_against_the_goals_is_what_the_recipes_reach(network):
    root = Path(__file__).parents[2]
    page = (root / "docs/training.md").read_text()
    name, epsilon = network.split()
    reached = _training_tables.recipes(root / "benchmarks/results").splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in reached]
    (row,) = [r for r in rows if r[0].startswith(f"certified {name}") and r[1] == epsilon]
    goals = re.search(rf"^\| certified {name} {epsilon} \|(.*)$", page, re.MULTILINE)[1].split("|")
    assert goals[1].split(",")[0].strip() == row[4]
    assert goals[2].strip() == row[5]
    goal = float(re.search(r"certified ([\d.]+)", goals[0])[1])
    missed = re.search(r"\*\*missed\*\* by ([\d.]+)", goals[3])
    assert (float(missed[1]) if missed else 0) == round(max(0, goal - float(row[4])), 1)


@pytest.mark.parametrize("network", ["fast CNN", "strong CNN", "fast FC"])
def test_what_attacks_leave_against_the_goals_is_what_the_recipes_reach(network):
    root = Path(__file__).parents[2]
    page = (root / "docs/training.md").read_text()
    reached = _training_tables.recipes(root / "benchmarks/results")
    (row,) = [line.split("|") for line in reached.splitlines() if line.startswith(f"| {network} ")]
    goals = re.search(rf"^\| {network} 0.3 \|(.*)$", page, re.MULTILINE)[1].split("|")
    assert goals[1].split(",")[0].strip() == row[4].strip()
    assert goals[2].strip() == row[6].strip()


def test_precisions_are_compared_with_float64():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    X, y = torch.rand(50, 20), torch.arange(50) % 10
    rows = {r["precision"]: r for r in training_numerics.compared(module, X, y, seed=0)}
    assert list(rows) == ["float64", "float32", "bfloat16"]  # TF32 is CUDA's
    assert rows["float64"]["signs_that_agree"] == pytest.approx(1)
    assert 0.9 < rows["bfloat16"]["signs_that_agree"] < rows["float32"]["signs_that_agree"] + 1e-9
    named = [{"network": "fc", **row} for row in rows.values()]
    assert len(training_numerics.table(named).splitlines()) == 5
