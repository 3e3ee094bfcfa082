"""Robustness in raw units: what is measured is the input of the pipeline, by every route."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.special import softmax
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    RobustCNNClassifier,
    RobustFCClassifier,
    input_gradients,
    make_robust_scorer,
    robust_score,
)
from sklearn_robust.attacks import APGD, PGD, Margin, Square, ThreatModel
from sklearn_robust.metrics import (
    BlackBoxWarning,
    adversarial_distance,
    certified_score,
    perturb,
)
from sklearn_robust.targets import make_target

X, Y = load_wine(return_X_y=True)
TWO = Y < 2
SPREAD = X.std(axis=0)

CHAINS = {
    "standard": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "robust, pca": lambda: make_pipeline(RobustScaler(), PCA(5, whiten=True), RidgeClassifier()),
    "minmax, select": lambda: make_pipeline(MinMaxScaler(), SelectKBest(k=6), LinearSVC()),
    "union": lambda: make_pipeline(
        make_union(StandardScaler(), make_pipeline(MaxAbsScaler(), PCA(2))), LogisticRegression()
    ),
    "columns": lambda: make_pipeline(
        make_column_transformer(
            (StandardScaler(), [3, 1]), ("drop", [2]), (MinMaxScaler(), [3, 12]), remainder="drop"
        ),
        LogisticRegression(),
    ),
    "nested": lambda: make_pipeline(
        make_pipeline(StandardScaler(), "passthrough"), make_pipeline(PCA(4), LogisticRegression())
    ),
    "probed": lambda: make_pipeline(LinearDiscriminantAnalysis(), LogisticRegression()),
}


def linear_form(classifier, n_features, unit):
    """Return (coef, intercept) by evaluating the scores at 0 and at one unit of each feature."""
    scores = classifier.decision_function(np.vstack([np.zeros(n_features), np.diag(unit)]))
    scores = scores.reshape(n_features + 1, -1)
    return (scores[1:] - scores[0]).T / unit, scores[0]


# Linear classifiers: exact ---------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("classes", [2, 3])
def test_affine_pipelines_are_one_linear_classifier(name, classes):
    keep = classes > Y
    pipe = CHAINS[name]().fit(X[keep], Y[keep])
    target = make_target(pipe, X, epsilon=1.0)
    coef, intercept = target.coef, target.intercept
    expected, _ = linear_form(pipe, X.shape[1], SPREAD)
    scale = np.abs(expected * SPREAD).max()
    np.testing.assert_allclose(coef * SPREAD, expected * SPREAD, rtol=0, atol=1e-10 * scale)
    scores = pipe.decision_function(X).reshape(len(X), -1)
    np.testing.assert_allclose(X @ coef.T + intercept, scores, rtol=0, atol=1e-10 * scale * 100)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_exact_score_is_the_hand_composed_dual_norm(norm):
    scaler, clf = StandardScaler(), LogisticRegression()
    pipe = make_pipeline(scaler, clf).fit(X[TWO], Y[TWO])
    weight = clf.coef_[0] / scaler.scale_
    margin = (2 * Y[TWO] - 1) * pipe.decision_function(X[TWO])
    order = {"linf": 1, "l2": 2, "l1": np.inf}[norm]
    for share in (0.1, 0.3, 1.0):
        epsilon = share * SPREAD
        expected = np.mean(margin > np.linalg.norm(epsilon * weight, order))
        assert robust_score(pipe, X[TWO], Y[TWO], epsilon=epsilon, norm=norm) == expected
    everywhere = np.mean(margin > 0.05 * np.linalg.norm(weight, order))
    assert robust_score(pipe, X[TWO], Y[TWO], epsilon=0.05, norm=norm) == everywhere


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("chain", ["standard", "pca", "columns"])
def test_exact_score_is_what_trying_every_corner_finds(chain, clip):
    X, y = load_iris(return_X_y=True)
    front = {
        "standard": StandardScaler(),
        "pca": make_pipeline(RobustScaler(), PCA(3)),
        "columns": make_column_transformer((StandardScaler(), [2, 0]), remainder="passthrough"),
    }[chain]
    pipe = make_pipeline(front, LogisticRegression()).fit(X, y)
    epsilon = np.array([0.3, 0.0, 0.5, 0.2])
    bounds = (X.min(axis=0), X.max(axis=0)) if clip else None
    worst = pipe.predict(X) == y
    for signs in itertools.product((-1, 1), repeat=4):
        corner = X + epsilon * np.array(signs)
        corner = corner if bounds is None else corner.clip(*bounds)
        worst &= pipe.predict(corner) == y
    score = robust_score(pipe, X, y, epsilon=epsilon, clip_values=bounds)
    assert score == worst.mean()
    assert score < pipe.score(X, y)


@pytest.mark.parametrize("name", CHAINS)
def test_no_attack_beats_the_closed_form_and_the_best_come_close(name):
    pipe = CHAINS[name]().fit(X, Y)
    epsilon = 0.25 * SPREAD
    exact = robust_score(pipe, X, Y, epsilon=epsilon)
    found = robust_score(pipe, X, Y, epsilon=epsilon, attack=APGD(50, "margin", n_targets=2))
    random = robust_score(pipe, X, Y, epsilon=epsilon, attack=Square(100))
    assert exact <= found <= exact + 0.02
    assert exact <= random <= pipe.score(X, Y)


@pytest.mark.parametrize("front", [PCA(5), PCA(5, whiten=True), MaxAbsScaler()])
def test_pipelines_fitted_on_float32_are_exact_too(front):
    single = X.astype(np.float32)
    pipe = make_pipeline(front, RidgeClassifier()).fit(single, Y)
    coef = make_target(pipe, single, epsilon=1.0).coef
    expected, _ = linear_form(pipe, X.shape[1], SPREAD)
    # Rounding of the scores in float32, whose constant is 20 times their spread.
    np.testing.assert_allclose(coef * SPREAD, expected * SPREAD, rtol=0, atol=1e-5)
    assert certified_score(pipe, single, Y, epsilon=0.2 * SPREAD) == robust_score(
        pipe, single, Y, epsilon=0.2 * SPREAD
    )


def test_an_independent_attack_in_raw_space_finds_nothing_better():
    fb = pytest.importorskip("foolbox")
    scaler, clf = StandardScaler(), LogisticRegression()
    pipe = make_pipeline(scaler, clf).fit(X, Y)
    with torch.no_grad():
        head = torch.nn.Linear(13, 3, dtype=torch.float64)
        head.weight.copy_(torch.tensor(clf.coef_ / scaler.scale_))
        head.bias.copy_(torch.tensor(clf.intercept_ - clf.coef_ @ (scaler.mean_ / scaler.scale_)))
    low, high = X.min() - 100, X.max() + 100
    model = fb.PyTorchModel(head.eval(), bounds=(low, high), device="cpu")
    for epsilon in (0.05, 0.2):
        attack = fb.attacks.LinfPGD(steps=60, rel_stepsize=0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, _, success = attack(model, torch.tensor(X), torch.tensor(Y), epsilons=epsilon)
        theirs = 1 - success.numpy().mean()
        assert robust_score(pipe, X, Y, epsilon=epsilon) <= theirs


def worst_by_slsqp(gap, d):
    """Return the least of `gap` over the l2 unit ball as scipy finds it, from its values alone."""
    ball = {"type": "ineq", "fun": lambda u: 1 - u @ u}
    start = np.full(d, 0.1)
    return optimize.minimize(lambda u: gap(u[None])[0], start, method="SLSQP", constraints=ball).x


def worst_by_corners(gap, d):
    """Return the least of `gap` over the corners of the l1 unit ball."""
    corners = np.vstack([np.eye(d), -np.eye(d)])
    return corners[np.argmin(gap(corners))]


@pytest.mark.parametrize(("norm", "search"), [("l2", worst_by_slsqp), ("l1", worst_by_corners)])
@pytest.mark.parametrize("name", ["robust, pca", "columns"])
def test_a_search_on_scores_of_raw_rows_finds_what_the_closed_form_says(name, norm, search):
    pipe = CHAINS[name]().fit(X, Y)
    # Radii at which about half of the samples, that hold at first, fall.
    epsilon = {"l2": 0.7, "l1": 1.5}[norm] * SPREAD
    few = np.flatnonzero(pipe.predict(X) == Y)[::24]
    robust = np.ones(len(few), dtype=bool)
    for i, (x, y) in enumerate(zip(X[few], Y[few], strict=True)):
        for other in {0, 1, 2} - {y}:

            def gap(u, x=x, y=y, other=other):
                scores = pipe.decision_function(x + epsilon * u)
                return scores[:, y] - scores[:, other]

            u = search(gap, X.shape[1])
            # SLSQP leaves the ball by its tolerance of 1e-6; one step back, and it is inside.
            u = u / max(1.0, np.linalg.norm(u, 2 if norm == "l2" else 1))
            robust[i] &= gap(u[None])[0] > 0
    assert robust_score(pipe, X[few], Y[few], epsilon=epsilon, norm=norm) == robust.mean()
    assert 0 < robust.mean() < 1


def test_perturbed_rows_stay_in_raw_units_and_reach_the_worst_case():
    pipe = CHAINS["standard"]().fit(X, Y)
    epsilon = 0.25 * SPREAD
    X_adv = perturb(pipe, X, Y, epsilon=epsilon, norm="l2")
    assert ThreatModel(epsilon, "l2").contains(X_adv, X).all()
    assert pipe.score(X_adv, Y) == robust_score(pipe, X, Y, epsilon=epsilon, norm="l2")
    wrong = pipe.predict(X) != Y
    np.testing.assert_array_equal(X_adv[wrong], X[wrong])


def test_gradients_of_a_linear_pipeline_are_those_by_the_raw_input():
    pipe = CHAINS["robust, pca"]()
    pipe.steps[-1] = ("clf", LogisticRegression())
    pipe.fit(X, Y)
    gradients = input_gradients(pipe, X[:20], Y[:20])
    for j in range(X.shape[1]):
        shift = 1e-5 * SPREAD[j] * (np.arange(13) == j)
        losses = [
            -np.log(softmax(pipe.decision_function(X[:20] + s), axis=1)[np.arange(20), Y[:20]])
            for s in (shift, -shift)
        ]
        slope = (losses[0] - losses[1]) / (2e-5 * SPREAD[j])
        np.testing.assert_allclose(gradients[:, j], slope, rtol=1e-5, atol=1e-9 / SPREAD[j])


# Networks, and what is smooth ------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """Return a pipeline of scaler and network on the wines, fitted."""
    clf = RobustFCClassifier((16,), epsilon=0, max_epochs=40, lr=0.01, random_state=0)
    return make_pipeline(StandardScaler(), clf).fit(X, Y)


def test_a_network_behind_a_scaler_is_attacked_in_raw_units(network):
    epsilon = 0.3 * SPREAD
    score = robust_score(network, X, Y, epsilon=epsilon)
    # The same set, hand-carried into the network's own units.
    inner = network[-1].robust_score(network[0].transform(X), Y, epsilon=0.3)
    assert abs(score - inner) <= 2 / len(X)  # starts and rounding differ
    assert score < network.score(X, Y) - 0.05
    X_adv = perturb(network, X, Y, epsilon=epsilon)
    assert network.score(X_adv, Y) == score
    assert ThreatModel(epsilon).contains(X_adv, X).all()


def test_gradients_of_a_network_pipeline_agree_with_finite_differences(network):
    gradients = input_gradients(network, X[:5], Y[:5])
    for j in range(X.shape[1]):
        shift = 1e-6 * SPREAD[j] * (np.arange(13) == j)
        plus, minus = (
            -np.log(network.predict_proba(X[:5] + s)[np.arange(5), Y[:5]]) for s in (shift, -shift)
        )
        slope = (plus - minus) / (2e-6 * SPREAD[j])
        # A ReLU kink within the step would show; none of these samples has one.
        np.testing.assert_allclose(gradients[:, j], slope, rtol=1e-4, atol=1e-6 / SPREAD[j])
    np.testing.assert_array_equal(
        input_gradients(network, X[:5]), input_gradients(network, X[:5], network.predict(X[:5]))
    )


@pytest.mark.parametrize("final", ["linear", "network"])
def test_smooth_transformers_are_differentiated(final):
    clf = {
        "linear": LogisticRegression(max_iter=1000),
        "network": RobustFCClassifier((8,), epsilon=0, max_epochs=30, lr=0.02, random_state=0),
    }[final]
    pipe = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), clf).fit(X, Y)
    inside = {"epsilon": 0.3 * SPREAD, "clip_values": (0, np.full(13, 1e4))}
    score = robust_score(pipe, X, Y, **inside)
    scores_only = robust_score(pipe, X, Y, attack=Square(200), **inside)
    assert score <= scores_only <= pipe.score(X, Y)
    assert score < pipe.score(X, Y)
    assert input_gradients(pipe, X[:3], Y[:3]).shape == (3, 13)


def as_images(X):
    return np.reshape(X, (-1, 1, 8, 8))


def enlarged(X):
    return np.kron(X, np.ones((2, 2)))


def test_a_network_behind_a_reshape_is_attacked_as_one_that_takes_rows(digits):
    X, y = digits[2][:60], digits[3][:60]
    small = {"filters": (4,), "kernel_size": 3, "hidden_layer_sizes": (16,), "max_epochs": 10}
    clf = RobustCNNClassifier(**small, epsilon=0, lr=0.02, random_state=0).fit(as_images(X), y)
    pipe = make_pipeline(FunctionTransformer(as_images), FrozenEstimator(clf)).fit(X, y)
    score = robust_score(pipe, X, y, epsilon=0.1)
    assert score < clf.score(as_images(X), y)
    assert abs(score - robust_score(clf, as_images(X), y, epsilon=0.1)) <= 2 / len(X)
    twice = make_pipeline(FunctionTransformer(as_images), FunctionTransformer(enlarged), clf)
    twice.fit(X, y)
    with pytest.warns(BlackBoxWarning, match="Reshape in the last step before the classifier"):
        robust_score(twice, X[:9], y[:9], epsilon=0.1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_returns_from_where_a_scaler_clips(norm):
    classes = Y < 2
    data, y = X[classes], Y[classes]
    clipped = make_pipeline(MinMaxScaler(clip=True), LogisticRegression()).fit(data, y)
    # A value beyond the range is worth its end: the same scores without clipping, in the box.
    plain = make_pipeline(MinMaxScaler(), LogisticRegression()).fit(data, y)
    settings = {"epsilon": {"linf": 0.5, "l2": 2.0}[norm] * SPREAD, "norm": norm}
    box = data.min(axis=0), data.max(axis=0)
    exact = robust_score(plain, data, y, clip_values=box, **settings)
    assert exact < clipped.score(data, y) - 0.1
    for attack in ("auto", "apgd"):
        assert robust_score(clipped, data, y, attack=attack, **settings) == exact
    beyond = box[1] + SPREAD
    assert not input_gradients(clipped, beyond[None], [0]).any()


def test_an_attack_on_a_network_returns_from_where_its_preprocessor_clips():
    scaler = MinMaxScaler(clip=True)
    clf = RobustFCClassifier(
        (8,), epsilon=0, preprocessor=scaler, max_epochs=20, lr=0.02, random_state=0
    ).fit(X, Y)
    model, beyond = clf._model(), clf._read(X + 2 * np.ptp(X, axis=0))
    x, labels = model.asarray(beyond), model.labels(Y)
    gradient = model.ascent(x, labels, Margin())[1]
    assert gradient.any() and (gradient <= 0).all()
    assert not model.derivative(x, labels, Margin())[1].any()


# What only gives scores ------------------------------------------------------------------------


BLACK_BOXES = {
    "tree": make_pipeline(FunctionTransformer(np.sin), DecisionTreeClassifier(random_state=0)),
    "forest": make_pipeline(FunctionTransformer(np.sin), RandomForestClassifier(5)),
    "kernel": make_pipeline(MinMaxScaler(), SVC(kernel=laplacian_kernel)),
    "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(3, metric="canberra")),
    "quantiles": make_pipeline(QuantileTransformer(n_quantiles=20), LogisticRegression()),
    "polynomial": make_pipeline(StandardScaler(), PolynomialFeatures(2), LogisticRegression()),
    "votes": VotingClassifier(
        [("a", LogisticRegression()), ("b", KNeighborsClassifier(3, metric="canberra"))],
        voting="soft",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLACK_BOXES)
def test_other_classifiers_are_attacked_through_their_scores_and_it_is_said(name):
    clf = BLACK_BOXES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clf.fit(X, Y)
    few, labels, epsilon = X[::9], Y[::9], 0.4 * SPREAD
    with pytest.warns(BlackBoxWarning, match=f"{type(clf).__name__} is attacked through its scor"):
        score = robust_score(clf, few, labels, epsilon=epsilon)
    assert score <= clf.score(few, labels)
    X_adv = perturb(clf, few, labels, epsilon=epsilon, attack=Square(30))
    assert score <= clf.score(X_adv, labels) <= clf.score(few, labels)
    assert ThreatModel(epsilon).contains(X_adv, few).all()


def test_the_score_attack_is_weaker_than_the_exact_one_and_finds_much_of_it():
    pipe = CHAINS["standard"]().fit(X, Y)
    exact = robust_score(pipe, X, Y, epsilon=0.5 * SPREAD)
    by_scores = robust_score(pipe, X, Y, epsilon=0.5 * SPREAD, attack="square")
    assert exact <= by_scores <= exact + 0.05
    assert pipe.score(X, Y) - exact > 0.3


def test_scorers_that_name_the_attack_do_not_warn():
    scorer = make_robust_scorer(0.2 * SPREAD, attack=Square(30))
    tree = DecisionTreeClassifier(random_state=0)
    search = GridSearchCV(tree, {"max_depth": [1, 3]}, scoring=scorer, cv=2)
    search.fit(X, Y)
    assert (search.cv_results_["mean_test_score"] > 0).all()


# Mixed columns ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """Return a frame with numbers, whole numbers, a category and a truth value, and labels."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    n = 120
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue"], n),
            "height": 170 + 8 * y + rng.normal(0, 6, n),
            "age": 40 + 6 * y + rng.integers(-5, 6, n),
            "member": rng.random(n) < 0.3 + 0.4 * y,
            "noise": rng.normal(size=n),
        },
        index=np.arange(n) + 1000,
    )
    return frame, np.where(y, "yes", "no")


