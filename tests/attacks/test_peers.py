"""The standard combination against the attacks of other libraries, and the page that says so."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.attack_strength import (
    CASES,
    DEFAULT_ATTACKS,
    ahead,
    all_together,
    comparison,
    result_name,
    settings,
)
from sklearn_robust.attacks import ThreatModel, TorchModel, evaluate, get_attack, predictor

ROOT = Path(__file__).parents[2]


def by_torchattacks(module, X, y, norm, radius):
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.AutoAttack(module, {"linf": "Linf", "l2": "L2"}[norm], radius, seed=0)
    return attack(X, y).detach()


def by_foolbox(module, X, y, norm, radius):
    foolbox = pytest.importorskip("foolbox")
    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm](steps=100)
    bounded = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    with torch.random.fork_rng():  # it draws from the global generator
        torch.manual_seed(0)
        return attack.repeat(3)(bounded, X, y, epsilons=radius)[1].detach()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.1), ("l2", 0.6)])
@pytest.mark.parametrize("peer", [by_torchattacks, by_foolbox])
def test_strong_leaves_no_more_standing_than_peers(peer, robust_fc, samples, norm, radius):
    X, y = samples[0][:100], samples[1][:100]
    model = TorchModel(robust_fc.module_, 10)
    predict = predictor(model)
    threat = ThreatModel(radius, norm, (0, 1))
    ours = evaluate(model, X, y, threat, get_attack("strong"), predict).robust
    # A copy: foolbox leaves gradients on the parameters, and other tests share the network.
    images = nn.Sequential(nn.Flatten(), copy.deepcopy(model.module)).eval()
    found = peer(images, torch.as_tensor(X).reshape(-1, 1, 8, 8), torch.as_tensor(y), norm, radius)
    found = found.flatten(1).numpy()
    # Points a millionth of the radius too far are their rounding, others would be a defect.
    assert threat.scaled(1 + 1e-6).contains(found, X).all()
    theirs = (predict(X) == y) & (predict(found) == y)
    assert ours.sum() <= theirs.sum()
    assert np.mean(ours) < np.mean(predict(X) == y)


@pytest.fixture(scope="module")
def published():
    result = ROOT / "benchmarks" / "results" / result_name(seed=3, samples=1000)
    return json.loads(result.read_text())["rows"]


def test_the_page_on_evaluation_shows_the_benchmarks_own_table(published):
    page = (ROOT / "docs" / "evaluation.md").read_text()
    assert comparison(published) in page
    found = {(row["case"], row["attack"]): row["seconds"] for row in published}
    *first, last = (
        " of ".join(
            f"{found[case.name, name]:.0f}" for name in ("ours: strong", "torchattacks: AutoAttack")
        )
        for case in CASES
    )
    assert f"it took {', '.join(first)} and {last} seconds" in " ".join(page.split())


def test_what_the_page_says_of_the_table_is_so(published):
    """Complete, made by the attacks as they are, level with the peers, and at half their cost."""
    for case in CASES:
        rows = {row["attack"]: row for row in published if row["case"] == case.name}
        assert set(DEFAULT_ATTACKS) <= set(rows)
        assert all(row["settings"] == settings(name) for name, row in rows.items())
        assert not any(row["outside"] for row in rows.values())
        strong = rows["ours: strong"]
        for name in set(rows) - {"ours: pgd", "ours: auto", "ours: strong"}:
            assert ahead(strong, rows[name]) <= 0.3, name
        assert rows["torchattacks: AutoAttack"]["cpu_seconds"] > 2 * strong["cpu_seconds"]


def test_differences_are_taken_on_the_samples_of_both():
    one, other = ({"standing": mask} for mask in ("110011", "0101"))
    # Of the first four, two stand against each.
    assert ahead(one, other) == 0.0
    assert ahead({"standing": "1111"}, other) == 50.0
    np.testing.assert_array_equal(all_together([one, other]), [0, 1, 0, 0, 1, 1])
