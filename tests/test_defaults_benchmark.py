"""The benchmark that decides the defaults: its data, its rows, and what it compares."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command, defaults
from benchmarks._tasks import TASKS

ROOT = Path(__file__).parents[1]
TINY = ("tiny", '{"max_epochs": 1, "hidden_layer_sizes": [4], "pgd_steps": 1}')
QUICK = ["--datasets", "wine", "--networks", "fc", "--seeds", "1", "--n-train", "60", "--n-test",
         "8", "--candidates", "--propose", *TINY]  # fmt: skip


def test_half_of_the_data_sets_are_held_out_and_either_half_has_images_and_tables():
    halves = {kind: [t for t in TASKS.values() if t.held_out == kind] for kind in (False, True)}
    for tasks in halves.values():
        assert sorted(task.images for task in tasks) == [False, False, True, True]


@pytest.mark.parametrize("name", TASKS)
def test_data_lie_in_the_unit_interval_and_the_same_seed_splits_them_alike(name):
    task = TASKS[name]
    X, y, X_test, y_test = task.split(1)
    assert X.min() == 0 and X.max() == 1
    assert X_test.min() >= 0 and X_test.max() <= 1
    assert X[0].ndim == (2 if task.images else 1)
    assert np.isfinite(X).all() and set(y_test) <= set(y)
    assert list(task.radii) == sorted(set(task.radii)) and 0 < task.radii[-1] < 0.5
    for one, again in zip((X, y, X_test, y_test), task.split(1), strict=True):
        np.testing.assert_array_equal(one, again)
    assert not np.array_equal(task.split(2)[1], y)


def test_the_half_that_is_held_out_runs_only_if_asked_for():
    assert set(defaults.datasets(None, False)) == {"digits", "breast-cancer", "wine", "mnist"}
    assert set(defaults.datasets(None, True)) == set(TASKS) - set(defaults.datasets(None, False))
    assert defaults.datasets(["iris"], True) == ["iris"]
    with pytest.raises(ValueError, match=r"must be not held out, got iris\. Pass --held-out"):
        defaults.datasets(["iris", "wine"], False)
    with pytest.raises(ValueError, match=r"must be held out, got wine\. Leave out --held-out"):
        defaults.datasets(["wine"], True)


def test_there_is_a_row_for_each_seed_radius_and_network_but_no_convolution_of_tables():
    rows = list(defaults.plan(["wine", "digits"], ["cnn", "fc"], defaults.CANDIDATES, range(2)))
    assert len(rows) == 2 * 3 * (1 + 2) * len(defaults.CANDIDATES)
    assert not any(row["network"] == "cnn" for row in rows if row["data"] == "wine")
    for row in rows:
        assert row["parameters"]["epsilon"] == row["epsilon"] in TASKS[row["data"]].radii
        assert row["parameters"]["random_state"] == row["seed"]
        assert json.loads(json.dumps(row)) == row


def test_rows_are_made_once_and_anew_if_a_candidate_has_changed(tmp_path, capsys):
    path = tmp_path / "defaults.json"
    command.main(["defaults", *QUICK, "--output", str(tmp_path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["epsilon"] for row in rows] == list(TASKS["wine"].radii)
    for row in rows:
        assert 0 <= row["robust"] <= row["clean"] <= 1
        assert (row["epochs"], row["n_test"], row["candidate"]) == (1, 8, "tiny")
        assert row["seconds"] > 0

    written = path.stat().st_mtime_ns
    command.main(["defaults", *QUICK, "--output", str(tmp_path)])
    assert path.stat().st_mtime_ns == written

    longer = [*QUICK[:-1], TINY[1].replace('"max_epochs": 1', '"max_epochs": 2')]
    command.main(["defaults", *longer, "--output", str(tmp_path)])
    rows = json.loads(path.read_text())["rows"]
    assert [row["epochs"] for row in rows] == [2, 2, 2]
    with pytest.raises(ValueError, match=r"other settings: n_test=8, got 9"):
        command.main(["defaults", *QUICK, "--n-test", "9", "--output", str(tmp_path)])


def test_the_first_defaults_are_those_of_the_constructors_of_their_time():
    for network in defaults.CLASSES:
        first = defaults.CANDIDATES[defaults.BASELINE](network, 0.2)
        assert {name: first.get_params()[name] for name in defaults.FIRST} == defaults.FIRST


def row(candidate, clean, robust, seconds, seed=0, **other):
    case = {"data": "wine", "epsilon": 0.1, "network": "fc", "candidate": candidate, "seed": seed}
    return {**case, "clean": clean, "robust": robust, "seconds": seconds, "warned": False, **other}


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_candidates_are_compared_with_the_first_defaults_where_both_were_run():
    found = [
        *(row(defaults.BASELINE, 0.9, 0.5 + seed / 10, 2.0, seed) for seed in range(2)),
        *(row("new", 0.92, 0.7 + seed / 10, 1.0, seed) for seed in range(2)),
        row(defaults.BASELINE, 0.8, 0.4, 2.0, epsilon=0.2),
        row("new", 0.7, 0.35, 1.0, epsilon=0.2),
        row("new", 0.1, 0.1, 100.0, epsilon=0.3),  # nothing to compare it with
    ]
    # +20 and -5 points; the seeds are averaged first.
    assert cells(defaults.comparison(found)) == [
        ["new", "2", "+7.5", "-5.0 (wine, 0.2, fc)", "-4.0", "-10.0", "0.50"]
    ]
    assert cells(defaults.table(found))[1] == [
        "wine", "0.1", "fc", "new", "92.0", "75.0", "0.700 to 0.800 (2)", "1.0", "0",
    ]  # fmt: skip


@pytest.mark.parametrize(("epochs", "warned"), [(1, True), (30, False)])
def test_a_training_that_ends_in_one_answer_is_marked(epochs, warned):
    own = {"hidden_layer_sizes": (16,), "max_epochs": epochs, "lr": 5e-3, "clip_values": (0, 1)}
    clf = defaults.proposal(own, "fc", 0.05).set_params(random_state=0)
    case = {"data": "breast-cancer", "seed": 0, "epsilon": 0.05}
    assert defaults.measured(clf, case, 100, 10)["warned"] is warned


def test_the_page_on_recipes_says_what_the_defaults_reach():
    content = json.loads((ROOT / "benchmarks" / "results" / "defaults.json").read_text())
    page = " ".join((ROOT / "docs" / "recipes.md").read_text().split())
    means = defaults.means(content["rows"])
    assert content["n_test"] == 500
    for network, words in (
        ("cnn", "accuracy of {} % and keeps {} %"),
        ("fc", "network {} % and {} %"),
    ):
        row = means["mnist", 0.3, network, "defaults"]
        assert row["seeds"] == 3
        assert words.format(*(round(100 * row[key], 1) for key in ("clean", "robust"))) in page
    gains = {}
    for candidate in ("defaults", "at epsilon"):
        pairs = [
            (row["robust"], means[*key[:-1], defaults.BASELINE]["robust"])
            for key, row in means.items()
            if key[-1] == candidate and key[0] in ("digits", "breast-cancer", "wine")
        ]
        assert len(pairs) == 12
        assert all(row["seeds"] == 3 for key, row in means.items() if key[0] == "digits")
        gains[candidate] = 100 * np.mean([now - then for now, then in pairs])
        assert all(now > then for now, then in pairs)
    assert f"they keep {gains['defaults']:.1f} points more on average" in page
    assert f"keeps {gains['at epsilon']:.1f} more" in page
    held_out = [
        100 * (row["robust"] - means[*key[:-1], defaults.BASELINE]["robust"])
        for key, row in means.items()
        if TASKS[key[0]].held_out and key[2:] == ("fc", "defaults")
    ]
    assert len(held_out) == 12
    assert f"keep {np.mean(held_out):.1f} points more" in page
    assert f"and {-min(held_out):.1f} less where they do worst" in page
    for row in content["rows"]:  # they are those of the defaults as they are
        now = defaults.estimator(defaults.CANDIDATES, row).get_params(deep=False)
        assert defaults.plain(now) == row["parameters"]
