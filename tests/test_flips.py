"""Categories that flip and budgets, against brute force over all rows that they allow."""

import itertools

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import KFold
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.fixes import parse_version

from sklearn_robust import (
    AdversarialLogisticRegression,
    Change,
    Flip,
    TabularThreat,
    certified_score,
    evaluate_robustness,
    make_robust_scorer,
    perturb,
    robust_score,
)
from sklearn_robust.bounds import most_gained
from sklearn_robust.targets import make_target

NEW = parse_version(sklearn.__version__) >= parse_version("1.9.dev0")
FOLDS = {"cv": KFold(3)} if NEW else {"cv": 3, "random_state": 0}
CITIES, GRADES, PLANS = ["Basel", "Bern", "Chur", "Genf"], ["a", "b", "c"], [1, 2, 3]


def table(seed=0, n=50, n_classes=2):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "city": rng.choice(CITIES, n),
            "visits": rng.integers(0, 9, n),
            "grade": pd.Categorical(rng.choice(GRADES, n), categories=["c", "a", "b"]),
            "plan": rng.choice(PLANS, n),
            "age": rng.integers(20, 60, n),
        },
        index=np.arange(n)[::-1] * 3,
    )
    score = X["visits"] * 0.4 + X["city"].map(dict(zip(CITIES, [0, 1, 2, 3], strict=True)))
    score = score + X["plan"] + X["grade"].map({"a": 0.0, "b": 1.0, "c": 1.5}).astype(float)
    score = score.to_numpy() + 0.02 * X["age"].to_numpy() + rng.normal(size=n)
    y = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    return X, y


def pipeline(classifier):
    columns = ColumnTransformer(
        [
            ("number", StandardScaler(), ["visits", "age"]),
            ("city", OneHotEncoder(), ["city"]),
            ("grade", make_pipeline(OrdinalEncoder(), StandardScaler()), ["grade"]),
            ("plan", TargetEncoder(**FOLDS), ["plan"]),
        ]
    )
    return make_pipeline(columns, classifier)


CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "ridge": RidgeClassifier(),
    "svm": LinearSVC(),
}
BUDGETS = {
    "one": (1, {}),
    "two": (2, {}),
    "all": (None, {}),
    "costs": (3, {"city": 2, "visits": 1.5, "plan": 0.5, "grade": 1}),
    "free": (1, {"grade": 0, "city": 1, "plan": 1, "visits": 1}),
}


def threat_of(budget, costs):
    return TabularThreat(
        {
            "city": Flip(cost=costs.get("city", 1)),
            "grade": Flip(["a", "b"], cost=costs.get("grade", 1)),
            "plan": Flip(cost=costs.get("plan", 1)),
            "visits": Change(-2, 1, whole=True, cost=costs.get("visits", 1)),
        },
        budget=budget,
    )


def every_row(x, budget, costs):
    options = {
        "city": CITIES,
        "grade": sorted({"a", "b", x["grade"]}),
        "plan": PLANS,
        "visits": [x["visits"] + k for k in (-2, -1, 0, 1)],
    }
    rows = []
    for values in itertools.product(*options.values()):
        new = dict(zip(options, values, strict=True))
        spent = sum(costs.get(name, 1) for name in options if new[name] != x[name])
        if budget is None or spent <= budget:
            rows.append({**x.to_dict(), **new})
    return pd.DataFrame(rows)


def truth(clf, X, y, budget, costs):
    rows = [every_row(X.iloc[i], budget, costs) for i in range(len(X))]
    sizes = [len(some) for some in rows]
    right = clf.predict(pd.concat(rows)[X.columns]) == np.repeat(y, sizes)
    return np.logical_and.reduceat(right, np.cumsum([0, *sizes[:-1]]))


