"""Each training objective against its formula, written a second time in plain torch."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional

from sklearn_robust import RobustFCClassifier, RobustNeuralNetClassifier
from sklearn_robust.attacks import PGD, ThreatModel
from sklearn_robust.bounds import UnsupportedLayerError, margin_bounds
from sklearn_robust.bounds._enclosure import Enclosure
from sklearn_robust.bounds._regions import make_region
from sklearn_robust.metrics import certified_score
from sklearn_robust.neural_network import (
    MART,
    TRADES,
    AdversarialCrossEntropy,
    AdversarialWeightPerturbation,
    CrownIntervalTraining,
    FastAdversarial,
    FreeAdversarial,
    IntervalTraining,
    MixedIntervalTraining,
    SmallBoxTraining,
    TrainingContext,
    interval_initialize,
)
from sklearn_robust.neural_network.objectives import OBJECTIVES
from sklearn_robust.neural_network.objectives._trades import DivergenceFrom

EPSILON = 0.1
# Sums of a few hundred products in float64, in another order.
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture
def net():
    """Return a small ReLU network in float64."""
    module = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(),
                           nn.Linear(6, 4)).double()  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0, 0.5, generator=generator)
    return module


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    X = torch.rand(16, 8, generator=generator, dtype=torch.float64)
    return X, torch.randint(4, (16,), generator=generator)


def context(epsilon=EPSILON, share=1.0, weight=None, clip_values=(0, 1), norm="linf"):
    threat = ThreatModel(epsilon, norm, clip_values)
    return TrainingContext(threat, torch.Generator().manual_seed(2), share, weight)


def plain_intervals(module, low, high):
    """Return the boxes before each ReLU and the output's, by the textbook rule."""
    boxes = []
    for layer in module:
        if isinstance(layer, nn.Linear):
            up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
            low, high = (
                low @ up.T + high @ down.T + layer.bias,
                high @ up.T + low @ down.T + layer.bias,
            )
        else:
            boxes.append((low, high))
            low, high = low.relu(), high.relu()
    return boxes, low, high


def plain_worst_logits(module, y, low, high):
    """Return upper bounds of ``f_j - f_y``: the last layer on differences of its rows."""
    last = module[-1]
    _, low, high = plain_intervals(module[:-1], low, high)
    weight = last.weight[None] - last.weight[y][:, None]
    bias = last.bias[None] - last.bias[y][:, None]
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    return (up @ high[..., None] + down @ low[..., None])[..., 0] + bias


def ball(X, epsilon=EPSILON):
    return (X - epsilon).clip(0, 1), (X + epsilon).clip(0, 1)


def sample_losses(logits, y):
    return functional.cross_entropy(logits, y, reduction="none")


# By attack -------------------------------------------------------------------------------------


def test_pgd_is_cross_entropy_at_the_attacked_points(net, batch):
    X, y = batch
    objective = AdversarialCrossEntropy(PGD(4, 0.04, random_start=False, only_correct=False))
    result = objective.loss(net, X, y, context())
    low, high = ball(X)
    X_adv = X.clone()
    for _ in range(4):
        X_adv.requires_grad_()
        (g,) = torch.autograd.grad(sample_losses(net(X_adv), y).sum(), X_adv)
        X_adv = (X_adv.detach() + 0.04 * g.sign()).clamp(low, high)
    torch.testing.assert_close(result.losses, sample_losses(net(X_adv), y), **CLOSE)
    torch.testing.assert_close(result.clean_logits, net(X), **CLOSE)


def test_a_larger_radius_in_training_leaves_validation_at_epsilon(net, batch):
    X, y = batch
    wider = AdversarialCrossEntropy(PGD(3), epsilon_factor=1.5)
    trained = wider.loss(net, X, y, context()).logits
    expected = AdversarialCrossEntropy(PGD(3)).loss(net, X, y, context(1.5 * EPSILON)).logits
    torch.testing.assert_close(trained, expected, **CLOSE)
    validated = wider.validation_loss(net, X, y, context()).logits
    expected = AdversarialCrossEntropy(PGD(3)).loss(net, X, y, context()).logits
    assert torch.equal(validated, expected)
    with pytest.raises(ValueError, match="epsilon_factor must be a finite number > 0, got 0"):
        AdversarialCrossEntropy(epsilon_factor=0)


