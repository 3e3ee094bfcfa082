"""README, the pages of docs and the gallery: code runs as pasted, tables are the benchmarks'.

The gallery itself runs when the pages are built, which fails if an example does.
"""

import importlib
import json
import re
import sys
from itertools import zip_longest
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sklearn_robust
from sklearn_robust import _norms
from sklearn_robust.neural_network import _target as _target  # which all add families, and
from sklearn_robust.targets import _make as _make, _registry  # would do so in a block for once

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _docs_module(name):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


BLOCK = _docs_module("_outputs").BLOCK
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
GALLERY = sorted((ROOT / "docs" / "gallery").glob("plot_*.py"))
BLOCKS = [
    pytest.param(page, *match.groups(), id=f"{page.stem}-{number}")
    for page in PAGES
    if page.stem != "extending"
    for number, match in enumerate(BLOCK.finditer(page.read_text()), 1)
]


def test_code_of_extending_runs_in_its_order(tmp_path, monkeypatch):
    page = ROOT / "docs" / "extending.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    norms = dict(_norms.NORMS)
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))
    names = {"__name__": "__main__"}
    try:
        for code, _ in BLOCK.findall(page.read_text()):
            exec(compile(code, page.name, "exec"), names)
    finally:
        plt.close("all")
        _norms.NORMS.clear()
        _norms.NORMS.update(norms)


@pytest.mark.parametrize(("page", "code", "printed"), BLOCKS)
def test_code_runs_alone_and_prints_what_the_page_shows(
    page, code, printed, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    # A page that adds a norm or a family must not add it to the tests that come after.
    norms = dict(_norms.NORMS)
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))
    try:
        exec(compile(code, page.name, "exec"), {"__name__": "__main__"})
    finally:
        plt.close("all")
        _norms.NORMS.clear()
        _norms.NORMS.update(norms)
    found = capsys.readouterr().out
    if printed is None:
        # What these two print is of the machine on which they run.
        assert page.stem in ("contributing", "install") or not found.strip(), found
    else:
        # Another processor rounds sums otherwise, which training amplifies: of a trained network
        # what is printed is held, and not the figures.
        trains = re.search(r"torch|Robust\w+Classifier|MLPClassifier|make_recipe", code)
        assert_same_text(found, printed, None if trains else 1e-6)


def assert_same_text(found, expected, tolerance):
    """Compare words as they are, and numbers up to a tolerance, or not at all if that is None."""
    ours, theirs = (NUMBER.split(" ".join(text.split())) for text in (found, expected))
    assert [" ".join(w.split()) for w in ours[::2]] == [" ".join(w.split()) for w in theirs[::2]]
    for a, b in zip(ours[1::2], theirs[1::2], strict=True):
        assert tolerance is None or float(a) == pytest.approx(
            float(b), rel=tolerance, abs=tolerance
        ), found


def test_a_wrong_output_is_noticed():
    assert_same_text("robust  0.91 of 3\n", "robust 0.93 of 3", 0.03)
    for wrong in ("robust 0.97 of 3", "fragile 0.91 of 3", "robust 0.91 of 3 4"):
        with pytest.raises(AssertionError):
            assert_same_text(wrong, "robust 0.91 of 3", 0.03)


def _columns(text):
    return [line.count("|") - 1 for line in text.splitlines() if RULE.match(line)]


def _narrowest(text):
    """Return the characters beside one another in each table whose cells wrap between words.

    Addresses of links are not shown, and code wraps anywhere.
    """
    shown = re.sub(r"`[^`|]*`|\]\([^)]*\)", "", text)
    for table in re.findall(r"(?:^\|.*\n?)+", shown, re.MULTILINE):
        rows = [line.strip("|").split("|") for line in table.splitlines() if not RULE.match(line)]
        columns = zip_longest(*rows, fillvalue="")
        yield sum(
            max(len(word) for cell in cells for word in [*cell.split(), ""]) for cells in columns
        )


