"""What scikit-learn's own habits ask of the measures: names, orders, views, single samples."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_wine, make_blobs
from sklearn.decomposition import FactorAnalysis, FastICA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    scale,
)
from sklearn.svm import SVC

from sklearn_robust import (
    AdversarialLogisticRegression,
    BernoulliGenerator,
    RobustFCClassifier,
    input_gradients,
    robust_score,
)
from sklearn_robust.attacks import Square
from sklearn_robust.metrics import BlackBoxWarning, certified_score, evaluate_robustness
from sklearn_robust.targets import make_target


def _step(X):
    return (X > 100).astype(float)


@pytest.mark.parametrize(
    "transformer",
    [
        QuantileTransformer(n_quantiles=100),
        PowerTransformer(),
        Normalizer(),
        FunctionTransformer(_step),
    ],
    ids=lambda t: type(t).__name__,
)
def test_few_or_constant_samples_make_no_transformer_affine(transformer):
    X, y = load_wine(return_X_y=True)
    pipe = make_pipeline(transformer, LogisticRegression(max_iter=3000)).fit(X, y)
    constant = np.repeat(X[:1], 5, axis=0)
    for part in (*(X[i : i + 1] for i in range(10)), constant):
        with pytest.raises(TypeError, match="is not affine on X"):
            certified_score(pipe, part, y[: len(part)], epsilon=0.1)


@pytest.mark.parametrize("transformer", [KBinsDiscretizer(5), SplineTransformer()])
def test_bins_and_splines_are_no_lines_on_one_sample_either(transformer):
    X, y = load_wine(return_X_y=True)
    pipe = make_pipeline(transformer, LogisticRegression(max_iter=3000)).fit(X, y)
    epsilon = 0.3 * X.std(axis=0)
    parts = [slice(i, i + 1) for i in range(0, 178, 10)]
    alone = [certified_score(pipe, X[part], y[part], epsilon=epsilon) for part in parts]
    together = certified_score(pipe, X[::10], y[::10], epsilon=epsilon)
    assert np.mean(alone) == together
    assert 0 < together < pipe.score(X[::10], y[::10])
    constant = np.repeat(X[:1], 5, axis=0)
    assert certified_score(pipe, constant, y[:5], epsilon=epsilon) == alone[0]


@pytest.mark.parametrize("transformer", [FastICA(3, random_state=0), FactorAnalysis(3)])
def test_unknown_affine_transformers_are_followed_on_one_sample_too(transformer):
    X, y = load_wine(return_X_y=True)
    X = X / X.std(axis=0)
    pipe = make_pipeline(transformer, LogisticRegression(max_iter=3000)).fit(X, y)
    parts = [slice(i, i + 1) for i in range(0, 178, 20)]
    alone = [certified_score(pipe, X[part], y[part], epsilon=0.1) for part in parts]
    assert np.mean(alone) == certified_score(pipe, X[::20], y[::20], epsilon=0.1)


def test_a_column_transformer_reads_a_dataframe_by_name():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X.iloc[:, :5]
    a, b, c, d, e = X.columns
    pipe = make_pipeline(
        make_column_transformer((StandardScaler(), [a, b]), (MinMaxScaler(), [c, d])),
        LogisticRegression(),
    ).fit(X, y)
    epsilon = 0.2 * X.std().to_numpy()
    for other in (X[X.columns[::-1]], X.assign(more=1.0), X.drop(columns=e)):
        own = pd.Series(epsilon, X.columns).reindex(other.columns, fill_value=0.3).to_numpy()
        expected = robust_score(pipe, X, y, epsilon=epsilon)
        assert expected < pipe.score(X, y)
        assert robust_score(pipe, other, y, epsilon=own) == expected
        assert certified_score(pipe, other, y, epsilon=own) == expected
        gradients = pd.DataFrame(input_gradients(pipe, other, y), columns=other.columns)
        np.testing.assert_allclose(gradients[[a, b, c, d]], input_gradients(pipe, X, y)[:, :4])
    with pytest.raises(ValueError, match="columns are missing"):
        robust_score(pipe, X.drop(columns=a), y, epsilon=0.1)


def test_columns_in_another_order_are_refused_where_scikit_learn_refuses_them():
    X, y = load_wine(return_X_y=True, as_frame=True)
    plain = LogisticRegression(max_iter=5000)
    for clf in (plain, make_pipeline(StandardScaler(), LogisticRegression())):
        clf.fit(X, y)
        with pytest.raises(ValueError, match="feature names should match"):
            input_gradients(clf, X[X.columns[::-1]], y)


def test_another_librarys_epsilon_is_not_a_radius():
    X, y = load_wine(return_X_y=True)
    with pytest.raises(ValueError, match="SGDClassifier has none of its own"):
        robust_score(SGDClassifier().fit(X, y), X, y)


def test_gradients_of_confident_samples_are_not_rounded_away():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    for clf in (
        LogisticRegression(C=1e6, max_iter=9999),
        AdversarialLogisticRegression(0.0, C=1e6),
    ):
        for classes in (2, 3):
            keep = y < classes
            clf.fit(X[keep], y[keep])
            assert (np.abs(input_gradients(clf, 3 * X[keep], y[keep])).max(axis=1) > 0).all()


def test_gradients_behind_a_ramp_are_derivatives_in_a_pipeline_too(digits):
    X, y, *_ = digits
    net = RobustFCClassifier((8,), input_ramp=(0.3, 0.7), epsilon=0.2, max_epochs=2, random_state=0)
    pipe = make_pipeline(MinMaxScaler(), net).fit(X, y)
    inner = pipe[-1].input_gradients(pipe[0].transform(X), y) * pipe[0].scale_
    np.testing.assert_allclose(input_gradients(pipe, X, y), inner, atol=1e-12)


def test_a_radius_may_be_any_view_of_an_array(digits, robust_fc):
    X, y = digits[2][:20], digits[3][:20]
    epsilon = np.linspace(0, 0.1, 64)
    reverse = np.ascontiguousarray(epsilon[::-1])[::-1]
    reverse.flags.writeable = False
    for score in (robust_score, certified_score):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert score(robust_fc, X, y, epsilon=reverse) == score(
                robust_fc, X, y, epsilon=epsilon
            )


def test_sparse_samples_have_a_box(digits):
    X, y, *_ = digits
    for matrix in (sparse.csr_array(X), sparse.csr_matrix(X)):
        clf = AdversarialLogisticRegression(0.05, clip_values=(0, 1)).fit(matrix, y)
        assert clf.robust_score(matrix, y) == pytest.approx(clf.robust_score(X, y))
        with pytest.raises(ValueError, match=r"outside clip_values=\(0.0, 0.5\)"):
            clf.robust_score(matrix, y, clip_values=(0, 0.5))


def test_gradients_of_a_dataframe_are_silent(digits):
    X, y = load_wine(return_X_y=True, as_frame=True)
    clf = AdversarialLogisticRegression(0.1).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert input_gradients(clf, X, y).shape == X.shape


def test_the_method_of_a_certificate_is_checked_for_linear_classifiers_too():
    X, y = load_wine(return_X_y=True)
    clf = LogisticRegression(max_iter=5000).fit(X, y)
    with pytest.raises(ValueError, match="method must be one of 'auto'"):
        certified_score(clf, X, y, epsilon=0.1, method="foo")


def test_bytes_in_a_dataframe_are_bytes(digits):
    X, y = (16 * digits[0]).astype(np.uint8), digits[1]
    clf = RobustFCClassifier((32,), epsilon=2, max_epochs=5, lr=0.01, random_state=0)
    expected = clf.fit(X, y).decision_function(X)
    np.testing.assert_array_equal(clf.fit(pd.DataFrame(X), y).decision_function(X), expected)


def test_signs_need_a_dtype_with_signs():
    with pytest.raises(ValueError, match="dtype must hold -1 and"):
        BernoulliGenerator(3).sample(3, dtype="uint8")


@pytest.mark.parametrize("threshold", [0.1, 0.9])
@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("response", ["predict_proba", "decision_function"])
@pytest.mark.parametrize("place", ["alone", "in a pipeline"])
def test_scores_are_taken_relative_to_a_threshold_of_its_own(threshold, positive, response, place):
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[::4], y[::4]
    inner = LogisticRegression().fit(X, y)
    above = logit(threshold)  # the decision function of the positive class, from which it says yes
    clf = FixedThresholdClassifier(
        FrozenEstimator(inner),
        threshold=threshold if response == "predict_proba" else above,
        pos_label=positive,
        response_method=response,
    ).fit(X, y)
    if place == "in a pipeline":
        clf = make_pipeline(FunctionTransformer(), clf).fit(X, y)
    shifted = copy.deepcopy(inner)
    shifted.intercept_ = inner.intercept_ - (above if positive else -above)
    np.testing.assert_array_equal(clf.predict(X), shifted.predict(X))
    exact = robust_score(shifted, X, y, epsilon=0.2)
    # Only an upper bound, as it sees scores alone; for a linear rule in few features a tight one.
    assert exact <= robust_score(clf, X, y, epsilon=0.2, attack="square") <= exact + 0.01
    (radius,) = evaluate_robustness(clf, X, y, [0.2], attack="square", diagnostics=False).radii
    assert exact <= radius.attacked <= exact + 0.01


def test_a_threshold_found_by_cross_validation_is_known_too():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[::4], y[::4]
    clf = TunedThresholdClassifierCV(LogisticRegression(), scoring="accuracy", cv=3).fit(X, y)
    model = make_target(clf, X, epsilon=0.1).model
    np.testing.assert_array_equal(model.logits(X).argmax(1), clf.predict(X))


class Hesitant(ClassifierMixin, BaseEstimator):
    """Says yes only to scores above 2."""

    def fit(self, X, y):
        self.inner_ = LogisticRegression().fit(X, y)
        self.classes_ = self.inner_.classes_
        return self

    def decision_function(self, X):
        return self.inner_.decision_function(X)

    def predict(self, X):
        return (self.decision_function(X) > 2).astype(int)


def test_a_prediction_that_scores_do_not_decide_is_said():
    X, y = load_breast_cancer(return_X_y=True)
    X, y = scale(X)[::4], y[::4]
    clf = Hesitant().fit(X, y)
    with pytest.warns(BlackBoxWarning, match="predicts another class than its scores favour"):
        robust_score(clf, X, y, epsilon=0.01, attack=Square(50))
    with pytest.warns(BlackBoxWarning, match="predicts another class than its scores favour"):
        evaluate_robustness(clf, X, y, [0.01], attack=Square(50))


@pytest.mark.parametrize("classes", [3, 4])
def test_scores_of_pairs_of_classes_are_not_taken_for_scores_of_classes(classes):
    X, y = make_blobs(120, centers=classes, n_features=4, cluster_std=4, random_state=0)
    ovo, ovr = (
        SVC(kernel="linear", decision_function_shape=shape).fit(X, y) for shape in ("ovo", "ovr")
    )
    options = {"epsilon": 0.5, "attack": "square"}
    assert robust_score(ovo, X, y, epsilon=0, attack="square") == ovo.score(X, y)
    assert robust_score(ovo, X, y, **options) == robust_score(ovr, X, y, **options)
    options = {"epsilon": 0.1}
    assert 0 < certified_score(ovo, X, y, **options) == certified_score(ovr, X, y, **options)
