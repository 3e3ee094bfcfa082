"""Verdicts on tree ensembles against the model itself, asked in every cell that can be reached."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import _branch, decide, read_forest
from sklearn_robust.trees._judge import Judge

CLIP = (-1.5, 1.5)
THREATS = {
    "linf": ThreatModel(0.4),
    "linf by feature in a box": ThreatModel([0.7, 0.0, 0.4], "linf", CLIP),
    "l2": ThreatModel(0.5, "l2"),
    "l2 by feature": ThreatModel([0.9, 0.4, 0.0], "l2"),
    "l1 in a box": ThreatModel(0.6, "l1", CLIP),
}


def assert_true(problem, threat, **options):
    """Check verdicts and points, all of them decided."""
    found = decide(problem.forest, problem.predict, problem.X, problem.labels, threat, **options)
    truth = problem.truth(threat)
    np.testing.assert_array_equal(found.proven, truth)
    np.testing.assert_array_equal(found.broken, ~truth)
    assert_held(problem, threat, found)
    return found


def assert_held(problem, threat, found):
    """Check that points are mistakes of the model in the threat's set."""
    X, points, broken = problem.X, found.points, found.broken
    assert not (found.proven & broken).any()
    assert points.dtype == X.dtype
    np.testing.assert_array_equal(np.isnan(points), np.isnan(X))
    np.testing.assert_array_equal(points[~broken], X[~broken])
    assert threat.contains(np.nan_to_num(points), np.nan_to_num(X)).all()
    if broken.any():
        assert (problem.predict(points[broken]) != problem.labels[broken]).all()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_verdicts_are_those_of_the_model_in_every_cell(
    make_problem, small_model, threat, n_classes
):
    clip = None if threat.clip_values is None else lambda X: X.clip(*CLIP)
    problem = make_problem(small_model, n_classes, change=clip)
    near = assert_true(problem, threat.scaled(0.2)).proven
    far = assert_true(problem, threat).proven
    assert far.sum() < near.sum()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_do_not_matter(make_problem, scale):
    problem = make_problem(HistGradientBoostingClassifier(max_iter=8), change=lambda X: X * scale)
    for norm, epsilon in (("linf", 0.4), ("l2", 0.5), ("l1", 0.6)):
        assert_true(problem, ThreatModel(epsilon * scale, norm))


def test_missing_entries_stay_missing_and_the_others_move(make_problem):
    def change(X):
        return np.where(np.random.default_rng(0).random(X.shape) < 0.15, np.nan, X)

    for model in (RandomForestClassifier(6, max_depth=4, random_state=0),
                  HistGradientBoostingClassifier(max_iter=8)):  # fmt: skip
        problem = make_problem(model, 3, change=change)
        assert np.isnan(problem.X).any()
        for norm in ("linf", "l2"):
            assert_true(problem, ThreatModel(0.4, norm))


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_single_precision_has_its_own_points_beside_a_threshold(make_problem, norm):
    model = RandomForestClassifier(6, max_depth=4, random_state=0)
    problem = make_problem(model, change=lambda X: X + 1e-3, dtype=np.float32)
    assert_true(problem, ThreatModel(0.4, norm))


def test_constant_and_repeated_columns(make_problem):
    problem = make_problem(
        RandomForestClassifier(6, max_depth=4, random_state=0),
        change=lambda X: np.column_stack([X[:, 0], np.ones(len(X)), X[:, 0]]),
    )
    for norm, epsilon in (("linf", 0.4), ("l2", 0.5), ("l1", 0.6)):
        assert_true(problem, ThreatModel(epsilon, norm))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_models_of_other_libraries(make_problem, library, n_classes):
    package = pytest.importorskip(library)
    if library == "xgboost":
        model = package.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1)
    else:
        model = package.LGBMClassifier(n_estimators=5, num_leaves=6, verbose=-1, n_jobs=1)
    problem = make_problem(model, n_classes)
    for norm, epsilon in (("linf", 0.4), ("l2", 0.5), ("l1", 0.6)):
        assert_true(problem, ThreatModel(epsilon, norm))


def test_a_radius_that_ends_on_a_threshold_is_the_set_of_floats(make_problem):
    """Whole numbers split half-way: half a step down is left, half a step up is not yet right."""
    problem = make_problem(HistGradientBoostingClassifier(max_iter=8), change=np.round)
    halves = problem.forest.threshold[problem.forest.numbers(0)] % 1
    assert (halves == 0.5).all()
    for norm in ("linf", "l2", "l1"):
        assert_true(problem, ThreatModel(0.5, norm))
        assert_true(problem, ThreatModel(0.5 - 1e-9, norm))


def test_wrong_samples_and_unknown_labels_are_broken_as_they_are(make_problem):
    problem = make_problem(RandomForestClassifier(3, max_depth=2, random_state=0))
    labels = np.full(len(problem.X), -1)
    found = decide(problem.forest, problem.predict, problem.X, labels, ThreatModel(0.1))
    assert found.broken.all()
    np.testing.assert_array_equal(found.points, problem.X)