def of_columns(classifier):
    front = ColumnTransformer(
        [
            ("category", OneHotEncoder(), ["colour", "member"]),
            ("numbers", make_pipeline(StandardScaler(), PCA(2)), ["age", "height"]),
        ],
        remainder="passthrough",
    )
    return make_pipeline(front, classifier)


def test_categories_are_left_alone_and_numbers_are_exact(mixed):
    frame, y = mixed
    pipe = of_columns(LogisticRegression()).fit(frame, y)
    numbers = ["height", "age", "noise"]
    worst = pipe.predict(frame) == y
    for signs in itertools.product((-1, 1), repeat=3):
        corner = frame.copy()
        for column, sign in zip(numbers, signs, strict=True):
            corner[column] = corner[column] + 2.0 * sign
        worst &= pipe.predict(corner) == y
    assert robust_score(pipe, frame, y, epsilon=2.0) == worst.mean()
    assert 0 < worst.mean() < pipe.score(frame, y)

    X_adv = perturb(pipe, frame, y, epsilon=2.0)
    assert list(X_adv.columns) == list(frame.columns) and X_adv.index.equals(frame.index)
    assert X_adv["colour"].equals(frame["colour"]) and X_adv["member"].equals(frame["member"])
    right = pipe.predict(frame) == y
    assert (abs(X_adv["height"] - frame["height"])[right] > 1.99).any()
    assert (abs(X_adv[numbers] - frame[numbers]) <= 2 + 1e-9).all(axis=None)
    assert (pipe.predict(X_adv) == y).mean() == worst.mean()
    gradients = input_gradients(pipe, frame, y)
    assert gradients.shape == frame.shape
    assert not gradients[:, [0, 3]].any() and gradients[:, [1, 2, 4]].any(axis=0).all()


