"""The network classifiers: what they learn, what they answer, what they keep, what they refuse."""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring, EpochTimer, LRScheduler

from sklearn_robust import (
    RobustCNNClassifier,
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    make_robust_scorer,
    robust_score,
)


def tiny(**kwargs):
    """Return an unfitted network that trains in a fraction of a second."""
    settings = {"epsilon": 0.1, "max_epochs": 2, "pgd_steps": 2, "lr": 5e-3, "random_state": 0,
                "lr_schedule": "constant", "batch_size": 128, "input_ramp": None}  # fmt: skip
    return RobustFCClassifier(**{"hidden_layer_sizes": (16,), **settings, **kwargs})


# What is learnt --------------------------------------------------------------------------------


def test_robust_training_beats_standard_training_under_attack(digits, robust_fc, standard_fc):
    *_, X, y = digits
    assert standard_fc.score(X, y) > 0.94
    assert robust_fc.score(X, y) > 0.9
    assert robust_fc.robust_score(X, y) > standard_fc.robust_score(X, y, epsilon=0.15) + 0.3


def test_robust_score_never_exceeds_score_and_falls_with_epsilon(digits, robust_fc):
    *_, X, y = digits
    scores = [robust_fc.robust_score(X, y, epsilon=e) for e in (0, 0.05, 0.15, 0.4)]
    assert scores[0] == robust_fc.score(X, y)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.1


def test_epsilon_zero_is_standard_training_and_costs_no_attack(digits):
    X, y, *_ = digits
    passes = []

    class Counted(torch.nn.Linear):
        def forward(self, X):
            passes.append(self.training)
            return super().forward(X)

    module = Counted(64, 10)
    clf = RobustNeuralNetClassifier(module, epsilon=0, max_epochs=1, batch_size=100)
    clf.fit(X[:500], y[:500])
    # One more to learn what the module gives in training mode.
    assert passes.count(True) == 5 + 1
    # That the module gives one logit per class, in float64 too; once when trained; and whether
    # training has collapsed, for which one sample tells the memory that others need.
    assert passes.count(False) == 5


def test_a_training_batch_costs_k_plus_two_forwards_and_k_plus_one_backwards(digits):
    X, y, *_ = digits
    forwards, backwards = [], []

    class Counted(torch.nn.Linear):
        def forward(self, X):
            if len(X) > 1:
                forwards.append(self.training)
            out = super().forward(X)
            if out.requires_grad:
                out.register_hook(lambda grad: backwards.append(self.weight.requires_grad))
            return out

    with torch.random.fork_rng():
        torch.manual_seed(0)  # a module that is right about no sample would not be attacked
        module = Counted(64, 10)
    clf = RobustNeuralNetClassifier(
        module, epsilon=0.1, pgd_steps=4, max_epochs=1, batch_size=-1,
        epsilon_schedule="constant", random_state=0,
    )  # fmt: skip
    clf.fit(X, y)
    # Where it is right, four steps, the update; after all, whether training has collapsed.
    assert forwards == [False] * 5 + [True] + [False]
    assert backwards == [False] * 4 + [True]  # parameters are frozen in the attack


def test_schedule_raises_epsilon_and_a_callable_is_obeyed(digits):
    X, y, *_ = digits
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 0.0

    tiny(epsilon_schedule=schedule, max_epochs=4, batch_size=600).fit(X, y)
    np.testing.assert_allclose(seen, np.arange(8) / 8)
    by_schedule = tiny(epsilon_schedule=schedule).fit(X, y)
    standard = tiny(epsilon=0).fit(X, y)
    np.testing.assert_array_equal(by_schedule.decision_function(X), standard.decision_function(X))


def test_early_stopping_keeps_the_best_epoch(digits):
    X, y, *_ = digits
    clf = tiny(early_stopping=True, n_iter_no_change=2, max_epochs=60, lr=0.03, random_state=1)
    clf.fit(X, y)
    curve = clf.net_.history[:, "valid_adversarial_accuracy"]
    assert clf.n_iter_ < 60
    assert len(curve) - 1 - int(np.argmax(curve)) >= 2


