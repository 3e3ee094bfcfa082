"""Holding models against attacks: who is attacked, who judges, what is recorded, and NaN."""

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC
from torch import nn

from sklearn_robust.attacks import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AttackEnsemble,
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
from sklearn_robust.targets import make_target

THREAT = ThreatModel(0.1, "linf", (0, 1))


def _evaluate(model, samples, attack, threat=THREAT, **kwargs):
    return evaluate(model, *samples, threat, attack, predictor(model), **kwargs)


def test_robust_is_the_judges_word_on_the_points_returned(model, samples):
    X, y = samples
    predict = predictor(model)
    verdict = _evaluate(model, samples, APGD(10))
    np.testing.assert_array_equal(verdict.clean, predict(X) == y)
    np.testing.assert_array_equal(verdict.robust, verdict.clean & (predict(verdict.X_adv) == y))
    assert 0 < verdict.robust.sum() < verdict.clean.sum()
    assert THREAT.contains(verdict.X_adv, X).all()
    assert (verdict.X_adv[~verdict.clean] == X[~verdict.clean]).all()


def test_records_say_who_broke_what_and_at_which_price(robust_model, samples):
    ensemble = AttackEnsemble([FGSM(), PGD(5, keep="fooling"), Square(20)])
    verdict = _evaluate(robust_model, samples, ensemble, batch_size=40)
    fgsm, pgd, square = verdict.records
    assert fgsm.n_attacked == verdict.clean.sum()
    assert pgd.n_attacked == fgsm.n_attacked - fgsm.n_broken
    assert square.n_attacked == pgd.n_attacked - pgd.n_broken
    assert square.n_attacked - square.n_broken == verdict.robust.sum()
    for number, record in enumerate(verdict.records):
        assert (verdict.broken_by == number).sum() == record.n_broken
    np.testing.assert_array_equal(verdict.broken_by == -1, verdict.robust | ~verdict.clean)
    assert (fgsm.n_forwards, fgsm.n_gradients) == (2 * fgsm.n_attacked, fgsm.n_attacked)
    assert (pgd.n_forwards, pgd.n_gradients) == (6 * pgd.n_attacked, 5 * pgd.n_attacked)
    assert square.n_gradients == 0
    assert all(record.seconds > 0 for record in verdict.records)


# Processes take seconds to start, as each of them imports torch.
@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.slow), "threading"])
def test_results_do_not_depend_on_the_number_of_jobs(robust_model, samples, backend):
    ensemble = AttackEnsemble([PGD(3), Square(10)])
    alone = _evaluate(robust_model, samples, ensemble, batch_size=50)
    with parallel_config(backend=backend):
        shared = _evaluate(robust_model, samples, ensemble, batch_size=50, n_jobs=2)
    np.testing.assert_array_equal(alone.X_adv, shared.X_adv)
    np.testing.assert_array_equal(alone.broken_by, shared.broken_by)


def test_progress_is_shown_only_when_asked_for(robust_model, samples, capsys):
    _evaluate(robust_model, samples, FGSM())
    assert capsys.readouterr() == ("", "")
    _evaluate(robust_model, samples, FGSM(), verbose=1)
    assert "1. FGSM: 100%" in capsys.readouterr().err


def test_strong_never_leaves_more_standing_than_auto_and_auto_than_its_first_attack(
    robust_model, samples
):
    samples = samples[0][:50], samples[1][:50]
    # The same seeds are drawn: strong begins with the attacks of auto, auto with APGD.
    first, auto, strong = (
        _evaluate(robust_model, samples, attack).robust
        for attack in (get_attack("auto").attacks[0], get_attack("auto"), get_attack("strong"))
    )
    assert (strong <= auto).all()
    assert (auto <= first).all()


class _NanNearby(nn.Module):
    """Class 1 while the features are small; NaN as soon as one exceeds a bound."""

    def forward(self, X):
        score = X.sum(1) - 3
        logits = torch.stack([score, -score], 1)
        return torch.where(X.amax(1, keepdim=True) > 0.55, torch.nan, logits)


