"""Complete verification: the truth wherever it ends, a mixed-integer program's or a fine grid's."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import (
    BranchAndBound,
    certified_correct,
    certified_network,
    register_average,
)
from sklearn_robust.bounds._branching import searched_margins
from sklearn_robust.bounds._leaves import solved
from sklearn_robust.bounds._margins import tightened_batch
from sklearn_robust.bounds._network import Network
from sklearn_robust.bounds._parts import Problem
from sklearn_robust.metrics import certified_score, evaluate_robustness
from tests.bounds.programs import programs, relu_network

DOUBLE = torch.float64
ENOUGH = BranchAndBound(100_000)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def other_margins(margins, y):
    """The least margin over the rivals."""
    out = np.array(margins)
    out[np.arange(len(y)), y] = np.inf
    return out.min(1)


# The truth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l1"])
@pytest.mark.parametrize("widths", [(4, 12, 3), (4, 8, 6, 3)], ids=str)
def test_what_is_proven_is_what_a_mixed_integer_program_says(widths, norm):
    truths, lines = [], []
    for seed in range(3):
        module, X = relu_network(widths, seed), normal(3, 4, seed=seed)
        y = module(X).argmax(1)
        for epsilon in (0.4, 0.9):
            radius = epsilon * (1 if norm == "linf" else 2)
            least = other_margins(programs(module, X, y, radius, norm)[0], y)
            # HiGHS is feasible to 1e-6 and optimal to a gap of 1e-4 relative.
            clear = abs(least) > 1e-4 * (1 + abs(least))
            threat = ThreatModel(radius, norm)
            found = certified_network(module, X, y, threat, ENOUGH)
            assert (found == (least > 0))[clear].all()
            truths.append(found[clear])
            lines.append(certified_network(module, X, y, threat, "alpha-crown")[clear])
    truth, by_lines = np.concatenate(truths), np.concatenate(lines)
    # The cases are worth something: both answers come up, and lines do not know all proofs.
    assert 0.2 < truth.mean() < 0.8
    assert (by_lines <= truth).all()
    assert by_lines.sum() < truth.sum()


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_least_margin_is_met_from_below_and_never_passed(norm):
    """A proof of any number below the minimum, and of none above it."""
    for seed in range(2):
        module, X = relu_network((4, 8, 6, 3), seed), normal(2, 4, seed=seed)
        y = module(X).argmax(1)
        exact = torch.tensor(programs(module, X, y, 0.8, norm)[0])
        slack = 1e-3 * (1 + exact.abs())  # ten times the gap of the program
        network, threat = Network(module, X), ThreatModel(0.8, norm)
        with torch.no_grad():
            below = searched_margins(network, X, y, threat, exact - slack, ENOUGH)
            above = searched_margins(network, X, y, threat, exact + slack, ENOUGH)
        others = torch.arange(3) != y[:, None]
        assert (below > exact - slack)[others].all()
        assert (below <= exact + slack / 10)[others].all()
        assert (above <= exact + slack / 10)[others].all()


class Mean(nn.Module):
    def __init__(self, *networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x):
        return torch.stack([network(x) for network in self.networks]).mean(0)


register_average(Mean, lambda mean: list(mean.networks))


def steep(widths, seed):
    """A network whose classes lie close together."""
    module = relu_network(widths, seed)
    for parameter in module.parameters():
        parameter.mul_(2)
    return module


class Skip(nn.Module):
    """``g(relu(f(x)) + s(x))``."""

    def __init__(self, first, skip, rest):
        super().__init__()
        self.first, self.skip, self.rest = first, skip, rest

    def forward(self, x):
        return self.rest(torch.relu(self.first(x)) + self.skip(x))


def gain(*layers):
    """How much faster outputs change than inputs, at the most."""
    return math.prod(
        float(torch.linalg.matrix_norm(m.weight, 2)) for m in layers if isinstance(m, nn.Linear)
    )


def of_kind(kind, seed):
    """A module of two inputs and three classes, and a bound of how fast its outputs change."""
    if kind == "mean":
        both = [steep((2, 6, 3), 2 * seed + k) for k in range(2)]
        return Mean(*both), sum(gain(*network) for network in both) / 2
    if kind == "skip":
        first, skip, rest = (
            steep(w, 3 * seed + k) for k, w in enumerate([(2, 6), (2, 6), (6, 5, 3)])
        )
        return Skip(first, skip, rest), (gain(*first) + gain(*skip)) * gain(*rest)
    network = steep((2, 8, 6, 3), seed)
    front = [nn.Hardtanh(-0.7, 0.7)] if kind == "ramp" else []
    return nn.Sequential(*front, *network), gain(*network)


def disc(norm):
    """A grid of the unit ball of the plane, and the largest distance to its nearest point."""
    ends = torch.linspace(-1, 1, 301, dtype=DOUBLE)
    grid = torch.cartesian_prod(ends, ends)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    # Near the border the nearest point inside may be a whole step of the grid away.
    return grid[torch.linalg.vector_norm(grid, order, dim=1) <= 1], 2 * math.sqrt(2) / 300


def margins_of(module, points, y):
    """The least margin over the rivals at points of samples, (n, n_points, ...), of class y."""
    logits = module(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    own = y[:, None, None].expand(-1, points.shape[1], 1)
    return logits.gather(2, own)[..., 0] - logits.scatter(2, own, -torch.inf).amax(2)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        *(("linf", kind) for kind in ("one", "mean", "ramp", "skip")),
        *(("l2", kind) for kind in ("one", "mean")),
        ("l1", "one"),
    ],
)
def test_what_is_proven_is_what_a_fine_grid_of_the_plane_says(norm, kind):
    """Two inputs: every norm, clipped or not, has its truth in a grid."""
    truths, (grid, apart) = [], disc(norm)
    for seed in range(2):
        module, fastest = of_kind(kind, seed)
        # Between a point and the nearest of the grid a margin changes by no more than this.
        slack = math.sqrt(2) * apart * fastest
        for epsilon, clip in ((0.3, None), (0.6, (-1.0, 1.0)), (1.5, None)):
            X = normal(4, 2, seed=seed).clip(-1, 1)
            y = module(X).argmax(1)
            box = clip or (-torch.inf, torch.inf)
            points = (X[:, None] + epsilon * grid).clip(*box)
            least = margins_of(module, points, y).amin(1).numpy()
            found = certified_network(module, X, y, ThreatModel(epsilon, norm, clip), ENOUGH)
            assert not found[least <= 0].any()
            clear = least > slack * epsilon
            assert found[clear].all()
            truths.append(found[clear | (least <= 0)])
    truth = np.concatenate(truths)
    assert len(truth) > 9
    assert 0.2 < truth.mean() < 0.9


def test_a_part_without_points_is_closed_by_its_prices():
    """x >= 1 and x <= -1 at once: no program's objective matters, large prices prove anything."""
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    module.requires_grad_(False)
    for parameter, value in zip(
        module.parameters(),
        ([[1.0], [-1.0]], [-1.0, -1.0], [[0.0, 0.0], [1.0, 1.0]], [0.0, 1.0]),
        strict=True,
    ):
        parameter.copy_(torch.tensor(value))
    X, y = torch.zeros(1, 1, dtype=DOUBLE), torch.tensor([0])
    network, threat = Network(module, X), ThreatModel(3.0)
    _, boxes = tightened_batch(network, X, y, threat)
    problem = Problem(network, X, y, threat, boxes)
    part = problem.whole(torch.tensor([0]), torch.tensor([1]))
    for signs, holds in (([1, 1], True), ([1, -1], False)):
        leaf = solved(problem, part._replace(signs=torch.tensor([signs], dtype=torch.int8)), 0.0)
        assert (leaf.least > 0) == holds
    # With a point, the program's value: -1 - (x - 1) at x = 3.
    assert -3.0 - 1e-5 < leaf.least <= -3.0
    assert leaf.margin == pytest.approx(-3.0, abs=1e-5)


