"""The exact search as something to pass for an attack, with a budget of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn_robust._validation import check_int


@dataclass(frozen=True)
class TreeSearch:
    """The exact search through the cells of a tree ensemble.

    What it ends on is the truth: a mistake of the model, or a proof that there is none. Samples
    whose search exceeds the budget are left open and attacked through scores.

    Parameters
    ----------
    max_nodes : int, default=200
        Linear programs that each rival class of a sample may take. 0: none, the cheap bounds and
        moves alone, for a first pair of bounds.

    Raises
    ------
    ValueError
        If `max_nodes` is no integer >= 0; by `perturb`, always: only tree ensembles are searched.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn_robust import certified_score, robust_score
    >>> from sklearn_robust.trees import TreeSearch
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = RandomForestClassifier(20, random_state=0).fit(X, y)
    >>> round(robust_score(clf, X, y, epsilon=0.3, attack=TreeSearch(max_nodes=1000)), 3)
    0.667
    >>> round(certified_score(clf, X, y, epsilon=0.3), 3)
    0.667
    """

    max_nodes: int = 200

    def __post_init__(self) -> None:
        check_int(self.max_nodes, "max_nodes", low=0)

    def perturb(self, model: Any, X: Any, y: Any, threat: Any, generator: Any) -> Any:
        """Raise ValueError: what is no tree ensemble has no cells to search."""
        raise ValueError(
            "TreeSearch needs a tree ensemble that the library can read, and the classifier is "
            "none. Use attack='auto'."
        )
