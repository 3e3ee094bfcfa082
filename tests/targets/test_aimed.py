"""Chosen classes: what is reached, held against linear programs, and by any kind of attack."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier
from sklearn_robust.attacks import FMN, PGD, LinearModel, Margin, TorchModel, towards
from sklearn_robust.metrics import evaluate_robustness, perturb
from sklearn_robust.targets import BlackBoxWarning

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
EPSILON = 0.5


def _reachable(clf, x, aim):
    """Whether a linear program finds a point of the box that scores highest for a class."""
    others = np.delete(np.arange(len(clf.coef_)), aim)
    rows = np.hstack([clf.coef_[others] - clf.coef_[aim], np.ones((len(others), 1))])
    gaps = clf.intercept_[aim] - clf.intercept_[others]
    bounds = [*((v - EPSILON, v + EPSILON) for v in x), (None, None)]
    return -linprog([0] * len(x) + [-1], A_ub=rows, b_ub=gaps, bounds=bounds).fun > 1e-6


@pytest.fixture(scope="module")
def linear():
    return LogisticRegression(max_iter=1000).fit(X, NAMES[Y])


@pytest.mark.parametrize("turn", [1, 2])
def test_attack_reaches_a_class_exactly_where_a_linear_program_does(linear, turn):
    aims = (Y + turn) % 3
    X_adv = perturb(linear, X, NAMES[Y], epsilon=EPSILON, target_classes=NAMES[aims])
    reached = linear.predict(X_adv) == NAMES[aims]
    truth = [_reachable(linear, x, aim) for x, aim in zip(X, aims, strict=True)]
    assert 0 < sum(truth) < len(X)
    np.testing.assert_array_equal(reached, truth)
    assert abs(X_adv - X).max() <= EPSILON * (1 + 1e-12)


def test_report_counts_right_samples_that_are_not_taken_for_their_class(linear):
    aims = NAMES[(Y + 1) % 3]
    report = evaluate_robustness(linear, X, NAMES[Y], [0.2, EPSILON], target_classes=aims)
    X_adv = perturb(linear, X, NAMES[Y], epsilon=EPSILON, target_classes=aims)
    right = linear.predict(X) == NAMES[Y]
    assert report.radii[1].attacked == (right & (linear.predict(X_adv) != aims)).mean()
    assert all(r.certified <= r.attacked <= r.clean for r in report.radii)
    assert report.attack == "auto, towards chosen classes"


@pytest.mark.parametrize("attack", ["auto", "square", "fmn", PGD(10), FMN(10, n_targets=2)])
def test_every_attack_can_be_aimed(linear, attack):
    some = Y != 2
    X_adv = perturb(linear, X[some], NAMES[Y[some]], epsilon=2.0, attack=attack,
                    target_classes="virginica")  # fmt: skip
    assert (linear.predict(X_adv) == "virginica").mean() > 0.6


def test_networks_and_modules_are_aimed():
    net = RobustFCClassifier((16,), epsilon=0.1, max_epochs=40, lr=0.01, random_state=0)
    net.fit(X, Y)
    aims = (Y + 1) % 3
    by_method = net.perturb(X, Y, epsilon=1.5, target_classes=aims)
    np.testing.assert_array_equal(by_method, perturb(net, X, Y, epsilon=1.5, target_classes=aims))
    assert (net.predict(by_method) == aims).mean() > 0.4
    found = perturb(net.module_, X.astype(np.float32), Y, epsilon=1.5, target_classes=aims)
    assert (net.predict(found) == aims).mean() > 0.4


@pytest.mark.parametrize("clf", [RandomForestClassifier(10, random_state=0),
                                 KNeighborsClassifier(metric="canberra")])  # fmt: skip
def test_scores_alone_lead_to_chosen_classes(clf):
    clf.fit(X, NAMES[Y])
    aims = NAMES[(Y + 1) % 3]
    with pytest.warns(BlackBoxWarning, match="through its scores alone"):
        X_adv = perturb(clf, X, NAMES[Y], epsilon=1.0, target_classes=aims)
    # Points of the sets that are as near as can be to samples of the class come close to these.
    others = np.array([X[NAMES[Y] == aim] for aim in aims])
    near = np.clip(others, X[:, None] - 1, X[:, None] + 1)
    flat = (clf.predict(near.reshape(-1, 4)).reshape(len(X), -1) == aims[:, None]).any(axis=1)
    assert (clf.predict(X_adv) == aims).mean() >= flat.mean() > 0.3


def test_two_classes_leave_no_choice():
    two, labels = X[Y > 0], Y[Y > 0]
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(two, labels)
    free = perturb(clf, pd.DataFrame(two), labels, epsilon=0.3)
    aimed = perturb(clf, pd.DataFrame(two), labels, epsilon=0.3, target_classes=3 - labels)
    pd.testing.assert_frame_equal(free, aimed)
    report = evaluate_robustness(clf, two, labels, 0.3, target_classes=3 - labels)
    assert report.radii[0].attacked_is == "exact"


def test_samples_of_their_chosen_class_stay_as_they_are(linear):
    wrong = np.flatnonzero(linear.predict(X) != NAMES[Y])
    aims = linear.predict(X[wrong])
    found = perturb(linear, X[wrong], NAMES[Y[wrong]], epsilon=1.0, target_classes=aims)
    np.testing.assert_array_equal(found, X[wrong])


def test_gradient_of_the_two_scores_is_that_of_their_difference():
    rng = np.random.default_rng(0)
    W, x = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    model = LinearModel(W, np.zeros(4))
    logits, gradient = towards(model, 2).ascent(x, np.zeros(5, dtype=int), Margin())
    scores = x @ W.T
    rival = np.where(np.arange(4) == 2, -np.inf, scores).argmax(axis=1)
    np.testing.assert_allclose(gradient, W[2] - W[rival])
    np.testing.assert_allclose(logits[:, 1], scores[:, 2])
    layer = torch.nn.Linear(3, 4, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(torch.as_tensor(W))
    aimed = towards(TorchModel(layer, 4), 2)
    again = aimed.ascent(aimed.asarray(x), aimed.labels(np.zeros(5)), Margin())
    np.testing.assert_allclose(again[1], gradient)


@pytest.mark.parametrize("wrong, match", [
    ("daisy", r"of the classes \['setosa'"),
    (7, "of the classes"),
    ("setosa", "own label for 50 of 150 samples, the first of them number 0"),
    (NAMES[:2], "one for each sample, here 150"),
])  # fmt: skip
def test_wrong_classes_are_refused_before_any_work(linear, wrong, match):
    with warnings.catch_warnings(), pytest.raises(ValueError, match=match):
        perturb(linear, X, NAMES[Y], epsilon=0.1, target_classes=wrong)
    with pytest.raises(ValueError, match=match):
        evaluate_robustness(linear, X, NAMES[Y], 0.1, target_classes=wrong)
