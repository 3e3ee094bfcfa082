"""The benchmark of trees: its rows are true of models, are taken up again, and make a picture."""

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.tree_costs import summary


def test_a_small_run_is_written_and_taken_up_again(tmp_path, capsys):
    pytest.importorskip("veritas")
    command = [
        "trees", "--data", "iris", "--trees", "5", "--samples", "20", "--peer-samples", "8",
        "--black-box", "--output", str(tmp_path),
    ]  # fmt: skip
    main(command)
    content = json.loads((tmp_path / "trees.json").read_text())
    assert [row["epsilon"] for row in content["rows"]] == [0.2, 0.4]
    for row in content["rows"]:
        assert 0 < row["robust"] <= row["clean"] <= 1
        assert row["open"] == row["disagree"] == 0
        assert row["max"] >= row["median"] > 0
    assert content["rows"][1]["robust"] < content["rows"][0]["robust"]
    assert (tmp_path / "trees.png").stat().st_size > 1000
    assert "decided 100.00% of the samples of 2 settings" in capsys.readouterr().out
    written = content["rows"]
    main(command)
    assert json.loads((tmp_path / "trees.json").read_text())["rows"] == written


def test_costs_of_distances_and_of_many_rows(tmp_path):
    main([
        "tree-costs", "--data", "iris", "covtype-like", "--trees", "2", "--samples", "6", "--rows",
        "150", "--output", str(tmp_path),
    ])  # fmt: skip
    content = json.loads((tmp_path / "tree_costs.json").read_text())
    rows = [row for row in content["rows"] if row["what"] == "rows"]
    rows.sort(key=lambda row: row["radius"])
    assert [row["robust"] for row in rows] == sorted((row["robust"] for row in rows), reverse=True)
    for row in rows:
        assert 0 < row["first"] <= row["robust"] < 1
        assert row["open"] == 0
    distances = [row for row in content["rows"] if row["what"] == "distance"]
    assert [row["data"] for row in distances] == ["iris", "covtype-like", "covtype-like"]
    assert all(row["distance"] > 0 and row["there"] > 0 for row in distances)
    assert "A distance costs" in summary(content["rows"])
