"""Bounds of single scores over balls, which combinations ask their members for."""

import numpy as np
import pytest

from sklearn_robust.attacks import ThreatModel
from sklearn_robust.bounds import BoundedLinearModel, enclosing_box

RNG = np.random.default_rng(0)
COEF, INTERCEPT = RNG.normal(size=(3, 5)), RNG.normal(size=3)
X = RNG.uniform(-1, 1, size=(40, 5))
EPSILON = np.array([0.3, 0.1, 0.0, 0.4, 0.2])


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_scores_of_a_linear_model_reach_as_far_as_its_dual_norm_says(norm, dual):
    model = BoundedLinearModel(COEF, INTERCEPT)
    lower, upper = model.set_bounds(X, ThreatModel(EPSILON, norm))
    scores = X @ COEF.T + INTERCEPT
    reach = np.linalg.norm(COEF * EPSILON, ord=dual, axis=1)
    np.testing.assert_allclose(lower, scores - reach, atol=1e-12)
    np.testing.assert_allclose(upper, scores + reach, atol=1e-12)
    assert (lower <= scores - reach).all()
    assert (upper >= scores + reach).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_scores_in_a_clipped_ball_lie_between_the_bounds_and_come_near_to_them(norm):
    model, threat = BoundedLinearModel(COEF, INTERCEPT), ThreatModel(EPSILON, norm, (-1, 1))
    lower, upper = model.set_bounds(X, threat)
    around = threat.around(X)
    seen = [model.logits(around.sample(RNG)) for _ in range(200)]
    towards = [
        model.logits(around.furthest(s * np.tile(w, (40, 1)))) for w in COEF for s in (1, -1)
    ]
    every = np.stack([*seen, *towards])
    assert (lower <= every.min(axis=0)).all()
    assert (every.max(axis=0) <= upper).all()
    np.testing.assert_allclose(lower, every.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(upper, every.max(axis=0), atol=1e-9)
    box = model.score_bounds(*enclosing_box(X, threat))
    assert (box[0] <= lower + 1e-12).all()
    assert (upper <= box[1] + 1e-12).all()
