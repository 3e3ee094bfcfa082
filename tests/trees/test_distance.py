"""Distances to mistakes of tree ensembles against the model itself, asked in all cells."""

from functools import partial
from itertools import product

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.trees import Forest, Tree, _branch, decide, distances
from sklearn_robust.trees._cells import Cells
from sklearn_robust.trees._contrast import Contrast
from sklearn_robust.trees._grid import grid_of
from sklearn_robust.trees._judge import Judge
from sklearn_robust.trees._program import Program
from sklearn_robust.trees._regions import Regions

CLIP = (-1.5, 1.5)
UNITS = {
    "linf": ThreatModel(1.0),
    "linf by feature in a box": ThreatModel([1.0, 0.0, 3.0], "linf", CLIP),
    "l2": ThreatModel([2.0, 1.0, 0.5], "l2"),
    "l1 in a box": ThreatModel(1.0, "l1", CLIP),
}
RTOL = 1e-6


def exact(problem, unit):
    """Return the distance of each sample to the nearest cell that is a mistake."""
    low, high = np.full((2, 3), [[-np.inf], [np.inf]])
    if unit.clip_values is not None:
        low, high = (np.full(3, end) for end in unit.clip_values)
    fixed = np.broadcast_to(unit.epsilon, 3) == 0
    found = []
    for i, x in enumerate(problem.X):
        P = problem.cells(i, np.where(fixed, x, low), np.where(fixed, x, high))
        wrong = problem.predict(P) != problem.labels[i]
        own = np.repeat(problem.X[i : i + 1], len(P), axis=0)
        missing = np.isnan(own)
        length = unit.size(np.where(missing, 0, P), np.where(missing, 0, own))
        found.append(length[wrong].min(initial=np.inf))
    return np.array(found)


def assert_true(problem, unit, rtol=RTOL):
    args = problem.forest, problem.predict, problem.X, problem.labels, unit
    lower, upper, points = distances(*args, rtol=rtol)
    truth = exact(problem, unit)
    # The same distances, computed here and there.
    assert (lower <= truth * (1 + 1e-13)).all()
    assert (truth <= upper * (1 + 1e-13)).all()
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(upper), finite)
    np.testing.assert_array_equal(np.isfinite(lower), finite)
    assert (lower[finite] >= upper[finite] * (1 - 1.01 * rtol)).all()
    there, own = np.nan_to_num(points), np.nan_to_num(problem.X)
    np.testing.assert_array_equal(unit.size(there, own)[finite], upper[finite])
    np.testing.assert_array_equal(points[~finite], problem.X[~finite])
    wrong = problem.predict(points) != problem.labels
    np.testing.assert_array_equal(wrong, finite)
    return lower, upper


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_distances_are_those_to_the_nearest_cell_that_is_a_mistake(make_problem, small_model, unit):
    clip = None if unit.clip_values is None else lambda X: X.clip(*CLIP)
    problem = make_problem(small_model, 3, n=8, change=clip)
    assert_true(problem, unit, rtol=1e-12 if unit.norm == "linf" else RTOL)


def test_whole_numbers_put_radii_on_thresholds(make_problem):
    problem = make_problem(HistGradientBoostingClassifier(max_iter=8), 3, change=np.round)
    for norm in ("linf", "l2", "l1"):
        _, upper = assert_true(problem, ThreatModel(1.0, norm))
        assert (upper > 0).any()
        if norm == "linf":
            np.testing.assert_array_equal(upper.round(9) % 0.5, 0)


def test_missing_entries_and_single_precision(make_problem):
    def change(X):
        return np.where(np.random.default_rng(0).random(X.shape) < 0.15, np.nan, X)

    model = RandomForestClassifier(6, max_depth=4, random_state=0)
    problem = make_problem(model, 3, n=8, change=change, dtype=np.float32)
    for norm in ("linf", "l2"):
        assert_true(problem, ThreatModel(1.0, norm))


