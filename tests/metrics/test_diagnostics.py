"""Each diagnostic fires on a defence that is broken in its way, and none on an honest model."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel, TorchModel
from sklearn_robust.metrics._diagnostics import AttackSetting, diagnose


class Quantised(nn.Module):
    """Rounds the input: the gradient is 0 almost everywhere."""

    def forward(self, X):
        return torch.round(X * 8) / 8


class Shattered(nn.Module):
    """Adds a fine ripple that leaves values alone and turns the gradient's sign at random."""

    def forward(self, X):
        return X + 0.005 * torch.sin(5000 * X)


class Noisy(nn.Module):
    """Adds noise, also when predicting."""

    def forward(self, X):
        return X + 0.3 * torch.randn(X.shape, generator=torch.Generator().manual_seed(self.turn()))

    def turn(self):
        self.turns = getattr(self, "turns", 0) + 1
        return self.turns


class Louder(nn.Module):
    """Multiplies the logits: the softmax saturates, predictions stay."""

    def forward(self, logits):
        return 1e4 * logits


def suspect(module, digits, epsilon=0.15, clip_values=(0, 1)):
    *_, X, y = digits
    X = X.astype(np.float32)
    model = TorchModel(module.eval(), 10)

    def predict(X):
        return model.logits(model.asarray(X)).argmax(1).numpy()

    right = predict(X) == y
    threat = ThreatModel(epsilon, "linf", clip_values)
    return AttackSetting(model, predict, X[right], y[right], threat, seed=0)


def fired(suspect):
    return {finding.check for finding in diagnose(suspect) if finding.fired}


@pytest.mark.parametrize("name", ["robust_fc", "standard_fc"])
def test_silent_on_honest_models(name, digits, request):
    module = request.getfixturevalue(name).module_
    findings = diagnose(suspect(module, digits, 0.15 if name == "robust_fc" else 0.03))
    assert len(findings) == 7
    assert [f.check for f in findings if f.fired] == []


def test_quantised_input(digits, robust_fc):
    found = fired(suspect(nn.Sequential(Quantised(), robust_fc.module_), digits))
    assert {"vanishing gradients", "black-box beats white-box", "robust at any radius"} <= found


def test_saturated_logits(digits, robust_fc):
    module = nn.Sequential(robust_fc.module_, Louder())
    assert fired(suspect(module, digits)) == {"vanishing gradients"}


def test_randomised_output(digits, robust_fc):
    assert "randomised output" in fired(suspect(nn.Sequential(Noisy(), robust_fc.module_), digits))


def test_shattered_gradients(digits, standard_fc):
    module = nn.Sequential(Shattered(), standard_fc.module_)
    assert "black-box beats white-box" in fired(suspect(module, digits, 0.1))


def test_what_square_alone_breaks_is_a_share_of_all_samples():
    """Gradients show the way for 160 of 200 samples; a step hides it from them for the rest."""

    class Steps(nn.Module):
        def forward(self, X):
            score = torch.where(X[:, :1] > 2, torch.ceil(X[:, 1:] - 0.5), X[:, 1:])
            return torch.hstack([score, 0 * score])

    X = np.column_stack([np.repeat([0.0, 4.0], [160, 40]), np.full(200, 0.7)]).astype(np.float32)
    y, model = np.zeros(200, dtype=int), TorchModel(Steps(), 2)

    def predict(X):
        return model.logits(model.asarray(X)).argmax(1).numpy()

    threat = ThreatModel(np.array([0.0, 1.5]), "linf", None)
    findings = {f.check: f for f in diagnose(AttackSetting(model, predict, X, y, threat, seed=0))}
    beaten = findings["black-box beats white-box"]
    assert beaten.fired and 0.1 < beaten.value <= 0.2
    assert f"along the gradient do not: {beaten.value:.1%} of all." in beaten.message


def test_a_defence_that_looks_away_beyond_its_radius(digits, robust_fc):
    """Far from the data it answers as for the nearest digit, so that large radii seem harmless."""
    X = torch.as_tensor(digits[2], dtype=torch.float32)

    class Nearest(nn.Module):
        def forward(self, x):
            nearest = X[torch.cdist(x, X).argmin(1)]
            near = ((x - nearest).abs().amax(1, keepdim=True) < 0.3).float()
            return near * x + (1 - near) * nearest

    found = fired(suspect(nn.Sequential(Nearest(), robust_fc.module_), digits, 0.28))
    assert "accuracy rises with epsilon" in found


@pytest.mark.parametrize(("epsilon", "clip_values"), [(0.15 / 255, (0, 1)), (38.0, None)])
def test_wrong_units(digits, robust_fc, epsilon, clip_values):
    found = fired(suspect(robust_fc.module_, digits, epsilon, clip_values))
    assert found == {"epsilon in the wrong units"}


def test_nothing_to_say_without_an_adversary(digits, robust_fc):
    assert diagnose(suspect(robust_fc.module_, digits, 0.0)) == []
