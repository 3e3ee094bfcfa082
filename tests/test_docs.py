"""README and the pages of docs: their code runs as pasted, their tables are the benchmarks'."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_code_runs_as_pasted(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {"__name__": "__main__"}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


def test_readme_shows_the_main_jobs_own_table():
    from benchmarks.quick import table

    result = json.loads((ROOT / "benchmarks" / "results" / "quick.json").read_text())
    assert table(result["rows"]).splitlines()[:6] == _table_after("Robust accuracy", "README.md")


def _table_after(heading, page):
    text = (ROOT / page).read_text()
    lines = text[text.index(f"## {heading}") :].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    return lines[start : start + 6]
