"""What is read of a tree model is what it predicts, to the bit."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, ExtraTreeClassifier

from sklearn_robust.trees import (
    Forest,
    NoBoxesError,
    Tree,
    float32_threshold,
    inputs_of,
    probes,
    read_forest,
)

SKLEARN = {
    "tree": lambda n: DecisionTreeClassifier(random_state=0),
    "tree with impure leaves": lambda n: DecisionTreeClassifier(max_depth=3, random_state=0),
    "random tree": lambda n: ExtraTreeClassifier(random_state=0),
    "forest": lambda n: RandomForestClassifier(n, random_state=0),
    "forest with impure leaves": lambda n: RandomForestClassifier(
        n, min_samples_leaf=3, random_state=0
    ),
    "extra trees": lambda n: ExtraTreesClassifier(n, random_state=0),
    "bagging": lambda n: BaggingClassifier(
        DecisionTreeClassifier(max_depth=4), n, max_features=0.6, max_samples=0.05, random_state=0
    ),
    "bagging of forests": lambda n: BaggingClassifier(
        RandomForestClassifier(3), 3, max_features=0.6, random_state=0
    ),
    "adaboost": lambda n: AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=2), n_estimators=n, random_state=0
    ),
    "boosting": lambda n: GradientBoostingClassifier(n_estimators=n, random_state=0),
    "boosting with ties": lambda n: GradientBoostingClassifier(
        init="zero", n_estimators=1, max_depth=2, random_state=0
    ),
    "hist": lambda n: HistGradientBoostingClassifier(max_iter=n, min_samples_leaf=5),
    "hard votes": lambda n: VotingClassifier(
        [(str(k), ExtraTreeClassifier(max_depth=k, random_state=k)) for k in range(1, 6)],
        weights=[1, 2, 1, 2, 1],
    ),
    "soft votes": lambda n: VotingClassifier(
        [("one", DecisionTreeClassifier(max_depth=2)), ("many", RandomForestClassifier(5))],
        voting="soft", weights=[1, 2.3],
    ),
}  # fmt: skip
TAKE_MISSING = ("tree", "random tree", "forest", "extra trees", "bagging", "hist")


def _xgboost(**options):
    return pytest.importorskip("xgboost").XGBClassifier(n_jobs=1, **options)


def _lightgbm(**options):
    return pytest.importorskip("lightgbm").LGBMClassifier(n_jobs=1, verbose=-1, **options)


def _catboost(**options):
    quiet = {"verbose": 0, "thread_count": 1, "allow_writing_files": False}
    return pytest.importorskip("catboost").CatBoostClassifier(**quiet, **options)


OTHERS = {
    "xgboost": lambda n: _xgboost(n_estimators=n),
    "xgboost from a base": lambda n: _xgboost(n_estimators=2, base_score=0.2),
    "xgboost dart": lambda n: _xgboost(n_estimators=n, booster="dart", rate_drop=0.3),
    "lightgbm": lambda n: _lightgbm(n_estimators=n, num_leaves=8),
    "lightgbm forest": lambda n: _lightgbm(
        n_estimators=n, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5
    ),
    "catboost": lambda n: _catboost(n_estimators=n, depth=4),
    "catboost by depth": lambda n: _catboost(n_estimators=n, grow_policy="Depthwise"),
}


def _data(n_classes, *, rng, missing=0.0):
    """Samples with ties, a constant feature and a column each of huge and tiny values."""
    X, y = make_classification(
        200, 6, n_informative=4, n_redundant=0, n_classes=n_classes, flip_y=0.1, random_state=1
    )
    X = np.round(X, 1)
    X[:, 1], X[:, 2], X[:, 5] = 1e6 * X[:, 1] + 1e7, 1e-9 * X[:, 2], 3.0
    return np.where(rng.random(X.shape) < missing, np.nan, X), y


def _fitted(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of other libraries
        return model.fit(X, y)


def _assert_same_predictions(model, X, fixed=()):
    forest = read_forest(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        E = inputs_of(model, X)
        mask = np.isin(np.arange(X.shape[1]), fixed)
        # Categories stay where they are, so that E and X hold the same numbers elsewhere.
        near = probes(forest, np.where(mask, X, E), mask, 2000)
        points = np.concatenate([X, near.astype(X.dtype)])
        predicted = np.ravel(model.predict(points))
        E = inputs_of(model, points)
    scores = np.sort(forest.scores(E), axis=1)
    sure = scores[:, -1] - scores[:, -2] > forest.slack
    if not forest.exact:  # votes may tie at most of the points, and are compared there too
        assert sure.mean() > 0.3
    assert forest.slack < 1e-4 * abs(scores).max()
    np.testing.assert_array_equal(forest.predict(E)[sure], predicted[sure])
    if forest.exact:
        np.testing.assert_array_equal(forest.predict(E), predicted)
    return forest


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", [*SKLEARN, *OTHERS])
def test_read_trees_predict_what_the_model_predicts(kind, n_classes):
    X, y = _data(n_classes, rng=np.random.default_rng(0))
    model = (SKLEARN | OTHERS)[kind](7)
    y = y if kind in OTHERS else np.array(["no", "or", "yes"])[y]
    _assert_same_predictions(_fitted(model, X, y), X)


@pytest.mark.parametrize("kind", [*TAKE_MISSING, *OTHERS])
def test_missing_values_go_where_the_model_sends_them(kind):
    X, y = _data(3, rng=np.random.default_rng(0), missing=0.2)
    _assert_same_predictions(_fitted((SKLEARN | OTHERS)[kind](7), X, y), X)


@pytest.mark.parametrize("kind", ["forest", "hist", "xgboost"])
def test_data_of_single_precision(kind):
    X, y = _data(2, rng=np.random.default_rng(0))
    X = (X + 1e-3).astype(np.float32)
    model = _fitted((SKLEARN | OTHERS)[kind](7), X, y)
    forest = _assert_same_predictions(model, X).on(np.float32)
    inner = forest.threshold[(forest.feature >= 0) & np.isfinite(forest.threshold)]
    np.testing.assert_array_equal(inner, inner.astype(np.float32))
    near = probes(forest, X.astype(float), np.zeros(6, bool), 500)
    points = near.astype(np.float32)
    sure = np.ptp(np.sort(forest.scores(points.astype(float)), 1)[:, -2:], axis=1) > forest.slack
    expected = model.predict(points)
    np.testing.assert_array_equal(forest.predict(points.astype(float))[sure], expected[sure])


def _categories():
    rng = np.random.default_rng(1)
    X = np.c_[rng.normal(size=(400, 2)), rng.integers(0, 40, 400), rng.normal(size=400)]
    X = np.c_[X, rng.integers(3, 9, 400)]
    y = (np.sin(X[:, 2] * 7) + X[:, 0] + (X[:, 4] == 5) > 0).astype(int) + (X[:, 3] > 1)
    return X, y


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("library", ["sklearn", "lightgbm", "xgboost"])
def test_categories_go_where_the_model_sends_them(library, missing):
    X, y = _categories()
    X = np.where(np.random.default_rng(0).random(X.shape) < missing, np.nan, X)
    model = {
        "sklearn": lambda: HistGradientBoostingClassifier(
            max_iter=15, categorical_features=[2, 4]
        ),
        "lightgbm": lambda: _lightgbm(n_estimators=15, categorical_feature=[2, 4]),
        "xgboost": lambda: _xgboost(
            n_estimators=15, enable_categorical=True, feature_types=["q", "q", "c", "q", "c"]
        ),
    }[library]()  # fmt: skip
    _fitted(model, X, y)
    if library != "xgboost":  # which refuses codes that it has not seen
        X[::9, 2] = 77
    forest = _assert_same_predictions(model, X, fixed=(2, 4))
    assert len(forest.category_table)


def test_largest_double_that_single_precision_takes_for_less():
    rng = np.random.default_rng(0)
    t = np.concatenate([rng.normal(size=2000), 10.0 ** rng.uniform(-50, 37, 2000), [0.0, 1e-46]])
    t = np.concatenate([t, -t, t.astype(np.float32).astype(float)])
    T = float32_threshold(t)
    assert (T.astype(np.float32) <= t).all()
    assert (np.nextafter(T, np.inf).astype(np.float32) > t).all()
    T = float32_threshold(t, strict=True)
    assert (T.astype(np.float32) < t).all()
    assert (np.nextafter(T, np.inf).astype(np.float32) >= t).all()
    assert float32_threshold(np.inf) == np.inf


def test_boxes_meet_the_leaves_of_their_points_and_of_no_others():
    X, y = _data(3, rng=np.random.default_rng(0))
    X[:, 1:3] = X[:, [0, 3]]  # no wild scales: points are to hit many leaves
    forest = read_forest(RandomForestClassifier(5, max_depth=4, random_state=0).fit(X, y))
    rng = np.random.default_rng(1)
    low, high = X[:20] - 0.3, X[:20] + 0.3
    met = forest.met(low, high)
    for i, leaves in enumerate(met):
        points = rng.uniform(low[i], high[i], size=(3000, 6))
        assert set(forest.apply(points).ravel()) <= set(leaves)
        for leaf in leaves:  # the point of its box nearest to the sample reaches it
            tests = slice(forest.ptr[leaf], forest.ptr[leaf + 1])
            point, f = X[i].copy(), forest.path_feature[tests]
            floor = np.nextafter(forest.path_low[tests], np.inf)
            point[f] = np.clip(point[f], floor, forest.path_high[tests])
            assert (point >= low[i]).all() and (point <= high[i]).all()
            assert leaf in forest.apply(point[None])
    np.testing.assert_array_equal(np.sort(forest.apply(X), axis=1), np.array(forest.met(X, X)))


def test_sums_of_votes_are_exact_and_others_have_a_slack():
    one, two = np.eye(2)
    tree = Tree(
        np.array([0, -1, -1]), np.array([0.5, np.nan, np.nan]), np.array([1, -1, -1]),
        np.array([2, -1, -1]), np.zeros(3, bool), np.array([one, one, two]),
    )  # fmt: skip
    forest = Forest([tree, tree, tree], np.zeros(2), np.array([0, 1]), 1)
    assert forest.exact and forest.slack == 0
    np.testing.assert_array_equal(forest.scores(np.array([[0.5], [0.6]])), [[3, 0], [0, 3]])
    third = Tree(**{**vars(tree), "value": tree.value / 3})
    forest = Forest([third] * 3, np.zeros(2), np.array([0, 1]), 1)
    assert not forest.exact and 0 < forest.slack < 1e-13


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: LogisticRegression(), "LogisticRegression is not made of trees"),
        (
            lambda: StackingClassifier([("tree", DecisionTreeClassifier(max_depth=2))], cv=2),
            "StackingClassifier is not a sum of trees",
        ),
        (
            lambda: VotingClassifier([("linear", LogisticRegression())]),
            "LogisticRegression is not a sum of trees",
        ),
        (
            lambda: VotingClassifier([("forest", RandomForestClassifier(3))]),
            "RandomForestClassifier has one vote",
        ),
        (
            lambda: GradientBoostingClassifier(init=DecisionTreeClassifier(), n_estimators=2),
            "a model of its own",
        ),
        (lambda: _xgboost(n_estimators=2, missing=-1.0), "missing= is a number"),
        (lambda: _xgboost(n_estimators=2, booster="gblinear"), "booster is linear"),
        (lambda: _lightgbm(n_estimators=2, linear_tree=True), "linear_tree=True"),
        (lambda: _lightgbm(n_estimators=2, zero_as_missing=True), "zero_as_missing=True"),
        (lambda: _lightgbm(n_estimators=2, objective="multiclassova"), "against the rest"),
    ],
)
def test_what_has_no_boxes_is_refused_with_the_reason(model, reason):
    X, y = make_classification(
        100, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0
    )  # fmt: skip
    model = _fitted(model(), X, y)
    with pytest.raises(NoBoxesError, match=reason):
        read_forest(model)


def test_several_outputs_are_refused():
    X, y = make_classification(60, 4, random_state=0)
    model = DecisionTreeClassifier().fit(X, np.column_stack([y, 1 - y]))
    with pytest.raises(NoBoxesError, match="several outputs"):
        read_forest(model)