RULE = re.compile(r"^\|[-| :]+\|$")
# (712 px of the page - 16 px of padding for each of 7 columns) / 7 px a character.
WIDEST = 85


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_fit_the_page(page):
    text = page.read_text()
    assert max(_columns(text), default=0) <= 7
    assert max(_narrowest(text), default=0) <= WIDEST


EVIDENCE = (
    *("evaluation", "certificates", "training", "performance", "study", "results", "evidence"),
    *("report", "report_gradients", "report_questions", "threshold_law", "threshold_measured"),
)


def test_evidence_is_short():
    pages = [(ROOT / "docs" / f"{name}.md").read_text() for name in EVIDENCE]
    assert max(len(text.splitlines()) for text in pages) <= 150
    assert sum(len(text.split()) for text in pages) <= 12_000


GUIDANCE = (
    *("index", "start", "install", "why", "tour", "guide", "pipelines", "own_networks", "trees"),
    *("recipes", "adversarial_training", "choosing_epsilon", "publishing", "certify", "gradients"),
    *("scaling", "persistence"),
)


def test_guidance_is_short():
    pages = [(ROOT / "docs" / f"{name}.md").read_text() for name in GUIDANCE]
    # Without code, what it prints, and lists of pages.
    assert sum(len(re.sub(r"```.*?```", "", text, flags=re.S).split()) for text in pages) <= 8_000


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
        text = table()
        header, rule = [line for line in text.splitlines() if line.startswith("|")][:2]
        assert set(rule) == {"|", "-"}, table.__name__
        assert header.count("|") == rule.count("|")
        assert max(_columns(text)) <= 7, table.__name__
        assert max(_narrowest(text)) <= WIDEST, table.__name__


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        example = re.fullmatch(
            r"auto_examples/(?:images/sphx_glr_)?(plot_.+?)(?:_\d{3}\.png)?", target
        )
        if example:  # made when the pages are built
            assert (ROOT / "docs" / "gallery" / f"{example[1]}.py").exists(), target
        elif not target.startswith(("http:", "https:", "mailto:", "auto_examples/", "generated/")):
            assert (page.parent / target).exists(), target


def test_readme_shows_the_benchmarks_own_tables():
    pytest.importorskip("torch")
    from benchmarks import _training_tables, quick

    content = json.loads((RESULTS / "quick.json").read_text())
    made = quick.table(content["rows"]).splitlines()[:-1]
    assert len(made) == 8
    assert "\n".join(made) in README
    assert _training_tables.recipes(RESULTS) in README
    seconds = sum(row["training_seconds"] + row["evaluation_seconds"] for row in content["rows"])
    assert f"about {seconds / 60:.0f} minutes on {COUNTS[content['cores']]} cores" in README


COUNTS = {1: "one", 2: "two", 4: "four"}


def test_readme_can_be_read_in_a_few_minutes():
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("name", ["recipes", "training_ramp"])
def test_training_page_shows_the_benchmarks_own_tables(name):
    pytest.importorskip("torch")
    if name == "recipes":
        expected = importlib.import_module("benchmarks._training_tables").recipes(RESULTS)
    else:
        benchmark = importlib.import_module(f"benchmarks.{name}")
        expected = benchmark.table(json.loads((RESULTS / f"{name}.json").read_text())["rows"])
    assert len(expected.splitlines()) > 3
    assert expected in (ROOT / "docs" / "training.md").read_text()


def test_speed_page_says_how_much_longer_veritas_takes():
    lines = [part["line"] for part in json.loads((RESULTS / "trees.json").read_text())["summary"]]
    two, more = (re.search(r"Veritas takes (\S+) times", line)[1] for line in lines[1:])
    page = " ".join((ROOT / "docs" / "performance.md").read_text().split())
    assert f"it takes {two} times as long with two classes and {more} times with more:" in page


@pytest.mark.parametrize("name", ["training_speed", "training_speed_cuda"])
def test_speed_page_shows_the_benchmarks_own_ratios(name):
    pytest.importorskip("torch")
    from benchmarks import training_speed

    expected = training_speed.summary(json.loads((RESULTS / f"{name}.json").read_text())["rows"])
    assert len(expected.splitlines()) > 5
    assert expected in (ROOT / "docs" / "performance.md").read_text()