@pytest.mark.parametrize("final", ["network", "tree", "object array"])
def test_other_routes_leave_categories_alone_too(mixed, final):
    frame, y = mixed
    clf = {
        "network": RobustFCClassifier((8,), epsilon=0, max_epochs=20, lr=0.02, random_state=0),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
        "object array": RobustFCClassifier((8,), epsilon=0, max_epochs=20, lr=0.02, random_state=0),
    }[final]
    pipe = of_columns(clf)
    data = frame
    if final == "object array":
        data = frame.to_numpy(dtype=object)
        front = ColumnTransformer(
            [("category", OneHotEncoder(), [0, 3]), ("numbers", StandardScaler(), [1, 2, 4])]
        )
        pipe = make_pipeline(front, clf)
    pipe.fit(data, y)
    attack = "auto" if final != "tree" else Square(30)
    score = robust_score(pipe, data, y, epsilon=3.0, attack=attack)
    X_adv = perturb(pipe, data, y, epsilon=3.0, attack=attack)
    assert score < pipe.score(data, y)
    assert np.mean(pipe.predict(X_adv) == y) == score
    before, after = np.asarray(frame), np.asarray(X_adv)
    assert (before[:, [0, 3]] == after[:, [0, 3]]).all()
    moved = abs(before[:, [1, 2, 4]].astype(float) - after[:, [1, 2, 4]].astype(float))
    assert 2.9 < moved.max() <= 3 + 1e-9