def test_a_constant_model_has_no_mistakes(make_problem):
    problem = make_problem(
        DecisionTreeClassifier(max_depth=1, random_state=0), change=np.zeros_like
    )
    lower, upper, points = distances(
        problem.forest, problem.predict, problem.X, problem.labels, ThreatModel(1.0)
    )
    right = problem.predict(problem.X) == problem.labels
    assert right.any()
    for bound in (lower, upper):
        np.testing.assert_array_equal(bound, np.where(right, np.inf, 0))
    np.testing.assert_array_equal(points, problem.X)


def corner(right_of_zero):
    """Return a tree that is for class 1 in one quarter of the plane alone, by less than against."""
    value = np.array([[0.0, 0.0], [0, 0], [0, 1], [0, -1.5], [0, -1.5]])
    quarter, other = (4, 1) if right_of_zero else (1, 4)
    return Tree(
        feature=np.array([0, 1, -1, -1, -1]),
        threshold=np.zeros(5),
        left=np.array([quarter, 2, -1, -1, -1]),
        right=np.array([other, 3, -1, -1, -1]),
        missing_left=np.zeros(5, dtype=bool),
        value=value,
    )


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_where_only_programs_prove_that_there_is_no_mistake(norm):
    """Each tree can be for class 1, but not both at once."""
    forest = Forest([corner(False), corner(True)], [0.0, 0.0], np.arange(2), 2)
    X, labels = np.array([[-1.0, 1.0], [2.0, -1.0]]), np.zeros(2, dtype=int)
    args = forest, forest.predict, X, labels, ThreatModel(1.0, norm)
    lower, upper, points = distances(*args)
    assert np.isinf(lower).all()
    assert np.isinf(upper).all()
    np.testing.assert_array_equal(points, X)
    lower, upper, _ = distances(*args, max_nodes=0)
    assert np.isfinite(lower).all()
    assert np.isinf(upper).all()


def test_verdicts_are_the_distances_against_the_radius(make_problem):
    problem = make_problem(RandomForestClassifier(20, max_depth=5, random_state=0), 3)
    for norm in ("linf", "l1"):
        args = problem.forest, problem.predict, problem.X, problem.labels
        lower, upper, _ = distances(*args, ThreatModel(1.0, norm))
        for epsilon in (0.1, 0.2, 0.4):
            found = decide(*args, ThreatModel(epsilon, norm))
            np.testing.assert_array_equal(found.proven, lower > epsilon)
            np.testing.assert_array_equal(found.broken, upper <= epsilon)


def test_a_budget_of_no_programs_leaves_bounds_apart_but_true(make_problem):
    problem = make_problem(RandomForestClassifier(9, max_depth=6, random_state=0), 3, n=8)
    unit = ThreatModel(1.0, "l2")
    lower, upper, _ = distances(
        problem.forest, problem.predict, problem.X, problem.labels, unit, max_nodes=0
    )
    truth = exact(problem, unit)
    assert (lower <= truth).all()
    assert (truth <= upper).all()
    assert (lower < upper * (1 - RTOL)).any()


def test_the_search_alone_finds_all_distances(make_problem, monkeypatch):
    """No moves are made from the sample or from shares: mistakes are found in single cells."""
    monkeypatch.setattr(_branch, "_rounded", lambda *args: None)
    monkeypatch.setattr(Contrast, "climbs", lambda self: iter(()))
    problem = make_problem(RandomForestClassifier(6, max_depth=3, random_state=0), 3, n=8)
    for norm in ("linf", "l2", "l1"):
        args = problem.forest, problem.predict, problem.X, problem.labels, ThreatModel(1.0, norm)
        lower, upper, _ = distances(*args, max_nodes=100_000)
        truth = exact(problem, ThreatModel(1.0, norm))
        np.testing.assert_allclose(upper, truth, rtol=1.01 * RTOL)
        np.testing.assert_allclose(lower, truth, rtol=1.01 * RTOL)


