"""What can be asked of any fitted classifier: functions, and methods of the library's own.

A class of this library takes these very functions as its methods, so that a method cannot disagree
with the function of its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sklearn_robust._arrays import given_back
from sklearn_robust._notebook import NotebookMixin
from sklearn_robust._validation import draw_seed, weighted_share


def robust_score(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> float:
    r"""Return the accuracy of a fitted classifier when an adversary moves each sample.

    .. math:: \frac{1}{n} \sum_i [F(x') = y_i \text{ for all } x' \in A(x_i)]

    The adversary moves the rows of X as passed, before any transformer of a pipeline:

    - a linear classifier, also behind scalers, PCA, column selections or any other affine
      transformer, is one linear function of X: the result is exact;
    - a tree ensemble, of scikit-learn, XGBoost, LightGBM or CatBoost, also behind transformers that
      treat each column by itself, is searched through its thresholds: the result is exact, but for
      samples that exceed a budget (see `sklearn_robust.trees.TreeSearch`);
    - a network (of this library or skorch, scikit-learn's ``MLPClassifier``, a torch module), or a
      linear classifier behind a differentiable transformer, is attacked along the gradient with
      respect to X: the result is an upper bound;
    - any other classifier is attacked through its scores alone, or its labels where it has none,
      and a `BlackBoxWarning` says so: the upper bound is a looser one.

    What counts is the estimator's own ``predict`` at the points found. Every sample counts in the
    denominator and the sample itself is a candidate, so the result never exceeds
    ``estimator.score(X, y)``. Usable as ``scoring=robust_score``.

    Parameters
    ----------
    estimator : classifier
        Fitted; a Pipeline, a search over hyperparameters or a FrozenEstimator is looked into. Or a
        trained ``torch.nn.Module``, for the labels 0 to n_classes - 1.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
        Complete, but for tree ensembles that take missing values: what is missing stays missing.
        Columns that hold no numbers, and those that a OneHotEncoder or another encoder of
        categories reads, are left alone. So is a boolean column of a data frame, though
        scores count it as 0 or 1; an array of nothing else is one of numbers.
    y : array-like of shape (n_samples,)
        A label that was not seen in ``fit`` counts as a mistake, as it does for accuracy.
    sample_weight : array-like of shape (n_samples,), optional
    epsilon : float, array of shape (n_features,) or TabularThreat, optional
        Radius in the units of X, of every column or of each; 0: not attackable. A pandas Series
        is read by the names of the columns, here and in `clip_values`. A `TabularThreat` says by
        column how far values fall and rise, and in which steps. None: the estimator's own, as the
        report trains and tests. A sweep over epsilon must be scored at a fixed one, with
        `make_robust_scorer`, or the smallest radius wins by construction.
    norm : {"linf", "l2", "l1"}, optional
        None: the estimator's own, or "linf" if it has none.
    clip_values : None, (low, high) or "own", default="own"
        Valid range of the data; None: no clipping; "own": the estimator's, if it has one. Values
        for which a transformer is not defined, such as negative ones for a logarithm, are out of
        the adversary's reach.
    attack : str or an attack, default="auto"
        "auto": exact where that is possible, else the fast part of the standard ensemble, for
        scores `BatchedSearch`. "strong": the whole ensemble, for scores `Square` too. By name,
        also as "square", these begin with rows of X of other classes. "pgd" and other names: see
        `sklearn_robust.attacks.get_attack`. An attack with settings of its own is passed as an
        object, such as ``attacks.PGD(n_steps=100)``.
    random_state : int, RandomState, Generator or None, default=0
        Seed of the attacks.
    n_jobs : int, optional
        Parts of X attacked at a time, through joblib and so on whatever backend
        ``joblib.parallel_config`` names. The result does not depend on it.
    verbose : int, default=0
        1 or more: show a progress bar.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        If a parameter breaks its rule, X leaves `clip_values` or is incomplete, the scores are NaN,
        or the attack needs gradients and there are none.
    TypeError
        If the estimator is no classifier.

    Warns
    -----
    BlackBoxWarning
        If `attack` is "auto" or "strong" and only the scores of the estimator are known.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust import robust_score
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = make_pipeline(StandardScaler(), RidgeClassifier()).fit(X, y)
    >>> tenth_of_a_deviation = 0.1 * X.std(axis=0)
    >>> round(clf.score(X, y), 3), round(robust_score(clf, X, y, epsilon=tenth_of_a_deviation), 3)
    (0.968, 0.803)
    """
    target = _make_target(estimator, X, y, epsilon=epsilon, norm=norm, clip_values=clip_values)
    run = {"seed": draw_seed(random_state), "n_jobs": n_jobs, "verbose": verbose}
    target.check(attack)
    return weighted_share(target.attacked(target.threat, attack, **run).robust, sample_weight)


def perturb(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    epsilon: Any = None,
    norm: str | None = None,
    clip_values: Any = "own",
    attack: Any = "auto",
    target_classes: Any = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Any:
    """Return the points that `robust_score` holds predictions against: mistakes where it finds one.

    Samples that are misclassified as they are come back as they are, as in Algorithm 1 of the
    report; where no mistake is found, the point is that of the last attack. Columns that hold no
    numbers or are encoded as categories are left alone.

    Parameters
    ----------
    estimator, X, y, epsilon, norm, clip_values, attack, random_state, n_jobs, verbose
        As in `robust_score`.
    target_classes : label or array-like of shape (n_samples,), optional
        The class that each sample is to be taken for, or one for all, none of them a sample's own
        label. Then all samples are moved that are not taken for it as they are. None: any mistake
        will do.

    Returns
    -------
    X_adv : ndarray or data frame, as X
        Columns of integers become floats; sparse samples become dense.

    Raises
    ------
    ValueError, TypeError
        As in `robust_score`; ValueError as well if a chosen class is unknown, or the label of the
        sample.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust.metrics import perturb
    >>> X, y = np.array([[100.0, 0.0], [300.0, 5.0]]), [0, 1]
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> perturb(clf, X, y, epsilon=[50.0, 0.0])
    array([[150.,   0.],
           [250.,   5.]])

    Irises of one species that are taken for another one of the two:

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(max_iter=1000).fit(X, y)
    >>> X_adv = perturb(clf, X[y == 1], y[y == 1], epsilon=0.8, target_classes=2)
    >>> (clf.predict(X_adv) == 2).mean().round(2)
    np.float64(0.92)
    """
    target = _make_target(
        estimator, X, y, epsilon=epsilon, norm=norm, clip_values=clip_values,
        target_classes=target_classes,
    )  # fmt: skip
    run = {"seed": draw_seed(random_state), "n_jobs": n_jobs, "verbose": verbose}
    target.check(attack)
    return given_back(target.perturbed(target.threat, attack, **run), X)


def input_gradients(estimator: Any, X: Any, y: Any = None) -> np.ndarray:
    r"""Return :math:`\nabla_x L(F(x), y)` of the cross-entropy L for each sample.

    The gradient is that by the rows of X as passed, before any transformer of a pipeline.

    Parameters
    ----------
    estimator : classifier
        A fitted network (see `robust_score`) or any fitted linear classifier, alone or behind
        transformers that can be followed. The scores of a linear classifier are taken for logits,
        whatever it was trained with.
    X : array-like of shape (n_samples, n_features) or as the estimator takes it
    y : array-like of shape (n_samples,), optional
        Labels whose loss is meant. None: the predicted ones.

    Returns
    -------
    gradients : float64 ndarray in the shape of X
        0 in columns that hold no numbers or are encoded as categories.

    Raises
    ------
    TypeError
        If the library cannot differentiate the estimator.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_robust import input_gradients
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> input_gradients(clf, X, y).shape
    (150, 4)
    """
    target = _make_target(estimator, X, y, epsilon=1.0, clip_values=None)
    return given_back(target.gradients(), X)


def _make_target(*args: Any, **kwargs: Any) -> Any:
    # Attacks are imported by those who ask, not by all who import a linear model.
    from sklearn_robust.targets._lots import make_target_in_lots

    return make_target_in_lots(*args, **kwargs)


@dataclass(frozen=True)
class OwnThreat:
    """The threat model that a classifier of this library was made for."""

    epsilon: Any
    norm: str
    clip_values: Any


class RobustClassifierMixin(NotebookMixin):
    """Gives a classifier `robust_score`, `perturb` and `input_gradients` as methods.

    They are the functions of these names, of which the first argument is the classifier. Its
    parameters `epsilon`, `norm` and `clip_values` are their defaults.
    """

    robust_score = robust_score
    perturb = perturb
    input_gradients = input_gradients

    def __sklearn_array_api_convert__(self, converter: Any) -> Any:
        """Return the classifier itself: it computes in numpy and torch whatever arrays it gets."""
        return self

    @property
    def _own_threat(self) -> OwnThreat:
        return OwnThreat(self._own_epsilon, self.norm, self.clip_values)  # type: ignore[attr-defined]

    @property
    def _own_epsilon(self) -> Any:
        """The radius where none is passed."""
        return self.epsilon  # type: ignore[attr-defined]
