"""What is known of each family of classifiers, and how a family is added."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    PolynomialFeatures,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from sklearn_robust import (
    RobustFCClassifier,
    RobustNeuralNetClassifier,
    certified_score,
    evaluate_robustness,
    input_gradients,
    perturb,
    robust_score,
)
from sklearn_robust.attacks import PGD, Square
from sklearn_robust.metrics import BlackBoxWarning
from sklearn_robust.targets import Target, _registry, linear_target, make_target, register_target

X, Y = load_wine(return_X_y=True)
SPREAD = X.std(axis=0)


def scaled(classifier):
    return make_pipeline(StandardScaler(), classifier)


@pytest.mark.parametrize(
    ("classifier", "kind", "provable"),
    [
        (scaled(LogisticRegression()), "exact", True),
        (scaled(RobustFCClassifier((8,), epsilon=0.1, max_epochs=2)), "white box", True),
        (make_pipeline(PolynomialFeatures(2), RidgeClassifier()), "black box", False),
        (scaled(KNeighborsClassifier(metric="canberra")), "black box", False),
    ],
)
def test_the_target_says_what_its_numbers_are(classifier, kind, provable):
    target = make_target(classifier.fit(X, Y), X, Y, epsilon=0.1 * SPREAD)
    assert target.kind == kind
    assert (target.certificate_obstacle is None) == provable
    if not provable:
        with pytest.raises(TypeError, match="cannot be certified"):
            target.certified(target.threat, "auto")
        with pytest.raises(TypeError, match="cannot differentiate"):
            target.gradients()
        with pytest.raises(TypeError, match="needs gradients"):
            target.distances(target.threat)


class Residual(nn.Module):
    """A network with a sum of two branches in a form that bounds do not follow."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, X):
        hidden = self.first(X).relu()
        if X.shape[0] < 0:  # a decision in Python, which no graph holds
            return hidden
        return self.last(hidden + self.second(hidden).sigmoid().cumsum(1))


def test_a_report_on_what_cannot_be_certified_has_no_lower_bound_and_says_why(digits, monkeypatch):
    X, y, X_test, y_test = digits
    clf = RobustNeuralNetClassifier(Residual, epsilon=0.05, max_epochs=5, lr=0.01, random_state=0)
    clf.fit(X, y)
    monkeypatch.setattr(Target, "attacked", None)  # asked before any attack
    with pytest.raises(TypeError, match="cannot be certified: There are no bounds for Residual"):
        certified_score(clf, X_test[:20], y_test[:20], epsilon=0.05)
    monkeypatch.undo()
    report = evaluate_robustness(clf, X_test[:40], y_test[:40], [0.02, 0.05], diagnostics=False)
    assert report.certificate.startswith("none: There are no bounds for Residual")
    for radius in report.radii:
        assert np.isnan(radius.certified) and radius.certified_is == "none"
        assert radius.attacked_is == "white box"
    assert report.radii[1].attacked < report.radii[1].clean


def test_a_report_runs_the_attack_it_is_given_and_says_what_that_is():
    clf = scaled(LogisticRegression()).fit(X, Y)
    options = {"unit": SPREAD, "diagnostics": False}
    weak = evaluate_robustness(
        clf, X, Y, [0.5], attack=PGD(1, step_size=1e-2 * SPREAD, random_start=False), **options
    )
    (radius,) = weak.radii
    assert (radius.attacked_is, radius.certified_is) == ("white box", "exact")
    exact = robust_score(clf, X, Y, epsilon=0.5 * SPREAD)
    assert radius.attacked > radius.certified == exact


@pytest.mark.filterwarnings("ignore::sklearn_robust.BlackBoxWarning")
@pytest.mark.parametrize("attack", ["auto", Square(50)], ids=["auto", "square"])
def test_the_score_and_the_report_of_a_black_box_are_the_same_number(attack):
    tree = DecisionTreeClassifier(max_depth=4, random_state=0)
    clf = make_pipeline(FunctionTransformer(np.sin), tree).fit(X, Y)
    score = robust_score(clf, X, Y, epsilon=0.1, attack=attack)
    (radius,) = evaluate_robustness(clf, X, Y, 0.1, attack=attack, diagnostics=False).radii
    assert radius.attacked == score and radius.attacked_is == "black box"


