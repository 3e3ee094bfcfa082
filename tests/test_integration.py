"""The estimators inside what scikit-learn's users already use; each test runs the real thing."""

import io
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib.parallel import ThreadingBackend
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    AdversarialLogisticRegression,
    RobustFCClassifier,
    input_gradients,
    make_robust_scorer,
    robust_score,
)
from sklearn_robust.attacks import PGD, Square
from sklearn_robust.metrics import perturb
from sklearn_robust.targets import make_target

X, Y = load_wine(return_X_y=True)
SPREAD = X.std(axis=0)
RADIUS = 0.3 * SPREAD
FAST = PGD(5, keep="fooling")


def network(**kwargs):
    """Return an unfitted network with its own scaler, which trains in a fraction of a second."""
    settings = {"epsilon": 0.1 * SPREAD, "max_epochs": 15, "pgd_steps": 2, "lr": 0.02,
                "batch_size": 64, "random_state": 0, "preprocessor": StandardScaler()}  # fmt: skip
    return RobustFCClassifier((8,), **{**settings, **kwargs})


def linear(**kwargs):
    return make_pipeline(StandardScaler(), AdversarialLogisticRegression(**kwargs))


SCORING = {"clean": "accuracy", "robust": make_robust_scorer(RADIUS, attack=FAST)}


# Choosing a model ------------------------------------------------------------------------------


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_searches_over_epsilon_and_steps_with_two_metrics_refit_on_one(search):
    grid = {"epsilon": [np.zeros(13), 0.3 * SPREAD], "pgd_steps": [1, 3]}
    options = {"scoring": SCORING, "refit": "robust", "cv": 2}
    if search is RandomizedSearchCV:
        options |= {"n_iter": 3, "random_state": 0}
    found = search(network(), grid, **options).fit(X, Y)
    results = found.cv_results_
    assert (results["mean_test_robust"] <= results["mean_test_clean"]).all()
    assert found.best_index_ == results["mean_test_robust"].argmax()
    assert found.best_params_["epsilon"].any()  # standard training is not the most robust
    assert (
        robust_score(found, X, Y, epsilon=RADIUS, attack=FAST) > results["mean_test_robust"].min()
    )


def test_a_scorer_at_a_fixed_radius_picks_robust_training_and_accuracy_does_not_decide():
    X, y = load_breast_cancer(return_X_y=True)
    spread = X.std(axis=0)
    grid = {"adversariallogisticregression__epsilon": [0.0, 0.2, 0.4]}
    search = GridSearchCV(linear(), grid, scoring=make_robust_scorer(0.4 * spread), cv=3)
    assert search.fit(X, y).best_params_["adversariallogisticregression__epsilon"] > 0
    means = search.cv_results_["mean_test_score"]
    assert means.max() > means[0] + 0.1


def test_halving_search_over_epsilon():
    search = HalvingGridSearchCV(
        linear(), {"adversariallogisticregression__epsilon": [0.0, 0.1, 0.2, 0.3]},
        scoring=make_robust_scorer(RADIUS), cv=3, factor=2, min_resources=60, random_state=0,
    )  # fmt: skip
    search.fit(X, Y)
    assert search.n_iterations_ >= 2
    assert 0 < search.best_score_ <= 1


def test_cross_validate_and_learning_curve():
    results = cross_validate(network(), X, Y, cv=3, scoring=SCORING, return_train_score=True)
    assert (results["test_robust"] <= results["test_clean"]).all()
    assert (results["train_robust"] > 0.3).all()
    _, train, test = learning_curve(
        linear(epsilon=0.1), X, Y, cv=3, train_sizes=[0.5, 1.0], shuffle=True, random_state=0,
        scoring=make_robust_scorer(RADIUS),
    )  # fmt: skip
    assert train.shape == test.shape == (2, 3)
    assert (test > 0.3).all()


# Inside other estimators -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        lambda clf: VotingClassifier([("a", clf), ("b", linear())], voting="soft"),
        lambda clf: StackingClassifier([("a", clf), ("b", linear())], cv=2),
        lambda clf: OneVsRestClassifier(clf),
        lambda clf: CalibratedClassifierCV(FrozenEstimator(clf.fit(X, Y))),
    ],
    ids=["calibrated", "voting", "stacking", "one against rest", "calibrated and frozen"],
)
def test_ensembles_and_calibration_take_a_network_and_are_scored(make):
    clf = make(network()).fit(X, Y)
    assert clf.score(X, Y) > 0.9
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)
    few = slice(None, None, 6)
    score = robust_score(clf, X[few], Y[few], epsilon=0.1 * SPREAD, attack=Square(30))
    assert 0.5 < score <= clf.score(X[few], Y[few])


