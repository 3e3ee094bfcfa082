"""Schedules, averages, clipping, and the named recipes."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.neural_network import EMA, SWA, MultiStep, OneCycle, Ramp, make_recipe


def tiny(**kwargs):
    settings = {"epsilon": 0.1, "pgd_steps": 1, "max_epochs": 4, "batch_size": 100,
                "random_state": 0, **kwargs}  # fmt: skip
    return RobustFCClassifier((16,), **settings)


class Watch(Callback):
    """Note what happens in every step."""

    def __init__(self):
        self.rates, self.lengths, self.weights = [], [], []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        squares = [float(p.grad.detach().square().sum()) for _, p in named_parameters]
        self.lengths.append(sum(squares) ** 0.5)
        self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_batch_end(self, net, training, **kwargs):
        if training:
            self.weights.append(copy.deepcopy(net.module_.state_dict()))


def watched(digits, **kwargs):
    clf = tiny(callbacks=[("watch", Watch())], **kwargs).fit(*digits[:2])
    return clf, dict(clf.net_.callbacks_)["watch"]


def test_one_cycle_is_torchs():
    n = 10000
    weight = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, n, pct_start=0.3, cycle_momentum=False, final_div_factor=1e4
    )
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    ours = OneCycle(peak=0.3, first=1 / 25, last=1 / 25 / 1e4)
    # torch counts its phases in steps less one: a shift of up to two steps, at a slope up to 5.3.
    np.testing.assert_allclose([ours(i / n) for i in range(n)], rates, atol=2 * 5.3 / n)


def test_learning_rate_follows_its_schedule(digits):
    clf, watch = watched(digits, lr=0.01, lr_schedule=MultiStep((0.5,), factor=0.1))
    np.testing.assert_allclose(watch.rates, [0.01] * 24 + [0.001] * 24)
    _, watch = watched(digits, lr=0.01, lr_schedule=lambda progress: 1 - progress)
    np.testing.assert_allclose(watch.rates, 0.01 * (1 - np.arange(48) / 48))
    assert clf.n_iter_ == 4


def test_epsilon_ramp_has_fractions_of_its_own(digits):
    schedule = Ramp(0.25, 0.75)
    assert [schedule(p) for p in (0, 0.25, 0.5, 0.75, 1)] == [0, 0, 0.5, 1, 1]
    default = tiny().fit(*digits[:2]).decision_function(digits[0])
    same = tiny(epsilon_schedule=Ramp(0.0, 0.3)).fit(*digits[:2]).decision_function(digits[0])
    np.testing.assert_array_equal(default, same)


def test_long_gradients_are_clipped(digits):
    _, free = watched(digits)
    _, held = watched(digits, max_grad_norm=0.1)
    assert max(free.lengths) > 0.2
    # The norm is computed in float32.
    assert max(held.lengths) <= 0.1 * (1 + 1e-5)
    loose, _ = watched(digits, max_grad_norm=1e6)
    np.testing.assert_array_equal(
        loose.decision_function(digits[0]), tiny().fit(*digits[:2]).decision_function(digits[0])
    )


def test_swa_is_the_mean_of_the_weights_of_its_steps(digits):
    clf, watch = watched(digits, weight_averaging=SWA(start=0.5))
    for name, value in clf.module_.state_dict().items():
        mean = torch.stack([w[name].double() for w in watch.weights[24:]]).mean(0)
        # A running mean of 24 float32 numbers.
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-6)


def test_ema_is_the_published_recursion(digits):
    clf, watch = watched(digits, weight_averaging=EMA(0.9))
    average = {k: v.double() for k, v in watch.weights[0].items()}
    for t, weights in enumerate(watch.weights[1:], start=1):
        d = min(0.9, (1 + t) / (10 + t))
        average = {k: d * v + (1 - d) * weights[k].double() for k, v in average.items()}
    for name, value in clf.module_.state_dict().items():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)


def test_early_stopping_judges_and_keeps_the_average(digits):
    clf, watch = watched(digits, weight_averaging="ema", early_stopping=True, max_epochs=3, lr=0.01)
    last = watch.weights[-1]
    assert not all(torch.equal(v, last[k]) for k, v in clf.module_.state_dict().items())
    # The weights kept are those whose accuracy the history has as its best.
    best = max(clf.net_.history[:, "valid_adversarial_accuracy"])
    result = clf.net_.validation_step(clf._split(*digits[:2], None)[1])
    assert float(result["means"]["adversarial_accuracy"]) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr_schedule": "cosine"}, "lr_schedule must be one of 'constant', 'one-cycle', 'multi"),
        ({"weight_averaging": "mean"}, "weight_averaging must be None, 'ema', 'swa' or an"),
        ({"dropout": 1.0}, "dropout must be a finite number >= 0 and < 1"),
        (
            {"validation_fraction": 1.0, "early_stopping": True},
            "validation_fraction must be .* < 1",
        ),
        ({"max_grad_norm": 0}, "max_grad_norm must be a finite number > 0, got 0"),
    ],
)
def test_bad_settings_are_refused(digits, parameters, message):
    with pytest.raises(ValueError, match=message):
        tiny(**parameters).fit(*digits[:2])


def test_bad_schedules_and_averages_are_refused(digits):
    with pytest.raises(ValueError, match=r"start must be below end, got 0\.5 and 0\.5"):
        Ramp(0.5, 0.5)
    with pytest.raises(ValueError, match="peak must be a finite number > 0 and < 1, got 1"):
        OneCycle(peak=1)
    with pytest.raises(ValueError, match="factor must be a finite number > 0"):
        MultiStep(factor=0)
    with pytest.raises(ValueError, match="decay must be a finite number >= 0 and < 1"):
        EMA(1)
    with pytest.raises(ValueError, match="start must be a finite number >= 0 and < 1"):
        SWA(1.0)
    with pytest.raises(ValueError, match="averages over one training, which partial_fit does not"):
        tiny(weight_averaging="ema").partial_fit(*digits[:2])


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # after one epoch
@pytest.mark.parametrize("name", ["fast", "strong", "certified", "report"])
@pytest.mark.parametrize("architecture", ["cnn", "fc"])
def test_recipes_make_classifiers_that_train(digits, name, architecture):
    X, y = digits[0][:200], digits[1][:200]
    clf = make_recipe(name, architecture, epsilon=0.1, max_epochs=1, pgd_steps=1, random_state=0)
    assert isinstance(clf, {"cnn": RobustCNNClassifier, "fc": RobustFCClassifier}[architecture])
    assert clf.fit(X, y).predict(X).shape == y.shape


def test_recipes_share_no_objective():
    first = make_recipe("certified", "fc")
    first.training.epsilon_factor = 3.0
    assert make_recipe("certified", "cnn").training.epsilon_factor == 1.1


def test_the_report_recipe_is_the_reports_protocol():
    clf = make_recipe("report")
    expected = {"pgd_steps": 100, "step_size": 0.01, "batch_size": 64, "max_epochs": 10,
                "epsilon_schedule": "constant", "clip_values": None, "epsilon": 0.3,
                "dropout": 0.4, "filters": (32, 64), "kernel_size": 5, "downsampling": "pool",
                "hidden_layer_sizes": (1024,), "lr": 1e-3, "lr_schedule": "constant",
                "input_ramp": None}  # fmt: skip
    assert {name: clf.get_params()[name] for name in expected} == expected
    assert make_recipe("report", "fc").hidden_layer_sizes == (1024, 1024)
    with pytest.raises(ValueError, match="name must be one of 'fast', 'strong'"):
        make_recipe("quick")


def test_cnn_is_built_to_its_sizes(digits):
    X, y = digits[0][:100], digits[1][:100]
    settings = {"epsilon": 0, "max_epochs": 20, "lr": 0.01, "random_state": 0, "dropout": 0}
    clf = RobustCNNClassifier(
        filters=(4, 6), kernel_size=4, downsampling="stride", hidden_layer_sizes=(10, 9), **settings
    ).fit(X, y)
    shapes = [tuple(p.shape) for p in clf.module_.parameters() if p.ndim > 1]
    kernels = [p for p in clf.module_.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    # 8 x 8 images are halved twice, to 2 x 2 of 6 channels.
    assert shapes == [(4, 1, 4, 4), (6, 4, 4, 4), (10, 24), (9, 10), (10, 9)]
    for parameters, message in (
        ({"downsampling": "mean"}, "downsampling must be one of 'pool', 'stride', got 'mean'"),
        ({"filters": (0,)}, "each of filters must be an integer >= 1, got 0"),
    ):
        clf = RobustCNNClassifier(**{**settings, **parameters})
        with pytest.raises(ValueError, match=message):
            clf.fit(X, y)