def test_radii_by_column_make_a_report_over_shares_of_them():
    frame, y = load_wine(return_X_y=True, as_frame=True)
    clf = scaled(LogisticRegression()).fit(frame, y)
    by_name = (0.5 * frame.std()).sort_values()
    report = evaluate_robustness(clf, frame, y, by_name)
    assert [radius.epsilon for radius in report.radii] == [0.25, 0.5, 1.0]
    for radius in report.radii:
        epsilon = radius.epsilon * by_name
        assert radius.attacked == robust_score(clf, frame, y, epsilon=epsilon)
    assert (
        evaluate_robustness(clf, frame, y, dict(by_name)).radii[2].attacked
        == report.radii[2].attacked
    )
    with pytest.raises(ValueError, match="epsilons must be multiples of unit"):
        evaluate_robustness(clf, frame, y, by_name, unit=by_name)


# Families of one's own ---------------------------------------------------------------------------


class Stump(ClassifierMixin, BaseEstimator):
    """Class 1 where one feature is above a threshold."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.threshold_ = X[:, 0].mean()
        return self

    def predict(self, X):
        return self.classes_[(np.asarray(X)[:, 0] > self.threshold_).astype(int)]


class Shrub(Stump):
    """A subclass, to which its parent's family applies."""


@pytest.fixture
def stump_family(monkeypatch):
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))

    @register_target(Stump)
    def _(subject):
        coef = np.zeros((1, subject.front.output.shape[1]))
        coef[0, 0] = 1
        return linear_target(subject, coef, -subject.classifier.threshold_)


@pytest.mark.parametrize("cls", [Stump, Shrub])
def test_a_registered_family_answers_every_question(stump_family, cls):
    y = (X[:, 0] > 13).astype(int)
    clf = scaled(cls()).fit(X, y)
    threshold = clf[0].mean_[0] + clf[0].scale_[0] * clf[1].threshold_
    far = abs(X[:, 0] - threshold)
    right = clf.predict(X) == y
    for epsilon in (0.1, 0.5):
        expected = np.mean(right & (far > epsilon))
        assert robust_score(clf, X, y, epsilon=epsilon) == expected
        assert certified_score(clf, X, y, epsilon=epsilon) == expected
    moved = perturb(clf, X, y, epsilon=0.5) - X
    assert not moved[:, 1:].any()
    assert np.flatnonzero(input_gradients(clf, X, y).any(axis=0)).tolist() == [0]


def test_without_its_family_its_labels_are_attacked():
    y = (X[:, 0] > 13).astype(int)
    clf = Stump().fit(X, y)
    with pytest.warns(BlackBoxWarning, match="Stump is of no family"):
        found = robust_score(clf, X, y, epsilon=0.5)
    right = clf.predict(X) == y
    assert found == np.mean(right & (abs(X[:, 0] - clf.threshold_) > 0.5))


def test_a_family_that_declines_leaves_the_classifier_to_what_else_is_known(monkeypatch):
    monkeypatch.setattr(_registry, "_FAMILIES", dict(_registry._FAMILIES))
    register_target(LogisticRegression)(lambda subject: None)
    clf = scaled(LogisticRegression()).fit(X, Y)
    assert make_target(clf, X, Y, epsilon=0.1).kind == "exact"
    with pytest.raises(TypeError, match="cls must be a class, got 'LogisticRegression'"):
        register_target("LogisticRegression")


# What may be moved -------------------------------------------------------------------------------


def as_polars(frame):
    return pytest.importorskip("polars").DataFrame({name: frame[name] for name in frame})


def as_arrow(frame):
    return pytest.importorskip("pyarrow").table({name: frame[name] for name in frame})


