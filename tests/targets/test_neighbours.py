"""Classifiers of neighbours behind pipelines: certified <= brute force <= attacked <= clean."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from sklearn_robust import input_gradients, perturb, robust_score
from sklearn_robust.attacks import AttackEnsemble, Square
from sklearn_robust.metrics import adversarial_distance, certified_score, evaluate_robustness
from sklearn_robust.targets import make_target

X, Y = load_iris(return_X_y=True)
FIT = np.arange(len(X)) % 3 != 0
HELD, HELD_Y = X[~FIT], Y[~FIT]


def _fitted(*steps, dtype=np.float64):
    return make_pipeline(*steps).fit(X[FIT].astype(dtype), Y[FIT])


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("steps", [(), (StandardScaler(),)], ids=["bare", "scaled"])
def test_one_neighbour_is_exact_in_raw_units(steps, norm):
    clf, seen = _fitted(*steps, KNeighborsClassifier(1)), []
    for epsilon in (0.1103, 0.2309, 0.8311):  # where the data have no ties
        attacked = robust_score(clf, HELD, HELD_Y, epsilon=epsilon, norm=norm)
        assert attacked == certified_score(clf, HELD, HELD_Y, epsilon=epsilon, norm=norm)
        moved = perturb(clf, HELD, HELD_Y, epsilon=epsilon, norm=norm)
        assert clf.score(moved, HELD_Y) == attacked
        seen.append(attacked)
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] < seen[0] < clf.score(HELD, HELD_Y)
    assert make_target(clf, HELD, HELD_Y, epsilon=0.1, norm=norm).kind == "exact"


def test_one_neighbour_is_exact_per_column_and_in_the_box():
    clf = _fitted(StandardScaler(), KNeighborsClassifier(1))
    epsilon, clip = np.array([0.5, 0.0, 0.3, 0.1]), (X.min(axis=0), X.max(axis=0))
    report = evaluate_robustness(
        clf, HELD, HELD_Y, [0.5, 1.0], unit=epsilon, clip_values=clip, diagnostics=False
    )
    for result in report.radii:
        assert result.attacked_is == result.certified_is == "exact"
        assert result.gap == 0
    assert report.radii[1].attacked < report.radii[0].attacked
    moved = perturb(clf, HELD, HELD_Y, epsilon=epsilon, clip_values=clip)
    np.testing.assert_array_equal(moved[:, 1], HELD[:, 1])


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_more_neighbours_and_other_distances_are_bounded_on_both_sides(metric, k, weights):
    clf = _fitted(StandardScaler(), KNeighborsClassifier(k, metric=metric, weights=weights))
    rng = np.random.default_rng(0)
    for epsilon in (0.05, 0.2):
        certified = certified_score(clf, HELD, HELD_Y, epsilon=epsilon)
        attacked = robust_score(clf, HELD, HELD_Y, epsilon=epsilon, random_state=0)
        right = clf.predict(HELD) == HELD_Y
        for _ in range(100):  # a search of another kind
            corner = HELD + epsilon * rng.choice([-1, 0, 1], HELD.shape)
            right &= clf.predict(corner) == HELD_Y
        assert 0 < certified <= right.mean()
        assert certified <= attacked <= clf.score(HELD, HELD_Y)
        assert attacked <= right.mean() + 0.02


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_proofs_hold_for_what_predict_computes_in_its_precision(algorithm, dtype, k):
    shift = 1e3  # which takes digits from the expanded form of the distance
    clf = KNeighborsClassifier(k, algorithm=algorithm)
    clf.fit((X[FIT] + shift).astype(dtype), Y[FIT])
    moved = (HELD + shift).astype(dtype)
    target = make_target(clf, moved, HELD_Y, epsilon=0.1)
    proven = target.certified(target.threat, "auto")
    rng = np.random.default_rng(0)
    assert 0 < proven.mean() <= target.attacked(target.threat, seed=0).robust.mean()
    for _ in range(200):
        shifted = moved + 0.1 * rng.choice([-1, 1], moved.shape)
        assert (clf.predict(shifted.astype(dtype)) == HELD_Y)[proven].all()


def test_rows_that_belong_to_two_classes_are_never_proven():
    clf = KNeighborsClassifier(1).fit(np.vstack([X[FIT], X[FIT]]), np.r_[Y[FIT], (Y[FIT] + 1) % 3])
    target = make_target(clf, X[FIT], clf.predict(X[FIT]), epsilon=0.01)
    assert not target.certified(target.threat, "auto").any()


def test_behind_a_rotation_distances_are_bounded_over_boxes():
    clf = _fitted(PCA(3, random_state=0), KNeighborsClassifier(3))
    certified = certified_score(clf, HELD, HELD_Y, epsilon=0.05)
    assert 0 < certified <= robust_score(clf, HELD, HELD_Y, epsilon=0.05, random_state=0)


def test_distances_agree_with_accuracies_and_votes_have_no_gradient():
    clf = _fitted(KNeighborsClassifier(1))
    distance = adversarial_distance(clf, HELD, HELD_Y, norm="l2")
    for epsilon in (0.1, 0.3):
        exact = robust_score(clf, HELD, HELD_Y, epsilon=epsilon, norm="l2")
        assert exact <= (distance > epsilon).mean() <= exact + 0.1
    with pytest.raises(TypeError, match="votes of neighbours are piecewise constant"):
        input_gradients(clf, HELD, HELD_Y)


def test_five_neighbours_are_attacked_further_than_through_scores():
    data, kinds = load_breast_cancer(return_X_y=True)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    clf = KNeighborsClassifier(5).fit(data[:400], kinds[:400])
    some = slice(400, 430)
    here = robust_score(clf, data[some], kinds[some], epsilon=0.5, random_state=0)
    scores = robust_score(clf, data[some], kinds[some], epsilon=0.5, attack=Square(100))
    assert here < scores


class _Contrarian(KNeighborsClassifier):
    def predict(self, X):
        return self.classes_[::-1][np.searchsorted(self.classes_, super().predict(X))]


@pytest.mark.parametrize(
    "clf",
    [
        KNeighborsClassifier(3, metric=lambda a, b: abs(a - b).sum()),
        KNeighborsClassifier(3, metric="canberra"),
        KNeighborsClassifier(3, weights=lambda d: 1 / (1 + d)),
        _Contrarian(3),
    ],
    ids=["callable", "canberra", "weights", "subclass"],
)
def test_what_is_not_known_stays_a_black_box(clf):
    clf = clf.fit(X[FIT], Y[FIT])
    assert make_target(clf, HELD, HELD_Y, epsilon=0.1).kind == "black box"


def test_an_attack_that_is_named_is_the_one_that_runs():
    clf = _fitted(KNeighborsClassifier(1))
    target = make_target(clf, HELD, HELD_Y, epsilon=0.3)
    assert next(iter(target.attacked(target.threat).broken_by)) == "exact"
    named = target.attacked(target.threat, "pgd")
    assert "exact" not in named.broken_by
    assert isinstance(target._chosen("auto"), AttackEnsemble)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_votes_within_a_radius_are_bounded_on_both_sides(metric, norm):
    clf = RadiusNeighborsClassifier(1.2, metric=metric, outlier_label=0)
    pipe, rng = _fitted(StandardScaler(), clf), np.random.default_rng(0)
    target, seen = make_target(pipe, HELD, HELD_Y, epsilon=0.02, norm=norm), []
    assert target.kind == "white box"
    for factor in (1, 20):
        threat = target.threat.scaled(factor)
        proven = target.certified(threat, "auto")
        robust = target.attacked(threat, seed=0).robust
        assert (proven <= robust).all()
        around = threat.around(target.rows)
        for _ in range(100):
            assert (pipe.predict(around.sample(rng)) == HELD_Y)[proven].all()
        seen.append((proven.mean(), robust.mean()))
    assert seen[0][0] > 0.4
    assert seen[1] < seen[0]


def test_votes_within_a_radius_hold_on_a_dense_grid():
    rows = X[FIT][:, 2:]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 2), axis=-1).reshape(-1, 2)
    for weights in ("uniform", "distance"):
        clf = RadiusNeighborsClassifier(0.7, weights=weights, outlier_label=-1)
        clf.fit(rows, Y[FIT])
        proven = 0
        for epsilon in (0.05, 0.3):
            target = make_target(clf, HELD[:, 2:], HELD_Y, epsilon=epsilon)
            safe = target.certified(target.threat, "auto")
            for x, y in zip(HELD[safe][::3, 2:], HELD_Y[safe][::3], strict=True):
                assert (clf.predict(x + epsilon * grid) == y).all()
            proven += safe.sum()
        assert proven > 0


@pytest.mark.filterwarnings("ignore:Outlier label -1 is not in training classes")
def test_a_sample_that_is_refused_or_an_outlier_is_a_mistake():
    for label in (None, -1):
        clf = RadiusNeighborsClassifier(0.6, outlier_label=label).fit(X[FIT], Y[FIT])
        moved = np.vstack([HELD[:2], HELD[:2] + 50])
        target = make_target(clf, moved, np.zeros(4, dtype=int), epsilon=0.1)
        assert target.clean.tolist() == [True, True, False, False]
        assert robust_score(clf, HELD, HELD_Y, epsilon=3.0, random_state=0) < 0.2


@pytest.mark.parametrize("k", [1, 5])
def test_label_propagation_among_neighbours_is_known_as_they_are(k):
    X, y = load_iris(return_X_y=True)
    ours = LabelPropagation(kernel="knn", n_neighbors=k).fit(X, y)
    theirs = KNeighborsClassifier(k).fit(X, y)
    targets = [make_target(clf, X, y, epsilon=0.2, norm="l2") for clf in (ours, theirs)]
    proven = [target.certified(target.threat, "auto") for target in targets]
    np.testing.assert_array_equal(*proven)
    robust = targets[0].attacked(targets[0].threat, seed=0).robust
    assert targets[0].kind == targets[1].kind
    assert (proven[0] <= robust).all()
    assert 0.8 < proven[0].mean() < 1


def test_softened_labels_of_neighbours_are_no_votes():
    X, y = load_iris(return_X_y=True)
    clf = LabelSpreading(kernel="knn", n_neighbors=5).fit(X, y)
    assert make_target(clf, X, y, epsilon=0.2).kind == "black box"
