"""Figures in the sentences of the pages are those of the results that the sentences are about."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import minmax_scale

from sklearn_robust import load_mnist
from sklearn_robust.attacks import ThreatModel

ROOT = Path(__file__).parents[1]


def page(name):
    return " ".join((ROOT / "docs" / f"{name}.md").read_text().split())


def content(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def deviations(cells):
    """Return by how many per cent each measured threshold is away from the law."""
    return [100 * (cell["measured"] / cell["predicted"] - 1) for cell in cells]


def largest(cells):
    return max(map(abs, deviations(cells)))


def test_deviations_from_the_threshold_law():
    text, results = page("threshold_measured"), content("threshold")
    exact, mixed = ([cell[kind] for cell in results["grid"]] for kind in ("exact", "mixed"))
    assert f"deviates from the law by {largest(exact):.1f} % at most" in text
    *others, worst = sorted(mixed, key=lambda cell: largest([cell]))
    said = f"within {largest(others):.1f} % in all cells but one ({largest([worst]):.1f} %, at $d"
    assert f"{said} = 50$" in text
    (cell,) = [c for c in results["grid"] if c["mixed"] is worst]
    assert (cell["n_features"], cell["epsilon"]) == (50, 0.1)
    assert round(100 * worst["standard_error"] / worst["predicted"]) == 4
    within = [abs(c["measured"] - c["predicted"]) <= 2 * c["standard_error"] for c in exact]
    assert np.mean(within) > 0.5  # "mostly within two standard errors"


def test_what_finite_samples_and_adam_do_to_the_threshold():
    text, results = page("threshold_measured"), content("threshold")
    (least,) = [c for c in results["sample_size"] if (c["n_samples"], c["epsilon"]) == (1000, 0.1)]
    assert "1000 samples one feature in six is on the wrong side" in text
    assert 1 / least["misplaced"] == pytest.approx(6, abs=0.5)
    long = {c["epsilon"]: largest([c]) for c in results["adam"] if c["iterations"] == 1000}
    rest = max(value for epsilon, value in long.items() if epsilon > 0.1)
    assert f"within {long[0.1]:.0f} % at 0.1 and {rest:.0f} % above" in text
    losses = [c for c in results["losses"] if c["epsilon"] > 0 and c["loss"] != "squared"]
    assert f"the largest deviation, {largest(losses):.1f} %, is one of $\\epsilon = 0.1$" in text
    assert max(losses, key=lambda c: largest([c]))["epsilon"] == 0.1


def test_what_the_exact_solver_misses():
    text, summary = page("performance"), content("solver")["summary"]
    assert f"the worst problem takes {summary['1e-06']['worst']:.1f} times as long" in text
    assert f"50 radii takes {summary['path_worst']:.0f} single fits at worst" in text
    least = summary["conic_times_slower"]["least"]
    assert f"the conic solver takes {least:.0f} times as long, not 100" in text


def test_what_the_study_says_of_radii_and_digits():
    rows, scored_at = content("study")["rows"], content("study")["target"]
    larger = sum(row["picked"] > scored_at for row in rows)
    assert (larger, len(rows)) == (3, 6)
    assert "on half of the six cases" in page("choosing_epsilon")
    (net,) = [r for r in rows if r["data"].startswith("digits") and r["model"].startswith("Robust")]
    assert "doubles what the network keeps under attack" in page("study")
    trained, scored = content("study")["trained"], content("study")["scored"]
    at = scored.index(scored_at)
    before, after = (net["held_out"][trained.index(e)][at] for e in (0, net["picked"]))
    assert after / before == pytest.approx(2, abs=0.1)


def measures(name):
    found = content(f"interpretability-{name}")
    return {
        (row["model"], row["epsilon"], row["measure"]): (row["mean"], row["shuffled"])
        for row in found["rows"]
    }


def test_what_is_said_of_the_gradients_of_single_networks():
    text = page("report_gradients")
    free = measures("reduced-bfloat16-cnn-MNIST")

    def of(epsilon, measure):
        return free["cnn", epsilon, measure][0]

    counts = [f"{of(e, 'complexity'):.0f}" for e in (0.3, 0.0)]
    assert "at 0.3 {} pixels count (standard CNN: {})".format(*counts) in text
    near = [f"{of(e, 'cosine'):.2f}" for e in (0.1, 0.0, 0.2, 0.3)]
    assert "(cosine {}, standard {}). At 0.2 and 0.3 it falls to {} and {}".format(*near) in text
    anew = {
        (row["epsilon"], row["layers_drawn_anew"]): row["ink"]
        for row in content("interpretability-reduced-bfloat16-cnn-MNIST")["sanity"]
    }
    kept = [f"{100 * anew[e, 3]:.0f}" for e in (0.2, 0.3)]
    assert "at 0.2 and 0.3 {} and {} % of the gradient stay".format(*kept) in text
    assert f"and {anew[0.3, 4]:.2f} with that one too" in text
    small = measures("reduced-MNIST-n4000")
    for model in ("fc", "cnn"):
        mean, shuffled = small[model, 0.1, "ink"]
        assert f"({shuffled:.2f} for {mean:.2f}" in text


def test_what_is_said_of_gradients_behind_a_ramp():
    found = measures("recipes-cnn-MNIST")
    cosines = [
        mean
        for (model, _, measure), (mean, _) in found.items()
        if measure == "cosine" and "cnn" in model
    ]
    (chance,) = {
        row["random"]
        for row in content("interpretability-recipes-cnn-MNIST")["rows"]
        if (row["model"], row["epsilon"], row["measure"]) == ("cnn", 0.0, "cosine")
    }
    said = f"(cosines of {min(cosines):.2f} to {max(cosines):.2f} against {chance:.2f})"
    assert len(cosines) == 3
    assert said in page("report_gradients")


def test_what_a_ramp_leaves_of_the_adversarys_influence(monkeypatch):
    pytest.importorskip("torch")
    from sklearn_robust.neural_network import _ramp_choice

    kept, measure = [], _ramp_choice.influence_kept

    def influence_kept(*args):
        kept.append(measure(*args))
        return kept[-1]

    monkeypatch.setattr(_ramp_choice, "influence_kept", influence_kept)
    data = (
        (load_mnist("5k")[0], 0.3),
        (load_digits().data / 16, 0.2),
        (minmax_scale(load_breast_cancer().data), 0.1),
    )
    for X, epsilon in data:
        _ramp_choice.choose_ramp(ThreatModel(epsilon, "linf", (0, 1)), X)
    mnist, digits, tumours = (f"{share:.2f}".lstrip("0") for share in kept)
    assert (
        f"MNIST at 0.3 {mnist}, scikit-learn's digits at 0.2 {digits}, measurements of tumours at "
        f"0.1 {tumours}." in page("recipes")
    )