def test_a_solver_that_lies_proves_no_distance(make_problem, lies):
    problem = make_problem(RandomForestClassifier(9, max_depth=6, random_state=0), 3, n=6)
    for norm in ("linf", "l2", "l1"):
        unit = ThreatModel([1.0, 0.5, 2.0], norm)
        args = problem.forest, problem.predict, problem.X, problem.labels, unit
        lower, upper, _ = distances(*args, max_nodes=10)
        truth = exact(problem, unit)
        assert (lower <= truth * (1 + 1e-13)).all()
        assert (truth <= upper * (1 + 1e-13)).all()
    assert len(lies) > 20


def priced_contrast(problem, i, rival, threat):
    """Return a contrast on cells with prices, without trees that do not vary."""
    forest, regions = problem.forest, Regions(problem.X, threat)
    leaves = forest.met(regions.low, regions.high)[i]
    first, last = grid_of(forest).inside(regions.low, regions.high)
    cut = partial(Cells, forest, regions, i, (first[i], last[i]), priced=True)
    judge = Judge(forest, problem.predict, 0)
    return judge._contrast(judge.question(leaves, problem.labels[i]), rival, cut)


@pytest.mark.parametrize("n_leaves", [2, 5])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_prices_that_programs_prove_are_below_those_of_all_winning_cells(
    make_problem, norm, n_leaves
):
    model = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=n_leaves)
    problem = make_problem(model, n=60)
    checked, tight = 0, []
    for i, label in enumerate(problem.labels):
        contrast = priced_contrast(problem, i, 1 - label, ThreatModel(1.0, norm))
        base = contrast.cells
        every = np.array(list(product(*map(range, base.n_cells))))
        wins = [contrast.moves(cells)[0] >= contrast.need for cells in every]
        cheapest = min(map(base.total, every[wins]), default=np.inf)
        if not 0 < cheapest < 0.5:
            continue
        program = Program(contrast)
        for share in (0.5, 1.0, 1.2, 1.6, 2.0):
            base.budget = share * cheapest
            price = program.solve(np.zeros_like(base.home), base.n_cells - 1).price
            assert price <= cheapest
            checked += price > 0
            tight.append(price / cheapest)
    assert checked > 10
    assert max(tight) > 0.9


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_prices_reach_those_of_the_only_winning_cells_and_do_not_exceed_them(make_problem, norm):
    """If the rival needs all that sums of stumps can give, the program has no slack to hide in."""
    model = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=2)
    problem, shares = make_problem(model, n=30), []
    for i, label in enumerate(problem.labels):
        contrast = priced_contrast(problem, i, 1 - label, ThreatModel(1.0, norm))
        base = contrast.cells
        every = np.array(list(product(*map(range, base.n_cells))))
        margins = np.array([contrast.moves(cells)[0] for cells in every])
        contrast.need = margins.max() - 1e-9
        cheapest = min(map(base.total, every[margins >= contrast.need]))
        if not 0 < cheapest < 0.9:
            continue
        program, prices = Program(contrast), []
        for share in (0.5, 0.9, 0.99, 0.999, 1.0):
            base.budget = share * cheapest
            prices.append(program.solve(np.zeros_like(base.home), base.n_cells - 1).price)
            assert prices[-1] <= cheapest
        shares.append(max(prices) / cheapest)
    assert len(shares) > 5
    assert min(shares) > 0.99


def test_distances_do_not_depend_on_workers(make_problem):
    problem = make_problem(RandomForestClassifier(6, max_depth=4, random_state=0), n=40)
    args = problem.forest, problem.predict, problem.X, problem.labels, ThreatModel(1.0, "l2")
    one = distances(*args)
    with parallel_config("threading", n_jobs=2):
        two = distances(*args)
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_distances_on_further_problems(make_problem, small_model, unit, seed):
    clip = None if unit.clip_values is None else lambda X: X.clip(*CLIP)
    problem = make_problem(small_model, 2 + seed % 2, seed, n=12, change=clip)
    assert_true(problem, unit, rtol=1e-12 if unit.norm == "linf" else RTOL)
