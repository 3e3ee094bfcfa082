"""AdversarialTrainingClassifier: the retraining it promises, in scikit-learn's world."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before scipy: some checks are skipped without

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_robust import (
    AdversarialTrainingClassifier,
    certified_score,
    make_robust_scorer,
    perturb,
    robust_score,
)

X, Y = load_breast_cancer(return_X_y=True)
X = ((X - X.mean(axis=0)) / X.std(axis=0))[:, [0, 1, 4, 7]]
TRAIN, TEST = slice(0, 300), slice(300, 569)


@pytest.mark.skipif(
    os.environ["SCIPY_ARRAY_API"] != "1", reason="needs SCIPY_ARRAY_API=1 before scipy's import"
)
@pytest.mark.filterwarnings(  # a tree is certain of its leaves
    "ignore:divide by zero encountered in log:RuntimeWarning"
)
@parametrize_with_checks(
    [
        AdversarialTrainingClassifier(LogisticRegression(), n_rounds=2),
        AdversarialTrainingClassifier(DecisionTreeClassifier(random_state=0), n_rounds=1),
    ]
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


def by_hand(base, X, y, epsilon, n_rounds, weight=None):
    """Retrain as the formula says, a loop over samples in the place of arrays."""
    rows = [[x] for x in X]
    weight = np.ones(len(X)) if weight is None else weight
    for round_ in range(n_rounds + 1):
        flat = np.array([x for mine in rows for x in mine])
        labels = [label for label, mine in zip(y, rows, strict=True) for _ in mine]
        shares = [w / len(mine) for w, mine in zip(weight, rows, strict=True) for _ in mine]
        clf = clone(base).fit(flat, labels, shares)
        if round_ < n_rounds:
            points = perturb(clf, X, y, epsilon=epsilon)
            for mine, x, point, label in zip(rows, X, points, y, strict=True):
                if clf.predict([x])[0] == label != clf.predict([point])[0]:
                    mine.append(point)
    return clf


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "base", [LogisticRegression(), DecisionTreeClassifier(max_depth=4, random_state=0)]
)
def test_it_is_the_retraining_of_its_formula(base, weighted):
    x, y = X[:80], Y[:80]
    weight = np.random.default_rng(0).random(80) if weighted else None
    clf = AdversarialTrainingClassifier(base, 0.3, n_rounds=2).fit(x, y, weight)
    expected = by_hand(base, x, y, 0.3, 2, weight)
    assert clf.n_rounds_ == 2
    np.testing.assert_allclose(clf.predict_proba(X), expected.predict_proba(X), rtol=1e-12)
    assert not np.allclose(
        clf.predict_proba(X), clone(base).fit(x, y, weight).predict_proba(X), rtol=0, atol=1e-3
    )


def test_no_rounds_are_the_plain_fit():
    clf = AdversarialTrainingClassifier(SVC(), 0.3, n_rounds=0).fit(X[TRAIN], Y[TRAIN])
    np.testing.assert_array_equal(
        clf.decision_function(X), SVC().fit(X[TRAIN], Y[TRAIN]).decision_function(X)
    )
    assert (clf.n_rounds_, clf.n_mistakes_) == (0, [])


def test_it_stops_when_no_mistake_is_found():
    apart = np.r_[np.zeros((5, 1)), np.full((5, 1), 10.0)]
    clf = AdversarialTrainingClassifier(LogisticRegression(), 0.5).fit(apart, [0] * 5 + [1] * 5)
    assert (clf.n_rounds_, clf.n_mistakes_) == (0, [0])


def test_robust_accuracy_of_a_small_tree_rises_on_samples_that_no_fit_has_seen():
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    plain = clone(tree).fit(X[TRAIN], Y[TRAIN])
    clf = AdversarialTrainingClassifier(tree, 0.2, n_rounds=3).fit(X[TRAIN], Y[TRAIN])
    before = robust_score(plain, X[TEST], Y[TEST], epsilon=0.2)
    assert clf.robust_score(X[TEST], Y[TEST]) > before
    assert clf.n_mistakes_[-1] < clf.n_mistakes_[0]


def test_its_target_is_that_of_the_classifier_inside_at_its_own_radius():
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    clf = AdversarialTrainingClassifier(
        pipe, 0.3, n_rounds=1, norm="l2", clip_values=(-5, 15)
    ).fit(X[TRAIN], Y[TRAIN])  # fmt: skip
    data = X[TEST], Y[TEST]
    own = {"epsilon": 0.3, "norm": "l2", "clip_values": (-5, 15)}
    expected = robust_score(clf.estimator_, *data, **own)
    assert clf.robust_score(*data) == certified_score(clf, *data) == expected
    np.testing.assert_array_equal(clf.perturb(*data), perturb(clf.estimator_, *data, **own))
    search = GridSearchCV(clf, {"n_rounds": [1]}, cv=2).fit(X[TRAIN], Y[TRAIN])
    assert robust_score(search, *data) == expected
    behind = make_pipeline(StandardScaler(), clf).fit(X[TRAIN], Y[TRAIN])
    with pytest.raises(ValueError, match="behind transformers has its own in their units"):
        robust_score(behind, *data)


def test_a_search_over_epsilon_at_a_fixed_radius_picks_training_against_it():
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    grid = {"epsilon": [0.0, 0.2], "estimator__min_samples_leaf": [1, 5]}
    scorer = make_robust_scorer(0.2)
    search = GridSearchCV(
        AdversarialTrainingClassifier(tree, n_rounds=3), grid, scoring=scorer, cv=3
    ).fit(X, Y)
    assert search.best_params_["epsilon"] == 0.2
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


@pytest.mark.parametrize(
    "base",
    [
        KNeighborsClassifier(1),
        HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5),
        SVC(),
        GaussianNB(),
        Perceptron(),
    ],
    ids=lambda base: type(base).__name__,
)
def test_every_family_can_be_retrained_whether_it_takes_weights_or_not(base):
    clf = AdversarialTrainingClassifier(base, 0.3, n_rounds=1).fit(X[:60], Y[:60])
    assert clf.n_rounds_ == 1
    assert hasattr(clf, "predict_proba") == hasattr(clf.estimator_, "predict_proba")
    assert 0 <= clf.robust_score(X[60:90], Y[60:90]) <= clf.score(X[60:90], Y[60:90])


@pytest.mark.parametrize("base", [SVC(), make_pipeline(StandardScaler(), SVC())], ids=type)
def test_weights_are_routed_and_reach_the_classifier_with_routing_as_without(base):
    weight, grid = np.random.default_rng(0).random(60), {"n_rounds": [1]}
    found = []
    for routing in (False, True):
        with config_context(enable_metadata_routing=routing):
            clf = AdversarialTrainingClassifier(base, 0.3)
            scorer = make_robust_scorer(0.3)
            if routing:
                clf.set_fit_request(sample_weight=True)
                scorer.set_score_request(sample_weight=True)
            search = GridSearchCV(clf, grid, cv=2, scoring=scorer)
            search.fit(X[:60], Y[:60], sample_weight=weight)
        found.append(search.decision_function(X))
    np.testing.assert_array_equal(*found)
    plain = AdversarialTrainingClassifier(base, 0.3, n_rounds=1).fit(X[:60], Y[:60])
    assert not np.allclose(plain.decision_function(X), found[0], rtol=0, atol=1e-3)


def test_weights_where_the_classifier_takes_none_are_refused():
    with pytest.raises(ValueError, match="KNeighborsClassifier takes no weights"):
        AdversarialTrainingClassifier(KNeighborsClassifier()).fit(X, Y, np.ones(len(Y)))


@pytest.mark.parametrize("n_rounds", [-1, 1.5, None])
def test_a_number_of_rounds_that_is_none_is_refused(n_rounds):
    with pytest.raises(ValueError, match="n_rounds must be an integer >= 0"):
        AdversarialTrainingClassifier(GaussianNB(), n_rounds=n_rounds).fit(X, Y)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_with_words_and_whole_numbers(library):
    frame = pd.DataFrame(X[:120], columns=list("abcd")).assign(
        count=np.arange(120), word=np.where(X[:120, 0] > 0, "large", "small")
    )
    if library == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    front = make_column_transformer((OneHotEncoder(), ["word"]), remainder=StandardScaler())
    pipe = make_pipeline(front, LogisticRegression())
    radius = {"a": 0.3, "b": 0.3, "count": 5.0}
    clf = AdversarialTrainingClassifier(pipe, radius, n_rounds=2).fit(frame, Y[:120])
    assert clf.n_rounds_ > 0
    assert list(clf.feature_names_in_) == list(frame.columns)
    assert clf.robust_score(frame, Y[:120]) <= clf.score(frame, Y[:120])
    weighted = clone(clf).fit(frame, Y[:120], np.ones(120))
    np.testing.assert_array_equal(weighted.predict_proba(frame), clf.predict_proba(frame))


def test_sparse_samples_are_those_of_the_same_numbers():
    dense = np.where(np.abs(X) > 1, X, 0)[TRAIN]
    fits = [
        AdversarialTrainingClassifier(LogisticRegression(), 0.2, n_rounds=2).fit(data, Y[TRAIN])
        for data in (dense, sparse.csr_array(dense))
    ]
    assert fits[0].n_mistakes_ == fits[1].n_mistakes_
    np.testing.assert_allclose(fits[0].estimator_.coef_, fits[1].estimator_.coef_, rtol=1e-4)