TRUTHS = {
    "linear": LogisticRegression(),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
    "columns": make_pipeline(
        make_column_transformer((StandardScaler(), ["age", "member"]), remainder="passthrough"),
        LogisticRegression(),
    ),
    "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    "network": RobustFCClassifier(
        (8,), epsilon=0, max_epochs=30, lr=0.02, lr_schedule="constant", batch_size=128,
        input_ramp=None, random_state=0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRUTHS)
def test_truth_values_in_a_frame_are_numbers_that_nobody_moves(mixed, name):
    pd = pytest.importorskip("pandas")
    frame, y = mixed
    frame = frame.assign(since=pd.array(frame["age"] > 44, dtype="boolean"), age=frame["age"] / 8)
    frame = frame[["member", "age", "noise", "since"]]
    clf = TRUTHS[name].fit(frame, y)
    attack = Square(50) if name == "tree" else "auto"
    X_adv = perturb(clf, frame, y, epsilon=3.0, attack=attack)
    score = robust_score(clf, frame, y, epsilon=3.0, attack=attack)
    assert X_adv.index.equals(frame.index)
    for column in ("member", "since"):
        pd.testing.assert_series_equal(X_adv[column], frame[column])
    assert (clf.predict(X_adv) == y).mean() == score < clf.score(frame, y)
    with pytest.raises(ValueError, match="hold no numbers but words or booleans"):
        robust_score(clf, frame, y, epsilon=np.full(4, 3.0), attack=attack)
    if name == "tree":
        return
    # The same with the values as floats and a radius for each column; a range is for what moves.
    radii, box = np.array([0, 3.0, 3.0, 0]), (-20, np.array([0.5, 20, 20, 0.5]))
    numbers = clone(clf).fit(frame.astype(float), y)
    options = {"epsilon": radii, "clip_values": (-20, 20)}
    assert robust_score(numbers, frame.astype(float), y, **options) == score
    assert robust_score(clf, frame, y, epsilon=3.0, clip_values=box) == score
    assert certified_score(clf, frame, y, epsilon=3.0) <= score
    assert abs((adversarial_distance(clf, frame, y) > 3.0).mean() - score) <= 0.02
    if name == "network":
        assert clf.robust_score(frame, y, epsilon=3.0) == score
        pd.testing.assert_frame_equal(clf.perturb(frame, y, epsilon=3.0), X_adv)
    else:
        assert certified_score(clf, frame, y, epsilon=3.0) == score
        assert not input_gradients(clf, frame, y)[:, [0, 3]].any()