def test_skorch_early_stopping_ends_the_training_and_is_not_changed(digits):
    X, y, *_ = digits
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0, sink=lambda text: None)
    before = copy.deepcopy(vars(stop))
    clf = tiny(max_epochs=20, callbacks=[("stop", stop)]).fit(X, y)
    assert clf.n_iter_ < 20
    before.pop("sink")
    assert {name: vars(stop)[name] for name in before} == before


def test_interrupt_leaves_a_usable_model_and_says_where(digits):
    X, y, *_ = digits
    calls = []

    def interrupting(progress):
        calls.append(progress)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return 1.0

    clf = tiny(epsilon_schedule=interrupting, batch_size=400, max_epochs=10)
    with pytest.warns(UserWarning, match="interrupted in epoch 3"):
        clf.fit(X, y)
    assert clf.predict(X).shape == y.shape


def test_collapse_to_a_constant_is_said(digits):
    X, y, *_ = digits
    with pytest.warns(ConvergenceWarning, match="collapsed to a constant output"):
        tiny(epsilon=0, lr=1e-9, max_epochs=1, random_state=3, hidden_layer_sizes=()).fit(X * 0, y)


def test_weights_act_like_repetition_in_a_full_batch(digits):
    X, y, *_ = digits
    weight = np.random.default_rng(0).integers(0, 3, size=len(y))
    settings = {
        "batch_size": -1, "random_start": False, "dtype": "float64", "max_epochs": 5,
        "epsilon": 0.2, "epsilon_schedule": "constant",
    }  # fmt: skip
    weighted = tiny(**settings).fit(X, y, sample_weight=weight)
    repeated = tiny(**settings).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    # Sums in another order differ by rounding, which Adam's early steps magnify.
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), atol=1e-8
    )


def test_class_weight_equals_sample_weight(digits):
    X, y, *_ = digits
    by_class = tiny(class_weight={0: 3.0}).fit(X, y)
    by_sample = tiny().fit(X, y, sample_weight=np.where(y == 0, 3.0, 1.0))
    np.testing.assert_array_equal(by_class.decision_function(X), by_sample.decision_function(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_balance_is_that_of_the_weights(digits, n_classes):
    X, y = (a[digits[1] < n_classes] for a in digits[:2])
    # Of one class a few samples are left; with three, of another none.
    weight = np.where(y == 0, np.arange(len(y)) < 20, y == 1).astype(float)
    settings = {
        "class_weight": "balanced", "batch_size": -1, "random_start": False, "dtype": "float64",
        "max_epochs": 5,
    }  # fmt: skip
    weighted = tiny(**settings).fit(X, y, sample_weight=weight)
    if n_classes == 2:
        expected = tiny(**settings).fit(X[weight > 0], y[weight > 0])
    else:
        count = np.bincount(y, weight)
        balance = weight * (weight.sum() / (2 * count[y.clip(None, 1)]))
        expected = tiny(**{**settings, "class_weight": None}).fit(X, y, sample_weight=balance)
    # Sums in another order differ by rounding, which Adam's early steps magnify.
    np.testing.assert_allclose(
        weighted.decision_function(X), expected.decision_function(X), atol=1e-8
    )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_norm_trains_and_is_attacked(digits, norm):
    X, y, X_test, y_test = digits
    epsilon = {"linf": 0.1, "l2": 0.5, "l1": 1.5}[norm]
    clf = tiny(norm=norm, epsilon=epsilon, clip_values=(0, 1), max_epochs=20, lr=3e-3).fit(X, y)
    X_adv = clf.perturb(X_test, y_test)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    # float32 keeps a difference of numbers up to 1 to 6e-8 in each of 64 coordinates.
    assert np.linalg.norm(X_adv - X_test, ord=order, axis=1).max() <= epsilon + 64 * 6e-8
    assert X_adv.min() >= 0 and X_adv.max() <= 1
    assert clf.robust_score(X_test, y_test) < clf.score(X_test, y_test)


# What they take --------------------------------------------------------------------------------


def test_images_rows_and_frames_give_the_same_model(digits):
    X, y, *_ = digits
    names = [f"pixel{i}" for i in range(64)]
    rows = tiny().fit(X, y)
    images = tiny().fit(X.reshape(-1, 8, 8), y)
    frame = tiny().fit(pd.DataFrame(X, columns=names), y)
    expected = rows.decision_function(X)
    np.testing.assert_array_equal(images.decision_function(X.reshape(-1, 8, 8)), expected)
    np.testing.assert_array_equal(images.decision_function(X), expected)
    np.testing.assert_array_equal(frame.decision_function(pd.DataFrame(X, columns=names)), expected)
    assert frame.feature_names_in_.tolist() == names
    assert images.input_shape_ == (8, 8) and images.n_features_in_ == 64


def test_cnn_infers_square_images_and_takes_channels(digits):
    X, y, *_ = digits
    settings = {"epsilon": 0, "max_epochs": 1, "random_state": 0}
    expected = RobustCNNClassifier(**settings).fit(X, y).decision_function(X)
    for shape in ((8, 8), (1, 8, 8)):
        clf = RobustCNNClassifier(**settings).fit(X.reshape(-1, *shape), y)
        np.testing.assert_array_equal(clf.decision_function(X.reshape(-1, *shape)), expected)
    colour = RobustCNNClassifier((4, 4, 4), **settings).fit(X, y)
    assert colour.module_.conv1.in_channels == 4
    row = RobustCNNClassifier(**settings).fit(X[:, :10], y)
    assert row.predict(X[:, :10]).shape == y.shape


def test_bytes_are_scaled_inside_the_model(digits):
    X, y, *_ = digits
    grey = np.round(X * 255).astype(np.uint8)
    by_bytes = tiny(epsilon=25.5).fit(grey, y)
    by_share = tiny(epsilon=0.1).fit(grey / 255, y)
    # The two attacks step in other units, so that rounding differs; the models stay alike.
    np.testing.assert_allclose(
        by_bytes.predict_proba(grey), by_share.predict_proba(grey / 255), atol=1e-3
    )
    np.testing.assert_allclose(
        by_bytes.input_gradients(grey[:5], y[:5]) * 255,
        by_share.input_gradients(grey[:5] / 255, y[:5]),
        atol=1e-3,
    )
    with pytest.warns(UserWarning, match="less than one grey level of X"):
        tiny(epsilon=0.3).fit(grey, y)


def test_string_labels_come_back(digits):
    X, y, *_ = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight",
                      "nine"])  # fmt: skip
    clf = tiny(max_epochs=10).fit(X, names[y])
    assert set(clf.predict(X)) <= set(names)
    assert clf.score(X, names[y]) > 0.8
    assert 0 < clf.robust_score(X, names[y]) <= clf.score(X, names[y])


