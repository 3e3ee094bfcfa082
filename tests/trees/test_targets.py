"""What a target answers for trees, alone and behind transformers, against all there is to try."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    BlackBoxWarning,
    adversarial_distance,
    certified_score,
    evaluate_robustness,
    make_robust_scorer,
    perturb,
    robust_score,
)
from sklearn_robust.attacks import Square
from sklearn_robust.preprocessing import CannotFollowError
from sklearn_robust.targets import Subject, make_target
from sklearn_robust.targets._tree_front import follow_trees
from sklearn_robust.trees import TreeSearch, read_forest

RADIUS = 0.3


@pytest.fixture(scope="module")
def data():
    X, y = make_classification(
        90, 3, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, flip_y=0.1,
        random_state=0,
    )  # fmt: skip
    return np.round(X, 2), y


def _forest(**options):
    return RandomForestClassifier(7, max_depth=4, random_state=0, **options)


def _survivors(model, inner, X, y, low, high):
    """Ask the model in every cell that the box of a sample has in the input of its trees.

    `inner` maps rows to that input, column by column; cells are cut by the thresholds of the trees,
    and their points are the middle of them and, where the box ends, those ends.
    """
    front, trees = inner
    thresholds = [e.tree_ for e in trees.estimators_]
    robust = np.zeros(len(X), bool)
    for i in range(len(X)):
        ends = front(np.stack([low[i], high[i]])).astype(np.float32).astype(float)
        axes = []
        for f in range(ends.shape[1]):
            t = np.unique(np.concatenate([e.threshold[e.feature == f] for e in thresholds]))
            inside = t[(t >= ends[0, f]) & (t < ends[1, f])]
            cuts = np.concatenate([[ends[0, f]], inside, [ends[1, f]]])
            axes.append(np.unique(np.concatenate([(cuts[1:] + cuts[:-1]) / 2, ends[:, f]])))
        points = np.array(list(itertools.product(*axes)))
        robust[i] = (trees.predict(points) == y[i]).all()
    return robust & (model.predict(X) == y)


FRONTS = {
    "none": list,
    "standard": lambda: [StandardScaler()],
    "minmax": lambda: [MinMaxScaler(clip=True)],
    "maxabs": lambda: [MaxAbsScaler()],
    "robust": lambda: [RobustScaler()],
    "quantile": lambda: [QuantileTransformer(n_quantiles=30)],
    "normal": lambda: [QuantileTransformer(n_quantiles=30, output_distribution="normal")],
    "power": lambda: [PowerTransformer()],
    "several": lambda: [StandardScaler(), FunctionTransformer(np.arcsinh), MaxAbsScaler()],
    "selected": lambda: [SimpleImputer(), SelectKBest(k=2), StandardScaler()],
    "columns": lambda: [
        ColumnTransformer(
            [("scaled", StandardScaler(), [2, 0]), ("as it is", "passthrough", [1])],
            transformer_weights={"scaled": 3.0},
        )
    ],
    "logarithm": lambda: [FunctionTransformer(np.exp), FunctionTransformer(np.log1p)],
}


@pytest.mark.parametrize("front", FRONTS)
def test_certified_attacked_and_perturbed_are_the_truth(front, data):
    X, y = data
    trees = _forest()
    model = make_pipeline(*FRONTS[front](), trees).fit(X, y)
    transform = model[:-1].transform if front != "none" else np.asarray
    truth = _survivors(model, (transform, trees), X, y, X - RADIUS, X + RADIUS)
    target = make_target(model, X, y, epsilon=RADIUS)
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    np.testing.assert_array_equal(found.robust, truth)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), truth)
    moved = perturb(model, X, y, epsilon=RADIUS)
    assert (abs(moved - X) <= RADIUS + 1e-12).all()
    np.testing.assert_array_equal(model.predict(moved) == y, truth)
    assert 0.1 < truth.mean() < model.score(X, y) - 0.1


def test_bins_are_followed_though_the_scaled_values_are_few(data):
    X, y = data
    bins = KBinsDiscretizer(6, encode="ordinal", quantile_method="averaged_inverted_cdf")
    model = make_pipeline(bins, _forest()).fit(X, y)
    # One value in each bin and beside its ends is all that there is to try.
    robust = np.zeros(len(X), bool)
    edges = [np.asarray(e) for e in model[0].bin_edges_]
    for i, x in enumerate(X):
        axes = []
        for f in range(3):
            e = edges[f][(edges[f] >= x[f] - RADIUS) & (edges[f] <= x[f] + RADIUS)]
            axes.append(np.concatenate([[x[f] - RADIUS, x[f] + RADIUS], e, e - 1e-9]))
        robust[i] = (model.predict(np.array(list(itertools.product(*axes)))) == y[i]).all()
    assert robust_score(model, X, y, epsilon=RADIUS) == robust.mean()
    assert certified_score(model, X, y, epsilon=RADIUS) == robust.mean()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("clip_values", [None, (-1.5, 1.5)])
def test_proofs_and_mistakes_leave_nothing_between_and_never_disagree(norm, clip_values, data):
    X, y = data
    X = X.clip(-1.5, 1.5)
    rng = np.random.default_rng(0)
    for model in (
        ExtraTreesClassifier(7, max_depth=5, random_state=0),
        HistGradientBoostingClassifier(max_iter=7, min_samples_leaf=5),
        DecisionTreeClassifier(random_state=0),
    ):
        model.fit(X, y)
        target = make_target(model, X, y, epsilon=0.4, norm=norm, clip_values=clip_values)
        found = target.attacked(target.threat)
        proven = target.certified(target.threat, "auto")
        np.testing.assert_array_equal(found.robust, proven)
        assert 0 < proven.sum() < target.clean.sum()
        for _ in range(200):  # nobody finds a mistake where there is a proof
            tries = target.threat.around(X).sample(rng)
            assert (model.predict(tries) == y)[proven].all()
        moved = perturb(model, X, y, epsilon=0.4, norm=norm, clip_values=clip_values)
        assert target.threat.contains(moved, X).all()
        np.testing.assert_array_equal(model.predict(moved) == y, proven)


def test_columns_that_stay_and_radii_by_column(data):
    X, y = data
    model = _forest().fit(X, y)
    epsilon = np.array([0.0, 0.5, 0.2])
    low, high = X - epsilon, X + epsilon
    truth = _survivors(model, (np.asarray, model), X, y, low, high)
    assert robust_score(model, X, y, epsilon=epsilon) == truth.mean()
    moved = perturb(model, X, y, epsilon=epsilon)
    np.testing.assert_array_equal(moved[:, 0], X[:, 0])


@pytest.mark.parametrize("front", [[], [StandardScaler()]])
@pytest.mark.parametrize("container", ["float32", "float16", "frame"])
def test_samples_of_lower_precision(container, front, data):
    X, y = data
    X = (X + 1e-4).astype(np.float32)
    if container == "float16":
        X = X.astype(np.float16)
    if container == "frame":
        X = pd.DataFrame(X.astype(np.float64), columns=["a", "b", "c"]).astype({"b": np.float32})
    model = make_pipeline(*front, _forest()).fit(X, y)
    target = make_target(model, X, y, epsilon=RADIUS)
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), found.robust)
    moved = perturb(model, X, y, epsilon=RADIUS)
    np.testing.assert_array_equal(model.predict(moved) == y, found.robust)
    exact = np.asarray(X, dtype=np.float64)
    truth = robust_score(
        make_pipeline(*front, _forest()).fit(exact, y), exact, y, epsilon=RADIUS
    )  # fmt: skip
    assert abs(found.robust.mean() - truth) < 0.04
    moved = np.asarray(moved, dtype=np.float64)
    assert (abs(moved - exact) <= RADIUS + 2 * (container == "float16") * 1e-3 + 1e-6).all()


def _mixed(data):
    X, y = data
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame["town"] = rng.choice(["Ulm", "Ober", "Au"], len(X))
    frame["flag"] = rng.random(len(X)) < 0.5
    frame["code"] = rng.integers(0, 5, len(X))
    return frame, (y + (frame["town"] == "Ulm")).to_numpy() % 3


def test_encoders_of_words_and_of_codes_stay_as_they_are(data):
    frame, y = _mixed(data)
    encode = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["a", "b", "c"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["town"]),
            ("codes", OrdinalEncoder(), ["code"]),
        ],
        remainder="passthrough",
    )
    trees = _forest()
    model = make_pipeline(encode, trees).fit(frame, y)
    names = ["a", "b", "c"]
    truth = np.zeros(len(y), bool)
    for i in range(len(y)):
        row = frame.iloc[[i]]
        front = _Replaced(model[:-1].transform, row, names)
        ends = row[names].to_numpy(float)
        truth[i] = _survivors(
            _Replaced(model.predict, row, names), (front, trees), ends, y[i : i + 1],
            ends - RADIUS, ends + RADIUS,
        )[0]  # fmt: skip
    assert 0.1 < truth.mean() < 0.9
    assert robust_score(model, frame, y, epsilon=RADIUS) == truth.mean()
    assert certified_score(model, frame, y, epsilon=RADIUS) == truth.mean()
    moved = perturb(model, frame, y, epsilon=RADIUS)
    pd.testing.assert_frame_equal(moved.drop(columns=names), frame.drop(columns=names))


class _Replaced:
    """A function of frames, as one of the numbers in one row of it."""

    def __init__(self, function, row, names):
        self.function, self.row, self.names = function, row, names

    def __call__(self, values):
        frame = pd.concat([self.row] * len(values), ignore_index=True)
        frame[self.names] = values
        return np.asarray(self.function(frame))

    predict = __call__


def test_categories_that_a_classifier_declares_are_left_alone(data):
    X, y = data
    code = np.random.default_rng(0).integers(0, 6, len(X))
    X = np.c_[X[:, 0], code, X[:, 1:]]
    y = (y + (code > 3)) % 3
    model = make_pipeline(
        FunctionTransformer(),
        HistGradientBoostingClassifier(
            max_iter=15, min_samples_leaf=3, categorical_features=[1]
        ),
    ).fit(X, y)  # fmt: skip
    target = make_target(model, X, y, epsilon=RADIUS)
    assert len(target.forest.category_table)
    assert target.attacked(target.threat).kind == "exact"
    moved = perturb(model, X, y, epsilon=RADIUS)
    np.testing.assert_array_equal(moved[:, 1], code)
    assert 0 < certified_score(model, X, y, epsilon=RADIUS) < model.score(X, y)


@pytest.mark.parametrize("front", [[], [StandardScaler()], [SimpleImputer(add_indicator=True)]])
def test_what_is_missing_stays_missing(front, data):
    X, y = data
    rng = np.random.default_rng(0)
    X = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    model = make_pipeline(*front, _forest()).fit(X, y)
    target = make_target(model, X, y, epsilon=RADIUS)
    proven = target.certified(target.threat, "auto")
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    np.testing.assert_array_equal(found.robust, proven)
    moved = perturb(model, X, y, epsilon=RADIUS)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(X))
    assert (abs(moved - X) <= RADIUS + 1e-12)[~np.isnan(X)].all()
    np.testing.assert_array_equal(model.predict(moved) == y, proven)
    for _ in range(300):
        tries = X + rng.uniform(-RADIUS, RADIUS, X.shape)
        assert (model.predict(tries) == y)[proven].all()
    assert 0.1 < proven.mean() < target.clean.mean()


def test_missing_values_are_refused_by_other_attacks_and_other_models(data):
    X, y = data
    X = X.copy()
    X[0, 0] = np.nan
    model = _forest().fit(X, y)
    with pytest.raises(ValueError, match="only the exact search of trees"):
        robust_score(model, X, y, epsilon=RADIUS, attack="square")
    model = make_pipeline(PCA(2), _forest()).fit(np.nan_to_num(X), y)
    with pytest.raises(ValueError, match="NaN"):
        robust_score(model, X, y, epsilon=RADIUS, attack="square")


def test_a_model_that_thinks_anew_is_a_black_box(data):
    class Contrary(RandomForestClassifier):
        """Turns the first class round where the first column is large."""

        def predict(self, X):
            return np.where(np.asarray(X)[:, 0] > 1, 0, super().predict(X))

    X, y = data
    model = Contrary(7, max_depth=4, random_state=0).fit(X, y)
    target = make_target(model, X, y, epsilon=RADIUS)
    assert target.kind == "black box"
    assert "predicts something else than its trees" in target.obstacle
    with pytest.raises(TypeError, match="cannot be certified"):
        certified_score(model, X, y, epsilon=RADIUS)


def test_transformers_that_mix_or_turn_round_are_named(data):
    X, y = data
    for front, reason in (
        (FunctionTransformer(np.sin), "FunctionTransformer is not known"),
        (FunctionTransformer(np.negative), "FunctionTransformer is not known"),
        (
            FeatureUnion([("turned", StandardScaler())], transformer_weights={"turned": -1.0}),
            "reverses the order of values",
        ),
    ):
        model = make_pipeline(front, _forest()).fit(X, y)
        target = make_target(model, X[:5], y[:5], epsilon=0.01)
        with pytest.raises(CannotFollowError, match=reason):
            follow_trees(Subject.of(model, X[:5], y[:5], epsilon=0.01), read_forest(model[-1]))
        with pytest.warns(BlackBoxWarning):
            target.check()


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(PCA(2), _forest()),
        lambda: make_pipeline(
            StandardScaler(), PCA(3), HistGradientBoostingClassifier(max_iter=5, max_depth=3)
        ),
        lambda: make_pipeline(
            StandardScaler(), CalibratedClassifierCV(_forest(), cv=2, ensemble=False)
        ),
        lambda: OneVsRestClassifier(HistGradientBoostingClassifier(max_iter=5, max_depth=3)),
        lambda: StackingClassifier(
            [("forest", _forest()), ("boosted", GradientBoostingClassifier(n_estimators=3))],
            LogisticRegression(), cv=2,
        ),
    ],
    ids=["pca", "scaled pca", "calibrated", "one-vs-rest", "stacked"],
)  # fmt: skip
def test_what_mixes_columns_or_members_has_bounds_on_both_sides(make, data):
    X, y = data
    model, epsilon = make().fit(X, y), 0.05
    target = make_target(model, X, y, epsilon=epsilon)
    assert target.certificate_obstacle is None
    proven = target.certified(target.threat, "auto")
    assert 0.1 < proven.mean() <= target.clean.mean()
    rng = np.random.default_rng(0)
    for _ in range(150):
        tries = X + rng.choice([-1, 1, 0.5], X.shape) * epsilon
        assert (model.predict(tries) == y)[proven].all()
    attacked = robust_score(model, X, y, epsilon=epsilon, attack=Square(n_queries=30))
    assert proven.mean() <= attacked <= model.score(X, y)


def test_without_a_budget_both_bounds_are_given_and_the_report_says_so(data):
    X, y = data
    model = RandomForestClassifier(30, min_samples_leaf=2, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = evaluate_robustness(model, X, y, [0.1, 0.5], attack=TreeSearch(max_nodes=0))
        exact = evaluate_robustness(model, X, y, [0.1, 0.5])
    assert [at.attacked_is for at in exact.radii] == ["exact", "exact"]
    assert [at.certified_is for at in exact.radii] == ["exact", "exact"]
    assert exact.findings == ()
    assert [at.gap for at in exact.radii] == [0, 0]
    for bounds, truth in zip(report.radii, exact.radii, strict=True):
        assert bounds.certified <= truth.certified == truth.attacked <= bounds.attacked
    assert report.radii[1].gap > 0
    assert report.radii[1].attacked_is == "white box"
    assert report.radii[1].certified_is == "certified"


def test_other_attacks_still_run_through_scores_and_leave_more(data):
    X, y = data
    model = _forest().fit(X, y)
    exact = robust_score(model, X, y, epsilon=RADIUS)
    square = robust_score(model, X, y, epsilon=RADIUS, attack=Square(n_queries=20))
    assert exact < square <= model.score(X, y)
    (at,) = evaluate_robustness(model, X, y, RADIUS, attack=Square(n_queries=20)).radii
    assert at.attacked == square and at.attacked_is == "black box"
    assert at.certified == exact and at.certified_is == "certified"
    scorer = make_robust_scorer(RADIUS, attack=TreeSearch(50))
    assert scorer(model, X, y) == exact


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("front", [[], [StandardScaler()]])
def test_distances_are_the_radii_at_which_samples_fall(norm, front, data):
    X, y = data
    model = make_pipeline(*front, _forest()).fit(X, y)
    options = {"norm": norm, "unit": [0.5, 1.0, 2.0], "clip_values": (-4, 4)}
    lower, upper = adversarial_distance(model, X, y, return_bounds=True, **options)
    np.testing.assert_array_equal(adversarial_distance(model, X, y, **options), upper)
    np.testing.assert_array_equal(upper == 0, model.predict(X) != y)
    finite = np.isfinite(upper)
    np.testing.assert_allclose(lower[finite], upper[finite], rtol=2e-6)
    assert (lower <= upper).all()
    for radius in np.quantile(upper[upper > 0], [0.2, 0.5, 0.8]):
        for side in (1 - 1e-5, 1 + 1e-5):
            score = robust_score(
                model, X, y, epsilon=radius * side * np.array(options["unit"]), norm=norm,
                clip_values=(-4, 4),
            )  # fmt: skip
            assert score == (upper > radius * side).mean()


def test_votes_without_probabilities_are_searched_too(data):
    X, y = data
    members = [(str(k), DecisionTreeClassifier(max_depth=3, random_state=k)) for k in range(3)]
    members += [("stump", DecisionTreeClassifier(max_depth=1))]
    model = VotingClassifier(members).fit(X, y)
    score = robust_score(model, X, y, epsilon=RADIUS)
    assert certified_score(model, X, y, epsilon=RADIUS) == score < model.score(X, y)


def test_search_of_what_is_no_tree_ensemble_says_so(data):
    X, y = data
    model = make_pipeline(PCA(2), _forest()).fit(X, y)
    with pytest.raises(ValueError, match="needs a tree ensemble"):
        robust_score(model, X, y, epsilon=RADIUS, attack=TreeSearch())
    with pytest.raises(ValueError, match="max_nodes"):
        TreeSearch(max_nodes=-1)


def test_what_overflows_is_followed_as_far_as_it_goes(data):
    X, y = data
    trees = _forest()
    model = make_pipeline(FunctionTransformer(np.exp), StandardScaler(), trees).fit(X, y)
    with pytest.raises(ValueError, match="infinity"), np.errstate(all="ignore"):
        model.predict(np.full((1, 3), 1e30))
    truth = _survivors(model, (model[:-1].transform, trees), X, y, X - RADIUS, X + RADIUS)
    target = make_target(model, X, y, epsilon=RADIUS)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), truth)
    np.testing.assert_array_equal(target.attacked(target.threat).robust, truth)
