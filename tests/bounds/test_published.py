"""The published certificates: in order, complete, and the page's own."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.certificates import CASES, METHODS, table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def rows():
    return json.loads((ROOT / "benchmarks" / "results" / "certificates.json").read_text())["rows"]


def test_every_network_and_radius_is_there_and_in_order(rows):
    expected = [(name, *radius) for name, case in CASES.items() for radius in case.radii]
    assert [(row["network"], row["norm"], row["epsilon"]) for row in rows] == expected
    for row in rows:
        certified = [row[method]["certified"] for method in METHODS]
        assert certified == sorted(certified)
        assert 0 <= certified[-1] <= row["pgd"] <= row["clean"] <= row["n"]


def test_linear_bounds_certify_what_was_trained_against_pgd_and_intervals_do_not(rows):
    """At the smallest radius; the network trained on intervals is certified by both alike."""
    for name, case in CASES.items():
        found = [row for row in rows if row["network"] == name and row["norm"] == "linf"]
        if case.radii[0][1] < 0.1:
            first = min(found, key=lambda row: row["epsilon"])
            assert first["ibp"]["certified"] == 0
            assert first["crown"]["certified"] > 0.7 * first["n"]
        else:
            for row in found:
                # One sample more than intervals at most, on a hundred.
                assert row["alpha-crown"]["certified"] - row["ibp"]["certified"] in (0, 1)
                assert row["ibp"]["certified"] > 0.7 * row["n"]
            assert all(b["pgd"] <= a["pgd"] for a, b in pairwise(found))


def test_the_page_on_evaluation_shows_the_table(rows):
    assert table(rows) in (ROOT / "docs" / "certificates.md").read_text()
