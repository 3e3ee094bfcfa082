r"""The modified Bernoulli model (Definition 1): draws from it, and what is known of it exactly.

.. math:: y \sim \mathrm{Unif}\{\pm 1\}, \qquad
          x_j = \begin{cases} y \theta_j & \text{with probability } 1/2 + \tau_j \\
                -y \theta_j & \text{otherwise} \end{cases}

The features are independent given y, so that y w.x = sum_j w_j theta_j A_j is a weighted sum of
independent signs A_j with mean 2 tau_j: everything below rests on this.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_robust._norms import NORMS
from sklearn_robust._validation import (
    check_epsilon,
    check_int,
    check_level,
    check_norm,
    check_option,
    check_real,
)
from sklearn_robust.datasets._law import Law, make_law
from sklearn_robust.datasets._mean_field import MeanField, solve_mean_field
from sklearn_robust.datasets._signed_sum import signed_sum_tail

_CHUNK = 2**20  # uniform draws held at once: 8 MiB


class ErrorBound(NamedTuple):
    """A bound on the error of the sample-mean classifier, and how often at least it holds."""

    error: float
    probability: float


class BernoulliGenerator(BaseEstimator):
    r"""Source of data from the modified Bernoulli model, with its exact theory.

    .. math:: P(x_j = y \theta_j) = 1/2 + \tau_j, \qquad E[y x_j] = 2 \tau_j \theta_j

    Use this object where the law behind the data matters: for more than one draw from the same
    law (training and test data), exact population accuracies, bounds and thresholds. Use
    :func:`make_modified_bernoulli` for one data set in the manner of `sklearn.datasets`.

    Parameters
    ----------
    n_features : int, default=100
    tau : float, (low, high) or array of shape (n_features,), default=(0.0, 0.25)
        Class bias of the features, in [0, 0.5]: 0 tells nothing about the class, 0.5 everything.
        A pair means `n_features` values linearly spaced from low to high.
    theta : "random" or array of shape (n_features,), default="random"
        Signs +-1: with which class a feature goes.
    random_state : None, int, numpy Generator or RandomState, default=None
        Source of theta and of the draws. With an int all is reproducible: the k-th call of
        `sample` is the same in every run.

    Attributes
    ----------
    tau_, theta_ : ndarray of shape (n_features,)
        The law in force.
    bayes_coef_ : ndarray of shape (n_features,)
        Weights of the Bayes classifier, ``log((1/2 + tau) / (1/2 - tau)) theta``: the log-odds of
        class 1 given x are ``bayes_coef_ @ x``. Features with tau = 0.5 decide alone: if there
        are any, they weigh +-1 and all others 0.
    bayes_accuracy_ : float
        Its accuracy, which no classifier exceeds.

    Notes
    -----
    Repeated calls of `sample` give new, independent draws. To repeat one, make a new object (or
    `sklearn.base.clone` this one) with the same integer `random_state`.

    References
    ----------
    .. [1] Collins, Li, Li, "Interpretable gradients with robust training", 2019, Definition 1,
       Theorem 1.

    Examples
    --------
    >>> from sklearn_robust.datasets import BernoulliGenerator
    >>> law = BernoulliGenerator(n_features=100, tau=(0.0, 0.25), random_state=0)
    >>> X, y = law.sample(1000)
    >>> X.shape
    (1000, 100)
    >>> round(law.bayes_accuracy_, 4)
    0.9987
    >>> round(law.accuracy(law.bayes_coef_, epsilon=0.3), 4)
    0.6444
    """

    def __init__(
        self,
        n_features: int = 100,
        tau: Any = (0.0, 0.25),
        theta: Any = "random",
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.tau = tau
        self.theta = theta
        self.random_state = random_state

    @property
    def tau_(self) -> np.ndarray:
        return self._law().tau

    @property
    def theta_(self) -> np.ndarray:
        return self._law().theta

    @property
    def bayes_coef_(self) -> np.ndarray:
        tau, theta = self.tau_, self.theta_
        if (tau == 0.5).any():
            return theta * (tau == 0.5)
        return theta * np.log((0.5 + tau) / (0.5 - tau))

    @property
    def bayes_accuracy_(self) -> float:
        return self.accuracy(self.bayes_coef_)

    def sample(self, n_samples: int, *, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
        """Draw independent samples; each call gives new ones.

        Parameters
        ----------
        n_samples : int
        dtype : dtype, default=numpy.float64
            Of X. Little is needed besides X itself: float32 and int8 take 4 and 1 bytes a value.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Values -1 and +1.
        y : ndarray of shape (n_samples,), int64
            Labels -1 and +1.
        """
        n_samples = check_int(n_samples, "n_samples", low=1)
        if np.dtype(dtype).kind not in "if":
            raise ValueError(f"dtype must hold -1 and +1, such as float64 or int8, got {dtype!r}.")
        law = self._law()
        y = 2 * law.generator.integers(0, 2, size=n_samples) - 1
        X = np.empty((n_samples, len(law.tau)), dtype=dtype)
        step = max(1, _CHUNK // len(law.tau))
        for start in range(0, n_samples, step):
            block = X[start : start + step]
            agrees = law.generator.random(block.shape) < 0.5 + law.tau
            up = np.equal.outer(y[start : start + step] > 0, law.theta > 0)
            np.multiply(agrees == up, 2, out=block, casting="unsafe")
            block -= 1
        return X, y

    def accuracy(
        self, coef: Any, epsilon: Any = 0.0, *, intercept: float = 0.0, norm: str = "linf"
    ) -> float:
        r"""Return the exact accuracy of ``sign(coef.x + intercept)`` on this law, under attack.

        .. math:: \tfrac12 P(S + b > r) + \tfrac12 P(S - b \ge r), \qquad
                  S = \sum_j w_j \theta_j A_j, \quad r = \epsilon \|w\|_{\mathrm{dual}}

        Parameters
        ----------
        coef : array of shape (n_features,) or (1, n_features)
            Weights w of any classifier; their length does not matter if the intercept is 0.
        epsilon : float or array of shape (n_features,), default=0.0
            Radius of the adversary in the units of X; 0 gives the standard accuracy.
        intercept : float, default=0.0
            b.
        norm : {"linf", "l2", "l1"}, default="linf"

        Returns
        -------
        accuracy : float
            To 1e-9; exact to rounding for up to 40 non-zero weights, or weights on a lattice.

        Notes
        -----
        A tie w.x + b = 0 is predicted as class -1, as every scikit-learn classifier does: without
        an intercept it is right half of the time. Sums within 1e-12 of the length of w (in the
        l1 norm) are ties. The box [-1, 1] of the data does not bind the adversary.
        """
        tau, theta = self.tau_, self.theta_
        coef = self._check_coef(coef)
        intercept = check_real(intercept, "intercept")
        epsilon = check_epsilon(epsilon, len(tau))
        radius = float(NORMS[check_norm(norm)].dual_length((epsilon * coef)[None])[0])
        means = 2 * tau * theta
        positive = signed_sum_tail(coef, means, radius - intercept)
        negative = signed_sum_tail(coef, means, radius + intercept) if intercept else positive
        return (positive.above + negative.at_least) / 2

    def error_bound(
        self, n_samples: int, *, kind: str = "sharp", confidence: float = 0.95
    ) -> ErrorBound:
        r"""Bound the error of the sample-mean classifier trained on `n_samples` draws (Theorem 1).

        With :math:`s = \sum_j \tau_j^2`, the error is at most `error` with `probability`:

        - "report": :math:`\exp(-2 \tau_{\min}^2 (\sum_j \tau_j)^2 / d)`,
          :math:`1 - \exp(-(\sum_j \tau_j)^2 n / (2d))`;
        - "sharp": :math:`\exp(-2 s^2 / d)`, :math:`1 - \exp(-n s / 2)`: both at least as good as
          those of "report", and no minimum is needed;
        - "confidence": :math:`\exp(-2 T^2 / N^2)` with the `confidence` asked for; it tends to
          :math:`\exp(-2 s)` as n grows. With :math:`\ell = \log(2 / (1 - \mathrm{confidence}))`,
          :math:`T = \max(0, 2 s - \sqrt{2 s \ell / n})` and
          :math:`N = \min(\sqrt d, \sqrt{4 s + (d - 4 s) / n} + \sqrt{2 d \ell / n})`.

        The documentation page on the threshold law has the proofs.

        Parameters
        ----------
        n_samples : int
        kind : {"sharp", "report", "confidence"}, default="sharp"
        confidence : float, default=0.95
            Used by ``kind="confidence"`` alone.

        Returns
        -------
        bound : ErrorBound
            Named tuple (error, probability).
        """
        n = check_int(n_samples, "n_samples", low=1)
        check_option(kind, "kind", ("sharp", "report", "confidence"))
        tau, d = self.tau_, len(self.tau_)
        s = float(tau @ tau)
        if kind == "report":
            total = float(tau.sum())
            error = np.exp(-2 * tau.min() ** 2 * total**2 / d)
            return ErrorBound(float(error), float(-np.expm1(-(total**2) * n / (2 * d))))
        if kind == "sharp":
            return ErrorBound(float(np.exp(-2 * s**2 / d)), float(-np.expm1(-n * s / 2)))
        confidence = check_level(confidence, "confidence")
        log = np.log(2 / (1 - confidence))
        signal = max(0.0, 2 * s - np.sqrt(2 * s * log / n))
        length = np.sqrt(4 * s + (d - 4 * s) / n) + np.sqrt(2 * d * log / n)
        length = min(length, np.sqrt(d))
        return ErrorBound(float(np.exp(-2 * (signal / length) ** 2)), confidence)

    def threshold(self, epsilon: float, *, clean_share: float = 0.0, penalty: float = 0.0) -> float:
        r"""Return the class bias tau* below which linf adversarial training gives weight zero.

        .. math:: \tau^* = \frac{\epsilon}{2} \cdot
                  \frac{(1 - a) P_{\mathrm{adv}}}{a P_{\mathrm{clean}} + (1 - a) P_{\mathrm{adv}}}

        P is the mean of -loss' at the clean and at the attacked margin of the trained model, a is
        `clean_share`.
        For a = 0 (exact adversarial training) this is epsilon / 2 for any number of features, any
        decreasing convex loss without a kink and any penalty.

        Parameters
        ----------
        epsilon : float
        clean_share : float in [0, 1), default=0.0
            Weight of the clean loss in training: 0.5 for the average of clean and adversarial
            loss, and for attacks on every other iteration; then the logistic loss of endless data
            is minimised in the mean-field approximation (no data are drawn).
        penalty : float, default=0.0
            1 / (C n_samples) of that training.
        """
        epsilon = check_real(epsilon, "epsilon", low=0)
        clean_share = check_real(clean_share, "clean_share", low=0, high=1, open_high=True)
        if clean_share == 0 or epsilon == 0:
            return epsilon / 2
        solution = self._mean_field(epsilon, clean_share, penalty)
        attacked = (1 - clean_share) * solution.attacked_pull
        return epsilon / 2 * attacked / (clean_share * solution.clean_pull + attacked)

    def _mean_field(self, epsilon: float, clean_share: float, penalty: float) -> MeanField:
        penalty = check_real(penalty, "penalty", low=0)
        if penalty == 0 and (self.tau_ == 0.5).any():
            raise ValueError(
                "tau = 0.5 makes the classes separable, and without a penalty the loss has no "
                "minimiser. Pass penalty > 0."
            )
        return solve_mean_field(self.tau_, epsilon, clean_share, penalty)

    def _check_coef(self, coef: Any) -> np.ndarray:
        values = np.asarray(coef, dtype=np.float64)
        if values.shape not in ((len(self.tau_),), (1, len(self.tau_))):
            raise ValueError(
                f"coef must have shape ({len(self.tau_)},), one weight per feature, got shape "
                f"{values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError("coef must hold finite numbers, got NaN or infinity.")
        return values.ravel()

    def _law(self) -> Law:
        """Return the checked law, kept with the state of its draws until a parameter changes."""
        parameters = (self.n_features, self.tau, self.theta, self.random_state)
        kept = getattr(self, "_kept", None)
        if kept is None or any(a is not b for a, b in zip(kept[0], parameters, strict=True)):
            self._kept = kept = (parameters, make_law(*parameters))
        return kept[1]


def make_modified_bernoulli(
    n_samples: int = 100,
    n_features: int = 100,
    *,
    tau: Any = (0.0, 0.25),
    theta: Any = "random",
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Generate one data set from the modified Bernoulli model.

    A shorthand for ``BernoulliGenerator(...).sample(n_samples)``: use it where a data set is all
    you need, and :class:`BernoulliGenerator` for test data of the same law or for its theory.

    Parameters
    ----------
    n_samples : int, default=100
    n_features : int, default=100
    tau, theta, random_state
        As in :class:`BernoulliGenerator`. The same integer `random_state` gives the same data.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        Values -1 and +1.
    y : ndarray of shape (n_samples,), int64
        Labels -1 and +1.

    Examples
    --------
    >>> from sklearn_robust.datasets import make_modified_bernoulli
    >>> X, y = make_modified_bernoulli(5, 3, random_state=0)
    >>> X.shape, y.shape
    ((5, 3), (5,))
    """
    law = BernoulliGenerator(n_features, tau=tau, theta=theta, random_state=random_state)
    return law.sample(n_samples)
