"""Leaves as bits against the walk through the trees, and their bounds against exact sums."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import BoundedForest, _bits, decide, read_forest
from sklearn_robust.trees._bits import LeafBits, bits_of

WIDE = HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=60, min_samples_leaf=1)
MODELS = {
    "bytes": (GradientBoostingClassifier(n_estimators=6, random_state=0), 3),
    "stumps": (GradientBoostingClassifier(n_estimators=20, max_depth=1, random_state=0), 2),
    "16 bits": (HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=16), 3),
    "32 bits": (HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=2), 2),
    "64 bits": (WIDE, 3),
    "votes": (RandomForestClassifier(8, max_leaf_nodes=40, random_state=0), 2),
    "shares": (RandomForestClassifier(8, min_samples_leaf=5, random_state=0), 2),
    "categories": (
        HistGradientBoostingClassifier(max_iter=6, categorical_features=[3], min_samples_leaf=2), 3
    ),
}  # fmt: skip


def data_of(n_classes, missing):
    X, y = make_classification(
        600, 4, n_informative=4, n_redundant=0, n_classes=n_classes, n_clusters_per_class=2,
        flip_y=0.2, random_state=0,
    )  # fmt: skip
    X = np.round(X, 1)
    X[:, 3] = np.round(X[:, 3]).clip(0, 5)
    gone = np.random.default_rng(0).random(X.shape) < 0.2
    return np.where(gone, np.nan, X) if missing else X, y


def boxes_of(X):
    """Return boxes around samples: points, bounded by thresholds' neighbours, and open ones."""
    rng = np.random.default_rng(1)
    size = rng.choice([0.0, 0.05, 0.2, 1.0, np.inf], X.shape)
    size[:, 3] = 0
    return X - size, X + size


@pytest.fixture(params=MODELS)
def fitted(request):
    """Return a forest whose trees have bits, samples and labels; half of them with gaps."""
    model, n_classes = MODELS[request.param]
    missing = not isinstance(model, GradientBoostingClassifier)
    X, y = data_of(n_classes, missing)
    return read_forest(model.fit(X, y)), X, y


def test_words_have_room_for_the_largest_tree():
    sizes = set()
    for model, n_classes in MODELS.values():
        forest = read_forest(model.fit(*data_of(n_classes, False)))
        bits, largest = LeafBits(forest), np.bincount(forest.tree).max()
        words = bits.leads(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(1, int))[1]
        assert largest <= 8 * words.itemsize
        sizes.add(words.itemsize)
    assert sizes == {1, 2, 4, 8}


def test_bits_are_the_leaves_that_a_walk_through_the_trees_meets(fitted):
    forest, X, y = fitted
    low, high = boxes_of(X)
    words = LeafBits(forest).leads(low, high, y)[1]
    found = list(LeafBits(forest).leaves(words))
    for mine, met in zip(found, forest.met(low, high), strict=True):
        np.testing.assert_array_equal(mine, met)
    assert max(map(len, found)) > forest.n_trees


def test_leads_are_rounded_down_and_tight(fitted):
    forest, X, y = fitted
    low, high = boxes_of(X[:60])
    leads, _ = LeafBits(forest).leads(low, high, y[:60])
    for i, leaves in enumerate(forest.met(low, high)):
        for rival in set(range(len(forest.base))) - {y[i]}:
            exact = Fraction(forest.base[y[i]]) - Fraction(forest.base[rival])
            for tree in range(forest.n_trees):
                mine = forest.value[leaves[forest.tree[leaves] == tree]]
                exact += min(Fraction(v[y[i]]) - Fraction(v[rival]) for v in mine)
            assert leads[i, rival] <= exact
            assert float(exact) - leads[i, rival] < 1e-11 * (1 + abs(float(exact)))


def test_trees_cut_into_blocks_say_the_same(fitted, monkeypatch):
    forest, X, y = fitted
    low, high = boxes_of(X)
    whole = LeafBits(forest)
    monkeypatch.setattr(_bits, "_MOST_BYTES", 0)  # as many blocks as there may be
    monkeypatch.setattr(_bits, "_LEAST_TREES", 3)
    blocks = LeafBits(forest)
    (one, words), (other, parts) = (bits.leads(low, high, y) for bits in (whole, blocks))
    np.testing.assert_array_equal(words, parts)
    np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_margins_of_many_boxes_are_those_of_a_few(fitted):
    forest, X, y = fitted
    low, high = boxes_of(X)
    model = BoundedForest(forest)
    many = model.box_margins(low, high, y)
    few = np.concatenate([model._leads(low[k : k + 9], high[k : k + 9], y[k : k + 9])
                          for k in range(0, len(X), 9)])  # fmt: skip
    rest = y[:, None] != np.arange(few.shape[1])
    np.testing.assert_allclose(many[rest], (model.scale * few)[rest], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("model", "n_classes"),
    [
        (RandomForestClassifier(3, random_state=0), 2),  # a tree of more than 64 leaves
        (RandomForestClassifier(3, max_depth=3, random_state=0), 3),  # leaves move all classes
        (AdaBoostClassifier(n_estimators=3, random_state=0), 3),
    ],
)
def test_other_trees_have_no_bits(model, n_classes):
    assert bits_of(read_forest(model.fit(*data_of(n_classes, False)))) is None


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_verdicts_begun_with_bits_are_those_of_the_model(
    make_problem, small_model, monkeypatch, norm, n_classes
):
    monkeypatch.setattr(_bits, "_LEAST_TO_MAKE", 1)
    problem = make_problem(small_model, n_classes)
    for epsilon in (0.05, 0.2, 0.5):
        threat = ThreatModel(epsilon, norm)
        found = decide(problem.forest, problem.predict, problem.X, problem.labels, threat)
        np.testing.assert_array_equal(found.proven, problem.truth(threat))
        np.testing.assert_array_equal(found.broken, ~found.proven)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_ensembles_of_bits(seed):
    """Other libraries' too, with gaps, at all scales of the columns."""
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    rng = np.random.default_rng(seed)
    n_classes = int(rng.integers(2, 5))
    X, y = data_of(n_classes, bool(seed % 2))
    X *= 10.0 ** rng.integers(-20, 20, 4)
    X[:, 3] = rng.integers(0, 4, len(X))
    leaves = int(rng.integers(2, 64))
    model = rng.choice(
        [
            xgboost.XGBClassifier(n_estimators=4, max_depth=int(rng.integers(1, 7)), n_jobs=1),
            lightgbm.LGBMClassifier(n_estimators=4, num_leaves=leaves, verbose=-1, n_jobs=1),
            HistGradientBoostingClassifier(max_iter=4, max_leaf_nodes=leaves),
        ]
    ).fit(X, y)
    forest = read_forest(model)
    size = rng.choice([0.0, 0.01, 0.3, 2.0, np.inf], X.shape) * np.nanstd(X, axis=0)
    low, high = X - size, X + size
    bits = LeafBits(forest)
    for mine, met in zip(
        bits.leaves(bits.leads(low, high, y)[1]), forest.met(low, high), strict=True
    ):
        np.testing.assert_array_equal(mine, met)