def test_no_samples():
    X, y = np.arange(8.0).reshape(-1, 1), np.repeat([0, 1], 4)
    model = RandomForestClassifier(2, random_state=0).fit(X, y)
    found = decide(read_forest(model), model.predict, X[:0], y[:0], ThreatModel(1))
    assert found.proven.shape == found.broken.shape == (0,)
    assert found.points.shape == (0, 1)


def test_a_solver_that_lies_proves_nothing_false(make_problem, lies):
    """Verdicts stay true or open."""
    problem = make_problem(RandomForestClassifier(9, max_depth=6, random_state=0), 3)
    for norm, epsilon in (("linf", 0.4), ("l2", 0.5), ("l1", 0.6)):
        threat = ThreatModel(epsilon, norm)
        truth = problem.truth(threat)
        args = problem.forest, problem.predict, problem.X, problem.labels, threat
        found = decide(*args, max_nodes=20)
        assert not (found.proven & ~truth).any()
        assert not (found.broken & truth).any()
        assert_held(problem, threat, found)
    assert len(lies) > 10


def test_a_point_that_the_model_does_not_confirm_leaves_the_sample_open(make_problem):
    problem = make_problem(RandomForestClassifier(6, max_depth=4, random_state=0))
    threat = ThreatModel(0.4)

    def stubborn(P):
        moved = ~(P[:, None] == problem.X[None]).all(axis=2).any(axis=1)
        return np.where(moved, 0, problem.predict(P))

    honest = decide(problem.forest, problem.predict, problem.X, problem.labels, threat)
    found = decide(problem.forest, stubborn, problem.X, problem.labels, threat)
    right = problem.predict(problem.X) == problem.labels
    lost = honest.broken & right & (problem.labels == 0)
    assert lost.any()
    assert not (found.broken | found.proven)[lost].any()
    np.testing.assert_array_equal(found.points[lost], problem.X[lost])
    np.testing.assert_array_equal(found.proven, honest.proven)


def test_a_budget_of_no_programs_leaves_samples_open_and_decides_none_wrong(make_problem):
    problem = make_problem(RandomForestClassifier(30, max_depth=6, random_state=0), 3)
    threat = ThreatModel(0.5, "l2")
    truth = problem.truth(threat)
    found = decide(problem.forest, problem.predict, problem.X, problem.labels, threat, max_nodes=0)
    open_ = ~(found.proven | found.broken)
    assert 0 < open_.sum() < len(open_)
    assert not (found.proven & ~truth).any()
    assert not (found.broken & truth).any()


def test_votes_that_tie_go_to_the_first_class(make_problem):
    """Margins of whole votes are often 0, which is a mistake of one class alone."""
    problem = make_problem(RandomForestClassifier(4, random_state=0))
    assert problem.forest.exact
    threat = ThreatModel(0.2)
    firsts = [problem.inside(i, threat) for i in np.flatnonzero(problem.labels == 0)]
    margins = [np.diff(problem.forest.scores(P), axis=1).max() for P in firsts]
    assert 0 in margins
    assert_true(problem, threat)
    assert_true(problem, ThreatModel(0.2, "l2"))


def test_the_search_alone_decides_everything(make_problem, monkeypatch):
    """No move is tried and no solution rounded: what is broken is found in single cells."""
    monkeypatch.setattr(Judge, "_attacked", lambda *args: None)
    monkeypatch.setattr(_branch, "_rounded", lambda *args: None)
    problem = make_problem(RandomForestClassifier(6, max_depth=3, random_state=0), 3, n=10)
    for norm in ("linf", "l2"):
        assert_true(problem, ThreatModel(0.4, norm), max_nodes=100_000)


def test_answers_do_not_depend_on_workers(make_problem):
    problem = make_problem(RandomForestClassifier(6, max_depth=4, random_state=0))
    args = problem.forest, problem.predict, problem.X, problem.labels, ThreatModel(0.5, "l2")
    one = decide(*args)
    with parallel_config("threading", n_jobs=2):
        two = decide(*args)
    for name in ("proven", "broken", "points"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_categories_must_not_move():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=200), rng.integers(0, 5, 200)])
    y = (X[:, 0] + (X[:, 1] == 2) > 0.3).astype(int)
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=[1]).fit(X, y)
    forest = read_forest(model)
    with pytest.raises(ValueError, match=r"epsilon must be 0 .* features \[1\]"):
        decide(forest, model.predict, X, y, ThreatModel(0.1))
    found = decide(forest, model.predict, X, y, ThreatModel([0.1, 0]))
    assert (found.proven | found.broken).all()
    np.testing.assert_array_equal(found.points[:, 1], X[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
def test_verdicts_on_further_problems(make_problem, small_model, threat, seed):
    clip = None if threat.clip_values is None else lambda X: X.clip(*CLIP)
    assert_true(make_problem(clone(small_model), 2 + seed % 2, seed, change=clip), threat)