def as_nullable(frame):
    return frame.convert_dtypes()


@pytest.mark.parametrize("convert", [as_polars, as_arrow, as_nullable])
@pytest.mark.parametrize("name", ["linear", "tree", "network"])
def test_frames_of_every_library_are_read_by_one_rule(convert, name):
    frame, y = load_wine(return_X_y=True, as_frame=True)
    frame = frame.iloc[:, :4].assign(flag=frame["proline"] > 700, count=np.arange(178) % 5)
    y = y.to_numpy()
    clf = {
        "linear": scaled(LogisticRegression()),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
        "network": RobustFCClassifier((8,), epsilon=0, max_epochs=20, lr=0.02, random_state=0),
    }[name]
    options = {"epsilon": 0.3, "attack": Square(30) if name == "tree" else "auto"}
    clf.fit(frame, y)
    expected = robust_score(clf, frame, y, **options)
    X_adv = perturb(clf, frame, y, **options)
    other = convert(frame)
    assert robust_score(clf, other, y, **options) == expected < clf.score(frame, y)
    theirs = perturb(clf, other, y, **options)
    assert type(theirs) is type(other)
    for column in frame:
        np.testing.assert_array_equal(
            np.asarray(theirs[column], dtype=float), np.asarray(X_adv[column], dtype=float)
        )
    assert not (np.asarray(theirs["flag"]) != frame["flag"]).any()


def test_perturbed_frames_keep_the_types_of_fractions_the_index_and_what_is_not_moved():
    frame, y = load_wine(return_X_y=True, as_frame=True)
    frame = frame.iloc[:, :3].astype({"alcohol": np.float32}).set_axis(np.arange(178) + 50)
    frame["kind"] = pd.Categorical(np.where(y > 1, "a", "b"))
    clf = HistGradientBoostingClassifier(max_iter=5).fit(frame, y.to_numpy())
    X_adv = perturb(clf, frame, y, epsilon=0.3)
    assert X_adv.dtypes.equals(frame.dtypes) and X_adv.index.equals(frame.index)
    assert X_adv["kind"].equals(frame["kind"])


def test_the_judge_is_given_samples_in_their_own_precision():
    seen = set()

    class Watching(DecisionTreeClassifier):
        def predict(self, X, check_input=True):
            seen.add(X.dtype)
            return super().predict(X, check_input)

    single = X.astype(np.float32)
    clf = Watching(max_depth=3, random_state=0).fit(single, Y)
    seen.clear()
    robust_score(clf, single, Y, epsilon=0.1, attack=Square(5))
    assert seen == {np.dtype(np.float32)}


def test_sparse_samples_stay_sparse_behind_transformers_that_keep_them_so():
    data = sparse.random_array((200, 500), density=0.1, rng=np.random.default_rng(0), format="csr")
    y = (data[:, :250].sum(axis=1) > data[:, 250:].sum(axis=1)).astype(int)
    pipe = make_pipeline(MaxAbsScaler(), LogisticRegression(C=100)).fit(data, y)
    target = make_target(pipe, data, y, epsilon=0.01)
    assert sparse.issparse(target.rows) and target.kind == "exact"
    for options in ({"epsilon": 0.02}, {"epsilon": 0.3, "norm": "l2"}):
        score = robust_score(pipe, data, y, **options)
        assert score == robust_score(pipe, data.toarray(), y, **options) < pipe.score(data, y)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(data, y)
    found = robust_score(tree, data, y, epsilon=0.1, attack=Square(20))
    assert found == robust_score(tree, data.toarray(), y, epsilon=0.1, attack=Square(20))
    boxed = perturb(pipe, data, y, epsilon=0.02, clip_values=(0, 1))
    assert np.mean(pipe.predict(boxed) == y) == robust_score(
        pipe, data, y, epsilon=0.02, clip_values=(0, 1)
    )


