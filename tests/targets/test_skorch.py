"""Fitted nets of skorch: every question is answered, and their own ``predict`` is the judge."""

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from sklearn_robust import RobustNeuralNetClassifier, certified_score, robust_score
from sklearn_robust.attacks import PGD
from sklearn_robust.metrics import (
    adversarial_distance,
    evaluate_robustness,
    gradient_quality,
    input_gradients,
    perturb,
)
from sklearn_robust.targets import make_target

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
TEST = slice(1200, 1400)
QUIET = {"verbose": 0, "train_split": None}


class Ending(nn.Module):
    """A network that ends as it is told."""

    def __init__(self, ending=None, n_outputs=10, n_inputs=64):
        super().__init__()
        self.hidden, self.drop = nn.Linear(n_inputs, 24), nn.Dropout(0.2)
        self.norm, self.out = nn.BatchNorm1d(24), nn.Linear(24, n_outputs)
        self.ending = ending

    def forward(self, x):
        z = self.out(self.drop(torch.relu(self.norm(self.hidden(x)))))
        return z if self.ending is None else self.ending(z)


def softmax(z):
    return nn.functional.softmax(z, dim=-1)


def log_softmax(z):
    return z.log_softmax(1)


@pytest.fixture(scope="module")
def trained():
    """The weights of a network, trained with logits and cross-entropy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            Ending, criterion=nn.CrossEntropyLoss, max_epochs=20, lr=0.2,
            iterator_train__shuffle=True, **QUIET,
        )  # fmt: skip
        net.fit(X[:1200], Y[:1200])
    return net


def with_ending(trained, ending, criterion, **options):
    net = NeuralNetClassifier(Ending(ending), criterion=criterion, **QUIET, **options).initialize()
    net.module_.load_state_dict(trained.module_.state_dict())
    return net


ENDINGS = {
    "logits": (None, nn.CrossEntropyLoss),
    "softmax": (softmax, nn.NLLLoss),
    "module": (nn.Softmax(dim=1), nn.NLLLoss),
    "log": (log_softmax, nn.CrossEntropyLoss),
}


@pytest.fixture(scope="module")
def answers(trained):
    """What the library says of the same weights in a classifier of its own."""
    own = RobustNeuralNetClassifier(trained.module_, max_epochs=1, lr=1e-12, epsilon=0.03)
    own.partial_fit(X[:32], Y[:32], classes=np.arange(10))
    own.module_.load_state_dict(trained.module_.state_dict())
    return own


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_net_ends_in_changes_no_answer(ending, trained, answers):
    net, run = with_ending(trained, *ENDINGS[ending]), {"epsilon": 0.03, "clip_values": (0, 1)}
    attacked, proven = (f(net, X[TEST], Y[TEST], **run) for f in (robust_score, certified_score))
    assert 0.2 < proven <= attacked < net.score(X[TEST], Y[TEST])
    assert attacked == robust_score(answers, X[TEST], Y[TEST], **run)
    # The margin that rounding in float32 needs is 1e-4 of the logits, a sample at the most.
    assert abs(proven - certified_score(answers, X[TEST], Y[TEST], **run)) <= 1 / 200
    assert adversarial_distance(net, X[TEST][:20], Y[TEST][:20]) == pytest.approx(
        adversarial_distance(answers, X[TEST][:20], Y[TEST][:20], clip_values=None), rel=0.05
    )
    np.testing.assert_allclose(
        input_gradients(net, X[TEST], Y[TEST]), answers.input_gradients(X[TEST], Y[TEST]),
        rtol=1e-6, atol=1e-12,
    )  # fmt: skip


def test_perturbed_samples_come_back_as_the_net_takes_them(trained):
    net = with_ending(trained, softmax, nn.NLLLoss)
    before = X[TEST].copy()
    X_adv = perturb(net, X[TEST], Y[TEST], epsilon=0.05, clip_values=(0, 1), attack=PGD(5))
    assert X_adv.dtype == np.float32
    assert (X[TEST] == before).all()
    assert net.score(X_adv, Y[TEST]) == robust_score(
        net, X[TEST], Y[TEST], epsilon=0.05, clip_values=(0, 1), attack=PGD(5)
    )


def test_the_net_and_the_global_generator_are_as_they_were(trained):
    net = with_ending(trained, softmax, nn.NLLLoss)
    net.module_.train()
    net.module_.norm.eval()
    flags = {name: m.training for name, m in net.module_.named_modules()}
    weights = {k: v.clone() for k, v in net.module_.state_dict().items()}
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with joblib.parallel_config("threading"):
        evaluate_robustness(net, X[TEST][:40], Y[TEST][:40], [0.02], n_jobs=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: m.training for name, m in net.module_.named_modules()} == flags
    assert all(torch.equal(v, weights[k]) for k, v in net.module_.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.module_.parameters())


CANCER, GROWTH = load_breast_cancer(return_X_y=True)
CANCER = ((CANCER - CANCER.mean(0)) / CANCER.std(0)).astype(np.float32)


class Flat(nn.Module):
    def forward(self, x):
        return x.squeeze(-1)


def linear(n_outputs, *ending):
    """A linear net of scikit-learn's weights, whose robust accuracy is known in closed form."""
    fitted = LogisticRegression(C=0.1).fit(CANCER, GROWTH)
    layer = nn.Linear(30, n_outputs)
    with torch.no_grad():
        layer.weight.zero_()[-1] = torch.as_tensor(fitted.coef_[0])
        layer.bias.zero_()[-1] = float(fitted.intercept_[0])
    return nn.Sequential(layer, *ending), fitted


