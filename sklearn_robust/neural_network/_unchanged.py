"""A fit that fails before its first epoch leaves the estimator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def unchanged_unless_trained(classifier: Any) -> Iterator[None]:
    """Give a classifier its attributes back if an error ends a fit before its first epoch.

    A training that diverges leaves the weights that it began with.
    """
    before = dict(vars(classifier))
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
            yield
    except FloatingPointError:
        raise
    except BaseException:
        net = vars(classifier).get("net_")
        if (
            net is None
            or net is before.get("net_")
            or not any("train_loss" in row for row in net.history)
        ):
            vars(classifier).clear()
            vars(classifier).update(before)
        raise