# Estimators ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.4)])
def test_a_small_network_ends_on_what_attacks_leave(fc, held_out, norm, epsilon):
    X, y = (part[:40] for part in held_out)
    threat = ThreatModel(epsilon, norm, (0, 1))
    by_lines = certified_correct(fc, X, y, threat, "alpha-crown")
    complete = certified_correct(fc, X, y, threat, "complete")
    attacked = fc.predict(fc.perturb(X, y, epsilon=epsilon, norm=norm, attack="strong")) == y
    assert (by_lines <= complete).all()
    assert by_lines.sum() < complete.sum()
    assert (complete == attacked).all()


def test_pooling_and_batch_norm_are_searched_soundly(cnn, held_out):
    X, y = (part[:8] for part in held_out)
    threat = ThreatModel(0.05, clip_values=(0, 1))
    by_lines = certified_correct(cnn, X, y, threat, "alpha-crown")
    complete = certified_correct(cnn, X, y, threat, BranchAndBound(40))
    attacked = cnn.predict(cnn.perturb(X, y, epsilon=0.05)) == y
    assert (by_lines <= complete).all()
    assert (complete <= attacked).all()


def test_networks_without_rectifiers_are_what_alpha_crown_says():
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    X = normal(20, 3)
    y = module(X).argmax(1)
    found = [
        certified_network(module, X, y, ThreatModel(0.2), method)
        for method in ("alpha-crown", "complete")
    ]
    assert (found[0] == found[1]).all()