def test_trades_is_cross_entropy_plus_beta_times_divergence(net, batch):
    X, y = batch
    objective = TRADES(beta=3.0, attack=PGD(3))
    result = objective.loss(net, X, y, context())
    X_adv, _ = objective.find(net, X, y, context())
    p, q = net(X).softmax(1), net(X_adv).softmax(1)
    expected = -p[range(16), y].log() + 3.0 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(result.losses, expected, **CLOSE)
    # Both terms send gradients through the clean logits, as in the authors' own code.
    got = torch.autograd.grad(result.losses.sum(), list(net.parameters()))
    for a, b in zip(got, torch.autograd.grad(expected.sum(), list(net.parameters())), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def test_the_attack_of_trades_climbs_the_divergence(net, batch):
    X, y = batch
    reference, logits = net(X).detach(), net(X + 0.1).detach().requires_grad_()
    p = reference.softmax(1)
    value = (p * (p.log() - logits.log_softmax(1))).sum(1)
    (slope,) = torch.autograd.grad(value.sum(), logits)
    loss = DivergenceFrom(reference)
    torch.testing.assert_close(loss.value(logits, y), value, **CLOSE)
    torch.testing.assert_close(loss.direction(logits, y), slope, **CLOSE)
    found, _ = TRADES(attack=PGD(10)).find(net, X, y, context())
    low, high = ball(X)
    random = low + (high - low) * torch.rand(X.shape, generator=torch.Generator().manual_seed(3),
                                             dtype=X.dtype)  # fmt: skip
    assert (loss.value(net(found), y) > loss.value(net(random), y)).double().mean() > 0.9


def test_mart_is_boosted_cross_entropy_plus_doubted_divergence(net, batch):
    X, y = batch
    objective = MART(weight=2.0, attack=PGD(3))
    result = objective.loss(net, X, y, context())
    X_adv, _ = objective.find(net, X, y, context())
    p, q = net(X).softmax(1), net(X_adv).softmax(1)
    rival = q.masked_fill(functional.one_hot(y, 4).bool(), 0).amax(1)
    expected = -q[range(16), y].log() - (1 - rival).log()
    expected = expected + 2.0 * (1 - p[range(16), y]) * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(result.losses, expected, **CLOSE)


def test_mart_stays_finite_for_confident_mistakes():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    result = MART().losses_at(nn.Identity(), logits, logits, torch.tensor([1]), logits.detach())
    result.losses.sum().backward()
    assert result.losses.isfinite().all() and logits.grad.isfinite().all()
    # -log p_y = 400 and -log(1 - p_0) = 200; the divergence is 0.
    torch.testing.assert_close(result.losses, torch.tensor([600.0]))


def test_fast_training_is_one_step_from_a_random_start(net, batch):
    X, y = batch
    result = FastAdversarial(step=1.25).loss(net, X, y, context())
    start = context().threat.around(X).sample(torch.Generator().manual_seed(2)).requires_grad_()
    (g,) = torch.autograd.grad(sample_losses(net(start), y).sum(), start)
    X_adv = (start.detach() + 1.25 * EPSILON * g.sign()).clamp(*ball(X))
    torch.testing.assert_close(result.losses, sample_losses(net(X_adv), y), **CLOSE)
    assert result.clean_logits is None


def test_free_training_is_the_published_loop(net, batch):
    X, y = batch
    twin, objective = copy.deepcopy(net), FreeAdversarial(replays=3)
    objective.begin()
    surroundings = context()
    parts = [slice(0, 10), slice(10, 16)]  # the second batch is shorter, and goes on with delta
    for part in parts:
        for _ in range(3):
            objective.loss(net, X[part], y[part], surroundings).losses.mean().backward()
            objective.after_backward(net)
            _sgd(net)
    delta = context().threat.around(X[:10]).sample(torch.Generator().manual_seed(2)) - X[:10]
    for part in parts:
        n = len(X[part])
        for _ in range(3):
            low, high = ball(X[part])
            X_adv = (X[part] + delta[:n]).clamp(low, high).requires_grad_()
            sample_losses(twin(X_adv), y[part]).mean().backward()
            moved = (X_adv.detach() + EPSILON * X_adv.grad.sign()).clamp(low, high)
            delta[:n] = moved - X[part]
            _sgd(twin)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def _sgd(module, lr=0.1):
    with torch.no_grad():
        for p in module.parameters():
            p -= lr * p.grad
            p.grad = None


def test_weight_perturbation_takes_the_gradient_at_the_worse_weights(net, batch):
    X, y = batch
    weight = torch.linspace(0.5, 1.5, 16, dtype=torch.float64)
    inner = AdversarialCrossEntropy(PGD(3))
    objective = AdversarialWeightPerturbation(inner, gamma=0.02)
    before = copy.deepcopy(net.state_dict())
    result = objective.loss(net, X, y, context(weight=weight))
    (result.losses * weight).mean().backward()
    objective.after_backward(net)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    twin = copy.deepcopy(net)
    X_adv, _ = inner.find(twin, X, y, context())
    twin.zero_grad()
    (sample_losses(twin(X_adv), y) * weight).mean().backward()
    with torch.no_grad():
        for p in twin.parameters():
            if p.ndim > 1:
                p += 0.02 * p.norm() * p.grad / p.grad.norm()
    twin.zero_grad()
    (sample_losses(twin(X_adv), y) * weight).mean().backward()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **CLOSE)


