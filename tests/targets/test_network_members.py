"""Networks inside combinations: gradients and bounds of the whole, held against sampled points."""

import numpy as np
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier
from sklearn_robust.attacks import Margin, ThreatModel
from sklearn_robust.bounds import NetworkScores
from sklearn_robust.metrics import input_gradients
from sklearn_robust.targets import make_target

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def _fc(**settings):
    return RobustFCClassifier(
        (12,), epsilon=0.1, max_epochs=15, lr=0.02, random_state=0, **settings
    )


def _mlp(activation="relu"):
    return MLPClassifier((12,), activation=activation, max_iter=300, tol=1e-3, random_state=0)


def _skorch():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, max_epochs=40, lr=0.1, verbose=0, train_split=None
    )


WHOLES = {
    "soft vote": VotingClassifier([("a", _fc()), ("b", LogisticRegression())], voting="soft"),
    "hard vote": VotingClassifier([("a", _fc()), ("b", LogisticRegression()), ("c", _mlp())]),
    "behind a scaler": make_pipeline(
        StandardScaler(), VotingClassifier([("a", _fc()), ("b", _mlp("tanh"))], voting="soft")
    ),
    "bagged columns": BaggingClassifier(_fc(), 2, max_features=0.5, random_state=0),
    "calibrated": CalibratedClassifierCV(_mlp(), cv=2),
    "stack": StackingClassifier([("a", _mlp()), ("b", LogisticRegression())], cv=2),
    "stacked under a network": StackingClassifier(
        [("a", _mlp()), ("b", LogisticRegression())], final_estimator=_mlp(), cv=2
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(WHOLES))
def test_whole_is_decided_from_both_sides(name):
    clf = WHOLES[name].fit(X, Y)
    for norm in ("linf", "l2"):
        _check_both_sides(clf, norm)


def _check_both_sides(clf, norm):
    rows, labels = X[::3], Y[::3]
    target = make_target(clf, rows, labels, epsilon=0.15, norm=norm)
    proven = target.certified(target.threat, "auto")
    attacked = target.attacked(target.threat, seed=0)
    assert attacked.kind == "white box"
    assert (proven <= attacked.robust).all()
    assert (proven == attacked.robust).mean() >= 0.9
    rng, around = np.random.default_rng(0), target.threat.around(rows)
    for k in range(40):
        points = around.sample(rng) if k % 2 else around.furthest(rng.normal(size=rows.shape))
        assert (clf.predict(points) == labels)[proven].all()


@pytest.mark.filterwarnings("ignore")
def test_gradients_are_those_of_the_combined_probabilities():
    clf = VotingClassifier([("a", _fc()), ("b", _mlp("tanh"))], voting="soft").fit(X, Y)
    rows, step = X[40:60:4], 1e-6
    found = input_gradients(clf, rows, Y[40:60:4])
    for j in range(X.shape[1]):
        move = step * np.eye(4)[j]
        losses = [
            -np.log(clf.predict_proba(at)[np.arange(len(rows)), Y[40:60:4]])
            for at in (rows + move, rows - move)
        ]
        np.testing.assert_allclose(found[:, j], (losses[0] - losses[1]) / (2 * step), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("front", [[], [StandardScaler()]])
def test_members_of_single_precision_are_proven_with_a_margin_for_it(front):
    X32 = X.astype(np.float32)
    clf = VotingClassifier([("a", _skorch()), ("b", LogisticRegression())], voting="soft")
    clf = make_pipeline(*front, clf).fit(X32, Y)
    target = make_target(clf, X32, Y, epsilon=0.1)
    proven = target.certified(target.threat, "auto")
    robust = target.attacked(target.threat, seed=0).robust
    assert (proven <= robust).all()
    assert (proven == robust).mean() > 0.9


@pytest.mark.filterwarnings("ignore")
def test_images_as_rows_reach_a_network_inside():
    rng = np.random.default_rng(0)
    images, labels = rng.random((40, 36)), np.repeat([0, 1], 20)
    images[labels == 1, :18] *= 0.2
    net = RobustCNNClassifier(
        epsilon=0.05, filters=(4,), hidden_layer_sizes=(8,), max_epochs=80, lr=0.01, random_state=0
    )
    clf = FixedThresholdClassifier(net, threshold=0.6).fit(images, labels)
    target = make_target(clf, images, labels, epsilon=0.05)
    assert target.kind == "white box"
    proven = target.certified(target.threat, "auto")
    assert proven.mean() > 0.5
    assert (proven <= target.attacked(target.threat, seed=0).robust).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_scores_of_a_network_lie_between_their_bounds(norm):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model = NetworkScores(module, (3,), 3)
    rng = np.random.default_rng(0)
    centres, threat = rng.normal(size=(5, 3)), ThreatModel(0.3, norm)
    around = threat.around(np.repeat(centres, 400, axis=0))
    points = np.concatenate([around.sample(rng), around.furthest(rng.normal(size=(2000, 3)))])
    scores = model.logits(points).reshape(2, 5, 400, 3).swapaxes(0, 1).reshape(5, 800, 3)
    lower, upper = model.score_bounds(centres - 0.3, centres + 0.3)
    assert (lower <= scores.min(axis=1)).all()
    assert (scores.max(axis=1) <= upper).all()
    for label in range(3):
        labels = np.full(5, label)
        margins = (scores[:, :, [label]] - scores).min(axis=1)
        margins[:, label] = np.inf
        ball = model.margins(centres, labels, threat)
        assert (ball <= margins).all()
        assert (model.box_margins(centres - 0.3, centres + 0.3, labels) <= margins).all()
        # As tight as lines are: within a third of the width that was sampled.
        width = scores.max(axis=1) - scores.min(axis=1)
        others = np.arange(3) != label
        assert (margins[:, others] - ball[:, others]).mean() < width.mean() / 3
    exact = [[model.module(torch.tensor(c)).detach().numpy()] for c in centres]
    np.testing.assert_allclose(model.logits(centres), np.concatenate(exact))
    gradient = model.ascent(centres, np.zeros(5, dtype=int), Margin())[1]
    step = 1e-6 * np.eye(3)[0]
    values = [Margin().value(model.logits(centres + s), np.zeros(5, int)) for s in (step, -step)]
    np.testing.assert_allclose(gradient[:, 0], (values[0] - values[1]) / 2e-6, atol=1e-6)