@pytest.mark.parametrize(
    ("name", "n_classes", "budget"),
    [
        *(("logistic", n, budget) for n in (2, 3) for budget in BUDGETS),
        ("ridge", 3, "two"),
        ("svm", 2, "costs"),
    ],
)
def test_flips_within_a_budget_are_exact(name, n_classes, budget):
    X, y = table(1, n_classes=n_classes)
    clf = pipeline(CLASSIFIERS[name]).fit(X, y)
    limit, costs = BUDGETS[budget]
    threat, expected = threat_of(limit, costs), truth(clf, X, y, limit, costs)
    target = make_target(clf, X, y, epsilon=threat)
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    np.testing.assert_array_equal(found.robust, expected)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), expected)
    assert (clf.predict(X) == y).mean() > expected.mean()
    X_adv = perturb(clf, X, y, epsilon=threat)
    pd.testing.assert_index_equal(X_adv.index, X.index)
    assert X_adv.dtypes.equals(X.dtypes)
    np.testing.assert_array_equal(clf.predict(X_adv) == y, expected)
    for i in range(len(X)):  # what is given back is one of the rows that are allowed
        rows = every_row(X.iloc[i], limit, costs)[X.columns]
        assert (rows == X_adv.iloc[i]).all(axis=1).any()


def test_scores_scorers_and_reports_agree():
    X, y = table(2)
    clf, threat = pipeline(LogisticRegression()).fit(X, y), threat_of(2, {})
    exact = robust_score(clf, X, y, epsilon=threat)
    assert exact == certified_score(clf, X, y, epsilon=threat)
    assert exact == make_robust_scorer(threat)(clf, X, y)
    report = evaluate_robustness(clf, X, y, [0.0, 0.5, 1.0], unit=threat)
    assert report.radii[0].attacked == clf.score(X, y)
    assert report.radii[-1].attacked == exact == report.radii[-1].certified


def test_polars_and_arrays_of_objects_flip_as_pandas_does():
    polars = pytest.importorskip("polars")
    X, y = table(3)
    X = X.astype({"grade": str})
    threat = threat_of(2, {})
    clf = pipeline(LogisticRegression()).fit(X, y)
    expected = perturb(clf, X, y, epsilon=threat)
    theirs = polars.from_pandas(X)
    own = pipeline(LogisticRegression()).fit(theirs, y)
    moved = perturb(own, theirs, y, epsilon=threat)
    assert moved.schema == theirs.schema
    assert moved.to_dicts() == expected.to_dict("records")
    rows = X.to_numpy()
    columns = ColumnTransformer(
        [("all", OneHotEncoder(), [0, 2, 3]), ("rest", "passthrough", [1, 4])]
    )
    plain = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(rows, y)
    by_place = TabularThreat({0: Flip(), 3: Flip([1, 2]), 1: (-2, 1)}, budget=1)
    found = perturb(plain, rows, y, epsilon=by_place)
    assert set(np.unique(found[:, 0])) <= set(CITIES)
    assert ((found != rows).sum(axis=1) <= 1).all()
    assert robust_score(plain, rows, y, epsilon=by_place) == (plain.predict(found) == y).mean()


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_budget_of_columns_for_numbers_alone(k):
    rng = np.random.default_rng(k)
    X = rng.normal(size=(80, 4))
    y = (X @ [1.0, -2.0, 0.5, 1.0] > 0).astype(int)
    clf = AdversarialLogisticRegression(epsilon=0.0).fit(X, y)
    sides = np.array([[-0.3, 0.6], [0.0, 0.5], [-0.8, 0.0], [-0.2, 0.2]])
    threat = TabularThreat({j: tuple(side) for j, side in enumerate(sides)}, budget=k)
    robust = np.ones(len(X), dtype=bool)
    for moved in itertools.combinations(range(4), k):
        for ends in itertools.product(*(sides[j] for j in moved)):
            rows = X.copy()
            rows[:, moved] += ends
            robust &= clf.predict(rows) == y
    assert robust_score(clf, X, y, epsilon=threat) == robust.mean()
    assert certified_score(clf, X, y, epsilon=threat) == robust.mean()


