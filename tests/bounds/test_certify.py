"""Certificates: never broken, between nothing and the accuracy under attack, for every model."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_robust import RobustFCClassifier, load_mnist
from sklearn_robust.attacks import PGD, LinearModel, Margin, ThreatModel, TorchModel
from sklearn_robust.bounds import (
    Scale,
    UnsupportedLayerError,
    certifiable,
    certified_correct,
    certified_network,
    margin_bounds,
    register_layer,
    worst_case_correct,
    worst_case_margins,
)
from sklearn_robust.neural_network import make_recipe

ALL = ("ibp", "crown-ibp", "crown", "alpha-crown", "auto")


@pytest.fixture(params=["fc", "cnn"])
def estimator(request):
    return request.getfixturevalue(request.param)


def stretched(estimator, X, threat, generator):
    """The strongest points at hand: PGD with margin loss, targeted by restarts, in float32."""
    labels = estimator.predict(X)
    index = np.searchsorted(estimator.classes_, labels)
    door = TorchModel(estimator.module_, len(estimator.classes_))
    x = door.asarray(X)
    for loss in (Margin(), "cross_entropy"):
        attack = PGD(40, n_restarts=2, loss=loss, keep="fooling")
        yield attack.perturb(door, x, door.labels(index), threat, generator).numpy()
    around = threat.around(x)
    for _ in range(10):
        yield around.furthest(torch.randn(x.shape, generator=generator)).numpy()
        yield around.project(around.sample(generator)).numpy()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_certified_sample_is_ever_broken(estimator, held_out, norm):
    X, y = held_out
    threat = ThreatModel({"linf": 0.03, "l2": 0.12, "l1": 0.25}[norm], norm, (0, 1))
    certified = certified_correct(estimator, X, y, threat)
    assert 0.3 < certified.mean() < 1
    generator = torch.Generator().manual_seed(0)
    for X_adv in stretched(estimator, X, threat, generator):
        assert (estimator.predict(X_adv)[certified] == y[certified]).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.02, 0.06, 0.12])
def test_certified_attacked_and_clean_accuracy_are_in_order(estimator, held_out, epsilon):
    X, y = held_out
    threat = ThreatModel(epsilon, clip_values=(0, 1))
    certified = certified_correct(estimator, X, y, threat).mean()
    attacked = estimator.robust_score(X, y, epsilon=epsilon)
    assert certified <= attacked <= estimator.score(X, y)


@pytest.mark.parametrize(("name", "epsilon"), [("fc", 0.06), ("cnn", 0.03)])
def test_every_method_certifies_what_the_cheaper_one_does(name, epsilon, held_out, request):
    (X, y), estimator = held_out, request.getfixturevalue(name)
    threat = ThreatModel(epsilon, clip_values=(0, 1))
    masks = {method: certified_correct(estimator, X, y, threat, method) for method in ALL}
    for weaker, stronger in (
        ("ibp", "crown-ibp"),
        ("crown-ibp", "crown"),
        ("crown", "alpha-crown"),
        ("alpha-crown", "auto"),
    ):
        assert not (masks[weaker] & ~masks[stronger]).any()
    # On networks trained against PGD only, intervals say much less than lines.
    assert masks["ibp"].sum() < masks["crown-ibp"].sum() < masks["crown"].sum()


def test_misclassified_samples_are_never_certified(estimator, held_out):
    X, y = held_out
    wrong = (y + 1) % 10
    assert not certified_correct(estimator, X, wrong, ThreatModel(0.0))[
        estimator.predict(X) != wrong
    ].any()
    clean = estimator.predict(X) == y
    # At epsilon 0 everything right is certified, but for margins of the order of 1e-6.
    assert (certified_correct(estimator, X, y, ThreatModel(0.0)) == clean).all()


def test_only_candidates_are_tried(fc, held_out):
    X, y = held_out
    threat = ThreatModel(0.02, clip_values=(0, 1))
    full = certified_correct(fc, X, y, threat)
    candidates = np.arange(len(X)) % 3 == 0
    part = certified_correct(fc, X, y, threat, candidates=candidates)
    assert (part == (full & candidates)).all()


def test_module_and_estimator_agree(fc, held_out):
    X, y = held_out
    threat = ThreatModel(0.06, clip_values=(0, 1))
    from_module = certified_correct(fc.module_, X, y, threat, "crown-ibp")
    assert (from_module == certified_correct(fc, X, y, threat, "crown-ibp")).all()
    assert next(fc.module_.parameters()).dtype == torch.float32


def test_linear_models_are_exact(digits):
    X, y = digits
    clf = LogisticRegression(max_iter=500).fit(X[:1000], y[:1000])
    threat = ThreatModel(0.3, "l2", (0, 1))
    model = LinearModel(clf.coef_, clf.intercept_)
    certified = certified_correct(model, X[1000:], y[1000:], threat)
    exact = worst_case_correct(clf.coef_, clf.intercept_, X[1000:], y[1000:], threat)
    assert (certified == exact).all()
    # The same classifier as a network of one layer. Its sets are wider by the float32 storage of
    # points, 5e-7 of their values, which takes less than 1e-4 off a margin for ||w||_1 < 100.
    layer = nn.Linear(64, 10).to(torch.float64)
    layer.load_state_dict({"weight": torch.tensor(clf.coef_), "bias": torch.tensor(clf.intercept_)})
    network = certified_correct(layer, X[1000:], y[1000:], threat)
    assert abs(clf.coef_).sum(1).max() < 100
    margins = worst_case_margins(clf.coef_, clf.intercept_, X[1000:], y[1000:], threat)
    assert not (network & ~exact).any()
    assert network[margins > 1e-4].all()


def test_labels_images_bytes_and_two_classes_work(digits):
    """uint8 images, string labels, two classes: the module divides by 255 itself."""
    X, y = digits
    keep = y < 2
    images = (X[keep] * 255).astype(np.uint8).reshape(-1, 8, 8)
    names = np.array(["zero", "one"])[y[keep]]
    clf = RobustFCClassifier(
        (16,), epsilon=25, clip_values=(0, 255), max_epochs=20, random_state=0
    ).fit(images[:250], names[:250])
    certified = certified_correct(
        clf, images[250:], names[250:], ThreatModel(12, clip_values=(0, 255))
    )
    attacked = clf.robust_score(images[250:], names[250:], epsilon=12)
    assert 0.5 < certified.mean() <= attacked


def test_a_preprocessor_inside_the_network_is_part_of_the_certificate(digits):
    """Epsilon is in the units of X, and some features have a standard deviation of 0."""
    X, y = digits
    clf = RobustFCClassifier(
        (32,), epsilon=0.05, preprocessor=StandardScaler(), max_epochs=30, random_state=0
    ).fit(X[:600], y[:600])
    part = slice(600, 700)
    certified = certified_correct(clf, X[part], y[part], ThreatModel(0.02))
    attacked = clf.robust_score(X[part], y[part], epsilon=0.02)
    assert 0.3 < certified.mean() <= attacked


def test_errors_name_the_problem(fc, held_out):
    X, y = held_out
    threat = ThreatModel(0.1, clip_values=(0, 1))
    with pytest.raises(ValueError, match="method must be one of"):
        certified_correct(fc, X, y, threat, "magic")
    with pytest.raises(ValueError, match="outside clip_values"):
        certified_correct(fc, X + 1, y, threat)
    assert not certified_correct(fc, X, y + 10, threat).any()  # labels unseen in fit
    with pytest.raises(TypeError, match="LogisticRegression"):
        certified_correct(LogisticRegression().fit(X, y), X, y, threat)
    with pytest.raises(ValueError, match="NaN"):
        certified_correct(fc.module_, np.full_like(X, np.nan), y, threat)
    broken = nn.Sequential(nn.Linear(X.shape[1], 2))
    nn.init.constant_(broken[0].weight, float("nan"))
    with pytest.raises(ValueError, match=f"NaN for {len(X)} of {len(X)} samples"):
        certified_correct(broken, X, np.zeros(len(X), dtype=int), threat)
    with pytest.raises(UnsupportedLayerError, match=r"Hardshrink \(at '1'\)"):
        certified_correct(nn.Sequential(nn.Linear(64, 10), nn.Hardshrink()), X, y, threat)


def test_what_cannot_be_certified_is_known_beforehand_and_said_in_a_sentence(fc, cnn):
    x = torch.zeros(1, 64)
    assert certifiable(fc.module_, x) is None
    assert certifiable(cnn.module_, np.zeros((1, 64))) is None
    unknown = nn.Sequential(nn.Linear(64, 10), nn.Sequential(nn.Hardshrink()))
    assert (
        certifiable(unknown, x)
        == "There are no bounds for Hardshrink (at '1.0'), which calls hardshrink."
    )
    uneven = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.AvgPool2d(3, padding=1, ceil_mode=True))
    assert (
        certifiable(uneven, x) == "There are no bounds for AvgPool2d (at '1') with ceil_mode=True."
    )
    hooked = nn.Sequential(nn.Linear(64, 10))
    hooked[0].register_forward_hook(lambda *args: None)
    assert "forward hooks" in certifiable(hooked, x)
    for module in (unknown, uneven, hooked):
        with pytest.raises(UnsupportedLayerError) as caught:
            margin_bounds(module, x, torch.tensor([0]), ThreatModel(0.1))
        assert caught.value.reason == certifiable(module, x)
        assert str(caught.value) == f"{caught.value.reason} {caught.value.remedy}"
        assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


@pytest.mark.parametrize("mode", [True, False], ids=["training", "eval"])
def test_a_module_is_certified_by_class_indices_and_left_as_it_was(cnn, held_out, mode):
    X, y = held_out
    module = copy.deepcopy(cnn.module_).train(mode)
    before = {name: t.clone() for name, t in module.state_dict().items()}
    threat = ThreatModel(0.02, clip_values=(0, 1))
    certified = certified_network(module, X, y, threat, "crown-ibp")
    assert 0.3 < certified.mean() < 1
    assert (certified == certified_correct(cnn, X, y, threat, "crown-ibp")).all()
    unseen = np.where(np.arange(len(y)) % 2, y, -1)
    expected = certified & (unseen >= 0)
    assert (certified_network(module, X, unseen, threat, "crown-ibp") == expected).all()
    assert module.training is mode and all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


def test_an_equivalent_that_computes_something_else_is_found_out(held_out):
    class Halving(nn.Module):
        def forward(self, x):
            return x / 2

    register_layer(Halving, lambda layer: [Scale(1.0)])
    X, _ = held_out
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 10), Halving())
    labels = module(torch.as_tensor(X, dtype=torch.float32)).argmax(1).numpy()
    with pytest.raises(RuntimeError, match="its equivalent does"):
        certified_correct(module, X, labels, ThreatModel(1e-3))


def test_no_samples_no_certificates(fc):
    module = fc.module_
    assert certified_correct(
        module, np.zeros((0, 64)), np.zeros(0, int), ThreatModel(0.1)
    ).shape == (0,)


@pytest.mark.parametrize("method", ["ibp", "crown-ibp"])
def test_training_on_the_bounds_yields_certified_networks(digits, method):
    """The use that certified training makes of `margin_bounds`, in its barest form."""
    X, y = (torch.as_tensor(a) for a in digits)
    X, test = X.float(), slice(1200, 1500)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    epochs = 20
    for epoch in range(epochs):
        threat = ThreatModel(0.06 * min(1.0, 2 * epoch / epochs), clip_values=(0, 1))
        for batch in torch.randperm(1200, generator=generator).split(100):
            bounds = margin_bounds(module, X[batch], y[batch], threat, method, rounding=False)
            loss = nn.functional.cross_entropy(-bounds, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    threat = ThreatModel(0.06, clip_values=(0, 1))
    certified = certified_correct(module, X[test], y[test], threat, method)
    # Networks trained against PGD have an IBP certificate for no sample at this radius.
    assert certified.mean() > 0.6
    assert certified_correct(module, X[test], y[test], threat).mean() >= certified.mean()


@pytest.mark.slow
def test_interval_and_linear_bounds_both_certify_what_was_trained_on_intervals():
    X, y = load_mnist("5k")
    X = X.reshape(len(X), -1)
    # Shifts cost more than they gain in so few epochs.
    clf = make_recipe(
        "certified",
        "fc",
        hidden_layer_sizes=(128, 128),
        max_epochs=10,
        augmentation=None,
        random_state=0,
    ).fit(X[:4000], y[:4000])
    X, y, threat = X[4000:4200], y[4000:4200], ThreatModel(0.3, clip_values=(0, 1))
    share = {m: certified_correct(clf, X, y, threat, m).mean() for m in ("ibp", "crown-ibp")}
    attacked = clf.robust_score(X, y, epsilon=0.3)
    # A constant is right for a tenth; most of what withstands the attack must be proven.
    assert 0.5 * attacked < share["ibp"] <= share["crown-ibp"] <= attacked
    assert share["ibp"] > 0.4


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.2), ("l1", 1.0)])
@pytest.mark.parametrize("method", ["crown", "alpha-crown", "auto"])
def test_a_batch_may_be_certified_to_the_last_sample(digits, norm, epsilon, method):
    X, y = digits
    X, y, X_test, y_test = X[:1000], y[:1000], X[1000:], y[1000:]
    clf = RobustFCClassifier(
        (32, 32, 32), norm=norm, epsilon=epsilon, clip_values=(0, 1), max_epochs=8, pgd_steps=3,
        lr=5e-3, random_state=0,
    ).fit(X, y)  # fmt: skip
    threat = ThreatModel(epsilon, norm, (0, 1))
    together = certified_correct(clf, X_test[:30], y_test[:30], threat, method)
    alone = [
        certified_correct(clf, X_test[i : i + 1], y_test[i : i + 1], threat, method)[0]
        for i in range(30)
    ]
    assert 10 < together.sum() < 30
    np.testing.assert_array_equal(alone, together)
