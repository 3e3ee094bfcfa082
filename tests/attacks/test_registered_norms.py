"""Attacks ask for geometry and not for names: a norm under another name gets the same points."""

import math

import numpy as np
import pytest
from joblib import parallel_config

from sklearn_robust import get_norm, register_norm
from sklearn_robust._norms import NORMS, power
from sklearn_robust.attacks import (
    APGD,
    FGSM,
    FMN,
    PGD,
    DiversePGD,
    LinearModel,
    ScoreModel,
    Square,
    ThreatModel,
    TorchModel,
    evaluate,
    get_attack,
    nearest_mistakes,
    predictor,
)

RADIUS = {"linf": 0.1, "l2": 0.6, "l1": 2.5}
ATTACKS = {
    "fgsm": FGSM(),
    "pgd": PGD(5, keep="fooling"),
    "pgd-momentum": PGD(5, momentum=0.9),
    "pgd-targeted": PGD(5, loss="dlr", n_targets=2),
    "apgd": APGD(10),
    "apgd-targeted": APGD(5, "margin", n_targets=2, leak=0.01),
    "diverse": DiversePGD(5, n_restarts=2),
    "fmn": FMN(10, n_targets=2),
    "square": Square(40),
    "square without images": Square(40, image_shape=None),
    "auto": get_attack("auto"),
}


class Twin:
    """A norm of the library by its six methods, under another name."""

    def __init__(self, norm):
        self.name, self.norm = f"twin of {norm}", get_norm(norm)

    def length(self, delta):
        return self.norm.length(delta)

    def dual_length(self, weights):
        return self.norm.dual_length(weights)

    def project(self, z, capacity=None):
        return self.norm.project(z, capacity)

    def steepest(self, gradient, capacity=None):
        return self.norm.steepest(gradient, capacity)

    def shortest(self, pull, gain, capacity=None):
        return self.norm.shortest(pull, gain, capacity)

    def sample(self, like, generator):
        return self.norm.sample(like, generator)


class Halves(Twin):
    """The larger of the linf length of the first four features and the l2 length of the others."""

    def __init__(self):
        super().__init__("l2")
        self.name, self.parts = "halves", (get_norm("linf"), get_norm("l2"))

    def _each(self, method, *arrays):
        for part, of in zip(self.parts, (slice(4), slice(4, None)), strict=True):
            yield getattr(part, method)(*(a if a is None else a[:, of] for a in arrays))

    def _joined(self, method, *arrays):
        return np.concatenate(list(self._each(method, *arrays)), axis=1)

    def length(self, delta):
        return np.maximum(*self._each("length", delta))

    def project(self, z, capacity=None):
        return self._joined("project", z, capacity)

    def steepest(self, gradient, capacity=None):
        return self._joined("steepest", gradient, capacity)


@pytest.fixture(autouse=True)
def registry():
    """Give the registry back as it was."""
    before = dict(NORMS)
    yield
    NORMS.clear()
    NORMS.update(before)


def _linear(samples):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(30, 8))
    W = rng.normal(size=(3, 8))
    model = LinearModel(W, -W @ np.full(8, 0.5))
    return model, X, model.logits(X).argmax(1)


def _network(samples, robust_fc):
    return TorchModel(robust_fc.module_, 10), samples[0][:12], samples[1][:12]


def _scores(samples, robust_fc):
    model = TorchModel(robust_fc.module_, 10)
    scores = ScoreModel(lambda X: model.logits(model.asarray(X)).numpy(), 10)
    return scores, samples[0][:30], samples[1][:30]


