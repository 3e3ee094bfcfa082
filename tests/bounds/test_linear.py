"""The worst case of linear classifiers, held against enumeration of vertices and against search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from sklearn_robust._threat import ThreatModel
from sklearn_robust.bounds._linear import (
    worst_case_correct,
    worst_case_margins,
    worst_case_points,
)

NORMS = ("linf", "l2", "l1")


def _problem(n_classes, seed, n=40, d=4):
    rng = np.random.default_rng(seed)
    n_rows = 1 if n_classes == 2 else n_classes
    coef, intercept = rng.normal(size=(n_rows, d)), rng.normal(size=n_rows)
    return coef, intercept, rng.random((n, d)), rng.integers(n_classes, size=n)


def _scores(coef, intercept, X):
    scores = X @ coef.T + intercept
    return np.column_stack([np.zeros(len(X)), scores]) if len(coef) == 1 else scores


def _margin(coef, intercept, X, y):
    scores = _scores(coef, intercept, X)
    own = scores[np.arange(len(y)), y].copy()
    scores[np.arange(len(y)), y] = -np.inf
    return own - scores.max(axis=1)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("epsilon", [0.3, [0.0, 0.1, 0.4, 0.8]])
def test_linf_margin_is_the_least_over_all_vertices(n_classes, clip_values, epsilon):
    coef, intercept, X, y = _problem(n_classes, seed=0)
    threat = ThreatModel(epsilon, "linf", clip_values)
    least = np.full(len(y), np.inf)
    for signs in itertools.product((-1, 1), repeat=X.shape[1]):
        vertex = X + np.array(signs) * epsilon
        if clip_values is not None:
            vertex = vertex.clip(*clip_values)  # ball and box is a box: these are its vertices
        least = np.minimum(least, _margin(coef, intercept, vertex, y))
    margins = worst_case_margins(coef, intercept, X, y, threat)
    # Sums of four products: a few units in the last place.
    np.testing.assert_allclose(margins, least, rtol=0, atol=1e-14)
    ties_aside = abs(least) > 1e-12
    correct = worst_case_correct(coef, intercept, X, y, threat)
    np.testing.assert_array_equal(correct[ties_aside], (least > 0)[ties_aside])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_worst_points_are_allowed_and_attain_the_margin(norm, clip_values, n_classes):
    coef, intercept, X, y = _problem(n_classes, seed=1)
    threat = ThreatModel(0.4, norm, clip_values)
    points = worst_case_points(coef, intercept, X, y, threat)
    assert threat.contains(points, X).all()
    margins = worst_case_margins(coef, intercept, X, y, threat)
    np.testing.assert_allclose(_margin(coef, intercept, points, y), margins, rtol=0, atol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_no_random_point_has_a_smaller_margin(norm, clip_values):
    coef, intercept, X, y = _problem(3, seed=2)
    threat = ThreatModel(0.4, norm, clip_values)
    margins = worst_case_margins(coef, intercept, X, y, threat)
    around, rng = threat.around(X), np.random.default_rng(0)
    for _ in range(500):
        points = around.project(X + rng.normal(size=X.shape))
        assert (_margin(coef, intercept, points, y) >= margins - 1e-12).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_adversary_the_verdict_is_predict_ties_included(n_classes):
    coef, intercept, X, _ = _problem(n_classes, seed=3)
    X, coef, intercept = np.round(4 * X), np.round(coef), np.round(intercept)  # many exact ties
    model = LogisticRegression()
    model.classes_, model.coef_, model.intercept_ = np.arange(n_classes), coef, intercept
    predicted, threat = model.predict(X), ThreatModel(0.0)
    for label in range(n_classes):
        y = np.full(len(X), label)
        correct = worst_case_correct(coef, intercept, X, y, threat)
        np.testing.assert_array_equal(correct, predicted == y)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_sparse_equals_dense(norm, clip_values):
    coef, intercept, X, y = _problem(3, seed=4)
    X = np.where(X < 0.5, 0, X)
    threat = ThreatModel(0.2, norm, clip_values)
    dense = worst_case_margins(coef, intercept, X, y, threat)
    for container in (sparse.csr_matrix, sparse.csc_array):
        found = worst_case_margins(coef, intercept, container(X), y, threat)
        np.testing.assert_allclose(found, dense, rtol=0, atol=1e-14)


def test_sparse_without_box_is_never_made_dense():
    rng = np.random.default_rng(0)
    filled = rng.normal(size=1000), (np.arange(1000) % 100, rng.integers(10**6, size=1000))
    X = sparse.csr_array(filled, shape=(100, 10**6))
    coef = rng.normal(size=(1, 10**6))
    y = np.zeros(100, dtype=int)
    # As a dense array X would take 800 MB; the address space for it is not even asked for.
    X.toarray = X.todense = None
    margins = worst_case_margins(coef, np.zeros(1), X, y, ThreatModel(0.1))
    np.testing.assert_allclose(margins, -(X @ coef[0]) - 0.1 * abs(coef).sum(), rtol=1e-12)


def test_whole_numbers_have_the_worst_case_of_the_same_fractions():
    X, y = np.array([[3, -2, 1], [0, 5, 2]]), np.array([1, 0])
    coef, intercept = np.array([[1.0, -1, 0.5]]), np.array([0.1])
    for clip_values in (None, (-10, 10)):
        threat = ThreatModel(0.7, clip_values=clip_values)
        for measure in (worst_case_margins, worst_case_points):
            expected = measure(coef, intercept, X.astype(float), y, threat)
            np.testing.assert_array_equal(measure(coef, intercept, X, y, threat), expected)


@pytest.mark.parametrize("y", [[-1, 1], [0, 2], [0.0, 1.0], [0], ["a", "b"]], ids=str)
def test_labels_must_be_indices_of_classes(y):
    X = np.array([[2.0, 0], [-2, 0]])
    with pytest.raises(ValueError, match="y must hold the index of each sample's class"):
        worst_case_margins(np.array([[1.0, 0]]), np.zeros(1), X, np.array(y), ThreatModel(0.1))
