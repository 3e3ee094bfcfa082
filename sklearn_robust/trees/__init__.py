"""Tree ensembles as sums of boxes: readers of fitted models, exact search, distances."""

from sklearn_robust.trees._decide import Decision, decide
from sklearn_robust.trees._distance import distances
from sklearn_robust.trees._errors import NoBoxesError
from sklearn_robust.trees._forest import CategorySplit, Forest, Tree
from sklearn_robust.trees._readers import disagreements, probes, read_forest

__all__ = [
    "CategorySplit",
    "Decision",
    "Forest",
    "NoBoxesError",
    "Tree",
    "decide",
    "disagreements",
    "distances",
    "probes",
    "read_forest",
]
