"""A real cluster of processes: joblib spreads the work, and a lost worker changes no number."""

import os
import signal

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier, make_robust_scorer, robust_score
from sklearn_robust.attacks import PGD
from sklearn_robust.metrics import perturb

distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.slow

X, Y = load_wine(return_X_y=True)
SPREAD = X.std(axis=0)


@pytest.fixture
def cluster(workers):
    """Yield the client once both workers are there: with a single one joblib does not spread."""
    workers.wait_for_workers(2, timeout=60)
    return workers


@pytest.fixture(scope="module")
def workers():
    """Yield a client of two worker processes, which are restarted when they die."""
    environment = {"OMP_NUM_THREADS": "1"}
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env=environment,
            silence_logs=100,
        ) as processes,
        distributed.Client(processes) as client,
    ):
        yield client


def network():
    return RobustFCClassifier(
        (8,), preprocessor=StandardScaler(), epsilon=0.1 * SPREAD, max_epochs=5, pgd_steps=1,
        lr=0.02, random_state=0,
    )  # fmt: skip


def dies_once(path):
    """Return a function that kills the process it first runs in; `path` remembers that it did."""
    here = os.getpid()

    def die():
        assert os.getpid() != here, "this did not run on a worker"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    return die


def test_a_sweep_over_epsilon_equals_the_serial_one_after_losing_a_worker(cluster, tmp_path):
    die, scorer = dies_once(str(tmp_path / "died")), make_robust_scorer(0.2 * SPREAD)

    def score(estimator, X, y):
        if estimator.epsilon[0] > 0.15 * SPREAD[0]:  # the second half of the sweep
            die()
        return scorer(estimator, X, y)

    grid = {"epsilon": [share * SPREAD for share in (0.0, 0.1, 0.2, 0.3)]}
    serial = GridSearchCV(network(), grid, scoring=scorer, cv=2).fit(X, Y)
    spread = GridSearchCV(network(), grid, scoring=score, cv=2, n_jobs=-1)
    before = set(cluster.scheduler_info()["workers"])
    # Copies of the data on every worker: those on a single one would be lost with it.
    with joblib.parallel_config(backend="dask", scatter=[X, Y]):
        spread.fit(X, Y)
    assert (tmp_path / "died").exists()
    assert set(cluster.scheduler_info()["workers"]) != before
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(spread.cv_results_[key], serial.cv_results_[key])


def test_a_spread_attack_equals_the_serial_one_after_losing_a_worker(cluster, tmp_path):
    die, inner = dies_once(str(tmp_path / "died")), PGD(5, keep="fooling")

    class Mortal:
        """PGD in a process that may be killed before it answers."""

        def perturb(self, *args):
            X_adv = inner.perturb(*args)
            die()
            return X_adv

    pipe = make_pipeline(StandardScaler(), network().set_params(preprocessor=None, epsilon=0.1))
    pipe.fit(X, Y)
    many, labels = np.tile(X, (5, 1)), np.tile(Y, 5)  # four batches
    serial = perturb(pipe, many, labels, epsilon=0.3 * SPREAD, attack=inner)
    with joblib.parallel_config(backend="dask"):
        spread = perturb(pipe, many, labels, epsilon=0.3 * SPREAD, attack=Mortal(), n_jobs=-1)
        score = robust_score(pipe, many, labels, epsilon=0.3 * SPREAD, attack=inner, n_jobs=-1)
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(spread, serial)
    assert score == pipe.score(serial, labels)
    assert pipe.score(spread, labels) < pipe.score(many, labels)
