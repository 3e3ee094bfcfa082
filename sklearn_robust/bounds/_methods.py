"""The names of the methods that certify a network, what each of them runs, and its budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn_robust._validation import check_int, check_option, check_real

# Each method is at least as tight as those before it, so it sees only what they left open.
STAGES = {
    "ibp": ("ibp",),
    "crown-ibp": ("ibp", "crown-ibp"),
    "crown": ("ibp", "crown-ibp", "crown"),
    "alpha-crown": ("ibp", "crown-ibp", "alpha-crown"),
    "auto": ("ibp", "crown-ibp", "alpha-crown"),
    "complete": ("ibp", "crown-ibp", "alpha-crown", "complete"),
}
METHODS = ("auto", "ibp", "crown-ibp", "crown", "alpha-crown", "complete")


@dataclass(frozen=True)
class BranchAndBound:
    """Complete verification of networks with rectifiers, as something to pass for a method.

    What alpha-CROWN leaves open is split: into the inputs for which a unit of a ReLU is active and
    those for which it is not, bounded with a multiplier for each split (beta-CROWN) [1]_ and split
    again. Where all units are decided the network is linear, and a linear program gives the
    multipliers. The search of a sample ends with a proof, with a point that is misclassified, or
    with its budget, and then the sample is not proven.

    Parameters
    ----------
    max_nodes : int, default=2000
        Subproblems that each sample may take. The same budget gives the same proofs.
    max_seconds : float, optional
        Seconds by the clock that each sample may take, beside `max_nodes`; what is proven then
        depends on the machine. Samples are searched side by side, and each has its own clock.
        None: no limit.

    Raises
    ------
    ValueError
        If `max_nodes` is no integer >= 0, or `max_seconds` no number > 0.

    References
    ----------
    .. [1] S. Wang et al., "Beta-CROWN: efficient bound propagation with per-neuron split
       constraints for neural network robustness verification", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_robust import RobustFCClassifier, certified_score
    >>> from sklearn_robust.bounds import BranchAndBound
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RobustFCClassifier((16, 16), epsilon=0.3, lr=0.01, random_state=0).fit(X, y)
    >>> by_lines = certified_score(clf, X, y, epsilon=0.3, method="alpha-crown")
    >>> complete = certified_score(clf, X, y, epsilon=0.3, method=BranchAndBound(max_nodes=500))
    >>> attacked = clf.robust_score(X, y, epsilon=0.3, attack="strong")
    >>> by_lines <= complete == attacked
    True
    """

    max_nodes: int = 2000
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        check_int(self.max_nodes, "max_nodes", low=0)
        if self.max_seconds is not None:
            check_real(self.max_seconds, "max_seconds", low=0, open_low=True)

    def __str__(self) -> str:
        clock = "" if self.max_seconds is None else f", {self.max_seconds:g} s"
        return f"complete ({self.max_nodes} nodes{clock})"


def check_method(method: Any) -> Any:
    """Return `method` if it is the name of one, or a search with a budget of its own."""
    return method if isinstance(method, BranchAndBound) else check_option(method, "method", METHODS)


def stages_of(method: str | BranchAndBound) -> tuple[tuple[str, ...], BranchAndBound]:
    """Return what a method runs, one after the other, and the budget of the last."""
    if isinstance(method, BranchAndBound):
        return STAGES["complete"], method
    return STAGES[method], BranchAndBound()