def test_any_module_factory_is_told_the_sizes(digits):
    X, y, *_ = digits

    def network(input_shape, n_classes, width):
        return torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(int(np.prod(input_shape)), width),
            torch.nn.Tanh(),
            torch.nn.Linear(width, n_classes),
        )

    options = {"module_params": {"width": 7}, "max_epochs": 1, "random_state": 0}
    clf = RobustNeuralNetClassifier(network, **options)
    clf.fit(X.reshape(-1, 8, 8), y)
    assert clf.module_[1].out_features == 7


def test_a_module_instance_is_copied_not_trained_in_place(digits):
    X, y, *_ = digits
    module = torch.nn.Linear(64, 10)
    before = copy.deepcopy(module.state_dict())
    clf = RobustNeuralNetClassifier(module, max_epochs=1, random_state=0).fit(X, y)
    assert torch.equal(module.weight, before["weight"])
    assert not torch.equal(clf.module_.weight, before["weight"])
    assert clone(clf).module is not clf.module_


# What they answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["robust_fc", "robust_cnn"])
def test_gradients_agree_with_finite_differences(name, digits, request):
    clf = request.getfixturevalue(name)
    *_, X, y = digits
    # Noise breaks the ties of blank pixels, at which max-pooling has no derivative.
    X, y = X[:4] + np.random.default_rng(0).uniform(0, 0.05, size=(4, 64)), y[:4]
    gradients = clf.input_gradients(X, y)
    assert gradients.shape == X.shape

    def losses(X):
        return -np.log(clf.predict_proba(X)[np.arange(4), y])

    step = 1e-6
    for j in range(0, 64, 7):
        shift = np.zeros(64)
        shift[j] = step
        slope = (losses(X + shift) - losses(X - shift)) / (2 * step)
        # A ReLU or pooling kink within the step would show; none of these samples has one.
        np.testing.assert_allclose(gradients[:, j], slope, rtol=1e-4, atol=1e-7)


