"""The threat model: what it holds, what it projects, what it refuses."""

import numpy as np
import pytest
import torch

from sklearn_robust.attacks import ThreatModel

NORMS = ("linf", "l2", "l1")
EPSILONS = (0.3, np.array([0.0, 0.1, 2.0, 0.5, 30.0]))
CLIPS = (None, (0.0, 1.0), (np.zeros(5), np.array([1, 1, 4, 1, 200.0])))


def _samples(seed=0, n=40):
    rng = np.random.default_rng(seed)
    return rng.random((n, 5)), rng.normal(size=(n, 5)) * 10 ** rng.uniform(-2, 2, size=(n, 1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("epsilon", EPSILONS, ids=("one", "per-feature"))
@pytest.mark.parametrize("clip_values", CLIPS, ids=("no box", "box", "box per feature"))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_whatever_it_returns_lies_in_ball_and_box(norm, epsilon, clip_values, dtype, library):
    X, step = (a.astype(dtype) for a in _samples())
    threat = ThreatModel(epsilon, norm, clip_values)
    generator = np.random.default_rng(0)
    if library == "torch":
        X, step = torch.from_numpy(X), torch.from_numpy(step)
        generator = torch.Generator().manual_seed(0)
    around = threat.around(X)
    for found in (around.project(X + step), around.sample(generator), around.furthest(step)):
        assert threat.contains(found, X).all()
        frozen = np.broadcast_to(np.asarray(epsilon) == 0, (5,))
        np.testing.assert_array_equal(np.asarray(found)[:, frozen], np.asarray(X)[:, frozen])


@pytest.mark.parametrize("norm", NORMS)
def test_projection_leaves_what_is_inside(norm):
    X, step = _samples()
    around = ThreatModel(0.3, norm, (0, 1)).around(X)
    inside = around.project(X + step)
    np.testing.assert_allclose(around.project(inside), inside, atol=1e-14)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("clip_values", CLIPS[:2], ids=("no box", "box"))
def test_furthest_point_beats_every_sampled_one(norm, clip_values):
    X, gradient = _samples()
    threat = ThreatModel(np.array([0.1, 0.2, 0.3, 0.0, 0.4]), norm, clip_values)
    around, rng = threat.around(X), np.random.default_rng(0)
    best = (around.furthest(gradient) * gradient).sum(1)
    for _ in range(200):
        assert ((around.sample(rng) * gradient).sum(1) <= best + 1e-12).all()


def test_contains_notices_a_point_just_outside():
    X = np.full((3, 2), 0.5)
    for norm, length in (("linf", 0.1), ("l2", 0.1 / np.sqrt(2)), ("l1", 0.05)):
        threat = ThreatModel(0.1, norm)
        assert threat.contains(X + length, X).all()
        assert not threat.contains(X + length * (1 + 1e-6), X).any()
    boxed = ThreatModel(1.0, "linf", (0, 0.6))
    assert not boxed.contains(X + 0.1001, X).any()
    frozen = ThreatModel(np.array([0.0, 1.0]))
    assert not frozen.contains(X + np.array([1e-9, 0]), X).any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": -0.1}, r"epsilon must be a finite number >= 0, got -0\.1\."),
        ({"epsilon": np.nan}, "epsilon must be a finite number >= 0"),
        ({"epsilon": np.inf}, "epsilon must be a finite number >= 0"),
        ({"epsilon": "big"}, "epsilon must be a finite number >= 0, got 'big'"),
        ({"epsilon": True}, "epsilon must be a finite number >= 0, got True"),
        ({"epsilon": [0.1, -1]}, "epsilon must hold finite numbers >= 0"),
        ({"epsilon": 0.1, "norm": "l3"}, "norm must be one of 'linf', 'l2', 'l1', got 'l3'"),
        ({"epsilon": 0.1, "clip_values": (1, 0)}, r"clip_values must be None or a pair \(low, hi"),
        ({"epsilon": 0.1, "clip_values": (0, np.nan)}, "clip_values must be None or a pair"),
        ({"epsilon": 0.1, "clip_values": 1}, "clip_values must be None or a pair"),
        ({"epsilon": 0.1, "clip_values": ([0, 2], [1, 1])}, r"the contrary in features \[1\]"),
        ({"epsilon": 0.1, "clip_values": (1, 1)}, "got no room in any feature"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        ThreatModel(**parameters)


def test_a_radius_may_be_an_array_of_no_dimensions():
    assert ThreatModel(np.array(0.1)).epsilon == 0.1


@pytest.mark.parametrize("norm", NORMS)
def test_a_feature_without_room_stays_and_the_others_move(norm):
    X = np.array([[0.5, 3.0, 0.5]])
    threat = ThreatModel(0.25, norm, ([0, 3, 0], [1, 3, 1]))
    found = threat.around(X).furthest(np.array([[1.0, 5.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.75, 3.0, 0.5]], rtol=1e-15)


def test_data_that_do_not_fit_are_refused():
    X = np.array([[-0.31, 1.2]])
    with pytest.raises(ValueError, match=r"values in \[-0\.31, 1\.2\] outside clip_values=\(0\.0"):
        ThreatModel(0.1, clip_values=(0, 1)).check_data(X)
    with pytest.raises(ValueError, match="epsilon has 3 values but X has 2 features"):
        ThreatModel([0.1, 0.2, 0.3]).check_data(X)
    with pytest.raises(ValueError, match="clip_values has 3 values but X has 2 features"):
        ThreatModel(0.1, clip_values=(np.zeros(3), np.ones(3))).check_data(X)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_whole_numbers_can_be_moved_by_fractions(norm, library):
    X = np.array([[3, -2, 1], [0, 5, 2]])
    pull = np.ones((2, 3))
    threat = ThreatModel(0.7, norm, (-10, 10))
    expected = threat.around(X.astype(float)).furthest(pull)
    if library == "torch":
        X, pull = torch.from_numpy(X), torch.from_numpy(pull).float()
    found = np.asarray(threat.around(X).furthest(pull))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (found != np.asarray(X)).any(axis=1).all()


def test_a_box_open_to_one_side_still_ends_at_the_other():
    threat = ThreatModel(0.1, clip_values=(0, np.inf))
    X = np.array([[0.02], [5.0]])
    assert threat.contains(np.array([[-0.05], [5.1]]), X).tolist() == [False, True]


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_draws_are_uniform_in_the_features_that_may_move(norm, library):
    X = np.zeros((4000, 50))
    epsilon = np.zeros(50)
    epsilon[[7, 30]] = 2.0
    generator = np.random.default_rng(0)
    if library == "torch":
        X, generator = torch.from_numpy(X), torch.Generator().manual_seed(0)
    threat = ThreatModel(epsilon, norm)
    drawn = threat.around(X).sample(generator)
    # In two dimensions half of the volume lies beyond 0.707 of the radius; 4 standard errors.
    assert np.mean(threat.size(drawn, X) > 0.5**0.5) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    assert not ThreatModel(np.zeros(50), norm).around(X).sample(generator).any()


def test_a_box_bounds_a_small_feature_beside_a_huge_one_that_it_leaves_free():
    X, gradient = np.array([[0.5, 1e9]]), np.array([[1.0, 1e-9]])
    around = ThreatModel(1.5, "l2", ([0, 0], [1, np.inf])).around(X)
    np.testing.assert_allclose(around.furthest(gradient), [[1.0, 1e9 + 2**0.5]], rtol=1e-14)
