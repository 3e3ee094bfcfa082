"""What the benchmarks share: rows and models that are taken up, tables, and who imports whom."""

import ast
import json
from pathlib import Path

import joblib
import numpy as np
import pytest

from benchmarks._data import N_TRAIN, blurred, mnist, small_mnist, split
from benchmarks._results import grouped, rows_table
from benchmarks._resume import ResultFile, checkpointed

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = {path.stem for path in FOLDER.glob("[!_]*.py")}


def imported(path):
    """Return the modules of benchmarks that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("benchmarks."):
            yield node.module.removeprefix("benchmarks.")
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from (n.removeprefix("benchmarks.") for n in names if n.startswith("benchmarks."))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_imports_a_script(path):
    assert SCRIPTS.isdisjoint(imported(path))


def test_every_script_is_a_command():
    for name in SCRIPTS:
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"add_arguments", "run"} <= functions, name
        assert ast.get_docstring(tree), name


def test_rows_are_taken_up_and_only_missing_ones_are_named(tmp_path):
    path, about = tmp_path / "some.json", {"n": 3}
    plan = [{"case": case, "seed": seed} for case in "ab" for seed in (0, 1)]
    first = ResultFile(path, about, threads=1)
    first.add({**plan[1], "score": 0.5})
    first.add({**plan[2], "score": 0.7})
    again = ResultFile(path, about, threads=2)
    assert again.rows == first.rows
    assert list(again.missing(plan)) == [plan[0], plan[3]]
    again.add({**plan[0], "score": 0.1}, others=[1, 2])
    content = json.loads(path.read_text())
    assert [row["score"] for row in content["rows"]] == [0.5, 0.7, 0.1]
    assert (content["n"], content["threads"], content["others"]) == (3, 2, [1, 2])
    assert list(ResultFile(path, about, fresh=True).missing(plan)) == plan
    with pytest.raises(ValueError, match="other settings: n=3, got 4"):
        ResultFile(path, {"n": 4})


def test_what_is_checkpointed_is_made_once(tmp_path, capsys):
    path, made = tmp_path / "folder" / "model.joblib", iter("abc")
    assert checkpointed(path, lambda: next(made)) == "a"
    assert checkpointed(path, lambda: next(made)) == "a"
    assert f"taken from {path}" in capsys.readouterr().out
    assert checkpointed(path, lambda: next(made), fresh=True) == "b"
    assert joblib.load(path) == "b" and [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_table_has_a_line_for_each_row_and_shares_in_per_cent():
    rows = [
        {"name": "a|b", "share": 0.9842, "of": {"n": 3}},
        {"name": "c %", "share": 0, "of": {"n": 1}},
    ]
    text = rows_table(rows, " | share | sign", "{name} {of[n]} | {share:.1%} | {share:.0%} %")
    assert text.splitlines() == [
        "|       | share | sign |",
        "|-------|-------|------|",
        "| a|b 3 | 98.4  | 98 % |",
        "| c % 1 | 0.0   | 0 %  |",
    ]


def test_rows_are_grouped_in_the_order_in_which_they_come():
    rows = [{"a": 2, "b": 1, "c": 0}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1, "c": 2}]
    assert grouped(rows, "a", "b") == {(2, 1): [rows[0], rows[2]], (1, 1): [rows[1]]}
    assert list(grouped(rows, "a")) == [(2,), (1,)]


def test_images_are_split_as_they_are_or_in_an_order_of_a_seed():
    X, y = small_mnist()
    assert X.shape == (5000, 784)
    plain, other = mnist(None), mnist(None, shuffle=1)
    np.testing.assert_array_equal(plain[0], X[:N_TRAIN])
    np.testing.assert_array_equal(plain[3], y[N_TRAIN:])
    order = np.random.default_rng(1).permutation(5000)
    np.testing.assert_array_equal(other[2], X[order[N_TRAIN:]])
    np.testing.assert_array_equal(other[1], y[order[:N_TRAIN]])
    parts = split(X, y, 100, 50, seed=0)
    assert [len(part) for part in parts] == [100, 100, 50, 50]
    assert sorted(np.bincount(parts[1])) == [10] * 10  # the classes are as large as one another


def test_blurred_images_keep_the_range_and_lose_the_edges():
    X = small_mnist()[0][:20]
    soft = blurred(X)
    assert soft.shape == X.shape and soft.min() >= 0
    np.testing.assert_allclose(soft.max(axis=1), 1)
    before, after = (
        np.abs(np.diff(images.reshape(-1, 28, 28), axis=2)).max(axis=(1, 2)) for images in (X, soft)
    )
    assert (after < before).all()
