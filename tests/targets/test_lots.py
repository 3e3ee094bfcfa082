"""Samples in lots have the answers of all samples at once, and floats are made of a lot alone."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_robust import RobustFCClassifier, evaluate_robustness, input_gradients, perturb
from sklearn_robust.metrics import adversarial_distance, certified_score, robust_score
from sklearn_robust.targets import TargetInLots, make_target_in_lots

X, Y = (values[::2] for values in load_breast_cancer(return_X_y=True))
TENTH = {"epsilon": 0.1 * X.std(axis=0)}
NETWORK = RobustFCClassifier((8,), epsilon=0.1, max_epochs=5, lr=0.01, random_state=0)
CLASSIFIERS = {
    "linear": make_pipeline(StandardScaler(), LogisticRegression()),
    "bounded": make_pipeline(StandardScaler(), GaussianNB()),
    "trees": RandomForestClassifier(5, random_state=0),
    "network": make_pipeline(StandardScaler(), NETWORK),
}


def small_lots():
    """Return a configuration in which a lot is of 136 samples, of 285."""
    return config_context(working_memory=1)


@pytest.fixture(scope="module", params=CLASSIFIERS)
def clf(request):
    return CLASSIFIERS[request.param].fit(X, Y)


def test_scores_are_those_of_all_samples_at_once(clf):
    whole = robust_score(clf, X, Y, **TENTH), certified_score(clf, X, Y, **TENTH)
    with small_lots():
        assert isinstance(make_target_in_lots(clf, X, Y, **TENTH), TargetInLots)
        lots = robust_score(clf, X, Y, **TENTH), certified_score(clf, X, Y, **TENTH)
    # Attacks draw their starts anew in each lot.
    assert lots[0] == pytest.approx(whole[0], abs=0.008)
    assert lots[1] == whole[1]
    assert 0.3 < lots[1] <= lots[0] < clf.score(X, Y)


def test_reports_are_those_of_all_samples_at_once(clf):
    def report():
        return evaluate_robustness(clf, X, Y, [0.05, 0.1], unit=X.std(axis=0))

    whole = report()
    with small_lots():
        lots = report()
    assert (lots.n_samples, lots.certificate) == (whole.n_samples, whole.certificate)
    assert {f.check for f in lots.findings} == {f.check for f in whole.findings}
    for a, b in zip(whole.radii, lots.radii, strict=True):
        assert (b.clean, b.certified, b.attacked_is) == (a.clean, a.certified, a.attacked_is)
        assert b.attacked == pytest.approx(a.attacked, abs=0.008)
        assert sum(b.broken_by.values()) == round((b.clean - b.attacked) * len(X))


def test_points_and_distances_and_gradients_are_too(clf):
    with small_lots():
        points = perturb(clf, X, Y, **TENTH)
        lower, upper = adversarial_distance(clf, X, Y, unit=X.std(axis=0), return_bounds=True)
        left = robust_score(clf, X, Y, **TENTH)
    assert (abs(points - X) <= TENTH["epsilon"] * (1 + 1e-9)).all()
    right = clf.predict(X) == Y
    assert ((clf.predict(points) == Y) & right).mean() == left
    assert (lower <= upper * (1 + 1e-9)).all()
    assert ((upper == 0) == ~right).all()
    if not isinstance(clf, RandomForestClassifier):
        whole = input_gradients(clf, X, Y)
        with small_lots():
            np.testing.assert_allclose(input_gradients(clf, X, Y), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frame", [pd.DataFrame, lambda X: pl.DataFrame(X, strict=False)])
def test_data_frames_come_back_whole(frame):
    data = frame(X)
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(data, Y)
    whole = perturb(clf, data, Y, **TENTH)
    with small_lots():
        points = perturb(clf, data, Y, target_classes=None, **TENTH)
    assert type(points) is type(data)
    assert points.equals(whole)


def test_chosen_classes_go_with_their_samples():
    y = Y + (X[:, 0] > np.median(X[:, 0]))  # three classes
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    chosen, options = (y + 1) % 3, {"epsilon": 0.5 * X.std(axis=0)}
    whole = perturb(clf, X, y, target_classes=chosen, **options)
    with small_lots():
        points = perturb(clf, X, y, target_classes=chosen, **options)
        with pytest.raises(ValueError, match="labels"):
            perturb(clf, X, y, target_classes=chosen[:-1], **options)
    reached = [(clf.predict(found) == chosen).mean() for found in (whole, points)]
    assert reached[0] == pytest.approx(reached[1], abs=0.01)
    assert reached[1] > 0.2


def test_a_bad_sample_in_the_last_lot_is_refused_before_any_attack():
    broken = X.copy()
    broken[-1, 0] = np.nan
    clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    judged, judge = [], clf.predict
    clf.predict = lambda rows: judged.append(rows) or judge(rows)
    with small_lots(), pytest.raises(ValueError, match="NaN"):
        robust_score(clf, broken, Y, **TENTH)
    as_they_are = {row.tobytes() for row in X}
    assert all(row.tobytes() in as_they_are for rows in judged for row in np.asarray(rows))
    with small_lots(), pytest.raises(ValueError, match="labels"):
        robust_score(clf, X, Y[:-1], **TENTH)


def test_a_black_box_warns_once():
    clf = KNeighborsClassifier(metric="canberra").fit(X, Y)
    some = X[:60], Y[:60]
    with config_context(working_memory=0.25), pytest.warns(UserWarning) as caught:
        assert isinstance(make_target_in_lots(clf, *some, **TENTH), TargetInLots)
        left = robust_score(clf, *some, **TENTH)
    assert ["scores alone" in str(warning.message) for warning in caught] == [True]
    assert 0 < left < clf.score(*some)


WORK = """
import re, sys, warnings
import numpy as np
from sklearn import set_config
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn_robust import input_gradients, robust_score
from sklearn_robust.metrics import certified_score

def resident(what):
    return int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

set_config(working_memory=16)
rng = np.random.default_rng(0)
X, y = rng.integers(0, 255, (30_000, 784), dtype=np.uint8), np.arange(30_000) % 2
X[y == 1] //= 2
linear = make_pipeline(StandardScaler(), SGDClassifier(max_iter=2, tol=None))
tree = DecisionTreeClassifier(max_depth=3)
start, threat = (X[:500], y[:500]), {"epsilon": 1.0}
for clf in (linear, tree):
    clf.fit(*start)
    robust_score(clf, *start, **threat)
for name, run in {
    "robust_score": lambda: robust_score(linear, X, y, **threat),
    "certified_score": lambda: certified_score(linear, X, y, **threat),
    "of a tree": lambda: robust_score(tree, X, y, **threat),
}.items():
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = resident("VmRSS")
    run()
    print(name, (resident("VmHWM") - before) / (X.nbytes / 2**20), sep="=")
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux' /proc")
def test_no_pipeline_makes_a_copy_of_all_samples():
    done = subprocess.run(
        [sys.executable, "-c", WORK], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    extra = dict(line.split("=") for line in done.stdout.splitlines())
    assert len(extra) == 3
    # In units of X: a copy in floats is 8, and a pipeline makes several.
    assert max(map(float, extra.values())) < 1.5, extra
