"""Adversaries of tables against brute force over all rows that they allow."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, SplineTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    AdversarialTrainingClassifier,
    Change,
    RobustFCClassifier,
    TabularThreat,
    certified_score,
    evaluate_robustness,
    make_robust_scorer,
    perturb,
    robust_score,
)
from sklearn_robust.targets import make_target

NAMES = ["visits", "debts", "age", "share", "income"]
WHOLE = {
    "visits": Change(-1, 2, whole=True),
    "debts": Change(0, 3, whole=True),
    "share": Change(-0.5, 0.25, relative=True, whole=True),
}
MIXED = WHOLE | {"income": (-0.3, 0.8)}


def table(seed=0, n=60, n_classes=2):
    rng = np.random.default_rng(seed)
    whole = rng.integers(0, 9, size=(n, 4))
    X = np.column_stack([whole, rng.normal(size=n)])
    score = X @ [1.0, -1.0, 0.5, 0.3, 1.5] + rng.normal(size=n)
    y = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    frame = pd.DataFrame(X, columns=NAMES).astype(dict.fromkeys(NAMES[:4], int))
    return frame, y


def moves_of(change, value):
    """What a column of whole numbers may become, spelt out."""
    change = change if isinstance(change, Change) else Change(*change)
    size = abs(value) if change.relative else 1
    low, high = change.low * size, change.high * size
    return [value + k for k in range(-20, 21) if low - 1e-9 <= k <= high + 1e-9]


def every_row(x, changes, low=-np.inf):
    """All rows of whole numbers that may become of one."""
    options = [
        [v for v in moves_of(changes[name], x[name]) if v >= low] if name in changes else [x[name]]
        for name in x.index
    ]
    return pd.DataFrame(list(itertools.product(*options)), columns=x.index).astype(
        {name: int for name in x.index if name != "income"}
    )


def truth(clf, X, y, changes, low=-np.inf):
    """Whether each sample stays right in all of its rows."""
    rows = [every_row(X.iloc[i], changes, low) for i in range(len(X))]
    sizes = [len(some) for some in rows]
    right = clf.predict(pd.concat(rows)) == np.repeat(y, sizes)
    return np.logical_and.reduceat(right, np.cumsum([0, *sizes[:-1]]))


def allowed(X, X_adv, changes, low=-np.inf):
    """Whether all rows of X_adv may become of those of X."""
    for name in X.columns:
        delta = X_adv[name].to_numpy(float) - X[name].to_numpy(float)
        change = changes.get(name, (0, 0))
        change = change if isinstance(change, Change) else Change(*change)
        size = abs(X[name].to_numpy(float)) if change.relative else 1
        slack = 1e-9 * (1 + abs(X[name].to_numpy(float)))
        if ((delta < change.low * size - slack) | (delta > change.high * size + slack)).any():
            return False
        if change.whole and (delta != np.rint(delta)).any():
            return False
        if name in changes and (X_adv[name] < low - 1e-9).any():
            return False
    return True


EXACT = {
    "linear": LogisticRegression(max_iter=2000),
    "scaled linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "bernoulli": BernoulliNB(binarize=3.0),
    "gaussian": GaussianNB(),
    "scaled gaussian": make_pipeline(StandardScaler(), GaussianNB()),
    "splines": make_pipeline(SplineTransformer(4, degree=3), LogisticRegression(max_iter=2000)),
    "bins": make_pipeline(
        StandardScaler(),
        KBinsDiscretizer(3, encode="onehot-dense", strategy="uniform"),
        LogisticRegression(),
    ),
    "tree": DecisionTreeClassifier(random_state=0),
    "scaled tree": make_pipeline(MinMaxScaler(), DecisionTreeClassifier(random_state=0)),
    "forest": RandomForestClassifier(8, max_depth=4, random_state=0),
    "extra": ExtraTreesClassifier(8, max_depth=4, random_state=0),
    "boosting": GradientBoostingClassifier(n_estimators=8, random_state=0),
    "hist": HistGradientBoostingClassifier(max_iter=8, min_samples_leaf=3, random_state=0),
}
BOUNDED = {
    "network": make_pipeline(
        StandardScaler(), MLPClassifier((6,), max_iter=300, tol=1e-2, random_state=0)
    ),
    "neighbour": KNeighborsClassifier(1),
    "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(5)),
    "kernel": make_pipeline(StandardScaler(), SVC()),
    "adaboost": AdaBoostClassifier(n_estimators=8, random_state=0),
}


@pytest.mark.parametrize(("n_classes", "low"), [(2, None), (3, 0)])
@pytest.mark.parametrize("name", EXACT)
def test_exact_answers_are_those_of_all_rows(name, n_classes, low):
    X, y = table(1, n_classes=n_classes)
    clf = EXACT[name].fit(X, y)
    clip = (
        None if low is None else ({"visits": 0, "debts": 0, "share": 0}, dict.fromkeys(X, np.inf))
    )
    clip = None if low is None else (dict.fromkeys(WHOLE, -0.5), dict.fromkeys(WHOLE, np.inf))
    threat = TabularThreat(WHOLE)
    target = make_target(clf, X, y, epsilon=threat, clip_values=clip)
    found = target.attacked(target.threat)
    expected = truth(clf, X, y, WHOLE, -np.inf if low is None else low)
    assert found.kind == "exact"
    np.testing.assert_array_equal(found.robust, expected)
    proven = target.certified(target.threat, "auto")
    np.testing.assert_array_equal(proven, expected)
    X_adv = perturb(clf, X, y, epsilon=threat, clip_values=clip)
    assert X_adv.dtypes.equals(X.dtypes)
    assert allowed(X, X_adv, WHOLE, -np.inf if low is None else low)
    np.testing.assert_array_equal(clf.predict(X_adv) == y, expected)
    assert 0 < expected.mean() < (clf.predict(X) == y).mean()


@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
@pytest.mark.parametrize("name", BOUNDED)
def test_truth_lies_between_proofs_and_attacks(name):
    X, y = table(2, n_classes=2)
    clf = BOUNDED[name].fit(X, y)
    threat = TabularThreat(WHOLE)
    target = make_target(clf, X, y, epsilon=threat)
    found = target.attacked(target.threat, seed=0)
    expected = truth(clf, X, y, WHOLE)
    assert (found.robust >= expected).all()
    if target.certificate_obstacle is None:
        assert (target.certified(target.threat, "auto") <= expected).all()
    # All rows are few: an attack that misses more is broken.
    assert found.robust.mean() - expected.mean() <= 0.05
    X_adv = perturb(clf, X, y, epsilon=threat)
    assert X_adv.dtypes.equals(X.dtypes)
    assert allowed(X, X_adv, WHOLE)


@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
@pytest.mark.parametrize("name", [*EXACT, *BOUNDED])
def test_proofs_hold_against_random_rows_and_perturbed_ones_are_valid(name):
    X, y = table(3, n_classes=2)
    clf = (EXACT | BOUNDED)[name].fit(X, y)
    threat = TabularThreat(MIXED)
    score = robust_score(clf, X, y, epsilon=threat)
    X_adv = perturb(clf, X, y, epsilon=threat)
    assert X_adv.dtypes.equals(X.dtypes)
    assert allowed(X, X_adv, MIXED)
    assert score == (clf.predict(X_adv) == y).mean()
    target = make_target(clf, X, y, epsilon=threat)
    if target.certificate_obstacle is None:
        proven = target.certified(target.threat, "auto")
        assert proven.mean() <= score
        rng = np.random.default_rng(0)
        index = np.flatnonzero(proven)
        some = [every_row(X.iloc[i], WHOLE) for i in index]
        rows, labels = pd.concat(some), np.repeat(y[index], [len(each) for each in some])
        ends = rng.choice([-0.3, 0.8, 0.0], size=len(rows))
        inside = rng.uniform(-0.3, 0.8, len(rows))
        rows["income"] += np.where(rng.random(len(rows)) < 0.5, ends, inside)
        assert (clf.predict(rows) == labels).all()


def test_own_network_moves_in_steps():
    X, y = table(4)
    numbers = X.to_numpy(np.float32)
    clf = RobustFCClassifier((8,), epsilon=0.0, max_epochs=30, random_state=0).fit(numbers, y)
    by_place = {NAMES.index(name): change for name, change in WHOLE.items()}
    threat = TabularThreat(by_place)
    target = make_target(clf, numbers, y, epsilon=threat)
    frame = pd.DataFrame(numbers, columns=NAMES)

    class Named:
        def predict(self, rows):
            return clf.predict(rows.to_numpy(np.float32))

    expected = truth(Named(), X, y, WHOLE)
    robust = target.attacked(target.threat, seed=0).robust
    assert (target.certified(target.threat, "auto") <= expected).all()
    assert (expected <= robust).all()
    assert robust.mean() - expected.mean() <= 0.05
    X_adv = pd.DataFrame(perturb(clf, numbers, y, epsilon=threat), columns=NAMES)
    assert allowed(frame, X_adv, WHOLE)


def test_one_sided_changes_are_exact_for_a_linear_rule():
    X, y = np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]]), np.array([1, 0, 1])
    clf = LogisticRegression(C=1e3).fit(X, y)
    boundary = -clf.intercept_[0] / clf.coef_[0, 0]
    enough = (boundary - 1.0) * 1.01  # a fall that takes the first row over the boundary
    assert robust_score(clf, X, y, epsilon=TabularThreat({0: (enough, 0)})) == pytest.approx(2 / 3)
    assert robust_score(clf, X, y, epsilon=TabularThreat({0: (0, -enough)})) == pytest.approx(2 / 3)
    assert robust_score(clf, X, y, epsilon=TabularThreat({0: (0, 0.1)})) == 1
    assert robust_score(clf, X, y, epsilon=TabularThreat({1: (-9, 9)})) == 1


@pytest.mark.parametrize("name", ["linear", "scaled linear", "tree", "hist", "gaussian", "network"])
def test_changes_of_the_same_size_both_ways_are_a_ball(name):
    X, y = table(5)
    clf = (EXACT | BOUNDED)[name].fit(X, y)
    changes = {"income": (-0.5, 0.5), "debts": (-1.5, 1.5)}
    radii = {"income": 0.5, "debts": 1.5}
    for measure in (robust_score, certified_score):
        assert measure(clf, X, y, epsilon=TabularThreat(changes)) == measure(
            clf, X, y, epsilon=radii
        )


@pytest.mark.parametrize("factor", [-2.0, 0.5])
def test_turned_columns_fall_where_they_rose(factor):
    X, y = table(6)
    numbers = X.to_numpy(float)
    scaler = StandardScaler(with_mean=False).fit(numbers)
    scaler.scale_ = np.full(5, 1 / factor)
    clf = make_pipeline(FrozenEstimator(scaler), GaussianNB()).fit(numbers, y)
    turned = GaussianNB().fit(factor * numbers, y)
    low, high = sorted([factor * -0.3, factor * 0.9])
    there = robust_score(clf, numbers, y, epsilon=TabularThreat({4: (-0.3, 0.9), 1: (0, 0.5)}))
    ends = sorted([0.0, factor * 0.5])
    here = robust_score(
        turned, factor * numbers, y, epsilon=TabularThreat({4: (low, high), 1: tuple(ends)})
    )
    assert there == here


def test_scorers_and_reports_take_a_threat():
    X, y = table(7)
    clf = EXACT["hist"].fit(X, y)
    threat = TabularThreat(WHOLE)
    expected = robust_score(clf, X, y, epsilon=threat)
    assert make_robust_scorer(threat)(clf, X, y) == expected
    report = evaluate_robustness(clf, X, y, [0.5, 1.0, 2.0], unit=threat)
    accuracies = [radius.attacked for radius in report.radii]
    assert accuracies[1] == expected == report.radii[1].certified
    assert accuracies == sorted(accuracies, reverse=True)
    assert [r.attacked for r in evaluate_robustness(clf, X, y, threat).radii][-1] == expected


def test_a_threat_in_lots_is_that_of_each_lot(monkeypatch):
    from sklearn_robust.targets import _lots

    X, y = table(8)
    clf = EXACT["scaled linear"].fit(X, y)
    whole = robust_score(clf, X, y, epsilon=TabularThreat(MIXED))
    monkeypatch.setattr(_lots, "_lots", lambda X: [slice(0, 25), slice(25, 60)])
    assert robust_score(clf, X, y, epsilon=TabularThreat(MIXED)) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"income": (0.1, 0.3)}, r"changes\['income'\]: low must be a finite number and <= 0"),
        ({"income": (-1, -0.3)}, r"changes\['income'\]: high must be a finite number >= 0"),
        ({"income": 0.3}, r"must be \(low, high\), a Change or a Flip, got 0.3"),
        ([1, 2], "changes must be a dict"),
    ],
)
def test_wrong_changes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TabularThreat(changes)


def test_what_does_not_fit_the_data_is_refused_before_any_work():
    X, y = table(9)
    clf = LogisticRegression(max_iter=2000).fit(X, y)
    with pytest.raises(ValueError, match=r"changes must be of columns of X, not so for \['wage'\]"):
        robust_score(clf, X, y, epsilon=TabularThreat({"wage": (0, 1)}))
    with pytest.raises(ValueError, match=r"positions from 0 to 4, not so for \[5\]"):
        robust_score(clf, X.to_numpy(), y, epsilon=TabularThreat({5: (0, 1)}))
    with pytest.raises(ValueError, match=r"whole steps, not so in \['income'\]"):
        robust_score(clf, X, y, epsilon=TabularThreat({"income": Change(0, 1, whole=True)}))
    with pytest.raises(ValueError, match="norm must be left out with a TabularThreat"):
        robust_score(clf, X, y, epsilon=TabularThreat(MIXED), norm="l2")


@pytest.mark.parametrize("name", ["tree", "forest", "hist"])
def test_missing_values_stay_missing_beside_whole_numbers(name):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 8, (50, 3)).astype(float)
    y = (X[:, 0] - X[:, 1] + rng.normal(size=50) > 0).astype(int)
    X[rng.random(X.shape) < 0.15] = np.nan
    clf = EXACT[name].fit(X, y)
    threat = TabularThreat({0: Change(-2, 1, whole=True), 1: Change(-1, 1, whole=True)})
    moves = np.array(list(itertools.product([-2, -1, 0, 1], [-1, 0, 1], [0])))
    rows = (X[:, None] + moves).reshape(-1, 3)  # a missing value is missing in all of them
    expected = (clf.predict(rows).reshape(len(X), -1) == y[:, None]).all(axis=1)
    target = make_target(clf, X, y, epsilon=threat)
    np.testing.assert_array_equal(target.attacked(target.threat).robust, expected)
    np.testing.assert_array_equal(target.certified(target.threat, "auto"), expected)


@pytest.mark.parametrize(
    "estimator",
    [
        AdversarialLogisticRegression(TabularThreat({0: (0, 0.1)}), solver="pgd"),
        AdversarialLogisticRegressionCV([0, 0.1], scoring_epsilon=TabularThreat({0: (0, 0.1)})),
    ],
)
@pytest.mark.parametrize("as_frame", [False, True])
def test_what_is_trained_against_balls_refuses_the_changes_of_a_table(estimator, as_frame):
    """They were once taken for a ball of radius 1 in all columns."""
    X, y = load_iris(return_X_y=True, as_frame=as_frame)
    estimator = clone(estimator)
    if as_frame:
        cv = isinstance(estimator, AdversarialLogisticRegressionCV)
        named = TabularThreat({X.columns[0]: (0, 0.1)})
        estimator.set_params(**{"scoring_epsilon" if cv else "epsilon": named})
    with pytest.raises(ValueError, match="epsilon must be a radius here, got a TabularThreat"):
        estimator.fit(X, y)


def test_retraining_moves_nothing_but_what_a_table_lets_move(monkeypatch):
    X, y = load_iris(return_X_y=True, as_frame=True)
    name, seen = X.columns[2], []
    clf = AdversarialTrainingClassifier(
        RandomForestClassifier(5, random_state=0),
        epsilon=TabularThreat({name: (0, 0.5)}),
        n_rounds=1,
        random_state=0,
    )
    fitted = clf._fitted

    def watched(data):
        seen.append(data.samples()[0])
        return fitted(data)

    monkeypatch.setattr(clf, "_fitted", watched)
    clf.fit(X, y)
    known = set(map(tuple, X.drop(columns=name).to_numpy()))
    assert len(seen) == 2
    assert len(seen[1]) > len(X)
    assert set(map(tuple, seen[1].drop(columns=name).to_numpy())) == known
    assert "Trained against changes of columns" in clf._html_repr()