def test_weight_perturbation_attacks_within_the_objectives_radius(net, batch):
    X, y = batch

    def logits(epsilon, epsilon_factor=1.0):
        inner = AdversarialCrossEntropy(PGD(3), epsilon_factor=epsilon_factor)
        objective = AdversarialWeightPerturbation(inner)
        return objective.loss(copy.deepcopy(net), X, y, context(epsilon)).logits

    assert torch.equal(logits(EPSILON, epsilon_factor=2.0), logits(2 * EPSILON))
    assert not torch.equal(logits(EPSILON, epsilon_factor=2.0), logits(EPSILON))


def test_weight_perturbation_leaves_weights_alone_that_are_not_used(batch):
    X, y = batch
    net = nn.Linear(8, 4).double()
    net.spare = nn.Linear(3, 3).double()
    AdversarialWeightPerturbation().loss(net, X, y, context()).losses.mean().backward()
    assert net.spare.weight.grad is None


def test_weight_perturbation_passes_on_its_objectives_state():
    class Counting(AdversarialCrossEntropy):
        def state(self):
            return {"count": 3}

        def restore(self, state):
            self.count = state["count"]

    objective = AdversarialWeightPerturbation(Counting())
    objective.restore(objective.state())
    assert objective.objective.count == 3


def test_weight_perturbation_updates_batch_norm_once_per_batch(batch):
    X, y = batch
    norm = nn.BatchNorm1d(8).double()
    net = nn.Sequential(norm, nn.Linear(8, 4).double())
    objective = AdversarialWeightPerturbation(AdversarialCrossEntropy(PGD(2)))
    objective.loss(net, X, y, context())
    assert int(norm.num_batches_tracked) == 1


# By bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [0.4, 0.0])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_interval_training_mixes_clean_and_worst_logits(net, batch, share, end):
    X, y = batch
    objective = IntervalTraining(kappa=end, epsilon_factor=1.5, regularization=0)
    result = objective.loss(net, X, y, context(share=share))
    worst = plain_worst_logits(net, y, *ball(X, 1.5 * EPSILON))
    kappa = 1 - (1 - end) * share
    expected = kappa * sample_losses(net(X), y) + (1 - kappa) * sample_losses(worst, y)
    torch.testing.assert_close(result.losses, expected, **CLOSE)
    torch.testing.assert_close(result.logits, worst, **CLOSE)
    torch.testing.assert_close(result.clean_logits, net(X).detach(), **CLOSE)
    assert result.penalty is None


def test_margins_of_more_than_one_layer_behind_the_activations(net, batch):
    X, y = batch
    net = nn.Sequential(*net, nn.BatchNorm1d(4).double()).eval()
    with torch.no_grad():
        net[-1].running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(3))
    merged = copy.deepcopy(net)[:-1]
    scale = (net[-1].running_var + net[-1].eps).rsqrt()
    with torch.no_grad():
        merged[-1].weight.mul_(scale[:, None])
        merged[-1].bias.mul_(scale)
    objective = IntervalTraining(regularization=0)
    two, one = (objective.loss(m, X, y, context()).logits for m in (net, merged))
    torch.testing.assert_close(two, one, **CLOSE)