def test_gradients_without_labels_are_those_of_the_prediction(digits, robust_fc):
    X = digits[2]
    np.testing.assert_array_equal(
        robust_fc.input_gradients(X), robust_fc.input_gradients(X, robust_fc.predict(X))
    )


def test_module_is_an_ordinary_torch_module_in_the_shape_of_X(digits, robust_cnn):
    X = digits[2]
    images = torch.as_tensor(X.reshape(-1, 8, 8), dtype=torch.float32)
    with torch.no_grad():
        logits = robust_cnn.module_(images).numpy()
    np.testing.assert_allclose(
        softmax(logits, axis=1), robust_cnn.predict_proba(images.numpy()), atol=1e-5
    )
    assert not robust_cnn.module_.training


def test_probabilities_are_consistent(digits, robust_fc):
    X = digits[2]
    proba = robust_fc.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(np.log(proba), robust_fc.predict_log_proba(X), atol=1e-9)
    np.testing.assert_array_equal(
        robust_fc.predict(X), robust_fc.classes_[robust_fc.decision_function(X).argmax(1)]
    )


def test_two_classes_have_one_decision_value(digits):
    X, y, *_ = digits
    two = np.isin(y, (3, 8))
    clf = tiny(max_epochs=10).fit(X[two], y[two])
    decision = clf.decision_function(X[two])
    assert decision.shape == (two.sum(),)
    np.testing.assert_array_equal(clf.predict(X[two]), np.where(decision > 0, 8, 3))
    assert clf.robust_score(X[two], y[two], epsilon=0.5) < clf.score(X[two], y[two])


# What they keep --------------------------------------------------------------------------------


def test_same_seed_same_bits_and_no_global_state(digits):
    X, y, *_ = digits
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    clfs = [RobustCNNClassifier(max_epochs=1, pgd_steps=1, random_state=5) for _ in range(2)]
    scores = [clf.fit(X, y).robust_score(X[:200], y[:200]) for clf in clfs]
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    np.testing.assert_array_equal(clfs[0].decision_function(X), clfs[1].decision_function(X))
    assert scores[0] == scores[1]
    other = RobustCNNClassifier(max_epochs=1, pgd_steps=1, random_state=6).fit(X, y)
    assert not np.array_equal(other.decision_function(X), clfs[0].decision_function(X))


def test_scoring_and_gradients_leave_the_model_as_it_was(digits, robust_fc):
    *_, X, y = digits
    module = robust_fc.module_
    state = copy.deepcopy(module.state_dict())
    flags = [(m.training) for m in module.modules()]
    X_before = X.copy()
    robust_fc.robust_score(X, y)
    robust_fc.input_gradients(X, y)
    robust_fc.perturb(X, y)
    np.testing.assert_array_equal(X, X_before)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), module.state_dict().values(),
                                                 strict=True))  # fmt: skip
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())
    assert flags == [m.training for m in module.modules()]
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("copying", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
def test_a_copy_predicts_and_goes_on_training_the_same(digits, copying):
    X, y, *_ = digits
    clf = tiny().fit(X, y)
    twin = copying(clf)
    assert twin.module_ is twin.net_.module_ and twin.module_ is not clf.module_
    np.testing.assert_array_equal(twin.decision_function(X), clf.decision_function(X))
    clf.partial_fit(X, y)
    twin.partial_fit(X, y)
    np.testing.assert_array_equal(twin.decision_function(X), clf.decision_function(X))
    assert twin.n_iter_ == 3


@pytest.mark.parametrize("copying", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy])
def test_a_module_put_in_place_of_the_trained_one_is_kept_and_trained_on(digits, copying):
    X, y, *_ = digits
    clf = tiny().fit(X, y)
    pruned = copy.deepcopy(clf.module_)
    with torch.no_grad():
        pruned.linear1.weight[:8] = 0
    clf.module_ = pruned
    expected = clf.decision_function(X)
    twin = copying(clf)
    np.testing.assert_array_equal(twin.decision_function(X), expected)
    assert twin.module_ is not pruned
    twin.set_params(lr=1e-12).partial_fit(X, y)
    assert twin.module_ is twin.net_.module_
    np.testing.assert_allclose(twin.decision_function(X), expected, atol=1e-6)


