r"""The report's way to train a linear model: full-batch Adam, attacked by PGD every few steps.

Minimised is the weighted mean of the loss on the points the adversary chose, and scikit-learn's
penalty divided by the sum of the weights,

.. math:: \frac{1}{\sum_i s_i} \Big(\sum_i s_i \, \ell(W \tilde x_i + b, y_i)
          + \frac{\|W\|_2^2}{2 C}\Big), \qquad \tilde x_i \in A(x_i),

so that a weight of 2 is the same as a row given twice. The inner points come from projected
gradient ascent (Algorithm 1) instead of the closed form: this module is the protocol as printed,
kept to compare with the exact solver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, softmax

from sklearn_robust._arrays import make_generator
from sklearn_robust._linear_scores import two_rows
from sklearn_robust._pieces import pieces
from sklearn_robust._threat import ThreatModel
from sklearn_robust.attacks import PGD, LinearModel

# Adam as published (Kingma and Ba, 2015), with the defaults of every common implementation.
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8

# Values of X attacked at once: what an attack needs beside X stays in the cache, and small.
_BLOCK = 2**17

Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class PGDHistory(NamedTuple):
    """What each iteration saw, in arrays of shape (max_iter,)."""

    loss: np.ndarray  # objective before the step, on the points the step was taken on
    attacked: np.ndarray  # whether those points were attacked


def fit_pgd(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    threat: ThreatModel,
    C: float = np.inf,
    fit_intercept: bool = True,
    max_iter: int = 100,
    lr: float = 0.01,
    pgd_steps: int = 1,
    step_size: float | None = None,
    attack_every: int = 2,
    random_start: bool = False,
    only_correct: bool = False,
    n_classes: int = 2,
    random_state: int = 0,
    verbose: int = 0,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray, PGDHistory]:
    r"""Train a linear classifier by full-batch Adam with PGD on every `attack_every`-th iteration.

    Iterations count from 1: with ``attack_every=2`` the 2nd, 4th, ... are attacked and the others
    see clean data; ``attack_every=1`` attacks each one. Arguments are taken as checked.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float32 or float64
    y : ndarray of shape (n_samples,)
        -1 and +1 if ``n_classes=2``, else class indices 0 ... n_classes - 1.
    sample_weight : ndarray of shape (n_samples,) or None
        None: all 1. They need not sum to anything in particular.
    threat : ThreatModel
        The set the adversary chooses from. With epsilon 0 no iteration is attacked.
    C : float, default=inf
        Inverse penalty, as in scikit-learn; the intercept is not penalised. inf: no penalty.
    pgd_steps, step_size : int, float or None
        Rounds of Algorithm 1 and their length in the units of X (None: 2.5 epsilon / pgd_steps).
        One round of a length >= epsilon is the fast gradient sign method: exact for a linear
        model under linf.
    random_start : bool, default=False
        Start at a uniform draw from the ball (Algorithm 1) instead of at X (linear experiment).
    only_correct : bool, default=False
        Leave samples that are misclassified already as they are (Algorithm 1).
    random_state : int, default=0
        Seed of the random starts; without them, nothing is random.
    verbose : int, default=0
        Above 0, print the loss ten times in the course of the training.
    start : (coef, intercept) or None
        Where to begin; None: at zero. Not modified.

    Returns
    -------
    coef : ndarray of shape (n_rows, n_features)
        One row for two classes (positive: class +1), else one row for each class.
    intercept : ndarray of shape (n_rows,)
    history : PGDHistory

    Notes
    -----
    The loss is log(1 + exp(-y f(x))) for two classes and the multinomial logistic loss for more.
    Adam hardly sees the scale of the loss: a sum of losses, as in Collins et al., and this mean
    give the same steps.
    """
    n_rows = 1 if n_classes == 2 else n_classes
    loss_of: Loss = _logistic_loss if n_classes == 2 else _softmax_loss
    pgd = PGD(
        n_steps=pgd_steps,
        step_size=step_size,
        random_start=random_start,
        only_correct=only_correct,
    )
    generator = make_generator(random_state, X)
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    total = weights.sum()
    share, penalty = (weights / total).astype(X.dtype)[:, None], 1 / (C * total)

    parameters = _initial(X, n_rows, start)
    adam = _Adam(parameters, lr)
    losses, attacked = np.empty(max_iter), np.zeros(max_iter, dtype=bool)
    most = max(1, _BLOCK // X.shape[1])
    for i in range(max_iter):
        W, b = parameters[:, :-1], parameters[:, -1]
        attacked[i] = (i + 1) % attack_every == 0 and not threat.is_null
        losses[i] = 0.5 * penalty * float((W**2).sum())
        gradient = np.zeros_like(parameters)
        gradient[:, :-1] = penalty * W
        for part in pieces(len(X), X.itemsize * X.shape[1], most=most):
            seen = X[part]
            if attacked[i]:
                seen = _attack(pgd, parameters, seen, y[part], threat, generator)
            value, residual = loss_of(seen @ W.T + b, y[part])
            losses[i] += float(share[part, 0] @ value)
            residual *= share[part]
            gradient[:, :-1] += residual.T @ seen
            gradient[:, -1] += residual.sum(axis=0)
        if not fit_intercept:
            gradient[:, -1] = 0
        adam.step(gradient)
        if verbose and (i + 1) % max(1, max_iter // 10) == 0:
            kind = "attacked" if attacked[i] else "clean"
            print(f"iteration {i + 1:5d}  loss {losses[i]:.6f} ({kind})")
    return parameters[:, :-1].copy(), parameters[:, -1].copy(), PGDHistory(losses, attacked)


def _attack(
    pgd: PGD,
    parameters: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
    threat: ThreatModel,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the points that Algorithm 1 finds against the linear model with these parameters."""
    W, b = parameters[:, :-1], parameters[:, -1]
    if len(W) == 1:
        # The logits 0 and f have the cross-entropy log(1 + exp(-y f)).
        (W, b), y = two_rows(W, b), (y > 0).astype(np.intp)
    return pgd.perturb(LinearModel(W, b), X, y, threat, generator)


class _Adam:
    """Adam on one array, changed in place."""

    def __init__(self, parameters: np.ndarray, lr: float) -> None:
        self.parameters, self.lr, self.n_steps = parameters, lr, 0
        self.mean, self.square = np.zeros_like(parameters), np.zeros_like(parameters)

    def step(self, gradient: np.ndarray) -> None:
        self.n_steps += 1
        self.mean += (1 - _BETA1) * (gradient - self.mean)
        self.square += (1 - _BETA2) * (gradient**2 - self.square)
        mean = self.mean / (1 - _BETA1**self.n_steps)
        square = self.square / (1 - _BETA2**self.n_steps)
        self.parameters -= self.lr * mean / (np.sqrt(square) + _TINY)


def _initial(X: np.ndarray, n_rows: int, start: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Return coefficients and, as last column, intercepts to begin with."""
    parameters = np.zeros((n_rows, X.shape[1] + 1), dtype=X.dtype)
    if start is not None:
        parameters[:, :-1], parameters[:, -1] = start
    return parameters


def _logistic_loss(scores: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each sample, and its derivative by the score, shape (n_samples, 1)."""
    sign = y.astype(scores.dtype)
    margin = sign * scores[:, 0]
    return np.logaddexp(0, -margin), (-sign * expit(-margin))[:, None]


def _softmax_loss(scores: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each sample, and its derivative by the scores of all classes."""
    each = np.arange(len(y))
    residual = softmax(scores, axis=1)
    residual[each, y] -= 1
    return -log_softmax(scores, axis=1)[each, y], residual
