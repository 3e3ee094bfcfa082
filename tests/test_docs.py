"""README, the pages of docs and the gallery: code runs as pasted, tables are the benchmarks'.

The gallery itself runs when the pages are built, which fails if an example does.
"""

import importlib
import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sklearn_robust
from sklearn_robust import _norms
from sklearn_robust.targets import _registry

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
GALLERY = sorted((ROOT / "docs" / "gallery").glob("plot_*.py"))
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_code_runs_as_pasted(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    # A page that adds a norm or a family must not add it to the tests that come after.
    norms = dict(_norms.NORMS)
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))
    names = {"__name__": "__main__"}
    try:
        for block in BLOCK.findall(page.read_text()):
            exec(compile(block, page.name, "exec"), names)
    finally:
        plt.close("all")
        _norms.NORMS.clear()
        _norms.NORMS.update(norms)


def test_gallery_is_worth_its_page():
    assert len(GALLERY) >= 8
    for script in GALLERY:
        title, rule = script.read_text().splitlines()[1:3]
        assert rule == "=" * len(title), script.name


def test_every_included_table_is_made_from_the_results():
    tables = _docs_module("_tables").TABLES
    made = {f"generated/tables/{table.__name__}.md" for table in tables}
    included = set()
    for page in PAGES:
        included.update(re.findall(r"\{include\} (generated/\S+)", page.read_text()))
    assert included == made
    for table in tables:
        header, rule = [line for line in table().splitlines() if line.startswith("|")][:2]
        assert set(rule) == {"|", "-"}, table.__name__
        assert header.count("|") == rule.count("|")


def test_api_page_names_everything_public():
    page = _docs_module("_api").page(sklearn_robust)
    for name in sklearn_robust._SUBPACKAGES:
        module = getattr(sklearn_robust, name)
        assert module.__name__ in page
        for public in module.__all__:
            assert f"\n   {public}\n" in page
    for public in sklearn_robust.__all__:
        assert public == "__version__" or f"\n   {public}\n" in page


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\frac12 x", "<mfrac><mn>1</mn><mn>2</mn></mfrac><mi>x</mi>"),
        (r"\frac{a}2", "<mfrac><mi>a</mi><mn>2</mn></mfrac>"),
        (r"\tfrac1n", '<mfracdisplaystyle="false"scriptlevel="0"><mn>1</mn><mi>n</mi></mfrac>'),
        (r"\|w\|", '<mostretchy="false">‖</mo><mi>w</mi><mostretchy="false">‖</mo>'),
        (r"\dots", "<mi>…</mi>"),
    ],
)
def test_formulas_become_mathml(tex, expected):
    pytest.importorskip("sphinx", reason="needs the docs extra")
    from docutils import nodes

    mathml = _docs_module("_mathml").to_mathml(nodes.math("", tex), as_block=False)
    assert expected in re.sub(r"\s", "", mathml)


def _docs_module(name):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_readme_shows_the_main_jobs_own_table():
    from benchmarks.quick import table

    result = json.loads((ROOT / "benchmarks" / "results" / "quick.json").read_text())
    made = table(result["rows"]).splitlines()
    assert len(made) == 9
    assert made[:8] == _table_after("Robust accuracy", "README.md", 8)


@pytest.mark.parametrize(
    "name",
    ["training", "training_ramp", "training_speed", "training_speed_cuda", "training_numerics"],
)
def test_training_page_shows_the_benchmarks_own_tables(name):
    pytest.importorskip("torch")
    benchmark = importlib.import_module(f"benchmarks.{name.removesuffix('_cuda')}")
    results = ROOT / "benchmarks" / "results"
    if name == "training":
        expected = benchmark.summary(results)
    else:
        expected = benchmark.table(json.loads((results / f"{name}.json").read_text())["rows"])
    assert len(expected.splitlines()) > 3
    assert expected in (ROOT / "docs" / "training.md").read_text()


def _table_after(heading, page, n_lines=6):
    text = (ROOT / page).read_text()
    lines = text[text.index(f"## {heading}") :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    return lines[start : start + n_lines]