@pytest.mark.parametrize(
    "attack",
    [FGSM(), PGD(5), PGD(5, keep="fooling"), APGD(5), DiversePGD(3), FMN(10), Square(10)],
    ids=lambda a: type(a).__name__,
)
def test_nan_in_the_middle_of_an_attack_is_reported_and_never_robust(attack):
    X = np.full((8, 3), 0.5, dtype=np.float32)
    X[:3] = 0.1  # these three cannot reach the bound
    y = np.ones(8, dtype=int)

    def judge(X):
        # In this judge's precision there is no NaN: it would call all of them right.
        return np.ones(len(X), dtype=int)

    with pytest.warns(RuntimeWarning, match=r"NaN under attack for 5 of 8 samples"):
        verdict = evaluate(TorchModel(_NanNearby(), 2), X, y, ThreatModel(0.1), attack, judge)
    assert verdict.n_nan == 5
    assert verdict.robust.tolist() == [True] * 3 + [False] * 5
    assert np.isfinite(verdict.X_adv).all()


def test_nan_without_an_attack_is_an_error_that_counts():
    X = np.full((8, 3), 0.5, dtype=np.float32)
    X[:3] = 0.6  # beyond the bound as they are
    model, y = TorchModel(_NanNearby(), 2), np.ones(8, dtype=int)
    with pytest.raises(ValueError, match=r"gives NaN for 3 of 8 samples as they are"):
        evaluate(model, X, y, ThreatModel(0.01), FGSM(), lambda X: np.ones(len(X), dtype=int))


def test_a_model_without_gradients_is_named_and_not_what_counts_its_passes():
    model = ScoreModel(lambda X: np.c_[X[:, 0], -X[:, 0]], 2)
    with pytest.raises(ValueError, match=r"needs gradients .* ScoreModel does not give"):
        evaluate(
            model, np.ones((2, 1)), np.zeros(2, int), ThreatModel(0.1), PGD(2), predictor(model)
        )


def test_data_outside_the_box_are_refused_before_any_work():
    model = LinearModel(np.eye(2), np.zeros(2))
    with pytest.raises(ValueError, match=r"outside clip_values=\(0.0, 1.0\)"):
        _evaluate(model, (np.array([[2.0, 0.0]]), np.array([0])), FGSM())


def test_an_attack_that_leaves_the_threat_model_is_found_out():
    class Cheat:
        def perturb(self, model, X, y, threat, generator):
            return X + 2 * threat.epsilon

    model = LinearModel(np.eye(2), np.zeros(2))
    with pytest.raises(RuntimeError, match="Cheat returned 1 points outside"):
        _evaluate(model, (np.array([[0.5, 0.0]]), np.array([0])), Cheat())


CLASSIFIERS = {
    "forest": RandomForestClassifier(20, random_state=0),
    "neighbours": KNeighborsClassifier(3),
    "kernel": SVC(gamma="scale"),
    "perceptron": MLPClassifier((16,), solver="lbfgs", max_iter=1000, random_state=0),
}


@pytest.mark.parametrize("labels", ["ten", "two"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_square_breaks_any_classifier_with_scores(name, labels, digits):
    X, y, X_test, y_test = digits
    if labels == "two":
        y, y_test = y % 2, y_test % 2
    y_text = np.array(list("abcdefghij"))[y]
    estimator = CLASSIFIERS[name].fit(X[:500], y_text[:500])
    model = make_target(estimator, X_test[:40], epsilon=0.25).model

    def predict(X):
        return np.searchsorted(estimator.classes_, estimator.predict(X))

    threat = ThreatModel(0.25, "linf", (0, 1))
    verdict = evaluate(model, X_test[:40], y_test[:40], threat, Square(100), predict)
    # Noise of the same size as a yardstick: random corners of the ball, as many as one query.
    signs = np.sign(np.random.default_rng(0).random((40, 64)) - 0.5)
    noisy = predict((X_test[:40] + 0.25 * signs).clip(0, 1)) == y_test[:40]
    assert verdict.robust.sum() < (verdict.clean & noisy).sum()
    assert threat.contains(verdict.X_adv, X_test[:40]).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 8, 8)])