def test_regularizer_holds_boxes_tight_and_units_balanced(net, batch):
    X, y = batch
    low, high = ball(X)
    boxes = [(a.detach(), b.detach()) for a, b in plain_intervals(net, low, high)[0]]
    terms = []
    for a, b in boxes:
        centre, tau = (a + b) / 2, 0.5
        term = max(0.0, tau - float((high - low).mean() / (b - a).mean()))
        spread = (centre - centre.mean()) ** 2
        for above, below in (
            (centre[a > 0].sum(), -centre[b < 0].sum()),
            (spread[a > 0].sum(), spread[b < 0].sum()),
        ):
            ratio = float(above / below)
            term += max(0.0, tau - min(ratio, 1 / ratio))
        terms.append(term / tau)
    result = IntervalTraining(regularization=0.8).loss(net, X, y, context(share=0.25))
    assert sum(terms) > 0
    assert float(result.penalty.detach()) == pytest.approx(0.8 * 0.75 * np.mean(terms), rel=1e-9)
    assert IntervalTraining().loss(net, X, y, context(share=1.0)).penalty is None


def test_regularizer_and_its_gradient_are_finite_without_active_units(batch):
    X, y = batch
    net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4)).double()
    with torch.no_grad():
        net[0].weight.fill_(-1.0)
        net[0].bias.fill_(-1.0)
    result = IntervalTraining().loss(net, X, y, context(share=0.5))
    (result.losses.mean() + result.penalty).backward()
    assert result.penalty.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(("share", "beta"), [(0.25, 0.85), (1.0, 0.4)])
def test_crown_interval_training_mixes_the_two_bounds(net, batch, share, beta):
    X, y = batch
    objective = CrownIntervalTraining(kappa=0, regularization=0, beta=0.4)
    result = objective.loss(net, X, y, context(share=share))
    interval = -plain_worst_logits(net, y, *ball(X))
    # The public bound takes the better of the two; here the lines are always it.
    lines = margin_bounds(net, X, y, context().threat, "crown-ibp", rounding=False)
    pure = CrownIntervalTraining(kappa=0, regularization=0, beta=1.0)
    alone = -pure.loss(net, X, y, context()).logits
    torch.testing.assert_close(torch.maximum(alone, interval), lines, **CLOSE)
    expected = -(beta * alone + (1 - beta) * interval)
    torch.testing.assert_close(result.logits, expected, **CLOSE)


def test_small_boxes_stay_inside_the_ball_and_are_bounded_by_intervals(net, batch):
    X, y = batch
    attack = PGD(3, random_start=False)
    result = SmallBoxTraining(box=0.4, attack=attack).loss(net, X, y, context())
    inner = AdversarialCrossEntropy(attack).find(net, X, y, context(0.6 * EPSILON))[0]
    low, high = ball(inner, 0.4 * EPSILON)
    torch.testing.assert_close(result.logits, plain_worst_logits(net, y, low, high), **CLOSE)
    torch.testing.assert_close(result.losses, sample_losses(result.logits, y), **CLOSE)
    whole = SmallBoxTraining(box=1.0, attack=attack).loss(net, X, y, context()).logits
    torch.testing.assert_close(whole, plain_worst_logits(net, y, *ball(X)), **CLOSE)


def test_mixed_training_is_a_convex_combination(net, batch):
    X, y = batch
    attack = PGD(3, random_start=False)
    result = MixedIntervalTraining(alpha=0.3, attack=attack).loss(net, X, y, context())
    X_adv, _ = AdversarialCrossEntropy(attack).find(net, X, y, context())
    worst = plain_worst_logits(net, y, *ball(X))
    expected = 0.7 * sample_losses(net(X_adv), y) + 0.3 * sample_losses(worst, y)
    torch.testing.assert_close(result.losses, expected, **CLOSE)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_interval_training_knows_other_norms(net, batch, norm):
    X, y = batch
    objective = IntervalTraining(kappa=0, regularization=0)
    result = objective.loss(net, X, y, context(norm=norm))
    bounds = margin_bounds(net, X, y, context(norm=norm).threat, "ibp", rounding=False)
    torch.testing.assert_close(result.logits, -bounds, **CLOSE)


