"""docs/report*.md: tables are the benchmarks' own, verdicts are those of the figures."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from benchmarks import _gradient_tables, attack_every, report, why_cnn

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ("report", "report_gradients", "report_questions")
PAGE = "\n".join((ROOT / "docs" / f"{name}.md").read_text() for name in PAGES)
TEXT = " ".join(PAGE.split())  # without its lines
CELLS = report.read(RESULTS / "report")


def content(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


NETWORKS = ("cnn", "fc")


def figures(architecture, clip, *, robust=True):
    """Return per cent under PGD-100 and under the ensemble, by radius, of the nearest protocol."""
    found = {}
    for cell in CELLS:
        nearest = architecture == "cnn" or cell["protocol"] in (*report.FULL, "standard")
        if (cell["architecture"], cell["epsilon"] > 0) == (architecture, robust) and nearest:
            for score in cell["scores"]:
                if cell["n_train"] == 60_000 and score["clip"] == clip:
                    found[score["epsilon"]] = 100 * score["pgd"], 100 * score["strong"]
    assert sorted(found) == [0.1, 0.2, 0.3]
    return found


def measured():
    """Return the measures of gradients of the networks whose accuracies are known."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("interpretability-*.json")]
    return [content for content in found if "accuracies" in content]


def tables():
    yield "headline", report.headline(CELLS)
    on_all = [content for content in measured() if content["n_train"] == 60_000]
    yield "overview", _gradient_tables.overview(on_all)


@pytest.mark.parametrize(("name", "expected"), list(tables()))
def test_the_page_shows_the_benchmarks_own_tables(name, expected):
    assert len(expected.splitlines()) > 10, name
    assert expected in PAGE, name


def test_every_table_of_the_page_is_a_benchmarks_own_but_that_of_the_claims():
    found = re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
    own = "\n".join(expected for _, expected in tables())
    unknown = [text for text in found if text.strip() not in own]
    assert [text.splitlines()[0] for text in unknown] == ["| Collins et al. say | Here | Command |"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("65.2 and 11.5 in [0, 1];", [figures(n, True, robust=False)[0.1][0] for n in NETWORKS]),
        ("8.4 and 0.4 not clipped", [figures(n, False, robust=False)[0.1][0] for n in NETWORKS]),
        ("96.3, 95.0 and 92.5 %;", [pgd for pgd, _ in figures("cnn", False).values()]),
        ("in [0, 1] 97.0, 94.0 and 92.8 %", [pgd for pgd, _ in figures("cnn", True).values()]),
        ("leaves 90.8 and 87.5 % (400", [figures("cnn", c)[0.3][1] for c in (False, True)]),
        ("one seed: 89.0 and 80.9 %", [figures("fc", False)[e][0] for e in (0.1, 0.2)]),
        ("in [0, 1] 91.8 and 81.7 %", [figures("fc", True)[e][0] for e in (0.1, 0.2)]),
        ("63 and 62 % under the same PGD", [figures("fc", c)[0.3][0] for c in (False, True)]),
        ("49 and 46 % under the ensemble", [figures("fc", c)[0.3][1] for c in (False, True)]),
    ],
)
def test_the_claims_are_those_of_the_figures(words, found):
    assert words in TEXT
    told = re.findall(r"\d+(?:\.\d)?(?= and| %|,(?! 1\])| in| not)", words)
    assert len(told) == len(found)
    for figure, value in zip(told, found, strict=True):
        # Half of the last digit, and what a half itself is rounded to.
        assert abs(float(figure) - value) <= 0.5 * 10.0 ** -("." in figure) + 1e-6


def test_what_the_reduced_protocol_loses_is_what_the_page_says():
    strong = {
        (r["architecture"], r["epsilon"], r["clip"], r["protocol"], r["seed"]): r["scores"][0]
        for r in CELLS
        if r["n_train"] == 60_000 and r["epsilon"]
    }

    def lost(key, epsilon, clip=False):
        full = strong["fc", epsilon, clip, "full-bfloat16", 0][key]
        return [
            100 * (full - score[key])
            for kind, score in strong.items()
            if kind[:4] == ("fc", epsilon, clip, "reduced-bfloat16")
        ]

    for epsilon, clip in ((0.1, True), (0.2, True), (0.3, True)):
        assert max(map(abs, lost("pgd", epsilon, clip))) < 1
    assert [round(v) for v in (min(lost("pgd", 0.2)), max(lost("pgd", 0.3)))] == [2, 3]
    assert [round(v) for v in lost("strong", 0.2)] == [5, 5]
    assert [round(v) for v in (min(lost("strong", 0.3)), max(lost("strong", 0.3)))] == [4, 12]


def test_the_answer_about_cnns_is_that_of_the_figures():
    rows = {
        (r["data"], r["network"], r["epsilon"]): 100 * r["robust"]
        for r in why_cnn.summary(content("why_cnn")["rows"])
    }
    robust = {name: value for (data, name, e), value in rows.items() if (data, e) == ("MNIST", 0.3)}
    plain = [robust[name] for name in ("FC 2 x 128", "FC 2 x 512", "FC 5 x 128")]
    assert f"keeps {min(plain):.0f} to {max(plain):.0f} %" in TEXT
    said = f"lifts it to {robust['FC, one learnable ramp']:.0f} %, past the plain CNN's "
    assert f"{said}{robust['CNN']:.0f} %" in TEXT
    assert f"reach {robust['FC, 8 units a pixel']:.0f} %" in TEXT
    unshared, biasless = robust["CNN, layer 1 unshared"], robust["CNN, no biases in layer 1"]
    assert f"as without biases there ({unshared:.0f} and {biasless:.0f} %)" in TEXT
    assert f"falls to {biasless:.0f} %" in TEXT
    assert f"a ramp lifts the CNN to {robust['CNN, one learnable ramp']:.0f} %" in TEXT


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