def test_square_takes_images_as_rows_as_images_and_with_channels(shape, norm, digits):
    X, y = digits[2][:60], digits[3][:60]
    linear = LogisticRegression(max_iter=500).fit(digits[0], digits[1])
    model = LinearModel(linear.coef_, linear.intercept_)
    radius = {"linf": 0.15, "l2": 1.0, "l1": 5.0}[norm]
    threat = ThreatModel(radius, norm, (0, 1))
    few, many = (_evaluate(model, (X.reshape(-1, *shape), y), Square(n), threat) for n in (1, 300))
    assert many.X_adv.shape == (60, *shape)
    assert many.robust.sum() < few.robust.sum() - 5


def test_scores_of_two_classes_agree_with_predict(digits):
    X, y = digits[0], digits[1] % 2
    for estimator in (SVC(), KNeighborsClassifier(3)):
        estimator.fit(X[:300], y[:300])
        scores = make_target(estimator, X[300:600], epsilon=0.1).model.logits(X[300:600])
        assert scores.shape == (300, 2)
        np.testing.assert_array_equal(scores.argmax(1), estimator.predict(X[300:600]))


def test_networks_are_seen_with_gradients_and_all_else_through_scores(robust_fc, digits):
    X = digits[0][:10]
    assert isinstance(make_target(robust_fc, X).model, TorchModel)
    distance = KNeighborsClassifier(1, metric=lambda a, b: abs(a - b).max())  # of one's own
    distance.fit(digits[0][:100], digits[1][:100])
    assert isinstance(make_target(distance, X, epsilon=0.1).model, ScoreModel)


def test_scores_of_the_wrong_shape_are_refused():
    model = ScoreModel(lambda X: np.zeros(len(X)), 2)
    with pytest.raises(ValueError, match=r"shape \(n_samples, n_classes\), here \(3, 2\)"):
        model.logits(np.zeros((3, 1)))


@pytest.mark.parametrize("name", ["auto", "strong", "fgsm", "pgd", "apgd", "diverse", "fmn"])
def test_attacks_have_names(name):
    assert hasattr(get_attack(name), "perturb")


def test_without_gradients_the_strong_combination_begins_with_the_other():
    auto = get_attack("auto", gradients=False)
    first, second = get_attack("strong", gradients=False).attacks
    assert repr(first) == repr(auto) == "BatchedSearch(n_rounds=16, n_points=48)"
    assert second == Square(5000)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("autoattack", "attack must be one of 'fgsm', .*got 'autoattack'"),
        (40, "attack must be a name or an object with a perturb method, such as PGD.., got 40"),
        (PGD, "attack must be a name or an object with a perturb method, such as PGD"),
    ],
)
def test_unknown_attacks_are_refused(attack, message):
    with pytest.raises(ValueError, match=message):
        get_attack(attack)


def _exact_distance(model, X, y, norm, clip):
    """The radius at which the best point of ball and box reaches the boundary, by bisection."""
    w = model.coef[1 - y] - model.coef[y]
    need = -((X * w).sum(1) + model.intercept[1 - y] - model.intercept[y])
    low, high = np.zeros(len(X)), np.full(len(X), 64.0)
    for _ in range(60):
        middle = (low + high) / 2
        for i, radius in enumerate(middle):
            around = ThreatModel(radius, norm, clip).around(X[i : i + 1])
            gain = ((around.furthest(w[i : i + 1]) - X[i : i + 1]) * w[i : i + 1]).sum()
            low[i], high[i] = (low[i], radius) if gain >= need[i] else (radius, high[i])
    return high