BINARY = {
    "logit": lambda t: NeuralNetBinaryClassifier(linear(1)[0], threshold=t),
    "flat logit": lambda t: NeuralNetBinaryClassifier(linear(1, Flat())[0], threshold=t),
    "probability": lambda t: NeuralNetBinaryClassifier(
        linear(1, nn.Sigmoid())[0], criterion=nn.BCELoss, threshold=t
    ),
    "flat probability": lambda t: NeuralNetBinaryClassifier(
        linear(1, nn.Sigmoid(), Flat())[0], criterion=nn.BCELoss, threshold=t
    ),
}


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
@pytest.mark.parametrize("kind", BINARY)
def test_one_output_for_two_classes_is_exact_where_the_net_is_linear(kind, threshold):
    net, (_, fitted) = BINARY[kind](threshold).initialize(), linear(1)
    cut = np.log(threshold / (1 - threshold))
    margin = (fitted.decision_function(CANCER) - cut) * (2 * GROWTH - 1)
    truth = (margin > 0.2 * abs(fitted.coef_).sum()).mean()
    assert robust_score(net, CANCER, GROWTH, epsilon=0.2) == pytest.approx(truth, abs=1e-9)
    assert certified_score(net, CANCER, GROWTH, epsilon=0.2) == pytest.approx(truth, abs=1e-9)
    assert 0.5 < truth < net.score(CANCER, GROWTH)
    distance = adversarial_distance(net, CANCER, GROWTH)
    true_distance = margin.clip(0) / abs(fitted.coef_).sum()
    np.testing.assert_allclose(distance, true_distance, rtol=0.02, atol=1e-4)


def test_two_logits_say_what_one_says():
    one = BINARY["logit"](0.5).initialize()
    two = NeuralNetClassifier(linear(2)[0], criterion=nn.CrossEntropyLoss).initialize()
    for score in (robust_score, certified_score):
        assert score(one, CANCER, GROWTH, epsilon=0.2) == score(two, CANCER, GROWTH, epsilon=0.2)


