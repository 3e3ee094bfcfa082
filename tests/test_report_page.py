"""docs/report.md: its tables are the benchmarks' own, its verdicts are those of the figures."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks import attack_every, interpretability, report, why_cnn

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "report.md").read_text()
CELLS = report.read(RESULTS / "report")


def content(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def tables():
    yield "cnn", report.table(CELLS, "cnn")
    yield "fc", report.table(CELLS, "fc")
    yield "protocols", report.protocols_table(CELLS)
    boxes = []
    for path in sorted(RESULTS.glob("interpretability-*.json")):
        found = json.loads(path.read_text())
        if "accuracies" in found:
            boxes.append(found)
            continue
        yield f"{path.stem} measures", interpretability.table(found["rows"])
        yield f"{path.stem} claims", interpretability.claims_table(found["effects"])
        yield f"{path.stem} sanity", interpretability.sanity_table(found["sanity"])
        if "out_of_reach" in found:
            yield f"{path.stem} reach", interpretability.beyond_table(found["out_of_reach"])
    yield "box", interpretability.overview(boxes)
    yield "linear sweep", attack_every.linear_table(content("attack_every")["linear"])
    yield "network sweep", attack_every.network_table(content("attack_every")["rows"])
    yield "why", why_cnn.table(content("why_cnn")["rows"])


@pytest.mark.parametrize(("name", "expected"), list(tables()))
def test_the_page_shows_the_benchmarks_own_tables(name, expected):
    # The note below a table may be told in the page's own words.
    lines = [line for line in expected.splitlines() if line.startswith("|")]
    assert len(lines) > 2, name
    assert "\n".join(lines) in PAGE, name


def test_every_table_of_the_page_is_a_benchmarks_own_but_that_of_the_claims():
    found = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    own = "\n".join(expected for _, expected in tables())
    unknown = [text for text in found if text.strip() not in own]
    assert [text.splitlines()[0] for text in unknown] == ["| The report says | Here | Command |"]


def test_standard_networks_do_what_the_claims_say():
    for architecture, figures in report.PRINTED.items():
        standard = [r for r in CELLS if r["architecture"] == architecture and not r["epsilon"]]
        assert standard, architecture
        for cell in standard:
            assert abs(100 * cell["clean"] - figures[0.1][0][0]) <= 0.5
            for score in cell["scores"]:
                if score["epsilon"] == 0.3:
                    assert score["pgd"] < 0.01


def test_the_box_is_what_brings_standard_networks_near_the_reports_figures_at_a_tenth():
    for architecture, figures in report.PRINTED.items():
        (cell,) = [r for r in CELLS if r["architecture"] == architecture and not r["epsilon"]]
        found = {s["clip"]: 100 * s["pgd"] for s in cell["scores"] if s["epsilon"] == 0.1}
        theirs = figures[0.1][0][1]
        assert abs(found[True] - theirs) < abs(found[False] - theirs) / 5


def test_pictures_are_there():
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).stat().st_size > 10_000, target


def test_the_pictures_of_the_open_questions_are_drawn_from_their_results(tmp_path):
    every = content("attack_every")
    attack_every.draw(every["linear"], every["rows"], tmp_path / "every.png")
    why_cnn.draw(content("why_cnn")["rows"], tmp_path / "why.png")
    assert {p.name for p in tmp_path.iterdir()} == {"every.png", "why.png"}