@pytest.mark.parametrize("epsilon", [0.2, [0.2, 0.0]], ids=str)
def test_linear_margins_have_a_gradient_where_nothing_moves_them(epsilon):
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    rows = [[0.0, 1.5], [0.0, 0.5], [0.0, 1.0]]  # no unit sees the first feature
    values = [torch.tensor(rows), torch.zeros(3), torch.arange(9.0).reshape(3, 3), torch.ones(3)]
    with torch.no_grad():
        for p, value in zip(module.parameters(), values, strict=True):
            p.copy_(value)
    X, y = torch.tensor([[1.0, -2.0], [1.0, 2.0]]).double(), torch.tensor([0, 1])
    region = make_region(X, ThreatModel(epsilon, "l2"), rounding=False)

    def loss():
        margins = Enclosure(module, X, y, region).margins(linear=True)
        return functional.cross_entropy(-margins, y)

    weight = module[2].weight
    (found,) = torch.autograd.grad(loss(), weight)
    expected, h = torch.zeros_like(weight), 1e-6
    with torch.no_grad():
        for place in np.ndindex(3, 3):
            for sign in (1, -1):
                weight[place] += sign * h
                expected[place] += sign * loss() / (2 * h)
                weight[place] -= sign * h
    # Central differences leave h^2 and rounding over h.
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("schedule", ["ramp", "constant"])
def test_crown_interval_training_runs_under_l2_without_a_box(digits, schedule):
    training = CrownIntervalTraining(beta=0.5)
    clf = small(training, norm="l2", clip_values=None, epsilon_schedule=schedule)
    assert clf.fit(digits[0][:300], digits[1][:300]).n_iter_ == 2


def test_interval_initialization_has_the_published_spread():
    net = nn.Sequential(nn.Conv2d(3, 200, 5), nn.ReLU(), nn.Flatten(), nn.Linear(400, 300))
    interval_initialize(net, torch.Generator().manual_seed(0))
    for layer, fan_in in ((net[0], 75), (net[3], 400)):
        n = layer.weight.numel()
        expected = math.sqrt(2 * math.pi) / fan_in
        # The deviation of n normal numbers is off by a share of 1 / sqrt(2 n); five of these.
        spread = float(layer.weight.detach().std())
        assert spread == pytest.approx(expected, rel=5 / math.sqrt(2 * n))
        assert not layer.bias.any()


# In the classifiers ----------------------------------------------------------------------------


def small(training, width=16, **kwargs):
    settings = {"epsilon": EPSILON, "clip_values": (0, 1), "max_epochs": 2, "pgd_steps": 2,
                "lr": 5e-3, "lr_schedule": "constant", "batch_size": 128, "input_ramp": None,
                "random_state": 0, **kwargs}  # fmt: skip
    return RobustFCClassifier((width,), training=training, **settings)


EVERY = [*OBJECTIVES, AdversarialWeightPerturbation(TRADES())]