# Budgets -------------------------------------------------------------------------------------


def test_budgets_give_more_the_larger_they_are_and_the_same_again(fc, held_out):
    X, y = (part[:40] for part in held_out)
    threat = ThreatModel(0.12, clip_values=(0, 1))
    by_lines = certified_correct(fc, X, y, threat, "alpha-crown")
    budgets = [
        BranchAndBound(0),
        BranchAndBound(2000, 1e-9),
        BranchAndBound(8),
        BranchAndBound(400),
    ]
    found = [certified_correct(fc, X, y, threat, budget) for budget in budgets]
    assert (found[0] == found[1]).all()
    for less, more in itertools.pairwise([by_lines, found[0], found[2], found[3]]):
        assert (less <= more).all()
    assert found[0].sum() < found[2].sum() < found[3].sum()
    again = certified_correct(fc, X, y, threat, budgets[2])
    alone = [
        certified_correct(fc, X[i : i + 1], y[i : i + 1], threat, budgets[2]) for i in range(5)
    ]
    assert (again == found[2]).all()
    assert (np.concatenate(alone) == found[2][:5]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"max_nodes": -1}, "max_nodes must be an integer >= 0, got -1."),
     ({"max_seconds": 0}, "max_seconds must be a finite number > 0, got 0.")],
)  # fmt: skip
def test_wrong_budgets_are_refused(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        BranchAndBound(**wrong)


def test_scores_and_reports_take_the_method_and_name_its_budget(fc, held_out):
    X, y = (part[:30] for part in held_out)
    search = BranchAndBound(50, 60.0)
    score = certified_score(fc, X, y, epsilon=0.06, method=search)
    report = evaluate_robustness(fc, X, y, [0.06], method=search, diagnostics=False)
    assert report.radii[0].certified == score
    assert report.certificate == "complete (50 nodes, 60 s)"
    with pytest.raises(ValueError, match=r"method must be one of .*'complete', got 'milp'"):
        certified_score(fc, X, y, method="milp")


# Rounding ------------------------------------------------------------------------------------


def test_a_proof_holds_for_predictions_in_float32_at_the_largest_radius_that_has_one():
    """There the least margin is within rounding; `predict` is asked at the worst points known."""
    module = relu_network((3, 8, 6, 3), 0).float()
    x = normal(1, 3, seed=0)
    y = module(x.float()).argmax(1)
    spacing = torch.finfo(torch.float32).eps

    def proven(epsilon):
        return bool(
            certified_network(module, x, y, ThreatModel(epsilon), ENOUGH, spacing=spacing)[0]
        )

    low, high = 0.0, 4.0
    assert not proven(high)
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if proven(middle) else (low, middle)
    assert low > 0.01
    corners = torch.cartesian_prod(*[torch.linspace(-1, 1, 41, dtype=DOUBLE)] * 3)
    points = x + low * corners
    worst = margins_of(module.double(), points[None], y)[0].argsort()[:2000]
    assert (module.float()(points[worst].float()).argmax(1) == y).all()
    # And the radius is the true one, up to what the grid and rounding leave.
    wider = x + 1.05 * low * corners
    assert margins_of(module.double(), wider[None], y).min() < 0
