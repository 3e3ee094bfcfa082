"""What a transformer is not defined for is out of the adversary's reach."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import NMF
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PowerTransformer,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import perturb, robust_score
from sklearn_robust.targets import make_target

RNG = np.random.default_rng(0)
X = RNG.gamma(2.0, size=(120, 2)) + 0.05
Y = (np.log(X).sum(axis=1) + 0.3 * RNG.normal(size=120) > 0.5).astype(int)
FRONTS = {
    "box-cox": PowerTransformer(method="box-cox"),
    "log": FunctionTransformer(np.log),
    "log1p": FunctionTransformer(np.log1p),
    "sqrt": FunctionTransformer(np.sqrt),
    "chi2": AdditiveChi2Sampler(),
    "union": make_union(StandardScaler(), FunctionTransformer(np.sqrt)),
    "columns": make_column_transformer((FunctionTransformer(np.log), [1]), remainder="passthrough"),
    "nmf": NMF(2, init="nndsvda", random_state=0, max_iter=500),
}


@pytest.mark.parametrize("attack", ["auto", "square"])
@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
def test_an_attack_that_would_leave_the_domain_stays_inside(name, attack):
    clf = make_pipeline(FRONTS[name], StandardScaler(), LogisticRegression()).fit(X, Y)
    few, labels, options = X[:20], Y[:20], {"epsilon": 3.0, "attack": attack}
    X_adv = perturb(clf, few, labels, **options)
    assert (np.abs(X_adv - few) <= 3.0 + 1e-12).all()
    # The transformer itself says whether it takes these values.
    assert np.isfinite(clf[:-1].transform(X_adv)).all()
    right = (clf.predict(X_adv) == labels) & (clf.predict(few) == labels)
    assert robust_score(clf, few, labels, **options) == right.mean()


@pytest.mark.parametrize("func", [np.log1p, np.sqrt])
def test_of_one_column_the_robust_accuracy_is_that_of_both_ends_of_its_range(func):
    x, start = X[:, :1], {np.log1p: -1 + 1e-7, np.sqrt: 0.0}[func]
    front = make_pipeline(FunctionTransformer(func), StandardScaler(), LogisticRegression())
    clf = front.fit(x, Y)  # its scores are monotone in the column
    for epsilon in (0.5, 1.5, 4.0):
        ends = [clf.predict(np.maximum(x - epsilon, start)), clf.predict(x + epsilon)]
        truth = np.mean([(end == Y) for end in (*ends, clf.predict(x))], axis=0) == 1
        assert robust_score(clf, x, Y, epsilon=epsilon) == truth.mean()


def test_a_tree_behind_box_cox_is_searched_over_all_its_thresholds():
    x = X[:, :1]
    clf = make_pipeline(
        PowerTransformer(method="box-cox"), DecisionTreeClassifier(max_depth=3, random_state=0)
    ).fit(x, Y)
    grid = np.concatenate([np.geomspace(1e-30, 1e-3, 50), np.linspace(1e-3, 10, 4000)])
    answers = clf.predict(grid[:, None])
    for epsilon in (0.5, 2.0):
        truth = np.mean(
            [
                (answers[abs(grid - v) <= epsilon] == label).all()
                and clf.predict([[v]])[0] == label
                for v, label in zip(x[:40, 0], Y[:40], strict=True)
            ]
        )
        found = robust_score(clf, x[:40], Y[:40], epsilon=epsilon, attack="square")
        assert truth <= found <= truth + 0.02


@pytest.mark.parametrize("range_", [(0, 1), (1, 2), (-0.5, 8)])
def test_the_domain_is_found_behind_scalers_by_the_names_of_columns(range_):
    frame = pd.DataFrame(X, columns=["a", "b"])
    logarithm = make_pipeline(MinMaxScaler(range_), FunctionTransformer(np.log1p))
    front = make_column_transformer((logarithm, ["b"]), remainder="passthrough")
    clf = make_pipeline(front, LogisticRegression()).fit(frame, Y)
    target = make_target(clf, frame[["b", "a"]], Y, epsilon=0.1)
    low, high = target.threat.clip_values
    # low + (b - min) / (max - min) * (high - low) > -1
    scale = np.ptp(X[:, 1]) / (range_[1] - range_[0])
    expected = X[:, 1].min() - (1 + range_[0]) * scale
    assert expected < low[0] <= expected + 1e-6 * scale
    assert np.isneginf(low[1]) and np.isposinf(high[:2]).all()


def test_a_column_that_is_turned_round_has_its_domain_on_the_other_side():
    clf = make_pipeline(
        FunctionTransformer(None),
        MinMaxScaler(),
        FunctionTransformer(np.sqrt),
        LogisticRegression(),
    ).fit(X, Y)
    clf[1].scale_[0], clf[1].min_[0] = -clf[1].scale_[0], clf[1].scale_[0] * X[:, 0].max()
    low, high = make_target(clf, X, Y, epsilon=0.1).threat.clip_values
    np.testing.assert_allclose([high[0], low[1]], [X[:, 0].max(), X[:, 1].min()], rtol=1e-12)
    assert (np.isneginf(low[0]), np.isposinf(high[1])) == (True, True)


def test_clip_values_of_the_user_are_kept_within():
    clf = make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()).fit(X, Y)
    low, high = make_target(clf, X, Y, epsilon=0.1, clip_values=(-5, 20)).threat.clip_values
    np.testing.assert_array_equal([low, high], [[0, 0], [20, 20]])
