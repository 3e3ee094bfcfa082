"""Threads: what one does to a network does not show in what another gets from it."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
from torch import nn

from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier

SETTINGS = {"epsilon": 0.2, "clip_values": (0, 1), "pgd_steps": 2, "random_state": 0}


def test_gradients_are_true_while_another_thread_attacks(digits):
    X, y, X_test, y_test = digits
    clf = RobustFCClassifier((64,), input_ramp="fixed", max_epochs=2, **SETTINGS).fit(X, y)
    expected = clf.input_gradients(X_test, y_test)
    n = 0
    with ThreadPoolExecutor(2) as threads:
        job = threads.submit(clf.robust_score, X_test, y_test, attack="pgd")
        while not job.done() or not n:
            np.testing.assert_array_equal(clf.input_gradients(X_test, y_test), expected)
            n += 1
    with joblib.parallel_config(backend="threading"):
        assert clf.robust_score(X_test, y_test, n_jobs=3) == clf.robust_score(X_test, y_test)


def test_fits_in_threads_are_those_of_one_after_the_other(digits):
    X, y, *_ = digits

    def network():
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))

    def probabilities(_):
        clf = RobustNeuralNetClassifier(network, max_epochs=1, **SETTINGS)
        return clf.fit(X[:300], y[:300]).predict_proba(X[:300])

    expected = probabilities(0)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(probabilities, range(4)):
            np.testing.assert_array_equal(found, expected)
