"""The sample-mean classifier: its formula, and the promises of a scikit-learn estimator."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_robust.datasets import BernoulliGenerator
from sklearn_robust.linear_model import SampleMeanClassifier


@parametrize_with_checks([SampleMeanClassifier()])
def test_scikit_learn_estimator_checks(estimator, check):
    check(estimator)


def _data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) + 0.5
    return X, np.where(rng.random(40) < 0.3, -1, 1), rng.uniform(size=40)


def test_weights_are_the_signed_weighted_mean_at_unit_length():
    X, y, s = _data()
    model = SampleMeanClassifier().fit(X, y, sample_weight=s)
    z = sum(s[i] * y[i] * X[i] for i in range(40)) / s.sum()
    np.testing.assert_allclose(model.coef_, [z / np.sqrt(z @ z)], rtol=1e-13)
    assert model.intercept_.tolist() == [0]
    np.testing.assert_array_equal(model.predict(X), np.where(X @ z > 0, 1, -1))


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_input_gives_the_same_model(make):
    X, y, s = _data()
    X[X < 0.3] = 0
    dense = SampleMeanClassifier().fit(X, y, s)
    model = SampleMeanClassifier().fit(make(X), y, s)
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-13)
    np.testing.assert_array_equal(model.predict(make(X)), dense.predict(X))


def test_labels_of_any_kind_the_second_in_order_is_positive():
    X, y, _ = _data()
    names = np.where(y > 0, "zebra", "ant")
    model = SampleMeanClassifier().fit(X, names)
    np.testing.assert_array_equal(model.coef_, SampleMeanClassifier().fit(X, y).coef_)
    assert model.predict(model.coef_).tolist() == ["zebra"]


def test_a_zero_mean_predicts_the_first_class():
    X = np.array([[1.0, 2.0], [1.0, 2.0]])
    model = SampleMeanClassifier().fit(X, [0, 1])
    assert model.coef_.tolist() == [[0, 0]]
    assert model.predict(X).tolist() == [0, 0]


def test_float32_stays_float32():
    X, y, s = _data()
    model = SampleMeanClassifier().fit(X.astype(np.float32), y, s)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two classes, got one class"):
        SampleMeanClassifier().fit(np.ones((3, 2)), [1, 1, 1])


def test_negative_weights_are_refused():
    X, y, s = _data()
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        SampleMeanClassifier().fit(X, y, sample_weight=-s)


def test_its_exact_accuracy_is_the_share_of_right_predictions():
    law = BernoulliGenerator(50, tau=(0.0, 0.3), random_state=0)
    model = SampleMeanClassifier().fit(*law.sample(200))
    X, y = law.sample(100_000)
    exact = law.accuracy(model.coef_)
    # Four standard errors of a share.
    assert abs(model.score(X, y) - exact) < 4 * np.sqrt(exact * (1 - exact) / 100_000)
