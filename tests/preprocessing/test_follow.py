"""Formulas of transformers, held against the transformers themselves and finite differences."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from sklearn_robust.preprocessing import (
    Affine,
    CannotFollowError,
    declare_derivative,
    follow,
    register_transformer,
)

X, Y = load_wine(return_X_y=True)


class Halve(TransformerMixin, BaseEstimator):
    """An affine transformer that the library has never heard of."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X / 2 + X[:, :1]


AFFINE = {
    "standard": StandardScaler(),
    "no mean": StandardScaler(with_mean=False),
    "no std": StandardScaler(with_std=False),
    "minmax": MinMaxScaler((-1, 2)),
    "maxabs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "robust, centre only": RobustScaler(with_scaling=False),
    "pca": PCA(3),
    "whitened": PCA(3, whiten=True),
    "incremental pca": IncrementalPCA(3),
    "svd": TruncatedSVD(3, random_state=0),
    "kbest": SelectKBest(k=4),
    "threshold": VarianceThreshold(0.5),
    "imputer": SimpleImputer(),
    "identity": FunctionTransformer(),
    "nested": make_pipeline(RobustScaler(), "passthrough", make_pipeline(PCA(5), MinMaxScaler())),
    "union": make_union(StandardScaler(), make_pipeline(MinMaxScaler(), PCA(2))),
    "weighted union": FeatureUnion(
        [("a", StandardScaler()), ("b", "drop"), ("c", PCA(2))], transformer_weights={"c": 3.0}
    ),
    "columns": make_column_transformer(
        (StandardScaler(), [4, 1]), ("drop", [2]), ("passthrough", slice(7, 9)),
        (PCA(2), np.arange(13) > 9), remainder=MinMaxScaler(),
    ),
    "overlapping columns": ColumnTransformer(
        [("a", StandardScaler(), [0, 1]), ("b", PCA(1), [1, 2])], transformer_weights={"a": 2.0}
    ),
    "frozen": FrozenEstimator(StandardScaler().fit(X)),
    "unknown but affine": Halve(),
    "lda, by probing": LinearDiscriminantAnalysis(),
    "ica, by probing": FastICA(3, whiten="unit-variance", random_state=0),
}  # fmt: skip


@pytest.mark.parametrize("name", AFFINE)
def test_affine_transformers_become_one_matrix(name):
    transformer = AFFINE[name].fit(X, Y)
    block = follow(transformer, X)
    assert isinstance(block, Affine)
    assert block.n_in == X.shape[1]
    shifted = X + np.random.default_rng(0).normal(size=X.shape)
    for points in (X, shifted):
        expected = transformer.transform(points)
        # Rounding of sums of 13 products, in units of the largest of them.
        np.testing.assert_allclose(block(points), expected, rtol=0, atol=1e-11 * np.abs(X).max())


class Single(TransformerMixin, BaseEstimator):
    """Affine, in float32; `step` rounds, `factor` is what a wrong formula leaves out."""

    def __init__(self, step=0.0, factor=1.0):
        self.step, self.factor = step, factor

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        X = X.astype(np.float32) * np.float32(self.factor / 8)
        return np.round(X / self.step) * self.step if self.step else X - np.float32(1)


ROUNDED = ("standard", "minmax", "maxabs", "robust", "pca", "whitened", "svd")
SINGLE = [
    *(AFFINE[name] for name in ROUNDED),
    PCA(whiten=True, svd_solver="covariance_eigh"),
    Single(),
]


@pytest.mark.parametrize("transformer", SINGLE)
def test_formulas_of_transformers_fitted_in_single_precision_are_found(transformer):
    # The last column repeats the first: a component of no variance at all.
    single = np.hstack([X, X[:, :1]]).astype(np.float32)
    block = follow(transformer.fit(single), single.astype(np.float64))
    assert isinstance(block, Affine) and block.offset.dtype == np.float64
    size = np.abs(single) @ abs(block.matrix) + np.abs(block.offset)
    # Half a unit in the last place of float32 for each step, of the size of what is added up.
    error = np.abs(block(single.astype(np.float64)) - transformer.transform(single.astype(float)))
    assert (error <= 2 * np.finfo(np.float32).eps * size).all()


def test_what_a_float32_output_is_forgiven_is_its_rounding():
    class Scaled(Single):
        pass

    @register_transformer(Scaled)
    def _(transformer):
        n = transformer.n_features_in_
        return Affine.scaling(np.full(n, 0.125), -np.ones(n))

    assert follow(Scaled().fit(X), X).n_in == X.shape[1]
    for wrong in (Scaled(factor=1 + 1e-5), Single(step=0.01)):
        with pytest.raises(CannotFollowError, match="is not affine"):
            follow(wrong.fit(X), X)


def test_names_of_columns_are_resolved():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :4], columns=["a", "b", "c", "d"])
    transformer = ColumnTransformer(
        [("one", StandardScaler(), ["c"]), ("range", MinMaxScaler(), slice("a", "b"))]
    ).fit(frame)
    block = follow(transformer, X[:, :4])
    np.testing.assert_allclose(block(X[:, :4]), transformer.transform(frame), atol=1e-12)


def test_features_without_values_and_indicators_are_accounted_for():
    with_gaps = X[:, :5].copy()
    with_gaps[::7, 1], with_gaps[:, 3] = np.nan, np.nan
    transformer = SimpleImputer(add_indicator=True).fit(with_gaps)
    complete = X[:, :5].copy()
    with pytest.warns(UserWarning, match="Skipping features without any observed values"):
        expected = transformer.transform(complete)
        block = follow(transformer, complete)
    np.testing.assert_array_equal(block(complete), expected)


