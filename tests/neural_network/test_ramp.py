"""The shared ramp: its formula, attacks that see through its flat parts, what it is good for."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.attacks import CrossEntropy, TorchModel
from sklearn_robust.bounds import interval_bounds
from sklearn_robust.metrics import certified_score, robust_score
from sklearn_robust.neural_network import InputRamp

EPSILON = 0.25


def classifier(**kwargs):
    settings = {"epsilon": EPSILON, "clip_values": (0, 1), "pgd_steps": 5, "max_epochs": 15,
                "batch_size": 64, "lr": 3e-3, "lr_schedule": "constant", "input_ramp": None,
                "random_state": 0, **kwargs}  # fmt: skip
    return RobustFCClassifier((64,), **settings)


@pytest.fixture(scope="module")
def inked(digits):
    """Return the digits as ink on paper: nearly every value close to 0 or 1."""
    X, y, X_test, y_test = digits
    return _ink(X), y, _ink(X_test), y_test


def _ink(X):
    return 1 / (1 + np.exp(-12 * (X - 0.5)))


@pytest.fixture(scope="module")
def ramped(inked):
    return classifier(input_ramp="fixed").fit(*inked[:2])


@pytest.mark.parametrize("learnable", [False, True])
def test_ramp_is_a_clipped_line(learnable):
    ramp = InputRamp(0.25, 0.75, learnable=learnable)
    x = torch.linspace(-1, 2, 61, dtype=torch.float64)
    expected = np.clip((x.numpy() - 0.25) / 0.5, 0, 1)
    # The knots are kept in float32.
    np.testing.assert_allclose(ramp(x).detach().numpy(), expected, atol=1e-6)
    assert len(list(ramp.parameters())) == (2 if learnable else 0)


def test_bounds_carry_over_with_gradients_for_the_knots():
    ramp = InputRamp(0.25, 0.75, learnable=True).double()
    x = torch.rand(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = interval_bounds(ramp, x - 0.1, x + 0.1, rounding=False)
    # It is monotone, so the ends of a box go to the ends; exact but for rounding.
    torch.testing.assert_close(low, ramp(x - 0.1), rtol=0, atol=1e-14)
    torch.testing.assert_close(high, ramp(x + 0.1), rtol=0, atol=1e-14)
    (high - low).sum().backward()
    assert all(p.grad.abs() > 0 for p in ramp.parameters())


def test_attacks_see_a_slope_where_the_derivative_is_zero():
    module = torch.nn.Sequential(InputRamp(0.25, 0.75), torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    X, y = torch.tensor([[0.0, 0.5, 1.0, 0.25]]), torch.tensor([0])
    model = TorchModel(module, 2)
    logits, slope = model.ascent(X, y, CrossEntropy())
    torch.testing.assert_close(logits, module(X).detach())
    # 1 / (distance to the far knot); the true derivative is 0, 2, 0 and, at the knot, 2.
    torch.testing.assert_close(slope, torch.tensor([[1 / 0.75, 2.0, 1 / 0.75, 2.0]]))
    X.requires_grad_()
    module(X)[0, 1].backward()
    assert X.grad[0, [0, 2]].tolist() == [0, 0]
    assert repr(module[0]) == "InputRamp(low=0.25, high=0.75, learnable=False)"
    learnt = repr(InputRamp(0.25, 0.75, learnable=True))
    assert learnt == "InputRamp(low=0.25, high=0.75, learnable=True)"


def attack_behind_the_ramp(clf, X, y, n_steps, step):
    """Return accuracy under PGD on the box that the ramp makes of the ball, in plain torch."""
    module = copy.deepcopy(clf.module_)
    ramp, rest = module[0], module[1]
    X, y = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    with torch.no_grad():
        low, high = (ramp((X + e).clamp(0, 1)) for e in (-EPSILON, EPSILON))
        right = rest(ramp(X)).argmax(1) == y
    z = low + (high - low) * torch.rand(X.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(n_steps):
        z.requires_grad_()
        (g,) = torch.autograd.grad(functional.cross_entropy(rest(z), y, reduction="sum"), z)
        z = (z.detach() + step * (high - low) * g.sign()).clamp(low, high)
        right &= rest(z).argmax(1) == y
    return float(right.float().mean())


def test_attacks_on_the_input_are_as_strong_as_behind_the_ramp(inked, ramped):
    *_, X, y = inked
    reference = attack_behind_the_ramp(ramped, X, y, 40, 0.05)
    attacked = ramped.robust_score(X, y, attack="pgd")
    # One search each from random starts: they may differ on a few of 597 samples.
    assert attacked <= reference + 0.01
    assert robust_score(ramped, X, y, attack="auto") <= reference + 1 / len(y)
    # The attack of the training, five steps, misses little of what forty find.
    five = ramped.perturb(X, y)
    assert ramped.score(five, y) <= reference + 0.03


def test_the_ramp_closes_the_gap_where_values_lie_near_their_ends(inked, ramped):
    X, y, X_test, y_test = inked
    plain = classifier().fit(X, y)
    learnt = classifier(input_ramp="learnable").fit(X, y)
    scores = [c.robust_score(X_test, y_test, attack="pgd") for c in (plain, ramped, learnt)]
    assert scores[1] > scores[0] + 0.2
    assert scores[2] > scores[0] + 0.2
    start, width = (float(v.detach()) for v in learnt.module_[0].knots())
    assert (start, width) != (EPSILON, 1 - 2 * EPSILON)
    certified = certified_score(ramped, X_test, y_test, method="ibp")
    assert certified <= scores[1]


def test_the_ramp_does_not_help_where_values_lie_between():
    X, y = load_iris(return_X_y=True)
    X = (X - X.min(0)) / (X.max(0) - X.min(0))
    settings = {"epsilon": 0.1, "max_epochs": 60, "batch_size": 30, "training": "pgd"}
    plain = classifier(**settings).fit(X, y).robust_score(X, y, attack="pgd")
    fixed = classifier(input_ramp="fixed", **settings).fit(X, y).robust_score(X, y, attack="pgd")
    assert fixed <= plain + 0.05  # where it helps, more than 0.2


def test_knots_are_in_the_units_of_X(inked):
    X, y, *_ = inked
    grey = np.round(X * 255).astype(np.uint8)
    clf = classifier(epsilon=63.75, clip_values=(0, 255), input_ramp="fixed", max_epochs=2)
    clf.fit(grey, y)
    start, width = (float(v) for v in clf.module_[0].knots())
    assert (start, width) == (63.75, 127.5)
    share = classifier(epsilon=0.25, input_ramp="fixed", max_epochs=2).fit(grey / 255, y)
    # The two attacks step in other units, so that rounding differs; the models stay alike.
    np.testing.assert_allclose(clf.predict_proba(grey), share.predict_proba(grey / 255), atol=1e-2)
    given = classifier(input_ramp=(0.2, 0.6), max_epochs=1).fit(X, y)
    assert [round(float(v), 6) for v in given.module_[0].knots()] == [0.2, 0.4]
    by_data = classifier(input_ramp="fixed", clip_values=None, max_epochs=1).fit(X, y)
    assert float(by_data.module_[0].start) == pytest.approx(X.min() + EPSILON, abs=1e-6)


def test_cnn_and_certified_training_take_a_ramp(inked):
    X, y, X_test, y_test = inked
    clf = RobustCNNClassifier(
        filters=(8,), kernel_size=4, downsampling="stride", hidden_layer_sizes=(32,), dropout=0,
        input_ramp="learnable", training="ibp", epsilon=0.15, clip_values=(0, 1), max_epochs=10,
        batch_size=32, lr=5e-3, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert isinstance(clf.module_[0], InputRamp)
    certified = certified_score(clf, X_test, y_test, method="ibp")
    assert 0.5 < certified <= clf.robust_score(X_test, y_test, attack="pgd")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"input_ramp": "soft"}, "input_ramp must be None, 'auto', 'fixed', 'learnable' or a pair"),
        (
            {"input_ramp": (0.6, 0.4)},
            "input_ramp must be None, 'auto', 'fixed', 'learnable' or a pair",
        ),
        ({"input_ramp": (0, np.nan)}, "high of input_ramp must be finite, got nan"),
        ({"input_ramp": "fixed", "epsilon": 0.5}, "needs a range of the data wider than 2 epsilon"),
        (
            {"input_ramp": "fixed", "preprocessor": StandardScaler()},
            "input_ramp works on X itself, and so does preprocessor",
        ),
        ({"input_ramp": "fixed", "training": "free"}, "training='free' attacks with the gradient"),
    ],
)
@pytest.mark.filterwarnings("ignore:epsilon=0.5 is so large")  # said first, and true as well
def test_wrong_ramps_are_refused(digits, parameters, message):
    X, y, *_ = digits
    with pytest.raises(ValueError, match=message):
        classifier(**parameters).fit(X, y)


@pytest.mark.parametrize("learnable", [True, False])
def test_wide_ranges_have_a_ramp_too(learnable):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ramp = InputRamp(100.0, 900.0, learnable=learnable)
    h = ramp(torch.tensor([[0.0, 300.0, 500.0, 1000.0]]))
    torch.testing.assert_close(h, torch.tensor([[0.0, 0.25, 0.5, 1.0]]))
