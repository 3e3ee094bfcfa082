"""Workers inherit scikit-learn's configuration."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier

from sklearn_robust import robust_score
from sklearn_robust._jobs import delayed, parallel

X, Y = np.arange(20.0)[:, None], np.arange(20) > 9


class Watcher(ClassifierMixin, BaseEstimator):
    """Predicts by a threshold, and only under a configuration that the caller has set."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        assert get_config()["assume_finite"]
        return np.ravel(X) > 9.5


def _configured():
    return get_config()["assume_finite"]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_inherit_the_configuration(backend):
    with parallel_config(backend), config_context(assume_finite=True):
        assert list(parallel(2)(delayed(_configured)() for _ in range(4))) == [True] * 4
    assert not _configured()


def test_an_attack_in_threads_runs_under_the_callers_configuration():
    clf = Watcher().fit(X, Y)
    with parallel_config("threading"), config_context(assume_finite=True):
        found = robust_score(clf, X, Y, epsilon=0.1, attack="square", n_jobs=2)
    assert found == 1.0


def test_the_number_of_workers_does_not_change_the_score():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X[:, 0] + 0.3 * rng.normal(size=60) > 0
    clf = RandomForestClassifier(5, random_state=0).fit(X, y)
    with parallel_config("threading"):
        assert len({robust_score(clf, X, y, epsilon=0.2, n_jobs=n) for n in (1, 2, None)}) == 1