def test_a_sigmoid_within_a_sigmoid_is_judged_as_it_predicts():
    """BCEWithLogitsLoss on a module that ends in a sigmoid: probabilities of one half and more."""
    net = NeuralNetBinaryClassifier(linear(1, nn.Sigmoid())[0]).initialize()
    output = net.predict_proba(CANCER)[:, 1]
    told_apart = output > 0.5 + 1e-5
    assert 0.9 < net.predict(CANCER).mean() <= 1
    ones = np.ones(told_apart.sum(), dtype=int)
    for score in (robust_score, certified_score):
        assert score(net, CANCER[told_apart], ones, epsilon=0.0) == 1
    # At a threshold that can be reached it is one of the logits again.
    net = NeuralNetBinaryClassifier(linear(1, nn.Sigmoid())[0], threshold=0.6).initialize()
    attacked, proven = (
        f(net, CANCER, GROWTH, epsilon=0.2) for f in (robust_score, certified_score)
    )
    assert 0.5 < attacked == proven < net.score(CANCER, GROWTH)


def test_behind_a_scaler_in_raw_units(trained):
    raw, y = load_breast_cancer(return_X_y=True)
    raw = raw.astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 1))
        net = NeuralNetBinaryClassifier(module, max_epochs=30, lr=0.1, **QUIET)
        pipe = make_pipeline(StandardScaler(), net).fit(raw, y.astype(np.float32))
    tenth = 0.1 * raw.std(0)
    frame = pd.DataFrame(raw, columns=[f"c{i}" for i in range(30)])
    by_name = pd.Series(tenth, index=frame.columns)
    target = make_target(pipe, raw, y, epsilon=tenth)
    assert target.kind == "white box"
    proven, attacked = certified_score(pipe, raw, y, epsilon=tenth), robust_score(
        pipe, raw, y, epsilon=tenth
    )  # fmt: skip
    assert 0.8 < proven <= attacked < pipe.score(raw, y)
    pipe[0].feature_names_in_ = np.array(frame.columns, dtype=object)
    assert robust_score(pipe, frame, y, epsilon=by_name) == attacked
    moved = perturb(pipe, frame, y, epsilon=by_name)
    assert (moved.dtypes == np.float32).all()
    assert pipe.score(moved, y) == attacked
    assert input_gradients(pipe, raw, y).shape == raw.shape


