"""The standard combination against the attacks of other libraries, and the page that says so."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.attack_strength import result_name, summary, table
from sklearn_robust.attacks import ThreatModel, as_model, evaluate, get_attack, predictor

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
    model = as_model(robust_fc)
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
    # The goal is 0.3 points, less than one sample of a hundred.
    assert ours.sum() <= theirs.sum()
    assert np.mean(ours) < np.mean(predict(X) == y)


def test_the_page_on_evaluation_shows_the_benchmarks_own_table():
    page = (ROOT / "docs" / "evaluation.md").read_text()
    result = ROOT / "benchmarks" / "results" / result_name(seed=2, samples=1000)
    rows = json.loads(result.read_text())["rows"]
    assert table(rows) in page
    assert summary(rows) in page
