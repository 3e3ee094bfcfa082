"""Tree ensembles as sums of boxes: readers of fitted models, exact search, distances."""

from sklearn_robust.trees._bounded import BoundedForest
from sklearn_robust.trees._decide import Decision, decide
from sklearn_robust.trees._distance import distances
from sklearn_robust.trees._errors import NoBoxesError, NoTreesError as NoTreesError
from sklearn_robust.trees._float32 import float32_threshold as float32_threshold
from sklearn_robust.trees._forest import Forest
from sklearn_robust.trees._readers import (
    disagreements as disagreements,
    inputs_of as inputs_of,
    probes as probes,
    read_forest,
)
from sklearn_robust.trees._restate import (
    NotMonotoneError as NotMonotoneError,
    Through as Through,
    missing_ways as missing_ways,
    raw_thresholds as raw_thresholds,
)
from sklearn_robust.trees._search import TreeSearch
from sklearn_robust.trees._tree import CategorySplit, Tree

# The names that are imported "as" themselves serve the packages above, and are not public.
__all__ = [
    "BoundedForest",
    "CategorySplit",
    "Decision",
    "Forest",
    "NoBoxesError",
    "Tree",
    "TreeSearch",
    "decide",
    "distances",
    "read_forest",
]
