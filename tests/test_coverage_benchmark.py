"""The table of what is known of each classifier: its rows hold together, and some are made anew."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

from benchmarks import _coverage_references as references, coverage
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


def test_proofs_stay_below_attacks_and_below_what_any_other_way_leaves():
    for row in GOOD:
        certified = np.array([0.0 if value is None else value for value in row["certified"]])
        attacked = np.array(row["attacked"])
        assert (certified <= attacked + 1e-9).all(), row
        assert (attacked <= row["clean"] + 1e-9).all(), row
        assert (np.diff(attacked) <= 1e-9).all(), row
        for reference in ("sampled", "copied"):
            assert (certified <= np.array(row.get(reference, np.inf)) + 1e-9).all(), row
        if "two_columns" in row:
            two = row["two_columns"]
            assert (two["certified"] or 0.0) <= two["grid"] + 1e-9, row
        if "veritas" in row:
            assert row["veritas"]["disagree"] == 0, row


def test_attacks_find_what_other_ways_do_but_for_a_point():
    above = {row["classifier"]: coverage.above(row) for row in GOOD}
    assert {name for name, gap in above.items() if gap > coverage.MOST_ABOVE + 1e-9} == set()


def test_goals_name_what_misses_them():
    rows = [
        {"data": "iris", "classifier": "fine", "front": "bare", "kind": "exact", "seconds": 1.0,
         "clean": 1.0, "attacked": [0.9] * 3, "certified": [0.9] * 3, "sampled": [0.9] * 3},
        {"data": "iris", "classifier": "poor", "front": "bare", "kind": "black box", "seconds": 7.0,
         "clean": 1.0, "attacked": [0.9] * 3, "certified": [None] * 3, "sampled": [0.85] * 3,
         "two_columns": {"attacked": 0.9, "certified": None, "grid": 0.7}},
        {"data": "iris", "classifier": "broken", "front": "bare", "failed": "ValueError: why"},
    ]  # fmt: skip
    decided, above, slow, unproven, black, failed = coverage.goals(rows)
    assert "1 of 2 classifiers" in decided
    assert "`poor` 10%" in decided
    assert above.endswith("`poor` 20.0.")
    assert slow.endswith("`poor` 7.0 s.")
    assert unproven.endswith("`poor` 90%.")
    assert black == "A black box: `poor`."
    assert failed == "Failed: broken."


def test_references_are_what_a_threshold_of_two_columns_says():
    """A rule on the first column: lost are those within the radius of the threshold."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(40, 3))
    y = (X[:, 0] > 0).astype(int)
    clf = LogisticRegression(C=1e6).fit(X, y)
    edge = -(X[:, 1:] @ clf.coef_[0, 1:] + clf.intercept_[0]) / clf.coef_[0, 0]
    epsilon = np.array([0.3, 0.0, 0.0])
    truth = ((abs(X[:, 0] - edge) > 0.3) & (clf.predict(X) == y)).mean()
    found = references.on_a_grid(clf, clf.predict, X, y, epsilon)
    assert found["attacked"] == found["certified"] == pytest.approx(truth)
    assert found["grid"] == pytest.approx(truth)
    for points in (references.random_points(X, epsilon, 20, 0), references.copies(X, X, epsilon)):
        assert references.surviving(clf.predict, y, points) == pytest.approx(truth)


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
