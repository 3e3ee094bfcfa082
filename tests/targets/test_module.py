"""A bare torch module in every function, on classes 0 to n_classes - 1."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from sklearn_robust import certified_score, evaluate_robustness, robust_score
from sklearn_robust.inspection import InputGradientDisplay
from sklearn_robust.metrics import (
    adversarial_distance,
    gradient_quality,
    input_gradients,
    perturb,
)

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)


class Net(nn.Module):
    """Layers by function, as people write them; a softmax at the end, or none."""

    def __init__(self, ending=None):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 6, 3, stride=2), nn.Dropout(0.3)
        self.norm, self.out = nn.BatchNorm2d(6), nn.LazyLinear(10)
        self.ending = ending

    def forward(self, x):
        x = self.drop(torch.relu(self.norm(self.conv(x)))).flatten(1)
        z = self.out(x)
        return z if self.ending is None else self.ending(z)


@pytest.fixture(scope="module")
def images():
    return X[1200:1400].reshape(-1, 1, 8, 8), Y[1200:1400]


@pytest.fixture(scope="module")
def trained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, rows = Net(), torch.as_tensor(X[:1200]).reshape(-1, 1, 8, 8)
        net(rows[:2])
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(10):
            for batch in torch.randperm(1200).split(100):
                loss = nn.functional.cross_entropy(net(rows[batch]), torch.as_tensor(Y[batch]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    optimizer.zero_grad()
    return net


def scripted(module):
    with warnings.catch_warnings():  # that TorchScript will be gone some day
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def accuracy(net, X, y):
    with torch.no_grad():
        training = net.training
        share = (net.eval()(torch.as_tensor(X)).argmax(1).numpy() == y).mean()
        net.train(training)
    return share


def test_every_function_takes_a_module(trained, images):
    X, y = images
    run = {"epsilon": 0.03, "clip_values": (0, 1)}
    trained.train()
    state = {k: v.clone() for k, v in trained.state_dict().items()}
    attacked, proven = (f(trained, X, y, **run) for f in (robust_score, certified_score))
    assert 0.1 < proven <= attacked < accuracy(trained, X, y)
    assert accuracy(trained, perturb(trained, X, y, **run), y) == attacked
    report = evaluate_robustness(trained, X, y, [0.01, 0.03], clip_values=(0, 1))
    assert report.radii[1].attacked == pytest.approx(attacked, abs=0.01)
    assert report.radii[1].certified == pytest.approx(proven, abs=0.01)
    distance = adversarial_distance(trained, X, y, clip_values=(0, 1))
    assert (distance > 0.03).mean() == pytest.approx(attacked, abs=0.02)
    gradients = input_gradients(trained, X[:5], y[:5])
    given = torch.tensor(X[:5]).double().requires_grad_()
    exact = Net().double()
    exact(given)
    exact.load_state_dict(trained.state_dict())
    loss = nn.functional.cross_entropy(exact.eval()(given), torch.as_tensor(y[:5]), reduction="sum")
    (truth,) = torch.autograd.grad(loss, given)
    np.testing.assert_allclose(gradients, truth.numpy(), rtol=1e-9, atol=1e-12)
    assert gradient_quality(trained, X[:20], y[:20]).n_samples == 20
    InputGradientDisplay.from_estimator(trained, X[:3], y[:3])
    assert trained.training
    assert trained.drop.training
    assert all(torch.equal(v, state[k]) for k, v in trained.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in trained.parameters())


def test_tensors_and_modules_in_float64_are_taken_as_they_come(trained, images):
    X, y = images
    single = robust_score(trained, X, y, epsilon=0.03)
    assert robust_score(trained, torch.as_tensor(X), torch.as_tensor(y), epsilon=0.03) == single
    double = Net().double()
    double(torch.zeros(1, 1, 8, 8, dtype=torch.float64))
    double.load_state_dict(trained.state_dict())
    assert robust_score(double, X, y, epsilon=0.03) == pytest.approx(single, abs=0.01)
    assert perturb(double, X[:2], y[:2], epsilon=0.03).dtype == np.float64


def test_a_script_is_attacked_and_says_why_it_is_not_certified(trained, images):
    X, y = images
    ended = Net(nn.Softmax(1))
    ended(torch.zeros(1, 1, 8, 8))
    ended.load_state_dict(trained.state_dict())
    script = scripted(ended.eval())
    run = {"epsilon": 0.03, "clip_values": (0, 1)}
    plain = robust_score(trained, X, y, **run)
    # The attack follows logarithms of probabilities: other steps, and about as many mistakes.
    assert robust_score(script, X, y, **run) == pytest.approx(plain, abs=0.03)
    np.testing.assert_allclose(
        input_gradients(script, X[:5], y[:5]), input_gradients(trained, X[:5], y[:5]), atol=1e-6
    )
    with pytest.raises(TypeError, match=r"cannot be certified: .*whose forward is not its class's"):
        certified_score(script, X, y, **run)


def test_one_number_for_two_classes():
    y = (Y < 5).astype(int)[1200:1300]
    rows = X[1200:1300]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        inner = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1))
    ended = nn.Sequential(inner, nn.Sigmoid())
    with torch.no_grad():
        says = (inner(torch.as_tensor(rows))[:, 0] > 0).int().numpy()
    for module in (inner, ended, scripted(ended)):
        assert robust_score(module, rows, says, epsilon=0.0) == 1
        assert robust_score(module, rows, says, epsilon=0.01) == pytest.approx(
            robust_score(inner, rows, says, epsilon=0.01), abs=0.02
        )
        assert robust_score(module, rows, y, epsilon=0.0) == (says == y).mean()
    assert certified_score(inner, rows, says, epsilon=0.01) == certified_score(
        ended, rows, says, epsilon=0.01
    )


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Linear(63, 10), "Linear does not classify X: mat1 and mat2"),
        (nn.Identity(), None),
        (nn.Unflatten(1, (4, 4, 4)), r"maps 64 samples to \(64, 4, 4, 4\), not to scores"),
    ],
)
def test_what_classifies_nothing_is_said(module, match):
    rows = X[:100]
    if match is None:  # 64 features are 64 scores
        assert robust_score(module, rows, rows.argmax(1), epsilon=0.0) == 1
        return
    with pytest.raises(TypeError, match=match):
        robust_score(module, rows, Y[:100], epsilon=0.1)


def test_a_module_that_has_not_seen_a_sample_is_said():
    with pytest.raises(ValueError, match="Call the module on a batch first"):
        robust_score(nn.LazyLinear(10), X[:10], Y[:10], epsilon=0.1)
    with pytest.raises(ValueError, match="epsilon must be given"):
        robust_score(nn.Linear(64, 10), X[:10], Y[:10])
