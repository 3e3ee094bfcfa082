"""`input_ramp="auto"`: when there is a ramp, where its knots lie, what it follows and says."""

import numpy as np
import pytest
import sklearn
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler, minmax_scale
from sklearn.utils.fixes import parse_version

from sklearn_robust import RobustCNNClassifier, RobustFCClassifier, make_robust_scorer
from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import interval_bounds
from sklearn_robust.neural_network import InputRamp
from sklearn_robust.neural_network._ramp_choice import choose_ramp, influence_kept


def quick(**kwargs):
    settings = {"epsilon": 0.1, "max_epochs": 1, "pgd_steps": 1, "random_state": 0, **kwargs}
    return RobustFCClassifier((8,), **settings)


def moved(values, epsilon, low, high):
    """Return the mean move over the mean standard deviation, in plain loops over features."""
    moves, spreads = 0.0, 0.0
    for column in values.T:

        def ramp(x):
            return np.minimum(np.maximum((x - low) / (high - low), 0), 1)

        moves += np.mean([ramp(x + epsilon) - ramp(x - epsilon) for x in column])
        spreads += np.std([ramp(x) for x in column])
    return moves / spreads


def test_influence_is_the_mean_move_over_the_spread_with_a_ramp_and_without():
    X = np.random.default_rng(0).uniform(size=(50, 3)) ** 2
    threat, ends = ThreatModel(0.2), (np.zeros(1), np.ones(1))
    knots = (np.full(1, 0.22), np.full(1, 0.78))
    kept = influence_kept(X, threat, ends, knots, np.ones(1, bool))
    assert kept == pytest.approx(moved(X, 0.2, 0.22, 0.78) / moved(X, 0.2, 0.0, 1.0))


def test_there_is_a_ramp_where_values_lie_near_their_ends_and_none_elsewhere(digits):
    rng = np.random.default_rng(0)
    near = (rng.uniform(size=(200, 10)) > 0.5).astype(float)
    assert choose_ramp(ThreatModel(0.3), near) == pytest.approx((0.33, 0.67))
    assert choose_ramp(ThreatModel(0.2), digits[0]) == pytest.approx((0.22, 0.78))
    tumours = minmax_scale(load_breast_cancer(return_X_y=True)[0])
    for X, epsilon in (
        (tumours, 0.1),
        (rng.uniform(size=(500, 5)), 0.3),
        (rng.normal(size=(500, 5)), 0.5),
    ):
        assert choose_ramp(ThreatModel(epsilon), X) is None


@pytest.mark.parametrize(
    ("epsilon", "norm"), [(0.0, "linf"), (0.3, "l2"), (0.3, "l1"), (0.46, "linf"), (5.0, "linf")]
)
def test_no_ramp_without_an_adversary_in_other_norms_or_without_room(epsilon, norm):
    X = (np.arange(40).reshape(20, 2) % 3 > 0).astype(float)
    assert choose_ramp(ThreatModel(epsilon, norm), X) is None


def test_knots_follow_the_units_of_X_with_clip_values_and_without():
    X = (np.random.default_rng(0).uniform(size=(100, 6)) > 0.5).astype(float)
    for scale, offset in ((255.0, 0.0), (2.0, -1.0)):
        raw, epsilon = scale * X + offset, 0.3 * scale
        for clip_values in (None, (offset, scale + offset)):
            low, high = choose_ramp(ThreatModel(epsilon, "linf", clip_values), raw)
            assert low == pytest.approx(0.33 * scale + offset)
            assert high == pytest.approx(0.67 * scale + offset)