def test_images_and_their_gradients(trained):
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10), nn.LogSoftmax(dim=1)
    )
    images = X.reshape(-1, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NeuralNetClassifier(
            module, criterion=nn.CrossEntropyLoss, max_epochs=8, lr=0.1, **QUIET
        )
        net.fit(images[:1200], Y[:1200])
    report = evaluate_robustness(net, images[TEST], Y[TEST], [0.01, 0.03], clip_values=(0, 1))
    assert report.certificate == "auto"
    for radius in report.radii:
        assert 0 < radius.certified <= radius.attacked <= radius.clean
    assert gradient_quality(net, images[TEST], Y[TEST]).n_samples == 200


def test_a_net_that_was_loaded_has_no_classes_and_needs_none(trained):
    net = with_ending(trained, None, nn.CrossEntropyLoss)
    assert not hasattr(net, "classes_")
    pipe = make_pipeline(StandardScaler().fit(X), net)
    assert robust_score(net, X[TEST], Y[TEST], epsilon=0.0) == net.score(X[TEST], Y[TEST])
    assert robust_score(pipe, X[TEST], Y[TEST], epsilon=0.0) == np.mean(
        pipe.predict(X[TEST]) == Y[TEST]
    )
    # The net gives indices, whatever y it was fitted on: a label that it cannot give is a mistake.
    assert robust_score(net, X[TEST], Y[TEST] + 10, epsilon=0.0) == 0


def test_float64_samples_are_given_to_a_float32_net_as_it_takes_them(trained):
    net, run = with_ending(trained, None, nn.CrossEntropyLoss), {"epsilon": 0.03}
    doubled = robust_score(net, X[TEST].astype(np.float64), Y[TEST], **run)
    assert doubled == robust_score(net, X[TEST], Y[TEST], **run)


class Cast(nn.Module):
    """A module that computes in float32 whatever it is."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        return self.out(x.float())


def test_a_module_that_insists_on_float32_is_attacked_in_it():
    net = NeuralNetClassifier(Cast, criterion=nn.CrossEntropyLoss, **QUIET).initialize()
    pipe = make_pipeline(StandardScaler().fit(X), net)
    y = net.predict(X[TEST])
    assert input_gradients(net, X[TEST], y).any()
    assert robust_score(net, X[TEST], y, epsilon=0.3) < 0.9
    assert robust_score(pipe, X[TEST], pipe.predict(X[TEST]), epsilon=0.3) < 0.9
    with pytest.raises(TypeError, match=r"no bounds for Cast .*, which calls float"):
        certified_score(net, X[TEST], y, epsilon=0.1)


class Own(NeuralNetClassifier):
    def predict(self, X):
        return 1 - super().predict(X)


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (Own(linear(2)[0], criterion=nn.CrossEntropyLoss), "it has a method predict"),
        (NeuralNetClassifier(linear(2)[0], predict_nonlinearity=lambda z: -z),
         "predict_nonlinearity of its own"),
    ],
)  # fmt: skip
def test_what_decides_differently_is_attacked_and_judged_but_not_certified(net, why):
    net.initialize()
    wrong = net.predict(CANCER)
    assert robust_score(net, CANCER, wrong, epsilon=0.0) == 1
    with pytest.raises(TypeError, match=why):
        certified_score(net, CANCER, wrong, epsilon=0.1)


def test_what_is_no_fitted_classifier_is_said():
    net = NeuralNetClassifier(nn.Linear(64, 10), **QUIET)
    with pytest.raises(NotFittedError):
        robust_score(net, X[TEST], Y[TEST], epsilon=0.1)
    regressor = NeuralNetRegressor(nn.Linear(64, 1), **QUIET).initialize()
    with pytest.raises(TypeError, match="is a regressor"):
        robust_score(regressor, X[TEST], Y[TEST], epsilon=0.1)


def test_margins_below_what_float32_resolves_are_not_certified():
    """Two logits that differ by less than their rounding: ``predict`` may say anything."""
    layer = nn.Linear(64, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.full((2, 64), 1e3))
        layer.weight[1] *= 1 - 1e-7
        layer.bias.zero_()
    net = NeuralNetClassifier(layer, criterion=nn.CrossEntropyLoss).initialize()
    with torch.no_grad():
        exact = net.module_.double()(torch.as_tensor(X[TEST]).double())
    assert (exact[:, 0] > exact[:, 1]).all()
    net.module_.float()
    zero = np.zeros(200, dtype=int)
    assert net.score(X[TEST], zero) > 0
    assert certified_score(net, X[TEST], zero, epsilon=0.0) == 0


def test_what_is_certified_at_the_boundary_is_predicted_in_batches_of_any_size():
    """Halving between samples of two classes ends where float32 says now one, now the other."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
                               nn.Linear(64, 4))  # fmt: skip
    net = NeuralNetClassifier(module, criterion=nn.CrossEntropyLoss).initialize()
    rows = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    says = net.predict(rows)
    apart = np.flatnonzero(says[::2] != says[1::2])
    start, near, far = rows[::2][apart], rows[::2][apart], rows[1::2][apart]
    for _ in range(40):
        middle = ((near.astype(np.float64) + far) / 2).astype(np.float32)
        same = (net.predict(middle) == says[::2][apart])[:, None]
        near, far = np.where(same, middle, near), np.where(same, far, middle)
    steps = (0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    points = np.concatenate([near + np.float32(step) * (start - near) for step in steps])
    says = net.predict(points)
    target = make_target(net, points, says, epsilon=0.0)
    proven = target.certified(target.threat, "auto")
    stable = np.ones(len(points), dtype=bool)
    for size in (1, 17):
        stable &= net.set_params(batch_size=size).predict(points) == says
    assert stable[proven].all()
    assert not stable.all()
    assert proven[-len(near) :].mean() > 0.9  # a hundredth of the way from the boundary
