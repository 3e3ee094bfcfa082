"""Data frames of every library go through every public function and come back as they were."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import (
    AdversarialLogisticRegression,
    RobustFCClassifier,
    adversarial_distance,
    certified_score,
    evaluate_robustness,
    input_gradients,
    make_robust_scorer,
    perturb,
    robust_score,
)
from sklearn_robust.inspection import (
    AdversarialExamplesDisplay,
    InputGradientDisplay,
    RobustnessCurveDisplay,
)
from sklearn_robust.metrics import gradient_quality
from sklearn_robust.preprocessing import as_table

X, Y = load_wine(return_X_y=True, as_frame=True)
X = X.iloc[::2, [0, 4, 6, 12]].rename(columns=lambda name: name[:5])
X = X.astype({"magne": int, "proli": int})  # whole numbers
Y = Y.iloc[::2]
RADIUS = 0.2 * X.std()


def as_polars(frame):
    return pytest.importorskip("polars").from_pandas(frame)


def as_pyarrow_backed(frame):
    pytest.importorskip("pyarrow")
    return frame.convert_dtypes(dtype_backend="pyarrow")


FRAMES = {
    "pandas": lambda frame: frame,
    "pandas, float32": lambda frame: frame.astype("float32"),
    "nullable": lambda frame: frame.convert_dtypes(),
    "pandas of pyarrow": as_pyarrow_backed,
    "polars": as_polars,
}


def scaler(library):
    return StandardScaler().set_output(transform=library)


CLASSIFIERS = {
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "linear behind polars": lambda: make_pipeline(scaler("polars"), LogisticRegression()),
    "ours behind pandas": lambda: make_pipeline(scaler("pandas"), AdversarialLogisticRegression()),
    "ours": lambda: AdversarialLogisticRegression(),
    "trees": lambda: RandomForestClassifier(3, max_depth=3, random_state=0),
    "network": lambda: RobustFCClassifier(
        (4,), preprocessor=StandardScaler(), epsilon=0.01, max_epochs=3, lr=0.1, random_state=0,
        lr_schedule="constant", input_ramp=None,
    ),
}  # fmt: skip


def fitted(name, frame, labels):
    if "polars" in name:
        pytest.importorskip("polars")
    return CLASSIFIERS[name]().fit(frame, labels)


MEASURES = {
    "robust_score": lambda c, X, y: robust_score(c, X, y, epsilon=RADIUS),
    "certified_score": lambda c, X, y: certified_score(c, X, y, epsilon=RADIUS),
    "scorer": lambda c, X, y: make_robust_scorer(RADIUS)(c, X, y),
    "distance": lambda c, X, y: adversarial_distance(c, X, y, unit=RADIUS),
    "report": lambda c, X, y: repr(evaluate_robustness(c, X, y, RADIUS, diagnostics=False)),
    "perturb": lambda c, X, y: as_array(perturb(c, X, y, epsilon=RADIUS)),
}
GRADIENTS = {
    "input_gradients": lambda c, X, y: input_gradients(c, X, y),
    "gradient_quality": lambda c, X, y: gradient_quality(c, X, y).values["gini"],
}


def as_array(frame):
    return as_table(frame).floats(np.arange(X.shape[1]))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("library", ["nullable", "pandas of pyarrow", "polars"])
def test_every_measure_of_a_frame_is_that_of_the_same_numbers_in_pandas(library, name):
    frame, labels = (
        FRAMES[library](X),
        FRAMES[library](Y.to_frame()).iloc[:, 0] if (library != "polars") else FRAMES[library](Y),
    )
    clf, reference = fitted(name, frame, labels), fitted(name, X, Y)
    few = slice(0, 89, 11)
    measures = MEASURES if name == "trees" else {**MEASURES, **GRADIENTS}
    for measure in measures.values():
        found = measure(clf, frame[few], labels[few])
        np.testing.assert_array_equal(found, measure(reference, X[few], Y[few]))
    plt.close("all")


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("name", ["linear", "trees", "network"])
def test_perturb_gives_back_the_frame_with_its_columns_index_and_kinds_of_numbers(library, name):
    frame = FRAMES[library](X)
    moved = perturb(fitted(name, frame, Y.to_numpy()), frame, Y.to_numpy(), epsilon=RADIUS)
    assert type(moved) is type(frame)
    assert list(moved.columns) == list(frame.columns)
    kinds, before = dict(zip(X, moved.dtypes, strict=True)), dict(zip(X, frame.dtypes, strict=True))
    floats = [column for column in X if X[column].dtype.kind == "f"]
    assert {column: kinds[column] for column in floats} == {c: before[c] for c in floats}
    for column in set(X) - set(floats):
        assert "float" in str(kinds[column]).lower() or "double" in str(kinds[column])
    if hasattr(frame, "index"):
        pd.testing.assert_index_equal(moved.index, frame.index)
        # An extension type stays one for whole numbers too.
        extension = [not isinstance(kind, np.dtype) for kind in (*kinds.values(), *before.values())]
        assert extension[:4] == extension[4:]
    assert (np.abs(as_array(moved) - as_array(frame)) <= RADIUS.to_numpy() * (1 + 1e-6)).all()
    assert not np.array_equal(as_array(moved), as_array(frame))


@pytest.mark.parametrize("library", ["nullable", "pandas of pyarrow", "polars"])
def test_displays_take_the_frame(library):
    frame = FRAMES[library](X)
    clf = fitted("linear", frame, Y.to_numpy())
    few = frame[:3], Y.to_numpy()[:3]
    try:
        shown = InputGradientDisplay.from_estimator(clf, *few)
        drawn = [a.get_text() for a in shown.figure_.axes[0].get_yticklabels()] + [
            a.get_text() for ax in shown.figure_.axes for a in ax.get_xticklabels()
        ]
        assert set(X) <= set(drawn)
        AdversarialExamplesDisplay.from_estimator(clf, *few, epsilon=RADIUS)
        curve = RobustnessCurveDisplay.from_estimator(clf, frame, Y.to_numpy(), [0.01])
        assert curve.figure_ is not None
    finally:
        plt.close("all")


def test_missing_values_stay_missing_in_a_frame_that_has_a_word_for_them():
    frame = X.convert_dtypes()
    frame.iloc[3, 0] = pd.NA
    clf = RandomForestClassifier(3, max_depth=3, random_state=0).fit(frame, Y)
    moved = perturb(clf, frame, Y, epsilon=RADIUS)
    assert moved.isna().sum().sum() == 1
    assert moved.iloc[3, 0] is pd.NA
