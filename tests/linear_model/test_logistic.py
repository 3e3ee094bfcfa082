"""AdversarialLogisticRegression and its cross-validated form as a user meets them."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.svm import SVC, LinearSVC

from sklearn_robust import get_norm, register_norm
from sklearn_robust._norms import NORMS as NORMS_BY_NAME
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import worst_case_points
from sklearn_robust.linear_model import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    adversarial_logistic_path,
    epsilon_max,
)

NORMS = ("linf", "l2", "l1")


def _data(n_classes=2):
    X, y = make_classification(
        120, 4, n_informative=3, n_redundant=0, n_classes=n_classes, flip_y=0.1, random_state=0
    )
    return X, np.array(["a", "b", "c"])[y]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 3.0, "b": 1.0, "c": 0.5}])
def test_epsilon_zero_is_scikit_learns_model(n_classes, class_weight):
    X, y = _data(n_classes)
    if isinstance(class_weight, dict):
        class_weight = {k: v for k, v in class_weight.items() if k in y}
    weight = np.random.default_rng(0).random(len(y))
    ours = AdversarialLogisticRegression(0, C=2.0, class_weight=class_weight, tol=1e-11)
    theirs = LogisticRegression(C=2.0, class_weight=class_weight, tol=1e-10, max_iter=10**4)
    ours.fit(X, y, weight)
    theirs.fit(X, y, weight)
    # Gaps of about 1e-11 leave some 1e-5 in parameters of size 1.
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-5)
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), ours.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", [None, (-6, 6)])
def test_robust_score_falls_from_score_and_equals_the_accuracy_on_perturb(
    n_classes, norm, clip_values
):
    X, y = _data(n_classes)
    clf = AdversarialLogisticRegression(0.2, norm=norm, clip_values=clip_values).fit(X, y)
    assert clf.robust_score(X, y, epsilon=0) == clf.score(X, y)
    last = clf.score(X, y)
    for epsilon in (0.1, 0.3, 0.6, 2.0):
        now = clf.robust_score(X, y, epsilon=epsilon)
        assert now <= last
        assert now == clf.score(clf.perturb(X, y, epsilon=epsilon), y)
        last = now
    assert last < 0.5


def test_robust_score_takes_weights_per_feature_radii_and_sparse_data():
    X, y = _data()
    radius = np.array([0.0, 0.1, 0.5, 0.2])
    clf = AdversarialLogisticRegression(radius).fit(X, y)
    robust = np.ones(len(y), dtype=bool)
    for signs in itertools.product((-1, 1), repeat=4):
        robust &= clf.predict(X + radius * signs) == y
    weight = np.random.default_rng(0).random(len(y))
    assert clf.robust_score(X, y, weight) == pytest.approx(np.average(robust, weights=weight))
    assert clf.robust_score(sparse.csr_matrix(X), y) == robust.mean()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_input_gradients_are_the_derivatives_of_the_log_loss(n_classes):
    X, y = _data(n_classes)
    clf = AdversarialLogisticRegression(0.1).fit(X, y)
    index, h = np.searchsorted(clf.classes_, y), 1e-6
    each = np.arange(len(y))
    found = clf.input_gradients(X, y)
    for j in range(4):
        step = h * np.eye(4)[j]
        up, down = (-clf.predict_log_proba(X + s * step)[each, index] for s in (1, -1))
        np.testing.assert_allclose(found[:, j], (up - down) / (2 * h), atol=1e-8)
    np.testing.assert_array_equal(clf.input_gradients(X), clf.input_gradients(X, clf.predict(X)))


@pytest.mark.parametrize("norm", NORMS)
def test_the_worst_points_attain_the_loss_that_was_minimised(norm):
    X, y = _data()
    clf = AdversarialLogisticRegression(0.3, norm=norm).fit(X, y)
    index = np.searchsorted(clf.classes_, y)
    points = worst_case_points(clf.coef_, clf.intercept_, X, index, ThreatModel(0.3, norm))
    worst = clf.predict_log_proba(points)
    right = clf.predict(X) == y
    X_adv = clf.perturb(X, y)
    np.testing.assert_array_equal(X_adv[right], points[right])
    np.testing.assert_array_equal(X_adv[~right], X[~right])
    total = -worst[np.arange(len(y)), index].sum() + (clf.coef_**2).sum() / 2
    assert total / len(y) == pytest.approx(clf.objective_, rel=1e-12)


def test_float32_stays_float32_and_finds_the_same_model():
    X, y = _data()
    single = AdversarialLogisticRegression().fit(X.astype(np.float32), y)
    assert single.coef_.dtype == np.float32
    double = AdversarialLogisticRegression().fit(X, y)
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_warm_start_begins_at_the_last_solution(n_classes):
    X, y = _data(n_classes)
    clf = AdversarialLogisticRegression(0.1, warm_start=True, tol=1e-7).fit(X, y)
    cold = clf.n_iter_
    objective = clf.objective_
    clf.fit(X, y)
    assert clf.n_iter_ < cold
    assert clf.objective_ <= objective * (1 + 1e-7)


def test_pgd_follows_the_report_and_comes_near_the_exact_minimum():
    X, y = _data()
    options = dict(solver="pgd", attack_every=1, lr=0.05, max_iter=2000, step_size=0.2)
    pgd = AdversarialLogisticRegression(0.2, **options).fit(X, y)
    exact = AdversarialLogisticRegression(0.2).fit(X, y)
    np.testing.assert_allclose(pgd.coef_, exact.coef_, atol=0.05)
    assert not hasattr(pgd, "dual_gap_")
    again = clone(pgd).fit(X, y)
    np.testing.assert_array_equal(again.coef_, pgd.coef_)
    assert AdversarialLogisticRegression(solver="pgd").fit(X, y).n_iter_ == 100


def test_it_works_in_a_grid_search_and_survives_pickling():
    X, y = _data()
    search = GridSearchCV(AdversarialLogisticRegression(), {"epsilon": [0.0, 0.2, 0.5]}, cv=3)
    best = search.fit(X, y).best_estimator_
    copy = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(copy.decision_function(X), best.decision_function(X))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be a finite number >= 0, got -0.1"),
        ({"epsilon": [0.1, 0.2]}, "epsilon has 2 values but X has 4 features"),
        ({"norm": "l3"}, "norm must be one of 'linf', 'l2', 'l1', got 'l3'"),
        ({"loss": "log"}, "loss must be one of 'logistic', 'squared_hinge', 'hinge', 'squared'"),
        ({"loss": "hinge", "solver": "pgd"}, "loss must be 'logistic' for solver='pgd'"),
        ({"solver": "sgd"}, "solver must be one of 'exact', 'pgd', got 'sgd'"),
        ({"C": 0}, "C must be a number > 0, got 0"),
        ({"tol": 0}, "tol must be a finite number > 0"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
        ({"attack_every": 0}, "attack_every must be an integer >= 1, got 0"),
        ({"fit_intercept": "no"}, "fit_intercept must be True or False, got 'no'"),
        ({"warm_start": "no"}, "warm_start must be True or False, got 'no'"),
        ({"random_start": 1}, "random_start must be True or False, got 1"),
        ({"random_state": "a"}, "random_state must be None, an integer >= 0"),
        ({"pgd_steps": 0}, "pgd_steps must be an integer >= 1, got 0"),
        ({"step_size": -1.0}, "step_size must be a finite number > 0"),
        ({"clip_values": (0, 1)}, "outside clip_values"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(parameters, message):
    X, y = _data()
    with pytest.raises(ValueError, match=message):
        AdversarialLogisticRegression(**parameters).fit(X, y)


def test_an_intercept_is_asked_for_by_true_or_false():
    X, y = _data()
    message = "fit_intercept must be True or False, got 'no'"
    with pytest.raises(ValueError, match=message):
        AdversarialLogisticRegressionCV([0.1], fit_intercept="no").fit(X, y)
    with pytest.raises(ValueError, match=message):
        adversarial_logistic_path(X, y, [0.1], fit_intercept="no")
    with pytest.raises(ValueError, match=message):
        epsilon_max(X, y, fit_intercept="no")


@pytest.mark.parametrize(
    "clf",
    [
        AdversarialLogisticRegression(),
        AdversarialLogisticRegression(solver="pgd"),
        AdversarialLogisticRegressionCV([0.1], cv=2),
    ],
    ids=["exact", "pgd", "cv"],
)
def test_negative_class_weights_and_no_weight_at_all_are_refused(clf):
    X, y = _data(3)
    ones = dict.fromkeys(np.unique(y).tolist(), 1.0)
    for bad in (-1, np.nan, "much"):
        with pytest.raises(ValueError, match=r"class_weight\['a'\] must be a finite number >= 0"):
            clone(clf).set_params(class_weight={**ones, "a": bad}).fit(X, y)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        clone(clf).fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match="leave a positive weight to at least one sample"):
        clone(clf).set_params(class_weight=dict.fromkeys(ones, 0)).fit(X, y)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("by", ["sample_weight", "class_weight"])
def test_a_class_without_weight_is_never_predicted_and_changes_no_other(norm, epsilon, by):
    X, y = _data(3)
    clf = AdversarialLogisticRegression(epsilon, norm=norm, tol=1e-10)
    if by == "sample_weight":
        fit = clone(clf).fit(X, y, sample_weight=np.where(y == "b", 0.0, 1.0))
    else:
        fit = clone(clf).set_params(class_weight={"a": 1.0, "b": 0.0, "c": 1.0}).fit(X, y)
    assert fit.classes_.tolist() == ["a", "b", "c"]
    rest = y != "b"
    # Rows v and -v are penalised by |v|^2, the one row 2 v of the binary model by 2 |v|^2 / C.
    two = clone(clf).set_params(C=2.0).fit(X[rest], y[rest])
    far = np.vstack([X, 1e3 * X])
    np.testing.assert_array_equal(fit.predict(far), two.predict(far))
    np.testing.assert_allclose(fit.predict_proba(X)[:, [0, 2]], two.predict_proba(X), atol=1e-4)
    assert fit.predict_proba(far)[:, 1].max() < 1e-300
    assert fit.robust_score(X[~rest], y[~rest]) == 0
    assert fit.robust_score(X[rest], y[rest]) == two.robust_score(X[rest], y[rest])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("label", ["a", "b"])
def test_weight_on_one_class_alone_predicts_it_everywhere(n_classes, label):
    X, y = _data(n_classes)
    clf = AdversarialLogisticRegression().fit(X, y, sample_weight=(y == label).astype(float))
    assert not clf.coef_.any()
    assert (clf.predict(X) == label).all()
    assert clf.predict_proba(X).max(axis=1).min() == 1


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_an_intercept_a_class_without_weight_has_scikit_learns_coefficients(n_classes):
    X, y = _data(n_classes)
    weight = np.where(y == "b", 0.0, 1.0)
    ours = AdversarialLogisticRegression(0, fit_intercept=False, tol=1e-12).fit(X, y, weight)
    theirs = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=1000).fit(X, y, weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_bagging_with_a_rare_class_predicts_as_with_logistic_regression(n_classes):
    X, y = _data(n_classes)
    keep = np.r_[np.flatnonzero(y != "a"), np.flatnonzero(y == "a")[:2]]
    X, y = X[keep], y[keep]
    options = dict(n_estimators=12, max_samples=0.3, random_state=0)
    ours = BaggingClassifier(AdversarialLogisticRegression(0), **options).fit(X, y)
    theirs = BaggingClassifier(LogisticRegression(), **options).fit(X, y)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_cv_counts_a_class_that_a_fold_has_not_trained_on_as_a_mistake(n_classes, scoring):
    X, y = _data(n_classes)
    keep = np.r_[np.flatnonzero(y != "a"), np.flatnonzero(y == "a")[:1]]
    X, y = X[keep], y[keep]
    epsilons, folds = [0.1, 0.3], KFold(3)
    cv = AdversarialLogisticRegressionCV(epsilons, cv=folds, scoring=scoring).fit(X, y)
    for fold, (train, test) in enumerate(folds.split(X)):
        if (y[train] == "a").any():
            continue
        for i, epsilon in enumerate(epsilons):
            if n_classes == 2:
                correct = y[test] == "b"  # the only class left
            else:
                fit = AdversarialLogisticRegression(epsilon, C=2.0).fit(X[train], y[train])
                far = 0.1 if scoring is None else 0.0
                known = y[test] != "a"
                correct = np.zeros(len(test), dtype=bool)
                correct[known] = [
                    fit.robust_score(X[[j]], y[[j]], epsilon=far) == 1 for j in test[known]
                ]
            assert cv.scores_[fold, i] == pytest.approx(correct.mean())


def test_cv_hands_columns_with_their_names_to_scorers():
    pd = pytest.importorskip("pandas")
    X, y = _data()
    frame = pd.DataFrame(X, columns=list("abcd"))
    seen = []

    def scorer(model, X, y):
        seen.append((list(X.columns), list(model.feature_names_in_)))
        return model.robust_score(X, y, epsilon=pd.Series({"d": 0.4, "a": 0.1, "b": 0.2, "c": 0.3}))

    by_name = AdversarialLogisticRegressionCV([0.1, 0.2], cv=2, scoring=scorer).fit(frame, y)
    assert seen == 4 * [(list("abcd"), list("abcd"))]
    radius = np.array([0.1, 0.2, 0.3, 0.4])
    in_order = AdversarialLogisticRegressionCV([0.1, 0.2], cv=2, scoring_epsilon=radius).fit(X, y)
    np.testing.assert_array_equal(by_name.scores_, in_order.scores_)


def test_exact_training_refuses_a_registered_norm_before_any_work():
    twin = type("Twin", (type(get_norm("l2")),), {"name": "twin"})()
    register_norm(twin)
    try:
        X, y = np.full((4, 2), np.nan), [0, 1, 0, 1]  # which no work could take
        message = r"norm must be one of 'linf', 'l2', 'l1' here, got 'twin'.*solver='pgd'"
        with pytest.raises(ValueError, match=message):
            AdversarialLogisticRegression(norm="twin").fit(X, y)
        with pytest.raises(ValueError, match=message):
            AdversarialLogisticRegressionCV(norm="twin").fit(X, y)
        with pytest.raises(ValueError, match=message):
            adversarial_logistic_path(X, y, [0.1], norm="twin")
        X, y = _data()
        own = AdversarialLogisticRegression(norm="twin", solver="pgd").fit(X, y)
        theirs = AdversarialLogisticRegression(norm="l2", solver="pgd").fit(X, y)
        np.testing.assert_array_equal(own.coef_, theirs.coef_)
        assert own.robust_score(X, y) == theirs.robust_score(X, y)
    finally:
        del NORMS_BY_NAME["twin"]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("solver", ["exact", "pgd"])
@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (2, 2)])
def test_radii_of_any_shape_belong_to_the_features_in_order(n_classes, solver, shape):
    X, y = _data(n_classes)
    radius = np.array([0.0, 0.1, 0.2, 0.3])
    flat = AdversarialLogisticRegression(radius, solver=solver).fit(X, y)
    clf = AdversarialLogisticRegression(radius.reshape(shape), solver=solver).fit(X, y)
    np.testing.assert_array_equal(clf.coef_, flat.coef_)
    assert clf.robust_score(X, y) == flat.robust_score(X, y)


def test_bad_data_are_refused():
    X, y = _data()
    clf = AdversarialLogisticRegression()
    with pytest.raises(ValueError, match="at least 2 classes"):
        clf.fit(X, np.full(len(y), "a"))
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.where(X > 1, np.nan, X), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.fit(X, y[:-1])
    with pytest.raises(ValueError, match="should be a 1d array"):
        clf.fit(X, np.column_stack([y, y]))
    with pytest.raises(TypeError, match=r"(?i)sparse"):
        clone(clf).set_params(solver="pgd").fit(sparse.csr_matrix(X), y)
    clf.fit(X, y)
    with pytest.raises(ValueError, match="X has 120 samples but y has 119"):
        clf.robust_score(X, y[:-1])
    with pytest.raises(ValueError, match="one label for each sample, got shape"):
        clf.perturb(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="labels that were not seen in fit"):
        clf.input_gradients(X[:2], ["a", "z"])
    with pytest.raises(ValueError, match="outside clip_values"):
        clf.robust_score(X, y, clip_values=(0, 1))


def test_labels_unseen_in_fit_are_mistakes_and_left_alone():
    X, y = _data()
    clf = AdversarialLogisticRegression(0.05).fit(X, y)
    other = np.where(np.arange(len(y)) < 30, "z", y)
    assert clf.robust_score(X, other, epsilon=0) == clf.score(X, other)
    robust = clf.robust_score(X[30:], y[30:])
    assert clf.robust_score(X, other) == pytest.approx(robust * 90 / 120)
    X_adv = clf.perturb(X, other)
    np.testing.assert_array_equal(X_adv[:30], X[:30])
    np.testing.assert_array_equal(X_adv[30:], clf.perturb(X[30:], y[30:]))


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        ("squared_hinge", LinearSVC(C=1.0, tol=1e-10, max_iter=10**6, intercept_scaling=1e4)),
        ("hinge", SVC(kernel="linear", C=1.0, tol=1e-8)),
        ("squared", RidgeClassifier(alpha=1.0)),
    ],
)
def test_epsilon_zero_is_scikit_learns_model_of_the_same_loss(loss, theirs):
    X, y = _data()
    # Of these losses scikit-learn takes the sum, and ridge without the half of the penalty.
    C = 0.5 if loss == "squared" else 1.0
    ours = AdversarialLogisticRegression(0, loss=loss, C=C, tol=1e-8).fit(X, y)
    theirs.fit(X, y)
    np.testing.assert_allclose(ours.coef_, np.atleast_2d(theirs.coef_), atol=2e-3)
    assert np.mean(ours.predict(X) == theirs.predict(X)) > 0.99


@pytest.mark.parametrize("loss", ["squared_hinge", "hinge", "squared"])
@pytest.mark.parametrize("norm", NORMS)
def test_other_losses_are_minimised_at_the_worst_points(loss, norm):
    X, y = _data()
    clf = AdversarialLogisticRegression(0.2, norm=norm, loss=loss, tol=1e-5).fit(X, y)
    assert clf.dual_gap_ <= 1e-5
    sign = np.where(y == clf.classes_[1], 1, -1)
    # The ends of the range of margins over the ball are where a convex loss is largest.
    index = (sign > 0).astype(int)
    toward = worst_case_points(clf.coef_, clf.intercept_, X, index, ThreatModel(0.2, norm))
    away = 2 * X - toward
    margins = np.array([sign * clf.decision_function(Z) for Z in (toward, away)])
    each = {"squared_hinge": np.maximum(0, 1 - margins) ** 2, "hinge": np.maximum(0, 1 - margins)}
    worst = each.get(loss, (1 - margins) ** 2).max(axis=0)
    value = worst.mean() + (clf.coef_**2).sum() / (2 * len(y))
    assert value == pytest.approx(clf.objective_, rel=1e-10)
    assert not hasattr(clf, "predict_proba")
    with pytest.raises(ValueError, match="loss must be 'logistic' for more than two classes"):
        clone(clf).fit(*_data(3))


def test_too_few_iterations_and_separable_data_warn():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="duality gap is .* Increase max_iter"):
        AdversarialLogisticRegression(0.1, max_iter=1, tol=1e-12).fit(X, y)
    for n_classes in (2, 3):
        X = np.repeat(np.eye(3), 5, axis=0)[: 5 * n_classes]
        y = np.repeat([0, 1, 2], 5)[: 5 * n_classes]
        with pytest.warns(ConvergenceWarning, match="no minimum.*finite C or a larger epsilon"):
            clf = AdversarialLogisticRegression(0.05, C=np.inf).fit(X, y)
        assert np.isfinite(clf.coef_).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_path_is_certified_and_in_the_order_asked_for(n_classes):
    X, y = _data(n_classes)
    epsilons = [0.1, 0.5, 0.0, 0.3]
    path = adversarial_logistic_path(X, y, epsilons, norm="l2")
    assert (path.dual_gaps <= 1e-6).all()
    for i, epsilon in enumerate(epsilons):
        alone = AdversarialLogisticRegression(epsilon, norm="l2", tol=1e-9).fit(X, y)
        # A relative gap of 1e-6 leaves sqrt(2e-6 F / curvature) in the weights.
        np.testing.assert_allclose(path.coefs[i], alone.coef_, atol=5e-3)


def test_path_refuses_negative_radii_and_single_classes():
    X, y = _data()
    with pytest.raises(ValueError, match="epsilons must hold finite numbers >= 0"):
        adversarial_logistic_path(X, y, [0.1, -0.1])
    with pytest.raises(ValueError, match="at least 2 classes"):
        adversarial_logistic_path(X, np.zeros(len(y)), [0.1])


def test_cv_scores_at_the_fixed_radius_and_refits():
    X, y = _data()
    cv = AdversarialLogisticRegressionCV([0.0, 0.2, 0.5], scoring_epsilon=0.4, cv=3).fit(X, y)
    search = GridSearchCV(
        AdversarialLogisticRegression(),
        {"epsilon": [0.0, 0.2, 0.5]},
        cv=3,
        scoring=lambda model, X, y: model.robust_score(X, y, epsilon=0.4),
    ).fit(X, y)
    np.testing.assert_allclose(
        cv.scores_.mean(axis=0), search.cv_results_["mean_test_score"], rtol=1e-12
    )
    assert cv.epsilon_ == search.best_params_["epsilon"]
    refit = AdversarialLogisticRegression(cv.epsilon_).fit(X, y)
    np.testing.assert_array_equal(cv.coef_, refit.coef_)
    assert cv.robust_score(X, y) == refit.robust_score(X, y, epsilon=0.4)


def test_cv_takes_a_number_of_radii_and_a_scorer():
    X, y = _data()
    cv = AdversarialLogisticRegressionCV(4, cv=3, scoring="accuracy").fit(X, y)
    most = epsilon_max(X, y)
    np.testing.assert_allclose(cv.epsilons_, most * np.arange(4) / 4)
    assert cv.scores_.shape == (3, 4)


def test_cv_that_scores_each_model_at_its_own_radius_chooses_none():
    X, y = _data()
    own = AdversarialLogisticRegressionCV(
        [0.0, 0.2, 0.5], cv=3, scoring=lambda model, X, y: model.robust_score(X, y)
    )
    assert own.fit(X, y).epsilon_ == 0.0
