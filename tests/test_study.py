"""The page of the study shows the study's own table."""

import json
from pathlib import Path

from benchmarks.study import table

ROOT = Path(__file__).parents[1]


def test_the_page_shows_the_studys_own_table():
    rows = json.loads((ROOT / "benchmarks" / "results" / "study.json").read_text())["rows"]
    assert table(rows) in (ROOT / "docs" / "study.md").read_text()
    assert len(rows) == 6
