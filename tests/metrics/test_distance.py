"""Distances to the boundary: exact for linear models, never too small for networks."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_robust.metrics import adversarial_distance, certified_score, robust_score

NORMS = ("linf", "l2", "l1")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_linear_distances_give_the_robust_accuracy_at_every_radius(
    digits, norm, clip_values, n_classes
):
    X, y, *_ = digits
    keep = y < n_classes
    X, y = X[keep], y[keep]
    clf = LogisticRegression(max_iter=300, C=0.1).fit(X, y)
    distance = adversarial_distance(clf, X, y, norm=norm, clip_values=clip_values)
    assert (distance > 0).mean() == clf.score(X, y)
    for epsilon in np.quantile(distance, [0.2, 0.5, 0.9]):
        # A radius on either side of a sample's distance, further apart than rounding.
        for radius in (epsilon * (1 - 1e-9), epsilon * (1 + 1e-9)):
            robust = robust_score(clf, X, y, epsilon=radius, norm=norm, clip_values=clip_values)
            assert (distance > radius).mean() == robust


@pytest.mark.parametrize("norm", NORMS)
def test_network_distances_lie_between_certificates_and_attacks(digits, robust_fc, norm):
    X, y = digits[2][:200], digits[3][:200]
    distance = adversarial_distance(robust_fc, X, y, norm=norm, clip_values=(0, 1))
    assert (distance > 0).mean() == robust_fc.score(X, y)
    for epsilon in np.quantile(distance, [0.3, 0.5, 0.8]):
        threat = {"epsilon": epsilon, "norm": norm, "clip_values": (0, 1)}
        farther = (distance > epsilon).mean()
        assert farther >= certified_score(robust_fc, X, y, **threat)
        # One run for every radius may miss what an attack on this radius finds: at most 4 samples.
        assert farther <= robust_score(robust_fc, X, y, attack="auto", **threat) + 0.02


def test_scores_alone_have_no_distance(digits):
    X, y, *_ = digits
    forest = make_pipeline(FunctionTransformer(np.sin), RandomForestClassifier(5)).fit(X, y)
    with pytest.raises(TypeError, match="adversarial_distance needs gradients"):
        adversarial_distance(forest, X[:5], y[:5])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_at_the_distance_itself_nothing_is_certified_that_an_attack_breaks(norm):
    X, y = load_iris(return_X_y=True)
    clf = LogisticRegression(max_iter=1000).fit(X, y)
    distances = adversarial_distance(clf, X, y, norm=norm)
    for epsilon in distances[(distances > 0) & np.isfinite(distances)]:
        assert certified_score(clf, X, y, epsilon=epsilon, norm=norm) <= robust_score(
            clf, X, y, epsilon=epsilon, norm=norm
        )
