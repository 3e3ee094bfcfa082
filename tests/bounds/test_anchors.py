"""Ratios of sums of narrow kernels: exact for two rows, sound and close for many."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import KernelShares, RBFKernel
from sklearn_robust.bounds._anchors import ratio_bounds
from sklearn_robust.targets import make_target

NORMS = ("linf", "l2", "l1")
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


@pytest.mark.parametrize("norm", NORMS)
def test_ratio_of_two_kernels_is_linear_in_the_sample(norm):
    rows, x = np.array([[0.0, 0.0, 1.0], [1.5, 1.0, 0.0]]), np.array([0.3, 0.1, 0.6])
    epsilon, gamma = np.array([0.1, 0.2, 0.05]), 7.0
    found = ratio_bounds(gamma, rows, np.eye(2), x, 0, ThreatModel(epsilon, norm))
    q = ((rows - x) ** 2).sum(axis=1)
    reach = 2 * gamma * np.linalg.norm((rows[1] - rows[0]) * epsilon, ord=DUAL[norm])
    log_ratio = gamma * (q[1] - q[0]) - reach
    # The logarithm is taken from below: log(y / c) >= 1 - c / y.
    np.testing.assert_allclose(found[1], 1 - np.exp(-log_ratio), rtol=1e-6)
    assert found[1] <= log_ratio


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("gamma", [0.5, 20.0])
def test_logs_of_shares_keep_their_distance_at_all_points(gamma, norm):
    rng = np.random.default_rng(0)
    rows, classes = rng.normal(size=(60, 4)), np.arange(60) % 3
    rows[:, 0] += 2 * classes
    shares = np.eye(3)[classes].T * 0.9 + 0.1 / 3
    model = KernelShares(RBFKernel(gamma), rows, shares, np.zeros(3))
    X, threat = rows[:12] + 0.05, ThreatModel(0.08, norm)
    labels = classes[:12]
    margins = model.margins(X, labels, threat)
    rng, around = np.random.default_rng(1), threat.around(np.repeat(X, 300, axis=0))
    points = np.concatenate([around.sample(rng), around.furthest(rng.normal(size=(3600, 4)))])
    logs = model.logits(points).reshape(2, 12, 300, 3)
    own = np.take_along_axis(logs, labels[None, :, None, None], axis=3)
    least = (own - logs).min(axis=(0, 2))
    rivals = np.arange(3) != labels[:, None]
    assert (margins[rivals] <= least[rivals]).all()
    # What is not proven is nearly lost.
    unknown = np.isneginf(margins) & rivals
    assert least[unknown].max(initial=0.0) < 0.5


@pytest.mark.parametrize("cls", [LabelPropagation, LabelSpreading])
def test_narrow_kernels_of_many_features_are_proven(cls):
    X, y = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    clf = cls().fit(X, y)  # gamma = 20, at squared distances around 26
    target = make_target(clf, X, y, epsilon=0.3)
    proven = target.certified(target.threat, "auto")
    assert proven.mean() > 0.9
    rng, around = np.random.default_rng(0), target.threat.around(X)
    for k in range(60):
        near = around.project(X[rng.permutation(len(X))])
        points = near if k % 2 else around.furthest(rng.normal(size=X.shape))
        assert (clf.predict(points) == y)[proven].all()


def test_kernels_that_underflow_prove_nothing():
    rows, classes = np.array([[0.0], [1.0]]), np.eye(2)
    far = np.array([9.0])  # where both kernels are below the smallest number
    assert np.isneginf(ratio_bounds(20.0, rows, classes, far, 1, ThreatModel(0.1))).all()