def test_partial_fit_and_fit_see_the_same_rates_of_a_scheduler(digits):
    X, y, *_ = digits
    policies = {
        "StepLR": {"step_size": 2, "gamma": 0.1}, "ExponentialLR": {"gamma": 0.5},
        "MultiStepLR": {"milestones": [1, 3]}, "LambdaLR": {"lr_lambda": lambda epoch: 0.5**epoch},
        "CosineAnnealingLR": {"T_max": 5},
    }  # fmt: skip
    for name, options in policies.items():
        policy = getattr(torch.optim.lr_scheduler, name)
        scheduler = LRScheduler(policy, event_name="rate", **options)
        whole = tiny(callbacks=[scheduler], max_epochs=5).fit(X, y)
        parts = tiny(callbacks=[scheduler])
        for _ in range(5):
            parts.partial_fit(X, y)
        assert parts.net_.history[:, "rate"] == pytest.approx(whole.net_.history[:, "rate"])
        assert len(set(whole.net_.history[:, "rate"])) > 2


def test_skorchs_checkpoint_keeps_the_epoch_of_least_validation_loss(digits, tmp_path):
    X, y, *_ = digits
    saving = Checkpoint(dirname=tmp_path)
    clf = tiny(callbacks=[saving], early_stopping=True, max_epochs=6, epsilon_schedule="constant")
    history = clf.fit(X, y).net_.history
    losses, best = history[:, "valid_loss"], history[:, "valid_loss_best"]
    assert best == [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert len(list(tmp_path.iterdir())) >= 3


def test_partial_fit_goes_on_and_warm_start_starts_from_the_weights(digits):
    X, y, *_ = digits
    clf = tiny()
    for _ in range(20):
        clf.partial_fit(X, y, classes=np.arange(10))
    assert clf.score(X, y) > 0.85 and clf.n_iter_ == 20
    warm = tiny(warm_start=True, max_epochs=20).fit(X, y)
    first = warm.loss_
    warm.set_params(max_epochs=1, lr=1e-4).fit(X, y)
    assert warm.loss_ < first * 1.2
    cold = tiny(max_epochs=1, lr=1e-4).fit(X, y)
    assert cold.loss_ > 2


def test_partial_fit_takes_over_a_new_epsilon_and_a_new_rate(digits):
    X, y, *_ = digits
    same, changed, still = (tiny().partial_fit(X, y) for _ in range(3))
    assert same.partial_fit(X, y).net_.threat.epsilon != 0.5
    changed.set_params(epsilon=0.5).partial_fit(X, y)
    assert changed.net_.threat.epsilon == 0.5
    assert (changed.decision_function(X) != same.decision_function(X)).any()
    before = still.decision_function(X)
    still.set_params(lr=1e-12).partial_fit(X, y)
    np.testing.assert_allclose(still.decision_function(X), before, atol=1e-6)
    with pytest.raises(ValueError, match="epsilon must be"):
        still.set_params(epsilon=-1).partial_fit(X, y)


def test_partial_fit_and_early_stopping_exclude_each_other(digits):
    with pytest.raises(ValueError, match="early_stopping=True compares the epochs of one training"):
        tiny(early_stopping=True).partial_fit(*digits[:2])


def test_optimizer_params_may_ask_for_foreach(digits):
    X, y, *_ = digits
    assert tiny(optimizer_params={"foreach": True}).fit(X, y).loss_ < 2.5


def test_works_in_a_pipeline_and_in_a_grid_search(digits):
    X, y, X_test, y_test = digits
    pipe = make_pipeline(StandardScaler(), tiny(max_epochs=10)).fit(X, y)
    assert pipe.score(X_test, y_test) > 0.85
    search = GridSearchCV(
        tiny(max_epochs=15), {"epsilon": [0.0, 0.15]}, scoring=make_robust_scorer(epsilon=0.1),
        cv=2, n_jobs=2,
    )  # fmt: skip
    search.fit(X, y)
    assert search.best_params_ == {"epsilon": 0.15}
    serial = clone(search).set_params(n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(
        serial.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )


def test_callbacks_and_history_are_skorchs(digits):
    X, y, *_ = digits

    def accuracy(net, data, nothing):
        with torch.no_grad():
            return float((net.module_(data.X).argmax(1) == data.y).double().mean())

    scorings = [
        EpochScoring(accuracy, name=name, on_train=name == "train", use_caching=False)
        for name in ("train", "held_out")
    ]
    # Dropout would show if the module were still in training.
    settings = {"dropout": 0.5, "dtype": "float64", "max_epochs": 4, "epsilon_schedule": "constant"}
    clf = tiny(callbacks=scorings[:1], **settings).fit(X, y)
    assert clf.net_.history[-1, "train"] == pytest.approx(clf.score(X, y), abs=1e-12)
    assert len(clf.net_.history[:, "train_adversarial_accuracy"]) == 4
    clf = tiny(callbacks=scorings, early_stopping=True, **settings).fit(X, y)
    history = clf.net_.history
    assert history[:, "held_out"] == pytest.approx(history[:, "valid_clean_accuracy"], abs=1e-6)
    assert history[:, "held_out"] != history[:, "train"]


def test_verbose_prints_a_line_per_epoch_and_zero_is_silent(digits, capsys):
    X, y, *_ = digits
    tiny().fit(X, y)
    assert capsys.readouterr().out == ""
    tiny(verbose=1, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for word in ("epoch   1", "clean loss", "adversarial acc", "valid adversarial", " s"):
        assert word in lines[0]


# What they refuse ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": -0.1}, r"epsilon must be a finite number >= 0, got -0\.1\."),
        ({"epsilon": [0.1, 0.2]}, "epsilon has 2 values but X has 64 features"),
        ({"norm": "l7"}, "norm must be one of"),
        ({"pgd_steps": 0}, "pgd_steps must be an integer >= 1, got 0"),
        ({"pgd_steps": 2.5}, r"pgd_steps must be an integer >= 1, got 2\.5"),
        ({"step_size": -1}, "step_size must be a finite number >= 0, got -1"),
        ({"step_size": 0}, "step_size must be None or > 0, got 0"),
        ({"lr": 0}, "lr must be a finite number > 0, got 0"),
        ({"max_epochs": 0}, "max_epochs must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size must be 'auto', an integer >= 1, or -1 for all"),
        ({"callbacks": EpochTimer()}, "callbacks must be None or a list of skorch callbacks"),
        ({"callbacks": "disable"}, "callbacks must be None or a list .*, got 'disable'"),
        ({"callbacks": [3]}, "each of callbacks must be a skorch callback"),
        ({"optimizer_params": [1]}, r"optimizer_params must be None or a dict, .* got \[1\]"),
        (
            {"preprocessor": "passthrough"},
            "preprocessor must be None or a transformer, .* got 'pass",
        ),
        ({"preprocessor": StandardScaler}, "preprocessor must be None or a transformer"),
        ({"epsilon": 1e300}, r"epsilon must be <= 1e\+30 for networks, got 1e\+300\. Scale X"),
        ({"optimizer": "newton"}, "optimizer must be one of 'adam'"),
        ({"epsilon_schedule": "sine"}, "epsilon_schedule must be one of 'ramp', 'constant'"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'float64', 'bfloat16'"),
        ({"device": "cudda"}, "device must be 'auto' or a torch device such as"),
        ({"dropout": 1.5}, r"dropout must be a finite number >= 0 and < 1, got 1\.5"),
        ({"hidden_layer_sizes": (0,)}, "each of hidden_layer_sizes must be an integer >= 1"),
        ({"clip_values": (0, 0.5)}, r"values in \[0, 1\] outside clip_values=\(0\.0, 0\.5\)"),
        ({"class_weight": {0: -1.0}}, r"class_weight\[0\] must be a finite number >= 0, got -1\.0"),
        ({"class_weight": "equal"}, "class_weight must be None, 'balanced' or a dict"),
        ({"random_state": "seed"}, "random_state must be None, an integer >= 0"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(digits, parameters, message):
    X, y, *_ = digits
    clf = tiny(**parameters)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    assert not hasattr(clf, "module_")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_device_says_what_to_do(digits):
    X, y, *_ = digits
    with pytest.raises(ValueError, match=r"torch sees no CUDA device. Use device='auto' or 'cpu'"):
        tiny(device="cuda").fit(X, y)


def test_bad_data_are_refused(digits, robust_fc):
    X, y, *_ = digits
    with_nan = X.copy()
    with_nan[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        tiny().fit(with_nan, y)
    with pytest.raises(ValueError, match="at least 2 classes, got one class: "):
        tiny().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        tiny().fit(X, y, sample_weight=np.full(len(y), -1.0))
    with pytest.raises(ValueError, match=r"non-zero number|positive entry"):
        tiny().fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="labels that were not seen in fit"):
        robust_fc.input_gradients(X[:3], [99, 1, 2])
    with pytest.raises(ValueError, match="expecting 64 features"):
        robust_fc.predict(X[:, :63])
    with pytest.raises(ValueError, match=r"epsilon must be <= 1e\+30 for networks, got 1e\+300"):
        robust_fc.robust_score(X, y, epsilon=1e300)
    with pytest.raises(ValueError, match=r"outside clip_values=\(0\.2"):
        robust_fc.robust_score(X, y, clip_values=(0.2, 1))
    with pytest.raises(ValueError, match="X has 3 samples but y has 2"):
        robust_fc.robust_score(X[:3], y[:2])
    with pytest.raises(NotFittedError):
        robust_score(tiny(), X, y)


def test_wrong_modules_are_refused(digits):
    X, y, *_ = digits
    with pytest.raises(ValueError, match=r"to logits of shape \(n_samples, 10\), got \(1, 3\)"):
        RobustNeuralNetClassifier(torch.nn.Linear(64, 3)).fit(X, y)
    with pytest.raises(ValueError, match=r"module must be a torch\.nn.Module or a callable"):
        RobustNeuralNetClassifier("resnet").fit(X, y)
    with pytest.raises(ValueError, match=r"module must make a torch\.nn.Module, it made 3"):
        RobustNeuralNetClassifier(lambda: 3).fit(X, y)
    with pytest.raises(ValueError, match=r"image_shape must be \(h, w\) or \(c, h, w\) with 64"):
        RobustCNNClassifier((9, 9)).fit(X, y)
    for shape in (8, "8x8", (8.0, 8.0)):
        with pytest.raises(
            ValueError, match=r"image_shape must be None, \(h, w\) or \(c, h, w\), in"
        ):
            RobustCNNClassifier(shape, shift_average=1).fit(X, y)


def test_changed_classes_are_refused(digits):
    X, y, *_ = digits
    warm = tiny(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start=True needs the classes of the first fit"):
        warm.fit(X[y < 5], y[y < 5])
    part = tiny().partial_fit(X, y)
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        part.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="class_weight='balanced' needs all the data at once"):
        tiny(class_weight="balanced").partial_fit(X, y)


# What newcomers pass ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hidden_layer_sizes", "filters"])
def test_one_size_is_not_a_sequence(name, digits):
    message = f"{name} must be a sequence of integers, such as (64,), got 64."
    with pytest.raises(ValueError, match=re.escape(message)):
        RobustCNNClassifier(**{name: 64}).fit(*digits[:2])


def test_channels_at_the_end_are_refused_unless_they_are_meant():
    X, y = np.random.default_rng(0).random((8, 6, 6, 3)), np.arange(8) % 2
    quick = {"filters": (2,), "hidden_layer_sizes": (4,), "max_epochs": 1, "random_state": 0}
    with pytest.raises(ValueError, match=re.escape("Pass X.transpose(0, 3, 1, 2), or image_shape")):
        RobustCNNClassifier(**quick).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # noise teaches nothing
        RobustCNNClassifier((6, 6, 3), **quick).fit(X, y)


def test_a_module_for_other_samples_is_named_with_its_own_error(digits):
    module = torch.nn.Linear(784, 10)
    with pytest.raises(ValueError, match=r"module fails on a batch of shape \(1, 64\), .* mat1"):
        RobustNeuralNetClassifier(module).fit(*digits[:2])


def test_a_module_that_ends_in_softmax_is_warned_of(digits):
    module = torch.nn.Sequential(torch.nn.Linear(64, 10), torch.nn.Softmax(1))
    with pytest.warns(UserWarning, match="module seems to end in softmax") as caught:
        RobustNeuralNetClassifier(module, max_epochs=1, random_state=0).fit(*digits[:2])
    assert caught[0].filename == __file__


def test_sample_weight_of_the_wrong_length_is_refused_in_scoring(digits, standard_fc):
    X, y = digits[2][:5], digits[3][:5]
    with pytest.raises(ValueError, match=r"sample_weight.shape"):
        standard_fc.robust_score(X, y, sample_weight=[1.0])
