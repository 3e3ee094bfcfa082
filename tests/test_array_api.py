"""scikit-learn's array API dispatch: arrays of torch and array-api-strict give numpy's answers."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # before scipy, which dispatch asks for

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    RobustFCClassifier,
    SampleMeanClassifier,
    adversarial_distance,
    adversarial_logistic_path,
    certified_score,
    epsilon_max,
    evaluate_robustness,
    input_gradients,
    make_robust_scorer,
    perturb,
    robust_score,
)

pytestmark = pytest.mark.skipif(
    os.environ["SCIPY_ARRAY_API"] != "1", reason="needs SCIPY_ARRAY_API=1 before scipy's import"
)

X, Y = load_breast_cancer(return_X_y=True)
X = ((X - X.mean(axis=0)) / X.std(axis=0))[:120, :5]
Y = Y[:120]
WEIGHT = np.random.default_rng(0).random(120)
RADIUS = 0.1


def strict():
    return pytest.importorskip("array_api_strict").asarray


LIBRARIES = {"torch": lambda: torch.asarray, "array-api-strict": strict}
OWN = {
    "linear": lambda: AdversarialLogisticRegression(),
    "path": lambda: AdversarialLogisticRegressionCV(2, cv=2),
    "protocol": lambda: AdversarialLogisticRegression(solver="pgd"),
    "mean": lambda: SampleMeanClassifier(),
    "network": lambda: RobustFCClassifier((4,), max_epochs=3, lr=0.1, random_state=0,
                                          lr_schedule="constant", input_ramp=None),
    "pipeline": lambda: make_pipeline(StandardScaler(), AdversarialLogisticRegression()),
}  # fmt: skip
THEIRS = {
    "ridge": lambda: RidgeClassifier(solver="svd"),
    "discriminant": lambda: LinearDiscriminantAnalysis(),
    "scaled": lambda: make_pipeline(StandardScaler(), RidgeClassifier(solver="svd")),
}


def answers(clf, X, Y, weight):
    few = slice(None, 20)
    points = perturb(clf, X, Y, epsilon=RADIUS)
    gradients = input_gradients(clf, X, Y)
    assert type(points) is type(gradients) is type(X)
    return {
        "score": float(clf.score(X, Y)),
        "robust": robust_score(clf, X, Y, weight, epsilon=RADIUS),
        "certified": certified_score(clf, X, Y, epsilon=RADIUS),
        "distance": adversarial_distance(clf, X[few, :], Y[few]),
        "report": [
            r.attacked for r in evaluate_robustness(clf, X, Y, [RADIUS], diagnostics=False).radii
        ],
        "points": np.asarray(points),
        "gradients": np.asarray(gradients),
    }


@pytest.mark.filterwarnings(  # scikit-learn's StandardScaler divides so in array-api-strict
    "ignore:invalid value encountered in divide:RuntimeWarning"
)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", [*OWN, *THEIRS])
def test_every_measure_gives_numpys_answer_and_points_in_the_library_of_x(name, library):
    if name in ("pipeline", *THEIRS) and parse_version(_scikit_learn()) < parse_version("1.9"):
        pytest.skip("scikit-learn moves estimators between libraries since 1.9")
    make, convert = {**OWN, **THEIRS}[name], LIBRARIES[library]()
    expected = answers(make().fit(X, Y), X, Y, WEIGHT)
    with config_context(array_api_dispatch=True):
        data = convert(X), convert(Y), convert(WEIGHT)
        found = answers(make().fit(*data[:2]), *data)
    for measure, value in expected.items():
        # One library rounds a sum otherwise than another where scikit-learn computes in it.
        np.testing.assert_allclose(found[measure], value, rtol=1e-6, atol=1e-9, err_msg=measure)


def _scikit_learn():
    import sklearn

    return sklearn.__version__


@pytest.mark.parametrize("library", LIBRARIES)
def test_fits_with_weights_and_functions_of_the_path_give_numpys_answer(library):
    convert = LIBRARIES[library]()
    expected = AdversarialLogisticRegression().fit(X, Y, WEIGHT).coef_
    with config_context(array_api_dispatch=True):
        data = convert(X), convert(Y), convert(WEIGHT)
        found = AdversarialLogisticRegression().fit(*data)
        path = adversarial_logistic_path(*data[:2], [0.1], sample_weight=data[2])
        assert epsilon_max(*data[:2]) == epsilon_max(X, Y)
    np.testing.assert_array_equal(found.coef_, expected)
    np.testing.assert_allclose(path.coefs[0], expected, atol=1e-4)


def test_a_search_over_tensors_is_scored():
    grid = {"epsilon": [0.0, 0.1]}
    searches = []
    for data in ((X, Y), (torch.asarray(X), torch.asarray(Y))):
        with config_context(array_api_dispatch=True):
            clf = AdversarialLogisticRegression()
            search = GridSearchCV(clf, grid, scoring=make_robust_scorer(RADIUS), cv=2).fit(*data)
            scores = cross_val_score(clf, *data, scoring=make_robust_scorer(RADIUS), cv=2)
        searches.append([*search.cv_results_["mean_test_score"], *scores])
    np.testing.assert_allclose(*searches, rtol=1e-12)


def test_a_tensor_in_the_hosts_memory_is_not_copied():
    from sklearn_robust._arrays import on_host

    tensor = torch.zeros(3)
    assert np.shares_memory(on_host(tensor), tensor.numpy())
    for other in (np.zeros(3), [1, 2], None):
        assert on_host(other) is other
