"""The direct attack, and random search on plateaus, held against what is known."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_wine
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import scale
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import robust_score
from sklearn_robust.attacks import DirectAttack, ScoreModel, Square, ThreatModel, TorchModel

X, Y = load_wine(return_X_y=True)
X = scale(X)
METRICS = {"linf": "chebyshev", "l2": "euclidean", "l1": "cityblock"}


def moved(clf, rows, labels, threat, **options):
    attack = DirectAttack(X, clf.predict(X), **options)
    model = ScoreModel(clf.predict_proba, len(clf.classes_))
    return attack.perturb(model, rows, labels, threat, np.random.default_rng(0))


@pytest.mark.parametrize("norm", METRICS)
def test_a_row_of_another_class_in_the_ball_is_always_found(norm):
    clf = DecisionTreeClassifier(random_state=0).fit(X, Y)
    distance = cdist(X, X, METRICS[norm])
    distance[Y[:, None] == Y] = np.inf
    epsilon = float(np.median(distance.min(axis=1)))
    within = distance.min(axis=1) < epsilon
    X_adv = moved(clf, X, Y, ThreatModel(epsilon, norm), n_neighbors=1)
    wrong = clf.predict(X_adv) != Y
    assert wrong[within].all()
    nearest = X[distance.argmin(axis=1)]
    np.testing.assert_allclose(X_adv[within], nearest[within], rtol=0, atol=1e-14)  # X + (c - X)
    assert wrong.sum() < len(X)


def test_under_linf_it_finds_whatever_clipping_some_row_into_the_ball_finds():
    fit = np.arange(len(X)) % 2 == 0
    clf, rows, labels = KNeighborsClassifier().fit(X[fit], Y[fit]), X[~fit], Y[~fit]
    for epsilon in (0.3, 0.6):
        broken = np.array(
            [
                (clf.predict(np.clip(X, x - epsilon, x + epsilon)) != label).any()
                for x, label in zip(rows, labels, strict=True)
            ]
        )
        right = clf.predict(rows) == labels
        X_adv = moved(clf, rows[right], labels[right], ThreatModel(epsilon), n_neighbors=len(X))
        others = np.array(
            [
                (clf.predict(np.clip(X[clf.predict(X) != k], x - epsilon, x + epsilon)) != k).any()
                for x, k in zip(rows[right], labels[right], strict=True)
            ]
        )
        assert (others <= broken[right]).all()
        np.testing.assert_array_equal(clf.predict(X_adv) != labels[right], others)


def test_columns_that_cannot_move_do_not_count_as_distance():
    threat = ThreatModel(np.where(np.arange(13) == 5, 0.0, 2.0), clip_values=(-1.5, 1.5))
    clf = DecisionTreeClassifier(random_state=0).fit(X, Y)
    inside = X.clip(-1.5, 1.5)
    right = clf.predict(inside) == Y
    X_adv = moved(clf, inside[right], Y[right], threat)
    assert threat.contains(X_adv, inside[right]).all()
    assert (X_adv[:, 5] == inside[right][:, 5]).all()


def test_it_moves_towards_the_batch_itself_and_sees_torch_models():
    import torch

    net = torch.nn.Linear(2, 2)
    net.weight.data, net.bias.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.zeros(2)
    model = TorchModel(net, 2)
    rows = model.asarray(np.array([[-1.0, 0.0], [1.0, 1.0]]))
    X_adv = DirectAttack().perturb(
        model, rows, model.labels([0, 1]), ThreatModel(1.5), torch.Generator()
    )
    torch.testing.assert_close(X_adv, torch.tensor([[0.5, 1.0], [-0.5, 0.0]]))


def test_without_another_class_nothing_moves():
    model = ScoreModel(lambda rows: np.c_[np.ones(len(rows)), np.zeros(len(rows))], 2)
    rows = np.zeros((3, 2))
    X_adv = DirectAttack().perturb(model, rows, np.zeros(3, int), ThreatModel(1.0), None)
    np.testing.assert_array_equal(X_adv, rows)


@pytest.mark.parametrize("norm", METRICS)
@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_stripes_of_a_tree_are_crossed_by_the_name_of_square(epsilon, norm):
    # Classes alternate every unit: within a distance of 1 there is always the other one.
    rows = np.random.default_rng(0).uniform(0, 10, (300, 1))
    labels = np.floor(rows[:, 0]).astype(int) % 2
    tree = DecisionTreeClassifier().fit(rows, labels)
    options = {"epsilon": epsilon, "norm": norm, "attack": "square"}
    assert robust_score(tree, rows, labels, **options) == 0


def test_square_errs_inside_the_set_where_the_corners_are_right():
    """A ring around the sample is another class; the set reaches far beyond it."""
    ring = ScoreModel(
        lambda rows: np.c_[abs(abs(rows).max(1) - 1) > 0.5, abs(abs(rows).max(1) - 1) <= 0.5] * 1.0,
        2,
    )
    rows, labels, threat = np.zeros((20, 4)), np.zeros(20, dtype=int), ThreatModel(4.0)
    found = [
        ring.logits(
            Square(200, inside=inside).perturb(ring, rows, labels, threat, np.random.default_rng(0))
        ).argmax(axis=1)
        for inside in (0, 0.1)
    ]
    assert (found[0] == 0).all()  # as the paper has it: corners only
    assert (found[1] == 1).all()


@pytest.mark.parametrize("clf", [KNeighborsClassifier(), SVC()], ids=["neighbours", "kernel"])
def test_a_black_box_falls_with_epsilon_and_below_clipped_rows(clf):
    fit = np.arange(len(X)) % 3 > 0
    clf.fit(X[fit], Y[fit])
    rows, labels = X[~fit][::2], Y[~fit][::2]

    def clipped(epsilon):
        return np.mean(
            [
                (clf.predict(np.clip(rows, x - epsilon, x + epsilon)) == label).all()
                for x, label in zip(rows, labels, strict=True)
            ]
        )

    radii = [0.6, 1.0, 3.0]
    found = [robust_score(clf, rows, labels, epsilon=e, attack="square") for e in radii]
    assert all(score <= clipped(e) for score, e in zip(found, radii, strict=True))
    assert found[-1] == 0
    assert found == sorted(found, reverse=True)


def test_what_it_cannot_use_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match="n_neighbors must be an integer >= 1"):
        DirectAttack(n_neighbors=0)
    with pytest.raises(ValueError, match="one class for each of the candidates"):
        DirectAttack(X, Y[:3])
    with pytest.raises(ValueError, match="inside must be a finite number >= 0 and <= 1"):
        Square(inside=2)
    with pytest.raises(ValueError, match="start must be None or an attack"):
        Square(start="direct")
