"""Gradients that are exactly zero: noticed, said, and answered with queries."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AttackEnsemble,
    DiversePGD,
    GradientMaskingWarning,
    Square,
    ThreatModel,
    TorchModel,
    WhereMasked,
    evaluate,
    get_attack,
    predictor,
)
from sklearn_robust.attacks._model import CountingModel


class Rounded(nn.Module):
    """A linear classifier that rounds the first features of its input."""

    def __init__(self, n_rounded=6):
        super().__init__()
        self.n_rounded = n_rounded
        self.linear = nn.Linear(6, 3)
        generator = torch.Generator().manual_seed(0)
        self.linear.weight.data = torch.randn((3, 6), generator=generator)
        self.linear.bias.data = -self.linear.weight.data @ torch.full((6,), 0.5)

    def forward(self, X):
        n = self.n_rounded
        return self.linear(torch.cat(((X[:, :n] * 4).round() / 4, X[:, n:]), dim=1))


def _samples(model, n=60):
    X = np.random.default_rng(0).random((n, 6)).astype(np.float32)
    return X, predictor(model)(X)


def _by_brute_force(model, X, y, epsilon):
    """Return which samples are right at all levels that each feature can be rounded to."""
    robust = []
    for x, label in zip(X, y, strict=True):
        levels = [np.arange(5)[abs(np.arange(5) / 4 - v) <= epsilon + 0.125 - 1e-6] / 4 for v in x]
        corners = np.array(list(itertools.product(*levels)), dtype=np.float32)
        robust.append((predictor(model)(corners) == label).all())
    return np.array(robust)


def test_auto_finds_what_rounding_hides_and_says_that_it_hides():
    model = TorchModel(Rounded(), 3)
    X, y = _samples(model)
    threat, predict = ThreatModel(0.15), predictor(model)
    exact = _by_brute_force(model, X, y, 0.15)
    with pytest.warns(GradientMaskingWarning, match="exactly zero"):
        auto = evaluate(model, X, y, threat, get_attack("auto"), predict)
    assert auto.masked.all()
    assert (auto.robust >= exact).all()
    # 1,000 queries for six features of at most three levels.
    assert auto.robust.sum() <= exact.sum() + 1
    with pytest.warns(GradientMaskingWarning, match="exactly zero"):
        pgd = evaluate(model, X, y, threat, FGSM(), predict)
    assert pgd.robust.all()
    assert exact.sum() < 0.7 * len(X)


@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(3), APGD(3), DiversePGD(3), FMN(3)], ids=lambda a: type(a).__name__
)
def test_every_attack_with_gradients_notices_and_none_cries_wolf(attack):
    for n_rounded in (6, 5):
        model = TorchModel(Rounded(n_rounded), 3)
        X, y = _samples(model)
        found = evaluate_quietly(model, X, y, ThreatModel(1e-4), attack)
        assert (found.masked & found.robust).sum() == (found.robust.sum() if n_rounded == 6 else 0)


def evaluate_quietly(model, X, y, threat, attack):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientMaskingWarning)
        return evaluate(model, X, y, threat, attack, predictor(model))


def test_where_there_are_gradients_the_queries_cost_one_gradient_and_change_nothing(
    samples, robust_model
):
    x, y = robust_model.asarray(samples[0][:20]), robust_model.labels(samples[1][:20])
    counted = CountingModel(robust_model)
    found = WhereMasked().perturb(counted, x, y, ThreatModel(0.1), torch.Generator())
    assert torch.equal(found, x)
    assert (counted.n_forwards, counted.n_gradients) == (20, 20)


def test_only_masked_samples_are_queried():
    class Partly(Rounded):
        def forward(self, X):
            smooth = self.linear(X)
            return torch.where(X[:, :1] > 0.5, smooth, super().forward(X))

    model = TorchModel(Partly(), 3)
    X, y = _samples(model)
    x, labels = model.asarray(X), model.labels(y)
    counted = CountingModel(model)
    attack = WhereMasked(Square(1))  # a clean pass, and one query
    found = attack.perturb(counted, x, labels, ThreatModel(0.1), torch.Generator()).numpy()
    masked = X[:, 0] <= 0.5
    np.testing.assert_array_equal((found != X).any(1), masked)
    assert counted.n_forwards == len(X) + 2 * masked.sum()


def test_in_an_ensemble_and_on_scores_alone():
    model = TorchModel(Rounded(), 3)
    X, y = _samples(model)
    found = evaluate_quietly(
        model, X, y, ThreatModel(0.15), AttackEnsemble([PGD(3), WhereMasked()])
    )
    assert found.records[1].n_broken > 0
    assert found.records[1].n_gradients == found.records[1].n_attacked

    class Scores:
        n_classes, asarray, labels, logits = 3, model.asarray, model.labels, model.logits

    scored = evaluate(Scores(), X, y, ThreatModel(0.15), WhereMasked(), predictor(model))
    assert not scored.masked.any()
    assert scored.robust.sum() < 0.7 * len(X)


def test_points_of_earlier_attacks_are_kept_where_there_is_nothing_to_query(samples, robust_model):
    X, y = samples[0][:40], samples[1][:40]
    first = PGD(3, random_start=False)
    alone, both = (
        evaluate(robust_model, X, y, ThreatModel(0.05), attack, predictor(robust_model))
        for attack in (first, AttackEnsemble([first, WhereMasked()]))
    )
    assert alone.robust.sum() > 20
    np.testing.assert_array_equal(both.X_adv, alone.X_adv)
    x, labels = robust_model.asarray(X), robust_model.labels(y)
    direct = AttackEnsemble([first, WhereMasked()]).perturb(
        robust_model, x, labels, ThreatModel(0.05), torch.Generator()
    )
    moved = (direct != x).any(1).numpy()
    assert moved[alone.robust].all()