@pytest.mark.parametrize("clip", [None, (0, 1)])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_minimum_norm_distance_is_exact_on_a_linear_model(norm, clip):
    rng = np.random.default_rng(1)
    W, X = rng.normal(size=(2, 8)), rng.uniform(size=(30, 8))
    model = LinearModel(W, -W @ np.full(8, 0.5))
    y = model.logits(X).argmax(1)
    unit = ThreatModel(1.0, norm, clip)
    distance, X_adv = nearest_mistakes(model, X, y, predictor(model), unit)
    exact = _exact_distance(model, X, y, norm, clip)
    # An upper bound; a point on the boundary itself may be called either way.
    assert (distance >= exact * (1 - 1e-9)).all()
    # The search ends with steps of 1 % of the radius.
    np.testing.assert_allclose(distance, exact, rtol=0.01)
    np.testing.assert_allclose(distance, unit.size(X_adv, X), rtol=1e-12)
    assert (predictor(model)(X_adv) != y).all()


def test_one_minimum_norm_run_gives_the_curve_that_auto_gives_point_by_point(model, samples):
    predict = predictor(model)
    distance, _ = nearest_mistakes(model, *samples, predict, ThreatModel(1.0, "linf", (0, 1)))
    assert (distance[predict(samples[0]) != samples[1]] == 0).all()
    for epsilon in (0.02, 0.05, 0.1, 0.2):
        threat = ThreatModel(epsilon, "linf", (0, 1))
        robust = evaluate(model, *samples, threat, get_attack("auto"), predict).robust.mean()
        # Two heuristics for the same number: they may differ in two samples of 150.
        assert abs((distance > epsilon).mean() - robust) <= 2 / 150


def test_as_an_attack_minimum_norm_keeps_what_lies_within_epsilon(robust_model, samples):
    verdict = _evaluate(robust_model, samples, FMN(50))
    predict = predictor(robust_model)
    distance, _ = nearest_mistakes(
        robust_model, *samples, predict, ThreatModel(0.1, "linf", (0, 1)), attack=FMN(50)
    )
    np.testing.assert_array_equal(verdict.robust, distance > 1)


def test_what_a_network_of_float32_finds_is_judged_inside_the_set_of_the_given_samples():
    X, y = np.array([[1e6 + 0.03], [1e6 + 1.0]]), np.array([0, 1])  # float32 knows 1/16 there
    module = nn.Linear(1, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.0], [1.0]]))
        module.bias.copy_(torch.tensor([0.0, -1e6 - 0.5]))
    threat = ThreatModel(0.01)
    verdict = evaluate(TorchModel(module, 2), X, y, threat, PGD(5), lambda X: X[:, 0] > 1e6 + 0.5)
    assert abs(verdict.X_adv - X).max() <= 0.01 + 1e-9
    assert verdict.robust.all()


def test_a_network_in_bfloat16_is_attacked_and_judged(samples):
    X, y = samples[0][:20], samples[1][:20]
    torch.manual_seed(0)
    model = TorchModel(nn.Linear(X[0].size, 10).to(torch.bfloat16), 10)
    threat = ThreatModel(0.1, clip_values=(0, 1))
    verdict = evaluate(model, X, y, threat, PGD(3), predictor(model))
    assert threat.contains(verdict.X_adv, X).all()
    assert verdict.X_adv.dtype == X.dtype