def cube(x, factor):
    return factor * x**3


SMOOTH = {
    "log1p": FunctionTransformer(np.log1p),
    "declared": FunctionTransformer(cube, kw_args={"factor": 0.1}),
    "clipped": MinMaxScaler((0, 1), clip=True),
    "chain": make_pipeline(StandardScaler(), FunctionTransformer(np.tanh), PCA(2)),
    "branches": make_column_transformer(
        (FunctionTransformer(np.sqrt), [0, 2]), (StandardScaler(), [2, 1]), remainder="drop"
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_other_blocks_agree_with_finite_differences(name):
    declare_derivative(cube, lambda x, factor: 3 * factor * x**2)
    data = X[:, :3] / 10
    transformer = SMOOTH[name].fit(data)
    block, step = follow(transformer, data), 1e-6
    inner = data[5:9] * 0.98  # off the ends of their range, where clipping has a kink
    pull = np.random.default_rng(1).normal(size=block(inner).shape)
    gradient = block.pull(inner, pull)
    for j in range(3):
        shift = step * (np.arange(3) == j)
        slope = (transformer.transform(inner + shift) - transformer.transform(inner - shift)) / (
            2 * step
        )
        # Central differences err by step**2 and by rounding / step.
        np.testing.assert_allclose(gradient[:, j], (slope * pull).sum(1), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("nested", [False, True])
def test_a_clipped_value_is_led_back_into_the_range_and_has_no_gradient(nested):
    scaler = MinMaxScaler(clip=True)
    front = make_column_transformer((scaler, [0]), (FunctionTransformer(np.exp), [1]))
    data = np.array([[0.0, 0.0], [2.0, 1.0]])
    block = follow((front if nested else scaler).fit(data), data)
    x = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
    points, ones = np.column_stack([x, 0 * x]), np.ones((5, 2))
    for sign, led in ((1, [0.5, 0.5, 0.5, 0, 0]), (-1, [0, 0, -0.5, -0.5, -0.5])):
        np.testing.assert_array_equal(block.guide(points, sign * ones)[:, 0], led)
        slope = sign * np.array([0, 0.5, 0.5, 0.5, 0])
        np.testing.assert_array_equal(block.pull(points, sign * ones)[:, 0], slope)


def test_an_infinite_derivative_behind_a_clipped_value_is_none_of_its_gradient():
    data = np.array([[0.0], [1.0]])
    pipe = make_pipeline(MinMaxScaler(clip=True), FunctionTransformer(np.sqrt)).fit(data)
    points, ones = np.array([[-1.0], [0.25]]), np.ones((2, 1))
    np.testing.assert_array_equal(follow(pipe, data).pull(points, ones), [[0.0], [1.0]])


@pytest.mark.parametrize(
    "transformer",
    [
        PolynomialFeatures(2),
        QuantileTransformer(n_quantiles=20),
        KBinsDiscretizer(3, encode="ordinal", strategy="uniform"),
        FunctionTransformer(np.round),
        FunctionTransformer(np.log10),
    ],
)
def test_what_is_not_affine_is_refused_by_name(transformer):
    with pytest.raises(CannotFollowError, match=rf"^{type(transformer).__name__} is not affine"):
        follow(transformer.fit(X), X)


def test_a_step_that_cannot_be_followed_is_named_with_the_remedies():
    pipe = make_pipeline(StandardScaler(), PolynomialFeatures(2)).fit(X)
    with pytest.raises(
        CannotFollowError, match=r"step .polynomialfeatures.: .*register_transformer"
    ):
        follow(pipe, X)


def reshape(X):
    return np.reshape(X, (len(X), 2, -1))


def first_row(X):
    return X[:, 0]


def words(X):
    return np.full(X.shape, "a")


def test_a_reshape_is_followed_where_nothing_but_the_classifier_comes_behind():
    data = X[:, :4]
    images = make_pipeline(StandardScaler(), FunctionTransformer(reshape)).fit(data)
    expected = images.transform(data).reshape(len(data), 4)
    np.testing.assert_allclose(follow(images, data)(data), expected, atol=1e-12)
    crop = make_pipeline(images, FunctionTransformer(first_row))
    with pytest.raises(CannotFollowError, match=r"takes samples of shape \(2, 2\), which are not"):
        follow(crop, data)


def test_what_gives_no_numbers_is_refused():
    with pytest.raises(CannotFollowError, match="It raised: could not convert string to float"):
        follow(FunctionTransformer(words).fit(X), X)


def test_a_wrong_formula_is_found_out():
    class Liar(Halve):
        pass

    @register_transformer(Liar)
    def _(transformer):
        return Affine.identity(transformer.n_features_in_)

    with pytest.raises(CannotFollowError, match="Liar is not affine"):
        follow(Liar().fit(X), X)


def test_subclasses_are_judged_by_what_they_do():
    class Squared(StandardScaler):
        def transform(self, X, copy=None):
            return super().transform(X, copy) ** 2

    with pytest.raises(CannotFollowError, match="Squared is not affine"):
        follow(Squared().fit(X), X)
    with pytest.raises(ValueError, match="derivative must be callable, got 3"):
        declare_derivative(cube, 3)
