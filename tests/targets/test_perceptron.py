"""scikit-learn's perceptrons: the module is the estimator, attacks and certificates hold for it."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._testing import ignore_warnings

from sklearn_robust import certified_score, evaluate_robustness, robust_score
from sklearn_robust.bounds import worst_case_correct
from sklearn_robust.metrics import adversarial_distance, input_gradients, perturb
from sklearn_robust.targets import make_target

DATA = {"many": load_iris(return_X_y=True), "two": load_breast_cancer(return_X_y=True)}
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


@ignore_warnings
def perceptron(activation, classes, dtype=np.float64, hidden=(12, 8)):
    X, y = DATA[classes]
    X = ((X - X.mean(0)) / X.std(0)).astype(dtype)
    solver = "lbfgs" if dtype == np.float64 else "adam"  # of which the former makes float64
    clf = MLPClassifier(
        hidden, activation=activation, solver=solver, max_iter=60, alpha=0.1,
        learning_rate_init=0.02, random_state=0,
    )  # fmt: skip
    return clf.fit(X, y), X, y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", DATA)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_attacks_and_certificates_meet(activation, classes, dtype):
    clf, X, y = perceptron(activation, classes, dtype)
    assert clf.coefs_[0].dtype == dtype
    target = make_target(clf, X, y, epsilon=0.2 if classes == "many" else 0.1)
    assert target.kind == "white box"
    assert target.certificate_obstacle is None
    logits = target.model.logits(target.model.asarray(target.rows)).numpy()
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, clf.predict_proba(X.astype(float)), atol=1e-12)
    attacked = target.attacked(target.threat, seed=0).robust
    proven = target.certified(target.threat, "auto")
    assert (proven <= attacked).all()
    assert attacked.mean() < target.clean.mean()
    assert attacked.mean() - proven.mean() < 0.1
    distance = target.distances(target.threat)
    assert (distance[proven] > 1).all()
    assert (distance[~attacked & target.clean] < 1.5).all()


@pytest.mark.parametrize("classes", DATA)
def test_without_bends_the_answer_is_the_exact_one(classes):
    clf, X, y = perceptron("identity", classes)
    weights, shift = clf.coefs_[0], clf.intercepts_[0]
    for W, b in zip(clf.coefs_[1:], clf.intercepts_[1:], strict=True):
        weights, shift = weights @ W, shift @ W + b
    if classes == "two":
        weights, shift = weights @ [[-0.5, 0.5]], shift @ [[-0.5, 0.5]]
    threat = make_target(clf, X, y, epsilon=0.15).threat
    exact = worst_case_correct(weights.T, shift, X, y, threat)
    assert robust_score(clf, X, y, epsilon=0.15) == exact.mean()
    assert certified_score(clf, X, y, epsilon=0.15) == exact.mean()
    assert 0.2 < exact.mean() < clf.score(X, y)


@pytest.mark.parametrize("classes", DATA)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_those_of_the_predicted_probabilities(activation, classes):
    clf, X, y = perceptron(activation, classes)
    X, y = X[::10], y[::10]

    def loss(X):
        return -np.log(clf.predict_proba(X)[np.arange(len(y)), y])

    step = 1e-5
    by_differences = np.stack(
        [(loss(X + step * e) - loss(X - step * e)) / (2 * step) for e in np.eye(X.shape[1])], axis=1
    )
    # Central differences are off by step^2 of a third derivative, and 1e-16 / step.
    scale = max(1.0, abs(by_differences).max())
    np.testing.assert_allclose(input_gradients(clf, X, y), by_differences, atol=1e-6 * scale)


@ignore_warnings
def test_in_pipelines_searches_frames_and_sparse_samples():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    clf = MLPClassifier((10,), activation="tanh", solver="lbfgs", max_iter=50, random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), clf), {"mlpclassifier__alpha": [0.01, 1.0]}
    )
    search.fit(X, names)
    run = {"epsilon": 0.1 * X.std()}
    attacked = robust_score(search, X, names, **run)
    assert 0.5 < certified_score(search, X, names, **run) <= attacked < search.score(X, names)
    moved = perturb(search, X, names, **run)
    assert isinstance(moved, pd.DataFrame)
    assert search.score(moved, names) == attacked
    plain = MLPClassifier((10,), solver="lbfgs", max_iter=50, random_state=0).fit(X.to_numpy(), y)
    rows = sparse.csr_array(X.to_numpy())
    assert robust_score(plain, rows, y, epsilon=0.1) == robust_score(
        plain, X.to_numpy(), y, epsilon=0.1
    )
    report = evaluate_robustness(search, X, names, [0.05, 0.1], unit=X.std())
    assert [r.attacked_is for r in report.radii] == ["white box"] * 2
    assert all(r.certified <= r.attacked <= r.clean for r in report.radii)


def test_several_labels_for_a_sample_are_none_of_this():
    X, y = DATA["many"]
    labels = np.column_stack([y == 0, y == 1]).astype(int)
    with ignore_warnings(category=UserWarning):
        clf = MLPClassifier((5,), max_iter=20, random_state=0).fit(X, labels)
    with pytest.raises((TypeError, ValueError)):
        robust_score(clf, X, labels, epsilon=0.1)


def test_distances_of_a_perceptron_that_learnt_a_line_are_those_of_the_line():
    X, y = DATA["two"]
    X = (X - X.mean(0)) / X.std(0)
    linear = LogisticRegression(C=0.1).fit(X, y)
    clf, _, _ = perceptron("identity", "two", hidden=(1,))
    clf.coefs_ = [linear.coef_.T.copy(), np.ones((1, 1))]
    clf.intercepts_ = [linear.intercept_.copy(), np.zeros(1)]
    for norm in ("linf", "l2"):
        ours, exact = (adversarial_distance(c, X, y, norm=norm) for c in (clf, linear))
        np.testing.assert_allclose(ours, exact, rtol=0.02, atol=1e-3)