def test_the_verdicts_on_gradients_are_those_of_the_figures():
    results = [content(f"interpretability-reduced-{k}MNIST-n4000") for k in ("", "clipped-")]
    mean, anew = {}, {1: [], 2: [], 3: [], 4: []}
    for found in results:
        for row in found["rows"]:
            mean[found["clip"], row["model"], row["epsilon"], row["measure"]] = row["mean"]
        for row in found["sanity"]:
            if row["model"] == "cnn":
                anew[row["layers_drawn_anew"]].append(row["rank_correlation"])
    cnn = {
        measure: [mean[clip, "cnn", e, measure] for clip in ("free", "clipped") for e in (0.1, 0.2)]
        for measure in ("gini", "cosine", "ink")
    }
    low, high, plain = (
        100 * v for v in (min(cnn["ink"]), max(cnn["ink"]), mean["free", "cnn", 0.0, "ink"])
    )
    assert (
        f"{low:.0f} to {high:.0f} % on or beside strokes against {plain:.0f} for a standard" in TEXT
    )
    assert 0.38 < min(cnn["cosine"]) < max(cnn["cosine"]) < 0.46
    assert mean["free", "cnn", 0.0, "cosine"] == pytest.approx(0.23, abs=0.005)
    for clip in ("free", "clipped"):
        for measure, values in cnn.items():
            assert mean[clip, "cnn", 0.3, measure] < min(values), measure
            for e in (0.1, 0.2):
                fc = mean[clip, "fc", e, measure]
                assert mean[clip, "cnn", e, measure] > fc > mean[clip, "fc", 0.0, measure]
    assert mean["clipped", "fc", 0.3, "gini"] < mean["clipped", "fc", 0.0, "gini"]
    assert mean["clipped", "fc", 0.3, "ink"] < mean["clipped", "fc", 0.0, "ink"]
    kept, none = (f"{min(anew[n]):.2f} to {max(anew[n]):.2f}" for n in (3, 4))
    said = f"keep a rank correlation of {kept}; with that one too, {none}:"
    assert said in TEXT


def test_the_verdict_on_the_reports_own_setting_is_that_of_the_figures():
    found = content("interpretability-reduced-bfloat16-cnn-MNIST")
    assert found["clip"] == "free"
    assert found["n_train"] == 60000
    mean = {(r["epsilon"], r["measure"]): r["mean"] for r in found["rows"] if r["model"] == "cnn"}
    for epsilon, ink, gini, cosine in ((0.0, 0.44, 0.55, 0.20), (0.3, 0.99, 0.94, 0.05)):
        assert mean[epsilon, "ink"] == pytest.approx(ink, abs=0.005)
        assert mean[epsilon, "gini"] == pytest.approx(gini, abs=0.005)
        assert mean[epsilon, "cosine"] == pytest.approx(cosine, abs=0.005)
    ink = {row["layers_drawn_anew"]: row["ink"] for row in found["sanity"] if row["epsilon"] == 0.3}
    assert ink[3] > 0.98 > 0.4 > ink[4]


def test_robust_networks_are_as_near_the_reports_figures_as_the_page_says():
    near = {"cnn": 1.5, "fc": 3}
    seen = []
    for cell in CELLS:
        if not cell["epsilon"] or cell["n_train"] != 60000:
            continue
        theirs = report.PRINTED[cell["architecture"]][cell["epsilon"]][1]
        ours = 100 * cell["clean"], 100 * cell["scores"][0]["pgd"]
        away = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        if cell["architecture"] == "cnn" or cell["protocol"] in report.FULL:
            seen.append((cell["architecture"], cell["epsilon"], cell["clip"]))
            # Not so the FC at 0.3, of which the page says so.
            assert (away <= near[cell["architecture"]]) == (seen[-1][:2] != ("fc", 0.3)), cell
    kinds = [(e, clip) for e in (0.1, 0.2, 0.3) for clip in (False, True)]
    assert sorted(seen) == sorted((name, *kind) for name in ("cnn", "fc") for kind in kinds)


def test_the_box_is_what_brings_clean_accuracies_near_the_reports():
    clean = {
        (r["architecture"], r["epsilon"], r["clip"]): 100 * r["clean"]
        for r in CELLS
        if r["n_train"] == 60000 and (r["architecture"] == "cnn" or r["protocol"] in report.FULL)
    }
    for name, figures in report.PRINTED.items():
        for epsilon, (_, (theirs, _)) in figures.items():
            away = {clip: abs(clean[name, epsilon, clip] - theirs) for clip in (False, True)}
            if (name, epsilon) != ("fc", 0.1):  # 98.80 and 98.93 against 98.7: within noise
                assert away[True] < away[False], (name, epsilon)
            assert away[True] <= 0.25, (name, epsilon)
