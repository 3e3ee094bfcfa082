"""Values per feature that come as pandas Series go by the names of the columns."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    AdversarialLogisticRegression,
    RobustFCClassifier,
    make_robust_scorer,
    robust_score,
)
from sklearn_robust.attacks import PGD, ThreatModel
from sklearn_robust.inspection import InputGradientDisplay
from sklearn_robust.linear_model import epsilon_max
from sklearn_robust.metrics import certified_score, perturb
from sklearn_robust.preprocessing import as_table

X, Y = load_wine(return_X_y=True, as_frame=True)
RADIUS = 0.1 * X.std()
SHUFFLED = RADIUS.sort_values()
ARRAY = RADIUS.to_numpy()
BOX = (X.min().sort_values(), X.max())
PIPELINE = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)


def test_the_order_of_a_series_is_told_by_its_names():
    assert list(SHUFFLED.index) != list(X.columns)
    for measure in (robust_score, certified_score):
        expected = measure(PIPELINE, X, Y, epsilon=ARRAY)
        assert expected != measure(PIPELINE, X, Y, epsilon=SHUFFLED.to_numpy())
        assert measure(PIPELINE, X, Y, epsilon=SHUFFLED) == expected
    moved = (perturb(PIPELINE, X, Y, epsilon=SHUFFLED, clip_values=BOX) - X).abs().max()
    assert (moved <= RADIUS * (1 + 1e-9)).all()
    scorer = make_robust_scorer(epsilon=SHUFFLED)
    assert scorer(PIPELINE, X, Y) == robust_score(PIPELINE, X, Y, epsilon=ARRAY)


def test_linear_models_train_and_score_by_name():
    by_name = AdversarialLogisticRegression(epsilon=SHUFFLED, clip_values=BOX).fit(X, Y)
    box = (X.min().to_numpy(), X.max().to_numpy())
    by_place = AdversarialLogisticRegression(epsilon=ARRAY, clip_values=box).fit(X, Y)
    np.testing.assert_array_equal(by_name.coef_, by_place.coef_)
    assert by_name.robust_score(X, Y) == by_place.robust_score(X, Y)
    np.testing.assert_array_equal(by_name.perturb(X, Y), by_place.perturb(X, Y))
    two = Y < 2
    found = [epsilon_max(X[two], Y[two], scale=scale) for scale in (SHUFFLED, ARRAY)]
    assert found[0] == found[1]
    search = GridSearchCV(by_name, {"epsilon": [0.0, SHUFFLED]}, scoring="accuracy").fit(X, Y)
    assert search.best_score_ > 0.5


def test_networks_train_and_score_by_name():
    Z = (X - X.min()) / (X.max() - X.min())
    radius = 0.2 * Z.std()
    networks = [
        RobustFCClassifier(
            (8,), epsilon=e, lr=0.02, batch_size=32, max_epochs=5, verbose=0, random_state=0
        ).fit(Z, Y)
        for e in (radius.sort_values(), radius.to_numpy())
    ]
    gradients = [network.input_gradients(Z, Y) for network in networks]
    np.testing.assert_array_equal(*gradients)
    scores = {
        measure(network, Z, Y, epsilon=e)
        for network in networks
        for e in (radius.sort_values(), radius.to_numpy())
        for measure in (
            robust_score,
            lambda n, *data, epsilon: n.robust_score(*data, epsilon=epsilon),
        )
    }
    assert len(scores) == 1


def test_pictures_take_units_by_name():
    drawn = [
        InputGradientDisplay.from_estimator(PIPELINE, X[:2], Y[:2], unit=unit).gradients["Pipeline"]
        for unit in (SHUFFLED, ARRAY)
    ]
    np.testing.assert_array_equal(*drawn)


def test_a_series_that_is_numbered_is_in_order():
    numbered = RADIUS.reset_index(drop=True)
    for data in (X, X.to_numpy()):
        model = LogisticRegression(max_iter=10_000).fit(data, Y)
        expected = robust_score(model, data, Y, epsilon=ARRAY)
        assert robust_score(model, data, Y, epsilon=numbered) == expected


def test_names_that_are_numbers_are_names():
    data = X.iloc[:, :3].set_axis([0, 1, 2], axis=1)
    turned = data[[2, 0, 1]]
    radius = 0.1 * data.std()
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(turned, Y)
    expected = robust_score(clf, turned, Y, epsilon=radius[turned.columns].to_numpy())
    assert robust_score(clf, turned, Y, epsilon=radius) == expected
    assert robust_score(clf, turned, Y, epsilon=radius.to_numpy()) != expected


@pytest.mark.parametrize("form", [dict, lambda series: series], ids=["dict", "Series"])
def test_columns_that_are_not_named_stay_and_have_no_range(form):
    named = form(8 * RADIUS.iloc[:4])
    expected = robust_score(PIPELINE, X, Y, epsilon=np.r_[8 * ARRAY[:4], np.zeros(9)])
    assert expected < PIPELINE.score(X, Y)
    assert robust_score(PIPELINE, X, Y, epsilon=named) == expected
    low, high = form(X.min().iloc[:4]), form(X.max().iloc[:4])
    ends = (np.r_[X.min()[:4], np.full(9, -np.inf)], np.r_[X.max()[:4], np.full(9, np.inf)])
    boxed = robust_score(PIPELINE, X, Y, epsilon=6 * ARRAY, clip_values=(low, high))
    assert boxed == robust_score(PIPELINE, X, Y, epsilon=6 * ARRAY, clip_values=ends)
    assert boxed > robust_score(PIPELINE, X, Y, epsilon=6 * ARRAY)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: robust_score(PIPELINE, X, Y, epsilon=RADIUS.rename({"alcohol": "spirit"})),
            "must name columns of X, each once; not so for spirit",
        ),
        (lambda: robust_score(PIPELINE, X, Y, epsilon=RADIUS[[*RADIUS.index, "ash"]]), "twice"),
        (
            lambda: AdversarialLogisticRegression(epsilon=RADIUS).fit(X.to_numpy(), Y),
            r"epsilon has names .* columns have no names here.*pass an array",
        ),
        (lambda: ThreatModel(0.1, clip_values=(0, RADIUS)), "clip_values has names"),
        (lambda: PGD(step_size=RADIUS), "step_size has names"),
    ],
    ids=["another name", "one twice", "no names in X", "no X", "a step"],
)
def test_a_series_that_fits_no_column_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_no_columns_of_a_frame_are_as_many_rows(library):
    frame = {"a": [1.0, 2.0, 3.0]}
    module = pytest.importorskip(library)
    table = as_table(module.table(frame) if library == "pyarrow" else module.DataFrame(frame))
    assert table.floats(np.zeros(0, dtype=int)).shape == (3, 0)