@pytest.mark.parametrize("training", EVERY, ids=str)
def test_every_objective_is_reproducible_and_leaves_no_trace(digits, training):
    X, y = digits[0][:300], digits[1][:300]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (small(training, dropout=0.2).fit(X, y) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert not any(m.training for m in first.module_.modules())
    assert all(p.requires_grad for p in first.module_.parameters())
    assert all(p.grad is None or not p.grad.any() for p in first.module_.parameters())
    row = first.net_.history[-1]
    assert math.isfinite(row["train_loss"]) and 0 <= row["train_adversarial_accuracy"] <= 1


@pytest.mark.parametrize("training", EVERY, ids=str)
def test_every_objective_is_standard_training_at_epsilon_zero(digits, training):
    X, y = digits[0][:300], digits[1][:300]
    if training in ("ibp", "crown-ibp", "sabr", "mtl-ibp"):
        training = type(OBJECTIVES[training]())(initialization=False)
    replays = getattr(training, "replays", 8 if training == "free" else 1)
    standard = small("pgd", epsilon=0).fit(X, y)
    if replays > 1:
        training = FreeAdversarial(replays=1)
    clf = small(training, epsilon=0).fit(X, y)
    np.testing.assert_array_equal(clf.decision_function(X), standard.decision_function(X))


@pytest.mark.parametrize(
    ("training", "forwards", "backwards"),
    [
        # one step from a random start, and the update
        ("fgsm", [False, True], [False, True]),
        ("free", [True] * 8, [True] * 8),
        # the clean logits, four steps, and the update with clean and attacked samples
        ("trades", [False] * 5 + [True] * 2, [False] * 4 + [True] * 2),
        ("mart", [False] * 5 + [True] * 2, [False] * 4 + [True] * 2),
        (AdversarialWeightPerturbation(), [False] * 5 + [True] * 2, [False] * 4 + [True] * 2),
    ],
    ids=str,
)
def test_objectives_cost_the_passes_that_they_promise(digits, training, forwards, backwards):
    X, y, *_ = digits
    seen_forwards, seen_backwards = [], []

    class Counted(nn.Linear):
        def forward(self, X):
            if len(X) > 1:
                seen_forwards.append(self.training)
            out = super().forward(X)
            if out.requires_grad:
                out.register_hook(lambda grad: seen_backwards.append(self.weight.requires_grad))
            return out

    RobustNeuralNetClassifier(
        Counted(64, 10), training=training, epsilon=EPSILON, pgd_steps=4, max_epochs=1,
        batch_size=-1, epsilon_schedule="constant", random_state=0,
    ).fit(X, y)  # fmt: skip
    assert seen_forwards == [*forwards, False]  # after all, whether training has collapsed
    assert seen_backwards == backwards


@pytest.mark.parametrize(
    "training",
    [
        "mart",
        IntervalTraining(regularization=0),
        CrownIntervalTraining(regularization=0, beta=0.5),
        SmallBoxTraining(regularization=0),
        MixedIntervalTraining(regularization=0),
        AdversarialWeightPerturbation(MART()),
    ],
    ids=str,
)
def test_weights_act_like_repetition(digits, training):
    X, y = digits[0][:200], digits[1][:200]
    weight = np.random.default_rng(0).integers(0, 3, size=len(y))
    settings = {"batch_size": -1, "random_start": False, "dtype": "float64",
                "epsilon_schedule": lambda progress: 0.5, "max_epochs": 4}  # fmt: skip
    weighted = small(training, **settings).fit(X, y, sample_weight=weight)
    repeated = small(training, **settings)
    repeated.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    # Sums in another order differ by rounding, which Adam's early steps magnify.
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), atol=1e-8
    )


@pytest.mark.parametrize("training", ["fgsm", FreeAdversarial(2), "trades"], ids=str)
def test_weights_matter_in_mini_batches(training):
    # Without the weights the majority label of each point wins, with them the other one.
    X = np.array([[0.0]] * 3 + [[1.0]] * 4)
    y = np.array([0, 1, 1, 2, 2, 2, 1])
    weight = np.array([2, 0, 0, 0.1, 0.1, 0.1, 3])
    clf = small(training, epsilon=0.05, batch_size=2, max_epochs=60, lr=0.03)
    assert clf.fit(X, y, weight).predict([[0], [1]]).tolist() == [0, 1]
    assert clf.fit(X, y).predict([[0], [1]]).tolist() == [1, 2]


def test_interval_training_certifies_what_adversarial_training_cannot(digits):
    X, y, X_test, y_test = digits
    settings = {"max_epochs": 20, "pgd_steps": 5, "width": 64}
    by_attack = small("pgd", **settings).fit(X, y)
    by_bounds = small("ibp", **settings).fit(X, y)
    # Seen: 0.00 and 0.59.
    assert certified_score(by_attack, X_test, y_test, method="ibp") < 0.1
    certified = certified_score(by_bounds, X_test, y_test, method="ibp")
    attacked = by_bounds.robust_score(X_test, y_test, attack="pgd")
    assert 0.5 < certified <= attacked <= by_bounds.score(X_test, y_test)


@pytest.mark.parametrize("training", ["ibp", "mtl-ibp"])
def test_early_stopping_waits_for_the_full_epsilon(digits, training):
    X, y, X_test, y_test = digits
    settings = {"training": training, "epsilon": 0.1, "clip_values": (0, 1), "max_epochs": 30,
                "random_state": 0}  # fmt: skip
    plain = RobustFCClassifier((32,), **settings).fit(X, y)
    stopped = RobustFCClassifier((32,), early_stopping=True, n_iter_no_change=3, **settings)
    stopped.fit(X, y)
    assert stopped.n_iter_ > 9  # epsilon rises for nine epochs
    assert stopped.score(X_test, y_test) > plain.score(X_test, y_test) - 0.1