def test_permutation_importance_of_robustness():
    clf = network().fit(X, Y)
    scorer = make_robust_scorer(0.1 * SPREAD, attack=FAST)
    result = permutation_importance(clf, X, Y, n_repeats=1, random_state=0, scoring=scorer)
    assert result.importances_mean.max() > 0.02
    assert result.importances.shape == (13, 1)


def test_clone_after_fit_is_unfitted_and_equal():
    clf = network(random_state=3).fit(X, Y)
    twin = clone(clf)
    assert not hasattr(twin, "module_") and not hasattr(twin, "preprocessor_")
    np.testing.assert_array_equal(twin.fit(X, Y).decision_function(X), clf.decision_function(X))
    scorer = make_robust_scorer(0.2, norm="l2", attack=PGD(7, keep="fooling"))
    assert clone(scorer).get_params() == scorer.get_params()


def test_set_params_between_fits_takes_effect():
    clf = network().fit(X, Y)
    before = clf.decision_function(X)
    clf.set_params(hidden_layer_sizes=(4, 4), preprocessor__with_std=False, lr=1e-3).fit(X, Y)
    assert not np.allclose(clf.decision_function(X), before)
    assert sum(p.numel() for p in clf.module_.parameters()) == 13 * 4 + 4 + 4 * 4 + 4 + 4 * 3 + 3


def test_a_backend_that_gives_all_results_at_once_will_do():
    class AllAtOnce(ThreadingBackend):
        """As the joblib backends of ray and spark."""

        supports_return_generator = False

    clf, many, labels = network().fit(X, Y), np.tile(X, (4, 1)), np.tile(Y, 4)  # two batches
    joblib.register_parallel_backend("all at once", AllAtOnce)
    with joblib.parallel_config(backend="all at once"):
        score = robust_score(clf, many, labels, epsilon=RADIUS, n_jobs=2)
    assert score == robust_score(clf, many, labels, epsilon=RADIUS)


# Frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["a" + str(j) for j in range(13)], None], ids=["frame", "array"])
@pytest.mark.parametrize("final", ["linear", "network"])
def test_set_output_hands_frames_to_the_classifier_and_changes_no_score(final, names):
    def pipe():
        alone = network(preprocessor=None, epsilon=0.1, dtype="float64")
        clf = AdversarialLogisticRegression() if final == "linear" else alone
        return make_pipeline(StandardScaler(), PCA(5), clf)

    data = X if names is None else pd.DataFrame(X, columns=names)
    framed = pipe().set_output(transform="pandas").fit(data, Y)
    assert framed[-1].feature_names_in_.tolist() == [f"pca{j}" for j in range(5)]
    assert (names is None) != hasattr(framed, "feature_names_in_")
    plain = pipe().fit(X, Y)
    # A frame is stored by columns, so that sums are taken in another order.
    close = {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(framed.predict_proba(data), plain.predict_proba(X), **close)
    gradients = input_gradients(framed, data, Y), input_gradients(plain, X, Y)
    np.testing.assert_allclose(*(np.asarray(g) * SPREAD for g in gradients), **close)
    X_adv = perturb(framed, data, Y, epsilon=RADIUS, attack=FAST)
    assert isinstance(X_adv, type(data))
    score = robust_score(framed, data, Y, epsilon=RADIUS, attack=FAST)
    assert score == framed.score(X_adv, Y) < framed.score(data, Y)


@pytest.mark.parametrize("make", [linear, network], ids=["linear", "network"])
def test_columns_in_another_order_are_refused(make):
    frame = pd.DataFrame(X, columns=[f"a{j}" for j in range(13)])
    clf = make().fit(frame, Y)
    with pytest.raises(ValueError, match="feature names should match"):
        robust_score(clf, frame[frame.columns[::-1]], Y, epsilon=RADIUS)


# Other places ----------------------------------------------------------------------------------


def test_joblib_round_trip_and_a_copy_in_another_process(tmp_path):
    pipe = make_pipeline(StandardScaler(), network(preprocessor=None, epsilon=0.1)).fit(X, Y)
    path = tmp_path / "model.joblib"
    joblib.dump((pipe, X, Y), path)
    loaded, _, _ = joblib.load(path)
    np.testing.assert_array_equal(loaded.decision_function(X), pipe.decision_function(X))
    program = (
        "import sys, joblib; from sklearn_robust import robust_score;"
        "pipe, X, Y = joblib.load(sys.argv[1]);"
        "print(robust_score(pipe, X, Y, epsilon=0.1 * X.std(axis=0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == robust_score(pipe, X, Y, epsilon=0.1 * SPREAD)


def test_skops_round_trip_names_what_must_be_trusted():
    skops_io = pytest.importorskip("skops.io")
    for clf in (linear(epsilon=0.1).fit(X, Y), network().fit(X, Y)):
        data = skops_io.dumps(clf)
        types = skops_io.get_untrusted_types(data=data)
        assert any("sklearn_robust" in name for name in types)
        loaded = skops_io.loads(data, trusted=types)
        np.testing.assert_array_equal(loaded.decision_function(X), clf.decision_function(X))


def test_arrays_of_another_process_are_read_and_never_written_to():
    data, radius, labels = X.copy(), 0.1 * SPREAD, Y.copy()
    clf = network(epsilon=radius, clip_values=(X.min(axis=0), X.max(axis=0)))
    for array in (data, radius, labels, *clf.clip_values):
        array.flags.writeable = False
    clf.fit(data, labels)
    assert clf.robust_score(data, labels) <= clf.score(data, labels)
    assert perturb(clf, data, labels, epsilon=radius).flags.writeable
    assert make_target(clf, data, labels).labels.tolist() == Y.tolist()


def test_a_file_is_not_needed_to_copy():
    clf = network().fit(X, Y)
    buffer = io.BytesIO()
    joblib.dump(clf, buffer)
    buffer.seek(0)
    np.testing.assert_array_equal(joblib.load(buffer).predict(X), clf.predict(X))


# Metadata routing ------------------------------------------------------------------------------


def test_sample_weight_is_routed_to_fit_to_score_and_to_the_scorer():
    weight = np.where(Y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = network().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scorer = make_robust_scorer(RADIUS, attack=FAST).set_score_request(sample_weight=True)
        results = cross_validate(
            clf, X, Y, cv=2, params={"sample_weight": weight}, scoring={"robust": scorer},
            return_estimator=True, return_indices=True,
        )  # fmt: skip
        for fitted, test, score in zip(
            results["estimator"], results["indices"]["test"], results["test_robust"], strict=True
        ):
            assert 0 not in fitted.predict(X)  # the class without weight was not learnt
            expected = robust_score(
                fitted, X[test], Y[test], sample_weight=weight[test], epsilon=RADIUS, attack=FAST
            )
            assert score == expected
        plain = cross_val_score(clf, X, Y, cv=2, params={"sample_weight": weight})
        assert (plain > 0.8).all()  # counting the class without weight it would be below 0.7


def test_weights_reach_the_last_step_of_a_pipeline_and_the_scorer_of_a_search():
    weight = np.random.default_rng(0).random(len(Y))
    with sklearn.config_context(enable_metadata_routing=True):
        clf = AdversarialLogisticRegression(epsilon=0.1).set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
        scorer = make_robust_scorer(RADIUS).set_score_request(sample_weight=True)
        half = np.arange(len(Y)) % 2 == 0
        search = GridSearchCV(
            pipe, {"adversariallogisticregression__C": [0.1]}, scoring=scorer, cv=[(half, ~half)]
        ).fit(X, Y, sample_weight=weight)

        scaler = StandardScaler().fit(X[half])
        by_hand = AdversarialLogisticRegression(epsilon=0.1, C=0.1)
        by_hand.fit(scaler.transform(X[half]), Y[half], sample_weight=weight[half])
        judged = {"epsilon": RADIUS, "sample_weight": weight[~half]}
        fitted = make_pipeline(scaler, by_hand)
        assert search.best_score_ == robust_score(fitted, X[~half], Y[~half], **judged)
        without = robust_score(fitted, X[~half], Y[~half], epsilon=RADIUS)
        assert search.best_score_ != without  # the weights of the scorer matter here
        unweighted = clone(by_hand).fit(scaler.transform(X[half]), Y[half])
        assert not np.allclose(unweighted.coef_, by_hand.coef_, rtol=1e-3)  # and those of fit


def test_weights_that_nobody_asked_for_are_an_error():
    weight = np.ones(len(Y))
    with sklearn.config_context(enable_metadata_routing=True):
        for clf in (AdversarialLogisticRegression(), network()):
            pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
            with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
                pipe.fit(X, Y, sample_weight=weight)


def test_weights_of_a_score_are_those_of_an_average():
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    weight = np.random.default_rng(0).random(len(Y))
    X_adv = perturb(clf, X, Y, epsilon=RADIUS)
    expected = clf.score(X_adv, Y, sample_weight=weight)
    score = robust_score(clf, X, Y, sample_weight=weight, epsilon=RADIUS)
    assert score == pytest.approx(expected, abs=1e-12)  # the same sum in another order
