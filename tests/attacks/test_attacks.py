"""What every attack promises: closed-form optima, ball and box, an untouched model, its price."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_robust._norms import NORMS
from sklearn_robust.attacks import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AttackEnsemble,
    DiversePGD,
    LinearModel,
    Margin,
    ScoreModel,
    Square,
    ThreatModel,
    TorchModel,
    _search,
)
from sklearn_robust.attacks._losses import is_right
from sklearn_robust.attacks._model import CountingModel

ATTACKS = {
    "fgsm": FGSM(),
    "pgd": PGD(10, keep="fooling"),
    "pgd-last": PGD(10, n_restarts=2),
    "pgd-momentum": PGD(10, momentum=0.9, keep="fooling"),
    "pgd-targeted": PGD(5, loss="dlr", n_targets=3, keep="fooling"),
    "apgd-ce": APGD(20),
    "apgd-dlr": APGD(20, "dlr", n_restarts=2),
    "apgd-targeted": APGD(10, "dlr", n_targets=3),
    "diverse": DiversePGD(10, n_restarts=2, n_start_steps=3),
    "fmn": FMN(20, n_targets=2),
    "square": Square(70),  # three of them are spent on the first guess, a tenth inside
}
NEED_GRADIENTS = [name for name in ATTACKS if name != "square"]
# A radius at which the standard net breaks often and the robust one sometimes.
RADIUS = {"linf": 0.1, "l2": 0.6, "l1": 2.5}


def _linear(seed=0, n=30, d=8, n_classes=2):
    """A linear model, and samples in [0, 1] that it gets right."""
    rng = np.random.default_rng(seed)
    W, X = rng.normal(size=(n_classes, d)), rng.uniform(size=(n, d))
    model = LinearModel(W, -W @ np.full(d, 0.5))
    return model, X, model.logits(X).argmax(1)


def _perturb(attack, model, X, y, threat, seed=0):
    x = model.asarray(X)
    generator = np.random.default_rng(seed)
    if torch.is_tensor(x):
        generator = torch.Generator(device=x.device).manual_seed(seed)
    return attack.perturb(model, x, model.labels(y), threat, generator)


def _broken(model, X_adv, y):
    return ~np.asarray(is_right(model.logits(X_adv), model.labels(y)))


LINEAR_PGD = {
    # Steps as long as the radius halve what is left across the gradient: 2^-60.
    "linf": (PGD(60, step_size=0.05, loss="margin"), 1e-9),
    "l2": (PGD(60, step_size=0.1, loss="margin"), 1e-9),
    # A step moves one feature and, between two, goes to and fro: 1 % of the radius.
    "l1": (PGD(400, step_size=0.002, loss="margin"), 0.01),
}


@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
def test_on_a_linear_model_the_optimum_of_ball_and_box_is_attained(name, norm, clip):
    attack, tolerance = {
        "fgsm": (FGSM(), 1e-12),
        "pgd": LINEAR_PGD[norm],
        # The step is halved until nothing moves; under l1 not below a tenth of the radius.
        "apgd": (APGD(200, "margin"), 1e-3 if norm != "l1" or clip is None else 0.1),
    }[name]
    model, X, y = _linear()
    radius = 0.05 * {"linf": 1, "l2": 2, "l1": 4}[norm]
    threat = ThreatModel(radius, norm, clip)
    w = model.coef[1 - y] - model.coef[y]
    best = (threat.around(X).furthest(w) - X) * w
    if clip is None:
        # The optimum itself is the dual norm.
        np.testing.assert_allclose(best.sum(1), radius * NORMS[norm].dual_length(w), rtol=1e-12)
    # Samples broken on the way may stop there; the others must arrive.
    X_adv = _perturb(attack, model, X, y, threat)
    gain, right = ((X_adv - X) * w).sum(1), ~_broken(model, X_adv, y)
    assert right.sum() > 10
    np.testing.assert_allclose(gain[right], best.sum(1)[right], rtol=tolerance)


@pytest.mark.parametrize("name", ATTACKS)
def test_on_a_linear_model_breakable_samples_are_broken_under_every_norm(name):
    model, X, y = _linear(n=40)
    for norm, radius in {"linf": 0.1, "l2": 0.3, "l1": 0.5}.items():
        threat = ThreatModel(radius, norm, (0, 1))
        w = model.coef[1 - y] - model.coef[y]
        margin = (threat.around(X).furthest(w) * w).sum(1) + (w * -0.5).sum(1)
        # Random search needs some slack, and so do a handful of steps.
        clearly = margin > 0.3 * abs(margin).max()
        X_adv = _perturb(ATTACKS[name], model, X, y, threat)
        assert clearly.sum() >= 5
        assert _broken(model, X_adv, y)[clearly].all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ATTACKS)
def test_points_stay_in_ball_and_box_with_a_radius_per_feature(name, norm, robust_model, samples):
    X, y = samples[0][:40], samples[1][:40]
    epsilon = np.linspace(0, 2 * RADIUS[norm], 64)
    threat = ThreatModel(epsilon, norm, (0, 1))
    X_adv = _perturb(ATTACKS[name], robust_model, X, y, threat)
    assert threat.contains(X_adv, X).all()
    assert X_adv.min() >= 0
    assert X_adv.max() <= 1
    # The adversary cannot touch the first feature.
    assert (X_adv.numpy()[:, 0] == X[:, 0]).all()
    assert (X_adv.numpy() != X).any()


@pytest.mark.parametrize("name", ATTACKS)
def test_any_data_range_two_classes_and_tabular_rows(name):
    model, X, y = _linear(n=40, d=5)
    # The same problem in other units, box included: x' = 305 x - 5.
    other = LinearModel(model.coef / 305, model.intercept + 5 * model.coef.sum(1) / 305)
    threat = ThreatModel(0.15 * 305, "linf", (-5, 300))
    X_adv = _perturb(ATTACKS[name], other, 305 * X - 5, y, threat)
    assert threat.contains(X_adv, 305 * X - 5).all()
    broken = _broken(other, X_adv, y)
    reference = _broken(model, _perturb(FGSM(), model, X, y, ThreatModel(0.15, "linf", (0, 1))), y)
    assert reference.sum() > 10
    # FGSM is exact here; random search may miss a sample that only just breaks.
    assert broken.sum() >= reference.sum() - (name == "square") * 2


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_at_least_as_strong_as_fgsm(name, samples, model):
    X, y = samples
    threat = ThreatModel(0.1, "linf", (0, 1))
    fgsm = _broken(model, _perturb(FGSM(), model, X, y, threat), y).sum()
    attack = Square(500) if name == "square" else ATTACKS[name]
    broken = _broken(model, _perturb(attack, model, X, y, threat), y).sum()
    # A search passes by single points on its way, FGSM's too: one sample in a hundred.
    assert broken >= fgsm - 0.01 * len(y)


@pytest.mark.parametrize("norm", NORMS)
def test_apgd_breaks_as_many_as_pgd_with_as_many_steps(norm, samples, model):
    X, y = samples
    threat = ThreatModel(RADIUS[norm], norm, (0, 1))
    pgd, apgd = (
        _broken(model, _perturb(attack, model, X, y, threat), y).sum()
        for attack in (PGD(30, keep="fooling"), APGD(30))
    )
    # Both are heuristics; on single samples PGD may be luckier.
    assert apgd >= pgd - 1


@pytest.mark.parametrize("name", ATTACKS)
def test_same_seed_same_bits_and_the_seed_matters(name, samples, robust_model):
    X, y = samples[0][:30], samples[1][:30]
    threat = ThreatModel(0.1, "linf", (0, 1))
    first, again, other = (
        _perturb(ATTACKS[name], robust_model, X, y, threat, seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in ("fgsm", "fmn"))


@pytest.mark.parametrize("name", ATTACKS)
def test_misclassified_samples_are_left_alone(name, samples, robust_model):
    X, y = samples[0][:30], samples[1][:30].copy()
    y[::2] = (robust_model.logits(robust_model.asarray(X)).argmax(1).numpy()[::2] + 1) % 10
    X_adv = _perturb(ATTACKS[name], robust_model, X, y, ThreatModel(0.1)).numpy()
    assert (X_adv[::2] == X[::2]).all()
    assert (X_adv[1::2] != X[1::2]).any()


@pytest.mark.parametrize("only_correct", [True, False])
def test_on_a_device_the_same_samples_change_in_the_same_way(
    only_correct, samples, robust_model, monkeypatch
):
    X, y = samples
    y = np.where(np.arange(len(y)) % 3 == 0, (y + 1) % 10, y)  # many are wrong from the start
    attack = PGD(5, random_start=False, only_correct=only_correct)
    expected = _perturb(attack, robust_model, X, y, ThreatModel(0.1))
    monkeypatch.setattr(_search, "works_ahead", lambda x: True)
    found = _perturb(attack, robust_model, X, y, ThreatModel(0.1))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # batches of two sizes
    assert (found == X).all(axis=1).any() == only_correct


@pytest.mark.parametrize("name", ATTACKS)
def test_epsilon_zero_and_no_samples_give_the_input_back(name, samples, robust_model):
    X, y = samples[0][:3], samples[1][:3]
    assert (_perturb(ATTACKS[name], robust_model, X, y, ThreatModel(0.0)).numpy() == X).all()
    assert _perturb(ATTACKS[name], robust_model, X[:0], y[:0], ThreatModel(0.1)).shape == (0, 64)


@pytest.mark.parametrize("name", ATTACKS)
def test_inputs_model_and_global_randomness_are_as_they_were(name):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3)
    )
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    torch.set_rng_state(torch_state)  # making layers draws; what follows must not
    module.train()
    module[1].eval()  # a batch norm frozen by its user
    module[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    model = TorchModel(module, 3)
    X = torch.rand((20, 6), generator=generator)
    kept, y = X.clone(), model.logits(X).argmax(1)
    X_adv = _perturb(ATTACKS[name], model, X, y, ThreatModel(0.3))
    assert not torch.equal(X_adv, X)
    assert torch.equal(X, kept)
    assert not X_adv.requires_grad
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert [m.training for m in module] == [True, False, True, True, True]
    assert [p.requires_grad for p in module.parameters()] == [False, *[True] * 5]
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def _count_passes(attack, samples, model):
    """Return forward passes and gradients with respect to the input, as hooks see them."""
    counts = {"forward": 0, "backward": 0, "weight": 0}
    first = next(m for m in model.module.modules() if isinstance(m, nn.Linear))

    def forward(module, inputs, output):
        counts["forward"] += 1
        if output.requires_grad:
            output.register_hook(lambda g: counts.__setitem__("backward", counts["backward"] + 1))
            counts["weight"] += module.weight.requires_grad

    handle = first.register_forward_hook(forward)
    try:
        # A radius so small that nothing breaks and nothing ends early.
        _perturb(attack, model, *samples, ThreatModel(1e-6))
    finally:
        handle.remove()
    return counts


@pytest.mark.parametrize(
    ("attack", "forwards", "gradients"),
    [
        # One forward pass more tells which samples are right at all.
        (FGSM(), 1 + 1, 1),
        (PGD(7), 1 + 7, 7),
        (PGD(7, only_correct=False), 7, 7),
        (PGD(7, keep="fooling"), 1 + 7, 7),
        # Between restarts one pass each tells which samples are left.
        (PGD(7, n_restarts=3), 1 + 21 + 2, 21),
        (APGD(9), 1 + 9 + 1, 9),
        (APGD(9, "dlr", n_targets=2), 1 + 20 + 1, 18),
        # The steps, and what the last one led to.
        (DiversePGD(6, n_restarts=1, n_start_steps=2), 1 + 8 + 1, 8),
        (Square(12), 1 + 12, 0),
    ],
    ids=repr,
)
def test_the_price_is_as_documented(attack, forwards, gradients, samples, robust_model):
    counts = _count_passes(attack, samples, robust_model)
    assert counts == {"forward": forwards, "backward": gradients, "weight": 0}


def test_keeping_what_fools_ends_once_every_sample_is_fooled():
    model, X, y = _linear(n_classes=3)
    counting = CountingModel(model)
    # The first start may be right still; a step as long as the radius is at the optimum then.
    attack = PGD(50, step_size=1e3, keep="fooling", only_correct=False)
    X_adv = _perturb(attack, counting, X, y, ThreatModel(1e3))
    assert _broken(model, X_adv, y).all()
    assert counting.n_gradients <= 3 * len(X)


class _Rectified(nn.Module):
    """Class 1 wins where the features together exceed 0.28 by more than 0.2."""

    def __init__(self, rectify):
        super().__init__()
        self.rectify = rectify

    def forward(self, X):
        hot = self.rectify(X - 0.28).sum(1)
        return torch.stack((0.2 + 0 * hot, hot), dim=1)


RECTIFIERS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": nn.functional.relu,
    "method": torch.Tensor.relu,
    "method in place": torch.Tensor.relu_,
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_leak_changes_the_gradient_of_rectifiers_and_nothing_else(name):
    model = TorchModel(_Rectified(RECTIFIERS[name]), 2)
    X, y = torch.tensor([[0.1, 0.5, 0.28, -1.0]]), torch.tensor([0])
    logits, plain = model.ascent(X, y, Margin())
    leaky_logits, leaky = model.ascent(X, y, Margin(), leak=0.01)
    assert torch.equal(leaky_logits, logits)
    torch.testing.assert_close(plain, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(leaky, torch.tensor([[0.01, 1.0, 0.01, 0.01]]))
    assert torch.equal(model.logits(X), logits)


CEILINGS = {
    "module": nn.Hardtanh(0, 6),
    "module in place": nn.Hardtanh(0, 6, inplace=True),
    "function": lambda z: nn.functional.hardtanh(z, 0, 6),
    "relu6": nn.ReLU6(),
    "relu6 in place": nn.ReLU6(inplace=True),
    "relu6 function": nn.functional.relu6,
}


@pytest.mark.parametrize("name", CEILINGS)
def test_a_leak_leads_back_from_a_ceiling_too(name):
    model = TorchModel(_Rectified(CEILINGS[name]), 2)
    X, y = torch.tensor([[0.1, 0.5, 6.4, 9.0]]), torch.tensor([0])
    logits, plain = model.ascent(X, y, Margin())
    leaky_logits, leaky = model.ascent(X, y, Margin(), leak=0.01)
    assert torch.equal(leaky_logits, logits)
    torch.testing.assert_close(plain, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(leaky, torch.tensor([[0.01, 1.0, 0.01, 0.01]]))


@pytest.mark.parametrize(
    ("leaky", "plain"),
    [
        (DiversePGD(10, 2, 1), DiversePGD(10, 2, 1, leaks=(0.0,))),
        (APGD(10, leak=0.01), APGD(10)),
        # It starts far outside the ball, from which it comes in by a twentieth per step at most.
        (FMN(100), FMN(100, leak=0.0)),
    ],
    ids=["diverse", "apgd", "fmn"],
)
def test_a_leak_finds_what_dead_units_hide(leaky, plain):
    """Twenty features must all rise to the last fifteenth of the ball; next to all units are off.

    A random start switches on one feature in thirty, and the plain gradient moves those alone.
    """
    model = TorchModel(_Rectified(nn.ReLU()), 2)
    X, y, threat = torch.zeros(30, 20), torch.zeros(30, dtype=torch.long), ThreatModel(0.3)
    assert not _broken(model, _perturb(plain, model, X, y, threat), y).any()
    assert _broken(model, _perturb(leaky, model, X, y, threat), y).all()


def test_square_does_not_take_a_tie_that_is_right_for_a_mistake():
    """Scores of trees and neighbours tie often; the first of the largest is the prediction."""
    edges = np.array([0.0, 0.4])

    def scores(X):
        level = np.searchsorted(edges, X[:, 0])  # 0, 1, 2: right, tied, wrong
        return np.stack((2.0 - level, level + 0.0), axis=1)

    model, X = ScoreModel(scores, 2), np.full((10, 1), -0.1)
    y = np.zeros(10, dtype=int)
    tied, wrong = (
        _broken(model, _perturb(Square(30), model, X, y, ThreatModel(radius)), y)
        for radius in (0.3, 0.6)
    )
    assert not tied.any()
    assert wrong.all()


def test_restarts_and_targets_never_give_back_what_was_broken(samples, model):
    X, y = samples
    threat = ThreatModel(0.1, "linf", (0, 1))
    for make in (
        lambda n: PGD(5, n_restarts=n),
        lambda n: APGD(5, n_restarts=n),
        lambda n: DiversePGD(5, n_restarts=n),
        lambda n: APGD(5, "dlr", n_targets=n),
    ):
        one, four = (_broken(model, _perturb(make(n), model, X, y, threat), y) for n in (1, 4))
        # The first run draws the same numbers in both.
        assert (four >= one).all()
        assert four.sum() >= 5


def test_an_ensemble_breaks_whatever_one_of_its_attacks_breaks_first(samples, robust_model):
    X, y = samples
    threat = ThreatModel(0.1, "linf", (0, 1))
    alone = _broken(robust_model, _perturb(FGSM(), robust_model, X, y, threat), y)
    both = AttackEnsemble([FGSM(), APGD(20)])
    together = _broken(robust_model, _perturb(both, robust_model, X, y, threat), y)
    assert (together >= alone).all()
    assert together.sum() > alone.sum()


def test_all_targets_are_used_where_there_are_fewer_than_asked_for():
    model, X, y = _linear(n_classes=3)
    threat = ThreatModel(0.2)
    few, many = (_perturb(APGD(5, "margin", n_targets=n), model, X, y, threat) for n in (2, 9))
    np.testing.assert_array_equal(few, many)


def test_an_attack_aimed_at_a_class_leads_there():
    rng = np.random.default_rng(0)
    model = LinearModel(rng.normal(size=(4, 20)), np.zeros(4))
    X = rng.normal(size=(50, 20))
    logits = model.logits(X)
    y, second = np.argsort(-logits, axis=1)[:, :2].T
    # PGD goes on to its last step, past the first mistake of any kind.
    X_adv = _perturb(PGD(30, loss="margin", n_targets=1), model, X, y, ThreatModel(1.0))
    # The rival that was likeliest on the clean sample has overtaken the label in all of them.
    after, each = model.logits(X_adv), np.arange(50)
    assert (after[each, second] > after[each, y]).all()


@pytest.mark.parametrize("name", NEED_GRADIENTS)
def test_an_attack_with_gradients_refuses_a_model_without(name):
    model, X, y = _linear()
    scores = ScoreModel(model.logits, 2)
    with pytest.raises(ValueError, match=r"needs gradients .* ScoreModel does not give"):
        _perturb(ATTACKS[name], scores, X, y, ThreatModel(0.1))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_single_class_is_refused(name):
    model = LinearModel(np.ones((1, 3)), np.zeros(1))
    with pytest.raises(ValueError, match=r"at least 2 classes, got n_classes=1"):
        _perturb(ATTACKS[name], model, np.ones((2, 3)), np.zeros(2, dtype=int), ThreatModel(0.1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(0), "n_steps must be an integer >= 1, got 0"),
        (lambda: PGD(step_size=-0.1), "step_size must be a finite number >= 0, got -0.1"),
        (lambda: PGD(step_size=np.inf), "step_size must be a finite number >= 0, got inf"),
        (lambda: PGD(step_size=0.0), "step_size must be None or > 0, got 0.0"),
        (lambda: PGD(momentum=1.5), "momentum must be a finite number >= 0 and <= 1, got 1.5"),
        (lambda: PGD(n_restarts=2, random_start=False), "needs random_start=True"),
        (lambda: PGD(keep="best"), "keep must be one of 'last', 'fooling', got 'best'"),
        (lambda: APGD(n_targets=-1), "n_targets must be an integer >= 0, got -1"),
        (lambda: APGD(n_restarts=0), "n_restarts must be an integer >= 1, got 0"),
        (lambda: DiversePGD(n_start_steps=-1), "n_start_steps must be an integer >= 0, got -1"),
        (lambda: DiversePGD(leaks=()), r"leaks must hold at least one slope, got none"),
        (lambda: DiversePGD(leaks=(0.1, 2)), "leaks must be a finite number >= 0 and <= 1, got 2"),
        (lambda: APGD(leak=-0.1), "leak must be a finite number >= 0 and <= 1, got -0.1"),
        (lambda: FMN(leak=None), "leak must be a finite number >= 0 and <= 1, got None"),
        (lambda: FMN(n_steps=2.5), "n_steps must be an integer >= 1, got 2.5"),
        (lambda: Square(n_queries=0), "n_queries must be an integer >= 1, got 0"),
        (lambda: Square(initial_share=0), "initial_share must be a finite number > 0"),
        (lambda: Square(image_shape="auto3"), "image_shape must be one of 'auto'"),
        (lambda: AttackEnsemble([]), "at least one attack, got none"),
        (lambda: AttackEnsemble(["pgd"]), "objects with a perturb method, got 'pgd'"),
    ],
)
def test_bad_parameters_are_refused_when_the_attack_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_step_in_the_wrong_units_is_refused():
    model, X, y = _linear()
    with pytest.raises(ValueError, match=r"10 steps cover at least 1% of epsilon=30, got 0.01"):
        _perturb(PGD(10, step_size=0.01), model, X, y, ThreatModel(30.0))


def test_an_image_shape_that_does_not_fit_is_refused():
    model, X, y = _linear()
    with pytest.raises(ValueError, match=r"image_shape must be .* with 8 values.*got \(3, 3\)"):
        _perturb(Square(5, image_shape=(3, 3)), model, X, y, ThreatModel(0.1))


def test_a_module_without_input_gradient_is_refused():
    class Rounding(nn.Module):
        def forward(self, X):
            return X.detach().round()

    model = TorchModel(Rounding(), 2)
    X = torch.tensor([[0.9, 0.1]])
    with pytest.raises(ValueError, match="Rounding gives no gradient"):
        _perturb(PGD(), model, X, np.array([0]), ThreatModel(0.1))
