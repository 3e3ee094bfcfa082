"""Reports, certificates, distances and displays ask a norm for its geometry, not for its name."""

import dataclasses

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    RobustFCClassifier,
    adversarial_distance,
    certified_score,
    evaluate_robustness,
    get_norm,
    perturb,
    register_norm,
    robust_score,
)
from sklearn_robust._norms import NORMS
from sklearn_robust.attacks import Square
from sklearn_robust.inspection import AdversarialExamplesDisplay, RobustnessCurveDisplay

matplotlib.use("Agg")

X, Y = load_wine(return_X_y=True)
X = scale(X)
MODELS = {
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "network": lambda: RobustFCClassifier(
        (8,), epsilon=0.1, max_epochs=10, batch_size=32, lr=0.01, random_state=0
    ),
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
}


@pytest.fixture
def twin():
    """Register l2 under another name for one test."""
    l2 = get_norm("l2")

    class Twin(type(l2)):
        name = "twin"

    register_norm(Twin())
    yield "twin"
    del NORMS["twin"]


def told(report):
    """Return what a report says without the name of the norm and the seconds it took."""
    seconds = {"attack_seconds": 0.0, "certify_seconds": 0.0}
    radii = tuple(dataclasses.replace(radius, **seconds) for radius in report.radii)
    return radii, report.findings, report.certificate


@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
@pytest.mark.parametrize("clip_values", [None, (-4, 5)])
@pytest.mark.parametrize("name", MODELS)
def test_a_twin_of_l2_gets_the_numbers_of_l2(twin, name, clip_values):
    clf = MODELS[name]().fit(X, Y)
    box = {"clip_values": clip_values}
    attack = Square(60) if name == "tree" else "auto"
    options = {"epsilon": 0.5, "attack": attack, **box}
    ours, theirs = ({**options, "norm": norm} for norm in (twin, "l2"))
    assert robust_score(clf, X, Y, **ours) == robust_score(clf, X, Y, **theirs) < clf.score(X, Y)
    np.testing.assert_array_equal(perturb(clf, X, Y, **ours), perturb(clf, X, Y, **theirs))
    reports = [
        evaluate_robustness(clf, X, Y, [0.2, 0.5], norm=norm, attack=attack, **box)
        for norm in (twin, "l2")
    ]
    assert repr(told(reports[0])) == repr(told(reports[1]))
    assert len(reports[0].findings) > 0
    if name != "tree":
        found = [certified_score(clf, X, Y, epsilon=0.3, norm=n, **box) for n in (twin, "l2")]
        assert found[0] == found[1] > 0
        far = [adversarial_distance(clf, X, Y, norm=n, n_steps=10, **box) for n in (twin, "l2")]
        np.testing.assert_array_equal(*far)


def test_displays_draw_a_twin_of_l2_as_l2(twin):
    clf = MODELS["linear"]().fit(X, Y)
    curves = [
        RobustnessCurveDisplay.from_estimator(clf, X, Y, epsilons=[0.2, 0.5], norm=norm).curves
        for norm in (twin, "l2")
    ]
    for ours, theirs in zip(*(curve.values() for curve in curves), strict=True):
        np.testing.assert_array_equal(ours.attacked, theirs.attacked)
    pictures = [
        AdversarialExamplesDisplay.from_estimator(clf, X[:3], Y[:3], epsilon=0.5, norm=norm)
        for norm in (twin, "l2")
    ]
    ours, theirs = (vars(picture) for picture in pictures)
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(pictures[0].X_adv, pictures[1].X_adv)
