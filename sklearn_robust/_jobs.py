"""Work in parallel through joblib, with results as they come: the one place that starts it.

scikit-learn's `Parallel` and `delayed` hand its configuration to the workers.
"""

from __future__ import annotations

from collections.abc import Iterable

from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

__all__ = ["delayed", "parallel", "with_progress"]


def parallel(n_jobs: int | None) -> Parallel:
    """Return joblib's workers, which hand over results as they come where the backend can."""
    backend, _ = get_active_backend()
    can = getattr(backend, "supports_return_generator", False)  # those of ray and spark cannot
    return Parallel(n_jobs=n_jobs, return_as="generator" if can else "list")


def with_progress(results: Iterable, total: int, label: str, verbose: int) -> Iterable:
    """Return results, with a progress bar of batches if `verbose`."""
    return tqdm(results, total=total, desc=label, unit="batch") if verbose else results