def test_the_methods_of_linear_models_leave_truth_values_alone_too(mixed):
    frame, y = mixed
    frame = frame[["member", "age", "noise"]].assign(age=frame["age"] / 8)
    clf = AdversarialLogisticRegression(0.1).fit(frame, y)
    assert clf.robust_score(frame, y, epsilon=0.5) == robust_score(clf, frame, y, epsilon=0.5)
    X_adv = clf.perturb(frame, y, epsilon=0.5)
    assert X_adv["member"].equals(frame["member"]) and not X_adv["age"].equals(frame["age"])


def test_an_object_array_and_an_array_of_truth_values_are_read_as_said():
    columns = np.random.default_rng(0).normal(size=(60, 2)) > 0
    y = (columns.sum(axis=1) + np.arange(60) % 2) // 2
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, y)
    assert abs(perturb(clf, columns, y, epsilon=0.3) - columns).max() == pytest.approx(0.3)
    objects = np.column_stack([columns[:, :1], columns[:, 1:].astype(float)]).astype(object)
    objects[:, 0] = columns[:, 0]
    moved = abs(perturb(clf, objects, y, epsilon=0.3).astype(float) - columns).max(axis=0)
    np.testing.assert_allclose(moved, [0, 0.3])


def test_radius_by_column_and_range_by_column(mixed):
    frame, y = mixed
    pipe = of_columns(LogisticRegression()).fit(frame, y)
    only_age = [0, 0, 3.0, 0, 0]
    X_adv = perturb(pipe, frame, y, epsilon=only_age)
    assert X_adv["height"].equals(frame["height"])
    assert abs(X_adv["age"] - frame["age"]).max() == 3
    numbers = frame[["height", "age", "noise"]]
    low, high = np.full(5, -np.inf), np.full(5, np.inf)
    low[[1, 2, 4]], high[[1, 2, 4]] = numbers.min(), numbers.max()
    boxed = perturb(pipe, frame, y, epsilon=2.0, clip_values=(low, high))
    assert (boxed[numbers.columns].max() <= numbers.max()).all()
    with pytest.raises(ValueError, match="epsilon must be 0 for columns that hold no numbers"):
        robust_score(pipe, frame, y, epsilon=[1.0, 0, 3.0, 0, 0])
    with pytest.raises(ValueError, match="epsilon has 3 values but X has 5 features"):
        robust_score(pipe, frame, y, epsilon=[1.0, 0, 3.0])
    with pytest.raises(ValueError, match=r"outside clip_values"):
        robust_score(pipe, frame, y, epsilon=1.0, clip_values=(0, 100))


