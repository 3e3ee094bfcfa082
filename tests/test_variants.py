"""Flips and budgets for any classifier, against brute force over all rows that they allow."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    Change,
    Flip,
    RobustFCClassifier,
    TabularThreat,
    adversarial_distance,
    certified_score,
    evaluate_robustness,
    perturb,
    robust_score,
)
from sklearn_robust.targets import _variants, make_target
from sklearn_robust.targets._choices import largest_choices

CITIES, GRADES = ["Basel", "Bern", "Chur", "Genf"], ["a", "b", "c"]
ENDS = {"visits": (-1, 2), "debts": (0, 2)}


def table(seed=0, n=40, n_classes=2):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "city": pd.Categorical(rng.choice(CITIES, n), categories=CITIES[::-1]),
            "visits": rng.integers(0, 6, n),
            "grade": pd.Categorical(rng.choice(GRADES, n), categories=GRADES),
            "debts": rng.integers(0, 6, n),
            "member": rng.random(n) < 0.5,
        },
        index=np.arange(n)[::-1] * 3,
    )
    score = X["visits"] - 0.7 * X["debts"] + 1.2 * X["city"].cat.codes + 0.5 * X["member"]
    score = (score + X["grade"].cat.codes).to_numpy() + rng.normal(size=n)
    return X, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))


def encoded(*classifier, numbers=None):
    columns = make_column_transformer(
        (OneHotEncoder(sparse_output=False), ["city", "grade"]),
        (numbers or StandardScaler(), ["visits", "debts"]),
        ("passthrough", ["member"]),
    )
    return make_pipeline(columns, *classifier)


def threat_of(budget, costs):
    changes = {
        name: Change(*ends, whole=True, cost=costs.get(name, 1)) for name, ends in ENDS.items()
    }
    flips = {
        "city": Flip(cost=costs.get("city", 1)),
        "grade": Flip(["a", "c"], cost=costs.get("grade", 1)),
        "member": Flip(cost=costs.get("member", 1)),
    }
    return TabularThreat(flips | changes, budget=budget)


def every_row(x, budget, costs):
    """All rows that may become of one."""
    options = {"city": CITIES, "grade": ["a", "c"], "member": [False, True]}
    options = {name: [x[name], *(v for v in options[name] if v != x[name])] for name in options}
    for name, (low, high) in ENDS.items():
        options[name] = [x[name], *(x[name] + k for k in range(low, high + 1) if k)]
    rows = []
    for row in itertools.product(*options.values()):
        moved = dict(zip(options, row, strict=True))
        cost = sum(costs.get(name, 1) for name in moved if moved[name] != x[name])
        if budget is None or cost <= budget + 1e-9:
            rows.append(moved)
    return rows


def all_rows(X, budget, costs):
    rows = [every_row(X.iloc[i], budget, costs) for i in range(len(X))]
    frame = pd.DataFrame([row for some in rows for row in some])[list(X.columns)]
    return frame.astype(X.dtypes.to_dict()), np.array([len(some) for some in rows])


def truth(clf, X, y, budget, costs):
    frame, sizes = all_rows(X, budget, costs)
    right = clf.predict(frame) == np.repeat(y, sizes)
    return np.logical_and.reduceat(right, np.cumsum([0, *sizes[:-1]]))


def assert_valid(X, X_adv, budget, costs):
    pd.testing.assert_index_equal(X_adv.index, X.index)
    assert X_adv.dtypes.equals(X.dtypes)
    for i in range(len(X)):
        found = X_adv.iloc[i].to_dict()
        assert found in every_row(X.iloc[i], budget, costs)


def lightgbm():
    package = pytest.importorskip("lightgbm")
    return package.LGBMClassifier(n_estimators=5, min_child_samples=3, verbose=-1)


def xgboost():
    package = pytest.importorskip("xgboost")
    return package.XGBClassifier(n_estimators=5, max_depth=3, enable_categorical=True)


EXACT = {
    "tree": lambda: encoded(DecisionTreeClassifier(max_depth=5, random_state=0)),
    "forest": lambda: encoded(RandomForestClassifier(5, max_depth=4, random_state=0)),
    "boosting": lambda: HistGradientBoostingClassifier(
        categorical_features="from_dtype", max_iter=5, min_samples_leaf=3, random_state=0
    ),
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "bayes": lambda: encoded(GaussianNB()),
    "linear": lambda: encoded(LogisticRegression()),
}
BOUNDED = {
    "network": lambda: encoded(MLPClassifier((5,), max_iter=300, tol=1e-2, random_state=0)),
    "own network": lambda: encoded(
        RobustFCClassifier((5,), epsilon=0.0, max_epochs=20, lr=0.05, random_state=0)
    ),
    "nearest": lambda: encoded(KNeighborsClassifier(1)),
    "kernel": lambda: encoded(SVC(gamma=0.3)),
    "vote": lambda: encoded(
        VotingClassifier(
            [("tree", DecisionTreeClassifier(max_depth=3, random_state=0)), ("nb", GaussianNB())],
            voting="soft",
        )
    ),
    "products": lambda: encoded(PolynomialFeatures(2), LogisticRegression(C=0.1, max_iter=1000)),
    "black box": lambda: encoded(KNeighborsClassifier(3, metric="braycurtis")),
}
BUDGETS = {
    "none": (None, {}),
    "one column": (1, {}),
    "two columns": (2, {}),
    "costs": (0.3, {"city": 0.2, "grade": 0.1, "visits": 0.1, "debts": 0.2, "member": 0.3}),
}


# Trees behind encoders are slow to make: what they share with others is not tried again.
CASES = [
    *itertools.product(["bayes", "linear"], [2, 3], BUDGETS),
    *itertools.product(["boosting"], [2], ["none", "costs"]),
    *itertools.product(["lightgbm", "xgboost"], [2, 3], ["costs"]),
    ("tree", 2, "costs"),
    ("forest", 3, "two columns"),
]


@pytest.mark.parametrize(("name", "n_classes", "budget"), CASES)
def test_exact_answers_are_those_of_all_rows(name, n_classes, budget):
    # Boosting of scikit-learn splits by categories of ten samples and more.
    X, y = table(n_classes, n=80 if name == "boosting" else 40, n_classes=n_classes)
    clf = EXACT[name]().fit(X, y)
    limit, costs = BUDGETS[budget]
    threat, expected = threat_of(limit, costs), truth(clf, X, y, limit, costs)
    target = make_target(clf, X, y, epsilon=threat)
    found = target.attacked(target.threat)
    assert found.kind == "exact"
    assert name == "linear" or found.broken_by["flips"] > 0
    np.testing.assert_array_equal(found.robust, expected)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), expected)
    assert expected.mean() < clf.score(X, y)
    X_adv = perturb(clf, X, y, epsilon=threat)
    np.testing.assert_array_equal(clf.predict(X_adv) == y, expected)
    assert_valid(X, X_adv, limit, costs)


@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
@pytest.mark.parametrize(
    ("name", "budget"),
    [
        ("network", "costs"),
        ("own network", "two columns"),
        ("nearest", "two columns"),
        ("kernel", "one column"),
        ("vote", "costs"),
        ("products", "none"),
        ("black box", "two columns"),
    ],
)
def test_truth_lies_between_proofs_and_attacks(name, budget):
    X, y = table(4, n=30)
    clf = BOUNDED[name]().fit(X, y)
    limit, costs = BUDGETS[budget]
    threat, expected = threat_of(limit, costs), truth(clf, X, y, limit, costs)
    target = make_target(clf, X, y, epsilon=threat)
    found = target.attacked(target.threat, seed=0)
    assert (found.robust >= expected).all()
    # All rows are few: an attack that misses more is broken.
    assert found.robust.mean() - expected.mean() <= 0.05
    if target.certificate_obstacle is None:
        assert (target.certified(target.threat, "auto") <= expected).all()
    X_adv = perturb(clf, X, y, epsilon=threat)
    assert robust_score(clf, X, y, epsilon=threat) == (clf.predict(X_adv) == y).mean()
    assert_valid(X, X_adv, limit, costs)


@pytest.mark.parametrize("budget", [1, 2, None])
def test_flips_of_codes_are_exact_for_bayes_and_boosting(budget):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, size=(60, 4))
    y = (X.sum(axis=1) + rng.normal(size=60) > 6).astype(int)
    moves = np.array(list(itertools.product(range(4), repeat=3)))
    rows = np.repeat(X[:, None], len(moves), axis=1)
    rows[:, :, :3] = moves
    cost = (rows != X[:, None]).sum(axis=2)
    inside = cost <= (4 if budget is None else budget)
    threat = TabularThreat({0: Flip(), 1: Flip(), 2: Flip([0, 1, 2, 3])}, budget=budget)
    boosting = HistGradientBoostingClassifier(
        categorical_features=[0, 1, 2], max_iter=5, min_samples_leaf=3
    )
    encoders = make_pipeline(OrdinalEncoder(), CategoricalNB())
    for clf in (CategoricalNB(), boosting, encoders):
        clf.fit(X, y)
        right = clf.predict(rows.reshape(-1, 4)).reshape(cost.shape) == y[:, None]
        expected = (right | ~inside).all(axis=1)
        assert robust_score(clf, X, y, epsilon=threat) == expected.mean()
        assert certified_score(clf, X, y, epsilon=threat) == expected.mean()
        X_adv = perturb(clf, X, y, epsilon=threat)
        assert X_adv.dtype == X.dtype
        np.testing.assert_array_equal(clf.predict(X_adv) == y, expected)
        assert (X_adv != X).sum(axis=1).max() <= (4 if budget is None else budget)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_budgets_of_numbers_lie_between_proofs_and_attacks(k):
    rng = np.random.default_rng(k)
    X = rng.integers(0, 6, size=(40, 4)).astype(float)
    y = (X @ [1.0, -1.0, 0.7, 0.4] + rng.normal(size=40) > 2.5).astype(int)
    clf = make_pipeline(StandardScaler(), SVC(gamma=0.2)).fit(X, y)
    ends = [(-1, 1), (0, 2), (-2, 0), (-1, 1)]
    moves = np.array(list(itertools.product(*(range(a, b + 1) for a, b in ends))))
    moves = moves[(moves != 0).sum(axis=1) <= k]
    right = clf.predict((X[:, None] + moves).reshape(-1, 4)).reshape(len(X), -1) == y[:, None]
    expected = right.all(axis=1)
    threat = TabularThreat({j: Change(*end, whole=True) for j, end in enumerate(ends)}, budget=k)
    target = make_target(clf, X, y, epsilon=threat)
    robust = target.attacked(target.threat, seed=0).robust
    assert (target.certified(target.threat, "auto") <= expected).all()
    assert (robust >= expected).all()
    assert robust.mean() - expected.mean() <= 0.05
    X_adv = perturb(clf, X, y, epsilon=threat)
    assert ((X_adv != X).sum(axis=1) <= k).all()
    assert robust_score(clf, X, y, epsilon=threat) == (clf.predict(X_adv) == y).mean()


def test_choices_of_columns_are_the_largest_that_a_budget_buys():
    rng = np.random.default_rng(0)
    for _ in range(30):
        cost, left = rng.integers(0, 4, size=5).astype(float), float(rng.integers(0, 8))
        subsets = [set(some) for k in range(6) for some in itertools.combinations(range(5), k)]
        bought = [some for some in subsets if cost[list(some)].sum() <= left]
        largest = [some for some in bought if not any(some < other for other in bought)]
        found = list(largest_choices(np.argsort(-cost).tolist(), cost, left))
        assert sorted(map(sorted, found)) == sorted(map(sorted, largest))


def test_pieces_multiples_and_reports_agree(monkeypatch):
    X, y = table(5)
    clf, threat = EXACT["bayes"]().fit(X, y), threat_of(2, {})
    expected = perturb(clf, X, y, epsilon=threat)
    score = robust_score(clf, X, y, epsilon=threat)
    with monkeypatch.context() as patch:
        patch.setattr(_variants, "_COPIES", 20_000)  # some 300 rows at a time
        pd.testing.assert_frame_equal(perturb(clf, X, y, epsilon=threat), expected)
        assert robust_score(clf, X, y, epsilon=threat) == score
    report = evaluate_robustness(clf, X, y, [0.0, 0.5, 1.0], unit=threat)
    assert report.radii[0].attacked == clf.score(X, y)
    assert report.radii[1].attacked > report.radii[2].attacked == score
    assert [r.attacked for r in report.radii] == [r.certified for r in report.radii]


def test_polars_flips_as_pandas_does():
    polars = pytest.importorskip("polars")
    X, y = table(6)
    X = X.astype({"city": str, "grade": str})
    theirs, threat = polars.from_pandas(X), threat_of(2, {})
    clf, own = (EXACT["bayes"]().fit(some, y) for some in (X, theirs))
    moved = perturb(own, theirs, y, epsilon=threat)
    assert moved.schema == theirs.schema
    assert moved.to_dicts() == perturb(clf, X, y, epsilon=threat).to_dict("records")


def test_what_cannot_flip_is_refused_before_any_work():
    X, y = table(7)
    tree = encoded(DecisionTreeClassifier(max_depth=3, random_state=0)).fit(X, y)
    with pytest.raises(
        ValueError, match=r"reads this column as a number. Use Change\(low, high, wh"
    ):
        robust_score(tree, X, y, epsilon=TabularThreat({"debts": Flip()}))
    with pytest.raises(ValueError, match=r"to has \['Rom'\], which the encoder or the classifier"):
        robust_score(tree, X, y, epsilon=TabularThreat({"city": Flip(["Rom"])}))
    few = X.assign(city=X["city"].cat.set_categories(CITIES[:3]))
    with pytest.raises(ValueError, match="X has missing values there"):
        robust_score(EXACT["boosting"]().fit(X, y), few, y, epsilon=TabularThreat({"city": Flip()}))
    words = FunctionTransformer(lambda X: X.assign(city=X["city"].str.len()).to_numpy(float))
    own = make_pipeline(words, DecisionTreeClassifier(max_depth=3, random_state=0))
    plain = X[["city", "visits"]].astype({"city": str})
    own.fit(plain, y)
    with pytest.raises(ValueError, match=r"Name them, as in Flip\(to="):
        robust_score(own, plain, y, epsilon=TabularThreat({"city": Flip()}))
    named = TabularThreat({"city": Flip(CITIES)})
    right = [own.predict(plain.assign(city=city)) == y for city in CITIES]
    assert robust_score(own, plain, y, epsilon=named) == np.all(right, axis=0).mean()
    many = pd.DataFrame(np.random.default_rng(0).integers(0, 9, (200, 5)).astype(str))
    codes = make_pipeline(OrdinalEncoder(), CategoricalNB()).fit(
        many.to_numpy(), np.arange(200) % 2
    )
    with pytest.raises(ValueError, match="Set a smaller budget, name fewer categories"):
        robust_score(
            codes, many.to_numpy(), np.arange(200) % 2,
            epsilon=TabularThreat({k: Flip() for k in range(5)}),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["linear", "bayes", "boosting", "nearest"])
def test_least_costs_are_those_of_all_rows(name):
    X, y = table(8, n=30)
    clf, costs = (EXACT | BOUNDED)[name]().fit(X, y), {"city": 3, "visits": 2, "member": 0.5}
    frame, sizes = all_rows(X, None, {})
    own = X.loc[np.repeat(X.index, sizes)]
    price = sum((frame[c].to_numpy() != own[c].to_numpy()) * costs.get(c, 1) for c in X)
    wrong = clf.predict(frame) != np.repeat(y, sizes)
    each = np.where(wrong, price, np.inf)
    expected = np.minimum.reduceat(each, np.cumsum([0, *sizes[:-1]]))
    threat = threat_of(None, costs)
    lower, upper = adversarial_distance(clf, X, y, unit=threat, return_bounds=True)
    assert (lower <= expected).all()
    assert (upper >= expected).all()
    assert len(np.unique(expected)) > (1 if name == "bayes" else 2)
    if name in EXACT:
        np.testing.assert_array_equal(upper, expected)
        np.testing.assert_array_equal(lower, expected)
    np.testing.assert_array_equal(adversarial_distance(clf, X, y, unit=threat), upper)
