"""Categories that are declared to a classifier are never moved, whatever library it comes from."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.naive_bayes import CategoricalNB
from sklearn.pipeline import make_pipeline

from sklearn_robust import evaluate_robustness, perturb, robust_score
from sklearn_robust.attacks import Square

RNG = np.random.default_rng(0)
CODES, NUMBERS = RNG.integers(0, 5, 200), RNG.normal(size=200)
Y = ((CODES % 2) * 2 + NUMBERS > 1).astype(int)
ARRAY = np.c_[CODES, NUMBERS]
FRAME = pd.DataFrame({"code": pd.Categorical(CODES), "number": NUMBERS})
EPSILON, ATTACK = 0.6, Square(40)


def boosted(kind):
    """Return a classifier that knows of the category in the first column, and its samples."""
    if kind == "histogram, by place":
        return HistGradientBoostingClassifier(categorical_features=[0], max_iter=10), ARRAY
    if kind == "histogram, by type":
        return HistGradientBoostingClassifier(max_iter=10), FRAME
    if kind.startswith("lightgbm"):
        lightgbm = pytest.importorskip("lightgbm")
        return lightgbm.LGBMClassifier(n_estimators=10, verbose=-1), FRAME
    if kind == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        return xgboost.XGBClassifier(n_estimators=10, enable_categorical=True, n_jobs=1), FRAME
    catboost = pytest.importorskip("catboost")
    options = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    words = pd.DataFrame({"code": CODES.astype(str), "number": NUMBERS})
    return catboost.CatBoostClassifier(cat_features=["code"], **options), words


KINDS = ["histogram, by place", "histogram, by type", "lightgbm", "xgboost", "catboost"]


def with_number(data, numbers):
    if isinstance(data, pd.DataFrame):
        return data.assign(number=numbers)
    return np.c_[data[:, 0], numbers]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_number_beside_a_declared_category_moves(kind):
    clf, data = boosted(kind)
    clf.fit(data, Y)
    options = {"epsilon": EPSILON, "attack": ATTACK}
    X_adv = perturb(clf, data, Y, **options)
    if isinstance(data, pd.DataFrame):
        assert X_adv["code"].equals(data["code"])
        moved = X_adv["number"].to_numpy() - NUMBERS
    else:
        np.testing.assert_array_equal(X_adv[:, 0], CODES)
        moved = X_adv[:, 1] - NUMBERS
    assert 0 < abs(moved).max() <= EPSILON + 1e-12
    # Brute force over the one column that may move.
    steps = np.linspace(-EPSILON, EPSILON, 201)
    right = [np.ravel(clf.predict(with_number(data, NUMBERS + step))) == Y for step in steps]
    truth, found = np.mean(np.all(right, axis=0)), robust_score(clf, data, Y, **options)
    assert truth <= found <= truth + 0.02
    (radius,) = evaluate_robustness(clf, data, Y, [EPSILON], attack=ATTACK, diagnostics=False).radii
    assert radius.attacked == found


SWAPPED = make_column_transformer(("passthrough", [1]), ("passthrough", [0]))


@pytest.mark.parametrize("front, place", [(SimpleImputer(), 0), (SWAPPED, 1)])
def test_a_declared_category_is_found_behind_transformers(front, place):
    final = HistGradientBoostingClassifier(categorical_features=[place], max_iter=5)
    clf = make_pipeline(front, final).fit(ARRAY, Y)
    X_adv = perturb(clf, ARRAY, Y, epsilon=EPSILON, attack=ATTACK)
    np.testing.assert_array_equal(X_adv[:, 0], CODES)
    assert (X_adv[:, 1] != NUMBERS).any()


def test_nothing_moves_where_all_columns_are_categories():
    counts = np.c_[CODES, NUMBERS > 0]
    clf = CategoricalNB().fit(counts, Y)
    score = robust_score(clf, counts, Y, epsilon=1.5, attack="square")
    assert score == clf.score(counts, Y)
    np.testing.assert_array_equal(perturb(clf, counts, Y, epsilon=1.5, attack="square"), counts)


def test_predictions_of_several_shapes_are_one_label_for_each_sample():
    """CatBoost predicts columns for more than two classes."""
    catboost = pytest.importorskip("catboost")
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    clf = catboost.CatBoostClassifier(
        iterations=5, verbose=0, allow_writing_files=False, thread_count=1
    ).fit(X, y)
    assert clf.predict(X).shape == (178, 1)
    assert robust_score(clf, X, y, epsilon=0, attack="square") == np.mean(clf.predict(X)[:, 0] == y)
    assert robust_score(clf, X, y, epsilon=0.5, attack=Square(20)) < 1