def test_a_branch_without_radius_may_be_anything(mixed):
    frame, y = mixed
    front = ColumnTransformer(
        [("bins", PolynomialFeatures(3), ["noise"]), ("scaled", StandardScaler(), ["age"])]
    )
    pipe = make_pipeline(front, LogisticRegression()).fit(frame, y)
    numbers = frame[["noise", "age"]]
    pipe.fit(numbers, y)
    assert make_target(pipe, numbers, epsilon=np.array([0.0, 1.0])).kind == "exact"
    score = robust_score(pipe, numbers, y, epsilon=[0.0, 2.0])
    assert 0 < score < pipe.score(numbers, y)
    obstacle = make_target(pipe, numbers, epsilon=np.array([0.1, 1.0])).obstacle
    assert "step 'columntransformer': branch 'bins': PolynomialFeatures is not affine" in obstacle


# Wrappers, options, and refusals ---------------------------------------------------------------


def test_searches_and_frozen_estimators_are_looked_into():
    pipe = CHAINS["standard"]()
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=2).fit(X, Y)
    best = search.best_estimator_
    epsilon = 0.2 * SPREAD
    expected = robust_score(best, X, Y, epsilon=epsilon)
    assert robust_score(search, X, Y, epsilon=epsilon) == expected
    assert robust_score(FrozenEstimator(best), X, Y, epsilon=epsilon) == expected
    np.testing.assert_array_equal(input_gradients(search, X, Y), input_gradients(best, X, Y))


