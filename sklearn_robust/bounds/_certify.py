"""Which samples are certified: the clean prediction is right, and no adversary can change it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from sklearn_robust._labels import encode_labels
from sklearn_robust._linear_scores import two_rows
from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_finite
from sklearn_robust.bounds._linear import worst_case_correct
from sklearn_robust.bounds._linear_model import BoundedLinearModel
from sklearn_robust.bounds._methods import BranchAndBound, check_method


def certified_correct(
    model: Any,
    X: Any,
    y: Any,
    threat: ThreatModel,
    method: str | BranchAndBound = "auto",
    *,
    candidates: Any = None,
) -> np.ndarray:
    r"""Return for each sample whether it is proven that every point of A(x_i) is predicted as y_i.

    .. math:: \min_{x' \in A(x_i)} f_{y_i}(x') - f_j(x') > 0 \text{ for all } j \ne y_i

    For networks a lower bound of the left-hand side is held against 0, so False means "not proven",
    not "vulnerable". Sound for the network evaluated in float64, as the library's ``predict`` does,
    rounding included, and for points of A(x_i) stored in float32. For a linear model what is left
    open is within the rounding of its scores.

    Parameters
    ----------
    model : fitted network of this library, torch.nn.Module, or attacks.LinearModel
    X : array-like of shape (n_samples, ...)
        As the model takes it.
    y : array-like of shape (n_samples,)
        Labels as the estimator knows them; class indices for a module or a linear model.
    threat : ThreatModel
    method : str or BranchAndBound, default="auto"
        How a network is proven. "ibp", "crown-ibp", "crown", "alpha-crown" bound its margins, see
        `margin_bounds`; each begins with the cheaper ones and works on what these leave open, and
        "auto" goes through all of them. "complete" then searches what is still open, until each
        sample is proven, broken, or at the end of the budget; a `BranchAndBound` is that with a
        budget of its own. Linear models are always exact.
    candidates : bool array of shape (n_samples,), optional
        Samples worth trying; all others come back as False. Those that an attack has broken, for
        example, cannot be certified, and the dear methods would try in vain.

    Returns
    -------
    certified : bool ndarray of shape (n_samples,)

    Raises
    ------
    UnsupportedLayerError
        If the network holds a layer without bounds; the message names it.
    ValueError
        If X leaves `threat.clip_values` or has NaN, y has labels unseen in fit, or the model gives
        NaN at samples of X as they are.
    TypeError
        If the model is none of the three kinds.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_robust import RobustFCClassifier
    >>> from sklearn_robust.attacks import ThreatModel
    >>> from sklearn_robust.bounds import certified_correct
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> clf = RobustFCClassifier((32,), epsilon=0.1, clip_values=(0, 1), max_epochs=30,
    ...                          random_state=0).fit(X[:1000], y[:1000])
    >>> threat = ThreatModel(0.05, clip_values=(0, 1))
    >>> certified = certified_correct(clf, X[1000:], y[1000:], threat)
    >>> attacked = clf.robust_score(X[1000:], y[1000:], epsilon=0.05)
    >>> 0.6 < float(certified.mean()) <= attacked
    True
    """
    check_method(method)
    if not len(X):
        return np.zeros(0, dtype=bool)
    if hasattr(model, "coef") and hasattr(model, "intercept"):
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
        check_finite(X, "X")
        threat.check_data(X)
        correct = worst_case_correct(model.coef, model.intercept, X, y, threat)
        if threat.is_null:
            return correct
        rounded = BoundedLinearModel(*two_rows(model.coef, model.intercept))
        return correct & (rounded.margins(X, y, threat) > 0).all(axis=1)
    module = getattr(model, "module_", model)
    if "torch" not in sys.modules or not isinstance(module, sys.modules["torch"].nn.Module):
        raise TypeError(
            "model must be a fitted network of this library, a torch.nn.Module or an "
            f"attacks.LinearModel, got {type(model).__name__}. Make a LinearModel from the coef_ "
            "and intercept_ of a linear classifier."
        )
    from sklearn_robust.bounds._certified_network import certified_network

    if module is not model:
        X, y, candidates = _as_module_takes(model, X, y, candidates)
    return certified_network(module, X, y, threat, method, candidates)


def _as_module_takes(
    estimator: Any, X: Any, y: Any, candidates: Any
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return samples, class indices, and the candidates that the estimator's `predict` gets right.

    An array that the metrics have read has no names; reading it again would warn of that.
    """
    shape = getattr(estimator, "input_shape_", None)
    read = isinstance(X, np.ndarray) and X.shape[1:] == shape
    if not (read and hasattr(estimator, "feature_names_in_")):
        clean = estimator.predict(X) == np.asarray(y)
        candidates = clean if candidates is None else clean & np.asarray(candidates, dtype=bool)
    X = np.asarray(X, dtype=np.float64)
    labels = encode_labels(y, estimator.classes_, len(X))
    return X if shape is None else X.reshape(-1, *shape), labels, candidates
