"""The report's linear protocol, held against its own formulas worked out by other routes."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, softmax

from sklearn_robust._threat import ThreatModel
from sklearn_robust.linear_model._adam import fit_pgd


def _data(seed=0, n=200, d=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.where(X @ rng.normal(size=d) + rng.normal(size=n) > 0.3, 1.0, -1.0)
    return X, y


def _torch_protocol(X, y, weights, epsilon, C, max_iter, lr, attack_every):
    """The same training with torch's Adam and autograd, FGSM as the attack."""
    X, y, s = (torch.as_tensor(a) for a in (X, y, weights))
    w = torch.zeros(X.shape[1], dtype=X.dtype, requires_grad=True)
    b = torch.zeros(1, dtype=X.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([w, b], lr=lr)
    for i in range(1, max_iter + 1):
        seen = X
        if i % attack_every == 0:
            copy = X.clone().requires_grad_()
            loss = torch.nn.functional.softplus(-y * (copy @ w.detach() + b.detach())).sum()
            (gradient,) = torch.autograd.grad(loss, copy)
            seen = X + epsilon * gradient.sign()
        optimizer.zero_grad()
        loss = (s * torch.nn.functional.softplus(-y * (seen @ w + b))).sum() + w @ w / (2 * C)
        (loss / s.sum()).backward()
        optimizer.step()
    return w.detach().numpy(), b.detach().numpy()


@pytest.mark.parametrize("attack_every", [1, 2, 3])
def test_same_weights_as_torch_adam_with_fgsm(attack_every):
    X, y = _data()
    weights = np.random.default_rng(1).uniform(0.5, 2, size=len(X))
    coef, intercept, _ = fit_pgd(
        X,
        y,
        weights,
        threat=ThreatModel(0.2),
        C=0.5,
        max_iter=60,
        step_size=1.0,
        attack_every=attack_every,
    )
    w, b = _torch_protocol(X, y, weights, 0.2, 0.5, 60, 0.01, attack_every)
    # Rounding only: 60 steps of the same double precision formulas.
    np.testing.assert_allclose(coef[0], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(intercept, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_attacked_loss_is_the_closed_form_worst_case(norm, dual):
    X, y = _data()
    threat = ThreatModel(0.3, norm)
    start = np.random.default_rng(2).normal(size=(1, X.shape[1])), np.array([0.1])
    _, _, history = fit_pgd(
        X, y, threat=threat, attack_every=1, max_iter=1, step_size=1.0, start=start
    )
    margin = y * (X @ start[0][0] + start[1]) - 0.3 * np.linalg.norm(start[0][0], dual)
    assert history.loss[0] == pytest.approx(np.logaddexp(0, -margin).mean(), rel=1e-12)


def test_without_epsilon_it_minimises_the_logistic_objective():
    X, y = _data()
    C = 0.05
    coef, intercept, history = fit_pgd(X, y, threat=ThreatModel(0.0), C=C, max_iter=3000, lr=0.01)

    def objective(v):
        z = y * (X @ v[:-1] + v[-1])
        pull = -C * y * expit(-z)
        value = C * np.logaddexp(0, -z).sum() + 0.5 * v[:-1] @ v[:-1]
        return value, np.r_[X.T @ pull + v[:-1], pull.sum()]

    best = minimize(objective, np.zeros(X.shape[1] + 1), jac=True, options={"gtol": 1e-8})
    assert not history.attacked.any()
    # Adam at a constant rate ends within about a thousandth of its rate.
    np.testing.assert_allclose(np.r_[coef[0], intercept], best.x, atol=1e-5)


def test_three_classes_minimise_the_multinomial_objective():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 3, size=50)
    options = dict(threat=ThreatModel(0.0), n_classes=3, max_iter=4000, lr=0.01, C=0.2)
    coef, intercept, _ = fit_pgd(X, y, **options)

    def objective(v):
        W, b = v[:12].reshape(3, 4), v[12:]
        scores = X @ W.T + b
        loss = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(50), y]
        pull = 0.2 * (softmax(scores, axis=1) - np.eye(3)[y])
        gradient = np.r_[(pull.T @ X + W).ravel(), pull.sum(axis=0)]
        return 0.2 * loss.sum() + 0.5 * (W**2).sum(), gradient

    best = minimize(objective, np.zeros(15), jac=True, options={"gtol": 1e-8})
    np.testing.assert_allclose(coef.ravel(), best.x[:12], atol=1e-5)
    # Nothing penalises the intercepts, so they are unique up to a shift only.
    np.testing.assert_allclose(np.diff(intercept), np.diff(best.x[12:]), atol=1e-5)


def test_every_second_iteration_is_attacked():
    X, y = _data()
    _, _, history = fit_pgd(X, y, threat=ThreatModel(0.1), max_iter=5)
    assert history.attacked.tolist() == [False, True, False, True, False]


def test_misclassified_samples_are_left_alone_if_asked():
    X, y = _data()
    w = np.random.default_rng(4).normal(size=X.shape[1])
    start = w[None], np.zeros(1)
    options = dict(threat=ThreatModel(0.3), attack_every=1, max_iter=1, step_size=1.0)
    _, _, history = fit_pgd(X, y, only_correct=True, start=start, **options)
    margin = y * (X @ w)
    margin[margin > 0] -= 0.3 * abs(w).sum()
    assert history.loss[0] == pytest.approx(np.logaddexp(0, -margin).mean(), rel=1e-12)


def test_weight_two_is_the_same_as_a_row_twice():
    X, y = _data()
    weights = np.random.default_rng(5).integers(0, 3, size=len(X))
    repeated = np.repeat(np.arange(len(X)), weights)
    threat = ThreatModel(0.2, "l2")
    a = fit_pgd(X, y, weights, threat=threat, C=1.0)
    b = fit_pgd(X[repeated], y[repeated], threat=threat, C=1.0)
    # Sums run in another order, and Adam's early steps amplify rounding by 1 / |gradient|.
    np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(a[1], b[1], rtol=0, atol=1e-10)


def test_random_starts_are_reproducible_to_the_bit_and_depend_on_the_seed():
    X, y = _data()

    def fit(seed):
        # Steps too short to reach the ball's corner from everywhere: where it starts matters.
        options = dict(pgd_steps=2, step_size=0.05, random_start=True)
        return fit_pgd(X, y, threat=ThreatModel(0.2), random_state=seed, **options)[0]

    assert np.array_equal(fit(0), fit(0))
    assert not np.array_equal(fit(0), fit(1))


def test_float32_stays_float32_and_the_start_is_not_modified():
    X, y = _data()
    start = np.ones((1, X.shape[1]), dtype=np.float32), np.ones(1, dtype=np.float32)
    coef, intercept, _ = fit_pgd(
        X.astype(np.float32), y, threat=ThreatModel(0.1), max_iter=3, start=start
    )
    assert coef.dtype == intercept.dtype == np.float32
    assert (start[0] == 1).all()
    assert (start[1] == 1).all()
    assert not (coef == 1).any()


def test_no_intercept_leaves_it_at_zero():
    X, y = _data()
    _, intercept, _ = fit_pgd(X, y, threat=ThreatModel(0.1), fit_intercept=False)
    assert intercept == 0


def test_verbose_says_which_iterations_were_attacked(capsys):
    X, y = _data()
    fit_pgd(X, y, threat=ThreatModel(0.1), max_iter=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("(")[1] for line in lines] == ["clean)", "attacked)"]