class _InPlace(nn.Module):
    """Normalises its input in place, as transforms of images can."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.linear.weight.data = torch.linspace(-1, 1, 18).reshape(3, 6) ** 3
        self.linear.bias.data.zero_()

    def forward(self, X):
        return self.linear(X.sub_(0.5).div_(0.5))


class _OnACopy(_InPlace):
    def forward(self, X):
        return super().forward(X.clone())


@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(5), APGD(5), DiversePGD(3), FMN(5), Square(20)], ids=repr
)
def test_a_module_that_works_in_place_is_attacked_as_if_it_did_not(attack):
    X = np.random.default_rng(0).random((20, 6), dtype=np.float32)
    before = X.copy()
    found, expected = (
        evaluate(model, X, predictor(model)(X), ThreatModel(0.1), attack, predictor(model))
        for model in (TorchModel(_InPlace(), 3), TorchModel(_OnACopy(), 3))
    )
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(found.X_adv, expected.X_adv)
    assert not np.shares_memory(found.X_adv, X)
    assert found.robust.sum() < 20


def test_a_classifier_that_writes_into_its_input_leaves_the_callers_alone():
    def scores(X):
        X -= 0.5
        return np.column_stack([X.sum(axis=1), -X.sum(axis=1)])

    model = ScoreModel(scores, 2)
    X = np.random.default_rng(0).random((20, 4))
    before, y = X.copy(), (X.sum(axis=1) < 2).astype(int)

    def predict(X):
        return scores(X).argmax(axis=1)

    verdict = evaluate(model, X, y, ThreatModel(0.2), Square(20), predict)
    np.testing.assert_array_equal(X, before)
    # With equal weights the best point moves all features the same way.
    np.testing.assert_array_equal(verdict.robust, abs(X.sum(axis=1) - 2) > 4 * 0.2)


@pytest.mark.parametrize("name", ["auto", "fmn", "square"])
def test_inference_mode_changes_nothing(name, samples, robust_model):
    samples = samples[0][:20], samples[1][:20]
    attack = Square(20) if name == "square" else get_attack(name)
    expected = _evaluate(robust_model, samples, attack)
    with torch.inference_mode():
        found = _evaluate(robust_model, samples, attack)
    np.testing.assert_array_equal(found.X_adv, expected.X_adv)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_torchscript_is_attacked_like_the_module_it_comes_from():
    X = np.random.default_rng(0).random((20, 6), dtype=np.float32)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    y = predictor(TorchModel(net, 3))(X)
    expected = _evaluate(TorchModel(net, 3), (X, y), PGD(5))
    assert expected.robust.sum() < 20
    script = torch.jit.script(net)
    for module in (
        script,
        torch.jit.trace(net, torch.zeros(1, 6)),
        torch.jit.freeze(script.eval()),
    ):
        found = _evaluate(TorchModel(module, 3), (X, y), PGD(5))
        np.testing.assert_array_equal(found.robust, expected.robust)


class _Complex(nn.Module):
    def forward(self, X):
        return torch.fft.fft(X)


class _Two(nn.Module):
    def forward(self, X):
        return X, X


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (_Complex(), r"_Complex must map a batch to real logits .*, got complex numbers"),
        (_Two(), r"_Two must map a batch to real logits .*, got tuple"),
        (nn.Flatten(0), r"Flatten must map .*, got torch.Size\(\[120\]\)"),
        (nn.LazyLinear(3), "LazyLinear has parameters without a shape"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_modules_that_give_no_logits_are_refused_by_name(module, message):
    X = np.zeros((20, 6), dtype=np.float32)
    model = TorchModel(module, 6)
    with pytest.raises(ValueError, match=message):
        _evaluate(model, (X, np.zeros(20, dtype=int)), FGSM())


def test_complex_weights_are_attacked_in_their_precision_and_place():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.linspace(-1, 1, 4).to(torch.cdouble) * (1 + 1j))

        def forward(self, X):
            return torch.fft.irfft(torch.fft.rfft(X) * self.w, n=6)

    model = TorchModel(Spectral(), 6)
    X = np.random.default_rng(0).random((20, 6))
    assert model.asarray(X).dtype == torch.float64
    # The filter is linear: one step goes to the optimum.
    W = model.logits(torch.eye(6, dtype=torch.float64)).numpy().T
    y = predictor(model)(X)
    verdict = _evaluate(model, (X, y), FGSM(loss="margin"))
    rival = np.where(np.eye(6, dtype=bool)[y], -np.inf, X @ W.T).argmax(axis=1)
    w = W[rival] - W[y]
    best = (THREAT.around(X).furthest(w) * w).sum(axis=1)
    np.testing.assert_array_equal(verdict.robust, best < 0)
    assert 0 < verdict.robust.sum() < 20