# Labels, wrappers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "network", "tree"])
def test_a_label_that_fit_has_not_seen_is_a_mistake(name):
    seen = Y < 2
    clf = {
        "linear": scaled(LogisticRegression()),
        "network": scaled(RobustFCClassifier((8,), epsilon=0.1, max_epochs=5, random_state=0)),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    }[name].fit(X[seen], Y[seen])
    options = {"epsilon": 0.2 * SPREAD, "attack": Square(20) if name == "tree" else "auto"}
    known = robust_score(clf, X[seen], Y[seen], **options)
    everything = robust_score(clf, X, Y, **options)
    assert everything * len(Y) == pytest.approx(known * seen.sum())
    X_adv = perturb(clf, X, Y, **options)
    np.testing.assert_array_equal(X_adv[~seen], X[~seen])
    report = evaluate_robustness(
        clf, X, Y, [0.2], unit=SPREAD, attack=options["attack"], diagnostics=False
    )
    assert report.radii[0].attacked == everything
    assert report.radii[0].clean == clf.score(X, Y)
    if name == "tree":
        return
    assert certified_score(clf, X, Y, epsilon=options["epsilon"]) <= everything
    with pytest.raises(ValueError, match="48 labels that were not seen"):
        input_gradients(clf, X, Y)


def test_a_search_that_kept_no_classifier_is_named_so():
    search = GridSearchCV(SGDClassifier(), {"alpha": [1e-3]}, refit=False, cv=2).fit(X, Y)
    with pytest.raises(TypeError, match="fitted with refit=False and holds no classifier"):
        robust_score(search, X, Y, epsilon=0.1)


def test_steps_that_predict_skips_are_skipped():
    class Sampler(BaseEstimator):
        def fit_resample(self, X, y):
            return X, y

    pipe = scaled(LogisticRegression()).fit(X, Y)
    expected = robust_score(pipe, X, Y, epsilon=0.1)
    target = _registry.Subject.of(pipe, X, Y, epsilon=0.1)
    assert [name for name, _ in target.steps] == ["standardscaler"]
    pipe.steps.insert(1, ("sampler", Sampler()))
    assert [n for n, _ in _registry.Subject.of(pipe, X, Y, epsilon=0.1).steps] == ["standardscaler"]
    pipe.steps.pop(1)
    assert robust_score(pipe, X, Y, epsilon=0.1) == expected


def test_a_black_box_is_said_to_be_one_at_the_line_of_the_caller():
    clf = KNeighborsClassifier(metric="canberra").fit(X, Y)
    for measure in (
        lambda: robust_score(clf, X, Y, epsilon=0.01),
        lambda: perturb(clf, X, Y, epsilon=0.01),
        lambda: evaluate_robustness(clf, X, Y, 0.01, diagnostics=False),
    ):
        with pytest.warns(BlackBoxWarning, match="scores alone") as caught:
            measure()
        assert {warning.filename for warning in caught} == {__file__}


def test_predictions_of_one_column_are_ravelled():
    class Foreign(DecisionTreeClassifier):
        def predict(self, X, check_input=True):
            return super().predict(X, check_input)[:, None]

    ours = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)
    theirs = Foreign(max_depth=3, random_state=0).fit(X, Y)
    options = {"epsilon": 0.1, "attack": Square(10)}
    assert robust_score(theirs, X, Y, **options) == robust_score(ours, X, Y, **options)


def test_digits_of_a_linear_pipeline_are_attacked_in_pieces_with_the_same_result():
    from sklearn import config_context

    X, y = load_digits(return_X_y=True)
    clf = scaled(LogisticRegression(max_iter=200)).fit(X[:500], y[:500])
    whole = robust_score(clf, X, y, epsilon=0.2, clip_values=(0, 16))
    with config_context(working_memory=1):
        assert robust_score(clf, X, y, epsilon=0.2, clip_values=(0, 16)) == whole
        np.testing.assert_array_equal(
            perturb(clf, X, y, epsilon=0.2), perturb(clf, X, y, epsilon=0.2)
        )