NOT_LINEAR = {
    "tree": DecisionTreeClassifier(random_state=0),
    "forest": RandomForestClassifier(8, max_depth=5, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=8, random_state=0),
    "hist": HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=3, random_state=0),
    "gaussian": GaussianNB(),
    "scaled gaussian": make_pipeline(StandardScaler(), GaussianNB()),
    "bernoulli": BernoulliNB(binarize=3.5),
    "splines": make_pipeline(SplineTransformer(4), LogisticRegression(max_iter=2000)),
}


@pytest.mark.parametrize("budget", [1, 2, 2.5])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_budgets_of_trees_and_sums_are_exact(name, n_classes, budget):
    rng = np.random.default_rng(n_classes)
    X = rng.integers(0, 9, size=(60, 4))
    score = X @ [1.0, -1.0, 0.5, 0.7] + rng.normal(size=60)
    y = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    clf = NOT_LINEAR[name].fit(X, y)
    ends, costs = (
        [(-2, 1), (0, 3), (-3, 3), (-1, 1)],
        [1, 1, 1, 1] if budget < 2.5 else [2, 1, 1, 0.5],
    )
    changes = {
        j: Change(*side, whole=True, cost=cost)
        for j, (side, cost) in enumerate(zip(ends, costs, strict=True))
    }
    moves = np.array(list(itertools.product(*(range(a, b + 1) for a, b in ends))))
    moves = moves[(moves != 0) @ np.array(costs) <= budget]
    right = clf.predict((X[:, None] + moves).reshape(-1, 4)).reshape(len(X), -1) == y[:, None]
    expected = right.all(axis=1)
    threat = TabularThreat(changes, budget=budget)
    target = make_target(clf, X, y, epsilon=threat)
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    np.testing.assert_array_equal(found.robust, expected)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), expected)
    X_adv = perturb(clf, X, y, epsilon=threat)
    assert X_adv.dtype == X.dtype
    assert ((X_adv != X) @ np.array(costs) <= budget).all()
    np.testing.assert_array_equal(clf.predict(X_adv) == y, expected)
    assert expected.mean() < clf.score(X, y)
    assert robust_score(clf, X, y, epsilon=TabularThreat(changes)) <= expected.mean()


def test_the_most_that_a_budget_buys_is_that_of_all_subsets():
    rng = np.random.default_rng(0)
    for costs, budget in (([1, 1, 1, 1], 2), ([2, 1, 3, 1.5], 4), ([0.1, 0.2, 0.3, 0.1], 0.3)):
        gain, cost = rng.random((50, 4)), np.array(costs, dtype=float)
        best = np.zeros(50)
        for size in range(5):
            for some in itertools.combinations(range(4), size):
                if round(cost[list(some)].sum(), 9) <= budget:
                    best = np.maximum(best, gain[:, list(some)].sum(axis=1))
        take = most_gained(gain, cost, budget)
        np.testing.assert_allclose((gain * take).sum(axis=1), best, rtol=1e-12)
        assert ((take @ cost).round(9) <= budget).all()


def test_costs_without_a_common_unit_are_refused():
    with pytest.raises(ValueError, match="multiples of a common unit"):
        most_gained(np.ones((1, 3)), np.array([1.0, np.pi, np.e]), 4.0)


def test_what_cannot_flip_is_refused_before_any_work():
    X, y = table(4)
    clf = pipeline(LogisticRegression()).fit(X, y)
    threat = threat_of(2, {})
    with pytest.raises(ValueError, match="attack must be 'auto'"):
        robust_score(clf, X, y, epsilon=threat, attack="pgd")
    with pytest.raises(
        ValueError, match=r"changes\['visits'\].*Use Change\(low, high, whole=True\)"
    ):
        robust_score(clf, X, y, epsilon=TabularThreat({"visits": Flip()}))
    with pytest.raises(ValueError, match=r"to has \['Rom'\], which the encoder or"):
        robust_score(clf, X, y, epsilon=TabularThreat({"city": Flip(["Rom"])}))
    with pytest.raises(ValueError, match="changes must leave columns alone"):
        robust_score(clf, X, y, epsilon=TabularThreat({"city": (0, 1)}))
    with pytest.raises(ValueError, match=r"to must be None or a list"):
        Flip("Bern")