def test_validation_of_certified_training_is_the_certificate(digits):
    X, y, *_ = digits
    clf = small("ibp", early_stopping=True, max_epochs=8, width=64).fit(X, y)
    model, valid = clf._model(), clf._split(X, y, None)[1]
    held, labels = valid.X, valid.y
    bounds = margin_bounds(model.module, held, labels, clf._threat(), "ibp", rounding=False)
    bounds[range(len(labels)), labels] = np.inf
    best = max(clf.net_.history[:, "valid_adversarial_accuracy"])
    assert float((bounds > 0).all(1).double().mean()) == pytest.approx(best, abs=1e-6)


def test_catastrophic_overfitting_is_seen_said_and_mended(digits):
    X, y, *_ = digits
    # Any difference between one step and ten counts as failure at tolerance 0.
    strict = FastAdversarial(probe_every=5, tolerance=0.0, fallback_steps=3)
    clf = small(strict, max_epochs=4, epsilon=0.2)
    with pytest.warns(ConvergenceWarning, match=r"Catastrophic overfitting.*goes on with PGD-3"):
        clf.fit(X, y)
    row = clf.net_.history[-1]
    assert row["multi_step"] is True
    assert row["probe_single_step"] > row["probe_pgd"]
    assert not strict._multi_step  # the classifier works on a copy
    healthy = small("fgsm", max_epochs=4).fit(X, y)
    assert healthy.net_.history[:, "multi_step"] == [False] * 4
    assert healthy.net_.history[-1, "probe_pgd"] <= 1


@pytest.mark.parametrize("wrap", [lambda o: o, AdversarialWeightPerturbation], ids=["", "awp"])
def test_validation_of_trades_is_cross_entropy_under_its_attack(net, batch, wrap):
    X, y = batch
    attack = PGD(5)
    result = wrap(TRADES(attack=attack)).validation_loss(net, X, y, context())
    expected = AdversarialCrossEntropy(attack).loss(net, X, y, context())
    torch.testing.assert_close(result.losses, expected.losses, **CLOSE)
    wrong = net(X).argmax(1) != y  # which no attack makes right
    assert 0 < wrong.sum() < len(y)
    assert not (result.logits.argmax(1) == y)[wrong].any()


def test_validation_of_single_step_training_is_multi_step(net, batch):
    X, y = batch
    for objective in (FastAdversarial(), FreeAdversarial()):
        result = objective.validation_loss(net, X, y, context())
        expected = AdversarialCrossEntropy(PGD(10)).loss(net, X, y, context())
        torch.testing.assert_close(result.losses, expected.losses)


def test_an_objective_takes_the_classifiers_attack_unless_it_has_one():
    given = PGD(7)
    assert TRADES().bound_to(given).attack is given
    assert TRADES(attack=PGD(3)).bound_to(given).attack == PGD(3)
    assert AdversarialWeightPerturbation(MART()).bound_to(given).objective.attack is given


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TRADES(beta=-1), "beta must be a finite number >= 0, got -1"),
        (lambda: MART(weight=-1), "weight must be a finite number >= 0, got -1"),
        (lambda: FastAdversarial(probe_every=0), "probe_every must be an integer >= 1, got 0"),
        (lambda: FreeAdversarial(replays=0), "replays must be an integer >= 1, got 0"),
        (lambda: AdversarialWeightPerturbation(gamma=0), "gamma must be a finite number > 0"),
        (
            lambda: AdversarialWeightPerturbation(FastAdversarial()),
            "objective must find adversarial points first",
        ),
        (lambda: IntervalTraining(kappa=2), "kappa must be a finite number >= 0 and <= 1, got 2"),
        (lambda: CrownIntervalTraining(beta=2), "beta must be a finite number >= 0 and <= 1"),
        (lambda: SmallBoxTraining(box=0), "box must be a finite number > 0 and <= 1, got 0"),
        (lambda: MixedIntervalTraining(alpha=2), "alpha must be a finite number >= 0 and <= 1"),
    ],
)
def test_bad_objectives_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_does_not_suit_the_method_is_refused_before_training(digits):
    X, y, *_ = digits
    with pytest.raises(ValueError, match="training must be one of 'auto', 'pgd', 'fgsm'"):
        small("madry").fit(X, y)
    with pytest.raises(ValueError, match="training='sabr' needs norm='linf'"):
        small("sabr", norm="l2").fit(X, y)
    unknown = nn.Sequential(nn.Linear(64, 10), nn.Hardshrink())
    with pytest.raises(UnsupportedLayerError, match="There are no bounds for Hardshrink"):
        RobustNeuralNetClassifier(unknown, training="ibp").fit(X, y)
