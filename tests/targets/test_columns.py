"""Linear classifiers behind splines and bins: exact in boxes, held against one column at a time."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MinMaxScaler,
    SplineTransformer,
    StandardScaler,
)

from sklearn_robust.metrics import evaluate_robustness, input_gradients, perturb
from sklearn_robust.targets import make_target

X, Y = load_iris(return_X_y=True)
SPREAD = X.std(axis=0)


def _bins(**settings):
    return KBinsDiscretizer(4, **{"strategy": "uniform", **settings})


FRONTS = {
    "splines": [SplineTransformer()],
    "few splines": [SplineTransformer(n_knots=4, degree=2, include_bias=False)],
    "straight splines": [SplineTransformer(n_knots=6, degree=1)],
    "scaled splines": [StandardScaler(), SplineTransformer(), StandardScaler(with_mean=False)],
    "bins": [_bins()],
    "dense bins": [_bins(encode="onehot-dense"), MinMaxScaler()],
    "numbered bins": [StandardScaler(), _bins(encode="ordinal")],
    "each its own": [
        make_column_transformer(
            (SplineTransformer(n_knots=4), [2, 0]), (_bins(), [3]), remainder=StandardScaler()
        )
    ],
    "both": [make_union(StandardScaler(), SplineTransformer(n_knots=4))],
}


def _fitted(name, classifier=None):
    clf = LogisticRegression(C=10, max_iter=2000) if classifier is None else classifier
    return make_pipeline(*FRONTS[name], clf).fit(X, Y)


def _truth(clf, rows, labels, radius):
    """Return the least margins, found column by column on a grid: they are sums over columns."""
    base = clf.decision_function(rows)
    own = np.take_along_axis(base, labels[:, None], axis=1)
    least = own - base
    for j in range(rows.shape[1]):
        drops = []
        for step in np.linspace(-1, 1, 201):
            moved = rows.copy()
            moved[:, j] += step * radius[j]
            scores = clf.decision_function(moved)
            mine = np.take_along_axis(scores, labels[:, None], axis=1)
            drops.append((mine - scores) - (own - base))
        least += np.min(drops, axis=0)
    np.put_along_axis(least, labels[:, None], np.inf, axis=1)
    return least


@pytest.mark.parametrize("name", list(FRONTS))
def test_margins_in_a_box_are_sums_of_what_each_column_can_do(name):
    clf, radius = _fitted(name), 0.3 * SPREAD
    rows, labels = X[::3], Y[::3]
    target = make_target(clf, rows, labels, epsilon=radius)
    assert target.kind == "exact"
    ours = target.model.margins(rows, labels, target.threat)
    truth = _truth(clf, rows, labels, radius)
    # Where all columns stay in their bins, no score changes, and there is no bound.
    still = np.isinf(ours) & np.isfinite(truth)
    assert "bins" in name or not still.any()
    others = np.isfinite(ours)
    size = abs(clf.decision_function(rows)).max()
    assert (ours[others] <= truth[others] + 1e-9 * size).all()
    # A grid of 200 steps comes near to the least value, of steps as of curves.
    assert np.quantile(truth[others] - ours[others], 0.97) < 2e-3 * size


@pytest.mark.parametrize("name", list(FRONTS))
def test_report_is_exact_and_no_point_of_a_box_contradicts_it(name):
    clf, radius = _fitted(name), 0.25 * SPREAD
    target = make_target(clf, X, Y, epsilon=radius)
    robust = target.attacked(target.threat).robust
    proven = target.certified(target.threat, "auto")
    np.testing.assert_array_equal(robust, proven)
    assert 0.3 < proven.mean() < 0.97
    rng, around = np.random.default_rng(0), target.threat.around(X)
    for k in range(60):
        points = around.sample(rng) if k % 2 else around.furthest(rng.normal(size=X.shape))
        assert (clf.predict(points) == Y)[proven].all()
    X_adv = perturb(clf, X, Y, epsilon=radius)
    assert (clf.predict(X_adv) == Y).mean() == robust.mean()


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("name", ["splines", "scaled splines", "each its own", "bins"])
def test_balls_are_bounded_from_both_sides(name, norm):
    clf = _fitted(name)
    target = make_target(clf, X, Y, epsilon=0.4 * SPREAD, norm=norm)
    proven = target.certified(target.threat, "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        robust = target.attacked(target.threat, seed=0).robust
    assert (proven <= robust).all()
    assert (proven == robust).mean() > 0.9
    box = make_target(clf, X, Y, epsilon=0.4 * SPREAD)
    assert (box.certified(box.threat, "auto") <= proven).all()


def test_gradients_are_those_of_the_splines():
    clf, step = _fitted("scaled splines"), 1e-6
    inside = (abs(X - (X.min(axis=0) + X.max(axis=0)) / 2) < np.ptp(X, axis=0) / 2).all(
        axis=1
    )  # beyond they are constant
    rows, labels = X[inside][::4], Y[inside][::4]
    found = input_gradients(clf, rows, labels)
    each = np.arange(len(rows))
    for j in range(4):
        move = step * np.eye(4)[j]
        losses = [-clf.predict_log_proba(at)[each, labels] for at in (rows + move, rows - move)]
        np.testing.assert_allclose(found[:, j], (losses[0] - losses[1]) / (2 * step), atol=1e-5)


def test_a_value_on_an_edge_belongs_to_the_bin_on_its_right():
    """Also behind a scaler, which may round it to the other side."""
    values = np.repeat(np.arange(0.0, 8.0), 5)[:, None]
    labels = (values[:, 0] >= 4).astype(int)
    for steps in ([], [StandardScaler()]):
        bins = KBinsDiscretizer(2, strategy="uniform", encode="ordinal")
        clf = make_pipeline(*steps, bins, LogisticRegression()).fit(values, labels)
        edge = clf.predict(np.array([[3.5], [np.nextafter(3.5, 0)]]))
        near = np.array([[3.5 + 1.0], [2.5]])
        target = make_target(clf, near, clf.predict(near), epsilon=1.0)
        proven = target.certified(target.threat, "auto")
        assert not proven[0]  # points of the set are rounded, and may lie beyond the edge
        assert not proven[1]  # the edge itself is in the other bin
        assert edge[0] != edge[1] or steps
        inside = make_target(clf, near, clf.predict(near), epsilon=0.99)
        assert inside.certified(inside.threat, "auto").all()


def test_frames_weights_and_members_are_followed():
    frame = pd.DataFrame(X, columns=list("abcd"))
    by_name = make_column_transformer((SplineTransformer(), ["c"]), (StandardScaler(), ["d", "a"]))
    by_name.set_params(transformer_weights={"splinetransformer": 2.0})
    clf = make_pipeline(by_name, RidgeClassifier()).fit(frame, Y)
    report = evaluate_robustness(clf, frame, Y, 0.2)
    assert report.radii[0].attacked_is == "exact"
    wine, labels = load_wine(return_X_y=True)
    both = [
        ("splines", make_pipeline(SplineTransformer(n_knots=3), LogisticRegression(max_iter=500))),
        ("line", make_pipeline(StandardScaler(), LogisticRegression())),
    ]
    vote = VotingClassifier(both, voting="soft").fit(wine, labels)
    (at,) = evaluate_robustness(vote, wine, labels, 0.1, unit=wine.std(axis=0)).radii
    assert at.attacked_is == "white box"
    assert at.attacked - at.certified < 0.1 < at.certified


def test_what_cannot_be_followed_says_so():
    clf = make_pipeline(SplineTransformer(extrapolation="linear"), LogisticRegression())
    target = make_target(clf.fit(X, Y), X, Y, epsilon=0.1)
    assert target.kind == "black box"
    assert "extrapolation='constant'" in target.obstacle
