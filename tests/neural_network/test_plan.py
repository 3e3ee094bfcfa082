"""What "auto" hyperparameters come to, and trainings that are repeated after a collapse."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.neural_network import (
    InputRamp,
    IntervalTraining,
    OneCycle,
    ShiftAverage,
    make_recipe,
)
from sklearn_robust.neural_network._plan import batch_size, epochs, make_plan


def fitted(clf, X, y):
    """Return a classifier trained for a moment."""
    return clf.set_params(max_epochs=1, pgd_steps=1, random_state=0).fit(X, y)


@pytest.mark.parametrize("n_samples", [20, 105, 400, 1300, 4000, 60_000])
def test_small_data_have_more_epochs_of_smaller_batches_for_about_900_steps(n_samples):
    size = batch_size("auto", n_samples)
    n = epochs("auto", n_samples, size)
    assert 32 <= size <= 128 and 16 <= n <= 60
    steps = n * -(-n_samples // size)
    if 16 < n < 60:
        assert 900 <= steps < 900 + steps / n
    assert (n, size) == {20: (60, 32), 60_000: (16, 128)}.get(n_samples, (n, size))


def test_what_a_user_passes_is_what_is_used(digits):
    X, y = digits[0][:200], digits[1][:200]
    clf = RobustFCClassifier((8,), batch_size=50, max_epochs=3, pgd_steps=1, lr=0.02)
    clf.set_params(lr_schedule="multi-step", augmentation=None, input_ramp=None).fit(X, y)
    assert (clf.net_.batch_size, clf.n_iter_, clf.net_.lr, clf.input_ramp_) == (50, 3, 0.02, None)
    assert clf.net_.augmentation is None


def test_the_rate_has_one_cycle_in_fit_and_is_constant_in_partial_fit(digits):
    X, y = digits[0][:300], digits[1][:300]
    clf = fitted(RobustFCClassifier((8,)), X, y)
    assert clf.net_.lr_schedule == OneCycle() and clf.net_.base_rates == [5e-3]
    clf.partial_fit(X, y)
    assert [group["lr"] for group in clf.net_.optimizer_.param_groups] == [1e-3]
    fresh = RobustFCClassifier((8,), pgd_steps=1, random_state=0)
    for _ in range(12):  # more calls than the rise of epsilon and the planned epochs take
        fresh.partial_fit(X, y, classes=np.arange(10))
        assert [group["lr"] for group in fresh.net_.optimizer_.param_groups] == [1e-3]


def test_modules_of_ones_own_and_schedulers_of_torch_have_the_small_rate(digits):
    X, y = digits[0][:200], digits[1][:200]
    own = fitted(RobustNeuralNetClassifier(torch.nn.Linear(64, 10)), X, y)
    assert own.net_.base_rates == [1e-3] and own.net_.lr_schedule == OneCycle()
    scheduler = LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    clf = fitted(RobustFCClassifier((8,), callbacks=[("rate", scheduler)]), X, y)
    assert clf.net_.base_rates == [1e-3] and clf.net_.lr_schedule(0.9) == 1


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # after one epoch
def test_large_images_are_shifted_and_neither_small_ones_nor_rows_of_features(digits):
    rng = np.random.default_rng(0)
    small, y = digits[0][:100], digits[1][:100]
    large = rng.uniform(-1, 1, size=(100, 3, 16, 16))

    def shifts(make, X):
        return fitted(make(), X, y).net_.augmentation

    found = shifts(RobustCNNClassifier, large)
    assert (found.pixels, found.fill) == (1, pytest.approx(large.min()))
    assert shifts(RobustFCClassifier, large).fill == pytest.approx(large.min())
    assert shifts(RobustCNNClassifier, large[:, 0].reshape(100, -1)) is not None
    assert shifts(RobustFCClassifier, large[:, 0].reshape(100, -1)) is None
    assert shifts(RobustCNNClassifier, small.reshape(-1, 8, 8)) is None


DATA = {
    "table": ((40, 5), {}),
    "row": ((40, 1), {}),
    "small images": ((40, 6, 5), {}),
    "colour images": ((40, 3, 16, 18), {}),
    "no range": ((40, 5), {"clip_values": None}),
    "raw units": ((40, 5), {"clip_values": None, "preprocessor": StandardScaler()}),
}


@pytest.mark.filterwarnings("ignore:The network predicts one class")  # after one epoch
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("architecture", ["cnn", "fc"])
@pytest.mark.parametrize("name", ["fast", "strong", "certified"])
def test_recipes_train_on_any_data(name, architecture, data):
    shape, own = DATA[data]
    X, y = np.random.default_rng(0).uniform(size=shape), np.arange(40) % 2
    if own:
        X = 1000 * X - 300
    clf = make_recipe(name, architecture, epsilon=0.05, **own)
    clf = fitted(clf.set_params(epsilon_schedule="constant"), X, y)
    assert clf.predict(X).shape == y.shape
    averages = [m for m in clf.module_.modules() if isinstance(m, ShiftAverage)]
    assert len(averages) == (name == "certified" and data == "colour images")


def test_certified_recipes_are_initialised_for_bounds_only_without_a_ramp(digits):
    ramped = make_recipe("certified", "fc", epsilon=0.1, hidden_layer_sizes=(8,))
    plain = make_recipe("certified", "fc", epsilon=0.1, hidden_layer_sizes=(8,), input_ramp=None)

    def same_as(clf, training):
        X, y = digits[0][:200], digits[1][:200]
        other = fitted(clf.__class__(**{**clf.get_params(), "training": training}), X, y)
        own = fitted(clf, X, y).decision_function(X)
        return np.array_equal(own, other.decision_function(X))

    spelt = {"kappa": 0.0, "epsilon_factor": 1.1}
    without = IntervalTraining(initialization=False, regularization=0.0, **spelt)
    used = IntervalTraining(initialization=True, regularization=0.5, **spelt)
    assert same_as(ramped, without) and not same_as(ramped, used)
    assert same_as(plain, used) and not same_as(plain, without)
    assert isinstance(ramped.module_[0], InputRamp)


def collapsing(**kwargs):
    """Return a deep network that a large rate at the full radius drives to a constant output."""
    settings = {"epsilon": 0.3, "clip_values": (0, 1), "epsilon_schedule": "constant", "lr": 0.2,
                "lr_schedule": "constant", "batch_size": 60, "max_epochs": 15, "pgd_steps": 2,
                "input_ramp": None, "random_state": 0, **kwargs}  # fmt: skip
    return RobustFCClassifier((32, 32, 32), **settings)


def test_a_collapsed_training_is_tried_again_with_a_smaller_rate_and_a_longer_rise(digits):
    X, y = digits[0][:600], digits[1][:600]
    with pytest.warns(ConvergenceWarning, match=r"trained once more, with lr=0\.04") as caught:
        clf = collapsing().fit(X, y)
    assert len(caught) == 1
    assert clf.net_.lr == pytest.approx(0.04)
    assert [clf.net_.schedule(p) for p in (0.35, 0.7, 1.0)] == [0.5, 1.0, 1.0]
    assert clf.score(X, y) > 0.6  # a constant is right for a tenth


def test_an_interrupted_repetition_is_taken_up_where_it_was(digits, tmp_path):
    X, y = digits[0][:600], digits[1][:600]
    with pytest.warns(ConvergenceWarning, match="trained once more"):
        whole = collapsing(checkpoint=tmp_path / "a").fit(X, y)
    with pytest.warns(ConvergenceWarning, match="trained once more"):
        again = collapsing(checkpoint=tmp_path / "a").fit(X, y)
    assert len(list((tmp_path / "a").iterdir())) == 2  # one for each training
    np.testing.assert_array_equal(whole.decision_function(X), again.decision_function(X))


def test_a_training_of_few_steps_is_not_repeated(digits):
    X, y = digits[0][:600], digits[1][:600]
    with pytest.warns(ConvergenceWarning, match="Use a smaller lr, more epochs") as caught:
        collapsing(max_epochs=2, lr=10.0).fit(X, y)
    assert len(caught) == 1


def test_one_class_of_nearly_all_samples_is_no_collapse(digits):
    X, y = digits[0][:600], np.arange(600) > 595
    assert not collapsing(lr=1e-3, max_epochs=1).fit(X, y).predict(X).any()


def test_the_plan_of_another_try_is_gentler(digits):
    clf = RobustCNNClassifier(epsilon=0.1)
    clf.input_shape_ = (8, 8)
    plan = make_plan(clf, digits[0], whole=True)
    again = plan.gentler()
    assert again.lr == pytest.approx(plan.lr / 5)
    assert again.epsilon_schedule(0.3) < plan.epsilon_schedule(0.3)
    assert again.epsilon_schedule(1.0) == 1
    assert plan.at_full_epsilon().epsilon_schedule(0.0) == 1
