"""The table of what is known of each classifier: its rows hold together, and some are made anew."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils import all_estimators

from benchmarks import coverage
from benchmarks._classifiers import names

ROWS = json.loads(
    (Path(__file__).parents[1] / "benchmarks" / "results" / "coverage.json").read_text()
)["rows"]
GOOD = [row for row in ROWS if "kind" in row]
# Neighbours under a metric that is a function of Python.
BLACK_BOXES = {"KNeighborsClassifier with a function"}


def test_every_classifier_of_scikit_learn_has_its_row():
    measured = {(row["classifier"], row["front"]) for row in ROWS}
    known = {name for name, _ in all_estimators("classifier")}
    known -= {"ClassifierChain", "MultiOutputClassifier"}
    assert {(name, front) for name in known for front in ("bare", "scaled")} <= measured
    assert not [row for row in ROWS if "failed" in row]


def test_proofs_stay_below_attacks_and_attacks_below_random_points():
    for row in GOOD:
        certified = [0.0 if value is None else value for value in row["certified"]]
        attacked, sampled = np.array(row["attacked"]), np.array(row["sampled"])
        assert (certified <= attacked + 1e-9).all(), row
        assert (attacked <= row["clean"] + 1e-9).all(), row
        assert (np.array(certified) <= sampled + 1e-9).all(), row
        assert (np.diff(attacked) <= 1e-9).all(), row
        # An attack that sees formulas finds what random points do, but for a sample.
        assert (attacked <= sampled + 0.021).all(), row


def test_hardly_anything_is_a_black_box():
    black = {row["classifier"] for row in GOOD if row["kind"] == "black box"}
    assert black <= BLACK_BOXES


def test_most_are_decided():
    shares = {}
    for row in GOOD:
        shares.setdefault(row["classifier"], []).append(coverage.decided(row))
    assert sum(np.mean(share) >= 0.9 for share in shares.values()) >= 30


@pytest.mark.parametrize(
    ("name", "front"),
    [
        ("GaussianNB", "scaled"),
        ("OneVsRestClassifier", "bare"),
        ("VotingClassifier of labels", "scaled"),
        ("DummyClassifier", "bare"),
        ("CategoricalNB", "bare"),
        ("DecisionTreeClassifier", "bare"),
        ("FixedThresholdClassifier", "scaled"),
    ],
)
def test_a_row_made_anew_has_the_kind_that_the_table_says(name, front):
    assert name in names()
    known = next(
        row
        for row in ROWS
        if (row["data"], row["classifier"], row["front"]) == ("iris", name, front)
    )
    row = coverage.measured("iris", name, front, samples=12, seed=0)
    assert row["kind"] == known["kind"]