@pytest.mark.parametrize("attack", ["auto", "pgd", "fgsm", Square(50), APGD(5)])
def test_the_method_of_a_network_gives_the_same_number_as_the_function(attack, digits, robust_fc):
    *_, X, y = digits
    X, y = X[:60], y[:60]
    function = robust_score(robust_fc, X, y, attack=attack, random_state=3, epsilon=0.12)
    assert robust_fc.robust_score(X, y, attack=attack, random_state=3, epsilon=0.12) == function
    X_adv = perturb(robust_fc, X, y, attack=attack, random_state=3, epsilon=0.12)
    assert robust_fc.score(X_adv, y) == function


def test_a_search_over_radii_is_scored_at_its_own_radius():
    data = StandardScaler().fit_transform(X)
    clf = AdversarialLogisticRegressionCV([0.0, 0.2], scoring_epsilon=0.3, cv=2).fit(data, Y)
    score = clf.robust_score(data, Y)
    assert robust_score(clf, data, Y) == score < clf.score(data, Y)
    assert certified_score(clf, data, Y) == score
    for measure in (robust_score, certified_score):
        with pytest.raises(ValueError, match="norm must be one of"):
            measure(clf, data, Y, norm="")


def test_an_attack_with_settings_of_its_own_is_passed_as_an_object(robust_fc, digits):
    *_, X, y = digits
    few = PGD(1, step_size=0.01, keep="fooling")
    assert robust_fc.robust_score(X, y, attack=few) > robust_fc.robust_score(X, y, attack="pgd")
    for measure in (robust_score, perturb):
        with pytest.raises(TypeError, match="unexpected keyword argument 'n_steps'"):
            measure(robust_fc, X, y, n_steps=1)
        with pytest.raises(ValueError, match=r"must be one of .* such as PGD\(n_steps=100\)"):
            measure(robust_fc, X, y, attack="pgd-100")


@pytest.mark.parametrize("route", ["network", "scores"])
def test_the_result_does_not_depend_on_the_number_of_jobs(route, network):
    clf = network if route == "network" else DecisionTreeClassifier(random_state=0).fit(X, Y)
    many, labels = np.tile(X, (7, 1)), np.tile(Y, 7)  # more than one batch
    attack = Square(20) if route == "scores" else APGD(3)
    options = {"epsilon": 0.3 * SPREAD, "attack": attack}
    X_adv = perturb(clf, many, labels, **options)
    np.testing.assert_array_equal(X_adv, perturb(clf, many, labels, n_jobs=2, **options))


def test_what_cannot_be_measured_is_refused():
    pipe = CHAINS["standard"]()
    with pytest.raises(NotFittedError):
        robust_score(pipe, X, Y, epsilon=1.0)
    pipe.fit(X, Y)
    with pytest.raises(ValueError, match="epsilon must be given, in the units of X"):
        robust_score(pipe, X, Y)
    assert robust_score(pipe, X[:1], [7], epsilon=1.0) == 0  # a label unseen in fit
    with pytest.raises(ValueError, match="X has 178 samples but y has 3"):
        robust_score(pipe, X, Y[:3], epsilon=1.0)
    incomplete = X.copy()
    incomplete[3, 3] = np.nan
    with pytest.raises(ValueError, match="X has NaN or infinite values in 1 samples"):
        robust_score(pipe, incomplete, Y, epsilon=1.0)
    tree = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(X, Y)
    for attack in ("pgd", "apgd", PGD(3)):
        with pytest.raises(ValueError, match="needs gradients with respect to the input"):
            robust_score(tree, X, Y, epsilon=1.0, attack=attack)
    with pytest.raises(TypeError, match="cannot differentiate Pipeline: DecisionTreeClassifier is"):
        input_gradients(tree, X, Y)


