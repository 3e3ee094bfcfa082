"""The standard combination against another library's AutoAttack, and the page that says so."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.attack_strength import result_name, summary, table
from sklearn_robust.attacks import ThreatModel, as_model, evaluate, get_attack, predictor

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.1), ("l2", 0.6)])
def test_strong_leaves_no_more_standing_than_torchattacks_autoattack(
    robust_fc, samples, norm, radius
):
    torchattacks = pytest.importorskip("torchattacks")
    X, y = samples[0][:100], samples[1][:100]
    model = as_model(robust_fc)
    predict = predictor(model)
    threat = ThreatModel(radius, norm, (0, 1))
    ours = evaluate(model, X, y, threat, get_attack("strong"), predict).robust
    images = nn.Sequential(nn.Flatten(), model.module).eval()
    attack = torchattacks.AutoAttack(images, {"linf": "Linf", "l2": "L2"}[norm], radius, seed=0)
    found = attack(torch.as_tensor(X).reshape(-1, 1, 8, 8), torch.as_tensor(y))
    found = found.detach().flatten(1).numpy()
    # Points a millionth of the radius too far are its rounding, others would be a defect.
    assert threat.scaled(1 + 1e-6).contains(found, X).all()
    theirs = (predict(X) == y) & (predict(found) == y)
    # The goal is 0.3 points, less than one sample of a hundred.
    assert ours.sum() <= theirs.sum()
    assert np.mean(ours) < np.mean(predict(X) == y)


def test_the_page_on_evaluation_shows_the_benchmarks_own_table():
    page = (ROOT / "docs" / "evaluation.md").read_text()
    result = ROOT / "benchmarks" / "results" / result_name(seed=1)
    rows = json.loads(result.read_text())["rows"]
    assert table(rows) in page
    assert summary(rows) in page