def test_features_of_other_ranges_have_knots_of_their_own():
    X = (np.random.default_rng(0).uniform(size=(100, 4)) > 0.5) * np.array([1.0, 10.0, 1e3, 0.0])
    epsilon = np.array([0.1, 1.0, 100.0, 0.0])
    low, high = choose_ramp(ThreatModel(epsilon), X)
    np.testing.assert_allclose(low[:3], [0.11, 1.1, 110])
    np.testing.assert_allclose(high[:3], [0.89, 8.9, 890])
    clf = quick(epsilon=epsilon).fit(X, np.arange(100) % 2)
    ramp = clf.module_[0]
    np.testing.assert_allclose(ramp.start, low, rtol=1e-6)  # kept in float32
    # Pointwise and monotone: the ends of a box go to the ends, for each feature by its own knots.
    x = torch.tensor(X[:5])
    found = interval_bounds(ramp.double(), x - 0.05, x + 0.05, rounding=False)
    for bound, sign in zip(found, (-1, 1), strict=True):
        expected = np.clip((X[:5] + sign * 0.05 - low) / (high - low), 0, 1)
        np.testing.assert_allclose(bound.numpy(), expected, atol=1e-6)


def test_a_feature_narrower_than_the_reach_passes_as_it_is():
    X = (np.random.default_rng(0).uniform(size=(100, 3)) > 0.5) * np.array([1.0, 100.0, 0.1])
    low, high = choose_ramp(ThreatModel(0.2, "linf", ([0, 0, 0], [1, 100, 0.1])), X)
    np.testing.assert_allclose([low[2], high[2]], [0, 0.1])
    np.testing.assert_allclose([low[0], high[0]], [0.22, 0.78])


def test_a_search_over_epsilon_moves_the_knots_by_training_folds_alone(digits):
    X, y, *_ = digits
    X = X[:300].copy()
    scorer = make_robust_scorer(epsilon=0.1, attack="fgsm")
    search = GridSearchCV(quick(), {"epsilon": [0.1, 0.2]}, scoring=scorer, cv=2)
    search.fit(X, y[:300])
    epsilon = search.best_params_["epsilon"]
    assert search.best_estimator_.input_ramp_ == pytest.approx((1.1 * epsilon, 1 - 1.1 * epsilon))
    # What `predict` and `score` see later moves nothing.
    before = search.best_estimator_.input_ramp_
    search.best_estimator_.score(X / 2, y[:300])
    assert search.best_estimator_.input_ramp_ == before


def test_the_choice_is_an_attribute_a_line_and_in_the_html(digits, capsys):
    clf = quick(verbose=1, clip_values=(0, 1), epsilon=0.2).fit(digits[0][:100], digits[1][:100])
    assert clf.input_ramp_ == pytest.approx((0.22, 0.78))
    assert isinstance(clf.module_[0], InputRamp)
    assert "input_ramp: knots 0.22 and 0.78\n" in capsys.readouterr().out
    if parse_version(sklearn.__version__) >= parse_version("1.9"):  # which shows such attributes
        assert "input_ramp_" in clf._repr_html_()
    X, y = load_breast_cancer(return_X_y=True)
    plain = quick(verbose=1, clip_values=(0, 1), max_epochs=10).fit(minmax_scale(X).clip(0, 1), y)
    assert plain.input_ramp_ is None
    assert "input_ramp: none, the values of X do not lie near" in capsys.readouterr().out


def test_uint8_images_keep_their_units_behind_a_ramp(digits):
    grey = np.round(digits[0][:200] * 255).astype(np.uint8).reshape(-1, 8, 8)
    clf = RobustCNNClassifier(epsilon=51, max_epochs=1, random_state=0).fit(grey, digits[1][:200])
    assert clf.input_ramp_ == pytest.approx((56.1, 198.9))
    assert clf.input_factor_ == 1
    off = clf.set_params(input_ramp=None).fit(grey, digits[1][:200])
    assert off.input_factor_ == 1 / 255


@pytest.mark.parametrize("own", [{"preprocessor": StandardScaler()}, {"training": "free"}])
def test_auto_stays_away_where_a_ramp_is_refused(digits, own):
    assert quick(epsilon=0.2, **own).fit(digits[0][:200], digits[1][:200]).input_ramp_ is None
