"""The page on adversarial training says of each family what its benchmark has measured."""

import json
from pathlib import Path

from benchmarks.adversarial_training import DATA, FAMILIES, by_family, measure

ROOT = Path(__file__).parents[1]
ROWS = json.loads((ROOT / "benchmarks" / "results" / "adversarial_training.json").read_text())[
    "rows"
]


def test_every_family_was_measured_on_every_data_set_and_split():
    cells = {(row["family"], row["data"], row["split"]) for row in ROWS}
    assert cells == {(f, d, s) for f in FAMILIES for d in DATA for s in range(3)}
    assert len(ROWS) == len(cells)


def test_who_wins_and_who_loses_is_as_the_page_says():
    families = {row["family"]: row for row in by_family(ROWS)}
    gain = {family: row["robust"] for family, row in families.items()}
    losers = {"RandomForest", "HistGradientBoosting", "5 neighbours"}
    assert {family for family, points in gain.items() if points > 1} == {"SVC", "MLP"}
    assert {family for family, points in gain.items() if points < -1} == losers
    assert gain["LogisticRegression"] <= 0
    assert families["SVC"]["fell"] == 0


def test_trees_have_about_as_many_mistakes_in_the_last_round_as_in_the_first():
    for family in ("RandomForest", "HistGradientBoosting"):
        mistakes = [row["mistakes"] for row in ROWS if row["family"] == family]
        assert sum(m[-1] for m in mistakes) > 0.9 * sum(m[0] for m in mistakes)


def test_the_trees_loss_is_largest_on_diabetes():
    for family in ("RandomForest", "HistGradientBoosting"):
        loss = {
            data: sum(
                row["before_robust"] - row["after_robust"]
                for row in ROWS
                if (row["family"], row["data"]) == (family, data)
            )
            for data in DATA
        }
        assert max(loss, key=loss.get) == "diabetes, above median"


def test_a_cell_is_measured_again_as_it_stands_there():
    cell = {"data": "iris", "family": "LogisticRegression", "split": 0}
    (there,) = (row for row in ROWS if cell.items() <= row.items())
    again = measure(**cell, n_rounds=3)
    for name in ("before_clean", "before_robust", "after_clean", "after_robust"):
        assert abs(again[name] - there[name]) <= 1 / there["n_test"] + 1e-9  # one sample may round
    assert again["mistakes"] == there["mistakes"]
