"""Adversarial logistic regression as a scikit-learn estimator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sklearn_robust._arrays import on_host
from sklearn_robust._fit_tasks import CallbackSupportMixin, FitTask, with_callbacks
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import (
    check_bool,
    check_int,
    check_option,
    check_real,
    check_seed,
    draw_seed,
)
from sklearn_robust.linear_model._classifier import FLOATS, SPARSE, RobustLinearClassifier
from sklearn_robust.linear_model._margin_losses import LOSSES
from sklearn_robust.linear_model._solve import (
    check_built_in,
    check_present,
    check_problem,
    solve_classes,
    warn_not_converged,
)
from sklearn_robust.linear_model._tabular import solve_table

_PGD_MAX_ITER = 100  # the report's steps of Adam


class AdversarialLogisticRegression(CallbackSupportMixin, RobustLinearClassifier):
    r"""Logistic regression on the worst perturbation of every sample, solved exactly.

    For two classes, with labels of -1 and +1, the adversary's best move against a linear model is
    known, and the training problem is convex:

    .. math:: \min_{w, b} \; \sum_i s_i \log\big(1 + e^{-(y_i (w \cdot x_i + b)
              - \|\epsilon \circ w\|_q)}\big) + \frac{\|w\|_2^2}{2 C},

    with q dual to the adversary's norm (l1 for linf, l2 for l2, linf for l1). An linf adversary
    makes weights exactly zero; from `epsilon_max` on, all of them are.

    Other losses that fall with the margin, and the squared one, take the place of the logistic by
    `loss`, with the same certificate.

    For more classes the model is multinomial. Its worst case has no closed form; minimised is the
    usual upper bound, in which each rival class has its own worst case,
    :math:`\log \sum_k \exp(f_k - f_y + \|\epsilon \circ (w_k - w_y)\|_q)`. Evaluation
    (`robust_score`, `perturb`) is exact for any number of classes.

    Parameters
    ----------
    epsilon : float, array of shape (n_features,) or TabularThreat, default=0.1
        Radius of the adversary, in the units of X as passed; one number, or one per feature.
        With 0 this is scikit-learn's `LogisticRegression`. ``solver="exact"`` takes a
        `TabularThreat` too, without flips and budget: for two classes and dense X any, else one
        without relative changes and `clip_values`. Whole numbers are trained against exactly.
    norm : {"linf", "l2", "l1"}, default="linf"
        The adversary's norm.
    C : float, default=1.0
        Inverse strength of the l2 penalty, as in scikit-learn; ``inf`` for none (not of a hinge).
    fit_intercept : bool, default=True
        Whether to fit an intercept; it is not penalised.
    solver : {"exact", "pgd"}, default="exact"
        "exact" minimises the problem above to a certified gap. "pgd" is the protocol of [1]_:
        full-batch Adam, with points found by projected gradient ascent on every
        `attack_every`-th iteration; dense X only.
    loss : {"logistic", "squared_hinge", "hinge", "squared"}, default="logistic"
        ``solver="exact"`` with two classes: the loss of a sample, at its worst. With margin m and
        :math:`z = m - \|\epsilon \circ w\|_q` the hinges are ``max(0, 1 - z)`` and its square;
        "squared" is :math:`(|1 - m| + \|\epsilon \circ w\|_q)^2`. Only the logistic model has
        probabilities.
    tol : float, default=1e-6
        "exact" stops when it has proved that the objective is within ``tol * objective`` of the
        minimum. With ``C=inf`` no such proof exists, and the criterion is the largest entry of the
        least subgradient, relative to its value at zero weights. Each entry is taken in units of
        its feature's spread and radius, so that the units of X do not matter.
    max_iter : int or None, default=None
        Largest number of iterations. None: 10000 ("exact") or 100 ("pgd").
    class_weight : dict, "balanced" or None, default=None
        As in scikit-learn.
    warm_start : bool, default=False
        Whether to begin at the last solution.
    clip_values : (low, high) or None, default=None
        Valid range of the data, each a number or one value per feature. The adversary of
        `robust_score`, `perturb` and ``solver="pgd"`` stays within it. ``solver="exact"`` trains
        against the whole ball, an upper bound on the loss over ball and box, but within the range
        against a `TabularThreat`.
    random_state : int, RandomState instance or None, default=None
        Seed of the random starts of ``solver="pgd"``; nothing else is random.
    verbose : int, default=0
    pgd_steps : int, default=1
        ``solver="pgd"``: steps of an attack.
    step_size : float or None, default=None
        ``solver="pgd"``: length of a step; None: ``2.5 * epsilon / pgd_steps``.
    attack_every : int, default=2
        ``solver="pgd"``: which iterations are attacked; 1: each.
    lr : float, default=0.01
        ``solver="pgd"``: learning rate of Adam.
    random_start : bool, default=False
        ``solver="pgd"``: whether an attack starts at a random point of the ball.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        In the precision of X; computed in float64.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    dual_gap_ : float
        ``solver="exact"``: the proved relative distance of the objective from its minimum. With
        ``C=inf``: the criterion described under `tol`.
    objective_ : float
        ``solver="exact"``: the minimised sum divided by the sum of the weights.
    n_iter_ : int
        Iterations ("pgd", multinomial), or checks of the gap (two classes).
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Defined where X has feature names that are all strings.

    Raises
    ------
    ValueError
        For a bad parameter, another loss than the logistic with three classes, X outside
        `clip_values`, a single class, weights that are all 0, or sparse X with ``solver="pgd"``.

    Warns
    -----
    ConvergenceWarning
        If `tol` is not reached; or if ``C=inf`` and the data are separable with margin epsilon, so
        that no minimum exists.

    See Also
    --------
    epsilon_max : The least radius at which all weights are zero.
    AdversarialLogisticRegressionCV : Chooses epsilon by cross-validation along a path.

    References
    ----------
    .. [1] "Interpretable Gradients with Robust Training", 2019, Algorithm 1 and Table 1.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_robust.linear_model import AdversarialLogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X)
    >>> clf = AdversarialLogisticRegression(epsilon=0.3).fit(X, y)
    >>> print(f"{clf.score(X, y):.3f} {clf.robust_score(X, y):.3f}")
    0.961 0.851
    >>> int((clf.coef_ != 0).sum()), bool(clf.dual_gap_ <= 1e-6)
    (7, True)
    """

    def __init__(
        self,
        epsilon: Any = 0.1,
        *,
        norm: str = "linf",
        C: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "exact",
        loss: str = "logistic",
        tol: float = 1e-6,
        max_iter: int | None = None,
        class_weight: Any = None,
        warm_start: bool = False,
        clip_values: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        pgd_steps: int = 1,
        step_size: Any = None,
        attack_every: int = 2,
        lr: float = 0.01,
        random_start: bool = False,
    ) -> None:
        self.epsilon = epsilon
        self.norm = norm
        self.C = C
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.loss = loss
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.clip_values = clip_values
        self.random_state = random_state
        self.verbose = verbose
        self.pgd_steps = pgd_steps
        self.step_size = step_size
        self.attack_every = attack_every
        self.lr = lr
        self.random_start = random_start

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.solver == "exact"
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> AdversarialLogisticRegression:
        """Train on the worst case of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,) or None, default=None
            A weight of 2 is the same as a sample given twice. A class without weight is never
            predicted (with an intercept).

        Returns
        -------
        self : AdversarialLogisticRegression
        """
        task = FitTask(self, X, y, sample_weight)
        options = self._check_parameters()
        last = getattr(self, "coef_", None) if self.warm_start else None
        X, y = validate_data(
            self,
            on_host(X),
            on_host(y),
            dtype=FLOATS,
            accept_sparse=SPARSE if self.solver == "exact" else False,
        )
        check_classification_targets(y)
        exact = self.solver == "exact"
        threat = self._threat(X, n_columns=X.shape[1] if exact else None)
        threat.check_trainable(X, getattr(self, "feature_names_in_", None))
        if threat.clip_values is not None:
            threat.check_data(X)
        self.classes_, y = np.unique(y, return_inverse=True)
        weight = self._weights(X, y, sample_weight)
        check_present(weight, len(self.classes_))
        start = None
        task.begin(0)
        if last is not None and last.shape == (self._n_rows, X.shape[1]):
            start = last, self.intercept_
        if exact:
            self._fit_exact(X, y, weight, threat, start, options)
        else:
            self._fit_pgd(X, y, weight, threat, start)
        if exact and threat.moves is None:
            threat = replace(threat, clip_values=None)  # see `clip_values`
        self._remember_adversary(threat, f"solver {self.solver!r}")
        task.end()
        return self

    def _check_parameters(self) -> dict[str, Any]:
        """Return the options of the exact solver."""
        loss = check_option(self.loss, "loss", LOSSES)
        if check_option(self.solver, "solver", ("exact", "pgd")) == "exact":
            check_built_in(self.norm)
        elif loss != "logistic":
            raise ValueError(f"loss must be 'logistic' for solver='pgd', got {loss!r}.")
        options = check_problem(
            self.norm, self.C, self.fit_intercept, self.tol, self.max_iter, self.verbose
        )
        check_real(self.lr, "lr", low=0, open_low=True)
        for name in ("warm_start", "random_start"):
            check_bool(getattr(self, name), name)
        check_seed(self.random_state)
        check_int(self.pgd_steps, "pgd_steps", low=1)
        check_int(self.attack_every, "attack_every", low=1)
        self._step_size()
        if loss == "hinge" and math.isinf(options["C"]):
            raise ValueError(
                "C must be finite for loss='hinge', whose kink leaves no criterion to stop at "
                "without a penalty, got inf. Pass a large one, such as 1e4."
            )
        return options | {"loss": loss}

    def _step_size(self) -> float | None:
        if self.step_size is None:
            return None
        return check_real(self.step_size, "step_size", low=0, open_low=True)

    def _fit_exact(
        self,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        threat: ThreatModel,
        start: Any,
        options: dict[str, Any],
    ) -> None:
        n_classes = len(self.classes_)
        if threat.moves is not None:
            solution = solve_table(X, y, weight, n_classes, threat, start=start, **options)
        else:
            radius = np.ravel(threat.epsilon)
            solution = solve_classes(X, y, weight, n_classes, [radius], start=start, **options)[0]
        self.coef_ = solution.coef.astype(X.dtype)
        self.intercept_ = solution.intercept.astype(X.dtype)
        self.dual_gap_, self.objective_ = solution.dual_gap, solution.objective
        self.n_iter_ = max(1, solution.n_iter)
        warn_not_converged(solution, self.tol, self.C)

    def _fit_pgd(
        self, X: np.ndarray, y: np.ndarray, weight: np.ndarray, threat: ThreatModel, start: Any
    ) -> None:
        # The exact solver, which most use, then need not wait for the attacks to be loaded.
        from sklearn_robust.linear_model._adam import fit_pgd

        self.coef_, self.intercept_, history = fit_pgd(
            X,
            2 * y - 1 if self._n_rows == 1 else y,
            weight,
            threat=threat,
            C=self.C,
            fit_intercept=self.fit_intercept,
            max_iter=_PGD_MAX_ITER if self.max_iter is None else self.max_iter,
            lr=self.lr,
            pgd_steps=self.pgd_steps,
            step_size=self._step_size(),
            attack_every=self.attack_every,
            random_start=self.random_start,
            n_classes=len(self.classes_),
            random_state=draw_seed(self.random_state),
            verbose=self.verbose,
            start=start,
        )
        self.n_iter_ = len(history.loss)
        for name in ("dual_gap_", "objective_"):
            self.__dict__.pop(name, None)  # of an earlier fit with the other solver
