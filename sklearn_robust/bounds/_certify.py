"""Which samples are certified: the clean prediction is right, and no adversary can change it."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_robust._threat import ThreatModel
from sklearn_robust._validation import check_finite, check_option, encode_labels
from sklearn_robust.bounds._linear import worst_case_correct

if TYPE_CHECKING:
    import torch

METHODS = ("auto", "ibp", "crown-ibp", "crown", "alpha-crown")

# Each method is at least as tight as those before it, so it sees only what they left open.
_STAGES = {
    "ibp": ("ibp",),
    "crown-ibp": ("ibp", "crown-ibp"),
    "crown": ("ibp", "crown-ibp", "crown"),
    "alpha-crown": ("ibp", "crown-ibp", "alpha-crown"),
    "auto": ("ibp", "crown-ibp", "alpha-crown"),
}


def certified_correct(
    model: Any,
    X: Any,
    y: Any,
    threat: ThreatModel,
    method: str = "auto",
    *,
    candidates: Any = None,
) -> np.ndarray:
    r"""Return for each sample whether it is proven that every point of A(x_i) is predicted as y_i.

    .. math:: \min_{x' \in A(x_i)} f_{y_i}(x') - f_j(x') > 0 \text{ for all } j \ne y_i

    For networks a lower bound of the left-hand side is held against 0, so False means "not proven",
    not "vulnerable". Sound for the network evaluated in float64, as the library's ``predict`` does,
    rounding included, and for points of A(x_i) stored in float32.

    Parameters
    ----------
    model : fitted network of this library, torch.nn.Module, or attacks.LinearModel
    X : array-like of shape (n_samples, ...)
        As the model takes it.
    y : array-like of shape (n_samples,)
        Labels as the estimator knows them; class indices for a module or a linear model.
    threat : ThreatModel
    method : {"auto", "ibp", "crown-ibp", "crown", "alpha-crown"}, default="auto"
        How the bound is computed for a network, see `margin_bounds`. Each begins with the cheaper
        ones and works on what these leave open; "auto" goes through all of them. Linear models are
        always exact.
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
    check_option(method, "method", METHODS)
    if not len(X):
        return np.zeros(0, dtype=bool)
    module = getattr(model, "module_", model)
    if hasattr(model, "coef") and hasattr(model, "intercept"):
        X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
        check_finite(X, "X")
        threat.check_data(X)
        return worst_case_correct(model.coef, model.intercept, X, y, threat)
    if "torch" not in sys.modules or not isinstance(module, sys.modules["torch"].nn.Module):
        raise TypeError(
            "model must be a fitted network of this library, a torch.nn.Module or an "
            f"attacks.LinearModel, got {type(model).__name__}. Make a LinearModel from the coef_ "
            "and intercept_ of a linear classifier."
        )
    clean, y = None, np.asarray(y)
    if module is not model:
        # An array that the metrics have read has no names; reading it again would warn of that.
        shape = getattr(model, "input_shape_", None)
        read = isinstance(X, np.ndarray) and X.shape[1:] == shape
        if not (read and hasattr(model, "feature_names_in_")):
            clean = model.predict(X) == y
        y = encode_labels(y, model.classes_, len(X))
    X = np.asarray(X, dtype=np.float64).reshape(
        -1, *getattr(model, "input_shape_", np.shape(X)[1:])
    )
    check_finite(X, "X")
    threat.check_data(X)
    return _certify_network(module, X, y, threat, method, clean, candidates)


def _certify_network(
    module: torch.nn.Module,
    X: np.ndarray,
    y: np.ndarray,
    threat: ThreatModel,
    method: str,
    clean: np.ndarray | None,
    candidates: Any,
) -> np.ndarray:
    """Run the stages of `method` in float64 on the samples that are right and still open."""
    import torch

    from sklearn_robust.attacks import TorchModel
    from sklearn_robust.bounds._averages import networks_of
    from sklearn_robust.bounds._margins import batch_size, bound_batch
    from sklearn_robust.bounds._network import Network

    certified = np.zeros(len(X), dtype=bool)
    door = TorchModel(copy.deepcopy(module).to(torch.float64), 0)
    networks = [Network(part, door.asarray(X[:1])) for part in networks_of(door.module)]
    size = batch_size(networks, "ibp")
    logits = np.concatenate(
        [door.logits(door.asarray(X[i : i + size])).cpu().numpy() for i in range(0, len(X), size)]
    )
    n_nan = int(np.isnan(logits).any(1).sum())
    if n_nan:
        raise ValueError(
            f"The model gives NaN for {n_nan} of {len(X)} samples as they are. There is nothing to "
            "certify: check its weights, and the scale of X."
        )
    worth = (logits.argmax(1) == y) & np.isfinite(logits).all(1)
    worth &= True if clean is None else clean
    worth &= True if candidates is None else np.asarray(candidates, dtype=bool)
    for stage in _STAGES[method]:
        size = batch_size(networks, stage)
        left = np.flatnonzero(worth & ~certified)
        for start in range(0, len(left), size):
            pick = left[start : start + size]
            x, labels = door.asarray(X[pick]), door.labels(y[pick])
            with torch.no_grad():
                margins = bound_batch(networks, x, labels, threat, stage, settle=True).cpu().numpy()
            _check_against(logits[pick], y[pick], margins)
            margins[np.arange(len(pick)), y[pick]] = np.inf
            certified[pick] = (margins > 0).all(1)
    return certified


def _check_against(logits: np.ndarray, y: np.ndarray, margins: np.ndarray) -> None:
    """Raise if a bound is above the margin at the sample itself: the layers are not what they say.

    This catches an equivalent given to `register_layer` that computes something else.
    """
    clean = logits[np.arange(len(y)), y][:, None] - logits
    if (margins > clean).any():
        raise RuntimeError(
            f"A lower bound of the margin is {float((margins - clean).max()):.3g} above the margin "
            "at the sample itself. If a layer was added with register_layer, its equivalent does "
            "not compute what the layer does; otherwise this is a defect of the bounds."
        )