def test_where_there_are_no_formula_and_no_scores_labels_are_attacked():
    hard = VotingClassifier([("a", LogisticRegression())])
    pipe = make_pipeline(QuantileTransformer(n_quantiles=20), hard).fit(X, Y)
    epsilon = 0.3 * X.std(axis=0)
    with pytest.warns(BlackBoxWarning, match="VotingClassifier|QuantileTransformer"):
        found = robust_score(pipe, X, Y, epsilon=epsilon)
    inner = make_pipeline(QuantileTransformer(n_quantiles=20), LogisticRegression()).fit(X, Y)
    with pytest.warns(BlackBoxWarning):
        by_scores = robust_score(inner, X, Y, epsilon=epsilon)
    assert by_scores - 0.02 <= found <= pipe.score(X, Y) - 0.1


def test_scores_that_are_nan_are_refused():
    pipe = CHAINS["standard"]().fit(X, Y)
    pipe[-1].coef_[0, 0] = np.nan
    with pytest.raises(ValueError, match="Pipeline gives NaN or infinite scores for 178 of 178"):
        robust_score(pipe, X, Y, epsilon=1.0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_derivatives_that_are_infinite_in_places_do_not_stop_an_attack(norm):
    y = np.repeat([0, 1], 50)
    counts = np.random.default_rng(0).poisson(np.c_[1 + 2 * y, 2 - y, 1 + y]).astype(float)
    assert (counts == 0).any()
    for final in (LogisticRegression(), AdversarialLogisticRegression(0.3)):
        clf = make_pipeline(FunctionTransformer(np.sqrt), final).fit(counts, y)
        settings = {"epsilon": 0.5, "norm": norm, "clip_values": (0, 50)}
        for attack in ("auto", "pgd", "apgd"):
            X_adv = perturb(clf, counts, y, attack=attack, **settings)
            assert ThreatModel(0.5, norm, (0, 50)).contains(X_adv, counts).all()
        assert robust_score(clf, counts, y, **settings) < clf.score(counts, y)


def test_an_attack_stays_where_a_square_root_is_defined():
    y = np.repeat([0, 1], 50)
    counts = np.random.default_rng(0).poisson(np.c_[1 + 2 * y, 2 - y, 1 + y]).astype(float)
    clf = make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()).fit(counts, y)
    score = robust_score(clf, counts, y, epsilon=0.5)
    assert score == robust_score(clf, counts, y, epsilon=0.5, clip_values=(0, 50))
    assert score < clf.score(counts, y)


def test_a_branch_without_radius_does_not_hinder_a_certificate():
    X, y = load_iris(return_X_y=True)
    columns = make_column_transformer((KBinsDiscretizer(3), [0]), (StandardScaler(), [1, 2, 3]))
    clf = make_pipeline(columns, LogisticRegression()).fit(X, y)
    radius = [0, 0.2, 0.3, 0.1]
    assert certified_score(clf, X, y, epsilon=radius) == robust_score(clf, X, y, epsilon=radius)


def test_another_number_of_columns_is_refused_as_scikit_learn_does():
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="X has 5 features, but Pipeline is expecting 13"):
        robust_score(clf, X[:, :5], Y, epsilon=0.1)


class ForeignTable:
    """A table with names that is not pandas'."""

    columns = ("a", "b")


def test_tables_whose_names_would_be_lost_are_refused():
    clf = LogisticRegression().fit(X[:, :2], Y)
    for measure in (robust_score, input_gradients):
        with pytest.raises(
            TypeError, match=r"found by name. Pass a data frame of pandas, polars or pyarrow"
        ):
            options = {"epsilon": 0.1} if measure is robust_score else {}
            measure(clf, ForeignTable(), Y, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_values": (1, 0)}, "clip_values must be"),
        ({"random_state": "a"}, "random_state must"),
    ],
)
def test_a_scorer_refuses_options_before_any_fit(options, message):
    with pytest.raises(ValueError, match=message):
        make_robust_scorer(epsilon=0.1, **options)


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_making_a_scorer_draws_nothing_from_a_generator(make):
    used = make(0)
    make_robust_scorer(epsilon=0.1, random_state=used)
    assert used.normal() == make(0).normal()
