"""Callbacks of scikit-learn on the fits of this library."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust import (
    AdversarialLogisticRegression,
    AdversarialLogisticRegressionCV,
    AdversarialTrainingClassifier,
    RobustFCClassifier,
    make_robust_scorer,
)
from sklearn_robust._fit_tasks import FitTask

callback = pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9")


class Recorder:
    """Writes down what a fit tells, and what the estimators that it is given predict."""

    max_propagation_depth = None

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.events, self.scores, self.given = [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.events.append(f"end {context.task_name}")
        self.given.append(fitted_estimator)
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y, **(metadata or {})))
        return self.stop_after is not None and len(self.given) >= self.stop_after


@pytest.fixture
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def network(**settings):
    settings = {"epsilon": 0.1, "max_epochs": 4, "random_state": 0, **settings}
    return RobustFCClassifier((8,), **settings)


def test_each_epoch_is_a_task_and_its_classifier_predicts(iris):
    X, y = iris
    recorder, weight = Recorder(), np.linspace(0.1, 1, len(y))
    clf = network().set_callbacks(recorder).fit(X, y, weight)
    epoch = ["begin epoch", "end epoch"]
    assert recorder.events == ["setup", "begin fit", *4 * epoch, "end fit", "teardown"]
    assert len(recorder.scores) == 5
    # The last epoch's classifier is the fitted one, and those before were copies of their own.
    assert recorder.scores[-1] == recorder.scores[-2] == clf.score(X, y, weight)
    assert [c.n_iter_ for c in recorder.given] == [1, 2, 3, 4, 4]
    shorter = network(max_epochs=4).set_callbacks(Recorder(stop_after=2)).fit(X, y, weight)
    np.testing.assert_array_equal(recorder.given[1].predict_proba(X), shorter.predict_proba(X))


def test_averaged_weights_are_those_a_callback_sees(iris):
    recorder = Recorder()
    clf = network(weight_averaging="ema").set_callbacks(recorder).fit(*iris)
    np.testing.assert_array_equal(
        recorder.given[-2].predict_proba(iris[0]), clf.predict_proba(iris[0])
    )


def test_a_callback_can_stop_a_training_and_changes_nothing_else(iris):
    plain = network().fit(*iris)
    watched = network().set_callbacks(Recorder()).fit(*iris)
    np.testing.assert_array_equal(watched.predict_proba(iris[0]), plain.predict_proba(iris[0]))
    assert network().set_callbacks(Recorder(stop_after=3)).fit(*iris).n_iter_ == 3


@pytest.mark.parametrize(
    "clf", [network(), AdversarialLogisticRegression(), AdversarialLogisticRegressionCV([0, 0.1])]
)
def test_a_callback_is_torn_down_where_a_fit_is_refused(iris, clf):
    X, y = iris
    recorder = Recorder()
    clf = clone(clf).set_callbacks(recorder)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.full_like(X, np.nan), y)
    assert recorder.events == ["setup", "teardown"]
    assert not any(name.startswith("_callback") for name in vars(clf))


def test_a_warning_still_points_at_the_line_that_calls_fit(iris):
    with pytest.warns(ConvergenceWarning) as caught:
        AdversarialLogisticRegression(max_iter=1, tol=1e-12).fit(*iris)
    assert caught[0].filename == __file__


def test_the_cross_validation_tells_of_folds_and_of_the_last_fit(iris):
    recorder = Recorder()
    clf = AdversarialLogisticRegressionCV([0, 0.1], cv=3).set_callbacks(recorder).fit(*iris)
    fold = ["begin fold", "end fold"]
    assert recorder.events[:2] == ["setup", "begin fit"]
    assert recorder.events[2:8] == 3 * fold
    assert recorder.events[-2:] == ["end fit", "teardown"]
    assert recorder.scores[-1] == clf.score(*iris)


def test_monitors_of_scikit_learn_score_every_epoch_under_attack(iris):
    X, y = iris
    monitor = callback.ScoringMonitor(scoring={"robust": make_robust_scorer(0.1)})
    clf = network().set_callbacks(monitor).fit(X, y)
    scores = {row["task_id_path"][1:]: row["robust"] for row in monitor.get_logs().data}
    assert sorted(scores) == [(), (0,), (1,), (2,), (3,)]
    assert scores[()] == scores[3,] == clf.robust_score(X, y, epsilon=0.1)


def test_progress_bars_of_scikit_learn_follow_a_pipeline_into_the_epochs(iris, capfd):
    pytest.importorskip("rich")
    pipe = make_pipeline(StandardScaler(), network())
    pipe.set_callbacks(callback.ProgressBar()).fit(*iris)
    assert "RobustFCClassifier" in capfd.readouterr().out


def test_without_callback_support_nothing_is_told():
    task = FitTask(object(), None, None, None)
    task.begin(3)
    task.extend(2)
    with task.part("epoch").handed_to(object()):
        assert task.end() is False


def test_each_round_of_retraining_is_a_task(iris):
    X, y = iris
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    clf = AdversarialTrainingClassifier(tree, 0.2, n_rounds=3)
    recorder = Recorder()
    clf.set_callbacks(recorder).fit(X, y)
    rounds = len(clf.n_mistakes_) * ["begin round", "end round"]
    assert recorder.events == ["setup", "begin fit", *rounds, "end fit", "teardown"]
    assert len(rounds) >= 4
    assert recorder.scores[-1] == recorder.scores[-2] == clf.score(X, y)
    stopped = clone(clf).set_callbacks(Recorder(stop_after=1)).fit(X, y)
    assert stopped.n_rounds_ == 1
    np.testing.assert_array_equal(recorder.given[0].predict(X), stopped.predict(X))