@pytest.mark.parametrize("clip_values", [None, (0, 1)], ids=["ball", "ball and box"])
@pytest.mark.parametrize("norm", RADIUS)
@pytest.mark.parametrize("kind", ["linear", "network", "scores"])
def test_every_attack_finds_the_points_of_the_norm_in_its_twin(
    kind, norm, clip_values, samples, robust_fc
):
    model, X, y = {
        "linear": lambda: _linear(samples),
        "network": lambda: _network(samples, robust_fc),
        "scores": lambda: _scores(samples, robust_fc),
    }[kind]()
    twin = Twin(norm)
    register_norm(twin)
    attacks = ATTACKS
    if kind == "scores":
        attacks = {name: attack for name, attack in ATTACKS.items() if "square" in name}
        attacks["auto"] = get_attack("auto", gradients=False)
    n_found = 0
    for epsilon in (RADIUS[norm], np.linspace(0, 2 * RADIUS[norm], X.shape[1])):
        for name, attack in attacks.items():
            expected, found = (
                evaluate(
                    model, X, y, ThreatModel(epsilon, of, clip_values), attack, predictor(model)
                ).X_adv
                for of in (norm, twin.name)
            )
            np.testing.assert_array_equal(found, expected, err_msg=name)
            n_found += (predictor(model)(found) != y).sum()
    assert n_found > 0


def test_the_strong_combination_too(samples, robust_fc):
    register_norm(Twin("l2"))
    model, X, y = _network(samples, robust_fc)
    expected, found = (
        evaluate(
            model, X, y, ThreatModel(0.6, norm, (0, 1)), get_attack("strong"), predictor(model)
        )
        for norm in ("l2", "twin of l2")
    )
    np.testing.assert_array_equal(found.X_adv, expected.X_adv)
    np.testing.assert_array_equal(found.broken_by, expected.broken_by)


@pytest.mark.parametrize("norm", RADIUS)
def test_the_nearest_mistakes_of_a_norm_are_those_of_its_twin(norm, samples, robust_fc):
    twin = Twin(norm)
    register_norm(twin)
    for model, X, y in (_linear(samples), _network(samples, robust_fc)):
        expected, found = (
            nearest_mistakes(
                model, X, y, predictor(model), ThreatModel(1.0, of, (0, 1)), attack=FMN(20)
            )
            for of in (norm, twin.name)
        )
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        assert np.isfinite(found[0]).any()


@pytest.mark.parametrize("n_features", [2, 3, 8, 784])
def test_the_p_of_a_norm_is_found_from_its_lengths(n_features):
    class Weighted(Twin):
        def length(self, delta):
            return self.norm.length(delta * np.linspace(0.1, 3, delta.shape[1]))

    for norm, p in {"linf": math.inf, "l2": 2, "l1": 1}.items():
        for kind in (Twin, Weighted):
            register_norm(kind(norm))
            assert power(f"twin of {norm}", n_features) == power(norm, n_features) == p
    if n_features == 8:
        register_norm(Halves())
        assert power("halves", 8) is None


def test_square_searches_balls_of_no_p_norm():
    model, X, y = _linear(None)
    register_norm(Halves())
    threat = ThreatModel(0.2, "halves", (0, 1))
    verdict = evaluate(model, X, y, threat, Square(400), predictor(model))
    assert threat.contains(verdict.X_adv, X).all()
    # The best that can be done towards each rival, in closed form.
    gains = []
    for rival in range(3):
        w = model.coef[rival] - model.coef[y]
        best = threat.around(X).furthest(w)
        gains.append((best * w).sum(1) + model.intercept[rival] - model.intercept[y])
    margin = np.max(gains, axis=0)
    # A search needs some slack: a tenth of the largest margin.
    clearly = margin > 0.1 * margin.max()
    assert clearly.sum() >= 5
    assert not verdict.robust[clearly].any()
    assert verdict.robust[margin < 0].all()


@pytest.mark.slow
def test_worker_processes_know_a_registered_norm(samples):
    model, X, y = _linear(samples)
    register_norm(Twin("l2"))
    threat = ThreatModel(0.3, "twin of l2")
    alone = evaluate(model, X, y, threat, FGSM(), predictor(model), batch_size=10)
    with parallel_config(backend="loky"):
        shared = evaluate(model, X, y, threat, FGSM(), predictor(model), batch_size=10, n_jobs=2)
    np.testing.assert_array_equal(shared.X_adv, alone.X_adv)
